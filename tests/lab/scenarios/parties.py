"""Parties of several players, and what happens around them.

    server (public)      alice -- router (easy)     bob -- router (cone)     carol -- router (sym)     ...
          \\_________________________ internet, 7.5 ms per access ____________________/
"""
from __future__ import annotations

import ipaddress
import time

from flow import flowing
from party import ACCESS, PORT, Node, check_all_pairs, node_behind, server_on, unix_get
from namespace import wait_until
from scenario import Lab, expect, expect_equal, scenario

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")
KINDS = ("easy", "cone", "sym", "public", "cgn-easy", "dual", "easy", "cgn-sym")
OUTAGE_S = 3  # long enough for the first retries of 1 and 2 s to fail


def gathered(lab: Lab, count: int) -> list[Node]:
    """A party of the first `count` players, all joined."""
    network = lab.network()
    server = server_on(lab, network)
    nodes = [node_behind(lab, network, kind, name) for name, kind in zip(NAMES[:count], KINDS)]
    invite = nodes[0].host_party(server.link)
    for node in nodes[1:]:
        node.join(invite)
    return nodes


@scenario("party")
def party_three(lab: Lab) -> None:
    """Three players behind easy, cone and sym: all pairs, by address and by name."""
    check_all_pairs(gathered(lab, 3))


@scenario("party", limit_s=120)
def party_eight(lab: Lab) -> None:
    """Eight players behind seven kinds of networks: all pairs, by address and by name."""
    check_all_pairs(gathered(lab, 8))


@scenario("party")
def party_lan_direct(lab: Lab) -> None:
    """Two players behind one router that does not hairpin use the LAN between them."""
    network = lab.network()
    server = server_on(lab, network)
    home = network.router("home", "easy", shape=ACCESS)
    alice, bob = (Node(lab, network.lan_host(name, home), name) for name in ("alice", "bob"))
    bob.join(alice.host_party(server.link))
    for node, other in ((alice, bob), (bob, alice)):
        peer = node.wait_path(other.name, "direct")
        expect(other.host.ipv4 in peer["path"]["endpoint"], f"direct by {peer['path']['endpoint']}, not by the LAN")
        expect(node.ping(other.name, 11)["rtt_ms"]["median"] < 5, "the LAN is slower than 5 ms")


@scenario("party")
def party_same_inside_network(lab: Lab) -> None:
    """Two homes with the same 192.168.1.0/24 and the same address in it are not taken for one LAN."""
    network = lab.network()
    server = server_on(lab, network)
    nodes = []
    for name in ("alice", "bob"):
        home = network.router(f"{name}-home", "easy", shape=ACCESS, lan4="192.168.1")
        nodes.append(Node(lab, network.lan_host(name, home), name))
    expect_equal(nodes[0].host.ipv4, nodes[1].host.ipv4, "inside addresses")
    nodes[1].join(nodes[0].host_party(server.link))
    for node, other in (nodes, nodes[::-1]):
        node.wait_path(other.name, "direct")
    check_all_pairs(nodes)


@scenario("party", limit_s=120)
def party_server_restart(lab: Lab) -> None:
    """A server killed without warning loses no packet; nodes find the new one, and others can join again."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "cone", "bob")
    carol = node_behind(lab, network, "easy", "carol")
    invite = alice.host_party(server.link)
    bob.join(invite)
    alice.wait_path("bob", "direct")
    bob.wait_path("alice", "direct")
    link = server.link
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        start = time.monotonic()
        server.kill()
        time.sleep(OUTAGE_S)
        server.start()
        wait_until(lambda: all(node.status()["server"]["state"] == "connected" for node in (alice, bob)), 15,
                   "both nodes are connected to the server again", 0.1)
        until = time.monotonic()
        for side, name in enumerate(("alice", "bob")):
            wait_until(lambda: flow.missing(side, start, until) == 0, 2, f"every packet arrives at {name}", 0.05)
    expect_equal(server.link, link, "link of the server after its restart")
    carol.join(invite)
    check_all_pairs([alice, bob, carol])


@scenario("party")
def party_node_killed(lab: Lab) -> None:
    """A node killed without warning is back in its party, with its address, when it is started again."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "cone", "bob")
    bob.join(alice.host_party(server.link))
    check_all_pairs([alice, bob])
    before = bob.address()
    bob.kill_daemon()
    expect_equal(bob.ask("status").code, 3, "exit code of status without a node")
    bob.command("up")
    wait_until(lambda: bob.status()["state"] == "in_party", 5, "bob is in the party again", 0.05)
    expect_equal(bob.address(), before, "bob's address")
    wait_until(lambda: alice.host.ping(before, wait_s=0.2) == 1, 2, "alice reaches bob again")
    check_all_pairs([alice, bob])


def state_counts(node: Node) -> dict[str, float]:
    """What the node asked of its disk, from its metrics."""
    lines = unix_get(node.folder / "lanrage.sock", "/metrics").decode().splitlines()
    return {name.removeprefix("lanrage_state_").removesuffix("_total"): float(value)
            for name, value in (line.split() for line in lines if line.startswith("lanrage_state_"))}


