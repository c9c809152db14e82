"""Parties hosted without a server, behind a router that opens ports on request, or does not, or lies.

    alice -- router (upnp: miniupnpd) -- internet -- router (sym) -- bob
"""
from __future__ import annotations

import json
import sys
import time

from namespace import wait_until
from nat import METHODS
from party import ACCESS, PORT, Node, Relay, Server, check_all_pairs, environment, node_behind, server_on
from scenario import Lab, expect, expect_equal, scenario
from topology import Router

# `host` waits two seconds for the router; the rest is the node's start on a slow machine.
HOST_S = 6


def hosted(node: Node) -> dict:
    """What `host` without a server answers, in time."""
    answer = node.ask("host", "--as", node.name)
    expect_equal(answer.code, 0, f"exit code of host ({answer.error})")
    expect(answer.seconds < HOST_S, f"host took {answer.seconds:.1f} s")
    return answer.data


@scenario("ports")
def ports_host_at_home(lab: Lab) -> None:
    """A party hosted at home behind a router with UPnP: a friend on the internet joins, directly; down closes ports."""
    network = lab.network()
    alice, bob = node_behind(lab, network, "upnp", "alice"), node_behind(lab, network, "sym", "bob")
    router = alice.host.network
    assert isinstance(router, Router)
    answer = hosted(alice)
    expect(f"{router.ipv4}:{PORT}" in answer["reach"], f"host says: {answer['reach']}")
    expect_equal(len(router.opened_ports()), 4, f"opened ports {router.opened_ports()}")
    bob.join(answer["invite"])
    check_all_pairs([alice, bob])
    # The mapped port is open to anybody, so that even a symmetric NAT is no hindrance.
    bob.wait_path("alice", "direct")
    alice.wait_path("bob", "direct")
    alice.command("down")
    wait_until(lambda: not router.opened_ports(), 5, "the router's ports are closed again", 0.1)


@scenario("ports")
def ports_two_hosts(lab: Lab) -> None:
    """Two parties hosted behind one router get different ports outside, and strangers join each."""
    network = lab.network()
    home = network.router("home", "upnp", shape=ACCESS)
    alice, carol = (Node(lab, network.lan_host(name, home), name) for name in ("alice", "carol"))
    invites = [hosted(node)["invite"] for node in (alice, carol)]
    expect_equal(len(home.opened_ports()), 8, f"opened ports {home.opened_ports()}")
    for name, invite, node in (("bob", invites[0], alice), ("dave", invites[1], carol)):
        friend = node_behind(lab, network, "easy", name)
        friend.join(invite)
        check_all_pairs([node, friend])


@scenario("ports")
def ports_refused(lab: Lab) -> None:
    """Without UPnP, or with it behind a carrier's NAT, host says in time that only this LAN can join."""
    network = lab.network()
    for kind, name in (("easy", "alice"), ("cgn-upnp", "bob")):
        node = node_behind(lab, network, kind, name)
        reach = hosted(node)["reach"]
        expect("Friends on this LAN can join" in reach and f"port {PORT}" in reach, f"host says: {reach}")
        addresses = str(node.status())
        expect("100.64." not in addresses, "the carrier's inside address is taken for a public one")


@scenario("ports")
def ports_no_way_out(lab: Lab) -> None:
    """Hosted on a LAN without a router, or before there is a network: host says who can join, and those do."""
    network = lab.network()
    home = network.router("home", "easy")
    alice, bob, carol, dave = (Node(lab, network.lan_host(name, home), name) for name in ("alice", "bob", "carol", "dave"))
    alice.host.run("ip", "route", "del", "default")
    alice.host.run("ip", "-6", "route", "del", "default", check=False)
    answer = hosted(alice)
    expect("on this LAN can join" in answer["reach"] and "public" not in answer["reach"], f"host says: {answer['reach']}")
    bob.join(answer["invite"])
    check_all_pairs([alice, bob])

    carol.host.run("ip", "link", "set", "eth0", "down")
    reach = hosted(carol)["reach"]
    expect("Nobody can reach" in reach, f"host says: {reach}")
    carol.host.run("ip", "link", "set", "eth0", "up")
    wait_until(lambda: dave.ask("join", carol.invite(), "--as", "dave").code == 0, 5, "dave joins by a new invite", 0.1)
    check_all_pairs([carol, dave])
    # Its address changes, and it still reaches the server that it runs itself.
    carol.host.ip(f"addr del {carol.host.ipv4}/24 dev eth0", f"addr add {home.lan4}.77/24 dev eth0")
    bob.command("leave")
    wait_until(lambda: bob.ask("join", carol.invite(), "--as", "bob").code == 0, 5, "bob joins by a new invite", 0.1)
    carol.wait_path("bob", "direct")


