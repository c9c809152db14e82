"""LANrage's own programs in the hosts of a scenario: a server, and nodes driven by the command line with --json."""
from __future__ import annotations

import base64
import dataclasses
import ipaddress
import json
import os
import pathlib
import signal
import socket
import time
from typing import Any

from echo import Echo
from link import Shape
from namespace import Failure, Process, wait_until
from scenario import Lab, expect, expect_equal
from topology import Host, Network

# Each access delays a packet by a quarter of the round trip between two peers, or between a peer and the server.
ROUND_TRIP_MS = 30
ACCESS = Shape(delay_ms=ROUND_TRIP_MS / 4)
PORT = 41820


def environment(folder: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key.startswith(("ASAN_", "UBSAN_", "TSAN_", "LSAN_"))}
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": folder, "LANRAGE_DIR": folder,
            "LANRAGE_LOG_LEVEL": "debug", **kept, **faked_clock(folder)}


FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


def faked_clock(folder: str) -> dict[str, str]:
    clock = pathlib.Path(f"{folder}.clock")
    if not clock.exists():
        return {}
    return {"LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def set_clock(of: Server | Node, offset: str) -> None:
    """Its calendar is off by "+1h", "-10y", ...: from its next start on, and later ones at once."""
    pathlib.Path(f"{of.folder}.clock").write_text(offset + "\n")


@dataclasses.dataclass
class Answer:
    """What a command said: its object on success, its error object otherwise."""

    code: int
    data: dict[str, Any]
    error: dict[str, Any]
    seconds: float


def parsed(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text) if text.strip() else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class Server:
    """`lanrage server` on a public host."""

    def __init__(self, lab: Lab, host: Host, *options: str) -> None:
        self.host = host
        self._lab = lab
        self.options = options
        self.folder = lab.state / f"{host.name}-server"
        self.folder.mkdir(mode=0o700, exist_ok=True)  # with another server's keys, perhaps
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it serves."""
        self._link_file.unlink(missing_ok=True)
        self.process: Process = self.host.start("lanrage", self._lab.binary, "server", *self.options,
                                                env=environment(str(self.folder)))

        def ready() -> bool:
            if not self.process.running():
                raise Failure(f"lanrage server ended at once: {self.process.output().strip().splitlines()[-1]}")
            return self._link_file.exists() and self.link.startswith("https://")
        wait_until(ready, 10, "server.link says where the server is")

    @property
    def _link_file(self) -> pathlib.Path:
        return self.folder / "server.link"

    @property
    def link(self) -> str:
        return self._link_file.read_text().strip()

    def link_by(self, name: str) -> str:
        """The link with another host part: the pinned key is what counts."""
        return f"https://{name}:{PORT}#{self.link.partition('#')[2]}"

    def kill(self) -> None:
        self.process.stop(signal.SIGKILL)

    def _said(self, *words: str) -> dict[str, Any]:
        return parsed(self.host.run(self._lab.binary, "server", *words, "--json", env=environment(str(self.folder))).stdout)

    def status(self) -> dict[str, Any]:
        return self._said("status")

    def relays(self, *words: str) -> dict[str, str]:
        """`lanrage server relays`: the state of each by its key."""
        return {relay["key"]: relay["state"] for relay in self._said("relays", *words)["relays"]}


class Relay:
    """`lanrage relay` on a public host, for the players of a server."""

    def __init__(self, lab: Lab, host: Host, server: Server, *options: str) -> None:
        self.host = host
        self._lab = lab
        self._command = ("relay", "--server", server.link, "--json", *options)
        self.folder = lab.state / f"{host.name}-relay"
        self.folder.mkdir(mode=0o700)
        self.start()

    def start(self) -> None:
        """Starts it, and waits until it is ready."""
        self.process: Process = self.host.start("lanrage", self._lab.binary, *self._command,
                                                env=environment(str(self.folder)))
        wait_until(lambda: '"key"' in self.process.output(), 10, f"{self.host.name} is ready")
        said = next(line for line in self.process.output().splitlines() if line.startswith('{"key"'))
        self.key = str(json.loads(said)["key"])

    @property
    def id(self) -> str:
        """As directories, `relays` and `status` call it: the first eight bytes of its key."""
        return base64.b64decode(self.key)[:8].hex()

    def kill(self) -> None:
        self.process.stop(signal.SIGKILL)


class Node:
    """One player's machine. Commands are the ones a person types, with --json."""

    def __init__(self, lab: Lab, host: Host, name: str) -> None:
        self.host = host
        self.name = name
        self._binary = lab.binary
        self.folder = lab.state / f"{host.name}-node-{name}"
        self.folder.mkdir(mode=0o700)
        self._log = lab.state / f"{host.name}-{name}-commands.log"

    def ask(self, *words: str, timeout: float = 15) -> Answer:
        """Runs `lanrage WORDS --json`; never fails by itself, its time is limited."""
        start = time.monotonic()
        done = self.host.run(self._binary, *words, "--json", check=False, timeout=timeout,
                             env=environment(str(self.folder)))
        seconds = time.monotonic() - start
        with self._log.open("a") as log:
            log.write(f"$ lanrage {' '.join(words)} --json  # {done.returncode}, {seconds:.3f} s\n")
            log.write(f"{done.stdout}{done.stderr}\n")
        return Answer(done.returncode, parsed(done.stdout), parsed(done.stderr.strip().rpartition("\n")[2]).get("error", {}), seconds)

    def command(self, *words: str, timeout: float = 15) -> dict[str, Any]:
        """The object a command answers; Failure with its error if it does not succeed."""
        answer = self.ask(*words, timeout=timeout)
        if answer.code != 0:
            raise Failure(f"{self.name}: lanrage {words[0]}: exit {answer.code}, {answer.error or 'no error object'}")
        return answer.data

    def host_party(self, link: str, *options: str) -> str:
        """Hosts a party on a server and answers the invite."""
        invite = self.command("host", "--server", link, "--as", self.name, *options)["invite"]
        expect(str(invite).startswith("lanrage://"), f"no invite: {invite!r}")
        return str(invite)

    def invite(self, *options: str) -> str:
        return str(self.command("invite", *options)["invite"])

    def join(self, invite: str) -> dict[str, Any]:
        return self.command("join", invite, "--as", self.name)

    def status(self) -> dict[str, Any]:
        return self.command("status")

    @property
    def interface(self) -> str:
        return str(self.status()["self"]["interface"])

    def addresses(self) -> list[str]:
        """Ours in the party, without prefix lengths."""
        return [str(address).partition("/")[0] for address in self.status()["self"]["addresses"]]

    def address(self) -> str:
        """Our IPv4 address in the party."""
        return next(a for a in self.addresses() if ipaddress.ip_address(a).version == 4)

    def peer(self, name: str) -> dict[str, Any] | None:
        """What status says about a peer; None while it is not known."""
        return next((peer for peer in self.status()["peers"] if peer["name"] == name), None)

    def peers(self) -> list[dict[str, Any]]:
        return list(self.command("peers")["peers"])

    def path_kind(self, name: str) -> str | None:
        """direct or relay once the peer is connected, else None."""
        peer = self.peer(name)
        return peer["path"]["kind"] if peer and peer["state"] == "connected" else None

    def wait_path(self, name: str, kind: str, timeout: float = 3) -> dict[str, Any]:
        """Until a peer is connected on a path of this kind."""
        wait_until(lambda: self.path_kind(name) == kind, timeout, f"{self.name} is connected to {name}, {kind}", 0.05)
        return self.peer(name) or {}

    def ping(self, name: str, count: int = 3) -> dict[str, Any]:
        return self.command("ping", name, "-c", str(count), "-i", "0.05")

    def kill_daemon(self, number: int = signal.SIGKILL) -> None:
        """Ends the node that runs in the background, by its process id."""
        for pid in daemon_pids(self):
            os.kill(pid, number)
        wait_until(lambda: not daemon_pids(self), 5, f"{self.name}'s node has ended")


def daemon_pids(node: Node) -> list[int]:
    """Processes whose environment names the node's folder."""
    wanted = f"LANRAGE_DIR={node.folder}".encode()
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and wanted in open(f"/proc/{entry}/environ", "rb").read().split(b"\0"):
                found.append(int(entry))
        except OSError:
            continue
    return found


def server_on(lab: Lab, network: Network, *options: str) -> Server:
    """A server with a public address, both families, and a name."""
    host = network.public("server", shape=ACCESS)
    network.publish_name(host, "server.lab")
    return Server(lab, host, *options)


def relay_on(lab: Lab, network: Network, server: Server, name: str, delay_ms: float, *options: str) -> Relay:
    """A relay on a host of its own, that the server allows and names."""
    relay = Relay(lab, network.public(name, shape=Shape(delay_ms=delay_ms)), server, *options)
    server.relays("allow", relay.key)
    wait_until(lambda: server.relays().get(relay.key) == "connected", 10, f"the server names {name}")
    return relay


def node_behind(lab: Lab, network: Network, kind: str, name: str) -> Node:
    return Node(lab, network.host(name, kind, shape=ACCESS), name)


def time_to_first_ping(joiner: Node, invite: str, address: str) -> float:
    """Seconds from the start of `join` until an echo request to `address` is answered; one is sent each 50 ms."""
    start = time.monotonic()
    joiner.join(invite)
    expect(Echo(joiner.host, address, 56).wait(0.05, 10), f"not within 10 s: {joiner.name} reaches {address}")
    return time.monotonic() - start


def check_all_pairs(nodes: list[Node]) -> None:
    """Everybody reaches everybody by address and by name."""
    for node in nodes:
        wait_until(lambda: sum(peer["state"] == "connected" for peer in node.status()["peers"]) == len(nodes) - 1, 5,
                   f"{node.name} is connected to {len(nodes) - 1} others", 0.05)
    addresses = {node.name: node.address() for node in nodes}
    expect_equal(len(set(addresses.values())), len(nodes), "different addresses")
    for node in nodes:
        for name, address in addresses.items():
            if name != node.name:
                share = node.host.ping(address, count=3, interval_s=0.02)
                expect_equal(share, 1.0, f"answers of {name} to {node.name} at {address}")
                expect_equal(node.ping(name)["received"], 3, f"answers of {name} to {node.name} by name")


def unix_get(path: pathlib.Path, target: str) -> bytes:
    """What an API answers on its socket, head and body."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(path))
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: lanrage\r\nConnection: close\r\n\r\n".encode())
        found = b""
        while part := sock.recv(65536):
            found += part
        return found
