"""Every ordered pair of the kinds of network: connected always, direct where that is possible, and how fast.

    alice -- router (kind A) --[12.5 ms]-- internet --[12.5 ms]-- router (kind B) -- bob
                                              |
                                          [12.5 ms]
                                              |
                                    server (public, server.lab)

Alice hosts, bob joins. Round trips between the two, and to the server, take 50 ms.

    tests/lab/run --long -j 4 matrix                    all of them, with a summary
    tests/lab/run -j 4 'matrix_easy_*' 'matrix_*_fw'    some
"""
from __future__ import annotations

import datetime
import functools
import re

from kinds import KINDS, best_path
from link import Shape
from namespace import Failure, wait_until
from party import Node, server_on, time_to_first_ping
from scenario import Lab, add, expect, expect_equal

ACCESS = Shape(delay_ms=50 / 4)
FIRST_PING_MAX_S = 3.0
FIRST_PING_P95_S = 1.0
SESSION_P95_S = 0.5  # from the moment that both know each other
# Until both ends have the path, from the first answer on. Many ports may need a second attempt, a minute later.
PATH_WITHIN_S = {"direct": 3, "relay": 3, "fresh": 10, "foreseen": 10, "many": 100}
_CONNECTED = re.compile(r"^(\S+) .*completed connect_to_peer took ([\d.e+]+) ms", re.M)


def connected(node: Node) -> tuple[float, float]:
    """When the node knew its peer, and when the two had a path and a session, by its log; seconds since 1970."""
    found = _CONNECTED.search((node.folder / "lanrage.log").read_text())
    if not found:
        raise Failure(f"the log of {node.name} does not say when it was connected")
    end = datetime.datetime.fromisoformat(found[1].replace("Z", "+00:00")).timestamp()
    return end - float(found[2]) / 1000, end


def check_pair(kind_a: str, kind_b: str, lab: Lab) -> None:
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = (Node(lab, network.host(name, kind, shape=ACCESS), name)
                  for name, kind in (("alice", kind_a), ("bob", kind_b)))
    # The name leads to the server by both families.
    invite = alice.host_party(server.link_by("server.lab"))
    seconds = time_to_first_ping(bob, invite, alice.address())

    best = best_path(kind_a, kind_b)
    way = "over TLS" if any(KINDS[kind].ports == "none" for kind in (kind_a, kind_b)) else best
    lab.measured(f"join to first answer, {way}", seconds, FIRST_PING_P95_S)
    wanted = "relay" if best == "relay" else "direct"
    waited = sum(wait_until(lambda: node.path_kind(other.name) == wanted, PATH_WITHIN_S[best],
                            f"{node.name} is connected to {other.name}, {wanted}", 0.2)
                 for node, other in ((alice, bob), (bob, alice)))
    if best != "relay":
        lab.measured(f"first answer to direct at both ends, {best}", waited)
    ends = [connected(node) for node in (alice, bob)]
    known, done = (max(times) for times in zip(*ends))
    lab.measured(f"both know each other to session, {way}", done - known, SESSION_P95_S)
    for node, other in ((alice, bob), (bob, alice)):
        for size in (56, 1200):
            share = node.host.ping(other.address(), count=10, interval_s=0.02, size=size)
            expect_equal(share, 1.0, f"answers {node.name} gets to {size} bytes")
        if wanted == "relay":
            expect((node.peer(other.name) or {}).get("why"), f"status of {node.name} does not say why it is relayed")
    expect(seconds <= FIRST_PING_MAX_S, f"{seconds:.2f} s from join to the first answered ping")


for first in KINDS:
    for second in KINDS:
        way_of_pair = best_path(first, second)
        add(f"matrix_{first}_{second}".replace("-", ""), "matrix", f"{first} and {second}: {way_of_pair}.",
            functools.partial(check_pair, first, second), limit_s=60 + PATH_WITHIN_S[way_of_pair], long=True)