# A router that names another machine: first as the place of its description, then as that of its commands.
_LIAR = """
import http.server, socket, socketserver, sys, threading
own, other, lie = sys.argv[1:]
description = '''<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANDevice:1</deviceType><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1</deviceType><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>
<controlURL>http://%s:8080/control</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s</SCPDURL>
</service></serviceList></device></deviceList></device></deviceList></device></root>''' % other
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(description.encode())
    do_POST = do_GET
# HTTPServer would ask for its own name, and wait for a resolver that is not there.
threading.Thread(target=socketserver.TCPServer(("", 8080), Page).serve_forever, daemon=True).start()
if lie == "none":
    threading.Event().wait()
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 1900))
sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                socket.inet_aton("239.255.255.250") + socket.inet_aton(own))
while True:
    request, sender = sock.recvfrom(2048)
    kind = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
    place = other if lie == "place" else own
    sock.sendto(("HTTP/1.1 200 OK\\r\\nST: %s\\r\\nUSN: uuid:1::%s\\r\\nLOCATION: http://%s:8080/\\r\\n\\r\\n"
                 % (kind, kind, place)).encode(), sender)
"""


@scenario("ports")
def ports_lying_router(lab: Lab) -> None:
    """A router that leads the port request to another machine of the LAN gets nobody to talk to that machine."""
    network = lab.network()
    script = lab.state / "liar.py"
    script.write_text(_LIAR)
    for lie in ("place", "commands"):
        home = network.router(f"home-{lie}", "easy")
        victim = network.lan_host(f"victim-{lie}", home)
        liar = home.start("liar", sys.executable, str(script), f"{home.lan4}.1", str(victim.ipv4), lie)
        bait = victim.start("bait", sys.executable, str(script), str(victim.ipv4), str(victim.ipv4), "none")
        home.wait_listening("0.0.0.0", 1900, "udp")
        victim.wait_listening("0.0.0.0", 8080)
        node = Node(lab, network.lan_host(f"alice-{lie}", home), f"alice-{lie}")
        expect("UPnP" in hosted(node)["reach"], "the router's lie was believed")
        expect("POST" not in bait.output() and "GET" not in bait.output(), f"the other machine was asked:\n{bait.output()}")
        expect(("GET" in liar.output()) == (lie == "commands"), f"{lie}: the liar was asked:\n{liar.output()}")


_COUNT_QUESTIONS = """
table inet asked {
  counter questions { }
  chain input {
    type filter hook input priority -5;
    iifname lan udp dport { 1900, 5351 } counter name questions
  }
}
"""


def mapping_of(node: Node) -> dict:
    """What status says of the router: its `port_mapping`, empty while that is not known."""
    return node.status()["self"]["port_mapping"] or {}


def wait_mapped(node: Node, timeout: float = 5) -> dict:
    wait_until(lambda: mapping_of(node).get("outside"), timeout, f"{node.name} has a port of the router", 0.05)
    return mapping_of(node)


def took_ms(node: Node) -> float:
    """From the first question to the newest answer of the router, as the node's log says."""
    lines = [line for line in (node.folder / "lanrage.log").read_text().splitlines() if "ports of the router" in line]
    return float(lines[-1].partition("took_ms=")[2].split()[0])


