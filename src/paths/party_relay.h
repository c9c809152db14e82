// Whether this machine relays for its own party, and where others would find it. Pure functions of what is known of the
// machine and its network; any thread. docs/decisions/relay-for-party.md says why these rules.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "paths/netcheck.h"

namespace lanrage::paths {

enum class RelayForParty : std::uint8_t { kAuto, kOn, kOff };
std::optional<RelayForParty> parse_relay_for_party(std::string_view text);  // "auto", "on", "off"

struct RelayPlace {
  RelayForParty wanted = RelayForParty::kAuto;
  std::size_t others = 0;          // members of the party beside this machine's
  bool knows_grants = false;       // whose grants count
  bool has_servers_relay = false;  // one that the party's server names is on this machine
  bool has_battery = false;
  bool is_metered = false;
  bool opens_ports = false;  // the router here led the node's port to this machine, from a public address
  NetworkView network{};
};

// Empty: it relays. Else why it does not, a clause without a full stop.
std::string why_no_relay(const RelayPlace& place);

// Takes over what servers answered of a family: that they are silent says nothing about who gets in.
void keep_answers(DiscoveryReport& heard, const DiscoveryReport& fresh);

// Public addresses of this machine at which anybody's packets get in, at every port: one a family at most, IPv4 first.
std::vector<IpAddress> open_addresses(const NetworkView& view);

// Where members find a relay at that port of this machine: at its open addresses, and where the router leads `outside`
// to it. With `kOn` at its own addresses, if there is no other. At most wire::kMemberRelayEndpointsMax.
std::vector<Endpoint> relay_endpoints(const RelayPlace& place, std::uint16_t port,
                                      const std::optional<Endpoint>& outside);

}  // namespace lanrage::paths
