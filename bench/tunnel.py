#!/usr/bin/env python3
"""`lanrage wireguard` against wireguard-go, interleaved, in two network namespaces joined by a veth pair.

    bench/tunnel.py [--binary PATH] [--rounds 6] [--seconds 3] [--json FILE]

Each round measures both programs, in turns: one TCP stream each way (iperf3) and lone pings. Prints medians, spreads and
the ratio of medians. Needs root, wireguard-go, wg, iperf3 and ping; leaves nothing behind.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PREFIX = f"bt{os.getpid()}"


def run(*words: str, stdin: str | None = None, check: bool = True) -> str:
    return subprocess.run(words, input=stdin, check=check, text=True, capture_output=True).stdout


class Tunnel:
    """Two namespaces and the same WireGuard program in each."""

    def __init__(self, command: list[str]) -> None:
        self.hosts = [f"{PREFIX}a", f"{PREFIX}b"]
        self.processes: list[subprocess.Popen[bytes]] = []
        try:
            self.make_link()
            self.start(command)
        except BaseException:
            self.close()
            raise

    def inside(self, side: int, *words: str, **options: object) -> str:
        return run("ip", "netns", "exec", self.hosts[side], *words, **options)

    def make_link(self) -> None:
        for host in self.hosts:
            run("ip", "netns", "add", host)
        run("ip", "-n", self.hosts[0], "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.hosts[1])
        for side, host in enumerate(self.hosts):
            run("ip", "-n", host, "addr", "add", f"192.168.9.{side + 1}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                run("ip", "-n", host, "link", "set", device, "up")

    def start(self, command: list[str]) -> None:
        private = [run("wg", "genkey").strip() for _ in self.hosts]
        public = [run("wg", "pubkey", stdin=key).strip() for key in private]
        for side, host in enumerate(self.hosts):
            name = f"{PREFIX}w{side}"
            self.processes.append(subprocess.Popen(["ip", "netns", "exec", host, *command, name],
                                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            deadline = time.monotonic() + 5
            while subprocess.run(["wg", "show", name], capture_output=True).returncode != 0 and time.monotonic() < deadline:
                time.sleep(0.02)
            self.inside(side, "wg", "set", name, "private-key", "/dev/stdin", "listen-port", "51820", "peer", public[1 - side],
                        "endpoint", f"192.168.9.{2 - side}:51820", "allowed-ips", f"10.9.0.{2 - side}/32", stdin=private[side])
            run("ip", "-n", host, "addr", "add", f"10.9.0.{side + 1}/24", "dev", name)
            run("ip", "-n", host, "link", "set", name, "mtu", "1420", "up")
        self.inside(0, "ping", "-c", "1", "-w", "5", "10.9.0.2")

    def tcp(self, seconds: int, reverse: bool) -> float:
        server = subprocess.Popen(["ip", "netns", "exec", self.hosts[1], "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
        self.processes.append(server)
        while ":5201" not in self.inside(1, "ss", "-ltn"):
            time.sleep(0.02)
        said = self.inside(0, "iperf3", "-c", "10.9.0.2", "-t", str(seconds), "-O", "1", "-J", *(["-R"] if reverse else []))
        server.wait(5)
        self.processes.remove(server)
        return json.loads(said)["end"]["sum_received"]["bits_per_second"] / 1e6

    def ping_us(self, count: int = 200) -> float:
        """Median round trip of lone packets."""
        said = self.inside(0, "ping", "-n", "-c", str(count), "-i", "0.01", "-s", "56", "10.9.0.2", check=False)
        return 1000 * statistics.median(float(t) for t in re.findall(r"time=([0-9.]+) ms", said))

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        for host in self.hosts:
            run("ip", "netns", "del", host, check=False)


def measure(command: list[str], seconds: int) -> dict[str, float]:
    tunnel = Tunnel(command)
    try:
        return {"tcp_mbps": tunnel.tcp(seconds, False), "tcp_back_mbps": tunnel.tcp(seconds, True), "ping_us": tunnel.ping_us()}
    finally:
        tunnel.close()


def newest_binary() -> pathlib.Path | None:
    builds = [ROOT / b / "apps/lanrage/lanrage" for b in ("build/release", "out")]
    return max((b for b in builds if b.is_file()), key=lambda b: b.stat().st_mtime, default=None)


def main() -> int:
    parser = argparse.ArgumentParser(description="TCP and lone pings through lanrage wireguard and wireguard-go")
    parser.add_argument("--binary", type=pathlib.Path, default=newest_binary())
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    if os.geteuid() != 0 or options.binary is None:
        print("run as root, with a release build", file=sys.stderr)
        return 2
    programs = {"lanrage": [str(options.binary.resolve()), "wireguard", "--foreground"], "wireguard-go": ["wireguard-go", "-f"]}
    results: dict[str, list[dict[str, float]]] = {name: [] for name in programs}
    for number in range(options.rounds):
        # Who begins alternates, so that whatever drifts hits both.
        for name in sorted(programs, reverse=number % 2 == 1):
            results[name].append(measure(programs[name], options.seconds))
            print(number + 1, name, {k: round(v) for k, v in results[name][-1].items()}, flush=True)
    print(f"\n{'':16}{'lanrage':>24}{'wireguard-go':>24}{'ratio':>8}")
    for what in ("tcp_mbps", "tcp_back_mbps", "ping_us"):
        line = f"{what:16}"
        medians = []
        for name in programs:
            values = [r[what] for r in results[name]]
            medians.append(statistics.median(values))
            line += f"{medians[-1]:>10.0f} ({min(values):.0f}..{max(values):.0f})".rjust(24)
        print(f"{line}{medians[0] / medians[1]:>8.2f}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
