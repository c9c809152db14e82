"""The networks of a scenario: one internet, routers of a kind with hosts behind them, hosts with a public address.

          internet  (5.9.N.1, 2a0b:4c80:N::1 towards attachment N)
         /    |    \\
     [link] [link]  \\            a user-space link where a delay is asked for
       |      |      \\
    router  router   public host (5.9.N.2 and up, 2a0b:4c80:N::2)
     wan .2
     lan 192.168.N.1, 2a0b:4c80:N:1::1  (bridge)
       |
    hosts 192.168.N.10 and up

"Public" addresses are real-looking ones: programs refuse documentation and private blocks as public. Nothing of this
leaves the namespaces. A host has a mount namespace of its own with an empty /run, so WireGuard's control sockets
(/run/wireguard, machine-wide by name), resolvers and buses of the machine and of other hosts are out of sight.
/etc/hosts is the scenario's own.
"""
from __future__ import annotations

import dataclasses
import itertools
import pathlib
import subprocess

import nat
from echo import Echo
from kinds import KINDS
from link import Links, Shape
from namespace import NETNS, LabError, Namespace, Process, connect, wait_until


class Host(Namespace):
    """A computer. `ipv4` and `ipv6` are its addresses on eth0, None where its network has none."""

    ipv4: str | None = None
    ipv6: str | None = None
    network: "Router | Internet"
    port: str  # the other end of eth0, in our router

    def __init__(self, name: str, state: pathlib.Path) -> None:
        super().__init__(name, state)
        names = state / "hosts"
        if not names.exists():
            names.write_text("127.0.0.1 localhost\n::1 localhost\n")
        # `ip netns exec` makes the mount namespace and gives it its own /sys; the sleeper keeps it.
        private = (f"mount --make-rprivate / && mount --bind {names} /etc/hosts"
                   " && mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/wireguard /run/lock"
                   " && echo ready && exec sleep infinity")
        self._keeper = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.full_name, "sh", "-c", private],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True)
        assert self._keeper.stdout is not None
        said = self._keeper.stdout.readline()
        if said != "ready\n":
            raise LabError(f"no mount namespace for {name}: {said}")

    def enter_command(self) -> list[str]:
        return ["nsenter", f"--net={NETNS / self.full_name}", f"--mount=/proc/{self._keeper.pid}/ns/mnt"]

    def ping(self, address: str, count: int = 1, interval_s: float = 0.01, wait_s: float = 1, size: int = 56) -> float:
        """Share of echo requests to `address` that were answered, 0 to 1; each has at least `wait_s` for it."""
        return Echo(self, address, size).answered(count, interval_s, wait_s) / count

    def prefer(self, router: "Router") -> None:
        """Of two cards, the one behind this router takes what goes to the world; both stay up with their addresses."""
        gateways = {line.split()[2] for line in self.run("ip", "-4", "route", "show", "default").stdout.splitlines()}
        wanted = f"{router.lan4}.1"
        self.ip("route flush default", f"route add default via {wanted} metric 100",
                *[f"route add default via {other} metric 200" for other in gateways - {wanted}])

    def root(self) -> pathlib.Path:
        """The host's file system, as seen from outside."""
        return pathlib.Path(f"/proc/{self._keeper.pid}/root")

    def close(self) -> None:
        super().close()
        self._keeper.kill()
        self._keeper.wait()


