"""Relays on hosts of their own.

    alice -- sym router -- internet -- server (--no-relay)
    bob   -- sym router ----/   \\---- near, far: lanrage relay, at 2 and 20 ms
"""
from __future__ import annotations

import base64
import json
import os
import re
import select
import signal
import struct
import time
from typing import Any, Callable

import relaywire
from flow import flowing
from namespace import wait_until
from party import Node, Relay, Server, environment, node_behind, relay_on, server_on, unix_get
from relaywire import Device, SigningKey, data_for, kind_of, send_to
from scenario import Lab, expect, expect_equal, scenario
from topology import Host, Network


def relayed_pair(lab: Lab, network: Network, server: Server) -> tuple[Node, Node]:
    """Two players whom only a relay joins."""
    alice, bob = (node_behind(lab, network, "sym", name) for name in ("alice", "bob"))
    bob.join(alice.host_party(server.link))
    return alice, bob


def relay_of(node: Node, peer: str) -> str | None:
    """The id of the relay that the path to a connected peer leads by."""
    found = node.peer(peer)
    return found["path"]["relay"] if found and found["state"] == "connected" else None


def kernel_packets(server: Server) -> int:
    """What the server's own relay let its kernel forward, as of its last report."""
    text = unix_get(server.folder / "server.sock", "/metrics").decode()
    found = re.search(r'lanrage_relay_packets_kernel_total\{relay="own"\} (\d+)', text)
    return int(found[1]) if found else 0


@scenario("relays", limit_s=120)
def relay_in_kernel(lab: Lab) -> None:
    """The kernel forwards what two play, over IPv4, over IPv6 and between both by the relay itself; nobody notices that
    the relay's network changes, or that it may not."""
    network = lab.network()
    server = server_on(lab, network)
    players = [node_behind(lab, network, kind, name)
               for kind, name in (("sym", "alice"), ("sym", "bob"), ("fw", "carol"))]
    invite = players[0].host_party(server.link_by("server.lab"))
    for node in players[1:]:
        node.join(invite)
    alice, bob, carol = players
    for node in (bob, carol):
        wait_until(lambda: relay_of(alice, node.name) is not None, 15, f"alice reaches {node.name} by the relay")
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow, \
            flowing(alice.host, alice.address(), carol.host, carol.address()) as mixed:
        since = time.monotonic()
        time.sleep(6)
        server.host.run("ip", "address", "add", "198.51.100.77/32", "dev", "lo")
        time.sleep(6)
        until = time.monotonic() - 0.5
        sent = flow.sent(0, since, until) + flow.sent(1, since, until)
        missing = [one.missing(side, since, until) for one in (flow, mixed) for side in (0, 1)]
        wait_until(lambda: kernel_packets(server) > 0.8 * sent, 6, f"the kernel forwarded most of {sent} packets")
        expect(kernel_packets(server) < 1.5 * sent, f"{kernel_packets(server)} of {sent} packets and some probes")
        expect_equal(missing, [0, 0, 0, 0], "datagrams lost")
    server.kill()
    server.options = ("--offload", "false")
    server.start()
    wait_until(lambda: alice.host.ping(bob.address(), wait_s=0.2) == 1, 20, "alice reaches bob by the restarted relay")
    time.sleep(6)
    expect_equal(kernel_packets(server), 0, "packets forwarded by the kernel with --offload false")


