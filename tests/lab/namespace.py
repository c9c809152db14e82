"""One network namespace, what runs inside it, and how it is removed.

Names are `lr<pid>-<name>`, pid being the run that made them: runs on one machine never meet, and a later run knows
which namespaces a dead run left behind. Interfaces live only inside namespaces, so their names need not be unique.
"""
from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
from typing import Callable, Iterable, Iterator, Sequence

NETNS = pathlib.Path("/run/netns")
RUN_NAME = "lanrage-lab"  # what a run calls itself, see is_lab_run
OWNED = re.compile(r"lr(\d+)-.+")
CLONE_NEWNET = 0x40000000
PR_SET_NAME = 15
_libc = ctypes.CDLL(None, use_errno=True)

verbose = False  # each command is shown as it is run


class LabError(Exception):
    """The lab itself could not do something: a command failed, a program is missing."""


class Failure(Exception):
    """What a scenario expected did not happen."""


def wait_until(condition: Callable[[], object], timeout: float, what: str, step: float = 0.01) -> float:
    """Seconds until `condition` was true; Failure names `what` after `timeout` seconds."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > timeout:
            raise Failure(f"not within {timeout:g} s: {what}")
        time.sleep(step)
    return time.monotonic() - start


def show(argv: Sequence[str], stdin: str | None = None) -> None:
    if verbose:
        given = "".join(f"\n    | {line}" for line in stdin.splitlines()) if stdin else ""
        with contextlib.suppress(BrokenPipeError):  # nobody reads any more; what is being cleaned up still must be
            print(f"  $ {' '.join(argv)}{given}", flush=True)


def execute(argv: Sequence[str], *, stdin: str | None = None, check: bool = True, timeout: float = 30,
            env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; LabError with its words if it fails and `check` is set."""
    show(argv, stdin)
    try:
        done = subprocess.run(argv, input=stdin, text=True, capture_output=True, timeout=timeout, env=env,
                              stdin=subprocess.DEVNULL if stdin is None else None)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed: tools/install-packages test") from error
    except subprocess.TimeoutExpired as error:
        raise Failure(f"no end within {timeout:g} s: {' '.join(argv)}") from error
    if check and done.returncode != 0:
        raise LabError(f"exit {done.returncode}: {' '.join(argv)}\n{done.stdout}{done.stderr}".rstrip())
    return done


class Process:
    """A running program. Output goes to a file in the scenario's folder; it dies with the run, even one killed."""

    def __init__(self, name: str, argv: Sequence[str], log: pathlib.Path, env: dict[str, str] | None = None) -> None:
        self.name = name
        self.log = log
        show([*argv, "&"])
        with log.open("ab") as out:
            out.write(f"$ {' '.join(argv)}\n".encode())
            out.flush()
            self._popen = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv], stdin=subprocess.DEVNULL,
                                           stdout=out, stderr=out, env=env, start_new_session=True)
        self.pid = self._popen.pid

    def running(self) -> bool:
        return self._popen.poll() is None

    def send_signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def wait(self, timeout: float) -> int:
        """Its exit code, once it has ended by itself."""
        try:
            return self._popen.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{self.name} has not ended within {timeout:g} s") from error

    def stop(self, number: int = signal.SIGTERM, timeout: float = 3) -> int:
        """Ends it and answers its exit code (negative: the signal); SIGKILL after `timeout`."""
        if self.running():
            self._popen.send_signal(number)
            try:
                self._popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        return self._popen.wait()

    def output(self) -> str:
        return self.log.read_text(errors="replace")


