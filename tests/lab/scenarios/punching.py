"""Direct paths where ordinary probes find none: ports foreseen, many tried, fresh sockets, hairpins, IPv6 firewalls.

    alice -- router (kind A) --[7.5 ms]-- internet --[7.5 ms]-- router (kind B) -- bob
                                             |
                                          [7.5 ms]
                                             |
                                   server (public, server.lab)

docs/paths.md has what the share of these is; `tests/lab/run punching` measures it again.
"""
from __future__ import annotations

import functools
import time

from namespace import wait_until
from party import ACCESS, Node, node_behind, server_on, time_to_first_ping
from scenario import Lab, add, expect, expect_equal, scenario

# Seconds from `join`. The first attempt begins once discovery knows how a NAT chooses ports, and the tests' machine is
# busy; many ports may need a second attempt, a minute later, in one case of sixty.
FORESEEN_S = 8
FIRST_MANY_S = 25
MANY_S = 100
SOCKETS_MAX = 320
SOCKETS_LEFT = 13  # its own, the winner, the LAN's search, and four of discovery while the router's memory is measured


def pair(lab: Lab, kind_a: str, kind_b: str) -> tuple[Node, Node, str]:
    """Alice hosts; the invite for bob."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, kind_a, "alice"), node_behind(lab, network, kind_b, "bob")
    return alice, bob, alice.host_party(server.link)


def sockets_of(node: Node) -> int:
    """UDP sockets of the node's network: its own two, a few of discovery, and what is tried."""
    return len(node.host.run("ss", "-Huan").stdout.splitlines())


def ports_of(node: Node) -> str | None:
    """What netcheck says of the ports that the node's NAT gives."""
    return (node.command("netcheck")["ipv4"] or {}).get("ports")


def plays(alice: Node, bob: Node) -> None:
    """What the adapters carry takes the direct path, both ways, small and large."""
    for node, other in ((alice, bob), (bob, alice)):
        expect(not (node.peer(other.name) or {}).get("why"), f"{node.name} is told something of a direct path")
        for size in (56, 1300):
            share = node.host.ping(other.address(), count=10, interval_s=0.02, size=size)
            expect_equal(share, 1.0, f"answers {node.name} gets to {size} bytes")
        # By the relay it takes twice as long.
        wait_until(lambda: node.ping(other.name, 5)["rtt_ms"]["median"] < 45, 5, "a round trip by the direct path")


def check_foreseen(kind_a: str, kind_b: str, lab: Lab) -> None:
    alice, bob, invite = pair(lab, kind_a, kind_b)
    began = time.monotonic()
    # In a second, says party_pairs; here only that nothing waits for the direct path.
    expect(time_to_first_ping(bob, invite, alice.address()) <= 3, "the first ping takes more than 3 s")
    for node, other in ((alice, bob), (bob, alice)):
        node.wait_path(other.name, "direct", FORESEEN_S)
    print(f"    {kind_a}, {kind_b}: direct after {time.monotonic() - began:.1f} s")
    plays(alice, bob)
    for node, kind in ((alice, kind_a), (bob, kind_b)):
        if kind.startswith("sym"):
            expect_equal(ports_of(node), "sequential", f"ports of {kind}")


def check_many(kind_a: str, kind_b: str, lab: Lab) -> None:
    alice, bob, invite = pair(lab, kind_a, kind_b)
    began = time.monotonic()
    # In a second, says party_pairs; here only that nothing waits for the direct path.
    expect(time_to_first_ping(bob, invite, alice.address()) <= 3, "the first ping takes more than 3 s")
    symmetric = alice if "sym" in kind_a else bob
    said: set[str] = set()
    most = 0

    def direct() -> bool:
        nonlocal most
        most = max(most, sockets_of(symmetric))
        said.update(str((node.peer(other.name) or {}).get("why")) for node, other in ((alice, bob), (bob, alice)))
        return alice.path_kind("bob") == bob.path_kind("alice") == "direct"
    wait_until(direct, MANY_S, f"{kind_a} and {kind_b} have a direct path", 0.2)
    print(f"    {kind_a}, {kind_b}: direct after {time.monotonic() - began:.1f} s, {most} sockets at most")
    expect(any("many ports are being tried" in why for why in said), f"nobody is told what goes on: {said}")
    expect(most <= SOCKETS_MAX, f"{most} sockets")
    plays(alice, bob)
    wait_until(lambda: sockets_of(symmetric) <= SOCKETS_LEFT, 5, "all sockets but the winner are closed")
    expect_equal(ports_of(symmetric), "random", "ports of the symmetric NAT")


SEQUENTIAL = [("sym-sequential", other) for other in ("easy", "cgn-easy", "dual", "sym-sequential")]
SEQUENTIAL += [("easy", "sym-sequential"), ("cgn-easy", "sym-sequential")]
for first, second in SEQUENTIAL:
    add(f"punching_{first}_{second}".replace("-", ""), "punching",
        f"{first} and {second}: ports are foreseen, direct within {FORESEEN_S} s.",
        functools.partial(check_foreseen, first, second))
MANY = [("sym", "easy"), ("easy", "sym"), ("cgn-sym", "easy"), ("cgn-easy", "sym")]
MANY += [("sym", "accepting"), ("accepting", "sym")]  # whose router takes the first pings for its own
for first, second in MANY:
    add(f"punching_{first}_{second}".replace("-", ""), "punching",
        f"{first} and {second}: one of many ports is hit, direct within {MANY_S} s.",
        functools.partial(check_many, first, second), limit_s=MANY_S + 40)


@scenario("punching", limit_s=90)
def punching_fresh_socket(lab: Lab) -> None:
    """A router that took an early ping for its own keeps the direct path shut; a fresh socket opens it."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "accepting", "bob")
    invite = alice.host_party(server.link)
    # Bob's pings are late, and the trap snaps: alice's come to his router first.
    home = alice.host.network.ipv4  # type: ignore
    bob.host.nft(f"add table ip late\nadd chain ip late out {{ type filter hook output priority 0; }}\n"
                 f"add rule ip late out ip daddr {home} drop")
    bob.join(invite)
    bob.wait_path("alice", "relay")
    time.sleep(2.2)  # of alice's pings, and a first fresh socket
    expect_equal(bob.path_kind("alice"), "relay", "path in the trap")
    bob.host.nft("delete table ip late")
    for node, other in ((alice, bob), (bob, alice)):
        node.wait_path(other.name, "direct", 45)
    # Whoever has the fresh socket is reached by another port than that of the node's own.
    ends = [(node.peer(other.name) or {})["path"]["endpoint"].rpartition(":")[2] != str(other.status()["self"]["port"])
            for node, other in ((alice, bob), (bob, alice))]
    expect(any(ends), "no fresh socket was needed")
    plays(alice, bob)


@scenario("punching")
def punching_hairpin(lab: Lab) -> None:
    """Two homes behind one carrier that hairpins meet at the carrier's public address."""
    network = lab.network()
    server = server_on(lab, network)
    carrier = network.router("carrier", "cone", shape=ACCESS)
    alice, bob = (Node(lab, network.lan_host(name, network.router_behind(carrier, f"{name}-home", "easy")), name)
                  for name in ("alice", "bob"))
    bob.join(alice.host_party(server.link))
    for node, other in ((alice, bob), (bob, alice)):
        path = node.wait_path(other.name, "direct")["path"]
        expect_equal(path["endpoint"].partition(":")[0], carrier.ipv4, f"where {node.name} sends to")
        expect(node.ping(other.name, 5)["rtt_ms"]["median"] < 20, "a round trip that does not leave the carrier")
