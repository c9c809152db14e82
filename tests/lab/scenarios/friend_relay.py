"""A member as the relay of its own party.

    alice -- sym router -- internet -- server, 60 ms away, with its relay
    bob   -- sym router ----/   \\---- carol, public, at 2 ms
"""
from __future__ import annotations

import base64
import json
import sys
import time

import relaywire
from flow import flowing
from link import Shape
from namespace import wait_until
from party import Node, Server, node_behind
from relaywire import Device, SigningKey, kind_of
from scenario import Lab, expect, expect_equal, scenario
from scenarios.names import BUS
from scenarios.relays import Caller, relay_of
from topology import Router

CHOSEN_S = 20  # carol's network is looked at, her relay measured eight times, and the news of it told


def relaying(node: Node) -> dict:
    """What status says of the node as a relay for its party."""
    return dict(node.status()["self"]["relay"])


class Friends:
    """Two players whom only a relay joins, a server far from both, and a third player who is near and reached by all."""

    def __init__(self, lab: Lab, carols: str = "public") -> None:
        self.network = lab.network()
        self.server = Server(lab, self.network.public("server", shape=Shape(delay_ms=60)))
        self.alice, self.bob = (node_behind(lab, self.network, "sym", name) for name in ("alice", "bob"))
        near = Shape(delay_ms=2)
        place = self.network.public("carol", shape=near) if carols == "public" else self.network.host("carol", carols, shape=near)
        self.carol = Node(lab, place, "carol")
        self.invite = self.alice.host_party(self.server.link)
        self.bob.join(self.invite)

    def join_carol(self, *settings: str) -> str:
        """The id that carol's relay has."""
        self.carol.command("join", self.invite, "--as", "carol", *settings)
        return base64.b64decode(self.carol.status()["self"]["public_key"])[:8].hex()

    def relays(self) -> set[str | None]:
        """Which relay alice and bob use to each other."""
        return {relay_of(self.alice, "bob"), relay_of(self.bob, "alice")}

    def wait_by(self, relay: str, limit_s: float = CHOSEN_S) -> None:
        wait_until(lambda: self.relays() == {relay}, limit_s, f"alice and bob go by {relay}", 0.1)


@scenario("relays", limit_s=90)
def relay_friend(lab: Lab) -> None:
    """alice and bob go by carol instead of the far server, and by that as soon as carol's node is killed."""
    friends = Friends(lab)
    alice, bob, carol = friends.alice, friends.bob, friends.carol
    alice.wait_path("bob", "relay", 10)
    by_server = relay_of(alice, "bob")
    far = alice.ping("bob", 10)["rtt_ms"]["median"]
    by_carol = friends.join_carol()
    friends.wait_by(by_carol)
    near = alice.ping("bob", 10)["rtt_ms"]["median"]
    print(f"    {far:.0f} ms by the server, {near:.0f} ms by carol")
    expect(far > 250 and 35 < near < 60, f"{far} ms by the server, {near} ms by carol")
    expect_equal((alice.peer("bob") or {})["path"]["relay_member"], "carol", "whose relay it is, says status")
    listed = {relay["id"]: relay for relay in alice.command("relays")["relays"]}
    expect_equal({relay: listed[relay]["member"] for relay in listed}, {by_carol: "carol", by_server: None}, "relays")
    expect_equal(listed[by_carol]["role"], "primary", "the role of carol's")
    expect_equal(sorted(relay["id"] for relay in carol.command("relays")["relays"]), [by_server], "carol's relays")
    serves = relaying(carol)
    expect(serves["serves"] and serves["members"] == 2, f"carol says: {serves}")
    for node in (alice, bob):
        expect(all(relay["id"] != by_carol for relay in (node.peer("carol") or {})["relays"]), "to carol by carol")
        node.wait_path("carol", "direct")
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        time.sleep(2)
        since = time.monotonic()
        carol.kill_daemon()
        time.sleep(2)
        silences = [flow.silence(side, since) for side in (0, 1)]
    print(f"    silence in ms when carol is killed: {[round(1000 * s) for s in silences]}")
    expect(max(silences) < 0.6, f"silence after carol was killed: {silences}")
    friends.wait_by(str(by_server), 2)


@scenario("relays", limit_s=120)
def relay_friend_ends(lab: Lab) -> None:
    """Nothing is lost between alice and bob when carol's node is told to stop, nor when she leaves the party."""
    friends = Friends(lab)
    alice, bob, carol = friends.alice, friends.bob, friends.carol
    by_carol = friends.join_carol()
    for word in ("down", "leave"):
        friends.wait_by(by_carol)
        with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
            time.sleep(6)  # so that carol's relay has seen that it is used
            since = time.monotonic()
            carol.command(word)
            wait_until(lambda: by_carol not in friends.relays(), 4, f"alice and bob have moved after {word}", 0.05)
            took = time.monotonic() - since
            time.sleep(3)
            missing = [flow.missing(side, since, time.monotonic() - 0.7) for side in (0, 1)]
        print(f"    {word}: lost {missing}, away after {took:.1f} s")
        expect_equal(missing, [0, 0], f"datagrams lost after {word}")
        expect(by_carol not in {relay["id"] for relay in alice.command("relays")["relays"]}, "it is still listed")
        if word == "down":
            carol.command("up")


