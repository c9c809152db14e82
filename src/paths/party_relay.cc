#include "paths/party_relay.h"

#include <algorithm>

#include "paths/port_protocol.h"

namespace lanrage::paths {
namespace {

constexpr std::size_t kOthersMin = 2;  // of fewer nobody goes by this machine: a pair with it reaches it directly

bool lets_everybody_in(const FamilyReport& report) {
  return report.answered && !report.translated &&
         (report.filtering == Dependence::kEndpointIndependent || report.filtering == Dependence::kNotPort);
}

// Others may reach it, on whatever network.
bool is_reachable(const IpAddress& address) {
  return !address.is_loopback() && !address.is_link_local() && !address.is_unspecified() && !address.is_multicast();
}

}  // namespace

std::optional<RelayForParty> parse_relay_for_party(std::string_view text) {
  if (text == "auto") return RelayForParty::kAuto;
  if (text == "on") return RelayForParty::kOn;
  if (text == "off") return RelayForParty::kOff;
  return std::nullopt;
}

std::string why_no_relay(const RelayPlace& place) {
  if (place.wanted == RelayForParty::kOff) return "it is switched off (relay_for_party)";
  if (place.others < kOthersMin) return "there are no two others in the party";
  if (place.has_servers_relay) return "the server's own relay is on this machine";
  if (!place.knows_grants) return "the server has not said yet whom to let in";
  if (place.wanted == RelayForParty::kOn) return "";
  if (place.has_battery) return "this machine has a battery";
  if (place.is_metered) return "this network is metered";
  if (!place.opens_ports && open_addresses(place.network).empty())
    return "strangers' packets do not reach this machine, as far as is known";
  return "";
}

void keep_answers(DiscoveryReport& heard, const DiscoveryReport& fresh) {
  if (fresh.v4 && fresh.v4->answered) heard.v4 = fresh.v4;
  if (fresh.v6 && fresh.v6->answered) heard.v6 = fresh.v6;
}

std::vector<IpAddress> open_addresses(const NetworkView& view) {
  std::vector<IpAddress> out;
  for (const auto* report : {&view.discovery.v4, &view.discovery.v6}) {
    if (!*report || !lets_everybody_in(**report)) continue;
    const IpAddress& seen = (*report)->seen.address;
    const bool is_here = std::find(view.own.begin(), view.own.end(), seen) != view.own.end();
    if (is_here && is_reachable(seen) && !seen.is_private()) out.push_back(seen);
  }
  return out;
}

std::vector<Endpoint> relay_endpoints(const RelayPlace& place, std::uint16_t port,
                                      const std::optional<Endpoint>& outside) {
  std::vector<Endpoint> out;
  for (const IpAddress& address : open_addresses(place.network)) out.push_back({address, port});
  if (outside) out.push_back(*outside);
  if (!out.empty() || place.wanted != RelayForParty::kOn) return out;
  for (const bool v4 : {true, false}) {
    for (const IpAddress& address : place.network.own) {
      if (address.is_v4() == v4 && is_reachable(address) && out.size() < wire::kMemberRelayEndpointsMax)
        out.push_back({address, port});
    }
  }
  return out;
}

}  // namespace lanrage::paths
