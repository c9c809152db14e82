"""What a game sends to its LAN arrives at every other member, exactly once, from the sender's party address.

    eight players behind seven kinds of networks, as in parties.py; each has eth0 (default route) and its party adapter
"""
from __future__ import annotations

import dataclasses
import ipaddress
import select
import socket
import struct
import time

from party import Node
from scenario import Lab, expect, expect_equal, scenario
from scenarios.parties import gathered

GROUPS = ("224.0.0.251", "239.255.255.250", "224.0.2.60", "225.1.1.1")
PORT = 27960  # not one that is kept from leaving, as mDNS's and SSDP's are
LARGE = (1400, 8192)  # larger than a path carries in one piece, larger than any card
SETTLE_S = 1.0
IP_MULTICAST_ALL = 49  # not named by the socket module


@dataclasses.dataclass(frozen=True)
class Heard:
    payload: bytes
    source: tuple[str, int]


class Listener:
    """A game's socket: 0.0.0.0:port, in the groups, as most games do it."""

    def __init__(self, node: Node, port: int = PORT, groups: tuple[str, ...] = GROUPS, *, bound: str = "0.0.0.0",
                 only_joined: bool = False) -> None:
        self.node = node
        with node.host.entered():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind((bound, port))
            for group in groups:
                anywhere = socket.inet_aton(group) + struct.pack("=I", socket.INADDR_ANY)
                self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, anywhere)
            if only_joined:  # what the Java runtime sets on every socket
                self.socket.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
        self.heard: list[Heard] = []


def collect(listeners: list[Listener], seconds: float = SETTLE_S) -> None:
    """Keeps what arrives until `seconds` passed."""
    end = time.monotonic() + seconds
    by_socket = {listener.socket: listener for listener in listeners}
    while (left := end - time.monotonic()) > 0:
        for sock in select.select(list(by_socket), [], [], left)[0]:
            by_socket[sock].heard.append(Heard(*sock.recvfrom(65535)))


def game_socket(node: Node, source: str = "") -> socket.socket:
    """A socket that may broadcast; `source` binds it, and its multicast, to the interface with that address."""
    with node.host.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.bind((source, 0))
        if source:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(source))
    return sock


def broadcast_of(address: str) -> str:
    return str(ipaddress.ip_interface(f"{address}/24").network.broadcast_address)


def check_exactly_once(listeners: list[Listener], sender: Node, address: str, sent: dict[bytes, int]) -> None:
    """Every other member heard each payload once, from `address` and the port it was sent from."""
    faults = []
    for listener in listeners:
        for payload, port in sent.items():
            sources = [h.source for h in listener.heard if h.payload == payload]
            if listener.node is sender:
                # The kernel itself hands a sender's machine one copy of its own.
                if len(sources) > 1:
                    faults.append(f"{payload.decode().strip('.')}: back at its sender {sources}")
            elif sources != [(address, port)]:
                who = f"{listener.node.name} heard it from {sources}"
                faults.append(f"{payload.decode().strip('.')}: {who}, not once from {address}:{port}")
    expect(not faults, "\n".join(faults))


@scenario("lan", limit_s=120)
def lan_broadcast(lab: Lab) -> None:
    """Broadcast and multicast from either interface: once at each of seven others, right source."""
    nodes = gathered(lab, 8)
    listeners = [Listener(node) for node in nodes]
    for sender in (nodes[0], nodes[3]):
        address, outside = sender.address(), sender.host.ipv4 or ""
        sent: dict[bytes, int] = {}
        for source in ("", address, outside):
            targets = ["255.255.255.255", *GROUPS, broadcast_of(address), broadcast_of(outside)]
            for target in targets:
                # The kernel sends from one interface to the other's subnet only by routing: that is no broadcast.
                if source and target.endswith(".255") and target not in ("255.255.255.255", broadcast_of(source)):
                    continue
                with game_socket(sender, source) as sock:
                    payload = f"{sender.name} from {source or 'any'} to {target}".encode()
                    sock.sendto(payload, (target, PORT))
                    sent[payload] = sock.getsockname()[1]
                collect(listeners, 0.12)
        for size in LARGE:
            for target in ("255.255.255.255", broadcast_of(address), GROUPS[3]):
                with game_socket(sender) as sock:
                    payload = f"{size} bytes from {sender.name} to {target} ".encode().ljust(size, b".")
                    sock.sendto(payload, (target, PORT))
                    sent[payload] = sock.getsockname()[1]
                collect(listeners, 0.12)
        collect(listeners)
        check_exactly_once(listeners, sender, address, sent)


@scenario("lan")
def lan_card_of_another_address(lab: Lab) -> None:
    """What a program sends on one card from the address of another is heard, as is the party's broadcast from a card."""
    nodes = gathered(lab, 3)
    address, outside = nodes[0].address(), nodes[0].host.ipv4 or ""
    listeners = [Listener(node) for node in nodes]
    sent: dict[bytes, int] = {}
    for source, card in ((address, outside), (outside, address)):
        with game_socket(nodes[0], source) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(card))
            payload = f"from {source} on the card of {card}".encode()
            sock.sendto(payload, (GROUPS[3], PORT))
            sent[payload] = sock.getsockname()[1]
    with game_socket(nodes[0]) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        sock.sendto(b"bound to eth0", (broadcast_of(address), PORT))
        sent[b"bound to eth0"] = sock.getsockname()[1]
    collect(listeners)
    check_exactly_once(listeners, nodes[0], address, sent)