@scenario("relays", limit_s=90)
def relay_alone(lab: Lab) -> None:
    """The server names the relay that its operator allowed, and no other; it relays on while the server is away, also
    after a restart."""
    network = lab.network()
    server = server_on(lab, network, "--no-relay")
    stranger = Relay(lab, network.public("stranger"), server)
    relay = relay_on(lab, network, server, "near", 2, "--region", "eu")
    alice, bob = relayed_pair(lab, network, server)
    for node, peer in ((alice, "bob"), (bob, "alice")):
        wait_until(lambda: relay_of(node, peer) == relay.id, 5, f"{node.name} reaches {peer} by the relay")
    expect_equal(server.relays(), {relay.key: "connected"}, "relays of the server")
    expect("does not take this relay" in stranger.process.output(), "the stranger was not told that it is refused")
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        time.sleep(0.5)
        since = time.monotonic()
        server.kill()
        time.sleep(3)
        server.start()
        # It remembers the relay: players who come back first are told of it all the same.
        wait_until(lambda: alice.status()["server"]["state"] == bob.status()["server"]["state"] == "connected", 15,
                   "both are back at the server")
        wait_until(lambda: server.relays().get(relay.key) == "connected", 15, "the relay is back at the server")
        time.sleep(1)
        silences = [flow.silence(side, since) for side in (0, 1)]
    expect(max(silences) < 0.3, f"silence while the server was away: {silences}")
    server.kill()
    relay.kill()
    relay.start()  # it remembers whose players it serves
    wait_until(lambda: alice.host.ping(bob.address(), wait_s=0.2) == 1, 20, "the restarted relay serves without its server")
    server.start()
    wait_until(lambda: server.relays().get(relay.key) == "connected", 30, "the relay is back at the server")
    relay.process.stop(signal.SIGTERM)
    wait_until(lambda: server.relays().get(relay.key) == "away", 2, "the relay has said goodbye")


@scenario("relays", limit_s=60)
def relay_killed(lab: Lab) -> None:
    """A pair uses the nearer of two relays; when that one is killed the other carries their stream soon after."""
    network = lab.network()
    server = server_on(lab, network, "--no-relay")
    near = relay_on(lab, network, server, "near", 2, "--region", "eu")
    far = relay_on(lab, network, server, "far", 20, "--region", "us")
    alice, bob = relayed_pair(lab, network, server)
    for node, peer in ((alice, "bob"), (bob, "alice")):
        wait_until(lambda: relay_of(node, peer) == near.id, 15, f"{node.name} reaches {peer} by the nearer relay")
    def by_role(role: str) -> dict[str, Any]:
        return next((relay for relay in alice.command("relays")["relays"] if relay["role"] == role), {})
    for role, relay, region in (("primary", near, "eu"), ("secondary", far, "us")):
        wait_until(lambda: by_role(role).get("id") == relay.id, 10, f"the {role} relay is the one of {region}", 0.1)
        expect_equal(by_role(role)["region"], region, f"region of the {role} relay")
    wait_until(lambda: all(relay["health"] is not None and relay["load"] is not None
                           for relay in alice.command("relays")["relays"]), 15, "alice hears how both relays are")
    metrics = unix_get(server.folder / "server.sock", "/metrics").decode()
    for name in ("health", "sessions", "packets_out_total"):
        expect(f'lanrage_relay_{name}{{relay="{near.id}"}}' in metrics, f"{name} of the nearer relay in {metrics}")
    nearer, farther = (by_role(role)["rtt_ms"] for role in ("primary", "secondary"))
    expect(nearer > 18 and farther > 54, f"{nearer} and {farther} ms")  # one measurement each: more says nothing
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        time.sleep(2)
        since = time.monotonic()
        near.kill()
        time.sleep(1.5)
        silences = [flow.silence(side, since) for side in (0, 1)]
    expect_equal({relay_of(alice, "bob"), relay_of(bob, "alice")}, {far.id}, "the relay that took over")
    print(f"  silence in ms: {[round(1000 * s) for s in silences]}")
    expect(max(silences) < 0.6, f"silence after the relay was killed: {silences}")


