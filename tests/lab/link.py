"""Links that are slow, lossy or narrow, between two cables of a network (the work is done by link.cc).

One `lab_link` process per network, in a namespace of its own, carries all of its links. It is told what to do on its
standard input and answers each line, so that a change holds when `set` returns.
"""
from __future__ import annotations

import dataclasses
import pathlib
import subprocess

from namespace import LabError, Namespace, connect


@dataclasses.dataclass(frozen=True)
class Shape:
    """One direction of a link. All zero is a plain cable."""

    delay_ms: float = 0
    jitter_ms: float = 0  # uniform, plus or minus; keeps the order
    loss_percent: float = 0
    burst: float = 0  # mean length of a run of losses; up to 1: each packet on its own
    reorder_percent: float = 0  # this share is held back by reorder_ms
    reorder_ms: float = 5
    duplicate_percent: float = 0
    corrupt_percent: float = 0  # one bit flipped
    rate: float = 0  # bytes per second, 0: unlimited
    queue: int = 65536  # bytes that may wait where there is a rate
    mtu: int = 0  # longer IP packets vanish without a word, 0: none do

    def words(self) -> str:
        return " ".join(f"{key}={value}" for key, value in dataclasses.asdict(self).items())


class Link:
    """One link; `up` is towards the internet."""

    def __init__(self, links: "Links", name: str, shape: Shape) -> None:
        self._links = links
        self._name = name
        self.set(shape)

    def set(self, shape: Shape, direction: str = "both") -> None:
        """From now on; `direction` is up, down or both. What is already on its way keeps its time."""
        self._links.tell(f"set {self._name} {direction} {shape.words()}")

    def cut(self) -> None:
        self.set(Shape(loss_percent=100))

    def counters(self) -> dict[str, int]:
        """Packets so far: up_in, up_out, up_lost, down_in, down_out, down_lost."""
        words = self._links.tell(f"stats {self._name}").split()
        return {key: int(value) for key, value in (word.split("=") for word in words)}


class Links:
    def __init__(self, state: pathlib.Path, binary: pathlib.Path | None) -> None:
        self._state = state
        self._binary = binary
        self._wire: Namespace | None = None
        self._process: subprocess.Popen[str] | None = None
        self._links: dict[str, Link] = {}

    def __getitem__(self, name: str) -> Link:
        """The link of a router or public host, by its name."""
        return self._links[name]

    def insert(self, name: str, outer: Namespace, outer_interface: str, inner: Namespace, inner_interface: str,
               shape: Shape) -> None:
        """Cables the two interfaces to each other through a link of this shape."""
        wire = self._wire or self._open()
        number = len(self._links)
        connect(wire, f"n{number}u", outer, outer_interface)
        connect(wire, f"n{number}d", inner, inner_interface)
        self.tell(f"add {name} n{number}u n{number}d")
        self._links[name] = Link(self, name, shape)

    def tell(self, line: str) -> str:
        assert self._process and self._process.stdin and self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        verdict, _, rest = self._process.stdout.readline().strip().partition(" ")
        if verdict != "ok":
            raise LabError(f"lab_link: {line}: {verdict} {rest}, see {self._state / 'link.log'}")
        return rest

    def close(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.communicate()

    def _open(self) -> Namespace:
        if self._binary is None:
            raise LabError("no lab_link: build the target lab_link, or pass --link PATH")
        self._wire = Namespace("wire", self._state)
        self._wire.sysctl({"ipv6/conf/all/disable_ipv6": 1, "ipv6/conf/default/disable_ipv6": 1})
        with (self._state / "link.log").open("w") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._wire.enter_command(), str(self._binary)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True)
        return self._wire
