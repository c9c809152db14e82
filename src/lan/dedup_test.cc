#include "lan/dedup.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace lanrage::lan {
namespace {

using std::chrono::milliseconds;
using Verdict = OriginWindows::Verdict;

constexpr Time at(double seconds) { return Time{Duration{static_cast<std::int64_t>(seconds * 1e9)}}; }
wire::LanOrigin origin(std::uint32_t n) {
  wire::LanOrigin out{};
  store_be(out.data(), n);
  return out;
}

TEST(OriginWindows, TakesEachSequenceOnce) {
  OriginWindows windows;
  for (std::uint64_t s : {100u, 101u, 105u, 103u}) EXPECT_EQ(windows.check(at(0), origin(1), s), Verdict::kNew);
  for (std::uint64_t s : {100u, 101u, 105u, 103u}) EXPECT_EQ(windows.check(at(0), origin(1), s), Verdict::kDuplicate);
  EXPECT_EQ(windows.check(at(0), origin(2), 100), Verdict::kNew) << "another origin counts by itself";
}

TEST(OriginWindows, AgreesWithASetUnderReorderingAndRepeats) {
  SeededRng rng(3);
  OriginWindows windows;
  std::vector<bool> seen(40'000, false);
  std::uint64_t next = 0;
  for (int round = 0; round < 60'000 && next < seen.size(); ++round) {
    // Mostly rising; now and then something up to 1500 back, or a jump ahead.
    std::uint64_t s = rng.below(3) == 0 && next > 1600 ? next - 1 - rng.below(1500) : next;
    if (s == next) next += rng.below(100) == 0 ? 5 : 1;
    if (s >= seen.size()) break;
    EXPECT_EQ(windows.check(at(0), origin(1), s), seen[s] ? Verdict::kDuplicate : Verdict::kNew) << s;
    seen[s] = true;
  }
}

TEST(OriginWindows, RefusesWhatIsOlderThanItsWindow) {
  OriginWindows windows;
  windows.check(at(0), origin(1), 10'000);
  EXPECT_EQ(windows.check(at(0), origin(1), 10'000 - OriginWindows::kWindow), Verdict::kTooOld);
  EXPECT_EQ(windows.check(at(0), origin(1), 10'001 - OriginWindows::kWindow), Verdict::kNew);
}

TEST(OriginWindows, BeginsAnewWithANodeThatWasStartedAgain) {
  OriginWindows windows;
  windows.check(at(0), origin(1), std::uint64_t{1} << 60);
  EXPECT_EQ(windows.check(at(1), origin(1), 77), Verdict::kNew);
  EXPECT_EQ(windows.check(at(1), origin(1), 77), Verdict::kDuplicate);
  EXPECT_EQ(windows.check(at(1), origin(1), 78), Verdict::kNew);
}

TEST(OriginWindows, ForgetsTheOriginSilentLongestWhenFull) {
  OriginWindows windows;
  for (std::uint32_t n = 0; n < OriginWindows::kOriginsMax; ++n) windows.check(at(n), origin(n), 1);
  windows.check(at(5000), origin(0), 2);
  windows.check(at(5001), origin(99'999), 1);
  EXPECT_EQ(windows.size(), OriginWindows::kOriginsMax);
  EXPECT_EQ(windows.check(at(5002), origin(0), 2), Verdict::kDuplicate) << "spoke lately, is kept";
  EXPECT_EQ(windows.check(at(5002), origin(1), 1), Verdict::kNew) << "was silent longest";
}

TEST(ContentHash, DependsOnEveryFieldAndOnWhereFieldsEnd) {
  const auto base = content_hash(as_bytes("ab"), as_bytes("cd"), as_bytes("ef"));
  EXPECT_EQ(content_hash(as_bytes("ab"), as_bytes("cd"), as_bytes("ef")), base);
  EXPECT_NE(content_hash(as_bytes("ab"), as_bytes("cd"), as_bytes("eg")), base);
  EXPECT_NE(content_hash(as_bytes("abc"), as_bytes("d"), as_bytes("ef")), base);
  EXPECT_NE(content_hash(as_bytes("ab"), as_bytes("cde"), as_bytes("f")), base);
}

TEST(RecentContent, ForgetsAfterItsWindowAndNotBefore) {
  RecentContent recent(std::chrono::seconds(5));
  const auto hash = content_hash(as_bytes("a"), as_bytes("b"), as_bytes("c"));
  for (int round = 0; round < 20; ++round) {
    const Time start = at(100.0 * round);
    recent.remember(start, hash, 3);
    EXPECT_EQ(recent.find(start + milliseconds(4999), hash), 3);
    EXPECT_EQ(recent.find(start + milliseconds(5500), hash), std::nullopt);
  }
  EXPECT_EQ(recent.size(), 0u);
  EXPECT_EQ(recent.next_expiry(), kNever);
}

TEST(RecentContent, IsRenewedByASecondRemember) {
  RecentContent recent(std::chrono::seconds(5));
  const auto hash = content_hash(as_bytes("a"), as_bytes("b"), as_bytes("c"));
  recent.remember(at(0), hash, 3);
  recent.remember(at(4), hash, 3);
  EXPECT_TRUE(recent.find(at(8), hash));
  EXPECT_FALSE(recent.find(at(9), hash));
}

TEST(RecentContent, ErrsNeverAmongAHundredThousandAndStaysBounded) {
  RecentContent recent(std::chrono::seconds(5));
  std::uint32_t wrong = 0;
  for (std::uint32_t n = 0; n < 100'000; ++n) {
    std::array<std::uint8_t, 4> payload{};
    store_be(payload.data(), n);
    const auto hash = content_hash({}, {}, payload);
    if (recent.find(at(n * 0.00005), hash)) ++wrong;
    recent.remember(at(n * 0.00005), hash, 1);
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_LE(recent.size(), RecentContent::kEntriesMax);
  recent.expire(at(100));
  EXPECT_EQ(recent.size(), 0u);
}

}  // namespace
}  // namespace lanrage::lan
