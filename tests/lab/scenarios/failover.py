"""Paths that break under a game: how long it is silent, and when it is direct again.

    alice -- router (easy) --[7.5 ms]-- internet --[7.5 ms]-- router (easy) -- bob
                                           |
                                         server with its relay

Routers drop what goes straight from one home to the other, without a word; what goes by the relay passes.
"""
from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Iterator

from flow import Flow, flowing
from link import Shape
from namespace import wait_until
from party import ROUND_TRIP_MS, Node, daemon_pids, node_behind, server_on
from scenario import Lab, expect, scenario
from topology import Network, Router


def pair(lab: Lab, network: Network) -> tuple[Node, Node]:
    """alice and bob, connected directly."""
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "easy", "bob")
    bob.join(alice.host_party(server.link))
    alice.wait_path("bob", "direct")
    bob.wait_path("alice", "direct")
    return alice, bob


@contextlib.contextmanager
def broken(*ways: tuple[Node, Node]) -> Iterator[None]:
    """The router of the first of each pair drops what goes straight to the other's."""
    for start, end in ways:
        router, far = start.host.network, end.host.network
        assert isinstance(router, Router) and isinstance(far, Router)
        router.nft("table inet broken {\n chain forward {\n type filter hook forward priority -200;\n"
                   f' oifname "wan" ip daddr {far.ipv4} drop\n }}\n}}')
    try:
        yield
    finally:
        for start, _ in ways:
            assert isinstance(start.host.network, Router)
            start.host.network.nft("delete table inet broken")


def silence(flow: Flow, since: float) -> float:
    return max(flow.silence(side, since) for side in (0, 1))


def break_and_heal(alice: Node, bob: Node, flow: Flow, *ways: tuple[Node, Node]) -> tuple[float, float]:
    """Seconds of silence when the path breaks, and until it is direct again once it heals."""
    start = time.monotonic()
    with broken(*ways):
        time.sleep(5)
        silent = silence(flow, start)
        expect(alice.path_kind("bob") == bob.path_kind("alice") == "relay", "the path is not relayed")
    healed = time.monotonic()
    wait_until(lambda: alice.path_kind("bob") == bob.path_kind("alice") == "direct", 10, "direct again", 0.05)
    back = time.monotonic() - healed
    time.sleep(0.5)
    expect(silence(flow, healed) < 0.2, "packets were lost on the way back to the direct path")
    return silent, back


@scenario("failover", limit_s=120)
def failover_direct_path(lab: Lab) -> None:
    """A direct path that dies silently, both ways or one, is left within a second and taken again within five."""
    alice, bob = pair(lab, lab.network())
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        time.sleep(2)
        for ways in (((alice, bob), (bob, alice)), ((alice, bob),), ((bob, alice),)):
            silent, back = break_and_heal(alice, bob, flow, *ways)
            print(f"{len(ways)} way(s) broken: {silent * 1000:.0f} ms of silence, direct again after {back:.1f} s")
            expect(silent <= 1.0, f"{silent * 1000:.0f} ms of silence")
            expect(back <= 5.0, f"direct again after {back:.1f} s")
            time.sleep(1)


def points(value: float, best: float, worst: float) -> float:
    return 100 * min(1, max(0, (worst - value) / (worst - best)))


@scenario("failover")
def failover_quality(lab: Lab) -> None:
    """Round trip, jitter, score, grade and trend of `status` are those of the link, and follow when it changes."""
    network = lab.network()
    alice, bob = pair(lab, network)
    for delay_ms, jitter_ms, grades in ((32.5, 0.0, "AB"), (92.5, 20.0, "BC")):
        network.links["alice-router"].set(Shape(delay_ms=delay_ms, jitter_ms=jitter_ms))
        with flowing(alice.host, alice.address(), bob.host, bob.address()):
            time.sleep(25)
            peer = alice.peer("bob") or {}
        score, truth = peer["quality"]["score"], 2 * (delay_ms + ROUND_TRIP_MS / 4)
        print(f"truth {truth:.0f} ms: {peer['rtt_ema_ms']:.1f} ms, jitter {peer['jitter_ms']:.1f}, loss {peer['loss_percent']:.0f} %, "
              f"{peer['quality']}")
        expect(abs(peer["rtt_ema_ms"] - truth) <= 0.05 * truth + jitter_ms, f"{peer['rtt_ema_ms']} ms instead of {truth}")
        wanted = (0.35 * points(peer["rtt_ema_ms"], 20, 300) + 0.25 * points(peer["jitter_ms"], 2, 50)
                  + 0.4 * points(peer["loss_percent"], 0, 5))
        expect(abs(score - wanted) <= 0.1, f"score {score}, {wanted} by its parts")
        expect(peer["quality"]["grade"] in grades, f"grade {peer['quality']['grade']}")
        expect(peer["quality"]["trend"] in ("stable", "improving", "degrading"), "no trend")


@scenario("failover")
def failover_nat_forgets(lab: Lab) -> None:
    """Only the far side sends, and the router forgets: packets again within three seconds."""
    alice, bob = pair(lab, lab.network())
    with flowing(alice.host, alice.address(), bob.host, bob.address(), a_sends=False) as flow:
        for _ in range(3):
            time.sleep(3)
            router = alice.host.network
            assert isinstance(router, Router)
            router.forget_mappings()
            start = time.monotonic()
            time.sleep(4)
            silent = flow.silence(0, start)
            print(f"{silent * 1000:.0f} ms of silence")
            expect(silent <= 3.0, f"{silent:.1f} s of silence")


@scenario("failover")
def failover_sleep(lab: Lab) -> None:
    """A node stopped for ten seconds plays on within a second of waking."""
    alice, bob = pair(lab, lab.network())
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        time.sleep(1)
        for pid in daemon_pids(bob):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(10)
        woke = time.monotonic()
        for pid in daemon_pids(bob):
            os.kill(pid, signal.SIGCONT)
        time.sleep(3)
        print(f"{silence(flow, woke) * 1000:.0f} ms of silence")
        expect(silence(flow, woke) <= 1.0, f"{silence(flow, woke):.1f} s of silence")
