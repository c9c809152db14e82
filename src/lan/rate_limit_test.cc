#include "lan/rate_limit.h"

#include <gtest/gtest.h>

#include "lan/rules.h"

namespace lanrage::lan {
namespace {

constexpr Time at(double seconds) { return Time{Duration{static_cast<std::int64_t>(seconds * 1e9)}}; }
constexpr wire::LanOrigin kAlice{1};
constexpr wire::LanOrigin kBob{2};

TEST(RateLimiter, LetsAThousandASecondPassForAMinute) {
  RateLimiter limiter{RateLimits{}};
  for (int n = 0; n < 60'000; ++n) ASSERT_TRUE(limiter.allow(at(n / 1000.0), kAlice, 27960)) << n;
}

TEST(RateLimiter, StopsAFloodAndLetsItGoOnLater) {
  RateLimiter limiter{RateLimits{}};
  int passed = 0;
  for (int n = 0; n < 10'000; ++n) passed += limiter.allow(at(0), kAlice, 27960) ? 1 : 0;
  EXPECT_EQ(passed, 4000);
  EXPECT_TRUE(limiter.allow(at(0), kAlice, 27961)) << "another port";
  EXPECT_TRUE(limiter.allow(at(0), kBob, 27960)) << "another member";
  EXPECT_TRUE(limiter.allow(at(0.01), kAlice, 27960));
}

TEST(RateLimiter, IsStricterWithServiceDiscovery) {
  RateLimiter limiter{RateLimits{}};
  int passed = 0;
  for (int n = 0; n < 1000; ++n) passed += limiter.allow(at(0), kAlice, kMdnsPort) ? 1 : 0;
  EXPECT_EQ(passed, 60);
}

TEST(RateLimiter, HoldsOneMemberOnManyPortsToItsWhole) {
  RateLimiter limiter{RateLimits{}};
  int passed = 0;
  for (int n = 0; n < 30'000; ++n)
    passed += limiter.allow(at(0), kAlice, static_cast<std::uint16_t>(20'000 + n % 1000)) ? 1 : 0;
  EXPECT_EQ(passed, 12'000);
}

TEST(RateLimiter, KeepsABoundedNumberOfPortsAndRecovers) {
  RateLimiter limiter{RateLimits{}};
  int passed = 0;
  for (int n = 0; n < 8000; ++n) passed += limiter.allow(at(0), kAlice, static_cast<std::uint16_t>(n + 10'000)) ? 1 : 0;
  EXPECT_LT(passed, static_cast<int>(RateLimiter::kBucketsMax));
  EXPECT_TRUE(limiter.allow(at(10), kBob, 5)) << "what was idle made room";
}

}  // namespace
}  // namespace lanrage::lan
