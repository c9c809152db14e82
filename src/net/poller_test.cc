#include "net/poller.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "net/clock.h"
#include "net/queue.h"

namespace lanrage::net {
namespace {

using namespace std::chrono_literals;

TEST(Poller, ReturnsAtTheDeadlineAndNotBefore) {
  Poller poller = std::move(*Poller::create());
  const Time start = now().time;
  EXPECT_TRUE(poller.wait(start, start + 3ms).empty());
  EXPECT_GE(now().time, start + 3ms);
  EXPECT_TRUE(poller.wait(start, start - 1s).empty()) << "a past deadline only looks";
}

TEST(Poller, TellsWhichDescriptorIsReady) {
  Poller poller = std::move(*Poller::create());
  Event quiet = std::move(*Event::create());
  Event loud = std::move(*Event::create());
  ASSERT_TRUE(poller.add(quiet.fd(), 1));
  ASSERT_TRUE(poller.add(loud.fd(), 2));
  loud.signal();
  const auto ready = poller.wait(now().time, kNever);
  ASSERT_EQ(ready.size(), 1u);
  EXPECT_EQ(ready[0].tag, 2u);
  EXPECT_TRUE(ready[0].readable);
  EXPECT_FALSE(ready[0].writable);
  EXPECT_TRUE(loud.clear());
  EXPECT_FALSE(loud.clear());
  ASSERT_TRUE(poller.modify(quiet.fd(), 3, Interest::kReadWrite));
  EXPECT_TRUE(poller.wait(now().time, kNever)[0].writable);
  poller.remove(quiet.fd());
  EXPECT_TRUE(poller.wait({}, {}).empty());
}

TEST(Poller, IsWokenByAnotherThread) {
  Poller poller = std::move(*Poller::create());
  std::thread other([&] { poller.wake(); });
  EXPECT_TRUE(poller.wait(now().time, kNever).empty());
  other.join();
  EXPECT_TRUE(poller.wait({}, {}).empty()) << "one wake-up ends one wait";
}

TEST(Poller, ReportsABadDescriptorAsAnError) {
  Poller poller = std::move(*Poller::create());
  EXPECT_EQ(poller.add(-1, 1).error().os_errno, EBADF);
}

TEST(Queue, HandsValuesOverInOrderAndCountsWhatDoesNotFit) {
  Queue<std::unique_ptr<int>> queue(std::move(*Event::create()), 2);
  EXPECT_TRUE(queue.push(std::make_unique<int>(1)));
  EXPECT_TRUE(queue.push(std::make_unique<int>(2)));
  EXPECT_FALSE(queue.push(std::make_unique<int>(3)));
  EXPECT_EQ(queue.dropped(), 1u);
  std::vector<std::unique_ptr<int>> got;
  queue.drain(got);
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(*got[0], 1);
  EXPECT_EQ(*got[1], 2);
  queue.drain(got);
  EXPECT_TRUE(got.empty());
  EXPECT_TRUE(queue.push(std::make_unique<int>(4)));
}

TEST(Queue, LosesNothingBetweenThreads) {
  constexpr int kEach = 5000;
  Queue<int> queue(std::move(*Event::create()), 2 * kEach);
  Poller poller = std::move(*Poller::create());
  ASSERT_TRUE(poller.add(queue.fd(), 1));
  const auto produce = [&](int sign) {
    for (int i = 1; i <= kEach; ++i) queue.push(sign * i);
  };
  std::thread a(produce, 1);
  std::thread b(produce, -1);
  int last_up = 0;
  int last_down = 0;
  std::vector<int> got;
  while (last_up < kEach || last_down > -kEach) {
    ASSERT_FALSE(poller.wait({}, Time{10s}).empty()) << "a wake-up was lost";
    queue.drain(got);
    for (const int v : got) {
      int& last = v > 0 ? last_up : last_down;
      EXPECT_EQ(v, last + (v > 0 ? 1 : -1));
      last = v;
    }
  }
  a.join();
  b.join();
  EXPECT_EQ(queue.dropped(), 0u);
}

TEST(Clock, CountsForward) {
  const Now first = now();
  const Now second = now();
  EXPECT_GE(second.time, first.time);
  EXPECT_GT(unix_seconds(first.wall), 1'700'000'000);
}

}  // namespace
}  // namespace lanrage::net
