"""Calendars that are wrong, and that jump while everything runs."""
from __future__ import annotations

from namespace import wait_until
from party import Node, check_all_pairs, node_behind, server_on, set_clock
from scenario import Lab, scenario
from topology import Network


def player(lab: Lab, network: Network, name: str, offset: str) -> Node:
    node = node_behind(lab, network, "easy", name)
    set_clock(node, offset)
    return node


@scenario("clocks", limit_s=120)
def clocks_wrong(lab: Lab) -> None:
    """Players whose clocks are an hour and ten years off, either way, play with each other, also after the clock of one
    was set back over its restart."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob, carol, dave = (player(lab, network, name, offset) for name, offset in (
        ("alice", "+1h"), ("bob", "-1h"), ("carol", "+10y"), ("dave", "-10y")))
    invite = alice.host_party(server.link)
    for node in (bob, carol, dave):
        node.join(invite)
    check_all_pairs([alice, bob, carol, dave])
    set_clock(carol, "-10y")
    carol.kill_daemon()
    carol.command("up")
    wait_until(lambda: carol.status()["state"] == "in_party", 5, "carol is in the party again", 0.05)
    check_all_pairs([alice, bob, carol, dave])


@scenario("clocks", limit_s=120)
def clocks_jump(lab: Lab) -> None:
    """The server's clock, and then a player's, jumps by an hour, by ten years and back: those who play go on, and others
    can join by an invite of that time."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = player(lab, network, "alice", "+0"), player(lab, network, "bob", "+0")
    set_clock(server, "+0")
    server.kill()
    server.start()
    bob.join(alice.host_party(server.link))
    check_all_pairs([alice, bob])
    others = [player(lab, network, f"carol-{i}", "+0") for i in range(4)]
    members = [alice, bob]
    for node, offset in zip(others, ("+1h", "+10y", "-1h", "+0")):
        set_clock(server, offset)
        wait_until(lambda: alice.status()["server"]["state"] == "connected", 15, "alice has the server", 0.1)
        node.join(alice.invite())
        members.append(node)
        check_all_pairs(members)
    for offset in ("+10y", "-10y", "+0"):
        set_clock(bob, offset)
        check_all_pairs(members)
