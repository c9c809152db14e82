#include "lan/rate_limit.h"

#include <algorithm>

#include "lan/rules.h"

namespace lanrage::lan {
namespace {

double tokens_at(Time now, double tokens, Time filled, const Rate& rate) {
  const double elapsed = std::chrono::duration<double>(now - filled).count();
  return std::min(rate.burst, tokens + elapsed * rate.per_second);
}

}  // namespace

const Rate& RateLimiter::rate_of(std::int32_t port) const {
  if (port == kWhole) return limits_.per_origin;
  return is_service_discovery(static_cast<std::uint16_t>(port)) ? limits_.service_discovery : limits_.per_port;
}

bool RateLimiter::allow(Time now, const wire::LanOrigin& origin, std::uint16_t port) {
  return take(now, {origin, port}) && take(now, {origin, kWhole});
}

bool RateLimiter::take(Time now, const Key& key) {
  const Rate& rate = rate_of(key.second);
  auto found = buckets_.find(key);
  if (found == buckets_.end()) {
    if (buckets_.size() >= kBucketsMax && !make_room(now)) return false;
    found = buckets_.emplace(key, Bucket{rate.burst, now}).first;
  }
  Bucket& bucket = found->second;
  bucket.tokens = tokens_at(now, bucket.tokens, bucket.filled, rate);
  bucket.filled = now;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

bool RateLimiter::make_room(Time now) {
  if (swept_once_ && now - swept_ < kSweepInterval) return false;
  swept_once_ = true;
  swept_ = now;
  // A bucket that is full again says no more than a new one would.
  for (auto it = buckets_.begin(); it != buckets_.end();) {
    const Rate& rate = rate_of(it->first.second);
    const bool full = tokens_at(now, it->second.tokens, it->second.filled, rate) >= rate.burst;
    it = full ? buckets_.erase(it) : std::next(it);
  }
  return buckets_.size() < kBucketsMax;
}

}  // namespace lanrage::lan
