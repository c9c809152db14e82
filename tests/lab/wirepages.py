"""What docs/wire allows on the wire, datagram by datagram, written from those pages alone."""
from __future__ import annotations

import binascii
import struct

from capture import TCP, UDP, Packet

LENGTHS = {1: (148,), 2: (92,), 3: (64,)}
PROBES = {0x4C520001: "ping", 0x4C520002: "pong"}
RELAY = {0x4C520101: "register", 0x4C520102: "challenge", 0x4C520103: "registered", 0x4C520104: "refused",
         0x4C520105: "refresh", 0x4C520106: "send", 0x4C520107: "deliver", 0x4C520108: "absent", 0x4C520109: "leave",
         0x4C52010A: "drain"}
CHANGE_REQUEST, RESPONSE_PORT, XOR_MAPPED, SOFTWARE, FINGERPRINT, OTHER_ADDRESS = 0x0003, 0x0027, 0x0020, 0x8022, 0x8028, 0x802C
INNER_MTU = 1420


class Undescribed(Exception):
    """Something that no page describes."""


def need(condition: object, what: str) -> None:
    if not condition:
        raise Undescribed(what)


def endpoint(field: bytes) -> None:
    need(len(field) == 19 and field[0] in (0, 4, 6), "an endpoint begins with 0, 4 or 6")
    rest = field[{0: 1, 4: 7, 6: 19}[field[0]]:]
    need(not any(rest), "the rest of an endpoint is zero")


def wireguard(data: bytes) -> str:
    kind, size = data[0], len(data)
    if kind != 4:
        need(size in LENGTHS[kind], f"type {kind} with {size} bytes")
        return {1: "initiation", 2: "response", 3: "cookie"}[kind]
    inside = size - 32
    need(inside >= 0 and (inside % 16 == 0 or inside == INNER_MTU), f"data of {size} bytes: no padding to 16")
    return "keepalive" if inside == 0 else "data"


def probe(data: bytes) -> str:
    kind = PROBES[int.from_bytes(data[:4], "little")]
    need(len(data) == 68, f"a probe of {len(data)} bytes")
    need(data[28] & 0xF8 == 0 and (data[29] <= 100 or data[29] == 255), "reserved bits of a probe")
    endpoint(data[30:49])
    need(kind == "pong" or data[30] == 0, "a ping that names an endpoint")
    return kind


def relay(data: bytes) -> str:
    kind = RELAY[int.from_bytes(data[:4], "little")]
    size = len(data)
    if kind in ("send", "deliver"):
        need(13 <= size <= 12 + 1400, f"{kind} of {size} bytes")
        return f"{kind} {datagram(data[12:])}"
    if kind == "register":
        need(size == 4 + 8 + 16 + 129 + 2 + 4 * int.from_bytes(data[157:159], "big") + 16, f"register of {size} bytes")
        need(data[28] == 1, "version of a grant")
    elif kind == "registered":
        need(size == 4 + 8 + 8 + 4 + 19 + 2 + 4 * int.from_bytes(data[43:45], "big") + 16, f"registered of {size} bytes")
        endpoint(data[24:43])
    elif kind == "refresh":
        count = sum(struct.unpack("!HH", data[20:24]))
        need(size == 4 + 8 + 8 + 4 + 4 * count + 24 + 16, f"refresh of {size} bytes")
        need(not any(data[24 + 4 * count:48 + 4 * count]), "zeroes of a refresh")
    else:
        need(size == {"challenge": 28, "refused": 13, "absent": 12, "leave": 36, "drain": 30}[kind], f"{kind} of {size} bytes")
    return kind


def stun(data: bytes) -> str:
    kind, length = struct.unpack("!HH", data[:4])
    need(kind in (0x0001, 0x0101) and length == len(data) - 20, f"STUN type {kind:#x} of {len(data)} bytes")
    need(len(data) in (56, 76, 84) if kind == 1 else 32 <= len(data) <= 76, f"STUN of {len(data)} bytes")
    at, attributes = 20, {}
    while at < len(data):
        name, size = struct.unpack("!HH", data[at:at + 4])
        attributes[name] = data[at + 4:at + 4 + size]
        at += 4 + (size + 3) // 4 * 4
    allowed = (CHANGE_REQUEST, RESPONSE_PORT, SOFTWARE, FINGERPRINT) if kind == 1 else (XOR_MAPPED, OTHER_ADDRESS, FINGERPRINT)
    need(set(attributes) <= set(allowed), f"attributes {list(attributes)}")
    asks = (CHANGE_REQUEST in attributes) + (RESPONSE_PORT in attributes)
    need(asks <= 1 and (len(data) < 84 or asks), "a long question that asks for nothing, or for too much")
    if FINGERPRINT in attributes:
        crc = binascii.crc32(data[:-8]) ^ 0x5354554E
        need(attributes[FINGERPRINT] == crc.to_bytes(4, "big"), "fingerprint")
    return "stun question" if kind == 1 else "stun answer"


def datagram(data: bytes) -> str:
    """Its name; Undescribed with what is wrong."""
    need(len(data) >= 8, f"{len(data)} bytes")
    word = int.from_bytes(data[:4], "little")
    if 1 <= word <= 4:
        return wireguard(data)
    if word in PROBES:
        return probe(data)
    if word in RELAY:
        return relay(data)
    need(data[4:8] == b"\x21\x12\xa4\x42" and data[0] & 0xC0 == 0, f"unknown datagram {data[:8].hex()}")
    return stun(data)


def name_of(packet: Packet, server_port: int) -> str:
    """What a packet on the internet is. Neighbour discovery and the like are the kernel's."""
    if packet.protocol == UDP:
        need(not packet.fragment, "a fragment")
        return datagram(packet.payload)
    if packet.protocol == TCP:
        need(server_port in (packet.source_port, packet.destination_port), "TCP to another port")
        return "tcp"
    need(packet.protocol in (1, 2, 58, 0), f"IP protocol {packet.protocol}")
    return "kernel"
