// Why a path is not direct, and what would make it so: a table from what both ends know of their networks.
// Functions of their arguments; any thread.
#pragma once

#include <cstdint>
#include <string>

namespace lanrage::paths {

// One end as far as it is known; what is not known is false.
struct NetworkEnd {
  bool v4 = false, v6 = false;  // it has candidates of the family
  bool udp_blocked = false;
  bool symmetric = false;           // another public port for every destination
  bool counts = false;              // and those follow each other
  bool is_behind_nat = false;       // its router stands behind a carrier's NAT or a second router
  bool is_mapping_refused = false;  // its router was asked to open a port and does not
};

enum class Reason : std::uint8_t {
  kBlockedHere,
  kBlockedThere,
  kFamilies,  // one has only IPv4, the other only IPv6
  kSymmetricBoth,
  kSymmetricHere,
  kSymmetricThere,
  kDoubleNatBoth,
  kDoubleNatHere,
  kDoubleNatThere,
  kMappingRefused,  // by a router of either end
  kFiltered,        // nothing else is known: a firewall
};

// Of a path by a relay that is reached over TLS.
inline constexpr const char* kWhyOverTls =
    "UDP does not get out of this network, so all goes to the relay over TLS, where one lost packet delays the next "
    "ones; "
    "have outgoing UDP allowed, or use another network";

// The first that holds, in the order above.
Reason why_not_direct(const NetworkEnd& here, const NetworkEnd& there);
// The reason and one thing to do, in one sentence without a full stop; `port` is this node's UDP port.
std::string explain(Reason reason, const NetworkEnd& here, const NetworkEnd& there, std::uint16_t port);

}  // namespace lanrage::paths