class Internet(Namespace):
    """Routes between everything attached to it. Attachment N has 5.9.N.0/24 and 2a0b:4c80:N::/48."""

    def __init__(self, state: pathlib.Path, links: Links) -> None:
        super().__init__("internet", state)
        self.sysctl({"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1})
        self._links = links
        self._attached: dict[int, Namespace] = {}

    def attach(self, number: int, space: Namespace, interface: str, shape: Shape | None) -> None:
        """Cables `interface` of `space` to us, through a link where there is a shape."""
        port = f"p{number}"
        if shape is None:
            connect(self, port, space, interface)
        else:
            self._links.insert(space.name, self, port, space, interface, shape)
        self.ip(f"addr add 5.9.{number}.1/24 dev {port}", f"addr add 2a0b:4c80:{number}::1/64 dev {port}")
        self._attached[number] = space

    def limit(self, number: int, mtu: int) -> None:
        """Longer packets towards attachment N are refused by ICMP."""
        self.ip(f"link set p{number} mtu {mtu}")

    def route_ipv4(self, number: int, lan4: str) -> None:
        """The public network behind router N is reached through its outside address."""
        self.ip(f"route add {lan4}.0/24 via 5.9.{number}.2")

    def route_ipv6(self, number: int) -> None:
        """The network behind router N is reached through its outside address."""
        self.ip(f"route add 2a0b:4c80:{number}:1::/64 via 2a0b:4c80:{number}::2")


class Router(Namespace):
    """A home, office or carrier router of one kind. `ipv4` is its outside address."""

    def __init__(self, name: str, state: pathlib.Path, kind: str, number: int, udp_timeout_s: int,
                 opens: tuple[str, ...] = ()) -> None:
        super().__init__(name, state)
        self.kind = kind  # of nat.rules
        self.number = number
        self.udp_timeout_s = udp_timeout_s
        self.ipv4: str | None = None
        self.ipv6: str | None = None
        self.lan4: str | None = None  # first three numbers of the inside network
        self.lan6: str | None = None
        self._hosts = 0
        self._opens = opens
        self._opener: Process | None = None
        # bridge-nf-call would send bridged packets through the NAT and short-cut a hairpin.
        self.ip("link add lan type bridge", "link set lan up")
        if pathlib.Path("/proc/sys/net/bridge").exists():
            self.sysctl({f"bridge/bridge-nf-call-{table}": 0 for table in ("iptables", "ip6tables")})
        self.sysctl({"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1})

    def set_inside(self, lan4: str | None, lan6: str | None) -> None:
        self.lan4, self.lan6 = lan4, lan6
        if lan4:
            self.ip(f"addr add {lan4}.1/24 dev lan")
        if lan6:
            self.ip(f"addr add {lan6}::1/64 dev lan")

    def set_outside(self, ipv4: str | None, gateway4: str | None, ipv6: str | None, gateway6: str | None) -> None:
        """Addresses, default routes and the rules of our kind."""
        self.ipv4, self.ipv6 = ipv4, ipv6
        lines = []
        if ipv4:
            lines += [f"addr add {ipv4}/24 dev wan", f"route add default via {gateway4}"]
        if ipv6:
            lines += [f"addr add {ipv6}/64 dev wan", f"route add default via {gateway6}"]
        self.ip(*lines)
        self.apply_rules()
        if self._opens:
            self.open_by(*self._opens)

    def open_by(self, *methods: str, max_lifetime_s: int = 86400) -> None:
        """Opens ports for whoever asks by these of nat.METHODS; ports opened before are closed, as when it restarts."""
        if self._opener:
            self._opener.stop()
        self.apply_rules()
        self.nft(nat.deaf_to(methods))
        settings = self.state / f"{self.name}-miniupnpd.conf"
        settings.write_text(nat.miniupnpd_settings(methods, max_lifetime_s))
        self._opener = self.start("miniupnpd", "miniupnpd", "-d", "-f", str(settings), "-P", f"{settings}.pid")
        if "upnp" in methods:
            wait_until(lambda: self.run("ss", "-Hltn", "sport = :5000").stdout, 5, "miniupnpd listens for UPnP", 0.03)
        if "upnp" not in methods or len(methods) > 1:
            wait_until(lambda: self.run("ss", "-Hlun", "sport = :5351").stdout, 5, "miniupnpd listens for PCP", 0.03)

    def opened_ports(self) -> list[str]:
        """Rules of the ports that were opened on request."""
        listed = self.run("nft", "list", "chain", "inet", "upnp", "opened_prerouting").stdout.splitlines()
        return [line.strip() for line in listed if "dnat" in line]

    def apply_rules(self, kind: str | None = None) -> None:
        """Sets the rules of our kind, or becomes another kind at once."""
        self.kind = kind or self.kind
        self.nft(nat.rules(self.kind, self.ipv4, f"{self.lan4}.10", self.udp_timeout_s))
        self.sysctl({"netfilter/nf_conntrack_udp_timeout": self.udp_timeout_s,
                     "netfilter/nf_conntrack_udp_timeout_stream": self.udp_timeout_s})

    def forget_mappings(self) -> None:
        """What a router does when it restarts: every flow gets a new mapping with its next packet."""
        self.apply_rules()
        self.run("conntrack", "-F")

    def attach(self, host: Host) -> None:
        """Cables a new host's eth0 to our inside network and configures it."""
        port = self._next_port()
        connect(self, port, host, "eth0")
        self._plug(host, port)

    def attach_second(self, host: Host) -> None:
        """Cables eth1 of a host that has an eth0 elsewhere to our inside network (IPv4). Its default route is second
        to eth0's until `Host.prefer` says otherwise."""
        port = self._next_port()
        connect(self, port, host, "eth1")
        self.ip(f"link set {port} master lan")
        host.ip(f"addr add {self.lan4}.{9 + self._hosts}/24 broadcast + dev eth1",
                f"route add default via {self.lan4}.1 metric 200")

    def take_in(self, router: "Router") -> None:
        """Cables another router's outside to our inside network."""
        port = self._next_port()
        connect(self, port, router, "wan")
        self.ip(f"link set {port} master lan")
        ipv6 = (f"{self.lan6}::{9 + self._hosts:x}", f"{self.lan6}::1") if self.lan6 and router.lan6 else (None, None)
        router.set_outside(f"{self.lan4}.{9 + self._hosts}", f"{self.lan4}.1", *ipv6)
        if router.ipv6:
            self.ip(f"route add {router.lan6}::/64 via {router.ipv6}")

    def take_over(self, host: Host) -> None:
        """Moves a host's cable from its router to us: eth0 stays what it is, with a new address and default route."""
        port = self._next_port()
        assert isinstance(host.network, Router)
        host.ip("addr flush dev eth0 scope global")
        host.network.ip(f"link set {host.port} netns {self.full_name} name {port}")
        self.ip(f"link set {port} up")
        self._plug(host, port)

    def _next_port(self) -> str:
        self._hosts += 1
        return f"lan{self._hosts}"

    def _plug(self, host: Host, port: str) -> None:
        self.ip(f"link set {port} master lan")
        host.network, host.port = self, port
        host.ipv4 = f"{self.lan4}.{9 + self._hosts}" if self.lan4 else None
        host.ipv6 = f"{self.lan6}::{9 + self._hosts:x}" if self.lan6 else None
        lines = []
        if host.ipv4:
            lines += [f"addr add {host.ipv4}/24 broadcast + dev eth0", f"route add default via {self.lan4}.1"]
        if host.ipv6:
            lines += [f"addr add {host.ipv6}/64 dev eth0", f"route add default via {self.lan6}::1"]
        host.ip(*lines)


class Network:
    """All namespaces of one scenario. `close` ends the programs; Lab removes the namespaces."""

    def __init__(self, state: pathlib.Path, link_binary: pathlib.Path | None = None) -> None:
        self._state = state
        self._spaces: list[Namespace] = []
        self._numbers = itertools.count(1)
        self.links = Links(state, link_binary)
        self.internet = self._keep(Internet(state, self.links))

    def public(self, name: str, *, addresses: int = 1, shape: Shape | None = None) -> Host:
        """A host with public addresses and nothing in front of it; `addresses` IPv4 ones, 5.9.N.2 and up."""
        number = next(self._numbers)
        host = self._keep(Host(name, self._state))
        self.internet.attach(number, host, "eth0", shape)
        host.network = self.internet
        host.ipv4, host.ipv6 = f"5.9.{number}.2", f"2a0b:4c80:{number}::2"
        host.ip(*[f"addr add 5.9.{number}.{2 + i}/24 broadcast + dev eth0" for i in range(addresses)],
                f"addr add {host.ipv6}/64 dev eth0", f"route add default via 5.9.{number}.1",
                f"route add default via 2a0b:4c80:{number}::1")
        return host

    def router(self, name: str, kind: str, *, shape: Shape | None = None, udp_timeout_s: int = 120,
               lan4: str | None = None) -> Router:
        """A router of one of KINDS; `lan4` ("192.168.1") where two homes shall use the same inside network."""
        parts = KINDS.get(kind)
        if parts is None or not parts.home:
            raise LabError(f"no router is of kind {kind!r}")
        number = next(self._numbers)
        router = self._keep(Router(name, self._state, parts.home, number, parts.udp_timeout_s or udp_timeout_s,
                                   parts.opens))
        router.set_inside((lan4 or f"{parts.inside}.{number}") if parts.ipv4 else None,
                          f"2a0b:4c80:{number}:1" if parts.ipv6 else None)
        if parts.mtu and not parts.mtu_told:
            shape = dataclasses.replace(shape or Shape(), mtu=parts.mtu)
        outermost = router
        if parts.outer:
            outermost = self._keep(Router(f"{name}-cgn", self._state, parts.outer, number, router.udp_timeout_s))
            outermost.set_inside(f"{parts.between}.{number}", f"2a0b:4c80:{number}:2" if parts.ipv6 else None)
        self.internet.attach(number, outermost, "wan", shape)
        outermost.set_outside(*((f"5.9.{number}.2", f"5.9.{number}.1") if parts.ipv4 else (None, None)),
                              *((f"2a0b:4c80:{number}::2", f"2a0b:4c80:{number}::1") if parts.ipv6 else (None, None)))
        if parts.outer:
            outermost.take_in(router)
        if parts.mtu and parts.mtu_told:
            outermost.ip(f"link set wan mtu {parts.mtu}")
            self.internet.limit(number, parts.mtu)
        if parts.ipv4 == "own":
            self.internet.route_ipv4(number, router.lan4 or "")
        if parts.ipv6:
            self.internet.route_ipv6(number)
        return router

    def router_behind(self, outer: Router, name: str, kind: str) -> Router:
        """One more router, whose outside is the inside of `outer`; IPv4 alone."""
        router = self._keep(Router(name, self._state, KINDS[kind].home, next(self._numbers), outer.udp_timeout_s,
                                   KINDS[kind].opens))
        router.set_inside(f"192.168.{router.number}", None)
        outer.take_in(router)
        return router

    def lan_host(self, name: str, router: Router) -> Host:
        """One more host behind a router."""
        host = self._keep(Host(name, self._state))
        router.attach(host)
        return host

    def host(self, name: str, kind: str, *, shape: Shape | None = None, udp_timeout_s: int = 120) -> Host:
        """A host alone behind a router of a kind (or with a public address)."""
        if kind == "public":
            return self.public(name, shape=shape)
        return self.lan_host(name, self.router(f"{name}-router", kind, shape=shape, udp_timeout_s=udp_timeout_s))

    def move(self, host: Host, to: Router) -> None:
        """Pulls the host's cable and plugs it in behind another router, with another address."""
        to.take_over(host)

    def publish_name(self, host: Host, name: str) -> None:
        """Every host resolves `name` to both addresses of `host`."""
        with (self._state / "hosts").open("a") as names:
            names.write(f"{host.ipv4} {name}\n{host.ipv6} {name}\n")

    def spaces(self) -> list[Namespace]:
        return list(self._spaces)

    def close(self) -> None:
        for space in reversed(self._spaces):
            space.close()
        self.links.close()

    def _keep(self, space):  # the same type comes out
        self._spaces.append(space)
        return space
