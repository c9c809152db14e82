#include "relay/fair_queue.h"

#include <gtest/gtest.h>

#include <map>

#include "base/rng.h"

namespace lanrage::relay {
namespace {

TEST(FairQueue, KeepsTheOrderOfOneParty) {
  FairQueue queue(4);
  EXPECT_FALSE(queue.pop());
  EXPECT_FALSE(queue.drop());
  for (const FairQueue::Item item : std::initializer_list<FairQueue::Item>{2, 0, 3, 1}) queue.push(7, item, 100);
  for (const FairQueue::Item item : std::initializer_list<FairQueue::Item>{2, 0, 3, 1}) EXPECT_EQ(queue.pop(), item);
  EXPECT_TRUE(queue.empty());
}

TEST(FairQueue, ALonePacketPassesAFlood) {
  FairQueue queue(100);
  for (FairQueue::Item item = 0; item < 90; ++item) queue.push(1, item, 1400);
  queue.push(2, 99, 200);
  int before = 0;
  while (queue.pop() != 99) ++before;
  EXPECT_LE(before, 3);  // a quantum's worth
}

TEST(FairQueue, SharesByCostNotByNumber) {
  FairQueue queue(400);
  FairQueue::Item item = 0;
  for (int i = 0; i < 300; ++i) queue.push(1, item++, 500);
  for (int i = 0; i < 50; ++i) queue.push(2, item++, 50000);
  std::map<bool, std::uint64_t> cost;
  for (int i = 0; i < 200; ++i) {
    const auto next = queue.pop();
    cost[*next >= 300] += queue.cost_of(*next);
  }
  EXPECT_LT(cost[true], cost[false] + 60000);
  EXPECT_LT(cost[false], cost[true] + 60000);
}

TEST(FairQueue, TheFullestPartyMakesRoom) {
  FairQueue queue(10);
  queue.push(1, 0, 100);
  queue.push(2, 1, 100);
  queue.push(2, 2, 100);
  queue.push(3, 3, 150);
  EXPECT_EQ(queue.drop(), FairQueue::Item{1});
  EXPECT_EQ(queue.drop(), FairQueue::Item{3});
  EXPECT_TRUE(queue.is_consistent());
}

TEST(FairQueue, HandsOutEveryItemOnceWhateverTheOrder) {
  SeededRng rng(3);
  FairQueue queue(64);
  std::vector<FairQueue::Item> free;
  std::map<FairQueue::Item, std::uint32_t> inside;  // with its party
  for (FairQueue::Item item = 0; item < 64; ++item) free.push_back(item);
  for (int i = 0; i < 20000; ++i) {
    const auto what = rng.below(free.empty() ? 1 : 3);
    if (what < 2 && (free.empty() || what == 0)) {
      const auto item = rng.below(8) == 0 ? queue.drop() : queue.pop();
      ASSERT_EQ(item.has_value(), !inside.empty());
      if (!item) continue;
      ASSERT_EQ(inside.erase(*item), 1u);
      free.push_back(*item);
    } else {
      const FairQueue::Item item = free.back();
      free.pop_back();
      inside[item] = static_cast<std::uint32_t>(rng.below(5));
      queue.push(inside[item], item, 1 + static_cast<std::uint32_t>(rng.below(70000)));
    }
    ASSERT_TRUE(queue.is_consistent());
    ASSERT_EQ(queue.empty(), inside.empty());
  }
}

}  // namespace
}  // namespace lanrage::relay
