#!/usr/bin/env python3
"""`lanrage relay` beside coturn's channel data, in one run, with the same load, by a cable between two network namespaces.

    bench/relay.py [--binary PATH] [--load PATH] [--rounds 3] [--seconds 4] [--pps 20000] [--pairs 50] [--size 112]
                   [--run 16] [--flood-size 1200] [--parts cpu,runs,limit,fair,sessions] [--json FILE]

  cpu       CPU seconds per million datagrams at equal load, in turns, and the ratio of the medians; every datagram sent alone.
            `sockets` is LANrage with --offload false
  runs      likewise, --run datagrams of a pair at once, as a node sends what waits for one peer
  limit     datagrams a second that each passes on when sent as many as the machine can send
  fair      a party's loss and delay while another sends as fast as it can
  sessions  memory of the relay with 10 000 sessions

Needs root, coturn (turnserver) and the target relay_load; leaves nothing behind.
"""
from __future__ import annotations

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPACE = f"br{os.getpid()}"
RELAY_SPACE = f"{SPACE}r"
SERVER = "10.78.0.1"
TICKS = os.sysconf("SC_CLK_TCK")


def run(*words: str) -> str:
    return subprocess.run(words, check=True, text=True, capture_output=True).stdout


def busy_s() -> float:
    """Of both CPUs and all that they did, interrupts included; not what the machine's own host took away."""
    user, nice, system, _, _, irq, softirq = map(int, pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


class Relay:
    """One relay under test, with what it has used of the CPU."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], ready: str, log: pathlib.Path) -> None:
        self.name = name
        with log.open("wb") as out:
            self.process = subprocess.Popen(["ip", "netns", "exec", RELAY_SPACE, *command], stdout=out, stderr=out,
                                            env=os.environ | environment)
        until = time.monotonic() + 20
        while ready not in log.read_text(errors="replace"):
            if time.monotonic() > until or self.process.poll() is not None:
                raise SystemExit(f"{name} does not start:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)
        self.log = log

    def cpu_s(self) -> float:
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_bytes(self) -> int:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(status.split("VmRSS:")[1].split()[0])

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class Bench:
    def __init__(self, options: argparse.Namespace, folder: pathlib.Path) -> None:
        self.options = options
        self.folder = folder
        for space in (SPACE, RELAY_SPACE):
            run("ip", "netns", "add", space)
            run("ip", "-n", space, "link", "set", "lo", "up")
        run("ip", "-n", SPACE, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", RELAY_SPACE)
        for space, address in ((SPACE, "10.78.0.2/24"), (RELAY_SPACE, f"{SERVER}/24")):
            run("ip", "-n", space, "addr", "add", address, "dev", "eth0")
            run("ip", "-n", space, "link", "set", "eth0", "up")
        run("ip", "-n", SPACE, "addr", "add", "10.77.0.1/16", "dev", "lo")  # all of it is the load's
        run("ip", "-n", RELAY_SPACE, "route", "add", "10.77.0.0/16", "via", "10.78.0.2")

    def ours(self, offload: bool = True) -> Relay:
        state = self.folder / "relay"
        state.mkdir(exist_ok=True)
        key = bytes(32)
        (state / "relay.keys").write_text(run(str(self.options.load), "keys", key.hex()))
        link = f"https://{SERVER}:9#" + "A" * 43
        relay = Relay("lanrage", [str(self.options.binary), "relay", "--server", link, "--listen", f"{SERVER}:3478", "--offload", str(offload).lower(), "--json"],
                      {"LANRAGE_DIR": str(state)}, '"key"', self.folder / "lanrage.log")
        said = next(line for line in relay.log.read_text().splitlines() if line.startswith('{"key"'))
        self.key = json.loads(said)["key"]
        return relay

    def coturn(self) -> Relay:
        config = self.folder / "turn.conf"
        config.write_text(f"listening-ip={SERVER}\nrelay-ip={SERVER}\nlistening-port=3478\nno-auth\nno-tls\nno-dtls\nno-cli\n"
                          f"no-tcp\nmin-port=20000\nmax-port=40000\nlog-file=stdout\nverbose\nuserdb={self.folder}/turn.db\n"
                          f"pidfile={self.folder}/turn.pid\n")
        relay = Relay("coturn", ["turnserver", "-c", str(config)], {}, "Total General servers", self.folder / "coturn.log")
        time.sleep(0.5)
        return relay

    def load(self, relay: Relay | None, *words: str, pps: float | None = None, seconds: float | None = None) -> dict[str, Any]:
        kind, key = ("straight", "-") if relay is None else ("turn", "-") if relay.name == "coturn" else ("lanrage", self.key)
        o = self.options
        return json.loads(run("ip", "netns", "exec", SPACE, str(o.load), kind, f"{SERVER}:3478", key, "--pairs", str(o.pairs),
                              "--pps", str(pps or o.pps), "--size", str(o.size), "--seconds", str(seconds or o.seconds), *words))

    def measured(self, start: Any, pps: float | None, run_: int) -> dict[str, float]:
        """What a fresh relay passed on and cost the machine, the kernel's work included: its busy time beyond that of the
        same load without a relay. Setting up is not counted."""
        relay = start() if start else None
        try:
            self.load(relay, seconds=0.5, pps=1000)
            before, machine = relay.cpu_s() if relay else 0, busy_s()
            counts = self.load(relay, "--run", str(run_), pps=pps)
            millions = max(1, counts["received"]) / 1e6
            return {"machine_s_per_million": (busy_s() - machine) / millions,
                    "process_s_per_million": ((relay.cpu_s() if relay else 0) - before) / millions,
                    "pps": counts["received"] / self.options.seconds, "loss": 1 - counts["received"] / counts["sent"],
                    "p50_us": counts["p50_us"], "p99_us": counts["p99_us"]}
        finally:
            if relay:
                relay.close()

    def compare(self, pps: float | None, title: str, run_: int = 1) -> dict[str, Any]:
        kinds = {"straight": None, "lanrage": self.ours, "sockets": lambda: self.ours(offload=False), "coturn": self.coturn}
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in kinds}
        for _ in range(self.options.rounds):
            for name, start in kinds.items():
                rounds[name].append(self.measured(start, pps, run_))
        out: dict[str, Any] = {name: {field: statistics.median(one[field] for one in all_) for field in all_[0]}
                               for name, all_ in rounds.items()}
        print(f"{title}: {self.options.pairs} pairs, {self.options.size} bytes, median of {self.options.rounds}")
        for name, figures in out.items():
            figures["cpu_s_per_million"] = figures["machine_s_per_million"] - out["straight"]["machine_s_per_million"]
            print(f"  {name:8} {figures['cpu_s_per_million']:6.2f} CPU s per million beyond straight, "
                  f"{figures['process_s_per_million']:6.2f} of the process, {figures['pps']:8.0f} a second, "
                  f"{100 * figures['loss']:5.2f} % lost, delay {figures['p50_us']:.0f} us median, {figures['p99_us']:.0f} us p99")
        for name in ("lanrage", "sockets"):
            figures = out[name]
            figures["ratio"] = figures["cpu_s_per_million"] / out["coturn"]["cpu_s_per_million"]
            print(f"  {name}: {figures['ratio']:.2f} of coturn's CPU")
        return out

    def fair(self) -> dict[str, Any]:
        out = {}
        for name, start in (("lanrage", self.ours), ("coturn", self.coturn)):
            relay = start()
            try:
                calm = self.load(relay, pps=5000)
                flooded = self.load(relay, "--flood", "1e9", "--flood-size", str(self.options.flood_size), pps=5000)
            finally:
                relay.close()
            out[name] = {"calm": calm, "flooded": flooded}
            for title, counts in (("alone", calm), ("beside a flood", flooded)):
                print(f"fair: {name:8} {title:15} {100 * (1 - counts['received'] / counts['sent']):6.3f} % lost, "
                      f"delay {counts['p50_us']} us median, {counts['p99_us']} us p99")
            flood = flooded["flood"]
            print(f"      the flood: {flood['sent'] / self.options.seconds:.0f} a second sent, "
                  f"{flood['received'] / self.options.seconds:.0f} passed on")
        return out

    def sessions(self) -> dict[str, Any]:
        relay = self.ours()
        try:
            before = relay.memory_bytes()
            load = subprocess.Popen(["ip", "netns", "exec", SPACE, str(self.options.load), "sessions", f"{SERVER}:3478", self.key,
                                     "10000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            count = json.loads(load.stdout.readline())["sessions"]
            after = relay.memory_bytes()
            load.communicate("\n")
        finally:
            relay.close()
        print(f"sessions: {count} in {after / 1e6:.1f} MB resident, {before / 1e6:.1f} MB without")
        return {"sessions": count, "bytes": after, "bytes_before": before}

    def close(self) -> None:
        run("ip", "netns", "del", SPACE)
        run("ip", "netns", "del", RELAY_SPACE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "build/release/apps/lanrage/lanrage")
    parser.add_argument("--load", type=pathlib.Path, default=ROOT / "build/release/bench/relay_load")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--pps", type=float, default=20000)
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--run", type=int, default=16)
    parser.add_argument("--flood-size", type=int, default=1200)
    parser.add_argument("--parts", default="cpu,runs,limit,fair,sessions")
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="lanrage-bench-") as folder:
        bench = Bench(options, pathlib.Path(folder))
        try:
            for part in options.parts.split(","):
                if part == "cpu":
                    out[part] = bench.compare(None, f"{options.pps:.0f} datagrams a second")
                elif part == "runs":
                    out[part] = bench.compare(None, f"{options.pps:.0f} datagrams a second in runs of {options.run}", options.run)
                elif part == "limit":
                    out[part] = bench.compare(1e9, "as many as can be sent")
                elif part == "fair":
                    out[part] = bench.fair()
                elif part == "sessions":
                    out[part] = bench.sessions()
        finally:
            bench.close()
    if options.json:
        options.json.write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
