"""Two players behind every pair of networks.

    alice -- router (kind A) --[7.5 ms]-- internet --[7.5 ms]-- router (kind B) -- bob
                                             |
                                          [7.5 ms]
                                             |
                                   server (public, server.lab)

Alice hosts, bob joins. Round trips between the two, and to the server, take 30 ms.
"""
from __future__ import annotations

import functools
import itertools

from kinds import expected_path, share_family
from party import node_behind, server_on, time_to_first_ping
from scenario import Lab, add, expect, expect_equal

KINDS = ("public", "easy", "cone", "sym", "cgn-easy", "cgn-sym", "fw", "dual")
FIRST_PING_S = 1.0
# The lines alone make 30 and 60 ms. The limit tells one from the other, and a detour from none, on a busy machine, too.
ROUND_TRIP_LIMIT_MS = {"direct": 45, "relay": 90}


def check_pair(kind_a: str, kind_b: str, lab: Lab) -> None:
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, kind_a, "alice"), node_behind(lab, network, kind_b, "bob")
    # The name leads both families to the server; addresses do where one family is enough.
    if not share_family(kind_a, kind_b):
        link = server.link_by("server.lab")
    else:
        link = server.link_by(f"[{server.host.ipv6}]") if "fw" in (kind_a, kind_b) else server.link
    invite = alice.host_party(link)
    seconds = time_to_first_ping(bob, invite, alice.address())

    wanted = expected_path(kind_a, kind_b)
    for node, other in ((alice, bob), (bob, alice)):
        peer = node.wait_path(other.name, wanted)
        if wanted == "relay":
            expect(peer["why"], f"status of {node.name} does not say why it is relayed")
        share = node.host.ping(other.address(), count=10, interval_s=0.02)
        expect_equal(share, 1.0, f"answers {node.name} gets by address")
        answers = node.ping(other.name, 5)
        expect_equal(answers["received"], 5, f"answers {node.name} gets by name")
        # A relayed packet goes through the server's access, too.
        limit = ROUND_TRIP_LIMIT_MS[wanted]
        expect(answers["rtt_ms"]["median"] < limit, f"{answers['rtt_ms']['median']} ms, more than {limit}")
    expect(seconds <= FIRST_PING_S, f"{seconds:.2f} s from join to the first answered ping")


for first, second in itertools.combinations_with_replacement(KINDS, 2):
    add(f"party_pair_{first}_{second}".replace("-", ""), "party_pairs",
        f"{first} and {second}: {expected_path(first, second)} within 3 s, first ping within 1 s.",
        functools.partial(check_pair, first, second))
