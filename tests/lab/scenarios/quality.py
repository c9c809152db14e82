"""What `status`, `quality` and the event stream say of a path, beside what the link is set to, iperf3 and the node's own past.

    alice -- router (easy) --[link]-- internet -- router (easy) -- bob
                                         |
                                       server with its relay
"""
from __future__ import annotations

import base64
import bisect
import contextlib
import json
import os
import re
import socket
import statistics
import struct
import threading
import time
from typing import Any, Iterator

from capture import UDP, Capture, Packet
from flow import flowing
from link import Shape
from namespace import wait_until
from party import Node, node_behind, server_on
from scenario import Lab, expect, expect_equal, scenario
from scenarios.failover import pair
from topology import Network

FIELDS = ("rtt_ms", "rtt_ema_ms", "jitter_ms", "loss_percent", "bandwidth_mbps")
PING, PONG = 0x4C520001, 0x4C520002  # docs/wire/probe.md


class Events:
    """The event stream of a node, by its Unix socket."""

    def __init__(self, node: Node) -> None:
        self.seen: list[dict[str, Any]] = []
        self.times: list[float] = []  # when, by time.time()
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
                if head[0] & 15 == 9:  # a ping: who does not answer is taken for dead
                    self._socket.sendall(bytes([0x8A, 0x80 | len(body)]) + bytes(4) + body)
                if head[0] & 15 == 1:
                    self.times.append(time.time())
                    self.seen.append(json.loads(body))

    def timed(self, name: str) -> list[tuple[float, dict[str, Any]]]:
        return [(at, peer["quality"]) for at, event in zip(self.times, self.seen) if event["event"] == "quality"
                for peer in event["peers"] if peer["name"] == name]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [quality for _, quality in self.timed(name)]


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
    expect_equal(relay["rtt_ms"], relay["quality"]["rtt_ms"], "one number of the relay, too")
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


def one_way(lab: Lab, network: Network) -> tuple[Node, Node]:
    """alice behind a router, bob with an address of his own: alice's ping program goes the way of her node's probes."""
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), Node(lab, network.public("bob"), "bob")
    bob.join(alice.host_party(server.link))
    alice.wait_path("bob", "direct")
    return alice, bob


def probes(packets: list[Packet], far: str) -> tuple[dict[bytes, float], dict[bytes, float]]:
    """When each ping to `far` and each pong from there was seen, by transaction."""
    pings: dict[bytes, float] = {}
    pongs: dict[bytes, float] = {}
    for packet in packets:
        if packet.protocol != UDP or len(packet.payload) != 68 or far not in (packet.source, packet.destination):
            continue
        kind, = struct.unpack_from("<I", packet.payload)
        if kind == PING and packet.outgoing:
            pings[packet.payload[12:20]] = packet.at
        elif kind == PONG and not packet.outgoing:
            pongs[packet.payload[12:20]] = packet.at
    return pings, pongs


def rfc3550_jitter(round_trips: list[float]) -> list[float]:
    """Section 6.4.1 after each round trip, from the seventeenth on; as docs/quality.md, a plain mean up to there."""
    jitter, out = 0.0, []
    for number, (before, after) in enumerate(zip(round_trips, round_trips[1:]), 1):
        jitter += (abs(after - before) - jitter) / min(number, 16)
        out.append(jitter)
    return out[16:]


