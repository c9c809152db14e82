"""What other users, web pages and other members of the party cannot do, and where secrets never are.

    alice -- router (easy) -- internet -- public -- bob
                                 |
                              server
"""
from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import os
import pathlib
import re
import socket
import stat
import sys
import time
import urllib.parse

from namespace import LabError
from party import Node, Server, check_all_pairs, daemon_pids, environment, node_behind, server_on, unix_get
from scenario import Lab, expect, expect_equal, scenario

STRANGER = 65534  # nobody
USERS = 61820  # the group lanrage, where there is one
CAPABILITIES = 1 << 10 | 1 << 12 | 1 << 13  # CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW
RSS_MAX_KIB = 40 * 1024
CPU_SHARE_MAX = 0.01
SETTLE_S = 3  # probing new paths ends; what follows is idle
IDLE_S = 20  # over which a share of a core is measured


def pair(lab: Lab) -> tuple[Server, Node, Node, dict]:
    """Alice hosts, Bob joined; both log all there is to log. The last is what `host` answered."""
    network = lab.network()
    server = server_on(lab, network)
    nodes = []
    for name, kind in (("alice", "easy"), ("bob", "public")):
        node = node_behind(lab, network, kind, name)
        (node.folder / "lanrage.toml").write_text('log_level = "trace"\n')
        nodes.append(node)
    answer = nodes[0].command("host", "--server", server.link, "--as", "alice")
    nodes[1].join(answer["invite"])
    check_all_pairs(nodes)
    return server, nodes[0], nodes[1], answer


# --- other users of the machine ------------------------------------------------------------------------------------

_AS_STRANGER = """
import os, socket, sys
for path in sys.argv[2:]:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").close()
        print("read", path)
    except OSError:
        pass
try:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(sys.argv[1])
        sock.sendall(b"GET /api/status HTTP/1.1\\r\\nHost: lanrage\\r\\nConnection: close\\r\\n\\r\\n")
        print(sock.makefile("rb").readline().decode().strip())
except OSError as error:
    print("no connection")
"""


def as_stranger(node: Node, groups: str = "--clear-groups") -> list[str]:
    """What another user gets of a node: files it could read, and the API's first line."""
    files = [str(path) for path in (node.folder, *node.folder.rglob("*"))]
    done = node.host.run("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", groups, sys.executable,
                         "-c", _AS_STRANGER, str(node.folder / "lanrage.sock"), *files)
    return done.stdout.splitlines()


@scenario("safety")
def safety_other_user(lab: Lab) -> None:
    """Another user reads nothing of the state, and the API refuses him even where the files' modes let him through."""
    lab.state.parent.chmod(0o711)
    lab.state.chmod(0o711)
    _, alice, bob, _ = pair(lab)
    for path in (alice.folder, *alice.folder.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        made_by_us = path.name == "lanrage.toml"
        expect(made_by_us or not mode & 0o077, f"{path.name} is open to others: {mode:o}")
    expect_equal(as_stranger(alice), ["no connection"], "what another user gets")
    alice.folder.chmod(0o711)
    expect_equal([line for line in as_stranger(alice) if "toml" not in line], ["no connection"],
                 "what another user gets through an open folder")
    (alice.folder / "lanrage.sock").chmod(0o666)
    expect_equal([line for line in as_stranger(alice) if "toml" not in line], ["HTTP/1.1 403 Forbidden"],
                 "what another user gets through an open socket")
    check_all_pairs([alice, bob])


@scenario("safety")
def safety_group(lab: Lab) -> None:
    """Members of the group lanrage use the node, and read none of its files; nobody else gets nearer."""
    lab.state.parent.chmod(0o711)
    lab.state.chmod(0o711)
    node = Node(lab, lab.network().public("alice"), "alice")
    groups = lab.state / "group"
    groups.write_text(pathlib.Path("/etc/group").read_text() + f"lanrage:x:{USERS}:\n")
    node.host.run("unshare", "-m", "sh", "-c", f"mount --bind {groups} /etc/group && exec {lab.binary} up",
                  env=environment(str(node.folder)))
    sock = (node.folder / "lanrage.sock").stat()
    expect_equal((stat.S_IMODE(sock.st_mode), sock.st_gid), (0o660, USERS), "mode and group of the socket")
    expect_equal(as_stranger(node, f"--groups={USERS}"), ["HTTP/1.1 200 OK"], "what a member gets")
    expect_equal(as_stranger(node), ["no connection"], "what another user gets")
    (node.folder / "lanrage.sock").chmod(0o666)
    node.folder.chmod(0o711)
    expect_equal(as_stranger(node), ["HTTP/1.1 403 Forbidden"], "what another user gets through an open socket")


# --- web pages -----------------------------------------------------------------------------------------------------

class Browser:
    """Requests from the node's own machine to its page."""

    def __init__(self, node: Node, link: str) -> None:
        self._node = node
        self.link = urllib.parse.urlsplit(link)
        self.address = self.link.netloc

    def request(self, method: str, path: str, headers: dict[str, str], body: str | None = None) \
            -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.address.rpartition(":")[2]), timeout=5)
        with self._node.host.entered():
            connection.connect()
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True)
            for name, value in {"Host": self.address, **headers}.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body.encode() if body is not None else None)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()

    def open(self) -> dict[str, str]:
        """Spends the link's code and answers the headers of a page that did."""
        status, headers, _ = self.request("GET", f"/?{self.link.query}", {})
        expect_equal(status, 303, "answer to the one-time code")
        cookie = headers["Set-Cookie"]
        expect("HttpOnly" in cookie and "SameSite=Strict" in cookie, f"cookie: {cookie}")
        return {"Cookie": cookie.partition(";")[0]}


