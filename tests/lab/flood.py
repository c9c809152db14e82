"""Datagrams nobody asked for, thousands a second, from many ports: what an attacker on the internet can send.

Runs as a program of its own inside a namespace (`python3 flood.py KIND ADDRESS PORT PER_SECOND SECONDS PUBLIC_KEY`),
because the generator must not share an interpreter with what measures. Says what it sent and what came back, as JSON.
"""
from __future__ import annotations

import base64
import hashlib
import json
import os
import pathlib
import select
import socket
import struct
import sys
import time
from typing import Callable

from namespace import Namespace, Process

PORTS = 20
DISTINCT = 4096  # datagrams made in advance and sent in turns


def initiation(public_key: bytes) -> bytes:
    """One that knows whom it is for (its first MAC is right) and nothing else."""
    body = struct.pack("<II", 1, int.from_bytes(os.urandom(4), "little")) + os.urandom(108)
    key = hashlib.blake2s(b"mac1----" + public_key).digest()
    return body + hashlib.blake2s(body, key=key, digest_size=16).digest() + bytes(16)


KINDS: dict[str, Callable[[bytes], bytes]] = {
    "initiations": initiation,
    "cookie_replies": lambda _: struct.pack("<I", 3) + os.urandom(60),
    "wrong_mac": lambda _: struct.pack("<I", 1) + os.urandom(128) + bytes(16),
    "unknown_sessions": lambda _: struct.pack("<I", 4) + os.urandom(128),
    "random_bytes": lambda _: os.urandom(128),
}


class Flood:
    """20 ports of a host flooding one address. `finish` waits for the end and answers what was seen."""

    def __init__(self, space: Namespace, kind: str, address: str, port: int, public_key: str, seconds: float,
                 per_second: int = 20000) -> None:
        self._process: Process = space.start("flood", sys.executable, str(pathlib.Path(__file__).resolve()), kind,
                                             address, str(port), str(per_second), str(seconds), public_key)

    def running(self) -> bool:
        return self._process.running()

    def stop(self) -> None:
        self._process.stop()

    def finish(self) -> dict[str, float]:
        """sent, per_second, answers, answer_bytes, sent_bytes."""
        self._process.wait(60)
        return json.loads(self._process.output().strip().splitlines()[-1])


def main() -> None:
    kind, address, port, per_second, seconds, public_key = sys.argv[1:]
    make, key = KINDS[kind], base64.b64decode(public_key)
    datagrams = [make(key) for _ in range(DISTINCT)]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(PORTS)]
    for sock in sockets:
        sock.connect((address, int(port)))
        sock.setblocking(False)
    sent = answers = answer_bytes = 0
    start = time.monotonic()
    while (passed := time.monotonic() - start) < float(seconds):
        while sent < passed * int(per_second):
            try:
                sockets[sent % PORTS].send(datagrams[sent % DISTINCT])
            except OSError:  # an ICMP error, a full queue
                pass
            sent += 1
        for sock in select.select(sockets, [], [], 0)[0]:
            try:
                while True:
                    answer_bytes += len(sock.recv(2048))
                    answers += 1
            except OSError:
                pass
        time.sleep(0.0005)
    took = time.monotonic() - start
    print(json.dumps({"sent": sent, "per_second": round(sent / took), "answers": answers, "answer_bytes": answer_bytes,
                      "sent_bytes": sent * len(datagrams[0])}))


if __name__ == "__main__":
    main()
