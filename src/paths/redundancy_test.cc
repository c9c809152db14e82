#include "paths/redundancy.h"

#include "paths/test_peer.h"

namespace lanrage::paths {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A game is played by kPublic while the relay stands by.
struct SecondPathTest : SelectorTest {
  void play(Duration how_long) {
    for (const Time end = now + how_long; now < end;) {
      selector.handle_received(now, kPublic, now);
      selector.handle_traffic(now);
      run(100ms);
    }
  }
  void lose_pings() {
    for (int i = 0; i < 3; ++i) {
      const Duration rtt = alive[kPublic];
      alive.erase(kPublic);
      for (const int before = counts[kPublic]; counts[kPublic] == before;) play(100ms);
      alive[kPublic] = rtt;
      play(3s);
    }
  }
  void begin(Duration relay_rtt) {
    start_with({kRelay}, {kPublicCandidate});
    alive = {{kPublic, 20ms}, {kRelay, relay_rtt}};
    play(10s);
    ASSERT_EQ(selector.selected(), kPublic);
    EXPECT_FALSE(selector.second());
    events();
  }
};

TEST_F(SecondPathTest, IsTheRelayWhileTheDirectPathLosesPackets) {
  begin(40ms);
  lose_pings();
  ASSERT_EQ(selector.selected(), kPublic);
  EXPECT_EQ(selector.second(), kRelay);
  EXPECT_EQ(events(Kind::kSecondChanged).size(), 1u);
  alive.erase(kRelay);
  play(10s);
  EXPECT_FALSE(selector.second()) << "it answers no more";
  EXPECT_EQ(events(Kind::kSecondChanged).size(), 1u);
}

TEST_F(SecondPathTest, IsNotOneThatIsMuchSlower) {
  begin(300ms);
  lose_pings();
  EXPECT_FALSE(selector.second());
}

TEST_F(SecondPathTest, IsNotTheSameAddress) {
  const Candidate same{CandidateKind::kHost, {kPublic.endpoint.address, 7777}};
  start_with({}, {kPublicCandidate, same});
  alive = {{kPublic, 20ms}, {Path{same.endpoint, false}, 21ms}};
  lose_pings();
  ASSERT_TRUE(is_valid(kPublic) && is_valid(Path{same.endpoint, false}));
  EXPECT_FALSE(selector.second());
}

struct RedundancySwitchTest : testing::Test {
  RedundancySwitch doubled;
  Quality quality;
  Time now{std::chrono::hours(1)};

  bool probe(bool lost, Duration rtt = milliseconds(20)) {
    now += seconds(1);
    if (lost)
      quality.record_loss(now);
    else
      quality.record_answer(now, rtt);
    return doubled.update(now, Redundancy::kAuto, quality);
  }
};

TEST(Redundancy, IsNamedAsItIsSet) {
  for (const Redundancy one : {Redundancy::kAuto, Redundancy::kOff, Redundancy::kAlways})
    EXPECT_EQ(parse_redundancy(redundancy_name(one)), one);
  EXPECT_FALSE(parse_redundancy("on"));
  EXPECT_FALSE(parse_redundancy(""));
}

TEST_F(RedundancySwitchTest, OneLostProbeIsNoReason) {
  EXPECT_FALSE(probe(true));
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(probe(false));
}

TEST_F(RedundancySwitchTest, LossBeginsItAndCalmEndsIt) {
  for (int i = 0; i < 30; ++i) EXPECT_FALSE(probe(false));
  EXPECT_FALSE(probe(true));
  EXPECT_TRUE(probe(true)) << "two of 32";
  for (int i = 0; i < 98; ++i) EXPECT_TRUE(probe(false)) << "both are among the last hundred";
  probe(false);
  EXPECT_TRUE(probe(false)) << "half of the level, and not yet calm for long";
  bool wanted = true;
  int calm = 0;
  for (; wanted && calm < 100; ++calm) wanted = probe(false);
  EXPECT_GE(calm, 28);
  EXPECT_LE(calm, 32);
}

TEST_F(RedundancySwitchTest, JitterBeginsIt) {
  bool wanted = false;
  for (int i = 0; i < 100 && !wanted; ++i) wanted = probe(false, milliseconds(i % 2 == 0 ? 20 : 40));
  EXPECT_TRUE(wanted);
  for (int i = 0; i < 200 && wanted; ++i) wanted = probe(false);
  EXPECT_FALSE(wanted);
}

TEST_F(RedundancySwitchTest, ThePersonsWordCountsFirst) {
  for (int i = 0; i < 10; ++i) probe(true);
  EXPECT_TRUE(doubled.wanted());
  EXPECT_FALSE(doubled.update(now, Redundancy::kOff, quality));
  EXPECT_TRUE(doubled.update(now, Redundancy::kAlways, Quality()));
}

}  // namespace
}  // namespace lanrage::paths