@scenario("safety")
def safety_web_page(lab: Lab) -> None:
    """Without the cookie, under another Host or from another Origin, the API answers nobody; invites never a page."""
    _, alice, bob, answer = pair(lab)
    browser = Browser(alice, answer["dashboard"])

    def refused(what: str, method: str, path: str, headers: dict[str, str], body: str | None = None) -> None:
        status, _, text = browser.request(method, path, headers, body)
        expect(status in (400, 403), f"{what}: {method} {path} answered {status}")
        expect("alice" not in text, f"{what}: {text}")
    refused("no cookie", "GET", "/api/status", {})
    refused("no cookie", "GET", "/", {})
    refused("guessed code", "GET", "/?code=AAAAAAAAAAAAAAAAAAAAAAAA", {})
    refused("guessed cookie", "GET", "/api/status", {"Cookie": "lanrage=" + "A" * 43})
    refused("empty cookie", "GET", "/api/status", {"Cookie": "lanrage="})
    cookie = browser.open()
    refused("code used twice", "GET", f"/?{browser.link.query}", {})
    expect_equal(browser.request("GET", "/api/status", cookie)[0], 200, "the page's own request")
    port = browser.address.rpartition(":")[2]
    for host in (f"evil.example:{port}", "127.0.0.1:1", f"127.0.0.1.evil.example:{port}", ""):
        refused("foreign Host", "GET", "/api/status", {**cookie, "Host": host})
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", f"https://{browser.address}"):
        refused("foreign Origin", "GET", "/api/status", {**cookie, "Origin": origin})
        refused("foreign Origin", "POST", "/api/party/leave", {**cookie, "Origin": origin}, "{}")
        refused("foreign Origin", "GET", "/api/events", {**cookie, "Origin": origin, **upgrade})
    refused("an invite for a page", "POST", "/api/invites", cookie, "{}")
    expect_equal(alice.status()["state"], "in_party", "state after all that")
    check_all_pairs([alice, bob])


# --- other members -------------------------------------------------------------------------------------------------

def listening_ports(node: Node) -> list[int]:
    lines = node.host.run("ss", "-Htnl").stdout.splitlines()
    return sorted({int(line.split()[3].rpartition(":")[2]) for line in lines})


def connects(node: Node, address: str, port: int) -> bool:
    with node.host.entered():
        sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.settimeout(1)
    with contextlib.closing(sock):
        return sock.connect_ex((address, port)) == 0


@scenario("safety")
def safety_other_member(lab: Lab) -> None:
    """Another member reaches no port of the node's own through the tunnel, even when all ports are allowed."""
    _, alice, bob, answer = pair(lab)
    page = urllib.parse.urlsplit(answer["dashboard"]).port
    alice.command("allow", "all")
    expect(page in listening_ports(alice), "the page's port is not among those that listen")
    for port in {*listening_ports(alice), 8666}:
        for address in alice.addresses():
            expect(not connects(bob, address, port), f"bob reaches {address} port {port}")
    with contextlib.closing(alice.host.udp_socket(alice.address(), 27015)) as game:
        with contextlib.closing(bob.host.udp_socket()) as player:
            player.sendto(b"hello", (alice.address(), 27015))
            expect_equal(game.recv(100), b"hello", "what a game hears meanwhile")


