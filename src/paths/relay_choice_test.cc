#include "paths/relay_choice.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/rng.h"

namespace lanrage::paths {
namespace {

using namespace std::chrono_literals;

RelayLeg leg(Duration rtt, double loss = 0) { return {rtt, 1ms, loss}; }

RelayOption option(wire::RelayPeer id, Duration ours, Duration theirs, const char* region = "eu", double health = 100) {
  return {id, region, health, leg(ours), leg(theirs)};
}

std::vector<wire::RelayPeer> order(const std::vector<RelayOption>& relays, std::uint64_t pair = 1,
                                   std::optional<wire::RelayPeer> current = {}) {
  std::vector<wire::RelayPeer> ids;
  for (const RankedRelay& one : rank_relays(relays, pair, current)) ids.push_back(one.id);
  return ids;
}

TEST(RelayChoice, TheScoreIsMadeOfBothLegsAndTheRelaysHealth) {
  RelayOption relay = option(1, 60ms, 100ms, "eu", 80);
  relay.theirs->loss_percent = 1;
  const auto ranked = rank_relays(std::span(&relay, 1), 1, std::nullopt).at(0);
  const double ours = 0.375 * 100 * 240 / 280 + 62.5, theirs = 0.375 * 100 * 200 / 280 + 25 + 0.375 * 80;
  EXPECT_NEAR(*ranked.our_score, ours, 1e-9);
  EXPECT_NEAR(*ranked.peer_score, theirs, 1e-9);
  EXPECT_NEAR(*ranked.score, 0.7 * std::sqrt(ours * theirs) + 0.3 * 80, 1e-9);
  EXPECT_EQ(ranked.expected_rtt, 160ms);
  EXPECT_EQ(ranked.role, RelayRole::kPrimary);
}

TEST(RelayChoice, APerfectRelayScoresAHundred) {
  const RelayOption relay = option(1, 2ms, 3ms);
  EXPECT_NEAR(*rank_relays(std::span(&relay, 1), 1, std::nullopt).at(0).score, 100, 1e-9);
}

TEST(RelayChoice, OrdersByBothLegsAndKeepsTheThirdForAnotherRegion) {
  const std::vector<RelayOption> relays = {option(1, 20ms, 20ms, "eu"), option(2, 20ms, 40ms, "eu"),
                                           option(3, 40ms, 40ms, "eu"), option(4, 90ms, 90ms, "us"),
                                           option(5, 120ms, 90ms, "us")};
  const auto ranked = rank_relays(relays, 1, std::nullopt);
  ASSERT_EQ(ranked.size(), 5u);
  EXPECT_EQ(order(relays), (std::vector<wire::RelayPeer>{1, 2, 3, 4, 5}));
  EXPECT_EQ(ranked[1].role, RelayRole::kSecondary);
  EXPECT_EQ(ranked[2].role, RelayRole::kNone);
  EXPECT_EQ(ranked[3].role, RelayRole::kTertiary);
  EXPECT_EQ(ranked[4].role, RelayRole::kNone);
}

TEST(RelayChoice, WithoutAnotherRegionTheThirdBestIsTertiary) {
  const auto ranked = rank_relays(
      std::vector{option(1, 20ms, 20ms), option(2, 20ms, 40ms), option(3, 40ms, 60ms), option(4, 90ms, 90ms)}, 1, {});
  EXPECT_EQ(ranked[2].id, 3u);
  EXPECT_EQ(ranked[2].role, RelayRole::kTertiary);
}

TEST(RelayChoice, BothEndsOrderTheSameWay) {
  SeededRng rng(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<RelayOption> here, there;
    for (wire::RelayPeer id = 1; id <= 12; ++id) {
      RelayOption one = option(id, std::chrono::milliseconds(rng.below(60)), std::chrono::milliseconds(rng.below(60)),
                               id % 3 == 0 ? "eu" : "us", 90 + rng.unit() * 10);
      here.push_back(one);
      std::swap(one.ours, one.theirs);
      there.insert(there.begin(), one);
    }
    EXPECT_EQ(order(here, 42), order(there, 42));
  }
  EXPECT_EQ(pair_of(7, 3, 5), pair_of(7, 5, 3));
}

TEST(RelayChoice, ThePairsOfAPartyHaveNumbersThatFollowEachOther) {
  std::uint64_t next = pair_of(7, 1, 2);
  for (std::uint32_t high = 2; high < 40; ++high) {
    for (std::uint32_t low = 1; low < high; ++low, ++next) ASSERT_EQ(pair_of(7, low, high), next) << low << ' ' << high;
    ++next;  // that of high and 0, which nobody has
  }
}

TEST(RelayChoice, ALossyOrLoadedRelayIsPassedOver) {
  std::vector<RelayOption> relays = {option(1, 20ms, 20ms), option(2, 50ms, 50ms)};
  EXPECT_EQ(order(relays).front(), 1u);
  relays[0].theirs = leg(20ms, 3);
  EXPECT_EQ(order(relays).front(), 2u);
  relays[0].theirs = leg(20ms);
  relays[0].health = 70;
  EXPECT_EQ(order(relays).front(), 2u);
}

TEST(RelayChoice, WhatOneEndCannotReachComesLast) {
  std::vector<RelayOption> relays = {option(1, 1ms, 1ms), option(2, 1ms, 1ms), option(3, 200ms, 200ms)};
  relays[0].ours.reset();
  relays[1].ours.reset();
  relays[1].theirs.reset();
  EXPECT_EQ(order(relays), (std::vector<wire::RelayPeer>{3, 1, 2}));
  const auto ranked = rank_relays(relays, 1, std::nullopt);
  EXPECT_FALSE(ranked[1].score || ranked[1].expected_rtt || ranked[1].our_score);
  EXPECT_TRUE(ranked[1].peer_score);
  EXPECT_EQ(ranked[2].role, RelayRole::kNone);
}

TEST(RelayChoice, TheRelayInUseStaysUntilAnotherIsClearlyBetter) {
  std::vector<RelayOption> relays = {option(1, 30ms, 30ms), option(2, 28ms, 28ms)};
  EXPECT_EQ(order(relays).front(), 2u);
  EXPECT_EQ(order(relays, 1, 1).front(), 1u) << "4 ms are no reason to move";
  relays[1] = option(2, 23ms, 23ms);
  EXPECT_EQ(order(relays, 1, 1).front(), 2u);
  relays = {option(1, 30ms, 30ms, "eu", 87), option(2, 30ms, 30ms)};
  EXPECT_EQ(order(relays, 1, 1).front(), 1u);
  relays[0].health = 80;
  EXPECT_EQ(order(relays, 1, 1).front(), 2u);
  EXPECT_EQ(order(relays, 1, 3).front(), 2u) << "one that is not listed any more";
}

#ifdef LANRAGE_SANITIZED
constexpr int kSets = 10;
#else
constexpr int kSets = 200;
#endif

// `parties` of so many members choose among four relays as good as each other: the share of all pairs, in percent, that
// the fullest of them has, of kSets random sets of parties and relays. The parties take turns as their server counts
// them, or have none.
std::vector<double> fullest(std::uint64_t parties, std::uint32_t members, bool counted) {
  std::vector<double> out;
  SeededRng rng(3);
  for (int set = 0; set < kSets; ++set) {
    std::vector<RelayOption> relays;
    for (int i = 0; i < 4; ++i) relays.push_back(option(rng.u64(), 20ms + i * 300us, 15ms));
    std::map<wire::RelayPeer, int> pairs;
    int all = 0, most = 0;
    const std::uint64_t turn = rng.below(1000000);
    for (std::uint64_t i = 0; i < parties; ++i) {
      const std::uint64_t first = counted ? turn + i : rng.u64();
      for (std::uint32_t a = 1; a <= members; ++a) {
        for (std::uint32_t b = a + 1; b <= members; ++b, ++all)
          most = std::max(most, ++pairs[order(relays, pair_of(first, a, b)).front()]);
      }
    }
    out.push_back(100.0 * most / all);
  }
  return out;
}

double share_above_35(const std::vector<double>& shares) {
  const auto above = std::count_if(shares.begin(), shares.end(), [](double share) { return share > 35; });
  return 100.0 * static_cast<double>(above) / static_cast<double>(shares.size());
}

TEST(RelayChoice, PairsSpreadOverFourEqualRelays) {
  struct {
    std::uint64_t parties;
    std::uint32_t members;
  } constexpr kHundreds[] = {{1, 15}, {3, 9}, {10, 5}, {34, 3}, {100, 2}};  // 100 to 108 pairs
  for (const auto& [parties, members] : kHundreds) {
    for (const bool counted : {true, false}) {
      const auto shares = fullest(parties, members, counted);
      const double worst = *std::max_element(shares.begin(), shares.end());
      std::printf("%d parties of %d%s: at worst %.1f %%, %.1f %% of sets above 35 %%\n", static_cast<int>(parties),
                  static_cast<int>(members), counted ? "" : ", not counted", worst, share_above_35(shares));
      // Strangers in twos who have no turns deal nothing out together: that is chance, a binomial one.
      const double most = counted ? 28 : members == 2 ? 45 : 35;
      EXPECT_LE(worst, most) << parties << " parties of " << members;
    }
  }
}

TEST(RelayChoice, WhenARelayFailsItsPairsSpreadOverTheOthers) {
  SeededRng rng(4);
  std::vector<RelayOption> relays;
  for (int i = 0; i < 4; ++i) relays.push_back(option(rng.u64(), 20ms, 15ms));
  std::map<wire::RelayPeer, int> seconds;
  int moved = 0;
  for (std::uint32_t a = 1; a <= 15; ++a) {
    for (std::uint32_t b = a + 1; b <= 15; ++b) {
      const auto ids = order(relays, pair_of(99, a, b));
      if (ids[0] == relays[0].id) ++seconds[ids[1]], ++moved;
    }
  }
  EXPECT_EQ(seconds.size(), 3u);
  for (const auto& [id, count] : seconds) EXPECT_NEAR(count, moved / 3.0, 2) << id;
}

TEST(RelayChoice, NoRelayIsNoChoice) { EXPECT_TRUE(rank_relays({}, 1, std::nullopt).empty()); }

TEST(RelayChoice, EveryOrderNamesEachRelayOnce) {
  SeededRng rng(9);
  for (int round = 0; round < 300; ++round) {
    std::vector<RelayOption> relays;
    for (std::size_t i = rng.below(65); i > 0; --i) {
      RelayOption one = option(i, std::chrono::milliseconds(rng.below(500)), std::chrono::milliseconds(rng.below(500)),
                               rng.below(2) == 0 ? "" : "eu", rng.unit() * 100);
      if (rng.below(4) == 0) one.ours.reset();
      if (rng.below(4) == 0) one.theirs = leg(1ms, rng.unit() * 100);
      if (rng.below(4) == 0) one.theirs.reset();
      relays.push_back(one);
    }
    auto ids = order(relays, rng.u64(), rng.below(70));
    std::sort(ids.begin(), ids.end());
    ASSERT_EQ(ids.size(), relays.size());
    for (std::size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(ids[i], i + 1);
  }
}

}  // namespace
}  // namespace lanrage::paths
