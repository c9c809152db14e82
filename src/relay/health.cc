#include "relay/health.h"

#include <algorithm>
#include <cmath>

namespace lanrage::relay {
namespace {

constexpr double kLoadFree = 0.5;    // up to here nobody waits
constexpr double kCpuFree = 0.5;     // likewise
constexpr double kCpuWeight = 0.5;   // the kernel shares a busy machine out fairly; a relay needs little of it
constexpr double kMemoryFree = 0.8;  // caches fill memory that is free

// 0 up to `free`, 1 when all is used.
double strain(double used, double free) { return std::clamp((used - free) / (1 - free), 0.0, 1.0); }

std::uint8_t percent(double share) { return static_cast<std::uint8_t>(std::lround(100 * std::clamp(share, 0.0, 1.0))); }

}  // namespace

Health health_of(const Usage& usage) {
  const double load = std::max(usage.thread, usage.sessions);
  const double health = (1 - strain(load, kLoadFree)) * (1 - kCpuWeight * strain(usage.cpu, kCpuFree)) *
                        (1 - strain(usage.memory, kMemoryFree));
  return {percent(health), percent(load)};
}

std::vector<Drops> drops_of(const Server::Stats& stats) {
  return {{"unknown_protocol", stats.dropped_unknown_protocol},
          {"malformed", stats.dropped_malformed},
          {"bad_cookie", stats.dropped_bad_cookie},
          {"bad_mac", stats.dropped_bad_mac},
          {"bad_grant", stats.dropped_bad_grant},
          {"expired_grant", stats.dropped_expired_grant},
          {"no_keys", stats.dropped_no_keys},
          {"full", stats.dropped_full},
          {"registration_rate", stats.dropped_registration_rate},
          {"unknown_source", stats.dropped_unknown_source},
          {"unknown_index", stats.dropped_unknown_index},
          {"absent", stats.absent},
          {"rate", stats.dropped_rate}};
}

}  // namespace lanrage::relay
