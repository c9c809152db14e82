#include "paths/why.h"

#include "base/format.h"

namespace lanrage::paths {
namespace {

// What opens one of the two networks. A router behind another NAT opens nothing.
std::string open_a_port(const NetworkEnd& here, const NetworkEnd& there, std::uint16_t port) {
  if (here.is_behind_nat && there.is_behind_nat)
    return "no port can be opened behind the providers' or second routers' NATs, so enable IPv6 on both sides";
  if (here.is_behind_nat)
    return "the router here is itself behind another NAT, so enable UPnP on the other side's router";
  if (here.is_mapping_refused)
    return format("forward UDP port {} to this machine by hand on the router here, which opens none itself", port);
  return format("forward UDP port {} on the router here or enable UPnP there", port);
}

// "a random port for every destination (symmetric NAT)"
std::string port_habit(const NetworkEnd& end) {
  return format("{} port for every destination (symmetric NAT)", end.counts ? "a new" : "a random");
}

std::string cause(Reason reason, const NetworkEnd& here, const NetworkEnd& there) {
  switch (reason) {
    case Reason::kBlockedHere:
      return "this network blocks UDP; use another network or have outgoing UDP allowed";
    case Reason::kBlockedThere:
      return "the other side's network blocks UDP; it needs another network or one rule for UDP";
    case Reason::kFamilies:
      return "one side has only IPv4 and the other only IPv6, so that only a relay can join them; "
             "enable IPv6 on the side that lacks it";
    case Reason::kSymmetricBoth:
      return "both networks use " + port_habit(here.counts ? here : there);
    case Reason::kSymmetricHere:
      return "this network uses " + port_habit(here) + ", which the other side's router does not let in";
    case Reason::kSymmetricThere:
      return "the other side's network uses " + port_habit(there) + ", which the router here does not let in";
    case Reason::kDoubleNatBoth:
      return "both routers are themselves behind another NAT (a carrier's or a second router's), and no probe passes";
    case Reason::kDoubleNatHere:
      return "the router here is itself behind another NAT (a carrier's or a second router's), and no probe passes";
    case Reason::kDoubleNatThere:
      return "the other side's router is itself behind another NAT (a carrier's or a second router's), and no probe "
             "passes";
    case Reason::kMappingRefused:
      return "no direct probe was answered, and the router asked to open a port does not";
    case Reason::kFiltered:
      return "no direct probe was answered, so a firewall on one side drops them";
  }
  return "";
}

}  // namespace

Reason why_not_direct(const NetworkEnd& here, const NetworkEnd& there) {
  const bool families_known = (here.v4 || here.v6) && (there.v4 || there.v6);
  if (here.udp_blocked) return Reason::kBlockedHere;
  if (there.udp_blocked) return Reason::kBlockedThere;
  if (families_known && !(here.v4 && there.v4) && !(here.v6 && there.v6)) return Reason::kFamilies;
  if (here.symmetric) return there.symmetric ? Reason::kSymmetricBoth : Reason::kSymmetricHere;
  if (there.symmetric) return Reason::kSymmetricThere;
  if (here.is_behind_nat) return there.is_behind_nat ? Reason::kDoubleNatBoth : Reason::kDoubleNatHere;
  if (there.is_behind_nat) return Reason::kDoubleNatThere;
  return here.is_mapping_refused || there.is_mapping_refused ? Reason::kMappingRefused : Reason::kFiltered;
}

std::string explain(Reason reason, const NetworkEnd& here, const NetworkEnd& there, std::uint16_t port) {
  std::string why = cause(reason, here, there);
  switch (reason) {
    case Reason::kBlockedHere:
    case Reason::kBlockedThere:
    case Reason::kFamilies:
      return why;
    case Reason::kMappingRefused:
      if (here.is_mapping_refused)
        return format("{}; forward UDP port {} to this machine by hand on the router here", why, port);
      return why + "; have the other side forward its UDP port by hand on its router";
    case Reason::kFiltered:
      return format("{}; allow UDP port {} here, and do the same on the other side", why, port);
    default:
      return format("{}; {}", why, open_a_port(here, there, port));
  }
}

}  // namespace lanrage::paths
