"""Echo requests from a namespace, by a raw socket of the scenario's own.

The `ping` program leaves soon after its last request, two round trips by its own measure; on a loaded machine that
counts late answers as lost. Here an answer has `wait_s` from the last request on.
"""
from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time

from capture import TIMESTAMPS, stamp_of
from namespace import Namespace

ECHO_REQUEST, ECHO_REPLY = 8, 0
ECHO_REQUEST_V6, ECHO_REPLY_V6 = 128, 129
SO_RCVBUFFORCE, RECEIVE_BUFFER = 33, 8 << 20  # answers of 30 KB each must not be lost while this process waits
HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, number


def checksum(data: bytes) -> int:
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Echo:
    """One exchange with one address; `size` counts the bytes behind the ICMP header, as ping's -s does."""

    def __init__(self, space: Namespace, address: str, size: int) -> None:
        self._address = address
        self._v6 = ":" in address
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._payload = bytes(i & 0xFF for i in range(size))
        with space.entered():
            if self._v6:
                self._socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            else:
                self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self._answered: set[int] = set()

    def answered(self, count: int, interval_s: float, wait_s: float) -> int:
        """How many of `count` requests were answered."""
        with self._socket:
            for number in range(count):
                with contextlib.suppress(OSError):  # no route (yet): a request without an answer
                    self._socket.sendto(self._request(number), (self._address, 0))
                last = number == count - 1
                self._listen(time.monotonic() + (wait_s if last else interval_s), count)
        return len(self._answered)

    def wait(self, interval_s: float, timeout_s: float) -> bool:
        """Sends requests, one each `interval_s`, until any is answered; False: none is in time."""
        until = time.monotonic() + timeout_s
        number = 0
        with self._socket:
            while not self._answered and time.monotonic() < until:
                with contextlib.suppress(OSError):
                    self._socket.sendto(self._request(number), (self._address, 0))
                number += 1
                self._listen(time.monotonic() + interval_s, 1)
        return bool(self._answered)

    def _request(self, number: int) -> bytes:
        kind = ECHO_REQUEST_V6 if self._v6 else ECHO_REQUEST
        empty = HEADER.pack(kind, 0, 0, self._identifier, number) + self._payload
        if self._v6:
            return empty  # the kernel fills in ICMPv6's checksum
        return HEADER.pack(kind, 0, checksum(empty), self._identifier, number) + self._payload

    def _listen(self, until: float, count: int) -> None:
        while (left := until - time.monotonic()) > 0 and len(self._answered) < count:
            if not select.select([self._socket], [], [], left)[0]:
                return
            packet = self._socket.recv(65536)
            if not self._v6:
                packet = packet[(packet[0] & 0xF) * 4:]
            kind, _, _, identifier, number = HEADER.unpack_from(packet)
            reply = ECHO_REPLY_V6 if self._v6 else ECHO_REPLY
            if kind == reply and identifier == self._identifier and packet[HEADER.size:] == self._payload:
                self._answered.add(number)


def round_trips_ms(space: Namespace, address: str, seconds: float, per_second: int = 500) -> tuple[list[float], int]:
    """Sorted round trips of small echo requests sent on a fixed schedule, and how many were lost.

    Answers are stamped by the kernel: how late this interpreter looks at them does not count.
    """
    echo = Echo(space, address, 32)
    count = int(seconds * per_second)
    begun: dict[int, float] = {}
    took: dict[int, float] = {}
    with echo._socket as sock:
        sock.setsockopt(socket.SOL_SOCKET, TIMESTAMPS, 1)
        start = time.monotonic()
        for number in range(count):
            begun[number] = time.time()
            with contextlib.suppress(OSError):
                sock.sendto(echo._request(number), (address, 0))
            until = start + (number + 1) / per_second if number < count - 1 else time.monotonic() + 1
            while (left := until - time.monotonic()) > 0 and len(took) < count:
                if not select.select([sock], [], [], left)[0]:
                    break
                packet, control, _, _ = sock.recvmsg(2048, 256)
                kind, _, _, identifier, answered = HEADER.unpack_from(packet[(packet[0] & 0xF) * 4:])
                if kind == ECHO_REPLY and identifier == echo._identifier and answered not in took:
                    took[answered] = 1000 * (stamp_of(control) - begun[answered])
    return sorted(took.values()), count - len(took)
