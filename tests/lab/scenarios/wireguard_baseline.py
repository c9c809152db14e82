"""Two stock WireGuard devices across the lab: what fails here is the lab's fault.

    a -- router (cone, 5.9.1.2) -- internet -- b (public, 5.9.2.2)
"""
from __future__ import annotations

import wireguard
from scenario import Lab, scenario


@scenario("wireguard")
def wireguard_go_baseline(lab: Lab) -> None:
    """Stock wireguard-go at both ends: pings and transfers over both families."""
    network = lab.network()
    a = wireguard.Device(network.host("a", "cone"), 1, wireguard.STOCK)
    b = wireguard.Device(network.public("b"), 2, wireguard.STOCK)
    key = wireguard.new_preshared_key()
    a.add_peer(b, b.endpoint(), key)
    b.add_peer(a, preshared_key=key)
    wireguard.check_pings(a, b)
    wireguard.check_transfers(a, b)
