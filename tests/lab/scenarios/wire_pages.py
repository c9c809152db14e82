"""A party's life as somebody on the internet's wires sees it: nothing but what docs/wire describes.

    alexandra (easy) --\\
    bartholomew (easy) -- internet (captured, every cable) -- server
    constantine (sym) --/
    desdemona (sym) ---/
"""
from __future__ import annotations

import collections
import ipaddress
import socket

import wirepages
from capture import TCP, Capture, Packet
from party import PORT, Server, Node, check_all_pairs
from scenario import Lab, expect, scenario

PARTY = "The Secret Society"


def check_streams(packets: list[Packet]) -> None:
    """Each TCP stream begins with a TLS handshake record, both ways, and carries TLS records only."""
    begun: set[tuple[str, int, str, int]] = set()
    for packet in packets:
        flow = (packet.source, packet.source_port, packet.destination, packet.destination_port)
        if packet.protocol == TCP and packet.payload and flow not in begun:
            begun.add(flow)
            expect(packet.payload[:2] == b"\x16\x03", f"a TCP stream begins with {packet.payload[:16]!r}")
    expect(len(begun) >= 8, f"{len(begun)} directions of TCP streams seen")


@scenario("wireguard")
def wire_pages(lab: Lab) -> None:
    """Every datagram of a party of four, direct and relayed, with a server: as the pages say, and no name in clear."""
    network = lab.network()
    server_host = network.public("server")
    names = {"alexandra": "easy", "bartholomew": "easy", "constantine": "sym", "desdemona": "sym"}
    hosts = {name: network.host(name, kind) for name, kind in names.items()}
    cables = [Capture(network.internet, port) for port in network.internet.interfaces() if port.startswith("p")]
    server = Server(lab, server_host)
    nodes = [Node(lab, host, name) for name, host in hosts.items()]
    invite = nodes[0].host_party(server.link, "--name", PARTY)
    for node in nodes[1:]:
        node.join(invite)
    nodes[2].wait_path("desdemona", "relay")
    nodes[0].wait_path("bartholomew", "direct")
    check_all_pairs(nodes)
    for size in (1, 100, 1000, 1392):
        expect(nodes[0].host.ping(nodes[1].address(), count=5, size=size) == 1, f"{size} bytes to bartholomew")
        expect(nodes[2].host.ping(nodes[3].address(), count=5, size=size) == 1, f"{size} bytes to desdemona")
    with nodes[0].host.udp_socket(nodes[0].address()) as game:
        game.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for _ in range(5):
            game.sendto(b"who hosts a game here?", ("255.255.255.255", 27015))
    secrets = [PARTY.encode(), *(name.encode() for name in names), b"who hosts a game", *(
        form for node in nodes for address in node.addresses()
        for form in (address.encode(), ipaddress.ip_address(address).packed))]
    nodes[3].command("leave")

    packets = [packet for cable in cables for packet in cable.stop()]
    seen: collections.Counter[str] = collections.Counter()
    for packet in packets:
        try:
            seen[wirepages.name_of(packet, PORT)] += 1
        except wirepages.Undescribed as wrong:
            expect(False, f"{packet.source}:{packet.source_port} to {packet.destination}:{packet.destination_port}: "
                          f"{wrong}: {packet.payload[:32].hex()}")
        for secret in secrets:
            expect(secret not in packet.payload, f"{secret!r} in clear from {packet.source}:{packet.source_port}")
    check_streams(packets)
    print("    " + ", ".join(f"{count} {name}" for name, count in seen.most_common()), flush=True)
    for kind in ("response", "data", "ping", "pong", "stun question", "stun answer", "register", "challenge",
                 "registered", "send initiation", "deliver initiation", "tcp"):
        expect(seen[kind], f"no {kind} seen: the capture misses something")
