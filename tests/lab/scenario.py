"""What a scenario is, and what it is given.

    @scenario("nat")
    def nat_kinds_easy(lab: Lab) -> None:
        \"\"\"An easy NAT keeps one outside port per inside socket.\"\"\"
        network = lab.network()

A scenario returns when all is well and raises Failure (or anything else) when it is not.
"""
from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Callable

from namespace import Failure, LabError, own_namespaces, remove_namespaces
from topology import Network


MEASURED = "measured"  # file of a run


class Lab:
    """The room one scenario runs in: a folder for its files, a network, the binaries to use."""

    def __init__(self, state: pathlib.Path, binary: pathlib.Path | None, link: pathlib.Path | None) -> None:
        self.state = state
        self._binary = binary
        self._link = link
        self._network: Network | None = None

    def network(self) -> Network:
        """A fresh network; one per scenario."""
        if self._network is not None:
            raise LabError("a scenario has one network")
        self._network = Network(self.state, self._link)
        return self._network

    @property
    def binary(self) -> str:
        """The lanrage under test."""
        if self._binary is None:
            raise Failure("no lanrage binary: build it, or pass --binary PATH")
        return str(self._binary)

    def measured(self, what: str, seconds: float, p95_max: float | None = None) -> None:
        """One figure of many of its kind, for the summary at the end of the run, which fails where their p95 is more."""
        with (self.state.parent / MEASURED).open("a") as file:
            file.write(json.dumps([what, seconds, self.state.name, p95_max]) + "\n")

    def namespaces(self) -> list[tuple[str, str]]:
        """Each namespace with the command that enters it."""
        spaces = self._network.spaces() if self._network else []
        return [(space.name, " ".join(space.enter_command())) for space in spaces]

    def close(self) -> None:
        if self._network:
            self._network.close()
        remove_namespaces(own_namespaces())  # also of a network that failed half-way


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    group: str
    summary: str
    limit_s: float
    long: bool
    run: Callable[[Lab], None]


SCENARIOS: dict[str, Scenario] = {}
Run = Callable[[Lab], None]


def scenario(group: str, *, limit_s: float = 60, long: bool = False) -> Callable[[Run], Run]:
    """Registers a function under its own name. `long` ones run only when named or with --long."""
    def register(function: Run) -> Run:
        add(function.__name__, group, (function.__doc__ or "").strip().splitlines()[0], function, limit_s, long)
        return function
    return register


def add(name: str, group: str, summary: str, run: Run, limit_s: float = 60, long: bool = False) -> None:
    """Registers one scenario of a family that differs by a parameter."""
    if name in SCENARIOS:
        raise LabError(f"two scenarios are named {name}")
    SCENARIOS[name] = Scenario(name, group, summary, limit_s, long, run)


def expect(condition: object, what: str) -> None:
    if not condition:
        raise Failure(what)


def expect_equal(actual: object, wanted: object, what: str) -> None:
    if actual != wanted:
        raise Failure(f"{what}: {actual!r}, not {wanted!r}")
