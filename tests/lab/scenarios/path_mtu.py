"""Paths that carry less than the usual 1500 bytes, with and without a word about it (RELIABILITY.md R15).

    alice -- router (kind) --[7.5 ms]-- internet --[7.5 ms]-- router (dual) -- bob
                                           |
                                       [7.5 ms]
                                           |
                                 server (public, server.lab)
"""
from __future__ import annotations

import functools

from namespace import wait_until
from party import check_all_pairs, node_behind, server_on
from scenario import Lab, add, expect_equal, scenario

LARGEST = 1420 - 28  # what the adapter takes, less IPv4's and ICMP's headers
WITHIN_S = 5


def check_largest(kind: str, lab: Lab) -> None:
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, kind, "alice"), node_behind(lab, network, "dual", "bob")
    bob.join(alice.host_party(server.link))
    for node, other in ((alice, bob), (bob, alice)):
        node.wait_path(other.name, "direct")
    for node, other in ((alice, bob), (bob, alice)):
        took = wait_until(lambda: node.host.ping(other.address(), size=LARGEST, wait_s=0.2) == 1, WITHIN_S,
                          f"the largest packet of {node.name} is answered")
        lab.measured(f"until the largest packet passes, {kind}", took)
        for size in (56, 1100, 1250, 1300, LARGEST):
            share = node.host.ping(other.address(), count=10, interval_s=0.02, size=size)
            expect_equal(share, 1.0, f"answers {node.name} gets to {size} bytes")


for each in ("easy", "mtu1300", "mtu1300-silent", "mtu1280-dual"):
    add(f"path_mtu_{each}".replace("-", ""), "path_mtu", f"The largest packet passes {each} within {WITHIN_S} s.",
        functools.partial(check_largest, each))


@scenario("path_mtu", limit_s=90)
def path_mtu_party(lab: Lab) -> None:
    """What the server has to tell of eight members reaches one behind a path that swallows packets over 1280 bytes."""
    network = lab.network()
    server = server_on(lab, network)
    nodes = [node_behind(lab, network, "easy", f"easy{number}") for number in range(7)]
    nodes.append(node_behind(lab, network, "mtu1280-dual", "narrow"))
    invite = nodes[0].host_party(server.link_by("server.lab"))
    for node in nodes[1:]:
        node.join(invite)
    check_all_pairs(nodes)
