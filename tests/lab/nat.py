"""What a router lets through and how it rewrites: one nftables ruleset per kind of network.

Interfaces: `lan` (a bridge, inside) and `wan` (outside). In every kind but `accepting` the router's own input chain
drops unsolicited packets from outside: a router that accepts them leaves a conntrack entry for each, and a packet of
ours to where it came from then leaves from another port. kinds.py says which networks these routers make.

rules     mapping                       filtering
easy      endpoint-independent          address and port
easy-moved  as easy, but never the port inside
cone      endpoint-independent          endpoint-independent, hairpins
restricted  as cone                     address
one-to-one  the first host inside has the outside address for itself
accepting as easy; takes unsolicited packets for its own
sym       address and port dependent    address and port
sym-address  address dependent          address and port
sym-kept  as sym, but the first destination sees the port inside
sym-sequential   as sym, each port the next one
udpblock  as easy, TCP and ICMP only
udp443    as easy, of UDP ports 53 and 443 only
tcp443    as easy, TCP to port 443 only
fw, fw4   no NAT; stateful, of IPv6 or IPv4
open6     no NAT, no filter; IPv6
dual      IPv4 as easy, IPv6 stateful
dead4, dead6   as dual, but nothing of that version gets through
upnp, upnp-sym  as easy or sym; opens ports on request (miniupnpd)
"""
from __future__ import annotations

_FILTER = """
table inet filter {{
  chain input {{
    type filter hook input priority filter; policy drop;
    iifname != "wan" accept
    ct state established,related accept
    {inbound}
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
    "udp443": 'iifname "lan" meta l4proto != udp accept\n    iifname "lan" udp dport { 53, 443 } accept',
    "tcp443": 'iifname "lan" tcp dport 443 accept',
    "dead4": 'iifname "lan" meta nfproto ipv6 accept',
    "dead6": 'iifname "lan" meta nfproto ipv4 accept',
    "open6": "accept",
}

_MASQUERADE = """
table ip nat {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade {how}
  }}
}}
"""

_ONE_TO_ONE = """
table ip nat {{
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip daddr {wan} dnat ip to {first}
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "wan" snat ip to {wan}
  }}
}}
"""

# One of ports 20000 and up. A map, since a bare number would be one in this machine's byte order.
_PORTS = 4096
_CHOSEN_PORTS = """
table ip nat {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "wan" meta l4proto udp snat ip to {wan} : {choice} mod {count} map {{ {ports} }}
    oifname "wan" masquerade
  }}
}}
"""
_CHOICES = {
    "sym-sequential": "numgen inc",
    "sym-address": "jhash ip saddr . udp sport . ip daddr",
    "easy-moved": "jhash ip saddr . udp sport",
}

# A chain of NAT sees the first packet of each flow.
_KEPT_FIRST = """
table ip nat {{
  set known {{
    type ipv4_addr . inet_service
    size 65535
    flags dynamic,timeout
    timeout {timeout}s
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "wan" meta l4proto udp ip saddr . udp sport @known masquerade fully-random
    oifname "wan" meta l4proto udp add @known {{ ip saddr . udp sport }}
    oifname "wan" masquerade
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
  set called {{
    type ipv4_addr . inet_service
    size 65535
    flags dynamic,timeout
    timeout {timeout}s
  }}
  chain remember {{
    type filter hook postrouting priority 90;
    oifname "wan" meta l4proto udp ip saddr != {wan} update @ports {{ udp sport : ip saddr . udp sport }}
    oifname "wan" meta l4proto udp update @called {{ ip daddr . udp sport }}
    iifname "lan" oifname "lan" ct status dnat meta l4proto udp update @ports {{ udp sport : ip saddr . udp sport }}
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat;
    ip daddr {wan} meta l4proto udp {caller} dnat ip to udp dport map @ports
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "wan" masquerade
    iifname "lan" oifname "lan" ct status dnat snat ip to {wan}
  }}
}}
"""

# miniupnpd fills in the chains that are empty here.
_UPNP = """
table inet upnp {
  chain opened_forward { }
  chain opened_prerouting { }
  chain opened_postrouting { }
  chain forward {
    type filter hook forward priority filter + 1;
    jump opened_forward
  }
  chain prerouting {
    type nat hook prerouting priority dstnat;
    jump opened_prerouting
  }
  chain postrouting {
    type nat hook postrouting priority srcnat - 1;
    jump opened_postrouting
  }
}
"""

# How a router can be asked for ports.
METHODS = ("pcp", "natpmp", "upnp")

# miniupnpd has one switch for PCP and NAT-PMP; the first byte of a question tells which it is.
_NOT_ASKED = """
table inet not_asked {{
  chain input {{
    type filter hook input priority filter - 1;
    udp dport 5351 @th,64,8 {version} drop
  }}
}}
"""

_MINIUPNPD = """
ext_ifname=wan
listening_ip=lan
port=5000
enable_upnp={upnp}
enable_natpmp={pmp}
max_lifetime={lifetime}
min_lifetime=1
secure_mode=yes
uuid=0d4b1a52-6b0c-4d0e-9c53-6a1f3c1e6a01
upnp_table_name=upnp
upnp_nat_table_name=upnp
upnp_forward_chain=opened_forward
upnp_nat_chain=opened_prerouting
upnp_nat_postrouting_chain=opened_postrouting
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"""


def miniupnpd_settings(methods: tuple[str, ...], max_lifetime_s: int) -> str:
    return _MINIUPNPD.format(upnp="yes" if "upnp" in methods else "no",
                             pmp="yes" if "pcp" in methods or "natpmp" in methods else "no", lifetime=max_lifetime_s)


def deaf_to(methods: tuple[str, ...]) -> str:
    """Rules for what miniupnpd answers beside `methods`."""
    return "".join(_NOT_ASKED.format(version=version) for method, version in (("natpmp", 0), ("pcp", 2))
                   if ("pcp" in methods or "natpmp" in methods) and method not in methods)


def rules(kind: str, wan: str | None, first: str, udp_timeout_s: int) -> str:
    """The ruleset of one router; `wan` is its outside IPv4 address, `first` that of the first host inside."""
    text = "flush ruleset\n" + _FILTER.format(outbound=_OUTBOUND.get(kind, 'iifname "lan" accept'),
                                              inbound="accept" if kind == "accepting" else "")
    if kind in ("cone", "restricted"):
        caller = "ip saddr . udp dport @called" if kind == "restricted" else ""
        return text + _CONE.format(wan=wan, timeout=udp_timeout_s, caller=caller)
    if kind == "one-to-one":
        return text + _ONE_TO_ONE.format(wan=wan, first=first)
    if kind in _CHOICES:
        ports = ", ".join(f"{i} : {20000 + i}" for i in range(_PORTS))
        return text + _CHOSEN_PORTS.format(wan=wan, choice=_CHOICES[kind], count=_PORTS, ports=ports)
    if kind == "sym-kept":
        return text + _KEPT_FIRST.format(timeout=udp_timeout_s)
    if kind.startswith("upnp"):
        text += _UPNP
    if kind not in ("fw", "fw4", "open6", "dead4"):
        text += _MASQUERADE.format(how="fully-random" if kind in ("sym", "upnp-sym") else "")
    return text
