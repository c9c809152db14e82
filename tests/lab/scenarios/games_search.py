"""Games as Debian has them: a client's own LAN search finds the server on the other machine.

    games_bridge_NAME   alice ── switch ── bob                        a LAN, what the game was made for
    games_party_NAME    alice ── easy ── internet ── cone ── bob      two members of a party

Alice serves, bob searches. See docs/games.md for how each of them searches.
"""
from __future__ import annotations

import functools
from typing import Callable

from namespace import wait_until
from party import node_behind, server_on
from play import Ear, Player
from scenario import Lab, add

FOUND_S = 15.0
OPENTTD_WINDOW = (80, 140, 160)


def on_bridge(lab: Lab) -> tuple[Player, Player]:
    network = lab.network()
    router = network.router("home", "easy")
    hosts = [network.lan_host(name, router) for name in ("alice", "bob")]
    alice, bob = (Player(lab, host, host.ipv4 or "") for host in hosts)
    return alice, bob


def in_party(lab: Lab) -> tuple[Player, Player]:
    network = lab.network()
    server = server_on(lab, network)
    nodes = [node_behind(lab, network, kind, name) for kind, name in (("easy", "alice"), ("cone", "bob"))]
    nodes[1].join(nodes[0].host_party(server.link))
    for node, other in (nodes, reversed(nodes)):
        node.wait_path(other.name, "direct", 10)
    alice, bob = (Player(lab, node.host, node.address()) for node in nodes)
    return alice, bob


def wait_shown(act: Callable[[], None], shown: Callable[[], object], what: str) -> None:
    """Acts again and again until it had an effect: what is not drawn yet takes no click and no key."""
    def done() -> bool:
        if not shown():
            act()
        return bool(shown())
    wait_until(done, FOUND_S, what, 0.7)


def chocolate_doom(alice: Player, bob: Player) -> None:
    """Chocolate Doom: `-localsearch` lists the server."""
    alice.wait_port(2342, alice.play("chocolate-server", "-privateserver"))
    search = bob.play("chocolate-doom", "-localsearch")
    wait_until(lambda: not search.running(), FOUND_S, "the search has ended")
    wait_until(lambda: f" {alice.address} " in search.output(), 0.1, f"the search lists {alice.address}")


def openarena(alice: Player, bob: Player) -> None:
    """OpenArena (ioquake3): `localservers` gets the server's answer."""
    common = ["+set", "com_basegame", "baseoa", "+set", "com_protocol", 71, "+set", "com_legacyprotocol", 71,
              "+set", "com_homepath", ".openarena"]
    server = alice.play("/usr/lib/ioquake3/ioq3ded", "+set", "fs_basepath", "/usr/lib/openarena-server", *common,
                        "+set", "dedicated", 1, "+map", "am_galmevish2")
    wait_until(lambda: "AAS initialized" in server.output(), 15, "the server has loaded its map")
    client = bob.play("/usr/lib/ioquake3/ioquake3", "+set", "fs_basepath", "/usr/lib/openarena", *common,
                      "+set", "r_mode", -1, "+set", "r_customwidth", 320, "+set", "r_customheight", 240,
                      "+set", "r_fullscreen", 0, "+set", "cl_renderer", "opengl1", "+set", "s_initsound", 0,
                      "+set", "developer", 1, "+wait", 50, "+localservers", screen=True)
    wait_until(lambda: f"CL packet {alice.address}:27960: infoResponse" in client.output(), FOUND_S,
               f"the client takes the answer of {alice.address}")


def openttd(alice: Player, bob: Player) -> None:
    """OpenTTD: a click on "Search LAN" finds the server, and asks it about its game."""
    config = alice.write("openttd.cfg", "[network]\nserver_game_type = local\n")
    server = alice.play("openttd", "-D", "-g", "-x", "-d", "net=3", "-c", config)
    config = bob.write("openttd.cfg", "")
    client = bob.play("openttd", "-x", "-v", "sdl", "-s", "null", "-m", "null", "-r", "640x480", "-d", "net=5",
                      "-c", config, screen=True)
    alice.wait_port(3979, server)
    screen = bob.screen
    wait_shown(lambda: screen.click(398, 187), lambda: screen.colour(500, 300) == OPENTTD_WINDOW, "Multiplayer")
    wait_shown(lambda: screen.click(190, 462), lambda: f"response from {alice.address}:3979" in client.output(),
               f"the answer of {alice.address}")
    wait_until(lambda: f"Client connected from {bob.address}" in server.output(), FOUND_S,
               "the client asks the server it found")


def freeciv(alice: Player, bob: Player) -> None:
    """Freeciv: "Join LAN Server" lists the server, which answers the question to another group."""
    server = alice.play("freeciv-server", "--identity", alice.address, "--saves", alice.home)
    alice.wait_port(4555, server)
    ear = Ear(bob.host)
    bob.play("freeciv-sdl2", "--Plugin", "none", screen=True)
    wait_shown(lambda: bob.screen.click(544, 400), lambda: ear.sent(4555), "the client asks the LAN")
    wait_until(lambda: min(bob.screen.colour(300, 211)) > 200, FOUND_S, "the list is drawn, with a line in it", 0.1)


