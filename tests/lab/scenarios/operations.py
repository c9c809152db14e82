"""What a node does at once and what in turn: tasks, operations that conflict, and a node killed in the middle of one.

    server (public)      alice (public)      bob (public)
"""
from __future__ import annotations

import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import time
from typing import Any

from namespace import wait_until
from party import Node, daemon_pids, node_behind, server_on
from scenario import Lab, expect, expect_equal, scenario

LONG_WAIT_MS = 20000
OUR_TABLES = "12804"  # 0x4C520000 and on begin so, in decimal


class Caller(http.client.HTTPConnection):
    """The node's API, as another program asks it: status and object."""

    def __init__(self, node: Node) -> None:
        super().__init__("lanrage", timeout=30)
        self._path = str(node.folder / "lanrage.sock")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        self.request(method, path, json.dumps(body) if body is not None else None)
        response = self.getresponse()
        return response.status, json.loads(response.read())

    def submit(self, *tasks: dict[str, Any], **graph: Any) -> tuple[int, dict[str, Any]]:
        return self.ask("POST", "/api/tasks", {"tasks": list(tasks), **graph})

    def started(self, *tasks: dict[str, Any], **graph: Any) -> int:
        """A graph that was taken; its number."""
        status, answer = self.submit(*tasks, **graph)
        expect_equal(status, 200, f"submitting: {answer}")
        return int(answer["id"])

    def graph(self, number: int) -> dict[str, Any]:
        return self.ask("GET", f"/api/tasks/{number}")[1]

    def over(self, number: int, timeout: float = 10) -> dict[str, Any]:
        """The graph, once it is over."""
        wait_until(lambda: self.graph(number)["state"] != "running", timeout, f"graph {number} is over", 0.02)
        return self.graph(number)


def lone(lab: Lab) -> tuple[Node, Caller]:
    node = Node(lab, lab.network().public("alice"), "alice")
    node.command("up")
    return node, Caller(node)


def task(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, **fields}


def state(graph: dict[str, Any], name: str) -> str:
    return str(next(one["state"] for one in graph["tasks"] if one["name"] == name))


@scenario("operations")
def tasks_order(lab: Lab) -> None:
    """Priorities, dependencies, retries, skips, rings and unknown names, as a program sees them; a thousand tasks."""
    node, api = lone(lab)
    graph = api.over(api.started(task("start_game", after=["configure_network", "sync_game_state"]),
                                 task("configure_network", after=["allocate_ip"], takes_ms=200),
                                 task("sync_game_state", takes_ms=200), task("allocate_ip", after=["validate_peer"]),
                                 task("validate_peer")))
    expect_equal(graph["state"], "done", "the graph of a join")
    # Seven of eight slots are taken for long: what waits for the last begins by priority, whatever came first. (Deferred
    # ones would wait for an idle machine, which the lab's need not be.)
    names = ["low", "normal", "high", "critical"]
    begun = time.monotonic()
    full = api.started(*(task(f"full{i}", takes_ms=800, priority=4) for i in range(7)), task("last", takes_ms=200, priority=4))
    one = api.started(*(task(name, priority=number, takes_ms=30) for number, name in enumerate(names, 1)))
    api.over(full)
    expect(time.monotonic() - begun < 2, "tasks that do not depend on one another run side by side")
    waited = sorted((t["waited_ms"], t["name"], t["priority_name"]) for t in api.graph(one)["tasks"])
    expect_equal([name for _, name, _ in waited], names[::-1], f"the order of {waited}")
    expect(all(name == priority for _, name, priority in waited), "the priorities' names")
    # Retries: two failures, then success, the gaps doubled.
    flaky = api.over(api.started(task("flaky", fails=2)))
    expect_equal((flaky["state"], flaky["tasks"][0]["attempts"]), ("done", 3), "a task that fails twice")
    broken = api.over(api.started(task("allocate_ip", fails=9, attempts=2), task("configure_network", after=["allocate_ip"]),
                                  task("start_game", after=["configure_network"]), task("other")))
    expect_equal([state(broken, name) for name in ("allocate_ip", "configure_network", "start_game", "other")],
                 ["failed", "skipped", "skipped", "done"], "states behind a failure")
    expect_equal(broken["tasks"][2]["because"], "allocate_ip", "the task that failed")
    # Refused by name.
    for tasks, words in (((task("a", after=["b"]), task("b", after=["a"])), "a -> b -> a"),
                         ((task("a", after=["ghost"]),), "ghost"), ((task("a"), task("a")), "two tasks are called a"),
                         ((task("a", priority=5),), "priority"), ((task("a", operation="dance"),), "operation"),
                         ((task("a", takes_ms=-1),), "takes_ms"), ((), "no task")):
        status, answer = api.submit(*tasks)
        expect(status == 400 and words in answer["error"]["message"], f"{words}: {status} {answer}")
    begun = time.monotonic()
    many = api.started(*(task(f"t{i}", priority=i % 4 + 1) for i in range(1000)))
    expect_equal(api.over(many)["state"], "done", "a thousand tasks")
    waits = sorted(t["waited_ms"] for t in api.graph(many)["tasks"])
    print(f"1000 tasks: {1000 * (time.monotonic() - begun):.0f} ms in all, waiting {waits[990]:.1f} ms at p99")
    expect(waits[-1] < 5000, f"one waited {waits[-1]} ms")
    # The command line: a graph from a file, an error that says what is wrong.
    answer = node.ask("tasks", "--submit", "/nowhere")
    expect_equal(answer.code, 4, "a file that is not there")
    expect("graphs" in node.command("tasks"), "lanrage tasks")
    expect_equal(node.ask("tasks", "--cancel", "999999").code, 4, "cancelling a graph that is not there")
    log = (node.folder / "lanrage.log").read_text()
    for words in ("a task begins", "task_name=flaky", "task_priority=4", "completed execute_task"):
        expect(words in log, f"the log does not say {words!r}")


