"""WireGuard devices in the hosts of a scenario: stock wireguard-go, or `lanrage wireguard`, set up by the stock `wg`."""
from __future__ import annotations

import dataclasses
import json
import re
import time

from namespace import Failure, Process, execute, wait_until
from scenario import expect
from topology import Host

STOCK = ("wireguard-go",)


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
        self.process = self.launch()
        self.wg_set("private-key", "/dev/stdin", "listen-port", str(port), stdin=self.private_key)
        self.add_addresses()

    def launch(self) -> Process:
        """Starts the program in the foreground and waits until `wg` can talk to it."""
        command = [*self._implementation, "wg0", "--foreground"] if self._implementation != STOCK else [*STOCK, "-f", "wg0"]
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

    def stop(self) -> None:
        self.process.stop()


def check_pings(a: Device, b: Device, count: int = 20, sizes: tuple[int, ...] = (0, 56, 1392)) -> None:
    """All echo requests between the two are answered, over IPv4 and IPv6; `a` speaks first."""
    wait_until(lambda: a.host.ping(b.ipv4, wait_s=0.3) == 1, 5, f"{a.host.name} reaches {b.host.name} through the tunnel")
    for sender, receiver in ((a, b), (b, a)):
        for address in (receiver.ipv4, receiver.ipv6):
            for size in sizes:
                size -= 20 if ":" in address and size > 1300 else 0
                share = sender.host.ping(address, count=count, size=size, interval_s=0.002)
                expect(share == 1, f"{sender.host.name} to {address}, {size} bytes: {share:.0%} answered")


def throughput_mbps(a: Device, b: Device, address: str, seconds: float = 1, reverse: bool = False, udp: bool = False) -> float:
    """iperf3 from `a` to `b` (or back): Mbit/s that arrived."""
    b.host.start("iperf3", "iperf3", "-s", "-1", "-B", address)
    b.host.wait_listening(address, 5201)
    words = ["-R"] if reverse else []
    words += ["-u", "-b", "50M", "-l", "1200"] if udp else []
    said = a.host.run("iperf3", "-c", address, "-t", str(seconds), "-J", "--connect-timeout", "2000", *words, timeout=seconds + 10)
    end = json.loads(said.stdout)["end"]
    return float((end["sum"] if udp else end["sum_received"])["bits_per_second"]) / 1e6


def check_transfers(a: Device, b: Device) -> None:
    """TCP both ways over both families, and UDP, carry data."""
    for address in (b.ipv4, b.ipv6):
        for reverse in (False, True):
            rate = throughput_mbps(a, b, address, reverse=reverse)
            expect(rate > 10, f"TCP {a.host.name}, {b.host.name} ({address}, reverse={reverse}): {rate:.1f} Mbit/s")
    rate = throughput_mbps(a, b, b.ipv4, udp=True)
    expect(rate > 40, f"UDP at 50 Mbit/s: {rate:.1f} arrived")


def wait_handshake(device: Device, other: Device, after_s: int, timeout: float = 10) -> None:
    """Until the last handshake is younger than the wall-clock second `after_s`."""
    wait_until(lambda: device.peer(other).last_handshake_s > after_s, timeout, f"a new handshake on {device.host.name}", 0.05)


def now_s() -> int:
    return int(time.time())


def version_words(host: Host, program: str) -> str:
    return re.sub(r"\s+", " ", host.run(program, "--version", check=False).stdout.strip())
