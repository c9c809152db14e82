#include "lan/rules.h"

#include <algorithm>
#include <array>

namespace lanrage::lan {
namespace {

// Sorted by port. Each is something that answers, configures or describes this machine rather than a game.
constexpr std::array kNeverForwarded = {
    PortRule{7, "echo"},
    PortRule{9, "Wake-on-LAN"},
    PortRule{67, "DHCP"},
    PortRule{68, "DHCP"},
    PortRule{111, "portmapper"},
    PortRule{123, "NTP"},
    PortRule{137, "NetBIOS names"},
    PortRule{138, "NetBIOS browser"},
    PortRule{161, "SNMP"},
    PortRule{162, "SNMP"},
    PortRule{177, "XDMCP"},
    PortRule{319, "precision time"},
    PortRule{320, "precision time"},
    PortRule{427, "service location"},
    PortRule{520, "RIP"},
    PortRule{521, "RIPng"},
    PortRule{546, "DHCPv6"},
    PortRule{547, "DHCPv6"},
    PortRule{631, "printer browsing"},
    PortRule{1434, "SQL Server browser"},
    PortRule{1716, "KDE Connect"},
    PortRule{1985, "HSRP"},
    PortRule{3222, "GLBP"},
    PortRule{3289, "Epson printers"},
    PortRule{3702, "WS-Discovery"},
    PortRule{5093, "licence servers"},
    PortRule{5246, "wireless controllers"},
    PortRule{5350, "port mapping announcements"},
    PortRule{5351, "port mapping"},
    PortRule{5355, "LLMNR"},
    PortRule{5678, "MikroTik discovery"},
    PortRule{6771, "BitTorrent local discovery"},
    PortRule{7359, "Jellyfin discovery"},
    PortRule{8610, "Canon printers"},
    PortRule{8612, "Canon printers"},
    PortRule{10001, "Ubiquiti discovery"},
    PortRule{17500, "Dropbox LAN sync"},
    PortRule{21027, "Syncthing discovery"},
    PortRule{32410, "Plex discovery"},
    PortRule{32412, "Plex discovery"},
    PortRule{32413, "Plex discovery"},
    PortRule{32414, "Plex discovery"},
    PortRule{41821, "LANrage's search for members"},
    PortRule{57621, "Spotify Connect"},
};

}  // namespace

bool is_lan_destination(const IpAddress& destination, const IpPrefix& party) {
  if (destination.is_v6()) {
    // RFC 4291 section 2.7: the scope is the low nibble of the second byte; 0 is reserved, 1 never leaves a machine.
    return destination.is_multicast() && (destination.bytes()[1] & 0x0f) >= 2;
  }
  if (destination.is_limited_broadcast() || destination.is_multicast()) return true;
  return party.address.is_v4() && destination == party.broadcast();
}

bool is_wide_guess(const IpAddress& destination, const IpPrefix& party) {
  if (!destination.is_v4() || !party.address.is_v4()) return false;
  return destination == IpPrefix{party.address, 8}.broadcast() ||
         destination == IpPrefix{party.address, 16}.broadcast();
}

std::span<const PortRule> never_forwarded() { return kNeverForwarded; }

const char* never_forwarded(std::uint16_t port) {
  const auto found = std::lower_bound(kNeverForwarded.begin(), kNeverForwarded.end(), port,
                                      [](const PortRule& rule, std::uint16_t p) { return rule.port < p; });
  return found != kNeverForwarded.end() && found->port == port ? found->what : nullptr;
}

bool is_service_account(std::uint32_t uid) {
  const bool system_account = uid > 0 && uid < 1000;       // Debian policy 9.2.2
  const bool dynamic_user = uid >= 61184 && uid <= 65519;  // systemd DynamicUser=
  return system_account || dynamic_user;
}

}  // namespace lanrage::lan
