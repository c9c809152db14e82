"""`lanrage wireguard` as a drop-in for wireguard-go, with stock `wg` and stock peers.

    a (public, 5.9.1.2) -- internet -- b (public, 5.9.2.2)
"""
from __future__ import annotations

import hashlib
import os
import pathlib
import socket
import threading
import time

import wireguard
from capture import Capture, datagrams
from link import Shape
from namespace import pids_inside, wait_until
from scenario import Lab, expect, expect_equal, scenario
from topology import Host
from wireguard import STOCK, Device, check_pings, check_transfers, next_second, ours


def two_public_hosts(lab: Lab) -> tuple[Host, Host]:
    network = lab.network()
    return network.public("a"), network.public("b")


def joined(a: Device, b: Device, family: int = 4, preshared_key: str | None = None) -> None:
    """Makes the two know each other; only `a` knows where the other is, so `a` initiates."""
    a.add_peer(b, b.endpoint(family), preshared_key)
    b.add_peer(a, preshared_key=preshared_key)


def interoperate(lab: Lab, family: int) -> None:
    hosts = two_public_hosts(lab)
    for initiator, responder in ((ours(lab), STOCK), (STOCK, ours(lab)), (ours(lab), ours(lab))):
        a, b = Device(hosts[0], 1, initiator), Device(hosts[1], 2, responder)
        joined(a, b, family, wireguard.new_preshared_key())
        check_pings(a, b)
        check_transfers(a, b)
        expect_equal(b.peer(a).endpoint, a.endpoint(family), "endpoint the responder learned")
        a.stop()
        b.stop()


@scenario("wireguard")
def wg_interop_v4(lab: Lab) -> None:
    """Ours and stock over IPv4, either side initiates: pings and transfers of both families inside."""
    interoperate(lab, 4)


@scenario("wireguard")
def wg_interop_v6(lab: Lab) -> None:
    """The same over IPv6."""
    interoperate(lab, 6)


@scenario("wireguard")
def wg_rekey(lab: Lab) -> None:
    """Three new handshakes, each side losing its session in turn, and data after each."""
    hosts = two_public_hosts(lab)
    a, b = Device(hosts[0], 1, ours(lab)), Device(hosts[1], 2, STOCK)
    joined(a, b)
    check_pings(a, b)
    for forgetful, other in ((b, a), (a, b), (b, a)):
        passed = next_second()
        forgetful.wg_set("peer", other.public_key, "remove")
        forgetful.add_peer(other, other.endpoint())
        check_pings(forgetful, other)
        for device, peer in ((forgetful, other), (other, forgetful)):
            expect(device.peer(peer).last_handshake_s > passed, f"no new handshake on {device.host.name}")


@scenario("wireguard", limit_s=480, long=True)
def wg_rekey_by_time(lab: Lab) -> None:
    """Three rekeys as they come every two minutes while packets flow, none of them lost."""
    hosts = two_public_hosts(lab)
    a, b = Device(hosts[0], 1, ours(lab)), Device(hosts[1], 2, STOCK)
    joined(a, b)
    check_pings(a, b)
    handshakes = {a.peer(b).last_handshake_s}
    for _ in range(400):
        expect_equal(a.host.ping(b.ipv4, count=10, interval_s=0.1), 1.0, "answers across rekeys")
        handshakes.add(a.peer(b).last_handshake_s)
        if len(handshakes) == 4:
            return
    expect(False, f"{len(handshakes) - 1} rekeys, not 3")


