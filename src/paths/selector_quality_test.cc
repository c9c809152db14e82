// What a selector measures of the path in use, and how often.
#include "paths/test_peer.h"

namespace lanrage::paths {
namespace {

// Pings of an hour, and the seconds between them.
TEST_F(SelectorTest, AGoodPathThatNoNatForgetsIsPingedOnceAMinute) {
  start_with({}, {kLanCandidate});
  alive = {{kLan, 2ms}};
  run(60s);
  counts.clear();
  run(3600s);
  EXPECT_LE(counts[kLan], 60);
  EXPECT_GE(counts[kLan], 57);
}

TEST_F(SelectorTest, AMiddlingOneTwiceAMinuteAndABadOneSixTimes) {
  start_with({}, {kLanCandidate});
  alive = {{kLan, 100ms}};
  run(60s);
  counts.clear();
  run(600s);
  EXPECT_LE(counts[kLan], 20);
  EXPECT_GE(counts[kLan], 19);
  alive = {{kLan, 200ms}};
  run(31s);  // seen within one interval
  EXPECT_EQ(selector.quality()->rtt_last(), 200ms);
  counts.clear();
  run(600s);
  EXPECT_LE(counts[kLan], 60);
  EXPECT_GE(counts[kLan], 57);
}

TEST_F(SelectorTest, AStepOnAGoodPathIsSeenWithinOneIntervalAndThenWatched) {
  start_with({}, {kLanCandidate});
  alive = {{kLan, 20ms}};
  run(600s);
  alive = {{kLan, 200ms}};
  run(64s);
  EXPECT_EQ(selector.quality()->trend(), Trend::kDegrading);
  counts.clear();
  run(105s);
  EXPECT_GE(counts[kLan], 10);
}

TEST_F(SelectorTest, WhatANatForgetsIsPingedInTime) {
  start_with({}, {kPublicCandidate});
  alive = {{kPublic, 20ms}};
  run(60s);
  counts.clear();
  run(1000s);
  EXPECT_EQ(counts[kPublic], 40);
}

TEST_F(SelectorTest, TwoOpenEndsHaveNoNat) {
  selector.set_local({Mapping::kNone}, {});
  selector.set_network({wire::Dependence::kEndpointIndependent});
  selector.start(now);
  auto open = signal({kPublicCandidate});
  open.mapping = Mapping::kNone;
  open.network.filtering = wire::Dependence::kNotPort;
  selector.handle_signal(now, open);
  alive = {{kPublic, 20ms}};
  run(60s);
  counts.clear();
  run(600s);
  EXPECT_LE(counts[kPublic], 10);
}

TEST_F(SelectorTest, HandsOnWhatWasMeasuredOnThePathInUse) {
  start_with({kRelay}, {kPublicCandidate});
  EXPECT_FALSE(selector.take_measured());
  alive = {{kPublic, 20ms}, {kRelay, 40ms}};
  run(10s);
  const auto first = selector.take_measured();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->rtt_max, 20ms) << "not the relay's";
  EXPECT_FALSE(selector.take_measured()) << "once";
  alive = {{kRelay, 40ms}};
  selector.handle_traffic(now);
  run(500ms);
  const auto then = selector.take_measured();
  ASSERT_TRUE(then);
  EXPECT_GE(then->lost, 2) << "before it was left";
}

TEST_F(SelectorTest, AnOutageLowersTheStabilityOfThePathThatFailed) {
  start_with({}, {kPublicCandidate});
  const auto play = [&](int seconds) {
    for (int tick = 0; tick < seconds * 10; ++tick) {
      selector.handle_traffic(now);
      run(100ms);
    }
  };
  alive = {{kPublic, 20ms}};
  play(135);
  alive = {{kElsewhere, 20ms}};
  play(30);
  EXPECT_FALSE(selector.is_valid());
  ASSERT_NE(selector.quality(), nullptr) << "the last one that was proven";
  EXPECT_EQ(selector.quality()->rtt_ema(), 20ms);
  alive = {{kPublic, 20ms}};
  play(135);
  EXPECT_NEAR(*selector.quality()->parts().stability_percent, 90, 2);
}

TEST_F(SelectorTest, TellsThePeerWhatArrivedAndTakesItsWordForWhatDidThere) {
  start_with({}, {kPublicCandidate});
  answer(kPublic, 20ms);
  EXPECT_FALSE(selector.quality()->parts().bandwidth);
  selector.handle_rate(now, 0.4);
  EXPECT_FALSE(selector.quality()->parts().bandwidth) << "too little to say anything";
  selector.handle_rate(now, 42);
  EXPECT_NEAR(selector.quality()->parts().bandwidth->mbps, 42, 1e-4);
  selector.handle_traffic(now);
  now += 300ms;
  selector.handle_timeout(now);
  std::uint32_t told = 0;
  for (const auto& transmit : transmits()) {
    const auto probe = wire::open_probe(transmit.datagram, key.bytes());
    if (!probe->pong) told = probe->rate_kbps;
  }
  EXPECT_EQ(told, 42000u);

  wire::Probe ping{.tag = wire::probe_tag(key.bytes(), public_key(2)), .transaction = 9, .instance = peer_instance};
  ping.rate_kbps = 95000;
  ping.full = true;
  selector.handle_packet(now, kPublic, wire::write_probe(ping, key.bytes()));
  EXPECT_NEAR(selector.quality()->parts().bandwidth->mbps, 95, 1e-4);
  EXPECT_TRUE(selector.quality()->parts().bandwidth->full);
}

}  // namespace
}  // namespace lanrage::paths