@scenario("quality", limit_s=210, long=True)
def quality_beside_ping(lab: Lab) -> None:
    """80 ms, jitter of 10: as the ping program sees them (5 %, 20 %), and told within 100 ms of the answer on the cable.

    The jitter is on the way back, where nothing but answers travels: a link keeps the order, so that behind a game's
    packet every one is later and less uneven. Uniform within 15 ms either way, two differ by 10 in the mean.
    """
    network = lab.network()
    alice, bob = one_way(lab, network)
    far = str(bob.host.ipv4)
    network.links["alice-router"].set(Shape(delay_ms=40), "up")
    network.links["alice-router"].set(Shape(delay_ms=40, jitter_ms=15), "down")
    with flowing(alice.host, alice.address(), bob.host, bob.address(), b_sends=False), events_of(alice) as events:
        wait_until(lambda: len(events.of("bob")) >= 20, 30, "measurements of the line as it is")
        first, cable = len(events.of("bob")), Capture(alice.host, "eth0")
        said = alice.host.run("ping", "-n", "-c", "550", "-i", "0.2", "-W", "2", far, timeout=150).stdout
        time.sleep(0.3)
        packets, told = cable.stop(), events.timed("bob")
    theirs = [float(ms) for ms in re.findall(r"time=([\d.]+) ms", said)]
    rtts, jitters = ([quality[field] for _, quality in told[first:]] for field in ("rtt_ms", "jitter_ms"))
    rtt, ping_rtt = statistics.mean(rtts), statistics.mean(theirs)
    jitter, ping_jitter = statistics.mean(jitters), statistics.mean(rfc3550_jitter(theirs))
    mdev = float(said.rsplit("/", 1)[1].split()[0])
    times = [at for at, _ in told]
    late: list[float] = []  # milliseconds
    for at in probes(packets, far)[1].values():
        after = bisect.bisect_left(times, at)
        late.append(1000 * (times[after] - at) if after < len(times) else 1000.0)
    late.sort()
    soon = late[int(0.95 * len(late))]
    print(f"{len(rtts)} probes: {rtt:.1f} ms, jitter {jitter:.2f}; {len(theirs)} pings: {ping_rtt:.1f} ms, jitter "
          f"{ping_jitter:.2f} by RFC 3550, mdev {mdev:.2f}; told after {statistics.median(late):.1f} ms, "
          f"p95 {soon:.1f}, at most {late[-1]:.1f}")
    expect(len(rtts) >= 200 and len(theirs) >= 540 and len(late) >= 200, "too few to compare")
    expect(abs(rtt - ping_rtt) <= 0.05 * ping_rtt, f"{rtt:.1f} ms, ping {ping_rtt:.1f} ms")
    expect(abs(jitter - ping_jitter) <= 0.2 * ping_jitter, f"jitter {jitter:.2f} ms, of ping's replies {ping_jitter:.2f} ms")
    expect(soon <= 100, f"told {soon:.0f} ms after the answer came")


def sealed_share(start: dict[str, Any], block: int = 0) -> float:
    """What `bandwidth_mbps` counts for a byte of iperf3's: sealed datagrams without their IP and UDP headers.

    WireGuard adds 32 bytes to the inner packet: IP, UDP and the block, or IP, TCP, its timestamps and a segment.
    """
    if block:
        return (block + 28 + 32) / block
    segment = start["tcp_mss_default"]
    return (segment + 52 + 32) / segment


def iperf3(source: Node, target: Node, *options: str) -> dict[str, Any]:
    """An iperf3 transfer inside the tunnel, and what it says of both ends."""
    server = target.host.start(f"iperf3{'-'.join(options)}", "iperf3", "-s", "-1", "-J", "-B", target.address())
    time.sleep(1)
    said: dict[str, Any] = json.loads(source.host.run("iperf3", "-c", target.address(), *options, "-J", timeout=60).stdout)
    server.wait(10)
    return said | {"server": json.loads(server.output().split("\n", 1)[1])}


def best_second_mbps(said: dict[str, Any]) -> float:
    """The most that iperf3's server got in a second, as `bandwidth_mbps` is the most in one."""
    seconds = [interval["sum"] for interval in said["server"]["intervals"] if interval["sum"]["seconds"] > 0.9]
    return max(second["bits_per_second"] for second in seconds) / 1e6


