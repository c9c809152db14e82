"""A WireGuard peer that changes its address while packets flow.

    a -- home (sym, 5.9.1.2) --[7.5 ms]--\\
                                          internet --[7.5 ms]-- b (public, 5.9.3.2)
       office (easy, 5.9.2.2) --[7.5 ms]-/

a's router restarts (a new port), then a moves to the office (a new address, a new inside network) and back. Round trips
take 30 ms; with both sides sending, the silence may last two of them and 50 ms. The moves are asked of ours alone:
wireguard-go keeps sending from the address that is gone and gets ENETUNREACH for each packet from recent kernels.
"""
from __future__ import annotations

import time

from flow import flowing
from link import Shape
from scenario import Lab, expect, scenario
from topology import Network
from wireguard import STOCK, Device, check_pings, ours

ALLOWED_SILENCE_S = 0.110
WATCHED_S = 1.0  # after each change: the silence looked for is one that happens in this time
SHAPE = Shape(delay_ms=7.5)


def roam(network: Network, roamer: tuple[str, ...], stayer: tuple[str, ...], *, moves: bool, round_number: int) -> None:
    home = network.router(f"home{round_number}", "sym", shape=SHAPE)
    office = network.router(f"office{round_number}", "easy", shape=SHAPE)
    a = Device(network.lan_host(f"a{round_number}", home), 1, roamer)
    b = Device(network.public(f"b{round_number}", shape=SHAPE), 2, stayer)
    a.add_peer(b, b.endpoint())
    b.add_peer(a)
    check_pings(a, b)
    with flowing(a.host, a.ipv4, b.host, b.ipv4) as flow:
        events = [("its router restarted", home.forget_mappings)]
        if moves:
            events += [("it moved", lambda: network.move(a.host, office)),
                       ("it moved back", lambda: network.move(a.host, home))]
        for what, happen in events:
            before = b.peer(a).endpoint
            happen()
            done = time.monotonic()
            time.sleep(WATCHED_S)
            for side in (0, 1):
                silence = flow.silence(side, done)
                expect(silence <= ALLOWED_SILENCE_S, f"{silence * 1000:.0f} ms of silence at {'ab'[side]} when {what}")
            expect(b.peer(a).endpoint != before, f"the endpoint stayed {before} when {what}")


@scenario("wireguard")
def wg_roaming(lab: Lab) -> None:
    """Another port, another network and back: at most two round trips and 50 ms of silence."""
    network = lab.network()
    roam(network, ours(lab), STOCK, moves=True, round_number=1)
    roam(network, STOCK, ours(lab), moves=False, round_number=2)
