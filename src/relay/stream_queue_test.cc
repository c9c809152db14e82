#include "relay/stream_queue.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "wire/relay_stream.h"

namespace lanrage::relay {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kAll = SIZE_MAX;
const Time kStart{1000s};

std::vector<Bytes> take(StreamQueue& queue, Time now, std::size_t bytes) {
  Bytes stream;
  queue.take(now, bytes, stream);
  std::vector<Bytes> out;
  for (ByteView rest = stream; !rest.empty();) {
    const std::size_t size = load_be<std::uint16_t>(rest.data());
    out.push_back(to_bytes(rest.subspan(wire::kRelayStreamHeaderBytes, size)));
    rest = rest.subspan(wire::kRelayStreamHeaderBytes + size);
  }
  return out;
}

TEST(StreamQueue, KeepsTheOrderAndTheSizeAskedFor) {
  StreamQueue queue;
  for (std::uint8_t i = 0; i < 5; ++i) queue.push(kStart, Bytes(100, i));
  EXPECT_EQ(take(queue, kStart, 204), (std::vector<Bytes>{Bytes(100, 0), Bytes(100, 1)}));
  EXPECT_EQ(take(queue, kStart, 1), (std::vector<Bytes>{Bytes(100, 2)})) << "one at least";
  EXPECT_EQ(take(queue, kStart, kAll), (std::vector<Bytes>{Bytes(100, 3), Bytes(100, 4)}));
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.stats().sent, 5u);
}

TEST(StreamQueue, DropsTheOldestAndDelaysNothingNew) {
  StreamQueue queue;
  queue.push(kStart, Bytes(100, 1));
  queue.push(kStart + kStreamAgeMax / 2, Bytes(100, 2));
  queue.push(kStart + kStreamAgeMax, Bytes(100, 3));
  EXPECT_EQ(take(queue, kStart + kStreamAgeMax + 1ms, kAll), (std::vector<Bytes>{Bytes(100, 2), Bytes(100, 3)}));
  EXPECT_EQ(queue.stats().dropped_old, 1u);
}

TEST(StreamQueue, SmallOnesGoFirstAndLargeOnesMakeRoom) {
  StreamQueue queue;
  const Bytes large(1452, 9);
  std::size_t pushed = 0;
  for (; pushed * (large.size() + kStreamWaitingCost) <= kStreamBytesMax; ++pushed) queue.push(kStart, large);
  queue.push(kStart, Bytes(100, 1));
  EXPECT_EQ(queue.stats().dropped_full, 1u);
  EXPECT_EQ(take(queue, kStart, 1), (std::vector<Bytes>{Bytes(100, 1)}));
  EXPECT_EQ(take(queue, kStart, kAll).size(), pushed - 1);
  queue.push(kStart, Bytes(wire::kRelayStreamDatagramMax + 1));
  queue.push(kStart, {});
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.stats().dropped_size, 2u);
}

// A line of `rate` bytes a second and `base` round trip whose queue never drops: what stands in it is only delay.
class Line {
 public:
  Line(double rate, Duration base) : rate_(rate), base_(base), smoothed_(base) {}

  // A sender that always has more.
  void run(Duration time) {
    for (const Time end = now_ + time; now_ < end; now_ += 1ms) {
      while (!in_flight_.empty() && in_flight_.front().acknowledged <= now_) {
        smoothed_ += (in_flight_.front().acknowledged - in_flight_.front().sent - smoothed_) / 8;
        held_ -= in_flight_.front().bytes;
        in_flight_.pop_front();
      }
      for (std::size_t left = window.allowance(now_, smoothed_, base_, held_); left > 0;) {
        const std::size_t bytes = std::min<std::size_t>(left, 1400);
        const double seconds = static_cast<double>(bytes) / rate_;
        free_ = std::max(free_, now_) + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
        in_flight_.push_back({now_, free_ + base_, bytes});
        held_ += bytes;
        sent += bytes;
        left -= bytes;
      }
    }
  }
  Duration standing() const { return std::max(free_, now_) - now_; }

  StreamWindow window;
  std::size_t sent = 0;

 private:
  struct Segment {
    Time sent, acknowledged;
    std::size_t bytes;
  };
  const double rate_;
  const Duration base_;
  Duration smoothed_;
  Time now_ = kStart, free_ = kStart;
  std::deque<Segment> in_flight_;
  std::size_t held_ = 0;
};

TEST(StreamWindow, LetsLittleStandOnASlowLineAndFillsAFastOne) {
  Line slow(32000, 50ms);  // 256 kbit/s
  slow.run(20s);
  EXPECT_LT(slow.standing(), 2 * StreamWindow::kStanding);
  EXPECT_GT(slow.sent, std::size_t{32000} * 20 * 9 / 10);
  Line fast(12.5e6, 50ms);  // 100 Mbit/s
  fast.run(20s);
  EXPECT_LT(fast.standing(), 2 * StreamWindow::kStanding);
  EXPECT_GT(fast.sent, std::size_t{12500000} * 20 * 8 / 10);
}

TEST(StreamWindow, NeverAsksForLessThanItsLeast) {
  StreamWindow window;
  Time now = kStart;
  for (int i = 0; i < 100; ++i) window.allowance(now += 2s, 2s, 1ms, 0);
  EXPECT_EQ(window.bytes(), StreamWindow::kLeast);
  EXPECT_EQ(window.allowance(now, 2s, 1ms, StreamWindow::kLeast), 0u);
}

}  // namespace
}  // namespace lanrage::relay
