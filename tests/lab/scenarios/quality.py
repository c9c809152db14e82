"""What `status`, `quality` and the event stream say of a path, beside what the link is set to, iperf3 and the node's own past.

    alice -- router (easy) --[link]-- internet -- router (easy) -- bob
                                         |
                                       server with its relay
"""
from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import threading
import time
from typing import Any, Iterator

from flow import flowing
from link import Shape
from namespace import wait_until
from party import Node
from scenario import Lab, expect, expect_equal, scenario
from scenarios.failover import pair

FIELDS = ("rtt_ms", "rtt_ema_ms", "jitter_ms", "loss_percent", "bandwidth_mbps")


class Events:
    """The event stream of a node, by its Unix socket."""

    def __init__(self, node: Node) -> None:
        self.seen: list[dict[str, Any]] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(os.path.join(node.folder, "lanrage.sock"))
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall((f"GET /api/events HTTP/1.1\r\nHost: lanrage\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode())
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _read(self) -> None:
        with self._socket.makefile("rb") as stream:
            while stream.readline().strip():
                pass
            while (head := stream.read(2)) and len(head) == 2:
                size = head[1] & 127
                if size >= 126:
                    size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
                body = stream.read(size)
                if head[0] & 15 == 1:
                    self.seen.append(json.loads(body))

    def of(self, name: str) -> list[dict[str, Any]]:
        return [peer["quality"] for event in self.seen if event["event"] == "quality" for peer in event["peers"]
                if peer["name"] == name]


@contextlib.contextmanager
def events_of(node: Node) -> Iterator[Events]:
    events = Events(node)
    try:
        yield events
    finally:
        events.close()


@scenario("quality", limit_s=90)
def quality_surfaces(lab: Lab) -> None:
    """Events, status, quality and relays say the same; the smoothed round trip follows its recurrence; hours outlive kill -9."""
    network = lab.network()
    alice, bob = pair(lab, network)
    network.links["alice-router"].set(Shape(delay_ms=32.5))
    with flowing(alice.host, alice.address(), bob.host, bob.address()), events_of(alice) as events:
        wait_until(lambda: len(events.of("bob")) >= 12, 30, "twelve measurements")
        network.links["alice-router"].set(Shape(delay_ms=82.5))
        wait_until(lambda: len(events.of("bob")) >= 24, 30, "twelve more")
        told = events.of("bob")
        detail = alice.command("quality", "bob")
    versions = [event["version"] for event in events.seen if event["event"] == "quality"]
    expect_equal(versions, list(range(versions[0], versions[0] + len(versions))), "versions")
    errors = [abs(new["rtt_ema_ms"] - 0.3 * new["rtt_ms"] - 0.7 * old["rtt_ema_ms"]) for old, new in zip(told, told[1:])]
    expect(max(errors) <= 0.1, f"the recurrence is off by {max(errors):.3f} ms")
    expect_equal(round(sum(detail["weights"].values()), 9), 1, "weights")
    peer, = detail["peers"]
    expect(len(peer["recent_ms"]) <= 10 and len(peer["pings_ms"]) <= 100, "windows")
    expect(peer["five_minutes"]["probes"] >= 20 and peer["hours"], f"aggregates {peer['five_minutes']}, {peer['hours']}")
    status = alice.peer("bob") or {}
    expect_equal([status[field] for field in FIELDS], [status["quality"][field] for field in FIELDS], "one number")
    relay, = alice.command("relays")["relays"]
    server = alice.status()["server"]
    for quality in (relay["quality"], server["quality"]):
        expect_equal(set(quality), set(status["quality"]), "one struct")
        expect(quality["rtt_ema_ms"] is not None, f"not measured: {quality}")
    before = sum(hour["probes"] for hour in peer["hours"])
    alice.command("down")
    alice.command("up")
    alice.kill_daemon()
    alice.command("up")
    after = sum(hour["probes"] for hour in alice.command("quality", "bob")["peers"][0]["hours"])
    print(f"{len(told)} measurements, recurrence to {max(errors):.4f} ms, {before} probes in the hour, {after} after kill -9")
    expect(after >= before, f"{after} probes kept of {before}")


@scenario("quality", limit_s=120)
def quality_bandwidth(lab: Lab) -> None:
    """A link of 10 Mbit/s that a transfer fills reads 9 to 11 at both ends, as measured; a trickle reads nothing."""
    network = lab.network()
    alice, bob = pair(lab, network)
    with flowing(alice.host, alice.address(), bob.host, bob.address()):
        time.sleep(12)
    expect_equal((alice.peer("bob") or {})["bandwidth_mbps"], None, "bandwidth of a trickle")
    network.links["alice-router"].set(Shape(delay_ms=7.5, rate=10e6 / 8))
    bob.host.start("iperf3", "iperf3", "-s", "-1", "-B", bob.address())
    time.sleep(1)
    answer = json.loads(alice.host.run("iperf3", "-c", bob.address(), "-t", "20", "-J", timeout=60).stdout)
    goodput = answer["end"]["sum_received"]["bits_per_second"] / 1e6
    for node, other in ((alice, "bob"), (bob, "alice")):
        quality = (node.peer(other) or {})["quality"]
        print(f"{node.name}: {quality['bandwidth_mbps']:.2f} Mbit/s, {quality['bandwidth_is']}; iperf3 {goodput:.2f}")
        expect(9 <= quality["bandwidth_mbps"] <= 11, f"{quality['bandwidth_mbps']} Mbit/s")
        expect_equal(quality["bandwidth_is"], "measured", "what that is")


@scenario("quality", limit_s=400, long=True)
def quality_stability(lab: Lab) -> None:
    """A link that is down for 30 of 300 seconds: 90 % stable."""
    network = lab.network()
    alice, bob = pair(lab, network)
    link = network.links["alice-router"]
    with flowing(alice.host, alice.address(), bob.host, bob.address()):
        time.sleep(135)
        link.set(Shape(loss_percent=100))
        time.sleep(30)
        link.set(Shape())
        time.sleep(135)
        quality = (alice.peer("bob") or {})["quality"]
    print(f"stable for {quality['stability_percent']:.1f} % of five minutes, {quality['loss_percent']:.0f} % lost")
    expect(abs(quality["stability_percent"] - 90) <= 2, f"{quality['stability_percent']} %")


@scenario("quality", limit_s=400, long=True)
def quality_loss(lab: Lab) -> None:
    """A link that loses 5 % of its packets one way: so many of 1000 probes are lost, and the grade is C at best."""
    network = lab.network()
    alice, bob = pair(lab, network)

    def counted() -> tuple[int, float]:
        """bob's probes and how many of them were lost."""
        hours = bob.command("quality", "alice")["peers"][0]["hours"]
        return sum(hour["probes"] for hour in hours), sum(hour["probes"] * hour["loss_percent"] / 100 for hour in hours)

    network.links["alice-router"].set(Shape(delay_ms=7.5, loss_percent=5), "up")
    probes, lost = counted()
    with flowing(alice.host, alice.address(), bob.host, bob.address(), a_sends=False):  # in silence bob asks often
        wait_until(lambda: counted()[0] >= probes + 1000, 390, "1000 probes", 2)
        quality = (bob.peer("alice") or {})["quality"]
    percent = 100 * (counted()[1] - lost) / (counted()[0] - probes)
    print(f"{percent:.2f} % of {counted()[0] - probes} probes lost, grade {quality['grade']}")
    expect(abs(percent - 5) <= 2.1, f"{percent} %")  # three deviations of a thousand throws
    expect(quality["loss_percent"] < 2 or quality["grade"] != "A", "an A for a lossy path")
