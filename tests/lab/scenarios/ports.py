"""Parties hosted without a server, behind a router that opens ports on request, or does not, or lies.

    alice -- router (upnp: miniupnpd) -- internet -- router (sym) -- bob
"""
from __future__ import annotations

import sys

from namespace import wait_until
from party import ACCESS, PORT, Node, check_all_pairs, node_behind
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
    expect_equal(len(router.opened_ports()), 3, f"opened ports {router.opened_ports()}")
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
    expect_equal(len(home.opened_ports()), 6, f"opened ports {home.opened_ports()}")
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
import http.server, socket, sys, threading
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
threading.Thread(target=http.server.HTTPServer(("", 8080), Page).serve_forever, daemon=True).start()
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
