"""A relay's protocol as a stranger would write it, from docs/wire/relay.md alone, and the keys for it (RFC 7748, 8032)."""
from __future__ import annotations

import hashlib
import os
import struct
import time

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
BASE_Y = 4 * pow(5, P - 2, P) % P
REGISTER, CHALLENGE, REGISTERED, REFUSED, REFRESH, SEND, DELIVER, ABSENT, LEAVE, DRAIN = range(0x4C520101, 0x4C52010B)
UNKNOWN_SESSION, BAD_GRANT, EXPIRED_GRANT, FULL = 1, 2, 3, 4


def x25519(scalar: bytes, u_bytes: bytes = (9).to_bytes(32, "little")) -> bytes:
    k = int.from_bytes(scalar, "little") & ~7 & (2**254 - 1) | 2**254
    x1 = int.from_bytes(u_bytes, "little") & (2**255 - 1)
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        e, da, cb = (a * a - b * b) % P, d * a % P, c * b % P
        x3, z3 = (da + cb)**2 % P, x1 * (da - cb)**2 % P
        x2, z2 = a * a * b * b % P, e * (a * a + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


Point = tuple[int, int, int, int]


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(n: int) -> bytes:
    x = pow((BASE_Y * BASE_Y - 1) * pow(D * BASE_Y * BASE_Y + 1, P - 2, P), (P + 3) // 8, P)
    if (x * x - (BASE_Y * BASE_Y - 1) * pow(D * BASE_Y * BASE_Y + 1, P - 2, P)) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x & 1:
        x = P - x
    point, out = (x, BASE_Y, 1, x * BASE_Y % P), (0, 1, 1, 0)
    while n:
        if n & 1:
            out = _add(out, point)
        point, n = _add(point, point), n >> 1
    z = pow(out[2], P - 2, P)
    return (out[1] * z % P | (out[0] * z % P & 1) << 255).to_bytes(32, "little")


class SigningKey:
    """Ed25519."""

    def __init__(self) -> None:
        digest = hashlib.sha512(os.urandom(32)).digest()
        self._scalar = int.from_bytes(digest[:32], "little") & ~7 & (2**254 - 1) | 2**254
        self._prefix = digest[32:]
        self.public = _times(self._scalar)

    def sign(self, text: bytes) -> bytes:
        r = int.from_bytes(hashlib.sha512(self._prefix + text).digest(), "little") % Q
        point = _times(r)
        k = int.from_bytes(hashlib.sha512(point + self.public + text).digest(), "little") % Q
        return point + ((r + k * self._scalar) % Q).to_bytes(32, "little")


class Device:
    """A member of a party, as its relay knows it."""

    def __init__(self, relay_key: bytes, party: int, grants: SigningKey, *, lifetime_s: int = 3600,
                 signed_by: SigningKey | None = None) -> None:
        self._private = os.urandom(32)
        self.public = x25519(self._private)
        shared = x25519(self._private, relay_key)
        self._mac_key = hashlib.blake2s(b"lanrage relay mac v1" + self.public + relay_key, key=shared).digest()
        said = struct.pack("!B", 1) + party.to_bytes(16, "big") + self.public + struct.pack("!q", int(time.time()) + lifetime_s)
        said += hashlib.sha256(grants.public).digest()[:8]
        self.grant = said + (signed_by or grants).sign(b"lanrage relay grant v1" + said)
        self.session = b""

    @property
    def peer(self) -> bytes:
        return self.public[:8]

    def mac(self, message: bytes) -> bytes:
        return message + hashlib.blake2s(message, key=self._mac_key, digest_size=16).digest()

    def register(self, cookie: bytes = bytes(16), *indices: int) -> bytes:
        body = struct.pack("<I", REGISTER) + os.urandom(8) + cookie + self.grant + struct.pack("!H", len(indices))
        return self.mac(body + b"".join(struct.pack("!I", index) for index in indices))

    def refresh(self) -> bytes:
        return self.mac(struct.pack("<I", REFRESH) + os.urandom(8) + self.session + bytes(4) + bytes(24))


def kind_of(datagram: bytes) -> int:
    return struct.unpack("<I", datagram[:4])[0]


def send_to(peer: bytes, payload: bytes) -> bytes:
    return struct.pack("<I", SEND) + peer + payload


def data_for(index: int, payload: bytes) -> bytes:
    """A WireGuard data message by its looks."""
    return struct.pack("<IIQ", 4, index, 7) + payload