@scenario("wireguard")
def wg_wrong_psk(lab: Lab) -> None:
    """With different preshared keys nothing connects, whoever starts; with equal ones it does at once."""
    hosts = two_public_hosts(lab)
    a, b = Device(hosts[0], 1, ours(lab)), Device(hosts[1], 2, STOCK)
    key = wireguard.new_preshared_key()
    a.add_peer(b, b.endpoint(), wireguard.new_preshared_key())
    b.add_peer(a, a.endpoint(), key)
    for sender, receiver in ((a, b), (b, a)):
        expect_equal(sender.host.ping(receiver.ipv4, count=5, interval_s=0.5), 0.0, "answers in spite of a wrong key")
        expect_equal(sender.peer(receiver).last_handshake_s, 0, "time of a handshake that must not be")
    a.wg_set("peer", b.public_key, "remove")
    a.add_peer(b, b.endpoint(), key)
    check_pings(a, b)


@scenario("wireguard")
def wg_show(lab: Lab) -> None:
    """wg show, set, showconf, setconf and syncconf, and the configuration socket itself, as for any WireGuard."""
    hosts = two_public_hosts(lab)
    a, b = Device(hosts[0], 1, ours(lab)), Device(hosts[1], 2, STOCK)
    key = wireguard.new_preshared_key()
    joined(a, b, preshared_key=key)
    check_pings(a, b)

    def show(what: str) -> str:
        return a.host.run("wg", "show", "wg0", what).stdout.strip()
    expect_equal(show("public-key"), a.public_key, "public key")
    expect_equal(show("private-key"), a.private_key, "private key")
    expect_equal(show("listen-port"), str(a.port), "port")
    expect_equal(show("preshared-keys"), f"{b.public_key}\t{key}", "preshared key")
    expect_equal(show("endpoints"), f"{b.public_key}\t{b.endpoint()}", "endpoint")
    expect(a.peer(b).received > 0 and a.peer(b).sent > 0, "bytes are not counted")
    expect(abs(a.peer(b).received - b.peer(a).sent) < 4096, "the two ends count differently")

    a.wg_set("listen-port", "51900", "fwmark", "0x42", "peer", b.public_key, "persistent-keepalive", "25")
    expect_equal(show("listen-port"), "51900", "port after set")
    expect_equal(show("fwmark"), "0x42", "mark after set")
    expect_equal(show("persistent-keepalive"), f"{b.public_key}\t25", "keepalive after set")
    check_pings(a, b)  # from another port: the other end follows
    expect_equal(b.peer(a).endpoint, f"{a.host.ipv4}:51900", "endpoint after the port changed")

    _, stranger = wireguard.new_key()
    a.wg_set("peer", stranger, "allowed-ips", "10.99.0.0/16,fd99::/64")
    expect(f"{stranger}\t10.99.0.0/16 fd99::/64" in show("allowed-ips"), "allowed addresses after set")
    a.wg_set("peer", b.public_key, "allowed-ips", f"{b.ipv4}/32,{b.ipv6}/128,10.99.0.0/16")
    expect(f"{stranger}\tfd99::/64" in show("allowed-ips"), "an address given to another peer stays with the first")

    saved = a.host.run("wg", "showconf", "wg0").stdout
    conf = lab.state / "a.conf"
    conf.write_text(saved)
    a.wg_set("peer", stranger, "remove")
    expect(stranger not in show("peers"), "the removed peer stays")
    a.host.run("wg", "syncconf", "wg0", str(conf))
    expect(stranger in show("peers"), "syncconf does not bring the peer back")
    expect_equal(a.host.ping(b.ipv4), 1.0, "answers at once after syncconf, which must disturb no session")
    check_pings(a, b)
    a.host.run("wg", "setconf", "wg0", str(conf))
    check_pings(a, b)
    again = a.host.run("wg", "showconf", "wg0").stdout
    expect_equal(sorted(again.split("\n")), sorted(saved.split("\n")), "configuration after setconf")
    check_socket(a, b)


