"""What the command line says when something is wrong: one line, the right exit code, never a hang.

    server (public)      alice -- router (easy)     bob -- router (easy)
"""
from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import signal
import socket

from namespace import execute, wait_until
from party import PORT, Answer, Node, daemon_pids, environment, node_behind, server_on
from scenario import Lab, expect, expect_equal, scenario

OK, FAILED, USAGE, NO_NODE, NOT_FOUND, REFUSED, TIMED_OUT = range(7)
NOBODY = 65534


def lone_node(lab: Lab, name: str = "alice") -> Node:
    return Node(lab, lab.network().public(name), name)


def check(answer: Answer, code: int, *words: str) -> None:
    """It ended with this code, and its error is complete and says these words."""
    expect_equal(answer.code, code, f"exit code, with {answer.error}")
    expect(answer.error.get("code") and answer.error.get("message"), f"no error object: {answer.error}")
    expect("\n" not in answer.error["message"], "more than one line")
    text = f"{answer.error['message']} {answer.error.get('hint', '')}"
    for word in words:
        expect(word in text, f"{text!r} does not say {word!r}")


def plain(node: Node, *command: str, stdin: str | None = None) -> tuple[int, str, str]:
    """A command as a person types it: exit code, standard output, standard error."""
    done = execute([*node.host.enter_command(), *command], check=False, env=environment(str(node.folder)),
                   stdin=stdin, timeout=20)
    return done.returncode, done.stdout, done.stderr


@scenario("cli")
def cli_usage(lab: Lab) -> None:
    """Wrong usage is exit 2 and one line; without a node it is exit 3; nothing is started by either."""
    node = lone_node(lab)
    for words in (["bogus"], ["status", "--bogus"], ["ping"], ["ping", "bob", "-c", "0"], ["invite", "--uses", "0"],
                  ["config", "--port", "99999"], ["up", "--log-level", "loud"], ["up", "--api", "192.0.2.1:80"],
                  ["join", "nonsense"], ["join", "lanrage://abc"], ["host", "--server", "https://x"],
                  ["server", "--listen", "here"], ["server", "--port", "1"], ["invite", "--expires", "5x"],
                  ["invite", "--list", "--uses", "2"], ["ping", "bob", "-i", "0"], ["revoke", "a/b"]):
        check(node.ask(*words), USAGE)
    for words in (["status"], ["down"], ["leave"], ["peers"], ["lan"], ["log"], ["netcheck"], ["kick", "bob"]):
        check(node.ask(*words), NO_NODE, "lanrage up")
    expect_equal(daemon_pids(node), [], "nodes that were started")
    code, out, err = plain(node, lab.binary, "bogus")
    expect_equal((code, out, err.count("\n")), (USAGE, "", 1), "a mistyped command")
    code, out, err = plain(node, "sh", "-c", f"exec {lab.binary} kick \"$(printf '\\377')\"")
    expect(code == USAGE and "UTF-8" in err, f"an argument that is no text: {code} {err}")
    code, out, err = plain(node, "sh", "-c", f"exec {lab.binary} config >/dev/full")
    expect(code == FAILED and err.count("\n") == 1, f"standard output that takes nothing: {code} {err}")
    for words in (["--help"], ["host", "--help"], ["--version"], ["completion", "fish"]):
        expect_equal(plain(node, lab.binary, *words)[0], OK, " ".join(words))


