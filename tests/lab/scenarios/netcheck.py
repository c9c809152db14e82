"""`lanrage netcheck` says of every network what coturn's own discovery (RFC 5780) says, and more.

    inside -- router (kind) -- internet -- server 5.9.1.2, 5.9.1.3: lanrage server, turnserver
"""
from __future__ import annotations

import re
import time
from typing import Any

from namespace import Process, wait_until
from party import ACCESS, PORT, Node, Server, node_behind, relay_on, server_on
from scenario import Lab, expect, expect_equal, scenario
from topology import Host, Network

# How turnutils_natdiscovery calls what we call ...
NAMES = {"Endpoint Independent": "endpoint_independent", "Address Dependent": "address_dependent",
         "Address and Port Dependent": "address_and_port_dependent"}
TYPES = {"easy": "port_restricted", "cone": "full_cone", "sym": "symmetric", "cgn-easy": "port_restricted",
         "cgn-sym": "symmetric", "dual": "port_restricted", "one-to-one": "full_cone"}


def server_with_two_addresses(lab: Lab, network: Network) -> Server:
    host = network.public("server", addresses=2, shape=ACCESS)
    listen = [f"{host.ipv4}:{PORT}", f"5.9.1.3:{PORT}", f"[{host.ipv6}]:{PORT}"]
    return Server(lab, host, *(word for address in listen for word in ("--listen", address)))


def second_opinion(lab: Lab, server: Host) -> None:
    server.start("turnserver", "turnserver", "--stun-only", "-n", "-L", "5.9.1.2", "-L", "5.9.1.3", "--no-cli",
                 "--no-tls", "--no-dtls", "--log-file", "stdout", "--pidfile", str(lab.state / "turn.pid"),
                 "--userdb", str(lab.state / "turn.db"))
    server.wait_listening("5.9.1.3", 3479, "udp")


def opinion_of(process: Process) -> dict[str, str]:
    return {what.lower(): NAMES[verdict]
            for verdict, what in re.findall(r"NAT with (.+?) (Mapping|Filtering)!", process.output())}


def netcheck(node: Node) -> dict[str, Any]:
    answer = node.ask("netcheck")
    expect_equal(answer.code, 0, f"exit code of netcheck ({answer.error})")
    expect(answer.seconds < 5, f"netcheck took {answer.seconds:.1f} s")
    return answer.data


@scenario("netcheck", limit_s=90)
def netcheck_second_opinion(lab: Lab) -> None:
    """Mapping and filtering of every NAT of the lab as coturn's discovery names them; type and advice to match."""
    network = lab.network()
    server = server_with_two_addresses(lab, network)
    second_opinion(lab, server.host)
    nodes = {kind: node_behind(lab, network, kind, kind) for kind in TYPES}
    opinions = {kind: node.host.start("discovery", "turnutils_natdiscovery", "-m", "-f", "5.9.1.2")
                for kind, node in nodes.items()}
    for kind, node in nodes.items():
        node.host_party(server.link)
        found = netcheck(node)
        wait_until(lambda: not opinions[kind].running(), 30, f"turnutils_natdiscovery ends on {kind}")
        opinion = opinion_of(opinions[kind])
        expect_equal(len(opinion), 2, f"what coturn says of {kind}: {opinions[kind].output()}")
        expect_equal({what: found["ipv4"][what] for what in opinion}, opinion, f"netcheck on {kind}, beside coturn")
        expect_equal(found["ipv4"]["hairpin"], kind == "cone", f"hairpin of {kind}")
        expect_equal(found["ipv4"]["keeps_port"], "sym" not in kind, f"port preservation of {kind}")
        expect(all(relay["rtt_ms"] for relay in found["relays"]) and found["relays"], f"relays: {found['relays']}")
        expect(found["advice"], f"no advice on {kind}")
        expect_equal(found["upstream"], "carrier" if kind.startswith("cgn") else None, f"what stands behind {kind}")
        nat = node.status()["self"]["nat"]
        expect_equal((nat["type"], nat["mapping"]), (TYPES[kind], opinion["mapping"]), f"status on {kind}")
        expect(all(endpoint.startswith("5.9.") for endpoint in nat["public"] if "[" not in endpoint), f"{nat}")
    expect_equal(netcheck(nodes["dual"])["ipv6"]["filtering"], "address_and_port_dependent", "IPv6's firewall")


@scenario("netcheck")
def netcheck_relay_as_second(lab: Lab) -> None:
    """One address cannot tell an endpoint-independent mapping from a port-independent one; with a relay's it can."""
    network = lab.network()
    server = server_on(lab, network)
    nodes = {kind: node_behind(lab, network, kind, kind) for kind in ("easy", "sym")}
    for node in nodes.values():
        node.host_party(server.link)
    expect_equal(netcheck(nodes["easy"])["ipv4"]["mapping"], "port_independent", "mapping, as one address shows it")
    relay_on(lab, network, server, "relay", 10)
    wait_until(lambda: netcheck(nodes["easy"])["ipv4"]["mapping"] == "endpoint_independent", 20,
               "the relay is asked, too", 0.2)
    expect_equal(netcheck(nodes["sym"])["ipv4"]["mapping"], "address_and_port_dependent", "a symmetric NAT stays one")