def check_socket(a: Device, b: Device) -> None:
    answer = a.uapi("get=1\n\n")
    expect_equal(answer["errno"], ["0"], "errno of get")
    expect_equal(answer["listen_port"], ["51900"], "listen_port")
    expect(len(answer["public_key"]) == 2 and all(len(key) == 64 for key in answer["public_key"]), "peers in hex")
    expect_equal(a.uapi("set=1\nlisten_port=51901\n\n")["errno"], ["0"], "errno of set")
    expect_equal(a.uapi("get=1\n\n")["listen_port"], ["51901"], "listen_port after set")
    for wrong in ("set=1\nlisten_port=many\n\n", "set=1\nno_such_key=1\n\n", "set=1\npublic_key=abcd\n\n"):
        expect(a.uapi(wrong)["errno"] != ["0"], f"accepted: {wrong!r}")
    nobody = "55" * 32
    a.uapi(f"set=1\npublic_key={nobody}\nendpoint=192.0.2.1:0\npersistent_keepalive_interval=5\n\n")
    shown = a.uapi("get=1\n\n")
    at = shown["public_key"].index(nobody)
    expect_equal((shown["tx_bytes"][at], shown["last_handshake_time_sec"][at], shown["protocol_version"][at]),
                 ("0", "0", "1"), "a peer that nothing can be sent to")
    expect_equal(a.uapi(f"set=1\npublic_key={nobody}\nremove=true\n\n")["errno"], ["0"], "errno of remove")
    expect(nobody not in a.uapi("get=1\n\n")["public_key"], "the removed peer stays")
    check_pings(a, b)


def quick_environment(lab: Lab) -> dict[str, str]:
    """What makes wg-quick use our binary by its second name."""
    folder = lab.state / "bin"
    folder.mkdir()
    (folder / "lanrage-wireguard").symlink_to(lab.binary)
    return {"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin", "WG_QUICK_USERSPACE_IMPLEMENTATION": "lanrage-wireguard"}


def write_conf(lab: Lab, interface: str, peer: str) -> str:
    conf = lab.state / "wg0.conf"
    conf.touch(mode=0o600)
    conf.write_text(f"[Interface]\n{interface}\n[Peer]\n{peer}\n")
    return str(conf)


@scenario("wireguard")
def wg_quick(lab: Lab) -> None:
    """wg-quick up and down with lanrage-wireguard as its userspace implementation; nothing stays behind."""
    hosts = two_public_hosts(lab)
    b = Device(hosts[1], 2, STOCK)
    private, public = wireguard.new_key()
    environment = quick_environment(lab)
    conf = write_conf(lab, f"PrivateKey = {private}\nListenPort = 51820\nAddress = 10.77.0.1/24, fd77::1/64",
                      f"PublicKey = {b.public_key}\nEndpoint = {b.endpoint()}\nAllowedIPs = {b.ipv4}/32, {b.ipv6}/128")
    b.wg_set("peer", public, "allowed-ips", "10.77.0.1/32,fd77::1/128")
    a = hosts[0]
    for _ in range(2):
        a.run("wg-quick", "up", conf, env=environment)
        wait_until(lambda: a.ping(b.ipv4, wait_s=0.3) == 1, 5, "an answer through the tunnel")
        expect_equal(a.ping(b.ipv6, count=10), 1.0, "answers over IPv6")
        expect("lanrage-wireguard" in programs(a), "wg-quick runs something else")
        a.run("wg-quick", "down", conf, env=environment)
        expect("wg0" not in a.interfaces(), "wg0 stays after down")
        wait_until(lambda: "lanrage-wireguard" not in programs(a), 3, "the program ends with its interface")