@scenario("ports", limit_s=120)
def ports_each_method(lab: Lab) -> None:
    """PCP, NAT-PMP, UPnP and all at once: open in a moment, told by status, closed at the end, taken over after a kill."""
    network = lab.network()
    server = server_on(lab, network)
    for methods in (*((method,) for method in METHODS), METHODS):
        name = "-".join(methods)
        home = network.router(f"home-{name}", "upnp", shape=ACCESS)
        home.open_by(*methods)
        node = Node(lab, network.lan_host(f"host-{name}", home), name)
        node.host_party(server.link)
        mapping = wait_mapped(node)
        expect(mapping["by"] in methods, f"by {mapping['by']} on {name}")
        expect_equal(mapping["outside"].rpartition(":")[0], home.ipv4, f"the public address of {name}")
        expect(1100 < mapping["lifetime_s"] <= 1200, f"lifetime of {name}: {mapping}")
        expect_equal(len(home.opened_ports()), 1, f"opened ports by {name}: {home.opened_ports()}")
        took = took_ms(node)
        print(f"    {name}: by {mapping['by']}, open after {took:.0f} ms")
        expect(took < 1000, f"{name} took {took} ms")
        for command in ("status", "netcheck"):
            text = node.host.run(lab.binary, command, env=environment(str(node.folder))).stdout
            expect(" ".join(text.split()).count(mapping["outside"]), f"{command} says where: {text}")
        node.kill_daemon()
        expect_equal(len(home.opened_ports()), 1, f"opened ports of a dead node: {home.opened_ports()}")
        node.command("up")
        expect_equal(wait_mapped(node)["outside"], mapping["outside"], f"taken over by {name}")
        expect_equal(len(home.opened_ports()), 1, f"opened ports after that: {home.opened_ports()}")
        node.command("down")
        wait_until(lambda: not home.opened_ports(), 5, f"the port is closed again by {name}", 0.1)


@scenario("ports", limit_s=120)
def ports_renewed(lab: Lab) -> None:
    """PCP leases of four seconds are renewed; a router that restarts is asked again at once, whatever it speaks."""
    network = lab.network()
    server = server_on(lab, network)
    nodes = {}
    for method in METHODS:
        home = network.router(f"home-{method}", "upnp", shape=ACCESS)
        home.open_by(method, max_lifetime_s=4)
        nodes[method] = (home, Node(lab, network.lan_host(f"host-{method}", home), method))
        nodes[method][1].host_party(server.link)
        lifetime = wait_mapped(nodes[method][1])["lifetime_s"]
        expect(lifetime <= 4 or method != "pcp", f"lifetime by {method}: {lifetime} s")  # miniupnpd limits PCP's alone
    start = time.monotonic()
    while time.monotonic() - start < 10:
        for method, (home, node) in nodes.items():
            expect(mapping_of(node).get("outside"), f"{method}: {mapping_of(node)}")
        time.sleep(0.2)
    for method, (home, node) in nodes.items():
        expect_equal(len(home.opened_ports()), 1, f"{method} after two leases and more: {home.opened_ports()}")
        outside = mapping_of(node)["outside"]
        home.open_by(method)
        again = wait_until(lambda: home.opened_ports(), 15, f"{method}: open again after a restart", 0.05)
        print(f"    {method}: open again {again:.1f} s after the restart")
        expect_equal(wait_mapped(node)["outside"], outside, f"the same port by {method}")


@scenario("ports", limit_s=120)
def ports_honest_router(lab: Lab) -> None:
    """Behind a carrier's NAT the home router refuses by each protocol: believed, told, and never asked again."""
    network = lab.network()
    server = server_on(lab, network)
    for method in METHODS:
        node = node_behind(lab, network, "cgn-upnp", method)
        home = node.host.network
        assert isinstance(home, Router)
        home.open_by(method)
        home.nft(_COUNT_QUESTIONS)
        node.host_party(server.link)
        wait_until(lambda: mapping_of(node).get("problem"), 5, f"{method}: status says why there is no port", 0.1)
        mapping = mapping_of(node)
        expect_equal(mapping["methods"][method], "refused", f"what the router said by {method}: {mapping}")
        expect(mapping["outside"] is None and "ask the provider" in mapping["words"], f"{method}: {mapping}")
        expect(not home.opened_ports(), f"{method}: {home.opened_ports()}")
        expect("100.64." not in str({**node.status(), "self": {}}), "the carrier's inside address is told to others")
        netcheck = node.command("netcheck")
        expect(netcheck["upstream"] in ("carrier", "nat"), f"{method}: upstream is {netcheck['upstream']}")

    def questions() -> int:
        said = home.run("nft", "list", "counter", "inet", "asked", "questions").stdout
        return int(said.partition("packets ")[2].split()[0])
    assert method == "upnp"  # it is asked only thrice, so that all that still comes is for the others
    time.sleep(4)
    before = questions()
    time.sleep(4)
    expect(questions() - before <= 3, f"{questions() - before} questions in four seconds")


