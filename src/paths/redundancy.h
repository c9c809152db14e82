// Whether the game packets for a peer go out on two paths at once: the same sealed packet on each, whose second copy
// the replay window drops, so that what is lost is what both lose, and what arrives is what is first.
//
// `auto` begins when the best path loses kLossBegin of its probes (two at least) or its jitter reaches kJitterBegin,
// and ends when both have been below half of that for kCalm. A value without a clock; owned by the control thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/time.h"
#include "paths/quality.h"

namespace lanrage::paths {

enum class Redundancy : std::uint8_t { kAuto, kOff, kAlways };
const char* redundancy_name(Redundancy redundancy);
std::optional<Redundancy> parse_redundancy(std::string_view text);

class RedundancySwitch {
 public:
  static constexpr double kLossBegin = 2;                                  // percent
  static constexpr Duration kJitterBegin = std::chrono::milliseconds{10};  // RFC 3550's, smoothed
  static constexpr Duration kCalm = std::chrono::seconds{30};
  static constexpr Duration kSlowerMax = std::chrono::milliseconds{100};  // of the second path: later is no help

  // `best` is the quality of the chosen path. Answers whether a second path is wanted from now on.
  bool update(Time now, Redundancy redundancy, const Quality& best);
  bool wanted() const { return wanted_; }

 private:
  bool wanted_ = false;
  Time troubled_{};  // last
};

}  // namespace lanrage::paths
