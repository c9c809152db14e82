#include "base/rng.h"

#include <gtest/gtest.h>

#include <array>

namespace lanrage {
namespace {

TEST(SeededRng, RepeatsFromItsSeed) {
  SeededRng a(42), b(42), c(43);
  EXPECT_EQ(a.u64(), b.u64());
  EXPECT_NE(a.u64(), c.u64());
}

TEST(Rng, BelowIsUniform) {
  SeededRng rng(7);
  std::array<int, 6> seen{};
  for (int i = 0; i < 60000; ++i) ++seen[rng.below(6)];
  for (int count : seen) EXPECT_NEAR(count, 10000, 500);
  EXPECT_EQ(rng.below(1), 0u);
}

}  // namespace
}  // namespace lanrage