@scenario("lan")
def lan_answer(lab: Lab) -> None:
    """The unicast answer to a broadcast's source reaches the game that asked."""
    nodes = gathered(lab, 3)
    listeners = [Listener(node) for node in nodes[1:]]
    with game_socket(nodes[0]) as asking:
        asking.sendto(b"anyone there", ("255.255.255.255", PORT))
        collect(listeners)
        for listener in listeners:
            expect_equal(len(listener.heard), 1, f"questions {listener.node.name} heard")
            listener.socket.sendto(listener.node.name.encode(), listener.heard[0].source)
        asking.settimeout(2)
        answers = {asking.recvfrom(2048) for _ in listeners}
    wanted = {(node.name.encode(), (node.address(), PORT)) for node in nodes[1:]}
    expect_equal(answers, wanted, "answers and where they came from")


@scenario("lan")
def lan_java_group(lab: Lab) -> None:
    """A game that hears only the interface it joined on (every Java game) hears the group, once."""
    nodes = gathered(lab, 3)
    listeners = [Listener(node, 4445, ("224.0.2.60",), only_joined=True) for node in nodes]
    with game_socket(nodes[0]) as announcing:
        announcing.sendto(b"a world", ("224.0.2.60", 4445))
        port = announcing.getsockname()[1]
    collect(listeners)
    check_exactly_once(listeners, nodes[0], nodes[0].address(), {b"a world": port})


@scenario("lan")
def lan_bound_elsewhere(lab: Lab) -> None:
    """A game bound to the other card's address is reached, and its answer comes from its party address."""
    nodes = gathered(lab, 2)
    alice, bob = nodes
    listener = Listener(bob, PORT, (), bound=bob.host.ipv4 or "")
    with game_socket(alice) as asking:
        asking.sendto(b"anyone there", ("255.255.255.255", PORT))
        collect([listener])
        expect_equal([h.payload for h in listener.heard], [b"anyone there"], "what the game heard")
        listener.socket.sendto(b"here", listener.heard[0].source)
        asking.settimeout(2)
        expect_equal(asking.recvfrom(2048), (b"here", (bob.address(), PORT)), "the answer and where it came from")
        # Larger than the adapter's MTU: the fragments' ports are in the first only.
        large = b"." * 4000
        asking.sendto(large, (bob.address(), PORT))
        collect([listener])
        expect(listener.heard[-1].payload == large, "the game heard no datagram of 4000 bytes")
        listener.socket.sendto(large, listener.heard[-1].source)
        expect(asking.recvfrom(8192) == (large, (bob.address(), PORT)), "no answer of 4000 bytes from its party address")


@scenario("lan")
def lan_no_default_route(lab: Lab) -> None:
    """A machine that has routes, but no default one: a game that chose no card is heard all the same."""
    nodes = gathered(lab, 2)
    alice, bob = nodes
    gateway = str(ipaddress.ip_interface(f"{alice.host.ipv4}/24").network[1])
    alice.host.ip(f"route add 5.9.0.0/16 via {gateway}", "route del default")
    listener = Listener(bob)
    sent: dict[bytes, int] = {}
    with game_socket(alice) as asking:
        for target in ("255.255.255.255", "239.255.255.250"):
            payload = f"anyone at {target}".encode()
            asking.sendto(payload, (target, PORT))
            sent[payload] = asking.getsockname()[1]
    collect([listener])
    check_exactly_once([listener], alice, alice.address(), sent)


@scenario("lan")
def lan_repeats_pass(lab: Lab) -> None:
    """A game that repeats the same bytes every 100 ms is alive: each of them arrives, once."""
    nodes = gathered(lab, 3)
    listeners = [Listener(node) for node in nodes[1:]]
    with game_socket(nodes[0]) as announcing:
        for _ in range(20):
            announcing.sendto(b"a server", ("255.255.255.255", PORT))
            collect(listeners, 0.1)
    collect(listeners)
    for listener in listeners:
        expect_equal(len(listener.heard), 20, f"announcements {listener.node.name} heard")


@scenario("lan")
def lan_each_card_in_turn(lab: Lab) -> None:
    """One announcement sent on each card in turn, from one port, reaches the party once."""
    nodes = gathered(lab, 3)
    listeners = [Listener(node) for node in nodes]
    address, outside = nodes[0].address(), nodes[0].host.ipv4 or ""
    with game_socket(nodes[0]) as announcing:
        for interface, target in ((outside, "225.1.1.1"), (address, "225.1.1.1")):
            announcing.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
            announcing.sendto(b"a server", (target, PORT))
        port = announcing.getsockname()[1]
    collect(listeners)
    others = [listener for listener in listeners if listener.node is not nodes[0]]
    check_exactly_once(others, nodes[0], address, {b"a server": port})