class Namespace:
    """A network namespace and the commands to shape it. `state` is where logs of what runs here go."""

    def __init__(self, name: str, state: pathlib.Path) -> None:
        self.name = name
        self.full_name = f"lr{os.getpid()}-{name}"
        self.state = state
        self.processes: list[Process] = []
        execute(["ip", "netns", "add", self.full_name])
        self.sysctl({"ipv6/conf/all/accept_dad": 0, "ipv6/conf/default/accept_dad": 0,
                     "ipv6/conf/default/accept_ra": 0, "ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0})
        self.ip("link set lo up")

    def enter_command(self) -> list[str]:
        return ["nsenter", f"--net={NETNS / self.full_name}"]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is inside while the block runs: sockets opened here stay here for good."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(NETNS / self.full_name, os.O_RDONLY)
        try:
            if _libc.setns(there, CLONE_NEWNET) != 0:
                raise LabError(f"setns {self.full_name}: {os.strerror(ctypes.get_errno())}")
            yield
        finally:
            _libc.setns(home, CLONE_NEWNET)
            os.close(there)
            os.close(home)

    def udp_socket(self, address: str = "0.0.0.0", port: int = 0) -> socket.socket:
        """A UDP socket of this namespace, bound, waiting at most a second for a datagram."""
        with self.entered():
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((address, port))
        sock.settimeout(1)
        return sock

    def sysctl(self, values: dict[str, object]) -> None:
        """Keys below /proc/sys/net, with slashes."""
        with self.entered():
            for key, value in values.items():
                pathlib.Path("/proc/sys/net", key).write_text(str(value))

    def ip(self, *lines: str) -> None:
        """Several `ip` commands in one batch."""
        execute(["ip", "-n", self.full_name, "-batch", "-"], stdin="\n".join(lines) + "\n")

    def interfaces(self) -> list[str]:
        with self.entered():
            return [name for _, name in socket.if_nameindex()]

    def nft(self, rules: str) -> None:
        execute([*self.enter_command(), "nft", "-f", "-"], stdin=rules)

    def run(self, *argv: str, check: bool = True, timeout: float = 30, stdin: str | None = None,
            env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return execute([*self.enter_command(), *argv], check=check, timeout=timeout, stdin=stdin, env=env)

    def start(self, name: str, *argv: str, env: dict[str, str] | None = None) -> Process:
        process = Process(name, [*self.enter_command(), *argv], self.state / f"{self.name}-{name}.log", env)
        self.processes.append(process)
        return process

    def wait_listening(self, address: str, port: int, kind: str = "tcp", timeout: float = 5) -> None:
        """Until some program here has a socket of this kind bound to the address and port."""
        local = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

        def listens() -> bool:
            return local in self.run("ss", "-Hnl", f"--{kind}").stdout.split()
        wait_until(listens, timeout, f"{kind} {local} listens", 0.03)

    def disable_offloads(self, interface: str) -> None:
        """Whole checksums and single packets on the wire, as a packet socket or a NAT on real hardware sees them."""
        self.run("ethtool", "-K", interface, "tx", "off", "tso", "off", "gso", "off", "gro", "off")

    def close(self) -> None:
        for process in self.processes:
            process.stop()


def connect(a: Namespace, a_interface: str, b: Namespace, b_interface: str) -> None:
    """A cable (veth pair) between two namespaces, up, without offloads."""
    a.ip(f"link add {a_interface} type veth peer name {b_interface} netns {b.full_name}")
    for space, interface in ((a, a_interface), (b, b_interface)):
        space.disable_offloads(interface)
        space.ip(f"link set {interface} up")


def pids_inside(full_names: Iterable[str]) -> list[int]:
    """Processes whose network namespace is one of these."""
    inodes = {(NETNS / name).stat().st_ino for name in full_names if (NETNS / name).exists()}
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}/ns/net").st_ino in inodes:
                    found.append(int(entry))
    return found


def remove_namespaces(full_names: Sequence[str]) -> None:
    """Ends what still runs inside (daemons that left their parent), then removes the namespaces."""
    for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 1.0)):
        pids = pids_inside(full_names)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        end = time.monotonic() + patience
        while pids and time.monotonic() < end:
            time.sleep(0.02)
            pids = pids_inside(full_names)
    for name in full_names:
        if (NETNS / name).exists():
            execute(["ip", "netns", "del", name], check=False)


def own_namespaces() -> list[str]:
    """All namespaces of this run."""
    return [n for n in os.listdir(NETNS) if n.startswith(f"lr{os.getpid()}-")] if NETNS.exists() else []


def name_this_run() -> None:
    """Lets other runs see that this process lives."""
    _libc.prctl(PR_SET_NAME, RUN_NAME.encode(), 0, 0, 0)


def is_lab_run(pid: int) -> bool:
    """Whether this process is a run of the lab (and not a later process with the same number)."""
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == RUN_NAME
    except OSError:
        return False


def remove_leftovers() -> None:
    """Removes the namespaces, and what runs in them, of runs that no longer live."""
    if NETNS.exists():
        dead = [n for n in os.listdir(NETNS) if (m := OWNED.fullmatch(n)) and not is_lab_run(int(m[1]))]
        remove_namespaces(dead)