# --- secrets -------------------------------------------------------------------------------------------------------

def party_secrets(state: bytes) -> list[bytes]:
    """The epochs' secrets in a state file (docs/wire/party.md)."""
    expect(state.startswith(b"LRPS\1"), "the state file is of another format")
    at = 5 + 32

    def take(count: int) -> bytes:
        nonlocal at
        at += count
        return state[at - count:at]

    def number(count: int) -> int:
        return int.from_bytes(take(count), "big")
    take(number(2))  # genesis
    take(32)
    for _ in range(number(1)):
        take(number(2))  # the server's addresses
    for _ in range(number(2)):
        take(number(2))  # statements
    take(4 + 32 + 4)
    return [take(4 + 16)[4:] for _ in range(number(1))]


def hkdf(secret: bytes, salt: bytes, label: bytes) -> bytes:
    extracted = hmac.digest(salt, secret, hashlib.sha256)
    return hmac.digest(extracted, label + b"\1", hashlib.sha256)


def invite_secrets(text: str) -> dict[str, bytes]:
    """What nobody but who holds the invite may know (docs/wire/invite.md)."""
    encoded = text.removeprefix("lanrage://")
    raw = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    party, secret = raw[33:49], raw[49:65]
    return {"invite secret": secret, "invite token": hkdf(secret, party, b"lanrage invite token v1"),
            "invite's wrap key": hkdf(secret, party, b"lanrage invite wrap v1")}