@scenario("cli")
def cli_node(lab: Lab) -> None:
    """up twice, two nodes on one machine, kill -9, down, a taken port: each says what is so."""
    node = lone_node(lab)
    # A caller without standard streams, and with a file that the node should not hold.
    code, _, _ = plain(node, "sh", "-c", f"exec 7<{lab.binary}; exec {lab.binary} up <&- >&- 2>&-")
    expect_equal(code, OK, "up without standard streams")
    held = [os.readlink(f"/proc/{pid}/fd/{fd}") for pid in daemon_pids(node) for fd in os.listdir(f"/proc/{pid}/fd")]
    expect(lab.binary not in held, f"the node holds what its caller had open: {held}")
    check(node.ask("up"), REFUSED, "running already")
    check(node.ask("host", "--port", "5000"), REFUSED, "port")
    check(node.ask("ping", "bob"), NOT_FOUND, "no party")
    check(node.ask("leave"), NOT_FOUND, "no party")
    other = Node(lab, node.host, "other")
    taken = str(node.status()["self"]["port"])
    check(other.ask("up", "--port", taken), REFUSED, taken)
    other.command("up")
    mine, theirs = node.status(), other.status()
    expect(mine["self"]["interface"] != theirs["self"]["interface"], "both have one interface")
    expect(mine["api"] != theirs["api"], "both have one page")
    other.command("down")
    check(other.ask("status"), NO_NODE)
    node.kill_daemon(signal.SIGKILL)
    check(node.ask("status"), NO_NODE)
    node.command("up")
    expect_equal(node.status()["state"], "idle", "state after kill -9 and up")


@scenario("cli")
def cli_party(lab: Lab) -> None:
    """Twice in a party, unknown players and invites, kicking oneself: refused, and the party goes on."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "easy", "bob")
    invite = alice.host_party(server.link)
    check(alice.ask("host", "--server", server.link), REFUSED, "already")
    bob.join(invite)
    other = alice.invite("--uses", "1")
    expect_equal(bob.ask("join", invite).code, OK, "join of the party one is in")
    check(bob.ask("join", invite, "--as", "robert"), REFUSED, "as bob", "leave")
    check(alice.ask("ping", "nobody"), NOT_FOUND, "nobody")
    check(alice.ask("kick", "nobody"), NOT_FOUND, "nobody")
    check(alice.ask("kick", "alice"), REFUSED)
    check(bob.ask("kick", "alice"), REFUSED)
    check(bob.ask("invite"), REFUSED)
    check(alice.ask("revoke", "aaaaaaaa"), NOT_FOUND)
    listed = alice.command("invite", "--list")["invites"]
    expect_equal(sorted(str(entry["uses_left"]) for entry in listed), ["1", "None"], "uses left")
    expect(all("invite" not in entry for entry in listed), "a list of invites tells their secrets")
    # Neither arguments nor logs keep a secret.
    for node in (alice, bob):
        for pid in daemon_pids(node):
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            expect("lanrage://" not in words, f"the invite stands in {words!r}")
        log = (node.folder / "lanrage.log").read_text()
        for secret in (invite, other, invite.partition("://")[2]):
            expect(secret not in log, f"{node.name}'s log holds an invite")
    bob.command("down")
    bob.command("up")
    wait_until(lambda: bob.status()["state"] == "in_party", 5, "bob is back in the party after down and up")
    bob.wait_path("alice", "direct", 10)
    expect_equal(bob.ping("alice", 1)["received"], 1, "answers after down and up")
    alice.command("leave")
    check(alice.ask("invite"), NOT_FOUND, "no party")


@scenario("cli")
def cli_invites(lab: Lab) -> None:
    """Mistyped, expired, used up, revoked, of another server, of a server that is gone: each is told apart."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "easy", "bob")
    invite = alice.host_party(server.link)
    swapped = invite[:-8] + ("A" if invite[-8] != "A" else "B") + invite[-7:]
    check(bob.ask("join", swapped), USAGE, "mistyped")
    brief = alice.command("invite", "--expires", "1s")
    revoked = alice.command("invite")
    alice.command("revoke", str(revoked["id"]))
    check(bob.ask("join", str(revoked["invite"])), REFUSED)
    wait_until(lambda: all(entry["id"] != brief["id"] for entry in alice.command("invite", "--list")["invites"]), 4,
               "the invite has expired", 0.1)
    check(bob.ask("join", str(brief["invite"])), REFUSED, "expired")
    expect_equal(bob.status()["state"], "idle", "bob after refused invites")
    # Another server at the same address: its key is not the one that the invite pins.
    server.process.stop()
    for entry in server.folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    server.start()
    check(bob.ask("join", invite), REFUSED, "key")
    # Interrupted while the server does not answer: the node does not join on its own some time later.
    server.process.send_signal(signal.SIGSTOP)
    waiting = bob.host.start("join", lab.binary, "join", invite, env=environment(str(bob.folder)))
    wait_until(lambda: bob.status()["state"] == "connecting", 5, "bob waits for the server")
    expect_equal(waiting.stop(signal.SIGINT, timeout=3), FAILED, "exit code of an interrupted join")
    expect_equal(bob.status()["state"], "idle", "bob after an interrupted join")
    server.kill()
    answer = bob.ask("join", invite, timeout=30)
    expect(answer.code in (FAILED, TIMED_OUT), f"exit {answer.code} with no server: {answer.error}")
    check(answer, answer.code, "server")


