"""What a router lets through and how it rewrites: one nftables ruleset per kind of network.

Interfaces: `lan` (a bridge, inside) and `wan` (outside). In every kind but `accepting` the router's own input chain
drops unsolicited packets from outside: a router that accepts them leaves a conntrack entry for each, and a packet of
ours to where it came from then leaves from another port.

kind      mapping                       filtering                 IPv6 inside
easy      endpoint-independent          address and port          no
cone      endpoint-independent          endpoint-independent      no (hairpins)
accepting as easy; takes unsolicited packets for its own          no
sym       address and port dependent    address and port          no
sym-sequential   as sym, each port the next one                   no
udpblock  as easy, TCP and ICMP only                              no
tcp443    as easy, TCP to port 443 only                           no
fw        no NAT; IPv6 only             stateful                  yes
dual      IPv4 as easy                  IPv6 stateful             yes
upnp      as easy; opens ports on request (miniupnpd)             no
cgn-easy, cgn-sym   easy at home, behind a carrier's easy or sym  no
cgn-upnp            upnp at home, behind a carrier's easy         no
"""
from __future__ import annotations

KINDS = ("public", "easy", "accepting", "cone", "sym", "sym-sequential", "cgn-easy", "cgn-sym", "udpblock", "tcp443", "fw", "dual", "upnp", "cgn-upnp")

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

# Ports 20000 and up in turn. A map, since a bare numgen would be a number in this machine's byte order.
_SEQUENTIAL_PORTS = 4096
_SEQUENTIAL = """
table ip nat {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    oifname "wan" meta l4proto udp snat ip to {wan} : numgen inc mod {count} map {{ {ports} }}
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


def home_kind(kind: str) -> str:
    """What stands at home for a kind with a carrier behind it."""
    return {"cgn-easy": "easy", "cgn-sym": "easy", "cgn-upnp": "upnp"}.get(kind, kind)


def carrier_kind(kind: str) -> str | None:
    return {"cgn-easy": "easy", "cgn-sym": "sym", "cgn-upnp": "easy"}.get(kind)


def has_ipv4(kind: str) -> bool:
    return kind != "fw"


def has_ipv6(kind: str) -> bool:
    return kind in ("public", "fw", "dual")


def rules(kind: str, wan: str | None, udp_timeout_s: int) -> str:
    """The ruleset of one router; `wan` is its outside IPv4 address."""
    text = "flush ruleset\n" + _FILTER.format(outbound=_OUTBOUND.get(kind, 'iifname "lan" accept'),
                                              inbound="accept" if kind == "accepting" else "")
    if kind == "cone":
        return text + _CONE.format(wan=wan, timeout=udp_timeout_s)
    if kind == "sym-sequential":
        ports = ", ".join(f"{i} : {20000 + i}" for i in range(_SEQUENTIAL_PORTS))
        return text + _SEQUENTIAL.format(wan=wan, count=_SEQUENTIAL_PORTS, ports=ports)
    if kind == "upnp":
        text += _UPNP
    if has_ipv4(kind):
        text += _MASQUERADE.format(how="fully-random" if kind == "sym" else "")
    return text
