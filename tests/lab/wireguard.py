"""WireGuard devices in the hosts of a scenario: stock wireguard-go or `lanrage wireguard`, set up by the stock `wg`."""
from __future__ import annotations

import dataclasses
import json
import pathlib
import socket
import time

from namespace import Failure, Process, execute, wait_until
from scenario import Lab, expect
from topology import Host

STOCK = ("wireguard-go",)


def ours(lab: Lab) -> tuple[str, ...]:
    return (lab.binary, "wireguard")


def new_key() -> tuple[str, str]:
    private = execute(["wg", "genkey"]).stdout.strip()
    return private, execute(["wg", "pubkey"], stdin=private).stdout.strip()


def new_preshared_key() -> str:
    return execute(["wg", "genpsk"]).stdout.strip()


@dataclasses.dataclass
class PeerState:
    endpoint: str
    last_handshake_s: int
    received: int
    sent: int


class Device:
    """One WireGuard interface `wg0`. `number` gives its addresses: 10.77.0.N and fd77::N."""

    def __init__(self, host: Host, number: int, implementation: tuple[str, ...], port: int = 51820) -> None:
        self.host = host
        self.ipv4, self.ipv6 = f"10.77.0.{number}", f"fd77::{number:x}"
        self.port = port
        self.private_key, self.public_key = new_key()
        self._implementation = implementation
        self.process = self._launch()
        self.wg_set("private-key", "/dev/stdin", "listen-port", str(port), stdin=self.private_key)
        self.add_addresses()

    def _launch(self) -> Process:
        """Starts the program in the foreground and waits until `wg` can talk to it."""
        command = [*self._implementation, "wg0", "--foreground"]
        if self._implementation == STOCK:
            command = [*STOCK, "-f", "wg0"]
        process = self.host.start("wg0", "env", "LOG_LEVEL=verbose", *command)

        def ready() -> bool:
            if not process.running():
                raise Failure(f"{' '.join(command)} ended at once: {process.output().strip().splitlines()[-1]}")
            return self.host.run("wg", "show", "wg0", check=False).returncode == 0
        wait_until(ready, 5, f"wg show answers on {self.host.name}", step=0.05)
        return process

    def add_addresses(self) -> None:
        self.host.ip("link set wg0 mtu 1420 up", f"addr add {self.ipv4}/24 dev wg0", f"addr add {self.ipv6}/64 dev wg0")

    def wg_set(self, *words: str, stdin: str | None = None) -> None:
        self.host.run("wg", "set", "wg0", *words, stdin=stdin)

    def add_peer(self, other: "Device", endpoint: str | None = None, preshared_key: str | None = None,
                 keepalive_s: int = 0) -> None:
        words = ["peer", other.public_key, "allowed-ips", f"{other.ipv4}/32,{other.ipv6}/128"]
        words += ["endpoint", endpoint] if endpoint else []
        words += ["persistent-keepalive", str(keepalive_s)] if keepalive_s else []
        words += ["preshared-key", "/dev/stdin"] if preshared_key else []
        self.wg_set(*words, stdin=preshared_key)

    def peer(self, other: "Device") -> PeerState:
        """What `wg show` says about a peer."""
        for line in self.host.run("wg", "show", "wg0", "dump").stdout.splitlines()[1:]:
            key, _, endpoint, _, handshake, received, sent, _ = line.split("\t")
            if key == other.public_key:
                return PeerState(endpoint, int(handshake), int(received), int(sent))
        raise Failure(f"{self.host.name} does not know {other.host.name}")

    def endpoint(self, family: int = 4) -> str:
        return f"{self.host.ipv4}:{self.port}" if family == 4 else f"[{self.host.ipv6}]:{self.port}"

    def uapi(self, request: str) -> dict[str, list[str]]:
        """One exchange on the configuration socket itself: each key with its values, in order."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(3)
            sock.connect(str(self.socket_path()))
            sock.sendall(request.encode())
            text = b""
            while not text.endswith(b"\n\n"):
                piece = sock.recv(65536)
                if not piece:
                    raise Failure(f"the configuration socket closed after {text!r}")
                text += piece
        answer: dict[str, list[str]] = {}
        for line in text.decode().split():
            key, _, value = line.partition("=")
            answer.setdefault(key, []).append(value)
        return answer

    def socket_path(self) -> pathlib.Path:
        """The configuration socket, through the host's own /run."""
        return self.host.root() / "run/wireguard/wg0.sock"

    def stop(self) -> None:
        self.process.stop()
        wait_until(lambda: "wg0" not in self.host.interfaces(), 3, f"wg0 of {self.host.name} is gone")


def check_pings(a: Device, b: Device, count: int = 20, sizes: tuple[int, ...] = (16, 56, 1392)) -> None:
    """All echo requests between the two are answered, over IPv4 and IPv6; `a` speaks first."""
    wait_until(lambda: a.host.ping(b.ipv4, wait_s=0.3) == 1, 5, f"{a.host.name} reaches {b.host.name} by the tunnel")
    for sender, receiver in ((a, b), (b, a)):
        for address in (receiver.ipv4, receiver.ipv6):
            for size in sizes:
                size -= 20 if ":" in address and size > 1300 else 0
                share = sender.host.ping(address, count=count, size=size, interval_s=0.002)
                expect(share == 1, f"{sender.host.name} to {address}, {size} bytes: {share:.0%} answered")


def throughput_mbps(a: Device, b: Device, address: str, reverse: bool = False, udp: bool = False) -> float:
    """iperf3 from `a` to `b` (or back): Mbit/s that arrived."""
    server = b.host.start("iperf3", "iperf3", "-s", "-1", "-B", address)
    b.host.wait_listening(address, 5201)
    words = ["-u", "-b", "50M", "-l", "1200", "-n", "3M"] if udp else ["-n", "16M"]
    words += ["-R"] if reverse else []
    said = a.host.run("iperf3", "-c", address, "-J", "--connect-timeout", "2000", *words, timeout=20)
    server.wait(5)  # its port is free again
    end = json.loads(said.stdout)["end"]
    sent = end["sum"] if udp else end["sum_received"]
    return float(sent["bits_per_second"]) * (1 - sent.get("lost_percent", 0) / 100) / 1e6


def check_transfers(a: Device, b: Device) -> None:
    """TCP both ways over both families, and UDP, carry data."""
    for address in (b.ipv4, b.ipv6):
        for reverse in (False, True):
            rate = throughput_mbps(a, b, address, reverse=reverse)
            expect(rate > 10, f"TCP {a.host.name}, {b.host.name} ({address}, reverse={reverse}): {rate:.1f} Mbit/s")
    rate = throughput_mbps(a, b, b.ipv4, udp=True)
    expect(rate > 40, f"UDP at 50 Mbit/s: {rate:.1f} arrived")


def next_second() -> int:
    """Waits for the next wall-clock second (the resolution of `last_handshake_s`) and answers the one that passed."""
    before = int(time.time())
    time.sleep(before + 1.01 - time.time())
    return before
