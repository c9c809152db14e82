#include "paths/port_choice.h"

#include <cstdlib>
#include <numeric>

namespace lanrage::paths {

PortPattern port_pattern(std::span<const std::uint16_t> ports) {
  PortPattern pattern;
  for (std::size_t i = 1; i < ports.size(); ++i) {
    const int step = static_cast<std::int16_t>(ports[i] - ports[i - 1]);
    if (step == 0) continue;
    const bool turns = pattern.step != 0 && (step < 0) != (pattern.step < 0);
    if (turns || std::abs(step) > kPortStepMax) return {PortChoice::kRandom, 0};
    const int size = std::gcd(step, pattern.step);
    pattern = {PortChoice::kSequential, step < 0 ? -size : size};
  }
  return pattern;
}

}  // namespace lanrage::paths