@scenario("netcheck", limit_s=90)
def netcheck_words(lab: Lab) -> None:
    """Without NAT, behind an IPv6 firewall, with UDP blocked, behind a carrier, after a move: the sentence says so."""
    network = lab.network()
    server = server_on(lab, network)
    expected = {"public": ("none", "an address of its own, no translation, and no firewall"),
                "fw": ("firewall", "IPv6: an address of its own, no translation, behind a firewall"),
                "udpblock": ("udp_blocked", "UDP does not get out"),
                "cgn-easy": ("port_restricted", "carrier NAT"),
                "double": ("port_restricted", "double NAT"),
                "cgn-upnp": ("port_restricted", "carrier NAT"),
                "upnp": ("port_restricted", "leads a public port")}
    nodes = {}
    for kind, (word, sentence) in expected.items():
        nodes[kind] = node = node_behind(lab, network, kind, kind)
        node.host_party(server.link_by("server.lab"))

        def told() -> bool:  # the router takes its time
            return any(sentence in line for line in netcheck(node)["findings"])
        wait_until(told, 15, f"netcheck on {kind} says: {sentence}")
        expect_equal(node.status()["self"]["nat"]["type"], word, f"type of {kind}")
    text = nodes["upnp"].host.run(lab.binary, "netcheck", env={"LANRAGE_DIR": str(nodes["upnp"].folder)}).stdout
    expect("Relay" in text and " ms." in text and text.strip().endswith("Nothing needs to be done."), text)
    # Another network under the same machine: looked at again without being asked.
    mover = node_behind(lab, network, "easy", "mover")
    mover.host_party(server.link)
    for kind in ("port_restricted", "symmetric"):
        wait_until(lambda: (mover.status()["self"]["nat"] or {}).get("type") == kind, 15, f"{kind} is known")
        network.move(mover.host, network.router(f"after-{kind}", "sym", shape=ACCESS))


@scenario("netcheck", limit_s=90)
def netcheck_why(lab: Lab) -> None:
    """Each reason why a path is not direct is told at both ends, with what helps, in status and in peers."""
    network = lab.network()
    server = server_on(lab, network)
    link = server.link_by("server.lab")
    nodes = {name: node_behind(lab, network, kind, name)
             for name, kind in (("alice", "sym-sequential"), ("bob", "sym"), ("carol", "sym"), ("dave", "fw"),
                                ("erin", "udpblock"))}
    invite = nodes["alice"].host_party(link, "--name", "why")
    for name in ("bob", "carol", "dave", "erin"):
        nodes[name].join(invite)
    cases = [("bob", "carol", "both networks use a random port", "by hand on the router here"),
             ("bob", "alice", "both networks use a new port", "by hand on the router here"),
             ("alice", "bob", "both networks use a new port", "by hand on the router here"),
             ("bob", "dave", "one side has only IPv4 and the other only IPv6", "enable IPv6"),
             ("dave", "bob", "one side has only IPv4 and the other only IPv6", "enable IPv6"),
             ("bob", "erin", "the other side's network blocks UDP", "one rule for UDP"),
             ("erin", "bob", "UDP does not get out of this network", "use another network")]
    for name, other, reason, remedy in cases:
        def told() -> bool:
            why = str((nodes[name].peer(other) or {}).get("why"))
            return reason in why and (remedy in why or name == "erin" or other == "erin")
        wait_until(told, 20, f"{name} knows why {other} is not reached directly: {reason}; {remedy}", 0.2)
    for command in ("status", "peers"):
        text = nodes["bob"].host.run(lab.binary, command, env={"LANRAGE_DIR": str(nodes["bob"].folder)}).stdout
        expect("both networks use a random port" in text and "the other side's network blocks UDP" in text, text)


@scenario("netcheck", limit_s=180)
def netcheck_lifetime(lab: Lab) -> None:
    """A router that forgets what was silent for eight seconds: netcheck says so, and two idle players stay direct behind
    such routers, the first packet after half a minute included."""
    network = lab.network()
    server = server_on(lab, network)
    alice, bob = (Node(lab, network.host(name, "easy", shape=ACCESS, udp_timeout_s=8), name) for name in ("alice", "bob"))
    bob.join(alice.host_party(server.link))
    alice.wait_path("bob", "direct")

    time.sleep(75)  # three trials; a netcheck before their end would begin them anew
    for node in (alice, bob):
        expect_equal(netcheck(node)["binding_lifetime"], {"at_least_s": 5, "below_s": 10, "keepalive_s": 4.167},
                     f"what {node.name}'s router remembers")
    expect("for 5 s at least" in " ".join(netcheck(alice)["findings"]), "netcheck does not say it in words")
    chosen = [peer["path"] for peer in alice.status()["peers"]]
    time.sleep(30)
    expect_equal(alice.host.ping(bob.address(), wait_s=0.3), 1.0, "answer to the first packet after half a minute")
    expect_equal([peer["path"] for peer in alice.status()["peers"]], chosen, "the path half a minute later")
    expect_equal(alice.path_kind("bob"), "direct", "that path")
