// How much broadcast one member may cause: a token bucket per origin and destination port, and one per origin.
//
// Generous: a game never meets it; a loop outside of us or a broken program does. State of the control thread.
#pragma once

#include <cstdint>
#include <map>
#include <utility>

#include "base/time.h"
#include "wire/lan.h"

namespace lanrage::lan {

struct Rate {
  double per_second = 0;
  double burst = 0;
};

struct RateLimits {
  Rate per_port{2000, 4000};       // of one origin to one destination port
  Rate service_discovery{20, 60};  // the same for mDNS and SSDP
  Rate per_origin{6000, 12'000};   // of one origin in all
};

class RateLimiter {
 public:
  static constexpr std::size_t kBucketsMax = 4096;
  static constexpr Duration kSweepInterval = std::chrono::milliseconds(100);

  explicit RateLimiter(const RateLimits& limits) : limits_(limits) {}
  // Takes one packet's worth. False: over the limit, or too many ports at once to keep account of.
  bool allow(Time now, const wire::LanOrigin& origin, std::uint16_t port);

 private:
  struct Bucket {
    double tokens = 0;
    Time filled{};
  };
  using Key = std::pair<wire::LanOrigin, std::int32_t>;  // port, or kWhole
  static constexpr std::int32_t kWhole = -1;

  const Rate& rate_of(std::int32_t port) const;
  bool take(Time now, const Key& key);
  bool make_room(Time now);

  RateLimits limits_;
  std::map<Key, Bucket> buckets_;
  Time swept_{};
  bool swept_once_ = false;
};

}  // namespace lanrage::lan