@scenario("party")
def party_state_writes(lab: Lab) -> None:
    """What was answered is on disk, whenever the node is killed; what did not change is not written again."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "public", "alice"), node_behind(lab, network, "easy", "bob")
    invite = alice.host_party(server.link)
    for expected, command in (("in_party", ("join", invite)), ("idle", ("leave",))) * 4:
        bob.command(*command)
        bob.kill_daemon()
        bob.command("up")
        wait_until(lambda: bob.status()["state"] == expected, 5, f"bob is {expected} after {command[0]}", 0.05)
    bob.join(invite)
    check_all_pairs([alice, bob])
    time.sleep(1)  # what was learned meanwhile waits for others
    written = {path.name: path.stat().st_mtime_ns for path in bob.folder.iterdir() if path.is_file()}
    time.sleep(3)
    expect_equal({path.name: path.stat().st_mtime_ns for path in bob.folder.iterdir() if path.is_file()}
                 | {"lanrage.log": 0}, written | {"lanrage.log": 0}, "when bob's files changed while nothing happened")
    counts = state_counts(bob)
    expect_equal(counts["merged"] + counts["unchanged"] + counts["writes"], counts["requests"], f"sum of {counts}")
    expect(counts["writes"] > 0 and counts["failing"] == 0, f"{counts}")


@scenario("party")
def party_disk_full(lab: Lab) -> None:
    """A party joined on a full disk is saved once there is room; one that is damaged is told, and joined again."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "public", "alice"), node_behind(lab, network, "easy", "bob")
    invite = alice.host_party(server.link)
    bob.host.run("mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(bob.folder))
    bob.command("up")
    filler = bob.folder / "filler"
    bob.host.run("dd", "if=/dev/zero", f"of={filler}", "bs=4k", check=False)
    bob.join(invite)
    expect("cannot" in " ".join(bob.status()["notices"]), "status says nothing of the full disk")
    bob.host.run("rm", str(filler))
    wait_until(lambda: not bob.status()["notices"], 1, "the state is saved once there is room", 0.05)
    files = bob.host.run("ls", str(bob.folder)).stdout.split()
    expect(not [name for name in files if "tmp" in name], f"files are left over: {files}")
    bob.kill_daemon()
    bob.command("up")
    wait_until(lambda: bob.status()["state"] == "in_party", 5, "bob is in the party again", 0.05)
    wait_until(lambda: alice.host.ping(bob.address(), wait_s=0.2) == 1, 2, "alice reaches bob again")
    check_all_pairs([alice, bob])
    bob.kill_daemon()
    bob.host.run("truncate", "-s", "100", str(bob.folder / "party"))
    bob.command("up")
    expect("party.damaged" in " ".join(bob.status()["notices"]), "status says nothing of the damaged party")
    bob.host.run("test", "-f", str(bob.folder / "party.damaged"))
    bob.join(invite)
    expect_equal(bob.status()["notices"], [], "what is left to tell")
    wait_until(lambda: alice.host.ping(bob.address(), wait_s=0.2) == 1, 2, "alice reaches bob again")
    check_all_pairs([alice, bob])


@scenario("party")
def party_network_changed(lab: Lab) -> None:
    """A machine that gets another address, or is plugged in elsewhere, hears of the party again within two seconds."""
    network = lab.network()
    server = server_on(lab, network)
    home = network.router("home", "easy", shape=ACCESS)
    cafe = network.router("cafe", "easy", shape=ACCESS)
    alice = Node(lab, network.lan_host("alice", home), "alice")
    guests = [node_behind(lab, network, "easy", name) for name in ("bob", "carol")]
    invite = alice.host_party(server.link)
    for guest in guests:
        guest.command("up")

    def renumber() -> None:
        old, alice.host.ipv4 = alice.host.ipv4, f"{home.lan4}.77"
        alice.host.ip(f"addr del {old}/24 dev eth0", f"addr add {alice.host.ipv4}/24 dev eth0",
                      f"route add default via {home.lan4}.1")

    for guest, change in zip(guests, (renumber, lambda: network.move(alice.host, cafe))):
        start = time.monotonic()
        change()
        guest.join(invite)  # alice hears of it from the server alone
        wait_until(lambda: alice.peer(guest.name) is not None, start + 2.5 - time.monotonic(),
                   f"alice hears of {guest.name} within 2.5 s of the change", 0.02)
        alice.wait_path(guest.name, "direct", 5)
        guest.wait_path("alice", "direct", 5)


@scenario("party")
def party_without_server(lab: Lab) -> None:
    """The server is gone and every machine restarted: who knew each other play on, directly."""
    network = lab.network()
    server = server_on(lab, network)
    home = network.router("home", "easy", shape=ACCESS)
    nodes = [Node(lab, network.lan_host(name, home), name) for name in ("alice", "bob")]
    nodes.append(node_behind(lab, network, "cone", "carol"))
    invite = nodes[0].host_party(server.link)
    for guest in nodes[1:]:
        guest.join(invite)
    check_all_pairs(nodes)
    # Written ten seconds after the first change at the latest.
    for node in nodes:
        wait_until(lambda: (node.folder / "contacts").is_file()
                   and (node.folder / "contacts").read_text().count("signal") >= 2, 25,
                   f"{node.name} wrote down where the others are", 0.2)
    server.kill()
    for node in nodes:
        node.kill_daemon()
    for node in nodes:
        node.command("up")
    check_all_pairs(nodes)
    for node in nodes:
        expect(node.status()["server"]["state"] != "connected", "the server is still there")
        for other in nodes:
            if other is not node:
                node.wait_path(other.name, "direct", 3)


def check_over_tls(alice: Node, bob: Node) -> None:
    """bob, who has no UDP, reaches alice by the relay over TLS, she him over UDP, and both are told why."""
    for node, other, transport in ((bob, alice, "tls"), (alice, bob, "udp")):
        path = node.wait_path(other.name, "relay")["path"]
        expect_equal(path["transport"], transport, f"the transport of {node.name}")
        expect_equal(node.ping(other.name, 5)["received"], 5, f"answers {node.name} gets")
        wait_until(lambda: "UDP" in str((node.peer(other.name) or {}).get("why")), 10, f"{node.name}'s status names UDP", 0.1)
    found = bob.command("netcheck")
    expect(any("over TLS, not UDP" in line for line in found["findings"]), f"netcheck: {found['findings']}")


@scenario("party")
def party_lan_alone(lab: Lab) -> None:
    """Who knew each other meets on a new LAN without any server: directly, within a second of the second one's start."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "sym", "bob")
    bob.join(alice.host_party(server.link))
    check_all_pairs([alice, bob])
    address = bob.address()
    server.kill()
    for node in (alice, bob):
        node.kill_daemon()
    elsewhere = network.router("elsewhere", "udpblock")
    for node in (alice, bob):
        network.move(node.host, elsewhere)
    alice.command("up")
    bob.command("up")
    start = time.monotonic()
    took = wait_until(lambda: alice.path_kind("bob") == bob.path_kind("alice") == "direct", 5, "both are direct", 0.05)
    print(f"direct {took:.2f} s after the start, {time.monotonic() - start:.2f} s in all")
    expect(took <= 1.0, f"direct after {took:.1f} s")
    expect(alice.host.ping(address, count=3) == 1, "packets are lost")


@scenario("party")
def party_udpblock(lab: Lab) -> None:
    """Where UDP is blocked, all goes by the relay over TLS, and status says so in a sentence at both ends."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "udpblock", "bob")
    bob.join(alice.host_party(server.link))
    check_over_tls(alice, bob)


@scenario("party")
def party_tcp443(lab: Lab) -> None:
    """Where only TCP to port 443 gets out, the server and its relay are reached there."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "tcp443", "bob")
    operator = Node(lab, server.host, "operator")
    operator.folder = server.folder
    addresses = operator.command("server", "status")["addresses"]
    expect(addresses[0] == "0.0.0.0:41820" and "0.0.0.0:443" in addresses, f"the server's addresses: {addresses}")
    expect(f":{PORT}#" in server.link, f"the link names another port: {server.link}")
    bob.join(alice.host_party(server.link))
    expect_equal(bob.status()["server"]["state"], "connected", "the server as bob sees it")
    check_over_tls(alice, bob)
    expect_equal(operator.command("server", "status")["relay"]["streams"], 1, "players who come over TLS")


@scenario("party")
def party_wrong_invites(lab: Lab) -> None:
    """Wrong, expired and revoked invites are refused with a message and a hint, and change nothing."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "public", "alice"), node_behind(lab, network, "easy", "bob")
    invite = alice.host_party(server.link)
    short = alice.invite("--expires", "1s")
    revoked = alice.command("invite")
    alice.command("revoke", revoked["id"])
    time.sleep(1.5)
    middle = len(invite) // 2
    garbled = invite[:middle] + ("a" if invite[middle] != "a" else "b") + invite[middle + 1:]
    wrong_ones = {"garbled": garbled, "expired": short, "revoked": revoked["invite"], "no": "lanrage://nothing"}
    for what, wrong in wrong_ones.items():
        answer = bob.ask("join", wrong, "--as", "bob")
        expect(answer.code in (2, 4, 5), f"{what} invite: exit {answer.code}")
        expect(answer.error.get("message"), f"{what} invite: no message")
    bob.join(invite)
    check_all_pairs([alice, bob])


@scenario("party")
def party_clashing_network(lab: Lab) -> None:
    """A joiner whose own network is the party's still reaches everybody in it."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "public", "alice"), node_behind(lab, network, "easy", "bob")
    invite = alice.host_party(server.link)
    party = ipaddress.ip_interface(f"{alice.address()}/24").network
    bob.host.ip("link add office type veth peer name desk", "link set office up", "link set desk up",
                f"addr add {party[200]}/24 dev office")
    bob.join(invite)
    check_all_pairs([alice, bob])