@scenario("operations")
def operations_conflict(lab: Lab) -> None:
    """Queue, abort, merge and prioritize, locks that are freed when who asked goes, a ring that is broken."""
    node, api = lone(lab)
    table = {(row["newcomer"], row["present"]): row for row in node.command("operations")["conflicts"]}
    expect(all((b, a) in table for a, b in table), "a conflict that goes one way only")
    page = (pathlib.Path(__file__).parents[3] / "docs" / "tasks.md").read_text()
    documented = {tuple(re.split(r" *\| *", line.strip("| "))) for line in page.splitlines() if line.startswith("| ")}
    told = {(*pair, *(row[order] for order in ("lower", "equal", "higher"))) for pair, row in table.items()}
    expect_equal(told - documented, set(), "conflicts that docs/tasks.md does not say so")
    expect_equal(api.ask("GET", "/api/operations")[1], node.command("operations"), "the table of API and command line")

    def operation(kind: str, name: str = "op", **fields: Any) -> dict[str, Any]:
        return task(name, operation=kind, resource=fields.pop("resource", "x"), **fields)
    # Queue.
    first = api.started(operation("allocate_ip", takes_ms=200))
    second = api.started(operation("allocate_ip", takes_ms=1))
    expect_equal([lock["waiting"] for lock in api.ask("GET", "/api/tasks")[1]["locks"]], [[second]], "who waits")
    expect(api.over(second)["tasks"][0]["waited_ms"] >= 190, "the second did not wait")
    expect_equal(api.over(first)["state"], "done", "the first")
    # Abort: at once.
    held = api.started(operation("configure_network", takes_ms=LONG_WAIT_MS, priority=3))
    begun = time.monotonic()
    status, answer = api.submit(operation("restart_network", priority=1))
    expect(status == 409 and "configure_network" in answer["error"]["message"], f"abort: {status} {answer}")
    expect(time.monotonic() - begun < 0.05, f"refused after {time.monotonic() - begun:.3f} s")
    # Merge: into one that has not begun.
    waiting = api.started(operation("configure_network"), name="set")
    merged = api.started(operation("configure_network"), name="set")
    expect_equal(api.graph(merged)["merged_into"], waiting, "merged into")
    # Whoever asked is gone: the lock is free.
    expect_equal(api.ask("DELETE", f"/api/tasks/{held}")[0], 200, "cancelling")
    expect_equal([api.over(number)["state"] for number in (waiting, merged, held)], ["done", "done", "cancelled"], "states")
    # Prioritize: the lower one is stopped, and reported.
    low = api.started(operation("restart_network", takes_ms=LONG_WAIT_MS, priority=1))
    critical = api.started(operation("configure_network", priority=4))
    expect_equal(api.over(critical)["state"], "done", "critical")
    expect("given up for configure_network" in api.over(low)["tasks"][0]["error"]["message"], "low is not reported")
    # A ring of three that take locks step by step.
    ring = [api.started(operation("allocate_ip", "first", resource=f"r{i}", takes_ms=100),
                        operation("allocate_ip", "then", resource=f"r{(i + 1) % 3}", after=["first"])) for i in range(3)]
    expect_equal([api.over(number)["state"] for number in ring], ["done", "done", "cancelled"], "one victim")
    # An atomic group that fails in its third step is taken back whole.
    group = api.over(api.started(task("a"), task("b", after=["a"]), task("c", after=["b"], fails=9, attempts=1), atomic=True))
    expect_equal([t["taken_back"] for t in group["tasks"]], [True, True, False], "taken back")
    # 64 at once on one resource.
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        numbers = list(pool.map(lambda _: Caller(node).started(operation("allocate_ip", resource="crowd")), range(64)))
    done = [api.over(number) for number in numbers]
    expect(all(graph["state"] == "done" for graph in done), "one of the crowd was lost")
    print(f"64 at once on one resource: {1000 * (time.monotonic() - begun):.0f} ms in all")
    expect_equal(api.ask("GET", "/api/tasks")[1]["locks"], [], "locks that are left")
    log = (node.folder / "lanrage.log").read_text()
    for words in ("two operations conflict", "conflict_type=\"allocate_ip allocate_ip\"", "resource_id=trial/x",
                  "strategy=prioritize", "completed resolve_conflicts"):
        expect(words in log, f"the log does not say {words!r}")