@scenario("relays", limit_s=60)
def relay_drained(lab: Lab) -> None:
    """A relay that is told to stop, its server dead, goes when its players have moved, who lose nothing."""
    network = lab.network()
    server = server_on(lab, network, "--no-relay")
    near = relay_on(lab, network, server, "near", 2)
    far = relay_on(lab, network, server, "far", 20)
    alice, bob = relayed_pair(lab, network, server)
    for node, peer in ((alice, "bob"), (bob, "alice")):
        wait_until(lambda: relay_of(node, peer) == near.id, 15, f"{node.name} reaches {peer} by the nearer relay")
    server.kill()  # nobody but the relay itself can tell them
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        time.sleep(1)
        since = time.monotonic()
        near.process.send_signal(signal.SIGTERM)
        wait_until(lambda: relay_of(alice, "bob") == far.id and relay_of(bob, "alice") == far.id, 2, "both have moved")
        wait_until(lambda: not near.process.running(), 10, "the relay has gone")
        gone = time.monotonic() - since
        time.sleep(1)
        silences = [flow.silence(side, since) for side in (0, 1)]
        missing = [flow.missing(side, since, time.monotonic() - 0.5) for side in (0, 1)]
    print(f"  lost {missing}, silence in ms {[round(1000 * s) for s in silences]}, relay gone after {gone:.1f} s")
    expect_equal(missing, [0, 0], "datagrams lost while the relay was drained")
    expect(gone > 1.5, f"the relay went after {gone} s: players had no time to leave")


@scenario("relays", limit_s=60)
def relay_of_server_drained(lab: Lab) -> None:
    """A server that is told to stop goes when the players of its relay have moved, who lose nothing; at once without any."""
    network = lab.network()
    server = server_on(lab, network)
    far = relay_on(lab, network, server, "far", 40)
    alice, bob = relayed_pair(lab, network, server)

    def are_near() -> bool:
        return all(relay_of(node, peer) not in (None, far.id) for node, peer in ((alice, "bob"), (bob, "alice")))
    wait_until(are_near, 15, "both use the server's own relay")
    wait_until(lambda: all(relay["registered"] and relay["score"] for node in (alice, bob)
                           for relay in node.command("relays")["relays"]), 15, "both know the other relay")
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        time.sleep(1)
        since = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: relay_of(alice, "bob") == far.id and relay_of(bob, "alice") == far.id, 2, "both have moved")
        server.process.wait(7)
        gone = time.monotonic() - since
        time.sleep(1)
        missing = [flow.missing(side, since, time.monotonic() - 0.5) for side in (0, 1)]
    print(f"  lost {missing}, server gone after {gone:.1f} s")
    expect_equal(missing, [0, 0], "datagrams lost while the server's relay was drained")
    expect(1.5 < gone < 3, f"the server went after {gone:.1f} s")
    server.start()
    since = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(3)
    unused = time.monotonic() - since
    print(f"  {unused:.2f} s where nobody plays by it")
    expect(unused < 1.5, f"{unused:.1f} s to stop a relay that nobody uses")


class Caller:
    """A socket that asks a relay, and what it gets."""

    def __init__(self, host: Host, relay: tuple[str, int]) -> None:
        self._socket = host.udp_socket(host.ipv4)
        self._relay = relay

    def send(self, datagram: bytes) -> None:
        self._socket.sendto(datagram, self._relay)

    def hear(self, wait_s: float = 2) -> bytes | None:
        return self._socket.recv(2048) if select.select([self._socket], [], [], wait_s)[0] else None

    def ask(self, datagram: bytes, wait_s: float = 2) -> bytes | None:
        self.send(datagram)
        return self.hear(wait_s)

    def enter(self, device: Device, *indices: int) -> bytes:
        """Registers by the two round trips; the relay's last word."""
        challenge = self.ask(device.register())
        expect(challenge is not None and kind_of(challenge) == relaywire.CHALLENGE, "an address without a cookie gets a challenge")
        said = self.ask(device.register(challenge[12:28], *indices))
        expect(said is not None, "a relay answers to a cookie")
        if kind_of(said) == relaywire.REGISTERED:
            device.session = said[12:20]
        return said

    def silent(self) -> bool:
        return self.hear(0.3) is None


