"""The party's names in programs that know nothing of LANrage, through a systemd-resolved of the host's own.

    server (public)      alice -- router (easy)     bob -- router (easy): D-Bus, systemd-resolved
"""
from __future__ import annotations

import pathlib
import shutil

from namespace import Failure, Process, wait_until
from party import Node, node_behind, server_on
from play import Player
from scenario import Lab, expect, expect_equal, scenario
from topology import Host

# Where tools/install-packages unpacks it: an installed one would take over the machine's /etc/resolv.conf.
UNPACKED = pathlib.Path("/usr/local/lib/lanrage-lab")
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_destination="*"/> <allow receive_sender="*"/>
    <allow send_type="signal"/> <allow receive_type="signal"/>
  </policy>
</busconfig>
"""
USER = "systemd-resolve:x:9970:9970:systemd Resolver:/:/usr/sbin/nologin\n"
GROUP = "systemd-resolve:x:9970:\n"


class Resolved:
    """A system bus and systemd-resolved in a host, with an /etc of the host's own that leads programs to it."""

    def __init__(self, lab: Lab, host: Host) -> None:
        self._host = host
        self.root = next((root for root in (pathlib.Path("/"), UNPACKED)
                          if (root / "lib/systemd/systemd-resolved").exists()), None)
        if self.root is None:
            raise Failure("no systemd-resolved here: run tools/install-packages test")
        etc = lab.state / f"{host.name}-etc"
        shutil.copytree("/etc", etc, symlinks=True, ignore_dangling_symlinks=True)
        (etc / "resolv.conf").unlink()
        (etc / "resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
        for name, line in (("passwd", USER), ("group", GROUP)):
            text = (etc / name).read_text()
            if "systemd-resolve:" not in text:
                (etc / name).write_text(text + line)
        (etc / "hosts").write_text("127.0.0.1 localhost\n")
        (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
        bus = lab.state / "bus.conf"
        bus.write_text(BUS)
        host.run("mount", "--bind", str(etc), "/etc")
        host.run("mkdir", "-p", "/run/dbus", "/run/systemd")
        host.start("dbus", "dbus-daemon", f"--config-file={bus}", "--nofork")
        wait_until((host.root() / "run/dbus/system_bus_socket").exists, 5, "the bus is there", 0.03)

    def _command(self, path: str, *words: str) -> list[str]:
        libraries = self.root / "usr/lib/x86_64-linux-gnu/systemd"
        return ["env", f"LD_LIBRARY_PATH={libraries}", str(self.root / path), *words]

    def start(self) -> Process:
        process = self._host.start("resolved", *self._command("lib/systemd/systemd-resolved"))
        wait_until((self._host.root() / "run/systemd/resolve/stub-resolv.conf").exists, 5, "resolved is there", 0.03)
        return process

    def query(self, *words: str) -> str:
        return self._host.run(*self._command("usr/bin/resolvectl", "query", *words), check=False).stdout


def looked_up(node: Node, name: str, database: str = "ahostsv4") -> set[str]:
    """What a program gets that asks the C library."""
    return {line.split()[0] for line in node.host.run("getent", database, name, check=False).stdout.splitlines()}


def findings(node: Node) -> str:
    return " ".join(node.command("netcheck")["findings"])


@scenario("names")
def names_resolved(lab: Lab) -> None:
    """Any program finds a member by name once resolved runs, also after it started anew; nobody else may ask."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "Alice"), node_behind(lab, network, "easy", "bob")
    resolved = Resolved(lab, bob.host)
    bob.join(alice.host_party(server.link))
    bob.wait_path("Alice", "direct", 10)
    wait_until(lambda: "systemd-resolved does not run here" in findings(bob), 15, "bob's node says what is missing")
    wait_until(lambda: "no system bus" in findings(alice), 15, "alice's node says what is missing")
    expect_equal(looked_up(bob, "alice"), set(), "alice without resolved")

    process = resolved.start()
    address = alice.address()
    wait_until(lambda: looked_up(bob, "alice") == {address}, 10, "bob's machine knows alice")
    expect(bob.command("netcheck")["names"] is True, "netcheck says so")
    for name in ("alice", "alice.lanrage.internal", "ALICE.LANrage.internal"):
        expect_equal(looked_up(bob, name), {address}, name)
    expect_equal(looked_up(bob, "alice.lanrage.internal", "ahostsv6"), set(alice.addresses()) - {address}, "IPv6")
    expect_equal(looked_up(bob, "bob"), {bob.address()}, "bob to himself")
    expect_equal(looked_up(bob, "carol.lanrage.internal"), set(), "nobody")
    expect(address in resolved.query("alice.lanrage.internal"), "resolvectl query")
    expect("alice.lanrage.internal" in resolved.query(address), "the name of an address")
    expect("alice.lanrage.internal" in resolved.query(alice.addresses()[1]), "the name of an IPv6 address")

    # Neither a member nor a neighbour gets an answer.
    ports = [line.split()[3].rpartition(":")[2] for line in bob.host.run("ss", "-Hunl").stdout.splitlines()
             if line.split()[3].startswith(f"{bob.address()}:")]
    expect_equal(len(ports), 1, "sockets on bob's party address")
    question = bytes.fromhex("12340100000100000000000005616c696365076c616e7261676508696e7465726e616c0000010001")
    for asker, wanted in ((bob, True), (alice, False)):
        with asker.host.udp_socket(asker.address()) as sock:
            sock.sendto(question, (bob.address(), int(ports[0])))
            try:
                answered = sock.recv(512)[:2] == question[:2]
            except TimeoutError:
                answered = False
        expect_equal(answered, wanted, f"an answer to {asker.name}")

    process.stop()
    shutil.rmtree(bob.host.root() / "run/systemd/resolve")
    resolved.start()
    wait_until(lambda: looked_up(bob, "alice") == {address}, 10, "alice is known after resolved started anew")
    bob.command("leave")
    wait_until(lambda: looked_up(bob, "alice.lanrage.internal") == set(), 5, "no names after leaving")


@scenario("names")
def names_freeciv(lab: Lab) -> None:
    """Freeciv's LAN list gives the server's host name; a client joins by it where the player is called like the host."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "easy", "bob")
    resolved = Resolved(lab, bob.host)
    resolved.start()
    bob.join(alice.host_party(server.link))
    bob.wait_path("alice", "direct", 10)
    wait_until(lambda: looked_up(bob, "alice") == {alice.address()}, 10, "bob's machine knows alice")
    host, guest = Player(lab, alice.host, alice.address()), Player(lab, bob.host, bob.address())
    game = host.play("freeciv-server", "--identity", "alice", "--saves", host.home)
    host.wait_port(4555, game)
    guest.play("freeciv-sdl2", "--Plugin", "none", "--autoconnect", "--server", "alice", "--name", "bob", screen=True)
    wait_until(lambda: "bob has connected from" in game.output(), 20, "the client joins by the announced name")
