#include "base/timing.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace lanrage {
namespace {

using namespace std::chrono_literals;

TEST(Timings, CountsIntoTheRightBucket) {
  Timings timings;
  timings.record(op::kJoinParty, 3ms);
  timings.record(op::kJoinParty, 1h);
  ASSERT_EQ(timings.summaries().size(), 1u);
  const Timings::Summary s = timings.summaries()[0];
  EXPECT_STREQ(s.name, "join_party");
  EXPECT_EQ(s.count, 2u);
  EXPECT_EQ(s.buckets[5], 1u);      // (2.5 ms, 5 ms]
  EXPECT_EQ(s.buckets.back(), 1u);  // longer than every bound
}

TEST(Operations, AreAtLeastTwentyFiveDistinctNames) {
  const std::set<std::string> names = {
#define X(id, name) name,
      LR_OPERATIONS(X)
#undef X
  };
  EXPECT_EQ(names.size(), kOperationCount);
  EXPECT_GE(names.size(), 25u);
}

}  // namespace
}  // namespace lanrage