@scenario("relays", limit_s=90)
def relay_friend_without_server(lab: Lab) -> None:
    """The server dies, its relay with it: not felt by alice and bob, also when carol looks at her network in vain."""
    friends = Friends(lab)
    alice, bob, carol = friends.alice, friends.bob, friends.carol
    by_carol = friends.join_carol()
    friends.wait_by(by_carol)
    with flowing(alice.host, alice.address(), bob.host, bob.address()) as flow:
        time.sleep(1)
        since = time.monotonic()
        friends.server.kill()
        carol.host.ip("addr add 10.99.0.1/24 dev eth0")
        time.sleep(8)
        silences = [flow.silence(side, since) for side in (0, 1)]
        missing = [flow.missing(side, since, time.monotonic() - 0.5) for side in (0, 1)]
    expect(max(silences) < 0.3 and missing == [0, 0], f"silence {silences}, lost {missing}")
    expect_equal(friends.relays(), {by_carol}, "the relay in use")
    expect(relaying(carol)["serves"], f"carol: {relaying(carol)}")


@scenario("relays", limit_s=90)
def relay_friend_refuses(lab: Lab) -> None:
    """carol's relay takes her party alone: strangers, other parties and overheard grants get nothing."""
    friends = Friends(lab)
    friends.join_carol()
    wait_until(lambda: relaying(friends.carol).get("addresses"), CHOSEN_S, "carol relays for her party")
    mallory = node_behind(lab, friends.network, "easy", "mallory")
    mallory.host_party(friends.server.link)
    key = base64.b64decode(friends.carol.status()["self"]["public_key"])
    address, _, port = relaying(friends.carol)["addresses"][0].rpartition(":")
    caller = Caller(friends.network.public("outside"), (address, int(port)))

    def grant_of(node: Node) -> bytes:
        """The one that the node keeps, for a restart without its server."""
        wait_until(lambda: (node.folder / "contacts").exists() and '"grant"' in (node.folder / "contacts").read_text(), 15,
                   f"{node.name} keeps its grant")
        lines = map(json.loads, (node.folder / "contacts").read_text().splitlines())
        text = next(line["grant"] for line in lines if line["type"] == "grant")
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    device = Device(key, 1, SigningKey())
    said = caller.enter(device)
    expect_equal((kind_of(said), said[12]), (relaywire.REFUSED, relaywire.BAD_GRANT), "a grant of nobody's")
    device.grant = grant_of(mallory)
    said = caller.enter(device)
    expect_equal((kind_of(said), said[12]), (relaywire.REFUSED, relaywire.BAD_GRANT), "a grant of another party")
    device.grant = grant_of(friends.alice)
    challenge = caller.ask(device.register())
    expect(challenge is not None and kind_of(challenge) == relaywire.CHALLENGE, "an address without a cookie gets a challenge")
    caller.send(device.register(challenge[12:28]))
    expect(caller.silent(), "a member's grant without the member's key was answered")
    expect_equal(relaying(friends.carol)["members"], 2, "members at carol's relay")


@scenario("relays", limit_s=150)
def relay_friend_settings(lab: Lab) -> None:
    """off has effect; auto does not serve where the machine has a battery, `--relay-for-party` does; nor for two."""
    friends = Friends(lab)
    carol = friends.carol
    by_carol = friends.join_carol("--relay-for-party", "off")
    time.sleep(8)
    expect("switched off" in relaying(carol)["why"], f"carol, off: {relaying(carol)}")
    expect(by_carol not in friends.relays(), "alice and bob go by a relay that is switched off")
    carol.host.run("mount", "-t", "tmpfs", "tmpfs", "/sys/class/power_supply")
    carol.host.run("mkdir", "/sys/class/power_supply/BAT0")
    carol.host.run("sh", "-c", "echo Battery > /sys/class/power_supply/BAT0/type")
    carol.command("down")
    carol.command("up")
    wait_until(lambda: "battery" in (relaying(carol)["why"] or ""), 10, "carol says that she has a battery")
    expect(not relaying(carol)["serves"], f"carol, on battery: {relaying(carol)}")
    carol.command("down")
    carol.command("up", "--relay-for-party")
    friends.wait_by(by_carol)
    carol.host.run("umount", "/sys/class/power_supply")
    friends.bob.command("leave")
    wait_until(lambda: "two others" in (relaying(carol)["why"] or ""), 10, "carol does not relay for alice alone")
    carol.command("down")


