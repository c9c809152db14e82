#include "tasks/operations.h"

#include <gtest/gtest.h>

#include <set>

namespace lanrage::tasks {
namespace {

using enum OperationType;

std::vector<OperationType> all_types() {
  std::vector<OperationType> out;
  for (std::size_t i = 0; i < kOperationTypes; ++i) out.push_back(static_cast<OperationType>(i));
  return out;
}

TEST(Operations, NamesGoBothWays) {
  for (OperationType type : all_types()) EXPECT_EQ(parse_type(type_name(type)), type);
  for (std::size_t i = 0; i < kPriorities; ++i)
    EXPECT_EQ(parse_priority(priority_name(static_cast<Priority>(i))), static_cast<Priority>(i));
  EXPECT_FALSE(parse_type("join"));
  EXPECT_FALSE(parse_priority("5"));
}

// The conflicts that the mission names, and no pair that conflicts one way only.
TEST(Operations, ConflictIsSymmetricAndCoversTheTable) {
  std::set<std::pair<OperationType, OperationType>> conflicts;
  for (OperationType a : all_types()) {
    for (OperationType b : all_types()) {
      EXPECT_EQ(conflict(a, b), conflict(b, a)) << type_name(a) << " " << type_name(b);
      for (Order order : {Order::kLower, Order::kHigher}) EXPECT_EQ(strategy(a, b, order).has_value(), conflict(a, b));
      if (a <= b && conflict(a, b)) conflicts.emplace(a, b);
    }
  }
  const std::set<std::pair<OperationType, OperationType>> expected = {
      {kJoinParty, kJoinParty},
      {kJoinParty, kLeaveParty},
      {kJoinParty, kKick},
      {kJoinParty, kRekey},
      {kJoinParty, kHandover},
      {kLeaveParty, kLeaveParty},
      {kLeaveParty, kKick},
      {kLeaveParty, kRekey},
      {kLeaveParty, kHandover},
      {kKick, kKick},
      {kKick, kRekey},
      {kKick, kHandover},
      {kRekey, kRekey},
      {kRekey, kHandover},
      {kHandover, kHandover},
      {kAllocateIp, kAllocateIp},
      {kConfigureNetwork, kConfigureNetwork},
      {kConfigureNetwork, kRestartNetwork},
      {kConfigureNetwork, kPushConfig},
      {kRestartNetwork, kRestartNetwork},
      {kRestartNetwork, kPushConfig},
      {kPushConfig, kPushConfig},
  };
  EXPECT_EQ(conflicts, expected);
}

// Only what is the same twice can be one.
TEST(Operations, OnlyEqualTypesMerge) {
  for (OperationType a : all_types()) {
    for (OperationType b : all_types()) {
      for (Order order : {Order::kLower, Order::kEqual, Order::kHigher})
        EXPECT_TRUE(a == b || strategy(a, b, order) != Strategy::kMerge);
    }
  }
}

// Nobody of lower priority pushes anyone aside, and equals do so only where one leaves what it is joining.
TEST(Operations, OnlyTheHigherGoesFirst) {
  for (OperationType a : all_types()) {
    for (OperationType b : all_types()) {
      EXPECT_NE(strategy(a, b, Order::kLower), Strategy::kPrioritize);
      if (strategy(a, b, Order::kEqual) == Strategy::kPrioritize) {
        EXPECT_EQ(a, kLeaveParty);
        EXPECT_EQ(b, kJoinParty);
      }
    }
  }
}

}  // namespace
}  // namespace lanrage::tasks
