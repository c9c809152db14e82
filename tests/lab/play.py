"""Real games in the hosts of a scenario: a player with a home folder and a screen, and an ear on what their host hears.

A game runs as `nobody`, without sound, on a screen that exists in memory only. What it draws is read from that screen
where it says nothing in its output; keys and clicks are sent to it as a person would.
"""
from __future__ import annotations

import dataclasses
import ipaddress
import os
import pathlib
import socket
import struct

from namespace import LabError, Process, wait_until
from scenario import Lab
from topology import Host

NOBODY = 65534
ETH_P_ALL, ETH_P_IP = 3, 0x0800
PACKET_OUTGOING = 4
EAR_BUFFER = 4 << 20
SO_RCVBUFFORCE = 33  # not named by the socket module


@dataclasses.dataclass(frozen=True)
class Datagram:
    """One IPv4 UDP datagram on one of the host's interfaces."""

    outgoing: bool
    source: str
    source_port: int
    target: str
    target_port: int
    payload: bytes


def datagram(packet: bytes, outgoing: bool) -> Datagram | None:
    """None for what is not a whole UDP datagram."""
    if len(packet) < 28 or packet[0] >> 4 != 4 or packet[9] != socket.IPPROTO_UDP:
        return None
    start = (packet[0] & 15) * 4
    if int.from_bytes(packet[6:8], "big") & 0x3FFF or len(packet) < start + 8:
        return None
    source_port, target_port, length = struct.unpack_from("!HHH", packet, start)
    source, target = (str(ipaddress.IPv4Address(packet[at:at + 4])) for at in (12, 16))
    return Datagram(outgoing, source, source_port, target, target_port, packet[start + 8:start + length])


class Ear:
    """Notes every datagram on every interface of a host from now on."""

    def __init__(self, host: Host) -> None:
        with host.entered():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, EAR_BUFFER)
        self._socket.setblocking(False)
        self._noted: list[Datagram] = []

    def noted(self) -> list[Datagram]:
        while True:
            try:
                packet, (_, protocol, kind, *_) = self._socket.recvfrom(65535)
            except BlockingIOError:
                return self._noted
            found = datagram(packet, kind == PACKET_OUTGOING) if protocol == ETH_P_IP else None
            if found:
                self._noted.append(found)

    def sent(self, port: int) -> list[Datagram]:
        """What the host's programs sent to a port."""
        return [d for d in self.noted() if d.outgoing and d.target_port == port]

    def heard(self, source: str, port: int) -> list[Datagram]:
        """What came in from an address and port."""
        return [d for d in self.noted() if not d.outgoing and (d.source, d.source_port) == (source, port)]


class Screen:
    """An X server in memory, 640x480. Its framebuffer is a file, so a pixel can be asked for."""

    WIDTH, HEIGHT = 640, 480

    def __init__(self, host: Host, folder: pathlib.Path) -> None:
        self._host = host
        folder.mkdir()
        number = folder / "display"
        self._frame = folder / "Xvfb_screen0"
        host.start("screen", "sh", "-c", f"exec Xvfb -displayfd 3 -screen 0 {self.WIDTH}x{self.HEIGHT}x24 -noreset"
                   f" -nolisten tcp -fbdir {folder} 3>{number}")
        wait_until(lambda: number.exists() and number.read_text().endswith("\n"), 10, "Xvfb shows its display")
        self.display = f":{number.read_text().strip()}"

    def press(self, *keys: str) -> None:
        """Types keys into the window that is open."""
        self._do("search", "--onlyvisible", "--name", ".", "windowfocus", "key", *keys)

    def click(self, x: int, y: int) -> None:
        self._do("mousemove", str(x), str(y), "click", "1")

    def colour(self, x: int, y: int) -> tuple[int, int, int]:
        """Red, green, blue at a place, 0 to 255."""
        red, green, blue = self._row(y)[x]
        return red, green, blue

    def bright(self, top: int, bottom: int) -> int:
        """Bright dots between two heights: tells one headline from another."""
        return sum(min(dot) > 200 for y in range(top, bottom) for dot in self._row(y))

    def _row(self, y: int) -> list[tuple[int, ...]]:
        data = self._frame.read_bytes()
        header = struct.unpack_from(">25I", data)  # an X window dump: its size, ..., bytes a line (12), colours (19)
        at = header[0] + header[19] * 12 + y * header[12]
        return [(data[x + 2], data[x + 1], data[x]) for x in range(at, at + self.WIDTH * 4, 4)]

    def _do(self, *words: str) -> None:
        self._host.run("xdotool", *words, check=False, timeout=5, env={**BASE_ENVIRONMENT, "DISPLAY": self.display})


# No name server answers in a scenario's network: a game that asks one shall not wait for long.
BASE_ENVIRONMENT = {"PATH": "/usr/games:/usr/bin:/bin", "RES_OPTIONS": "timeout:1 attempts:1",
                    "MESA_SHADER_CACHE_DISABLE": "true"}


class Player:
    """Somebody at a host, known to the others by `address`."""

    def __init__(self, lab: Lab, host: Host, address: str) -> None:
        self.host = host
        self.address = address
        self._folder = lab.state / f"{host.name}-player"
        self.home = self._folder / "home"
        self.home.mkdir(parents=True)
        os.chown(self.home, NOBODY, NOBODY)
        self._screen: Screen | None = None

    @property
    def screen(self) -> Screen:
        if self._screen is None:
            self._screen = Screen(self.host, self._folder / "screen")
        return self._screen

    def write(self, path: str, text: str) -> pathlib.Path:
        """A file below the home folder, as the player would have it."""
        file = self.home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        for made in (file, *file.relative_to(self.home).parents):
            os.chown(self.home / made, NOBODY, NOBODY)
        return file

    def play(self, program: str, *options: object, screen: bool = False) -> Process:
        """Starts a game or its server."""
        environment = {**BASE_ENVIRONMENT, "HOME": str(self.home), "SDL_AUDIODRIVER": "dummy"}
        if screen:
            environment |= {"DISPLAY": self.screen.display, "LIBGL_ALWAYS_SOFTWARE": "1"}
        name = pathlib.Path(program).name
        process = self.host.start(name, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                                  program, *map(str, options), env=environment)
        return process

    def wait_port(self, port: int, process: Process, timeout: float = 15) -> None:
        """Until a game's server has a UDP socket on a port."""
        def ready() -> bool:
            if not process.running():
                raise LabError(f"{process.name} ended at once: {process.output()[-300:]}")
            return f":{port} " in self.host.run("ss", "-Hunl").stdout
        wait_until(ready, timeout, f"{process.name} listens on port {port}", 0.05)
