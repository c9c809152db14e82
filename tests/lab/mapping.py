"""What a NAT does to UDP, measured with sockets on two public hosts: mapping and filtering as RFC 4787 names them."""
from __future__ import annotations

import dataclasses
import socket

from topology import Host

Address = tuple[str, int]


def heard(sock: socket.socket, timeout_s: float = 1) -> Address | None:
    """Who the next datagram came from, or None."""
    sock.settimeout(timeout_s)
    try:
        return sock.recvfrom(2048)[1][:2]
    except TimeoutError:
        return None


def outside_address(inside: socket.socket, server: socket.socket) -> Address | None:
    """The address under which `server` sees `inside`."""
    inside.sendto(b"who am I", server.getsockname())
    return heard(server)


@dataclasses.dataclass(frozen=True)
class Behaviour:
    mapping: str  # endpoint, address, address-port
    filtering: str  # the same three
    keeps_port: bool


class Probes:
    """Three server sockets on two public addresses: first, other port of the same address, other address."""

    def __init__(self, host: Host, second_address: str) -> None:
        self.first = host.udp_socket(host.ipv4 or "", 7001)
        self.other_port = host.udp_socket(host.ipv4 or "", 7002)
        self.other_address = host.udp_socket(second_address, 7001)

    def mapping(self, inside: socket.socket) -> str:
        seen = [outside_address(inside, server) for server in (self.first, self.other_port, self.other_address)]
        if None in seen:
            return "none"
        if seen[0] == seen[1]:
            return "endpoint" if seen[0] == seen[2] else "address"
        return "address-port"

    def filtering(self, inside: socket.socket) -> str:
        """`inside` must not have sent to the other two sockets before."""
        outside = outside_address(inside, self.first)
        if outside is None:
            return "none"
        passes = []
        for server in (self.other_address, self.other_port, self.first):
            server.sendto(b"knock", outside)
            passes.append(heard(inside, 0.2) is not None)
        if not passes[2]:
            return "everything"
        return "endpoint" if passes[0] else "address" if passes[1] else "address-port"

    def measure(self, host: Host) -> Behaviour:
        """Measures from fresh sockets of a host."""
        with host.udp_socket(host.ipv4 or "", 5555) as one, host.udp_socket(host.ipv4 or "", 5556) as two:
            filtering = self.filtering(one)
            mapping = self.mapping(two)
            seen = outside_address(two, self.first)
            return Behaviour(mapping, filtering, seen is not None and seen[1] == 5556)
