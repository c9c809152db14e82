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
from party import ACCESS, ROUND_TRIP_MS, Node, daemon_pids, node_behind, server_on
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


@scenario("failover", limit_s=900, long=True)
def failover_direct_path_often(lab: Lab) -> None:
    """A direct path dies silently, both ways, ten times: on the relay in 1 s p95, direct again in 5 s."""
    alice, bob = pair(lab, lab.network())
    silences, returns = [], []
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        for number in range(10):
            time.sleep(2 + 0.037 * number)
            silent, back = break_and_heal(alice, bob, flow, (alice, bob), (bob, alice))
            silences.append(silent)
            returns.append(back)
    print(f"silence in ms: {sorted(round(1000 * s) for s in silences)}; direct again in s: {sorted(round(s, 1) for s in returns)}")
    expect(sorted(silences)[-2] <= 1.0 and max(silences) <= 1.5, "too long")
    expect(max(returns) <= 5.0, "not direct again in time")


@scenario("failover", limit_s=300, long=True)
def failover_lossy_line(lab: Lab) -> None:
    """5 % lost in bursts, 40 +- 5 ms, 2 % out of order: nothing more is lost or late, and the path does not flap."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), Node(lab, network.public("bob"), "bob")
    bob.join(alice.host_party(server.link))
    alice.wait_path("bob", "direct")
    network.links["alice-router"].set(Shape(delay_ms=40, jitter_ms=5, loss_percent=5, burst=4, reorder_percent=2))
    log = alice.folder / "lanrage.log"
    changes = -log.read_text().count("path chosen")
    minutes = 2
    with (flowing(alice.host, alice.address(), bob.host, bob.address()) as inside,
          flowing(alice.host, str(alice.host.ipv4), bob.host, str(bob.host.ipv4), b_sends=False) as bare):
        since = time.monotonic()
        time.sleep(60 * minutes)
        until = time.monotonic() - 1
        lost = [flow.missing(1, since, until) / (until - since) for flow in (inside, bare)]  # 100 a second: percent
        added = inside.delay(1, since) - bare.delay(1, since)
    changes += log.read_text().count("path chosen")
    print(f"lost {lost[0]:.1f} % inside, {lost[1]:.1f} % beside; median {1000 * added:+.2f} ms; {changes} changes of path")
    expect(lost[0] <= lost[1] + 1.0, "the tunnel lost more than the line")
    expect(added <= 0.0003, f"the tunnel added {1000 * added:.2f} ms")
    expect(changes <= minutes, f"{changes} changes of path in {minutes} minutes")


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
        wanted = (0.3 * points(peer["rtt_ema_ms"], 20, 300) + 0.2 * points(peer["jitter_ms"], 2, 50)
                  + 0.3 * points(peer["loss_percent"], 0, 5) + 0.1 * peer["quality"]["stability_percent"]) / 0.9
        expect(abs(score - wanted) <= 0.1, f"score {score}, {wanted} by its parts")
        expect(peer["quality"]["grade"] in grades, f"grade {peer['quality']['grade']}")
        expect(peer["quality"]["trend"] in ("stable", "improving", "degrading"), "no trend")


def lose(node: Node, percent: float, *addresses: str) -> None:
    """From now on the node's router loses that share of what it sends to each of the addresses, by chance."""
    router = node.host.network
    assert isinstance(router, Router)
    rules = "\n".join(f' oifname "wan" ip daddr {address} numgen random mod 10000 < {percent * 100:.0f} drop'
                      for address in addresses)
    router.nft(f"table inet lossy {{\n chain forward {{\n type filter hook forward priority -200;\n{rules}\n }}\n}}")


@scenario("failover", limit_s=240)
def failover_two_paths(lab: Lab) -> None:
    """Two paths that lose 5 % each, both used for the game: 0.25 % is lost, the median delay is the faster one's."""
    network = lab.network()
    alice, bob = pair(lab, network)
    relay = alice.status()["server"]["url"].removeprefix("https://").rpartition(":")[0]
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        start = time.monotonic()
        time.sleep(5)
        alone = [flow.delay(side, start) for side in (0, 1)]
        for node, other in ((alice, "bob"), (bob, "alice")):
            redundancy = (node.peer(other) or {})["redundancy"]
            expect(redundancy == {"path": None, "copied_packets": 0, "copied_bytes": 0}, f"{redundancy} on a clean path")
        for node, other in ((alice, bob), (bob, alice)):
            assert isinstance(other.host.network, Router)
            lose(node, 5, str(other.host.network.ipv4), relay)
        wait_until(lambda: all((node.peer(other) or {})["redundancy"]["path"] for node, other in ((alice, "bob"), (bob, "alice"))),
                   100, "both send on two paths", 0.5)
        before, start = alice.peer("bob") or {}, time.monotonic()
        time.sleep(70)
        after, end = alice.peer("bob") or {}, time.monotonic()
        time.sleep(1)
        sent = sum(flow.sent(side, start, end) for side in (0, 1))
        lost = 100 * sum(flow.missing(side, start, end) for side in (0, 1)) / sent
        delays = [flow.delay(side, start) for side in (0, 1)]
        copied = after["redundancy"]["copied_packets"] - before["redundancy"]["copied_packets"]
        print(f"{lost:.2f} % of {sent} lost, {copied} copies; median delay {1000 * delays[0]:.2f} and {1000 * delays[1]:.2f} ms, "
              f"before on one path {1000 * alone[0]:.2f} and {1000 * alone[1]:.2f} ms")
        expect(0.10 <= lost <= 0.40, f"{lost:.2f} % lost, not 0.25")
        expect(copied >= 0.98 * sent / 2, f"only {copied} of {sent / 2:.0f} packets were copied")
        expect(all(abs(now - then) <= 0.001 for now, then in zip(delays, alone)), "the median delay changed")
        expect(after["redundancy"]["copied_bytes"] > 0, "the cost is not shown")


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