def join_and_leave(lab: Lab, rounds: int) -> None:
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = (Node(lab, network.public(name), name) for name in ("alice", "bob"))
    invite = alice.host_party(server.link)
    bob.command("up")
    chooser = random.Random(1)
    answers: list[tuple[float, str, int]] = []

    def fire(words: tuple[str, dict[str, Any]], pause: float) -> None:
        time.sleep(pause)
        status, _ = Caller(bob).ask("POST", f"/api/party/{words[0]}", words[1])
        answers.append((time.monotonic(), words[0], status))
    both = [("join", {"invite": invite, "as": "bob"}), ("leave", {})]
    inside = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            answers.clear()
            chooser.shuffle(both)
            list(pool.map(fire, both, (0, chooser.choice((0, 0, 0.005, 0.02, 0.05)))))
            last = [what for _, what, status in sorted(answers) if status == 200][-1:]
            now = bob.status()["state"] == "in_party" if number % 10 == 9 else None
            state_now = Caller(bob).ask("GET", "/api/status")[1]
            is_in = state_now["party"] is not None
            if last:
                expect_equal(is_in, last == ["join"], f"round {number}: {sorted(answers)}, in the party")
            expect(now is None or now == is_in, f"round {number}: two answers to one question")
            inside += is_in
    expect(0 < inside < rounds, f"{inside} of {rounds} rounds ended in the party: nothing was raced")
    bob.ask("leave")
    revoked = alice.command("invite")
    alice.command("revoke", str(revoked["id"]))
    expect_equal(bob.ask("join", revoked["invite"], "--as", "bob").code, 5, "a join with a revoked invite")
    expect_equal(bob.ask("leave").code, 4, "leaving when in no party, after a join that failed")
    names = bob.ask("join", invite, "--as", "bob")
    expect_equal(names.code, 0, f"the join after them all: {names.error}")
    wait_until(lambda: [peer["name"] for peer in alice.status()["peers"]] == ["bob"], 10, "alice sees bob, once")
    bob.wait_path("alice", "direct", 10)


@scenario("operations")
def operations_join_and_leave(lab: Lab) -> None:
    """Joining and leaving fired together: what the last acknowledged answer said is so, a hundred times."""
    join_and_leave(lab, 100)


@scenario("operations", limit_s=300, long=True)
def operations_join_and_leave_long(lab: Lab) -> None:
    """The same, 500 times."""
    join_and_leave(lab, 500)


