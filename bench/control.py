#!/usr/bin/env python3
"""One `lanrage server` and very many players, in a network namespace of its own.

    bench/control.py [--binary PATH] [--load PATH] [--parts joins,idle,restart] [--idle 20000] [--clients 10000]
                     [--joins 5000] [--rate 1000] [--ramp 250] [--loads 1] [--json FILE]

  joins    players that have a session join at a rate: the time from when each was due to its answer, which is on disk then
  idle     the server's memory with so many idle event streams, and its CPU
  restart  it is killed and started again: until the players have their streams back

Load and server share the machine. Each needs as many open files as it has connections: one a player, and for a minute after
it asked for something a second one. Needs root and the target control_load; leaves nothing behind.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import resource
import signal
import subprocess
import tempfile
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPACE = f"bc{os.getpid()}"
ADDRESSES = [f"10.79.{i // 200}.{i % 200 + 1}" for i in range(100)]  # a server takes 512 connections from one
TICKS = os.sysconf("SC_CLK_TCK")


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


class Server:
    def __init__(self, binary: pathlib.Path, folder: pathlib.Path) -> None:
        self.binary, self.folder = binary, folder
        self.start()

    def start(self) -> None:
        link = self.folder / "server.link"
        link.unlink(missing_ok=True)
        with (self.folder / "server.out").open("ab") as out:
            self.process = subprocess.Popen(["ip", "netns", "exec", SPACE, str(self.binary), "server"], stdout=out, stderr=out,
                                            env=os.environ | {"LANRAGE_DIR": str(self.folder)})
        until = time.monotonic() + 20
        while not link.exists():
            if time.monotonic() > until or self.process.poll() is not None:
                raise SystemExit((self.folder / "server.out").read_text())
            time.sleep(0.02)
        self.link = link.read_text().strip()

    def resident_mb(self) -> float:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def cpu_s(self) -> float:
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Load:
    def __init__(self, binary: pathlib.Path, server: Server, *words: str) -> None:
        self.process = subprocess.Popen(["ip", "netns", "exec", SPACE, str(binary), server.link, ",".join(ADDRESSES), *words],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def answer(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the load ended early")
        return json.loads(line)

    def watch(self) -> None:
        """The next answer is how all got their streams back."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def measure(options: argparse.Namespace, part: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="lanrage-bench-") as folder:
        server = Server(options.binary, pathlib.Path(folder))
        loads: list[Load] = []
        empty = server.resident_mb()

        def start(clients: int, rate: float, *words: str) -> list[dict[str, Any]]:
            for _ in range(options.loads):
                loads.append(Load(options.load, server, "--clients", str(clients // options.loads),
                                  "--rate", str(rate / options.loads), *words))
            return [load.answer() for load in loads]
        try:
            if part == "joins":
                return {"joined": start(options.joins, options.rate, "--warm")}
            clients = options.idle if part == "idle" else options.clients
            joined = start(clients, options.ramp)
            if part == "idle":
                time.sleep(65)  # connections for requests are over after 60 s
                before = server.cpu_s()
                time.sleep(20)
                return {"clients": clients, "resident_mb": server.resident_mb(), "empty_mb": empty,
                        "cpu_percent": 5 * (server.cpu_s() - before), "joined": joined}
            for load in loads:
                load.watch()
            time.sleep(0.1)
            server.kill()
            server.start()
            return {"clients": clients, "back": [load.answer() for load in loads]}
        finally:
            for load in loads:
                load.close()
            server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build/release/apps/lanrage/lanrage")
    parser.add_argument("--load", type=pathlib.Path, default=ROOT / "build/release/bench/control_load")
    parser.add_argument("--parts", default="joins,idle,restart")
    parser.add_argument("--idle", type=int, default=20000)
    parser.add_argument("--clients", type=int, default=10000)
    parser.add_argument("--loads", type=int, default=1, help="processes that the players are spread over")
    parser.add_argument("--joins", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--ramp", type=float, default=250, help="joins a second for idle and restart")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    out: dict[str, Any] = {}
    run("ip", "netns", "add", SPACE)
    try:
        run("ip", "-n", SPACE, "link", "set", "lo", "up")
        for address in ADDRESSES:
            run("ip", "-n", SPACE, "addr", "add", f"{address}/32", "dev", "lo")
        for part in options.parts.split(","):
            out[part] = measure(options, part)
            print(part, json.dumps(out[part]), flush=True)
    finally:
        run("ip", "netns", "del", SPACE)
    if options.json:
        options.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
