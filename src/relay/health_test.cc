#include "relay/health.h"

#include <gtest/gtest.h>

namespace lanrage::relay {
namespace {

TEST(RelayHealth, IsFullUntilHalfOfWhatItHasIsUsed) {
  EXPECT_EQ(health_of({}), (Health{100, 0}));
  EXPECT_EQ(health_of({.thread = 0.5, .sessions = 0.2}), (Health{100, 50}));
  EXPECT_EQ(health_of({.thread = 0.1, .sessions = 0.3, .cpu = 0.5, .memory = 0.8}), (Health{100, 30}));
}

TEST(RelayHealth, FallsToNothingWithItsOwnLoad) {
  EXPECT_EQ(health_of({.thread = 0.75}), (Health{50, 75}));
  EXPECT_EQ(health_of({.thread = 1.0}), (Health{0, 100}));
  EXPECT_EQ(health_of({.sessions = 1.0}), (Health{0, 100}));
}

TEST(RelayHealth, ABusyMachineCostsHalfAndAFullOneAll) {
  EXPECT_EQ(health_of({.cpu = 1.0}), (Health{50, 0}));
  EXPECT_EQ(health_of({.memory = 0.9}), (Health{50, 0}));
  EXPECT_EQ(health_of({.memory = 1.0}), (Health{0, 0}));
  EXPECT_EQ(health_of({.thread = 0.75, .cpu = 1.0}), (Health{25, 75}));
}

TEST(RelayHealth, StaysInBoundsWhateverWasMeasured) {
  EXPECT_EQ(health_of({.thread = 3, .sessions = -1, .cpu = 7, .memory = -2}), (Health{0, 100}));
}

}  // namespace
}  // namespace lanrage::relay
