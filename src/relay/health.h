// How well a relay would serve one more, from how much of what it has is in use.
//
// The load is the fuller of its thread and its table of sessions. Health is 100 up to half of that load and falls to 0
// at all of it; a machine that others keep busy costs up to half, one that runs out of memory all of it. Pure.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "relay/server.h"

namespace lanrage::relay {

struct Usage {          // shares, 0 to 1
  double thread = 0;    // of one core, by the relay's thread
  double sessions = 0;  // of sessions_max
  double cpu = 0;       // of the machine's cores, by everybody
  double memory = 0;    // of the machine's memory, by everybody
};

struct Health {
  std::uint8_t health = 100;  // 0 to 100
  std::uint8_t load = 0;      // 0 to 100
  friend bool operator==(const Health&, const Health&) = default;
};
Health health_of(const Usage& usage);

struct Drops {
  std::string_view reason;  // small letters and _
  std::uint64_t packets = 0;
};
// What was dropped, by reason, zeroes too.
std::vector<Drops> drops_of(const Server::Stats& stats);

}  // namespace lanrage::relay