@scenario("operations")
def operations_twice(lab: Lab) -> None:
    """Hosting twice at once, leaving while the router is asked, an invite that hangs beside a good one: each its own answer."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = Node(lab, network.public("alice"), "alice"), node_behind(lab, network, "easy", "bob")
    for node in (alice, bob):
        node.command("up")

    def call(node: Node, what: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return Caller(node).ask("POST", f"/api/party/{what}", body)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        hosting = {"server": server.link, "name": "evening", "as": "alice"}
        both = sorted(pool.map(lambda _: call(alice, "host", hosting), range(2)), key=lambda answer: answer[0])
        expect_equal([status for status, _ in both], [200, 409], f"hosting twice: {both}")
        invite = both[0][1]["invite"]
        expect(str(invite).startswith("lanrage://"), f"no invite: {both[0]}")
        # No router opens a port here: for two seconds it is waited for.
        hosted = pool.submit(call, bob, "host", {"name": "own", "as": "bob"})
        wait_until(lambda: any(g["name"] == "host_party" and g["state"] == "running" for g in bob.command("tasks")["graphs"]), 2,
                   "bob hosts", 0.02)
        expect_equal(call(bob, "leave", {})[0], 200, "leaving meanwhile")
        status, answer = hosted.result()
        expect(status != 200 and "given up" in answer["error"]["message"], f"hosting, given up: {status} {answer}")
        expect_equal(bob.status()["party"], None, "the party after that")
        # A good invite beside one of a server that is not there.
        hangs = alice.invite()
        network_down = pool.submit(call, bob, "join", {"invite": hangs, "as": "bob"})
        expect_equal(call(bob, "join", {"invite": invite, "as": "bob"})[0], 200, "the other invite of the same party")
        expect_equal(network_down.result()[0], 200, "the first")
        expect_equal(call(bob, "join", {"invite": invite, "as": "robert"})[0], 409, "another name in the party")


@scenario("operations")
def operations_two_nodes(lab: Lab) -> None:
    """A node that was killed takes back its routing rules, and none of another node's that has its interface's name by now."""
    network = lab.network()
    server = server_on(lab, network)
    alice = Node(lab, network.public("alice"), "alice")
    invite = alice.host_party(server.link)
    machine = network.public("bob")
    first, second = Node(lab, machine, "first"), Node(lab, machine, "second")
    first.join(invite)
    name = first.interface
    first.kill_daemon()
    machine.run("rm", f"/var/run/wireguard/{name}.sock")  # what `wg show` would ask, left by the killed one, keeps the name
    wait_until(lambda: second.ask("up", "--interface", name).code == 0, 5, f"{name} is free again")
    second.join(invite)
    first.command("up")
    wait_until(lambda: first.status()["state"] == "in_party", 10, "the first is back")
    expect(first.interface != name, "both have one interface")
    expect_equal(len([rule for rule in rules(second) if rule.endswith("to 224.0.0.0/4")]), 2, f"of both: {rules(second)}")
    second.command("leave")
    first.command("leave")
    expect_equal(rules(first), [], "rules that are left")


def rules(node: Node) -> list[str]:
    """Of all routing rules of the machine, those that lead to tables of ours; each adapter has one, any number of them."""
    said = node.host.run("ip", "rule").stdout + node.host.run("ip", "-6", "rule").stdout
    return sorted(line.partition(":")[2].partition(" lookup ")[0].strip() for line in said.splitlines()
                  if f"lookup {OUR_TABLES}" in line)


def killed_in_a_join(lab: Lab, rounds: int) -> None:
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = (Node(lab, network.public(name), name) for name in ("alice", "bob"))
    invite = alice.host_party(server.link)
    bob.command("up")
    bob.join(invite)
    whole = rules(bob)
    expect(len(whole) >= 6, f"rules of a node in a party: {whole}")
    chooser = random.Random(2)
    ended = {"in_party": 0, "idle": 0}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for number in range(rounds):
            bob.ask("leave")
            joining = pool.submit(bob.ask, "join", invite, "--as", "bob")
            time.sleep(chooser.random() * 0.12)
            for pid in daemon_pids(bob):
                if b"join" not in open(f"/proc/{pid}/cmdline", "rb").read():
                    os.kill(pid, signal.SIGKILL)
            acknowledged = joining.result().code == 0
            bob.kill_daemon()  # also one that `join` began, finding none
            bob.command("up")
            wait_until(lambda: bob.status()["state"] in ended, 10, "the node is in the party, or is not")
            is_in = bob.status()["party"] is not None
            ended["in_party" if is_in else "idle"] += 1
            expect(is_in or not acknowledged, f"round {number}: joined, said so, and it is forgotten")
            expect_equal(rules(bob), whole if is_in else [], f"round {number}: rules, {'in' if is_in else 'out of'} the party")
    expect(min(ended.values()) > 0, f"killed too early or too late every time: {ended}")


@scenario("operations")
def operations_killed(lab: Lab) -> None:
    """kill -9 at any moment of a join: afterwards the machine is in the party, with all that belongs to it, or has nothing of it."""
    killed_in_a_join(lab, 20)


@scenario("operations", limit_s=300, long=True)
def operations_killed_long(lab: Lab) -> None:
    """The same at 200 moments."""
    killed_in_a_join(lab, 200)