def sleep_and_wake(lab: Lab, asleep_s: float, moves: bool = False) -> None:
    """`moves`: the machine is carried to another network meanwhile, which leaves it a second more."""
    network = lab.network()
    alice, bob = pair(lab, network)
    bound = 2.0 if moves else 1.0
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        time.sleep(1)
        for pid in daemon_pids(bob):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(asleep_s)
        if moves:
            network.move(bob.host, network.router("cafe", "easy", shape=ACCESS))
        woke = time.monotonic()
        for pid in daemon_pids(bob):
            os.kill(pid, signal.SIGCONT)
        time.sleep(3)
        print(f"{silence(flow, woke) * 1000:.0f} ms of silence")
        expect(silence(flow, woke) <= bound, f"{silence(flow, woke):.1f} s of silence")
    alice.wait_path("bob", "direct", 5)


@scenario("failover")
def failover_sleep(lab: Lab) -> None:
    """A node stopped for ten seconds plays on within a second of waking."""
    sleep_and_wake(lab, 10)


@scenario("failover", limit_s=300, long=True)
def failover_sleep_long(lab: Lab) -> None:
    """So does one that was stopped for three minutes."""
    sleep_and_wake(lab, 180)


@scenario("failover", limit_s=2100, long=True)
def failover_sleep_half_an_hour(lab: Lab) -> None:
    """So does one that was stopped for half an hour."""
    sleep_and_wake(lab, 1800)


@scenario("failover")
def failover_sleep_elsewhere(lab: Lab) -> None:
    """A node that wakes in another network, with another address, plays on within two seconds."""
    sleep_and_wake(lab, 10, moves=True)


@scenario("failover", limit_s=300, long=True)
def failover_sleep_elsewhere_long(lab: Lab) -> None:
    """So does one that was stopped for three minutes."""
    sleep_and_wake(lab, 180, moves=True)


@scenario("failover", limit_s=90)
def failover_other_way_out(lab: Lab) -> None:
    """The default route moves from one card to another, both up as before: direct again at once, also for who comes later."""
    network = lab.network()
    server = server_on(lab, network)
    home, phone = (network.router(name, "easy", shape=ACCESS) for name in ("home", "phone"))
    alice = Node(lab, network.lan_host("alice", home), "alice")
    phone.attach_second(alice.host)
    alice.host.prefer(home)
    bob = node_behind(lab, network, "easy", "bob")
    invite = alice.host_party(server.link)
    bob.join(invite)
    alice.wait_path("bob", "direct")
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        for router in (phone, home):
            time.sleep(2)
            start = time.monotonic()
            alice.host.prefer(router)
            wait_until(lambda: str(bob.status()["peers"][0]["path"]["endpoint"]).startswith(f"{router.ipv4}:"), 3,
                       f"bob sends straight to {router.name}", 0.05)
            direct = time.monotonic() - start
            time.sleep(1)
            print(f"{router.name}: {silence(flow, start) * 1000:.0f} ms of silence, direct after {direct:.1f} s")
            expect(silence(flow, start) <= 1.0, f"{silence(flow, start):.1f} s of silence")
    carol = node_behind(lab, network, "easy", "carol")
    alice.host.prefer(phone)
    carol.join(invite)
    carol.wait_path("alice", "direct", 3)


@scenario("failover", limit_s=90)
def failover_peer_restarted(lab: Lab) -> None:
    """A node killed in the middle of a stream is heard again at once when it is back, whatever it remembers."""
    alice, bob = pair(lab, lab.network())
    for remembers in (True, False):
        with flowing(alice.host, alice.address(), bob.host, bob.address(), b_sends=False) as flow:
            bob.kill_daemon()
            if not remembers:
                (bob.folder / "contacts").unlink(missing_ok=True)
            bob.command("up")
            back = time.monotonic()
            time.sleep(2)
            silent = flow.silence(1, back)
            print(f"{'with' if remembers else 'without'} contacts: {silent * 1000:.0f} ms of silence")
            expect(silent <= 0.4, f"{silent:.1f} s of silence")
        time.sleep(11)
