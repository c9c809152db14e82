"""The kinds of network that players have, each as its parts, and what is possible between two of them."""
from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind. What the routers do stands in nat.py, by the names that `home` and `outer` give."""

    home: str = ""  # the rules of the router at home; empty: no router, an address of one's own
    outer: str = ""  # the rules of one more router before it, the carrier's or another at home
    between: str = "100.64"  # the network between the two
    inside: str = "192.168"  # addresses at home; 5.10 are public
    ipv4: str = "nat"  # nat, own (a public address without NAT), dead (nothing gets through), "" (no address)
    ipv6: str = ""  # own, dead, ""
    opens: tuple[str, ...] = ()  # how the router at home can be asked for ports
    udp_timeout_s: int | None = None  # instead of the scenario's
    mtu: int = 0  # of the access; 0: as everywhere
    mtu_told: bool = True  # by ICMP; otherwise long packets vanish
    # What UDP over IPv4 sees of it: how the outside port is chosen, and whether one that was told lets everybody (or,
    # of an address that was called, every port) in.
    ports: str = "one"  # one for all destinations; counted, random: another for each; none: UDP gets nowhere
    is_open: bool = False

    @property
    def speaks_ipv4(self) -> bool:
        return self.ipv4 in ("nat", "own")

    @property
    def speaks_ipv6(self) -> bool:
        return self.ipv6 == "own"


KINDS = {
    "public": Kind(ipv4="own", ipv6="own", is_open=True),
    "easy": Kind("easy"),
    "easy-moved": Kind("easy-moved"),
    "accepting": Kind("accepting"),
    "cone": Kind("cone", is_open=True),
    "restricted": Kind("restricted", is_open=True),
    "one-to-one": Kind("one-to-one", is_open=True),
    "short": Kind("easy", udp_timeout_s=10),
    "sym": Kind("sym", ports="random"),
    "sym-address": Kind("sym-address", ports="random"),
    "sym-kept": Kind("sym-kept", ports="random"),
    "sym-sequential": Kind("sym-sequential", ports="counted"),
    "double": Kind("easy", "easy", between="10.64"),
    "cgn-easy": Kind("easy", "easy"),
    "cgn-sym": Kind("easy", "sym", ports="random"),
    "cgn-dual": Kind("dual", "sym", ipv6="own", ports="random"),
    "udpblock": Kind("udpblock", ports="none"),
    "udp443": Kind("udp443", ports="none"),
    "tcp443": Kind("tcp443", ports="none"),
    "fw": Kind("fw", ipv4="", ipv6="own"),
    "fw4": Kind("fw4", ipv4="own", inside="5.10"),
    "open6": Kind("open6", ipv4="", ipv6="own"),
    "dual": Kind("dual", ipv6="own"),
    "dual-dead4": Kind("dead4", ipv4="dead", ipv6="own"),
    "dual-dead6": Kind("dead6", ipv6="dead"),
    "mtu1300": Kind("easy", mtu=1300),
    "mtu1300-silent": Kind("easy", mtu=1300, mtu_told=False),
    "mtu1280-dual": Kind("dual", ipv6="own", mtu=1280, mtu_told=False),
    "upnp": Kind("upnp", opens=("upnp",), is_open=True),
    "natpmp": Kind("upnp", opens=("natpmp",), is_open=True),
    "pcp": Kind("upnp", opens=("pcp",), is_open=True),
    "upnp-sym": Kind("upnp-sym", opens=("upnp",), ports="random", is_open=True),
    "cgn-upnp": Kind("upnp", "easy", opens=("upnp",)),
}


def best_path(a: str, b: str) -> str:
    """What two kinds can have: direct; fresh, foreseen or many (direct after a while, docs/paths.md); relay."""
    ours, theirs = KINDS[a], KINDS[b]
    if ours.speaks_ipv6 and theirs.speaks_ipv6:
        return "direct"
    ports = {ours.ports, theirs.ports}
    if not (ours.speaks_ipv4 and theirs.speaks_ipv4) or "none" in ports:
        return "relay"
    if ours.is_open or theirs.is_open:
        return "direct"
    if ports == {"one"}:
        return "fresh" if "accepting" in (a, b) else "direct"
    if "random" not in ports:
        return "foreseen"
    return "many" if "one" in ports else "relay"


def expected_path(a: str, b: str) -> str:
    """direct or relay: what ordinary probes find, early enough."""
    return "direct" if best_path(a, b) in ("direct", "fresh") else "relay"


def share_family(a: str, b: str) -> bool:
    """Whether some IP version is spoken at both ends."""
    ours, theirs = KINDS[a], KINDS[b]
    return (ours.speaks_ipv4 and theirs.speaks_ipv4) or (ours.speaks_ipv6 and theirs.speaks_ipv6)
