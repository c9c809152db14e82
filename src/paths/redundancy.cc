#include "paths/redundancy.h"

namespace lanrage::paths {

const char* redundancy_name(Redundancy redundancy) {
  switch (redundancy) {
    case Redundancy::kAuto:
      return "auto";
    case Redundancy::kOff:
      return "off";
    case Redundancy::kAlways:
      return "always";
  }
  return "auto";
}

std::optional<Redundancy> parse_redundancy(std::string_view text) {
  for (const Redundancy redundancy : {Redundancy::kAuto, Redundancy::kOff, Redundancy::kAlways})
    if (text == redundancy_name(redundancy)) return redundancy;
  return std::nullopt;
}

bool RedundancySwitch::update(Time now, Redundancy redundancy, const Quality& best) {
  if (redundancy != Redundancy::kAuto) return wanted_ = redundancy == Redundancy::kAlways;
  const double loss = best.lost() < 2 ? 0 : best.loss_percent().value_or(0);
  const Duration jitter = best.jitter().value_or(Duration::zero());
  if (loss >= kLossBegin || jitter >= kJitterBegin) wanted_ = true;
  if (loss >= kLossBegin / 2 || jitter >= kJitterBegin / 2) troubled_ = now;
  if (now - troubled_ >= kCalm) wanted_ = false;
  return wanted_;
}

}  // namespace lanrage::paths