@scenario("quality", limit_s=150)
def quality_bandwidth(lab: Lab) -> None:
    """Within 5 % of iperf3 as sealed: 10 Mbit/s that TCP fills, measured; 60 of UDP on a bare line, at least; of a trickle nothing."""
    network = lab.network()
    alice, bob = pair(lab, network)
    with flowing(alice.host, alice.address(), bob.host, bob.address()):
        time.sleep(12)
    expect_equal((alice.peer("bob") or {})["bandwidth_mbps"], None, "bandwidth of a trickle")
    network.links["alice-router"].set(Shape(delay_ms=7.5, rate=10e6 / 8))
    said = iperf3(alice, bob, "-t", "20")
    goodput = best_second_mbps(said)
    sealed = goodput * sealed_share(said["start"])
    for node, other in ((alice, "bob"), (bob, "alice")):
        quality = (node.peer(other) or {})["quality"]
        print(f"{node.name}: {quality['bandwidth_mbps']:.2f} Mbit/s, {quality['bandwidth_is']}; iperf3 {goodput:.2f}, {sealed:.2f} sealed")
        expect(9 <= quality["bandwidth_mbps"] <= 11, f"{quality['bandwidth_mbps']} Mbit/s")
        expect(abs(quality["bandwidth_mbps"] - sealed) <= 0.05 * sealed, f"{quality['bandwidth_mbps']} Mbit/s of {sealed:.2f}")
        expect_equal(quality["bandwidth_is"], "measured", "what that is")
    network.links["alice-router"].set(Shape())
    said = iperf3(alice, bob, "-u", "-b", "60M", "-l", "1200", "-t", "15")
    sealed = best_second_mbps(said) * sealed_share(said["start"], 1200)
    told = (bob.peer("alice") or {})["quality"]["bandwidth_mbps"]
    print(f"bare line: {told:.2f} Mbit/s; iperf3 {sealed:.2f} sealed, {said['end']['sum']['lost_percent']:.2f} % lost")
    expect(abs(told - sealed) <= 0.05 * sealed, f"{told} Mbit/s of {sealed:.2f}")


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
    """A link that loses 5 % one way: the loss of 1000 probes is that on the cable, and as much as ping's; no A for it."""
    network = lab.network()
    alice, bob = one_way(lab, network)
    far = str(bob.host.ipv4)

    def counted() -> tuple[int, float]:
        """alice's probes and how many of them were lost."""
        hours = alice.command("quality", "bob")["peers"][0]["hours"]
        return sum(hour["probes"] for hour in hours), sum(hour["probes"] * hour["loss_percent"] / 100 for hour in hours)

    network.links["alice-router"].set(Shape(delay_ms=7.5, loss_percent=5), "up")
    cable, (before, lost_before) = Capture(alice.host, "eth0"), counted()
    pinging = alice.host.start("pinging", "ping", "-n", "-q", "-c", "1000", "-i", "0.2", "-W", "2", far)
    with flowing(alice.host, alice.address(), bob.host, bob.address(), b_sends=False):  # in silence alice asks often
        wait_until(lambda: counted()[0] >= before + 1000 and not pinging.running(), 390, "1000 probes and pings", 2)
        (count, lost), quality = counted(), (alice.peer("bob") or {})["quality"]
        packets = cable.stop()
    percent = 100 * (lost - lost_before) / (count - before)
    pings, pongs = probes(packets, far)
    seen = 100 * sum(name not in pongs for name in pings) / len(pings)
    theirs = float(re.findall(r"([\d.]+)% packet loss", pinging.output())[0])
    print(f"{percent:.2f} % of {count - before} probes lost, {seen:.2f} % of {len(pings)} on the cable, {theirs:.2f} % of 1000 "
          f"pings; grade {quality['grade']}")
    expect(abs(percent - seen) <= 1, f"{percent:.2f} %, on the cable {seen:.2f} %")
    for what in (percent, theirs):
        expect(abs(what - 5) <= 2.1, f"{what} %")  # three deviations of a thousand throws
    expect(quality["loss_percent"] < 2 or quality["grade"] != "A", "an A for a lossy path")
