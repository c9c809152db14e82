// Direct or relayed, and by which relay: what the measured quality of the paths decides.
#include "paths/test_peer.h"

namespace lanrage::paths {
namespace {

struct SelectorChoiceTest : SelectorTest {
  // One direct path and two relays, as they are on a good day.
  void begin(Duration direct, Duration relay, Duration other_relay) {
    start_with({kRelay, kOtherRelay}, {kPublicCandidate});
    alive = {{kPublic, direct}, {kRelay, relay}, {kOtherRelay, other_relay}};
    play(3s);
    events();
  }
};

TEST_F(SelectorChoiceTest, AGoodDirectPathStaysHoweverGoodTheRelayIs) {
  begin(100ms, 10ms, 10ms);
  play(120s);
  EXPECT_EQ(selector.selected(), kPublic);
  EXPECT_FALSE(selector.relay_help(now));
  EXPECT_TRUE(selector.why(now).empty());
}

TEST_F(SelectorChoiceTest, ALossyDirectPathIsLeftForACleanRelayAndTakenAgainWhenItIsGood) {
  begin(30ms, 50ms, 60ms);
  ASSERT_EQ(selector.selected(), kPublic);
  lossy = {{kPublic, 0.1}};
  play(150s);
  EXPECT_EQ(selector.selected(), kRelay);
  const auto help = selector.relay_help(now);
  ASSERT_TRUE(help);
  EXPECT_EQ(help->relayed, 50ms);
  EXPECT_EQ(help->direct, 30ms);
  EXPECT_NE(selector.why(now).find("direct path is worse than the relay"), std::string::npos) << selector.why(now);
  lossy.clear();
  play(300s);
  EXPECT_EQ(selector.selected(), kPublic);
  EXPECT_FALSE(selector.relay_help(now));
}

TEST_F(SelectorChoiceTest, ASlowDirectPathIsLeftForAQuickRelay) {
  begin(260ms, 60ms, 70ms);
  play(60s);
  EXPECT_EQ(selector.selected(), kRelay);
  EXPECT_EQ(selector.relay_help(now)->direct - selector.relay_help(now)->relayed, 200ms);
}

TEST_F(SelectorChoiceTest, APoorDirectPathStaysWhenNoRelayIsClearlyBetter) {
  begin(260ms, 230ms, 240ms);
  play(60s);
  EXPECT_EQ(selector.selected(), kPublic);
  lossy = {{kPublic, 0.05}, {kRelay, 0.05}, {kOtherRelay, 0.05}};
  play(300s);
  EXPECT_LE(events(Kind::kSelected).size(), 3u) << "all are as bad";
}

TEST_F(SelectorChoiceTest, ChangesForQualityAreADwellApart) {
  begin(30ms, 50ms, 60ms);
  play(60s);
  for (const int period : {3, 20}) {  // seconds good, and as many poor
    events();
    std::vector<Time> changes;
    for (int i = 0; i < 40; ++i) {
      alive[kPublic] = i % 2 == 0 ? 290ms : 20ms;
      for (int tenth = 0; tenth < 10 * period; ++tenth) {
        play(100ms);
        if (!events(Kind::kSelected).empty()) changes.push_back(now);
      }
    }
    EXPECT_GE(changes.size(), 1u) << period;
    for (std::size_t k = 1; k < changes.size(); ++k) EXPECT_GE(changes[k] - changes[k - 1], kDwell - 200ms);
  }
}

TEST_F(SelectorChoiceTest, ADirectPathThatWasDeadIsTakenAgainAsSoonAsItHeals) {
  begin(30ms, 50ms, 60ms);
  for (int round = 0; round < 3; ++round) {
    alive.erase(kPublic);
    play(20s);
    EXPECT_EQ(selector.selected(), kRelay);
    alive[kPublic] = 30ms;
    play(5s);
    EXPECT_EQ(selector.selected(), kPublic) << round;
    play(70s);
  }
}

TEST_F(SelectorChoiceTest, AmongRelaysTheNodesOrderCounts) {
  start_with({kRelay, kOtherRelay}, {});
  alive = {{kRelay, 60ms}, {kOtherRelay, 40ms}};
  play(kDwell);
  EXPECT_EQ(selector.selected(), kRelay);
  selector.set_relays(now, {kOtherRelay, kRelay});
  play(1s);
  EXPECT_EQ(selector.selected(), kOtherRelay);
  selector.set_relays(now, {kRelay, kOtherRelay});
  play(kDwell - 2s);
  EXPECT_EQ(selector.selected(), kOtherRelay) << "not yet";
  selector.set_relays(now, {kOtherRelay, kRelay});
  play(kDwell);
  alive.erase(kOtherRelay);
  play(2s);
  EXPECT_EQ(selector.selected(), kRelay) << "a path that fails is left at once";
}

TEST_F(SelectorChoiceTest, ARelayThatTurnsOutBadIsLeftWhateverTheOrderSays) {
  start_with({kRelay, kOtherRelay}, {});
  alive = {{kRelay, 40ms}, {kOtherRelay, 60ms}};
  lossy = {{kRelay, 0.1}};
  play(200s);
  EXPECT_EQ(selector.selected(), kOtherRelay);
}

TEST_F(SelectorChoiceTest, ARisingRoundTripMakesItLookAtTheOthersBeforeItIsPoor) {
  start_with({kRelay, kOtherRelay}, {});
  alive = {{kRelay, 40ms}, {kOtherRelay, 60ms}};
  play(30s);
  EXPECT_TRUE(events(Kind::kReviewed).empty());
  counts.clear();
  bool reviewed = false;
  while (!reviewed && alive[kRelay] < 300ms) {
    alive[kRelay] += 4ms;
    play(1s);
    reviewed = !events(Kind::kReviewed).empty();
  }
  EXPECT_TRUE(reviewed);
  for (const auto& info : selector.paths()) {
    if (info.path == kRelay) {
      EXPECT_GE(*info.quality.score(), kGoodWorth);
    }
  }
  EXPECT_GE(counts[kOtherRelay], 1);
}

}  // namespace
}  // namespace lanrage::paths
