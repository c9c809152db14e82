"""What a router lets through and how it rewrites: one nftables ruleset per kind of network.

Interfaces: `lan` (a bridge, inside) and `wan` (outside). In every kind the router's own input chain drops unsolicited
packets from outside: a router that accepts them would leave a conntrack entry for each, and our own packet to that
address would then leave from another port.

kind      mapping                       filtering                 IPv6 inside
easy      endpoint-independent          address and port          no
cone      endpoint-independent          endpoint-independent      no (hairpins)
sym       address and port dependent    address and port          no
udpblock  as easy, TCP and ICMP only                              no
tcp443    as easy, TCP to port 443 only                           no
fw        no NAT; IPv6 only             stateful                  yes
dual      IPv4 as easy                  IPv6 stateful             yes
cgn-easy, cgn-sym   easy at home, behind a carrier's easy or sym  no
"""
from __future__ import annotations

KINDS = ("public", "easy", "cone", "sym", "cgn-easy", "cgn-sym", "udpblock", "tcp443", "fw", "dual")

_FILTER = """
table inet filter {{
  chain input {{
    type filter hook input priority filter; policy drop;
    iifname != "wan" accept
    ct state established,related accept
    icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, packet-too-big }} accept
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ct status dnat accept
    {outbound}
  }}
}}
"""

_OUTBOUND = {
    "udpblock": 'iifname "lan" meta l4proto != udp accept',
    "tcp443": 'iifname "lan" tcp dport 443 accept',
}

_MASQUERADE = """
table ip nat {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade {how}
  }}
}}
"""

# The map remembers which inside socket a port belongs to; the filter hook before srcnat sees every outbound packet, so
# an entry in use never expires. Hairpinned packets leave with the outside address, as the other end expects.
_CONE = """
table ip nat {{
  map ports {{
    type inet_service : ipv4_addr . inet_service
    size 65535
    flags dynamic,timeout
    timeout {timeout}s
  }}
  chain remember {{
    type filter hook postrouting priority 90;
    oifname "wan" meta l4proto udp ip saddr != {wan} update @ports {{ udp sport : ip saddr . udp sport }}
    iifname "lan" oifname "lan" ct status dnat meta l4proto udp update @ports {{ udp sport : ip saddr . udp sport }}
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip daddr {wan} meta l4proto udp dnat ip to udp dport map @ports
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade
    iifname "lan" oifname "lan" ct status dnat snat ip to {wan}
  }}
}}
"""


def home_kind(kind: str) -> str:
    """What stands at home for a kind with a carrier behind it."""
    return "easy" if kind.startswith("cgn-") else kind


def carrier_kind(kind: str) -> str | None:
    return kind.removeprefix("cgn-") if kind.startswith("cgn-") else None


def has_ipv4(kind: str) -> bool:
    return kind != "fw"


def has_ipv6(kind: str) -> bool:
    return kind in ("public", "fw", "dual")


def rules(kind: str, wan: str | None, udp_timeout_s: int) -> str:
    """The ruleset of one router; `wan` is its outside IPv4 address."""
    text = "flush ruleset\n" + _FILTER.format(outbound=_OUTBOUND.get(kind, 'iifname "lan" accept'))
    if kind == "cone":
        return text + _CONE.format(wan=wan, timeout=udp_timeout_s)
    if has_ipv4(kind):
        text += _MASQUERADE.format(how="fully-random" if kind == "sym" else "")
    return text