@scenario("wireguard")
def wg_quick_everything(lab: Lab) -> None:
    """wg-quick sends all traffic into the tunnel (a firewall mark keeps its own out), and takes a table and hooks."""
    hosts = two_public_hosts(lab)
    b = Device(hosts[1], 2, STOCK)
    private, public = wireguard.new_key()
    environment = quick_environment(lab)
    b.wg_set("peer", public, "allowed-ips", "10.77.0.1/32,fd77::1/128")
    b.host.ip("addr add 198.51.100.7/32 dev lo", "addr add 2001:db8::7/128 dev lo")
    a, note = hosts[0], lab.state / "note"
    for family, extra in ((4, ""), (6, f"\nMTU = 1400\nTable = 4242\nPostUp = ip rule add to 198.51.100.0/24 table 4242;"
                                       f" ip -6 rule add to 2001:db8::/64 table 4242; echo %i > {note}\n"
                                       f"PreDown = rm {note}; ip rule del table 4242; ip -6 rule del table 4242")):
        conf = write_conf(lab, f"PrivateKey = {private}\nAddress = 10.77.0.1/24, fd77::1/64{extra}",
                          f"PublicKey = {b.public_key}\nEndpoint = {b.endpoint(family)}\nAllowedIPs = 0.0.0.0/0, ::/0\n"
                          "PersistentKeepalive = 25")
        a.run("wg-quick", "up", conf, env=environment)
        for address in ("198.51.100.7", "2001:db8::7"):
            wait_until(lambda: a.ping(address, wait_s=0.3) == 1, 5, f"an answer of {address} through the tunnel")
            expect_equal(a.ping(address, count=20, size=1300), 1.0, f"answers of {address}")
        expect_equal(note.exists(), bool(extra), "PostUp ran")
        mark = a.run("wg", "show", "wg0", "fwmark").stdout.strip()
        expect_equal(mark, "off" if extra else "0xca6c", "the firewall mark")
        if extra:
            expect("mtu 1400" in a.run("ip", "link", "show", "wg0").stdout, "MTU of the configuration")
        a.run("wg-quick", "down", conf, env=environment)
        expect("wg0" not in a.interfaces() and not note.exists(), "something stays after down")


def programs(host: Host) -> str:
    """Command lines of what runs in the host."""
    return " ".join(pathlib.Path(f"/proc/{pid}/cmdline").read_text() for pid in pids_inside([host.full_name]))


@scenario("wireguard")
def wg_narrow_path(lab: Lab) -> None:
    """A path of 1400 bytes under a tunnel of 1420: datagrams are cut on the way, whichever side sends, and none is lost."""
    hosts = two_public_hosts(lab)
    hosts[0].network.ip("link set p2 mtu 1400")
    hosts[1].ip("link set eth0 mtu 1400")
    a, b = Device(hosts[0], 1, ours(lab)), Device(hosts[1], 2, ours(lab))
    for family in (4, 6):
        joined(a, b, family)
        wait_until(lambda: a.host.ping(b.ipv4, size=1392, wait_s=0.3) == 1, 5, "a full packet arrives")
        check_pings(a, b, sizes=(56, 1392, 30000))
        for reverse in (False, True):
            rate = wireguard.throughput_mbps(a, b, b.ipv4, reverse=reverse)
            expect(rate > 10, f"TCP over IPv{family}, reverse={reverse}: {rate:.1f} Mbit/s")


