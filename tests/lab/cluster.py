"""What several servers share: PostgreSQL, and NATS, each on a public host."""
from __future__ import annotations

import pathlib
import pwd
import shutil

from namespace import Failure, Process, wait_until
from party import PORT, Server
from scenario import Lab
from topology import Host, Network


class Postgres:
    """A database that any host may use."""

    def __init__(self, lab: Lab, host: Host) -> None:
        self.host = host
        self._programs = max(pathlib.Path("/usr/lib/postgresql").iterdir()) / "bin"
        self._folder = lab.state / f"{host.name}-postgres"
        user = pwd.getpwnam("postgres")
        self._user = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig=QUIT")
        self._folder.mkdir()
        shutil.chown(self._folder, user.pw_uid, user.pw_gid)
        self._as_user("initdb", "-D", str(self._folder / "data"), "-A", "trust", "-U", "lanrage", "-E", "UTF8", "--locale=C")
        with (self._folder / "data/pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 trust\n")
        self.url = f"postgres://lanrage@{host.ipv4}/postgres"
        self.start()

    def _as_user(self, program: str, *words: str, check: bool = True) -> int:
        return self.host.run(*self._user, str(self._programs / program), *words, check=check).returncode

    def start(self) -> None:
        self.process: Process = self.host.start(
            "postgres", *self._user, str(self._programs / "postgres"), "-D", str(self._folder / "data"), "-k",
            str(self._folder), "-c", f"listen_addresses={self.host.ipv4}")
        wait_until(lambda: self._as_user("pg_isready", "-q", "-h", str(self._folder), "-U", "lanrage", check=False) == 0, 20,
                   "PostgreSQL takes connections", 0.1)

    def stop(self) -> None:
        """At once, as a power cut does."""
        self.process.stop()
        wait_until(lambda: "postgres:" not in self.host.run("pgrep", "-af", str(self._folder), check=False).stdout, 10,
                   "the database has ended", 0.1)


class Nats:
    def __init__(self, host: Host) -> None:
        self.host = host
        self.url = f"nats://{host.ipv4}:4222"
        self.start()

    def start(self) -> None:
        self.process: Process = self.host.start("nats", "nats-server", "-a", str(self.host.ipv4), "-p", "4222")
        self.host.wait_listening(str(self.host.ipv4), 4222)

    def kill(self) -> None:
        self.process.stop()


def servers_on(lab: Lab, network: Network, names: tuple[str, ...], postgres: Postgres, nats: Nats | None) -> list[Server]:
    """Servers that are one to their players."""
    options = ("--store", postgres.url, *(("--bus", nats.url) if nats else ()))
    servers: list[Server] = []
    for name in names:
        host = network.public(name)
        folder = lab.state / f"{host.name}-server"
        if servers:
            folder.mkdir(mode=0o700)
            for key in ("server.key", "server.seed"):
                shutil.copy(servers[0].folder / key, folder / key)
        servers.append(Server(lab, host, *options))
    others = len(names) - 1
    for server in servers:
        wait_until(lambda: server.status()["bus"]["servers"] == others, 5, f"{server.host.name} hears the others", 0.1)
    if len({server.link.partition("#")[2] for server in servers}) != 1:
        raise Failure(f"the servers have different keys at port {PORT}")
    return servers