def spellings(secret: bytes) -> list[bytes]:
    """The bytes themselves, in hexadecimal, and in base64 wherever in a longer text they stand."""
    out = [secret, secret.hex().encode(), secret.hex().upper().encode()]
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + secret + b"\0" * (-(shift + len(secret)) % 3))
        first, last = -(-shift * 8 // 6), (shift + len(secret)) * 8 // 6
        out += [text[first:last], text[first:last].replace(b"+", b"-").replace(b"/", b"_")]
    return out


def command_lines(lab: Lab) -> bytes:
    """Arguments of all that runs in the lab's hosts."""
    found = b""
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and str(lab.state).encode() in pathlib.Path("/proc", entry, "environ").read_bytes():
                found += pathlib.Path("/proc", entry, "cmdline").read_bytes() + b"\n"
    return found


def bearer_tokens(node: Node) -> set[bytes]:
    """The session tokens that a node holds, found in its memory: they are nowhere else."""
    found: set[bytes] = set()
    for pid in daemon_pids(node):
        with open(f"/proc/{pid}/mem", "rb") as memory:
            for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
                bounds, rights, *_ = line.split()
                if not rights.startswith("rw"):
                    continue
                start, end = (int(bound, 16) for bound in bounds.split("-"))
                with contextlib.suppress(OSError):
                    memory.seek(start)
                    found |= set(re.findall(rb"Bearer ([A-Za-z0-9_-]{96})(?![A-Za-z0-9_-])", memory.read(end - start)))
    return {base64.urlsafe_b64decode(token) for token in found}


@scenario("safety")
def safety_secrets(lab: Lab) -> None:
    """After host, join, kick and rekey no secret is in a log, an argument, the API's answers or the server's data."""
    server, alice, bob, answer = pair(lab)
    places: dict[str, bytes] = {}
    epochs = party_secrets((alice.folder / "party").read_bytes())
    places["command lines after join"] = command_lines(lab)
    expect(b"lanrage" in places["command lines after join"], "no command line of a node was read")
    extra = alice.invite("--uses", "3")
    bob_seed = (bob.folder / "identity").read_bytes()
    alice.command("kick", "bob")
    alice.command("rekey")
    epochs += party_secrets((alice.folder / "party").read_bytes())
    expect(len(set(epochs)) >= 3, "kick and rekey made no new secrets")
    cookie = Browser(alice, answer["dashboard"]).open()["Cookie"].partition("=")[2]
    tokens = bearer_tokens(alice)
    expect(tokens, "no session's token was found")

    secrets = {"alice's seed": (alice.folder / "identity").read_bytes(), "bob's seed": bob_seed}
    secrets |= {f"session token {number}": token for number, token in enumerate(tokens)}
    secrets |= {f"party secret {number}": secret for number, secret in enumerate(set(epochs))}
    for name, text in (("first", answer["invite"]), ("second", extra)):
        secrets |= {f"{name} {what}": secret for what, secret in invite_secrets(text).items()}
    for file in ("server.seed", "server.key"):
        content = (server.folder / file).read_text().strip()
        secrets[file] = base64.b64decode(max(re.findall(r"[A-Za-z0-9+/_-]{40,}=*", content), key=len)
                                         .replace("-", "+").replace("_", "/") + "==")
    literal = {"page cookie": cookie.encode(), "page code": alice_code(answer).encode()}

    for node in (alice, bob):
        for path in ("status", "peers", "netcheck", "lan", "log?lines=10000", "invites", "rules", "openapi.json"):
            places[f"{node.name}: /api/{path}"] = unix_get(node.folder / "lanrage.sock", f"/api/{path}")
        places[f"{node.name}: /metrics"] = unix_get(node.folder / "lanrage.sock", "/metrics")
        expect(b"alice" in places[f"{node.name}: /api/status"] or node is bob, "the API did not answer")
    places["command lines at the end"] = command_lines(lab)
    for path in lab.state.rglob("*"):
        # The lab's own record of answers holds the invites that were asked for.
        ours = path.name.endswith("-commands.log") or not path.is_file()
        if not ours and (".log" in path.name or path.name.startswith("server.db") or path.name == "server.link"):
            places[str(path.relative_to(lab.state))] = path.read_bytes()
    expect(any("lanrage.log" in name and content for name, content in places.items()), "no node's log was read")
    expect(any("server.db" in name for name in places), "no database was read")
    told = (lab.state / "alice-alice-commands.log").read_bytes()
    expect(any(spelling in told for spelling in spellings(secrets["first invite secret"])),
           "the search does not find what is there")
    for place, content in places.items():
        for what, secret in secrets.items():
            expect(not any(spelling in content for spelling in spellings(secret)), f"{what} is in {place}")
        for what, text in literal.items():
            expect(text not in content, f"{what} is in {place}")


def alice_code(answer: dict) -> str:
    return urllib.parse.parse_qs(urllib.parse.urlsplit(answer["dashboard"]).query)["code"][0]


@scenario("safety")
def safety_privileges(lab: Lab) -> None:
    """No thread of a node or a server can leave a core dump, gain privileges or has more of them than it needs."""
    server, alice, _, _ = pair(lab)
    pids = [*daemon_pids(alice), server.process.pid]
    expect(len(pids) >= 2, "no node runs")
    for pid in pids:
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        expect(re.search(r"Max core file size\s+0\s+0\s", limits), f"core dumps of {pid} are on")
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        expect("NoNewPrivs:\t1" in status, f"{pid} may gain privileges")
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            status = (task / "status").read_text()
            for kind in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
                held = int(re.search(rf"{kind}:\t(\w+)", status)[1], 16)  # type: ignore[index]
                expect(not held & ~CAPABILITIES, f"{kind} of {(task / 'comm').read_text().strip()} is {held:x}")


# --- an idle node --------------------------------------------------------------------------------------------------

def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@scenario("safety", long=True, limit_s=120)
def safety_idle_node(lab: Lab) -> None:
    """A node in a party that nobody plays in needs under 40 MB and under 1 % of a core (a release build)."""
    if b"__asan_init" in pathlib.Path(lab.binary).read_bytes():
        raise LabError("sanitizers need memory themselves: pass --binary build/release/apps/lanrage/lanrage")
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "public", "bob")
    bob.join(alice.host_party(server.link))
    check_all_pairs([alice, bob])
    time.sleep(SETTLE_S)
    pids = {node.name: daemon_pids(node)[0] for node in (alice, bob)}
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    time.sleep(IDLE_S)
    for name, pid in pids.items():
        share = (cpu_seconds(pid) - before[name]) / IDLE_S
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        resident = int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])  # type: ignore[index]
        print(f"  {name}: {resident / 1024:.1f} MiB resident, {share * 100:.2f} % of a core", flush=True)
        expect(resident < RSS_MAX_KIB, f"{name}'s node has {resident} KiB resident")
        expect(share < CPU_SHARE_MAX, f"{name}'s node takes {share * 100:.2f} % of a core")