def teeworlds(alice: Player, bob: Player) -> None:
    """Teeworlds: the client gets a token, asks the LAN again with it, and gets the server's name."""
    server = alice.play("teeworlds-server", "sv_map dm1", "sv_name alices server", "sv_register 0")
    alice.wait_port(8303, server)
    ear = Ear(bob.host)
    bob.play("teeworlds", "gfx_fullscreen 0", "gfx_screen_width 640", "gfx_screen_height 480", "snd_enable 0",
             "cl_skip_start_menu 1", "ui_browser_page 1", "cl_languagefile languages/english.json", screen=True)
    wait_until(lambda: any(b"alices server" in d.payload for d in ear.heard(alice.address, 8303)), FOUND_S,
               "the server says its name")


def bzflag(alice: Player, bob: Player) -> None:
    """BZFlag: "Find Server" asks the card's subnet, and the server answers."""
    # bzfs never answers a port whose low byte is 0 to 3: it forgets the byte order when it refuses ports below 1024.
    bob.host.sysctl({"ipv4/ip_local_port_range": "40004 40191"})
    alice.wait_port(5154, alice.play("bzfs"))
    ear = Ear(bob.host)
    bob.play("bzflag", "-window", "640x480", "-mute", screen=True)
    # Join Game, then Find Server.
    wait_shown(lambda: bob.screen.press("Return"), lambda: ear.sent(5154), "the client asks the LAN")
    wait_until(lambda: ear.heard(alice.address, 5154), FOUND_S, "the server's answer")


def armagetron(alice: Player, bob: Player) -> None:
    """Armagetron Advanced: "LAN Multiplayer" asks seven ports, and then the server it found."""
    folders = ["--datadir", "/usr/share/games/armagetronad", "--configdir", "/etc/armagetronad", "--userdatadir"]
    alice.write("var/user.cfg", "")
    server = alice.play("/usr/games/armagetronad-dedicated.real", *folders, alice.home, "-d")
    bob.write("var/user.cfg", "FIRST_USE 0\nLANGUAGE_FIRST American English\n")
    ear = Ear(bob.host)
    bob.play("/usr/games/armagetronad.real", *folders, bob.home, "-window", screen=True)
    alice.wait_port(4534, server)
    screen = bob.screen
    wait_until(lambda: min(screen.colour(10, 10)) > 20, FOUND_S, "the title is shown", 0.1)
    wait_shown(lambda: screen.press("Left"), lambda: min(screen.colour(10, 10)) < 20, "the menu is shown")
    for keys in (["Return"], ["Return"], ["Down", "Return"]):  # Play Game, Multiplayer, LAN Multiplayer
        shown = screen.bright(30, 50)
        screen.press(*keys)
        wait_until(lambda: screen.bright(30, 50) != shown, 3, "the next menu is shown", 0.1)
    # Only who took the first answer asks the server itself; it says its name with each second letter swapped.
    wait_until(lambda: any(b"nUanem" in d.payload for d in ear.heard(alice.address, 4534)), FOUND_S,
               "the server says its name")


def blobby(alice: Player, bob: Player) -> None:
    """Blobby Volley 2: "LAN Game" asks everybody, connects to the server that answers, and gets its name."""
    alice.wait_port(1234, alice.play("blobby-server", "--no-daemon"))
    ear = Ear(bob.host)
    bob.play("blobby", screen=True)
    wait_shown(lambda: bob.screen.click(450, 292), lambda: ear.sent(1234), "the client asks the LAN")
    wait_until(lambda: any(b"Blobby Volley 2 Server" in d.payload for d in ear.heard(alice.address, 1234)), FOUND_S,
               "the server says its name")


def ddnet(alice: Player, bob: Player) -> None:
    """DDNet: the page "LAN" asks eight ports, and gets the server's name."""
    alice.wait_port(8303, alice.play("DDNet-Server", "sv_name alices server", "sv_register 0"))
    ear = Ear(bob.host)
    bob.play("DDNet", "gfx_fullscreen 0", "gfx_screen_width 640", "gfx_screen_height 480", "gfx_backend OpenGL",
             "gfx_gl_major 1", "gfx_gl_minor 1", "snd_enable 0", "cl_skip_start_menu 1", "cl_show_welcome 0", "ui_page 7",
             "player_name bob", screen=True)
    wait_until(lambda: any(b"alices server" in d.payload for d in ear.heard(alice.address, 8303)), FOUND_S,
               "the server says its name")


Game = Callable[[Player, Player], None]
Room = Callable[[Lab], tuple[Player, Player]]
GAMES: list[Game] = [chocolate_doom, openarena, openttd, freeciv, teeworlds, bzflag, armagetron, blobby, ddnet]
ROOMS: dict[str, Room] = {"bridge": on_bridge, "party": in_party}


def played(room: Room, game: Game, lab: Lab) -> None:
    game(*room(lab))


for _room, _gather in ROOMS.items():
    for _game in GAMES:
        add(f"games_{_room}_{_game.__name__}", "games", _game.__doc__ or "", functools.partial(played, _gather, _game),
            limit_s=40)