def post(node: Node, path: str, body: dict, correlation: str) -> str:
    """Asks the node's API as another program would, and answers the status line."""
    text = json.dumps(body)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(node.folder / "lanrage.sock"))
        sock.sendall(f"POST {path} HTTP/1.1\r\nHost: lanrage\r\nConnection: close\r\n"
                     f"X-Correlation-Id: {correlation}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
        return sock.makefile().readline().strip()


@scenario("cli")
def cli_log_context(lab: Lab) -> None:
    """A join's log lines have one correlation id, also the server's; what comes later has none of it."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "easy", "bob")
    (bob.folder / "lanrage.toml").write_text('log_format = "json"\n')
    invite = alice.host_party(server.link)
    bob.command("up")
    expect_equal(post(bob, "/api/party/join", {"invite": invite, "as": "bob"}, "lab-join"), "HTTP/1.1 200 OK", "join")
    bob.wait_path("alice", "direct")
    party = bob.status()["party"]["id"]
    bob.ping("alice")
    bob.command("leave")
    lines = [json.loads(line) for line in (bob.folder / "lanrage.log").read_text().splitlines()]
    expect(all(line["module"] and line["function"] and line["line"] for line in lines), "a line without its place")
    timed = {}  # the first of each: the adapter that goes when bob leaves has the network looked at again
    for line in lines:
        if "duration_ms" in line:
            timed.setdefault(line["operation"], line)
    for operation in ("api_request", "control_authenticate", "control_connect", "allocate_address", "join_party",
                      "discover_nat", "hole_punch", "connect_to_peer", "add_peer", "leave_party"):
        expect(operation in timed, f"no line of {operation}")
        own = timed[operation].get("correlation_id") == "lab-join"
        expect_equal(own, operation not in ("api_request", "leave_party"), f"{operation} is of the join: {timed[operation]}")
    for operation in ("join_party", "connect_to_peer", "hole_punch", "add_peer"):
        expect_equal(timed[operation].get("party_id"), party, f"party of {operation}")
    expect("correlation_id" not in timed["node_start"], "a line without an operation has a correlation id")
    expect("correlation_id=lab-join" in server.process.output(), "the server does not know the id")


@scenario("cli")
def cli_timings(lab: Lab) -> None:
    """Every timing in the log is one of the documented list, and an evening with friends feeds 25 and more of them."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "easy", "bob")
    carol = node_behind(lab, network, "sym", "carol")
    invite = alice.host_party(server.link)
    bob.join(invite)
    carol.join(invite)
    bob.wait_path("alice", "direct", 5)
    bob.ping("alice", 3)
    alice.command("netcheck")
    alice.command("revoke", str(alice.command("invite")["id"]))
    alice.command("kick", "carol")
    alice.command("rekey")
    alice.command("handover", "bob")
    bob.ping("alice", 3)
    for node in (bob, alice):
        node.command("leave")
        node.command("down")
    server.process.stop(signal.SIGTERM)
    text = server.process.output() + "".join((node.folder / "lanrage.log").read_text() for node in (alice, bob, carol))
    timed = set(re.findall(r"completed (\w+)", text))
    page = (pathlib.Path(__file__).parents[3] / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\|([^|]+)\|", page.partition("## Timings")[2].partition("\n## ")[0], re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    expect_equal(timed - documented, set(), "timings that docs/operations.md does not name")
    expect(len(timed) >= 25, f"{len(timed)} timings, without {sorted(documented - timed)}")


@scenario("cli")
def cli_machine(lab: Lab) -> None:
    """No root, no TUN, a full disk, a server's port in use: a line that says what to do, and nothing is left."""
    node = lone_node(lab)
    folder = node.folder / "nobody"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    os.chmod(node.folder, 0o711)
    binary = lab.state / "lanrage"  # where nobody may read it
    shutil.copy(lab.binary, binary)
    for path in (binary.parent, lab.state, *lab.state.parents):
        if str(path).startswith("/tmp/"):
            os.chmod(path, 0o711)
    code, _, err = plain(node, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env",
                         f"LANRAGE_DIR={folder}", str(binary), "up")
    expect_equal(code, REFUSED, f"up without root: {err}")
    expect("root" in err and err.count("\n") == 1, err)

    code, _, err = plain(node, "unshare", "-m", "sh", "-c",
                         f"mount --bind /dev/null /dev/net/tun && exec {lab.binary} up")
    expect(code in (FAILED, REFUSED) and "tun" in err.lower() and err.count("\n") == 1, f"no TUN: {code} {err}")

    code, _, err = plain(node, "unshare", "-m", "sh", "-c",
                         f"mount -t tmpfs -o ro none {node.folder} && exec {lab.binary} up")
    expect(code == FAILED and "Read-only" in err and err.count("\n") == 1, f"read-only folder: {code} {err}")
    code, _, err = plain(node, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env", "-u",
                         "LANRAGE_DIR", "-u", "HOME", str(binary), "up")
    expect(code != OK and "//" not in err and err.count("\n") == 1, f"no HOME: {code} {err}")
    (node.folder / "closed").mkdir(mode=0o700)
    code, _, err = plain(node, "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "env",
                         f"LANRAGE_DIR={node.folder / 'closed'}", str(binary), "status")
    expect(code == REFUSED and "another user" in err, f"another user's node: {code} {err}")

    small = node.folder / "small"
    small.mkdir()
    code, _, err = plain(node, "unshare", "-m", "sh", "-c",
                         f"mount -t tmpfs -o size=8k none {small} && dd if=/dev/zero of={small}/fill 2>/dev/null; "
                         f"LANRAGE_DIR={small} exec {lab.binary} up")
    expect(code == FAILED and "space" in err and err.count("\n") == 1, f"full disk: {code} {err}")

    with node.host.entered():
        blocker = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with blocker:
        blocker.bind(("0.0.0.0", PORT))
        blocker.listen()
        check(node.ask("server", "--listen", f"0.0.0.0:{PORT}"), REFUSED, str(PORT))
        check(node.ask("server", "--check"), REFUSED, str(PORT))
    with node.host.entered():
        web = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with web:
        web.bind(("0.0.0.0", 443))
        web.listen()
        beside = node.command("server", "--check")["addresses"]
    expect("0.0.0.0:443" not in beside and f"0.0.0.0:{PORT}" in beside, f"beside a web server: {beside}")
    able = node.command("server", "--check")
    expect(able["link"].startswith("https://"), "server --check names no link")
    expect("0.0.0.0:443" in able["addresses"], f"without a web server: {able['addresses']}")
    expect(not (node.folder / "server.link").exists(), "server --check leaves a link")
    expect_equal(daemon_pids(node), [], "nodes that were left")


@scenario("cli")
def cli_server_status(lab: Lab) -> None:
    """A server says how it is, to its owner alone; a node's own server does, too; without one it is exit 3."""
    network = lab.network()
    server = server_on(lab, network)
    operator = Node(lab, server.host, "operator")
    check(operator.ask("server", "status"), NO_NODE, str(operator.folder), "LANRAGE_DIR")
    operator.folder.rmdir()
    operator.folder = server.folder
    fresh = operator.command("server", "status")
    expect_equal((fresh["link"], fresh["parties"], fresh["clients"]), (server.link, 0, 0), "a fresh server")
    # Two that only the relay connects.
    alice, bob = node_behind(lab, network, "sym", "alice"), node_behind(lab, network, "sym", "bob")
    bob.join(alice.host_party(server.link))
    bob.wait_path("alice", "relay", 10)
    expect_equal(bob.ping("alice", 20)["received"], 20, "answers through the relay")
    told = operator.command("server", "status")
    expect_equal({key: told[key] for key in ("parties", "members", "clients")},
                 {"parties": 1, "members": 2, "clients": 2}, "what the server has")
    expect_equal(told["relay"]["sessions"], 2, "relay sessions")
    expect(told["relay"]["packets"] > fresh["relay"]["packets"] + 40 and told["relay"]["bytes"] > 40 * 60,
           f"the relay counted {told['relay']}")
    expect(told["store"]["kind"] == "sqlite" and told["store"]["bytes"] > 0, f"store: {told['store']}")
    expect(0 <= fresh["uptime_s"] <= told["uptime_s"] < 60, f"up for {told['uptime_s']} s")
    code, out, err = plain(operator, lab.binary, "server", "status")
    expect(code == OK and "1 parties with 2 members; 2 of them connected" in out and "sqlite" in out, f"{code} {out} {err}")
    mode = (server.folder / "server.sock").stat().st_mode & 0o777
    expect_equal(oct(mode), "0o600", "mode of its socket")

    home = Node(lab, network.public("home"), "home")
    check(home.ask("server", "status"), NO_NODE)
    home.command("host", "--as", "home")
    own = home.command("server", "status")
    expect_equal((own["parties"], own["members"]), (1, 1), "a node's own server")
    server.kill()
    check(operator.ask("server", "status"), NO_NODE)


@scenario("cli")
def cli_firewall(lab: Lab) -> None:
    """A machine's own firewall that drops: paths are direct all the same, and status says how to let games in."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "easy", "bob")
    for node in (alice, bob):
        node.host.nft("""table inet guard {
          chain watch { type filter hook input priority filter - 1; }
          chain in {
            type filter hook input priority filter; policy drop;
            iif lo accept
            ct state established,related accept
            icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
          }
        }""")
    bob.join(alice.host_party(server.link))
    bob.wait_path("alice", "direct", 3)
    expect_equal(bob.ping("alice")["received"], 3, "answers between the two")
    address = bob.address()
    expect_equal(alice.host.ping(address, count=2, wait_s=0.5), 0.0, "answers of bob's machine, which the firewall keeps in")
    warnings = bob.status()["warnings"]
    allow = f"nft insert rule inet guard in iifname {bob.interface} accept"
    expect(len(warnings) == 1 and f"`{allow}`" in warnings[0], f"warnings: {warnings}")
    expect("warning    this machine's firewall" in plain(bob, lab.binary, "status")[1], "status for people")
    bob.host.run("sh", "-c", allow)
    wait_until(lambda: bob.status()["warnings"] == [], 8, "bob's firewall lets the party in")
    expect_equal(alice.host.ping(address, count=2), 1.0, "answers of bob's machine")
    bob.command("leave")
    alice.command("leave")
    expect_equal(alice.status()["warnings"], [], "outside of a party")


@scenario("cli")
def cli_demo(lab: Lab) -> None:
    """The demo finds a real game across two NATs, and leaves nothing behind, also when it is interrupted."""
    node = lone_node(lab)
    code, out, err = plain(node, lab.binary, "demo", "--json")
    expect_equal((code, err), (OK, ""), "the demo")
    expect('"name":"LANrage demo"' in out and '"path":"direct"' in out, out)
    demo = node.host.start("demo", lab.binary, "demo")
    wait_until(lambda: "gets an invite" in demo.output(), 20, "the demo hosts")
    spaces = node.host.root() / "run" / "netns"  # a host has a /run of its own
    expect_equal(len(os.listdir(spaces)), 5, "namespaces of the demo")
    expect_equal(demo.stop(signal.SIGINT, timeout=10), FAILED, "exit code of an interrupted demo")
    expect_equal(os.listdir(spaces), [], "namespaces that stay behind")
