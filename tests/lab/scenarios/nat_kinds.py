"""The NATs of the lab are what they are called.

    inside 192.168.2.10 -- router (kind) -- internet -- server 5.9.1.2, 5.9.1.3
                           5.9.2.2
"""
from __future__ import annotations

import functools
import socket
import time

from mapping import Behaviour, Probes, heard, outside_address
from namespace import wait_until
from scenario import Lab, add, expect, expect_equal, scenario
from topology import Host

EXPECTED = {
    "easy": Behaviour("endpoint", "address-port", keeps_port=True),
    "easy-moved": Behaviour("endpoint", "address-port", keeps_port=False),
    "double": Behaviour("endpoint", "address-port", keeps_port=True),
    "fw4": Behaviour("endpoint", "address-port", keeps_port=True),
    "restricted": Behaviour("endpoint", "address", keeps_port=True),
    "one-to-one": Behaviour("endpoint", "endpoint", keeps_port=True),
    "sym-address": Behaviour("address", "address-port", keeps_port=False),
    "sym-kept": Behaviour("address-port", "address-port", keeps_port=True),
    "upnp-sym": Behaviour("address-port", "address-port", keeps_port=False),
    "cgn-dual": Behaviour("address-port", "address-port", keeps_port=False),
    "cone": Behaviour("endpoint", "endpoint", keeps_port=True),
    "sym": Behaviour("address-port", "address-port", keeps_port=False),
    "sym-sequential": Behaviour("address-port", "address-port", keeps_port=False),
    "cgn-easy": Behaviour("endpoint", "address-port", keeps_port=True),
    "cgn-sym": Behaviour("address-port", "address-port", keeps_port=False),
}


def check_kind(kind: str, lab: Lab) -> None:
    network = lab.network()
    server = network.public("server", addresses=2)
    inside = network.host("inside", kind)
    expect_equal(Probes(server, "5.9.1.3").measure(inside), EXPECTED[kind], f"behaviour of {kind}")


for each in EXPECTED:
    add(f"nat_kinds_{each.replace('-', '_')}", "nat", f"Mapping and filtering of {each} are what its name promises.",
        functools.partial(check_kind, each))


@scenario("nat")
def nat_kinds_ports(lab: Lab) -> None:
    """sym-sequential gives each mapping the next port, sym does not; accepting moves the port of who was called first."""
    network = lab.network()
    server = network.public("server")
    listeners = [server.udp_socket(server.ipv4 or "", 7001 + i) for i in range(6)]
    for kind in ("sym-sequential", "sym"):
        ours = network.host(kind, kind).udp_socket()
        ports = [(outside_address(ours, listener) or ("", 0))[1] for listener in listeners]
        steps = {later - earlier for earlier, later in zip(ports, ports[1:])}
        expect_equal(steps == {1}, kind == "sym-sequential", f"{kind} gives ports that follow each other ({ports})")
    inside = network.host("inside", "accepting")
    with inside.udp_socket(inside.ipv4 or "", 5555) as ours:
        expect_equal((outside_address(ours, listeners[0]) or ("", 0))[1], 5555, "port towards who did not call")
        listeners[1].sendto(b"early", (inside.network.ipv4, 5555))
        wait_until(lambda: (outside_address(ours, listeners[1]) or ("", 5555))[1] != 5555, 1, "the trap snaps")


def tcp_passes(client: Host, server: Host, port: int) -> bool:
    with server.entered():
        listener = socket.create_server((server.ipv4 or "", port))
    with listener:
        with client.entered():
            sock = socket.socket()
        with sock:
            sock.settimeout(0.3)
            try:
                sock.connect((server.ipv4, port))
                return True
            except TimeoutError:
                return False


@scenario("nat")
def nat_kinds_blocked(lab: Lab) -> None:
    """udpblock passes TCP alone, tcp443 only port 443 of it; udp443 passes TCP, and UDP to port 443."""
    network = lab.network()
    server = network.public("server")
    only_tcp = network.host("udpblock", "udpblock")
    only_443 = network.host("tcp443", "tcp443")
    also_443 = network.host("udp443", "udp443")
    listener = server.udp_socket(server.ipv4 or "", 7001)
    for host in (only_tcp, only_443, also_443):
        with host.udp_socket() as sock:
            sock.sendto(b"anyone there", listener.getsockname())
    expect(heard(listener, 0.3) is None, "UDP went through")
    expect(tcp_passes(only_tcp, server, 8000), "udpblock blocks TCP too")
    expect(not tcp_passes(only_443, server, 8000), "tcp443 lets port 8000 through")
    expect(tcp_passes(only_443, server, 443), "tcp443 blocks port 443")
    expect(tcp_passes(also_443, server, 8000), "udp443 blocks TCP")
    with also_443.udp_socket() as ours, server.udp_socket(server.ipv4 or "", 443) as https:
        expect(outside_address(ours, https), "udp443 blocks port 443")