@scenario("relays")
def relay_hostile(lab: Lab) -> None:
    """Parties do not reach each other; forged, overheard, replayed and expired grants are refused; strangers get little."""
    network = lab.network()
    host, inside, outside = (network.public(name) for name in ("relay", "inside", "outside"))
    grants = SigningKey()
    folder = lab.state / "relay"
    folder.mkdir(mode=0o700)
    (folder / "relay.keys").write_text(json.dumps({"server": bytes(32).hex(), "keys": [base64.b64encode(grants.public).decode()]}))
    process = host.start("lanrage", lab.binary, "relay", "--server", f"https://{host.ipv4}:9#{'A' * 43}", "--json",
                         env=environment(str(folder)))
    wait_until(lambda: '"key"' in process.output(), 10, "the relay is ready")
    key = base64.b64decode(json.loads(next(x for x in process.output().splitlines() if x.startswith('{"key"')))["key"])
    relay = (host.ipv4, 41820)
    alice, bob, mallory = Device(key, 1, grants), Device(key, 1, grants), Device(key, 2, grants)
    at = {device: Caller(inside if device is not mallory else outside, relay) for device in (alice, bob, mallory)}
    for device, index in ((alice, 1), (bob, 2), (mallory, 3)):
        expect_equal(kind_of(at[device].enter(device, index)), relaywire.REGISTERED, "a member is registered")

    payload = data_for(2, b"x" * 32)
    at[alice].send(payload)
    expect_equal(at[bob].hear(), payload, "a party's own packet")
    at[mallory].send(payload)
    expect(at[bob].silent(), "another party's packet arrived by its index")
    refused = at[mallory].ask(send_to(bob.peer, b"\1" + b"x" * 147))
    expect(refused is not None and kind_of(refused) == relaywire.ABSENT and at[bob].silent(), "another party's frame arrived")

    other = SigningKey()
    stranger = Caller(outside, relay)
    for title, device, reason in (("another server's", Device(key, 1, other), relaywire.BAD_GRANT),
                                  ("a forged", Device(key, 1, grants, signed_by=other), relaywire.BAD_GRANT),
                                  ("an expired", Device(key, 1, grants, lifetime_s=-3600), relaywire.EXPIRED_GRANT)):
        said = stranger.enter(device)
        expect_equal((kind_of(said), said[12]), (relaywire.REFUSED, reason), f"{title} grant")
    # Overheard: the whole question again, from elsewhere; then with a cookie that was fetched, and no key.
    overheard = alice.register(bytes(16), 1)
    cookie = stranger.ask(overheard)[12:28]
    expect_equal(kind_of(stranger.ask(overheard)), relaywire.CHALLENGE, "a replayed question")
    stranger.send(overheard[:12] + cookie + overheard[28:])
    expect(stranger.silent(), "a grant without its key was answered")
    at[bob].send(data_for(1, b"y" * 32))
    expect(at[alice].hear() is not None, "the packet came to alice, not to who overheard her")
    said = stranger.ask(alice.refresh())
    expect_equal((kind_of(said), said[12]), (relaywire.REFUSED, relaywire.UNKNOWN_SESSION), "a refresh from elsewhere")

    # Whatever a stranger sends, under any address, it gets less back, and nobody else gets any of it.
    for kind in range(relaywire.REGISTER - 1, relaywire.DRAIN + 3):
        for size in (12, 13, 28, 30, 36, 60, 64, 148, 175, 179, 1200):
            for question in (struct.pack("<I", kind) + bob.peer + bytes(size - 12), struct.pack("<I", kind) + os.urandom(size - 4)):
                stranger.send(question)
                answer = stranger.hear(0.01)
                expect(answer is None or len(answer) <= size, f"{len(answer or b'')} bytes for {size} of type {kind:#x}")
    for kind in (1, 2, 3, 4):
        stranger.send(struct.pack("<II", kind, 2) + bytes(140))
        answer = stranger.hear(0.05)
        expect(answer is None or len(answer) <= 148, "an answer to a stranger's packet")
    expect(all(caller.silent() for caller in at.values()), "a stranger's packet was passed on")
    expect(process.running(), "the relay lives")


def p95(values: list[float]) -> float:
    return sorted(values)[round(0.95 * (len(values) - 1))]


