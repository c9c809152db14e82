// Whether a NAT that gives every destination another port can be foreseen. Functions of their arguments; any thread.
#pragma once

#include <cstdint>
#include <span>

#include "wire/signal.h"

namespace lanrage::paths {

using wire::PortChoice;

// Between two mappings made in quick order a counter moves by no more than this, others' mappings included: two random
// ports are so close once in a thousand times, three in a million.
inline constexpr int kPortStepMax = 32;

struct PortPattern {
  PortChoice choice = PortChoice::kUnknown;  // unknown: there are not two different ports
  int step = 0;                              // of a sequential one: from each mapping to the next; never 0
  friend bool operator==(const PortPattern&, const PortPattern&) = default;
};

// `ports` as mappings that were made one right after the other got them; repeated ones are one mapping.
PortPattern port_pattern(std::span<const std::uint16_t> ports);

// `count` steps after `port`, around the end of the port numbers.
constexpr std::uint16_t port_after(std::uint16_t port, int step, int count) {
  return static_cast<std::uint16_t>(port + step * count);
}

}  // namespace lanrage::paths
