// What a node knows about its own network: the result of asking servers how they see it.
#pragma once

#include <vector>

#include "base/ip.h"
#include "wire/signal.h"

namespace lanrage::paths {

using wire::Mapping;

struct NatReport {
  Mapping mapping = Mapping::kUnknown;
  std::vector<Endpoint> public_endpoints{};  // as servers saw them, each once; IPv4 before IPv6
  bool udp_blocked = false;                  // no server answered over UDP, on either family
  friend bool operator==(const NatReport&, const NatReport&) = default;
};

}  // namespace lanrage::paths
