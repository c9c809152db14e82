"""A steady exchange of datagrams, like a game's, that shows how long a disturbance was felt."""
from __future__ import annotations

import contextlib
import select
import socket
import statistics
import threading
import time
from typing import Iterator

from namespace import wait_until
from topology import Host


class Flow:
    """100 datagrams a second from each side that sends, until closed; arrival times on the other side are kept."""

    INTERVAL_S = 0.01

    def __init__(
        self, a: Host, a_address: str, b: Host, b_address: str, *, a_sends: bool = True, b_sends: bool = True
    ) -> None:
        self._sockets = (a.udp_socket(a_address), b.udp_socket(b_address))
        self._targets = (self._sockets[1].getsockname(), self._sockets[0].getsockname())
        self._sends = (a_sends, b_sends)
        self._sent: tuple[list[float], list[float]] = ([], [])  # when, by number; towards b and a
        self._arrivals: tuple[list[float], list[float]] = ([], [])
        self._arrived: tuple[set[int], set[int]] = (set(), set())
        self._delays: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])  # when sent, how long
        self._ended = False
        self._thread = threading.Thread(target=self._exchange, daemon=True)
        self._thread.start()

    def _exchange(self) -> None:
        due = time.monotonic()
        while not self._ended:
            for sock, target, sends, sent in zip(self._sockets, self._targets, self._sends, self._sent):
                if sends:
                    sent.append(time.monotonic())
                    with contextlib.suppress(OSError):  # no route while a cable is being moved
                        sock.sendto((len(sent) - 1).to_bytes(8, "big"), target)
            due += self.INTERVAL_S
            while (left := due - time.monotonic()) > 0:
                for sock in select.select(self._sockets, [], [], left)[0]:
                    with contextlib.suppress(OSError):
                        number = int.from_bytes(sock.recv(64), "big")
                        side = self._sockets.index(sock)
                        self._arrived[side].add(number)
                        arrival, sent = time.monotonic(), self._sent[1 - side][number]
                        self._arrivals[side].append(arrival)
                        self._delays[side].append((sent, arrival - sent))

    def flows(self) -> bool:
        """Whether every side that should hear has heard."""
        return all(self._arrivals[1 - side] for side in (0, 1) if self._sends[side])

    def silence(self, side: int, since: float) -> float:
        """Longest time without an arrival at a (0) or b (1) between `since` and now."""
        times = [since, *(t for t in self._arrivals[side] if t >= since), time.monotonic()]
        return max(later - earlier for earlier, later in zip(times, times[1:]))

    def missing(self, side: int, since: float, until: float) -> int:
        """How many that were sent towards a (0) or b (1) in that time have not arrived."""
        return sum(since <= at < until and number not in self._arrived[side]
                   for number, at in enumerate(self._sent[1 - side]))

    def sent(self, side: int, since: float, until: float) -> int:
        """How many were sent towards a (0) or b (1) in that time."""
        return sum(since <= at < until for at in self._sent[1 - side])

    def delay(self, side: int, since: float) -> float:
        """Median seconds from one end to the other of what arrived at a (0) or b (1) since then."""
        return statistics.median(delay for sent, delay in self._delays[side] if sent >= since)

    def close(self) -> None:
        self._ended = True
        self._thread.join()
        for sock in self._sockets:
            sock.close()


@contextlib.contextmanager
def flowing(
    a: Host, a_address: str, b: Host, b_address: str, *, a_sends: bool = True, b_sends: bool = True
) -> Iterator[Flow]:
    flow = Flow(a, a_address, b, b_address, a_sends=a_sends, b_sends=b_sends)
    try:
        wait_until(flow.flows, 2, f"datagrams flow between {a.name} and {b.name}")
        yield flow
    finally:
        flow.close()