@scenario("wireguard")
def wg_changes(lab: Lab) -> None:
    """What is changed while packets flow: preshared key, keepalive, allowed addresses, MTU, the link down and up."""
    hosts = two_public_hosts(lab)
    a, b = Device(hosts[0], 1, ours(lab)), Device(hosts[1], 2, STOCK)
    joined(a, b)
    check_pings(a, b)

    key = wireguard.new_preshared_key()
    for device, other in ((a, b), (b, a)):
        device.wg_set("peer", other.public_key, "preshared-key", "/dev/stdin", stdin=key)
        expect_equal(a.host.ping(b.ipv4, count=20), 1.0, "answers under the session there is")
    passed = next_second()
    b.wg_set("peer", a.public_key, "remove")
    b.add_peer(a, a.endpoint(), key)
    check_pings(b, a)
    expect(a.peer(b).last_handshake_s > passed, "no handshake with the new preshared key")

    a.wg_set("peer", b.public_key, "persistent-keepalive", "1")
    capture = Capture(b.host, "eth0")
    time.sleep(3.4)
    a.wg_set("peer", b.public_key, "persistent-keepalive", "off")
    time.sleep(0.1)
    sizes = [len(p.payload) for p in datagrams(capture.stop(), b.port)]
    expect(sizes.count(32) in (3, 4, 5) and len(sizes) <= 6, f"sizes in 3.4 s with a keepalive every second: {sizes}")
    capture = Capture(b.host, "eth0")
    time.sleep(1.5)
    expect_equal(sum(1 for _ in datagrams(capture.stop(), b.port)), 0, "datagrams with keepalives off")

    a.wg_set("peer", b.public_key, "allowed-ips", f"{b.ipv6}/128")
    expect_equal(b.host.ping(a.ipv4, count=5, wait_s=0.3), 0.0, "answers to an address that is not the peer's any more")
    expect_equal(b.host.ping(a.ipv6, count=5), 1.0, "answers to the other address")
    a.wg_set("peer", b.public_key, "allowed-ips", f"{b.ipv4}/32,{b.ipv6}/128")

    for mtu in (1280, 1420):
        for device in (a, b):
            device.host.ip(f"link set wg0 mtu {mtu}")
        capture = Capture(b.host, "eth0")
        wait_until(lambda: a.host.ping(b.ipv4, size=mtu - 28) == 1, 3, f"a full packet at MTU {mtu}")
        longest = max(len(p.payload) for p in datagrams(capture.stop(), b.port))
        expect_equal(longest, mtu + 32, f"longest datagram at MTU {mtu}")

    a.host.ip("link set wg0 down")
    a.host.ip("link set wg0 up", f"addr add {a.ipv6}/64 dev wg0")  # the kernel forgets IPv6 addresses meanwhile
    wait_until(lambda: a.host.ping(b.ipv4, wait_s=0.2) == 1, 6, "an answer after the link was down")
    check_pings(a, b)


@scenario("wireguard", limit_s=150, long=True)
def wg_bad_link(lab: Lab) -> None:
    """A minute over a line that loses, reorders, repeats and corrupts: TCP both ways arrives to the bit, pings add no loss."""
    network = lab.network()
    shape = Shape(delay_ms=5, jitter_ms=2, loss_percent=1, reorder_percent=2, duplicate_percent=1, corrupt_percent=0.5)
    a = Device(network.public("a", shape=shape), 1, ours(lab))
    b = Device(network.public("b"), 2, ours(lab))
    joined(a, b)
    wait_until(lambda: a.host.ping(b.ipv4, wait_s=0.3) == 1, 10, "an answer through the tunnel")
    end, rounds = time.monotonic() + 60, 0
    data = os.urandom(4 << 20)
    while time.monotonic() < end:
        for sender, receiver, address in ((a, b, b.ipv4), (b, a, a.ipv6)):
            expect_equal(transferred(sender.host, receiver.host, address, data), hashlib.sha256(data).hexdigest(),
                         f"what {receiver.host.name} received in round {rounds}")
        rounds += 1
    share = a.host.ping(b.ipv4, count=1000, interval_s=0.005)
    # Each way 1 % lost and 0.5 % corrupted, which no tunnel can use.
    expect(share > 0.95, f"{share:.1%} of the pings answered")
    print(f"    {rounds} rounds of 8 MiB, {share:.1%} of the pings answered", flush=True)


def transferred(sender: Host, receiver: Host, address: str, data: bytes) -> str:
    """Sends over TCP; the hash of what came out."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with receiver.entered():
        listener = socket.create_server((address, 0), family=family)
    with sender.entered():
        client = socket.socket(family, socket.SOCK_STREAM)
    client.settimeout(30)
    client.connect(listener.getsockname()[:2])
    accepted, _ = listener.accept()
    accepted.settimeout(30)
    writer = threading.Thread(target=lambda: (client.sendall(data), client.close()), daemon=True)
    writer.start()
    digest = hashlib.sha256()
    with accepted, listener:
        while piece := accepted.recv(1 << 16):
            digest.update(piece)
    writer.join()
    return digest.hexdigest()