@scenario("relays", limit_s=90)
def relay_friend_at_home(lab: Lab) -> None:
    """carol is at home behind a router that opens ports on request: it opens her relay's as well, and closes it again."""
    friends = Friends(lab, "upnp")
    router = friends.carol.host.network
    assert isinstance(router, Router)
    by_carol = friends.join_carol()
    friends.wait_by(by_carol)
    expect_equal(relaying(friends.carol)["addresses"][0].rpartition(":")[0], router.ipv4, "where members find it")
    expect_equal(len(router.opened_ports()), 2, f"opened ports {router.opened_ports()}")
    friends.carol.command("down")
    wait_until(lambda: not router.opened_ports(), 5, "the router's ports are closed again", 0.1)


# NetworkManager's property Metered on the system bus, and nothing else of it: the D-Bus protocol by hand.
_NETWORK_MANAGER = """
import os, socket, struct, sys

def pad(data, to):
    return data + bytes(-len(data) % to)

def text(value):
    return struct.pack("<I", len(value)) + value.encode() + b"\\0"

def message(kind, serial, fields, body=b""):
    array = b""
    for code, sign, value in fields:
        array = pad(array, 8) + bytes([code, 1]) + sign.encode() + b"\\0"
        array += bytes([len(value)]) + value.encode() + b"\\0" if sign == "g" else b""
        array = array if sign == "g" else pad(array, 4) + (struct.pack("<I", value) if sign == "u" else text(value))
    return pad(struct.pack("<cBBBIII", b"l", kind, 0, 1, len(body), serial, len(array)) + array, 8) + body

def call(serial, member, fields=(), body=b""):
    bus = "org.freedesktop.DBus"
    return message(1, serial, [(1, "o", "/org/freedesktop/DBus"), (2, "s", bus), (3, "s", member), (6, "s", bus), *fields], body)

def received(stream):
    head = stream.read(16)
    if len(head) < 16:
        sys.exit()
    _, kind, _, _, body, serial, size = struct.unpack("<cBBBIII", head)
    array = stream.read(size + -size % 8)
    stream.read(body)
    fields, at = {}, 0
    while at < size:
        at += -at % 8
        code, sign = array[at], chr(array[at + 2])
        at += 4
        if sign == "g":
            at += 2 + array[at]
            continue
        at += -at % 4
        number, = struct.unpack_from("<I", array, at)
        at += 4
        if sign != "u":
            fields[code] = array[at:at + number].decode()
            at += number + 1
    return kind, serial, fields

bus = socket.socket(socket.AF_UNIX)
bus.connect("/run/dbus/system_bus_socket")
stream = bus.makefile("rb")
bus.sendall(b"\\0AUTH EXTERNAL " + str(os.getuid()).encode().hex().encode() + b"\\r\\n")
stream.readline()
bus.sendall(b"BEGIN\\r\\n" + call(1, "Hello"))
name = pad(text("org.freedesktop.NetworkManager"), 4) + struct.pack("<I", 0)
bus.sendall(call(2, "RequestName", [(8, "g", "su")], name))
print("ready", flush=True)
while True:
    kind, serial, fields = received(stream)
    if kind == 1 and fields.get(3) == "Get":
        value = b"\\1u\\0\\0" + struct.pack("<I", int(sys.argv[1]))
        bus.sendall(message(2, 3, [(5, "u", serial), (6, "s", fields[7]), (8, "g", "v")], value))
        print("asked", flush=True)
"""


@scenario("relays", limit_s=90)
def relay_friend_metered(lab: Lab) -> None:
    """While NetworkManager calls carol's network metered she relays for nobody."""
    friends = Friends(lab)
    carol = friends.carol
    bus, script = lab.state / "bus.conf", lab.state / "network_manager.py"
    bus.write_text(BUS)
    script.write_text(_NETWORK_MANAGER)
    carol.host.run("mkdir", "-p", "/run/dbus")
    carol.host.start("dbus", "dbus-daemon", f"--config-file={bus}", "--nofork")
    wait_until((carol.host.root() / "run/dbus/system_bus_socket").exists, 5, "the bus is there", 0.03)
    yes, guessed_no = "1", "4"
    manager = carol.host.start("manager", sys.executable, str(script), yes)
    wait_until(lambda: "ready" in manager.output(), 5, "NetworkManager is there", 0.03)
    by_carol = friends.join_carol()
    wait_until(lambda: "metered" in (relaying(carol)["why"] or ""), 10, "carol says that her network is metered")
    expect("asked" in manager.output(), "NetworkManager was not asked")
    time.sleep(5)
    expect(not relaying(carol)["serves"], f"carol, metered: {relaying(carol)}")
    carol.command("down")
    manager.stop()
    manager = carol.host.start("manager", sys.executable, str(script), guessed_no)
    wait_until(lambda: "ready" in manager.output(), 5, "NetworkManager is there again", 0.03)
    carol.command("up")
    friends.wait_by(by_carol)
    expect("asked" in manager.output(), "NetworkManager was not asked again")
