"""Relays on hosts of their own.

    alice -- sym router -- internet -- server (--no-relay)
    bob   -- sym router ----/   \\---- near, far: lanrage relay, at 2 and 20 ms
"""
from __future__ import annotations

import signal
import time

from flow import flowing
from namespace import wait_until
from party import Node, Relay, Server, node_behind, relay_on, server_on
from scenario import Lab, expect, expect_equal, scenario
from topology import Network


def relayed_pair(lab: Lab, network: Network, server: Server) -> tuple[Node, Node]:
    """Two players whom only a relay joins."""
    alice, bob = (node_behind(lab, network, "sym", name) for name in ("alice", "bob"))
    bob.join(alice.host_party(server.link))
    return alice, bob


def relay_of(node: Node, peer: str) -> str | None:
    """The id of the relay that the path to a connected peer leads by."""
    found = node.peer(peer)
    return found["path"]["relay"] if found and found["state"] == "connected" else None


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
    with flowing(alice.host, alice.address(), bob.host, bob.address()):  # flows within 2 s
        expect_equal(relay_of(alice, "bob"), relay.id, "the restarted relay serves without its server")
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
    listed = {relay["role"]: relay for relay in alice.command("relays")["relays"]}
    expect_equal((listed["primary"]["id"], listed["primary"]["region"]), (near.id, "eu"), "the primary relay")
    expect_equal(listed["secondary"]["id"], far.id, "the secondary relay")
    wait_until(lambda: all(relay["health"] is not None and relay["load"] is not None
                           for relay in alice.command("relays")["relays"]), 15, "alice hears how both relays are")
    expect(18 < listed["primary"]["rtt_ms"] < 40 and 54 < listed["secondary"]["rtt_ms"] < 90, f"{listed}")
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        time.sleep(2)
        since = time.monotonic()
        near.kill()
        time.sleep(1.5)
        silences = [flow.silence(side, since) for side in (0, 1)]
    expect_equal({relay_of(alice, "bob"), relay_of(bob, "alice")}, {far.id}, "the relay that took over")
    print(f"  silence in ms: {[round(1000 * s) for s in silences]}")
    expect(max(silences) < 1.2, f"silence after the relay was killed: {silences}")


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
