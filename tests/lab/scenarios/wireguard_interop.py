"""`lanrage wireguard` as a drop-in for wireguard-go, with stock `wg` and stock peers.

    a (public, 5.9.1.2) -- internet -- b (public, 5.9.2.2)
"""
from __future__ import annotations

import pathlib

import wireguard
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
    check_pings(a, b)


@scenario("wireguard")
def wg_quick(lab: Lab) -> None:
    """wg-quick up and down with lanrage-wireguard as its userspace implementation; nothing stays behind."""
    hosts = two_public_hosts(lab)
    b = Device(hosts[1], 2, STOCK)
    private, public = wireguard.new_key()
    folder = lab.state / "bin"
    folder.mkdir()
    (folder / "lanrage-wireguard").symlink_to(lab.binary)
    conf = lab.state / "wg0.conf"
    conf.touch(mode=0o600)
    conf.write_text(f"[Interface]\nPrivateKey = {private}\nListenPort = 51820\nAddress = 10.77.0.1/24, fd77::1/64\n"
                    f"[Peer]\nPublicKey = {b.public_key}\nEndpoint = {b.endpoint()}\n"
                    f"AllowedIPs = {b.ipv4}/32, {b.ipv6}/128\n")
    b.wg_set("peer", public, "allowed-ips", "10.77.0.1/32,fd77::1/128")
    environment = {"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin",
                   "WG_QUICK_USERSPACE_IMPLEMENTATION": "lanrage-wireguard"}
    a = hosts[0]
    for _ in range(2):
        a.run("wg-quick", "up", str(conf), env=environment)
        wait_until(lambda: a.ping(b.ipv4, wait_s=0.3) == 1, 5, "an answer through the tunnel")
        expect_equal(a.ping(b.ipv6, count=10), 1.0, "answers over IPv6")
        expect("lanrage-wireguard" in programs(a), "wg-quick runs something else")
        a.run("wg-quick", "down", str(conf), env=environment)
        expect("wg0" not in a.interfaces(), "wg0 stays after down")
        wait_until(lambda: "lanrage-wireguard" not in programs(a), 3, "the program ends with its interface")


def programs(host: Host) -> str:
    """Command lines of what runs in the host."""
    return " ".join(pathlib.Path(f"/proc/{pid}/cmdline").read_text() for pid in pids_inside([host.full_name]))
