"""All scenarios, and which of them belong to the default set."""
from scenarios import nat_kinds, link_figures  # noqa: F401
from scenarios import wire_pages, wireguard_baseline, wireguard_attacks, wireguard_interop, wireguard_roaming  # noqa: F401
from scenarios import matrix, party_pairs, parties, path_mtu, lan_games  # noqa: F401
from scenarios import games_search  # noqa: F401
from scenarios import cli, names, operations  # noqa: F401
from scenarios import failover, quality  # noqa: F401
from scenarios import clocks, friend_relay, netcheck, ports, punching, relays, safety, servers, tls_relay  # noqa: F401

# What ctest runs (test `lab`), in this order.
DEFAULT = [
    "nat_kinds_easy", "nat_kinds_cone", "nat_kinds_sym", "nat_kinds_cgn_easy", "nat_kinds_cgn_sym", "nat_kinds_blocked",
    "nat_kinds_fw", "nat_kinds_forgets", "nat_kinds_ports", "netcheck_second_opinion", "netcheck_words",
    "netcheck_why",
    "link_figures",
    "wireguard_go_baseline", "wg_interop_v4", "wg_interop_v6", "wg_rekey", "wg_wrong_psk", "wg_quick", "wg_replay", "wire_pages",
    "party_pair_easy_easy", "party_pair_cone_sym", "party_pair_sym_sym", "party_pair_cgneasy_cgneasy",
    "punching_symsequential_easy", "punching_sym_easy", "punching_hairpin",
    "matrix_easymoved_restricted", "matrix_onetoone_sym", "matrix_upnpsym_cgndual", "matrix_natpmp_cgnsym",
    "matrix_fw4_sym", "matrix_double_mtu1300silent", "matrix_dual_dualdead4", "matrix_dualdead6_open6",
    "matrix_udp443_easy",
    "path_mtu_mtu1300silent", "path_mtu_mtu1280dual", "path_mtu_party",
    "party_pair_fw_fw", "party_pair_easy_fw", "party_eight",
    "party_node_killed", "party_state_writes", "party_disk_full", "party_udpblock", "party_tcp443",
    "party_wrong_invites", "party_lan_direct", "party_server_restart", "party_network_changed", "party_without_server",
    "failover_direct_path", "failover_nat_forgets", "failover_sleep", "failover_sleep_elsewhere", "failover_other_way_out",
    "lan_broadcast", "lan_answer", "lan_bound_elsewhere", "lan_java_group", "lan_no_default_route",
    "games_party_openttd", "games_party_freeciv", "games_party_teeworlds",
    "cli_usage", "cli_node", "cli_party", "cli_invites", "cli_log_context", "cli_machine", "cli_server_status",
    "cli_firewall", "cli_demo", "names_resolved",
    "tasks_order", "operations_conflict", "operations_twice", "operations_two_nodes", "operations_join_and_leave", "operations_killed",
    "relay_alone", "relay_killed", "relay_drained", "relay_of_server_drained", "relay_hostile", "relay_friend",
    "ports_host_at_home", "ports_refused", "ports_no_way_out", "ports_each_method", "ports_server_at_home",
    "ports_relay_at_home",
    "clocks_wrong", "clocks_jump",
    "servers_share_postgresql", "servers_share_nats", "servers_split_players", "servers_without_database_or_bus",
]