@scenario("nat")
def nat_kinds_fw(lab: Lab) -> None:
    """The IPv6 firewall changes no address, lets answers in and nothing else; dual adds an easy IPv4."""
    network = lab.network()
    server = network.public("server", addresses=2)
    for kind in ("fw", "dual"):
        inside = network.host(kind, kind)
        ours = inside.udp_socket(inside.ipv6 or "", 5555)
        asked, stranger = server.udp_socket(server.ipv6 or "", 7001), server.udp_socket(server.ipv6 or "", 7002)
        stranger.sendto(b"knock", (inside.ipv6, 5555))
        expect(heard(ours, 0.2) is None, f"{kind} lets a stranger in")
        expect_equal(outside_address(ours, asked), (inside.ipv6, 5555), f"address seen through {kind}")
        asked.sendto(b"answer", (inside.ipv6, 5555))
        expect(heard(ours) is not None, f"{kind} keeps the answer out")
        for sock in (ours, asked, stranger):
            sock.close()
    expect_equal(Probes(server, "5.9.1.3").measure(inside), EXPECTED["easy"], "IPv4 behaviour of dual")


def passes(inside: Host, server: Host, ipv4: bool) -> bool:
    """Whether a question gets out and its answer back, by this version of IP."""
    address, own = (server.ipv4, inside.ipv4) if ipv4 else (server.ipv6, inside.ipv6)
    with server.udp_socket(address or "", 7009) as asked, inside.udp_socket(own or "") as ours:
        ours.sendto(b"question", asked.getsockname())
        asker = heard(asked, 0.3)
        if asker is None:
            return False
        asked.sendto(b"answer", asker)
        return heard(ours, 0.3) is not None


@scenario("nat")
def nat_kinds_versions(lab: Lab) -> None:
    """Of dual-dead4, dual-dead6 and cgn-dual the versions of IP pass that should; open6 lets strangers in."""
    network = lab.network()
    server = network.public("server")
    for kind, ipv4, ipv6 in (("dual-dead4", False, True), ("dual-dead6", True, False), ("cgn-dual", True, True)):
        inside = network.host(kind, kind)
        expect(inside.ipv4 and inside.ipv6, f"{kind} has addresses of both versions")
        expect_equal((passes(inside, server, True), passes(inside, server, False)), (ipv4, ipv6),
                     f"IPv4, IPv6 through {kind}")
    for kind in ("open6", "cgn-dual"):
        inside = network.host(f"{kind}-called", kind)
        with inside.udp_socket(inside.ipv6 or "", 5555) as ours, server.udp_socket(server.ipv6 or "") as stranger:
            stranger.sendto(b"knock", (inside.ipv6, 5555))
            expect_equal(heard(ours, 0.3) is not None, kind == "open6", f"{kind} lets a stranger in")


@scenario("nat")
def nat_kinds_mtu(lab: Lab) -> None:
    """Packets that are too long for the access of mtu1300 are told by ICMP; those of mtu1300-silent vanish."""
    network = lab.network()
    server = network.public("server")
    for kind in ("mtu1300", "mtu1300-silent"):
        inside = network.host(kind, kind)

        def largest(size: int) -> bool:
            done = inside.run("ping", "-M", "do", "-c", "1", "-W", "1", "-s", str(size - 28), server.ipv4 or "",
                              check=False)
            return done.returncode == 0
        expect(largest(1300), f"{kind} does not carry 1300 bytes")
        expect(not largest(1301), f"{kind} carries 1301 bytes")
        told = "1300" in inside.run("ip", "route", "get", server.ipv4 or "").stdout
        expect_equal(told, kind == "mtu1300", f"{kind} says so")


@scenario("nat")
def nat_kinds_forgets(lab: Lab) -> None:
    """A mapping is gone after its lifetime, and a restarted router gives a symmetric flow another port."""
    network = lab.network()
    server = network.public("server")
    inside = network.host("inside", "easy", udp_timeout_s=2)
    listener, ours = server.udp_socket(server.ipv4 or "", 7001), inside.udp_socket(inside.ipv4 or "", 5555)
    outside = outside_address(ours, listener)
    expect(outside, "nothing passes")
    listener.sendto(b"answer", outside)
    expect(heard(ours) is not None, "the answer does not pass")

    def forgotten() -> bool:
        listener.sendto(b"late", outside)
        return heard(ours, 0.05) is None
    # Inbound packets keep a conntrack entry alive here, so the wait is silent, and nothing tells when it may end.
    time.sleep(3)
    expect(forgotten(), "the mapping outlived its lifetime")
    symmetric = network.router("sym-router", "sym")
    other = network.lan_host("other", symmetric)
    theirs = other.udp_socket(other.ipv4 or "", 5555)
    before = outside_address(theirs, listener)
    symmetric.forget_mappings()
    wait_until(lambda: outside_address(theirs, listener) not in (None, before), 2, "another port after the restart")