@scenario("ports")
def ports_server_at_home(lab: Lab) -> None:
    """`lanrage server` behind a home router: its ports are open, strangers host on it, and learn all about their NATs."""
    network = lab.network()
    home = network.router("home", "upnp", shape=ACCESS)
    home.open_by("pcp")
    server = Server(lab, network.lan_host("server", home))
    link = server.link.replace(str(server.host.ipv4), str(home.ipv4))
    wait_until(lambda: link in server.process.output(), 10, f"the server says its public link, {link}", 0.05)
    expect_equal(len(home.opened_ports()), 3, f"opened ports {home.opened_ports()}")
    status = json.loads(server.host.run(lab.binary, "server", "status", "--json",
                                        env=environment(str(server.folder))).stdout)
    expect_equal(status["port_mapping"]["outside"], f"{home.ipv4}:{PORT}", "server status")
    alice, bob = node_behind(lab, network, "easy", "alice"), node_behind(lab, network, "sym", "bob")
    bob.join(alice.host_party(link))
    check_all_pairs([alice, bob])
    # The mapping of a NAT shows only where a second port of the server is heard.
    for node, mapping in ((alice, "endpoint_independent"), (bob, "address_and_port_dependent")):
        expect_equal(node.command("netcheck")["ipv4"]["mapping"].replace("port_independent", "endpoint_independent"),
                     mapping, f"{node.name}'s NAT")
    server.process.stop(timeout=6)  # first it tells the two, who play by its relay, to use another
    wait_until(lambda: not home.opened_ports(), 5, "the router's ports are closed again", 0.1)


@scenario("ports")
def ports_relay_at_home(lab: Lab) -> None:
    """`lanrage relay` behind a home router: its ports are open, and players whom only a relay joins play by it."""
    network = lab.network()
    home = network.router("home", "upnp", shape=ACCESS)
    home.open_by("pcp")
    server = server_on(lab, network, "--no-relay")
    relay = Relay(lab, network.lan_host("relay", home), server)
    outside = f"{home.ipv4}:{PORT}"
    expect(outside in relay.process.output(), f"the relay says its public address, {outside}: {relay.process.output()}")
    expect_equal(len(home.opened_ports()), 2, f"opened ports {home.opened_ports()}")
    server.relays("allow", relay.key)
    wait_until(lambda: server.relays().get(relay.key) == "connected", 10, "the server names the relay")
    alice, bob = (node_behind(lab, network, "sym", name) for name in ("alice", "bob"))
    bob.join(alice.host_party(server.link))
    peer = bob.wait_path("alice", "relay", 5)
    expect_equal((peer["path"]["relay"], peer["path"]["endpoint"]), (relay.id, outside), "the way")
    check_all_pairs([alice, bob])
    for node in (alice, bob):
        node.command("down")
    # Their goodbyes are still on the way when the nodes have ended; the relay reports every 5 s.
    wait_until(lambda: server.status()["relays"][0]["report"]["sessions"] == 0, 12, "the relay reports nobody", 0.2)
    expect_equal(relay.process.stop(), 0, "how the relay ends")
    expect("sessions=0" in relay.process.output(), f"members who went down use no relay: {relay.process.output()}")
    wait_until(lambda: not home.opened_ports(), 5, "the router's ports are closed again", 0.1)
