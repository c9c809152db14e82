"""Several servers that share PostgreSQL, with and without NATS.

    alice -- home -- internet -- one, two: lanrage server --store ... [--bus ...]
    bob   -- home ----/   \\----- database, bus
"""
from __future__ import annotations

import functools
import time

from cluster import Nats, Postgres, servers_on
from flow import flowing
from namespace import wait_until
from party import Node, Server, check_all_pairs, node_behind
from scenario import Lab, add, expect, expect_equal, scenario
from topology import Network

MOVE_S = 3.5  # 3 s, and a share of jitter


def connected(node: Node) -> bool:
    return bool(node.status()["server"]["state"] == "connected")


def three_players(lab: Lab, network: Network) -> tuple[Node, Node, Node]:
    alice, bob, carol = (node_behind(lab, network, kind, name)
                         for kind, name in (("easy", "alice"), ("cone", "bob"), ("sym", "carol")))
    return alice, bob, carol


def check_members(servers: list[Server], count: int) -> None:
    for server in servers:
        wait_until(lambda: server.status()["members"] == count, 3, f"{server.host.name} has {count} members", 0.1)


def check_shared(with_nats: bool, lab: Lab) -> None:
    network = lab.network()
    database = Postgres(lab, network.public("database"))
    nats = Nats(network.public("bus")) if with_nats else None
    servers = one, two = servers_on(lab, network, ("one", "two"), database, nats)
    alice, bob, carol = three_players(lab, network)
    invite = alice.host_party(one.link)
    # By the other server's address alone; the invite leads to both.
    bob.join(invite)
    alice.wait_path("bob", "direct")
    bob.wait_path("alice", "direct")
    check_members(servers, 2)
    expect(sum(server.status()["clients"] for server in servers) == 2, "each player has one stream")
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        start = time.monotonic()
        one.kill()
        moved = wait_until(lambda: connected(alice) and connected(bob) and two.status()["clients"] == 2, MOVE_S,
                           "both players have the other server", 0.05)
        lab.measured("both players have the other server", moved)
        # With an invite that names the dead server first.
        carol.join(invite)
        until = time.monotonic()
        for side, name in enumerate(("alice", "bob")):
            wait_until(lambda: flow.missing(side, start, until) == 0, 2, f"every packet arrives at {name}", 0.05)
    check_all_pairs([alice, bob, carol])
    one.start()
    two.kill()
    wait_until(lambda: all(map(connected, (alice, bob, carol))) and one.status()["clients"] == 3, MOVE_S,
               "all are back at the first one", 0.05)
    check_members([one], 3)
    bob.command("leave")
    check_members([one], 2)


for with_nats in (False, True):
    add(f"servers_share_{'nats' if with_nats else 'postgresql'}", "servers",
        "Two servers are one to their players, who move to the other when theirs is killed and lose no packet.",
        functools.partial(check_shared, with_nats), limit_s=120)


@scenario("servers", limit_s=120)
def servers_split_players(lab: Lab) -> None:
    """Players at different servers meet, are told of each other's coming and going, and of invites and removals."""
    network = lab.network()
    database = Postgres(lab, network.public("database"))
    one, two = servers_on(lab, network, ("one", "two"), database, Nats(network.public("bus")))
    alice, bob, carol = three_players(lab, network)
    # bob's and carol's home does not lead to the first server.
    for node in (bob, carol):
        node.host.ip(f"route add blackhole {one.host.ipv4}/32")
    invite = alice.host_party(one.link_by(str(one.host.ipv4)))
    bob.join(alice.invite())
    carol.join(invite)
    check_all_pairs([alice, bob, carol])
    expect(one.status()["clients"] == 1 and two.status()["clients"] == 2, "they are at different servers")
    alice.command("kick", "carol")
    wait_until(lambda: bob.peer("carol") is None and carol.ask("status").data.get("state") != "in_party", 5,
               "carol is out, and bob knows", 0.1)
    bob.command("leave")
    wait_until(lambda: alice.peer("bob") is None, 5, "alice knows that bob left", 0.1)


@scenario("servers", limit_s=180)
def servers_without_database_or_bus(lab: Lab) -> None:
    """NATS away: news come late and everything works. PostgreSQL away: those who play do not notice, others are told."""
    network = lab.network()
    database, nats = Postgres(lab, network.public("database")), Nats(network.public("bus"))
    servers = one, two = servers_on(lab, network, ("one", "two"), database, nats)
    alice, bob, carol = three_players(lab, network)
    invite = alice.host_party(one.link)
    bob.host.ip(f"route add blackhole {one.host.ipv4}/32")
    nats.kill()
    wait_until(lambda: one.status()["bus"]["problem"] is not None, 5, "the server says that NATS is away", 0.1)
    bob.join(invite)
    alice.wait_path("bob", "direct", 5)
    expect_equal({server.status()["clients"] for server in servers}, {1}, "a player at each server")
    nats.start()
    for server in servers:
        wait_until(lambda: server.status()["bus"]["problem"] is None, 10, "the server has NATS again", 0.1)
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        start = time.monotonic()
        database.stop()
        refused = carol.ask("join", invite, "--as", "carol", timeout=60)
        expect(refused.code != 0, "nobody joins without the database")
        expect_equal(refused.error["message"], "the server cannot keep this just now", "what carol is told")
        until = time.monotonic()
        for side, name in enumerate(("alice", "bob")):
            wait_until(lambda: flow.missing(side, start, until) == 0, 2, f"every packet arrives at {name}", 0.05)
    database.start()
    wait_until(lambda: carol.ask("join", invite, "--as", "carol", timeout=60).code == 0, 30, "carol joins", 1)
    check_all_pairs([alice, bob, carol])
    expect_equal({server.status()["members"] for server in servers}, {3}, "members of both servers")
