"""What crosses an interface: every IP packet, as a packet socket sees it, and a way to send packets of any source."""
from __future__ import annotations

import dataclasses
import select
import socket
import struct
import threading
from typing import Iterator

from namespace import Namespace

ETH_P_ALL = 3
OUTGOING = 4  # sll_pkttype
UDP, TCP = 17, 6
TIMESTAMPS = 35  # SO_TIMESTAMPNS, and its control message


def stamp_of(control: list[tuple[int, int, bytes]]) -> float:
    """The kernel's time of a packet received by a socket that has TIMESTAMPS set, as time.time() tells it."""
    seconds, nanoseconds = struct.unpack("qq", next(data for _, kind, data in control if kind == TIMESTAMPS))
    return seconds + nanoseconds / 1e9


@dataclasses.dataclass(frozen=True)
class Packet:
    """One IPv4 or IPv6 packet with its transport payload; `whole` begins at the IP header."""

    outgoing: bool
    source: str
    destination: str
    protocol: int
    source_port: int
    destination_port: int
    payload: bytes
    whole: bytes
    fragment: bool = False
    dont_fragment: bool = False
    at: float = 0  # when the kernel saw it, by time.time()


def parse(whole: bytes, outgoing: bool) -> Packet | None:
    version = whole[0] >> 4 if whole else 0
    if version == 4 and len(whole) >= 20:
        length, protocol = int.from_bytes(whole[2:4], "big"), whole[9]
        flags = int.from_bytes(whole[6:8], "big")
        fragment, dont_fragment = bool(flags & 0x3FFF), bool(flags & 0x4000)
        ends = [socket.inet_ntop(socket.AF_INET, whole[at:at + 4]) for at in (12, 16)]
        body = whole[(whole[0] & 0xF) * 4:length]
    elif version == 6 and len(whole) >= 40:
        protocol, fragment, dont_fragment = whole[6], whole[6] == 44, True
        ends = [socket.inet_ntop(socket.AF_INET6, whole[at:at + 16]) for at in (8, 24)]
        body = whole[40:40 + int.from_bytes(whole[4:6], "big")]
    else:
        return None
    ports = struct.unpack("!HH", body[:4]) if protocol in (UDP, TCP) and len(body) >= 8 else (0, 0)
    header = 8 if protocol == UDP else (body[12] >> 4) * 4 if protocol == TCP and len(body) >= 20 else 0
    return Packet(outgoing, ends[0], ends[1], protocol, ports[0], ports[1], body[header:], whole, fragment, dont_fragment)


class Capture:
    """Collects the packets of one interface from now until `stop`."""

    def __init__(self, space: Namespace, interface: str) -> None:
        with space.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
            self._socket.setsockopt(socket.SOL_SOCKET, TIMESTAMPS, 1)
            self._socket.bind((interface, ETH_P_ALL))
        self._packets: list[Packet] = []
        self._ended = False
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        while True:
            if not select.select([self._socket], [], [], 0 if self._ended else 0.05)[0]:
                if self._ended:
                    return
                continue
            data, control, _, address = self._socket.recvmsg(65536, 256)
            if packet := parse(data, address[2] == OUTGOING):
                self._packets.append(dataclasses.replace(packet, at=stamp_of(control)))

    def stop(self) -> list[Packet]:
        """Ends once nothing more is waiting and answers what was seen."""
        self._ended = True
        self._thread.join()
        self._socket.close()
        return self._packets


class Forger:
    """Sends UDP datagrams over IPv4 with any source address."""

    def __init__(self, space: Namespace) -> None:
        with space.entered():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def send(self, source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> None:
        udp = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0)  # no checksum
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0, 64, UDP, 0,
                             socket.inet_aton(source[0]), socket.inet_aton(destination[0]))
        self._socket.sendto(header + udp + payload, (destination[0], 0))


def datagrams(packets: list[Packet], port: int) -> Iterator[Packet]:
    """Those that go to a UDP port."""
    return (p for p in packets if p.protocol == UDP and p.destination_port == port)