class TwoRelays:
    """A pair that plays by the nearer of two relays."""

    def __init__(self, lab: Lab) -> None:
        network = lab.network()
        server = server_on(lab, network, "--no-relay")
        self.near = relay_on(lab, network, server, "near", 2)
        self.far = relay_on(lab, network, server, "far", 20)
        self.alice, self.bob = relayed_pair(lab, network, server)

    def wait_near(self, limit_s: float) -> None:
        for node, peer in ((self.alice, "bob"), (self.bob, "alice")):
            wait_until(lambda: relay_of(node, peer) == self.near.id, limit_s, f"{node.name} uses the nearer relay", 0.1)

    def silences(self, rounds: int, fail: Callable[[], None], heal: Callable[[], None]) -> list[float]:
        """How long the stream is silent, at either end, each time that the nearer relay fails."""
        found = []
        for number in range(rounds):
            self.wait_near(30)
            with flowing(self.alice.host, self.alice.address(), self.bob.host, self.bob.address()) as flow:
                time.sleep(2.5 + 0.037 * number)
                since = time.monotonic()
                fail()
                time.sleep(3)
                found += [flow.silence(side, since) for side in (0, 1)]
            heal()
        print(f"  silence in ms: {sorted(round(1000 * s) for s in found)}, p95 {1000 * p95(found):.0f}")
        return found


@scenario("relays", limit_s=900, long=True)
def relay_killed_often(lab: Lab) -> None:
    """The nearer relay is killed ten times: silence 300 ms p95, and the pair comes back each time."""
    pair = TwoRelays(lab)
    expect(p95(pair.silences(10, pair.near.kill, pair.near.start)) <= 0.3, "too long")
    pair.wait_near(30)


@scenario("relays", limit_s=900, long=True)
def relay_black_holed(lab: Lab) -> None:
    """The nearer relay hears nothing any more and says nothing, ten times: silence 1.5 s p95, 2 s at most."""
    pair = TwoRelays(lab)

    def fail() -> None:
        pair.near.host.nft("table inet hole {\n chain input {\n type filter hook input priority -200;\n udp dport 41820 drop\n }\n}")

    found = pair.silences(10, fail, lambda: pair.near.host.nft("delete table inet hole"))
    expect(p95(found) <= 1.5 and max(found) <= 2, "too long")


@scenario("relays", limit_s=90)
def relay_choice(lab: Lab) -> None:
    """Three relays in two regions: the order, what is expected through each, and the next one when the best is loaded."""
    network = lab.network()
    server = server_on(lab, network, "--no-relay")
    relays = {"near": relay_on(lab, network, server, "near", 2, "--region", "eu"),
              "next": relay_on(lab, network, server, "next", 12, "--region", "eu"),
              "far": relay_on(lab, network, server, "far", 40, "--region", "us")}
    alice, bob = relayed_pair(lab, network, server)

    def ranked(node: Node, peer: str) -> list[tuple[str, str]]:
        found = node.peer(peer)
        names = {relay.id: name for name, relay in relays.items()}
        return [(names[relay["id"]], relay["role"]) for relay in found["relays"] if relay["score"]] if found else []
    wanted = [("near", "primary"), ("next", "secondary"), ("far", "tertiary")]
    for node, peer in ((alice, "bob"), (bob, "alice")):
        wait_until(lambda: relay_of(node, peer) == relays["near"].id, 15, f"{node.name} reaches {peer} by the nearest")
        wait_until(lambda: ranked(node, peer) == wanted, 15, f"{node.name} orders the relays: {ranked(node, peer)}")
    time.sleep(10)  # eight probes to each, and the news of them
    found = alice.peer("bob") or {}
    best = found["relays"][0]
    measured = alice.ping("bob", 20)["rtt_ms"]["median"]
    print(f"  expected {best['expected_rtt_ms']:.1f} ms, measured {measured:.1f} ms; scores "
          f"{[round(relay['score'], 1) for relay in found['relays']]}")
    expect(abs(best["expected_rtt_ms"] - measured) < 0.1 * measured, "the expected round trip is not that of a ping")
    for relay in found["relays"]:
        health = 100 if relay["health"] is None else relay["health"]
        score = 0.7 * (relay["our_score"] * relay["peer_score"]) ** 0.5 + 0.3 * health
        expect(abs(score - relay["score"]) < 0.1, f"the score is not made of its parts: {relay}")
