#include "paths/test_peer.h"

namespace lanrage::paths {
namespace {

// ---- Watching

TEST_F(SelectorTest, PingsEverySecondWhilePacketsArriveMoreInSilenceAndRarelyWhenIdle) {
  start_with({}, {kPublicCandidate});
  alive = {{kPublic, 20ms}};
  run(10s);
  counts.clear();
  run(60s);
  EXPECT_GE(counts[kPublic], 2);
  EXPECT_LE(counts[kPublic], 3);
  counts.clear();
  for (int tick = 0; tick < 100; ++tick) {
    selector.handle_received(now, kPublic, now);
    selector.handle_traffic(now);
    run(100ms);
  }
  EXPECT_GE(counts[kPublic], 9);
  EXPECT_LE(counts[kPublic], 11);
  counts.clear();
  for (int tick = 0; tick < 100; ++tick) {  // nothing arrives: the pongs are the proof
    selector.handle_traffic(now);
    run(100ms);
  }
  EXPECT_GE(counts[kPublic], 40);
  EXPECT_LE(counts[kPublic], 50);
}

TEST_F(SelectorTest, ALostPathFallsBackToTheRelayWithinTwoSecondsOfTraffic) {
  start_with({kRelay}, {kPublicCandidate});
  answer(kPublic, 20ms);
  ASSERT_EQ(selector.selected(), kPublic);
  events();
  selector.handle_traffic(now);
  run(1800ms);
  EXPECT_EQ(selector.selected(), kRelay);
  EXPECT_EQ(selector.stats().losses, 1u);
  const auto signals = events(Kind::kSignal);
  ASSERT_FALSE(signals.empty());
  EXPECT_TRUE(signals.back().call_me_now);
}

TEST_F(SelectorTest, OneMissedPingIsNotALoss) {
  start_with({kRelay}, {kPublicCandidate});
  alive = {{kPublic, 20ms}, {kRelay, 40ms}};
  run(100ms);
  selector.handle_traffic(now);
  alive.erase(kPublic);
  run(kWatch);  // one ping into the void
  ASSERT_EQ(selector.selected(), kPublic);
  alive[kPublic] = 20ms;
  run(3s);
  EXPECT_EQ(selector.selected(), kPublic);
  EXPECT_EQ(selector.stats().losses, 0u);
  EXPECT_EQ(selector.stats().pings_lost, 1u);
  EXPECT_GT(*selector.quality()->loss_percent(), 0);
}

TEST_F(SelectorTest, ThreePingsMissedInSilenceAreALossInLessThanASecond) {
  start_with({kRelay}, {kPublicCandidate});
  alive = {{kPublic, 20ms}, {kRelay, 40ms}};
  run(3s);
  selector.handle_traffic(now);
  run(100ms);
  selector.handle_received(now, kPublic, now);
  alive.erase(kPublic);
  run(kWatch + 2 * kWatchAgain + kPongWaitMin - 10ms);
  EXPECT_EQ(selector.selected(), kPublic);
  run(20ms);
  EXPECT_EQ(selector.selected(), kRelay);
  EXPECT_EQ(selector.stats().pings_lost, 3u);
}

TEST_F(SelectorTest, APeerThatIsHeardIsNotLeftForThreeMissesButWhenItSaysThatItHearsNothing) {
  start_with({kRelay}, {kPublicCandidate});
  alive = {{kPublic, 20ms}, {kRelay, 40ms}};
  run(3s);
  alive.erase(kPublic);
  const auto hear = [&](Duration d) {
    for (const Time end = now + d; now < end; run(10ms)) {
      selector.handle_received(now, kPublic, now);
      selector.handle_traffic(now);
    }
  };
  hear(kPongWaitMin + 3 * kWatchAgain);
  EXPECT_EQ(selector.selected(), kPublic);
  wire::Probe deaf{.tag = wire::probe_tag(key.bytes(), public_key(2)),
                   .transaction = 1,
                   .instance = peer_instance,
                   .selected = true,
                   .deaf = true};
  selector.handle_packet(now, kPublic, wire::write_probe(deaf, key.bytes()));
  hear(kPongWaitMin + 20ms);
  EXPECT_EQ(selector.selected(), kRelay);
}

TEST_F(SelectorTest, WhereIcmpSaysThatNobodyIsThereOneQuickMissIsEnough) {
  start_with({kRelay, kOtherRelay}, {});
  alive = {{kRelay, 20ms}, {kOtherRelay, 40ms}};
  run(10s);
  selector.handle_traffic(now);
  run(100ms);
  ASSERT_EQ(selector.selected(), kRelay);
  alive.erase(kRelay);
  selector.handle_unreachable(now, kRelay.endpoint);
  run(kRefusedWait - 1ms);
  EXPECT_EQ(selector.selected(), kRelay);
  run(2ms);
  EXPECT_EQ(selector.selected(), kOtherRelay);
}

TEST_F(SelectorTest, ForgedIcmpCostsAPingASecond) {
  start_with({kRelay, kOtherRelay}, {});
  alive = {{kRelay, 20ms}, {kOtherRelay, 40ms}};
  run(10s);
  counts.clear();
  for (int i = 0; i < 1000; ++i) {
    selector.handle_unreachable(now, kRelay.endpoint);
    run(10ms);
  }
  EXPECT_EQ(selector.selected(), kRelay);
  EXPECT_EQ(selector.stats().losses, 0u);
  EXPECT_LE(counts[kRelay], 13);
}

TEST_F(SelectorTest, IcmpSpeaksOfThePathOfItsSocketAlone) {
  start_with({kRelay, kOtherRelay}, {});
  alive = {{kRelay, 20ms}, {kOtherRelay, 40ms}};
  run(10s);
  EXPECT_FALSE(selector.would_ask(now, kRelay.endpoint, 7));
  EXPECT_FALSE(selector.would_ask(now, kPublic.endpoint, 0));
  ASSERT_TRUE(selector.would_ask(now, kRelay.endpoint, 0));
  counts.clear();
  selector.handle_unreachable(now, kRelay.endpoint, 7);
  run(1ms);
  EXPECT_EQ(counts[kRelay], 0);
  selector.handle_unreachable(now, kRelay.endpoint, 0);
  run(1ms);
  EXPECT_EQ(counts[kRelay], 1);
  EXPECT_FALSE(selector.would_ask(now, kRelay.endpoint, 0)) << "it was asked just now";
}

TEST_F(SelectorTest, SaysThatItHearsNothing) {
  start_with({}, {kPublicCandidate});
  answer(kPublic, 20ms);
  selector.handle_traffic(now);
  run(kWatch + 2 * kWatchAgain);
  std::vector<bool> deaf;
  for (const auto& transmit : transmits()) {
    const auto probe = wire::open_probe(transmit.datagram, key.bytes());
    if (transmit.path == kPublic && !probe->pong) deaf.push_back(probe->deaf);
  }
  EXPECT_EQ(deaf, (std::vector{false, true, true}));
}

TEST_F(SelectorTest, ALostPathIsUsedAgainWhenItAnsweredForAWhileAndLaterTheMoreOftenItFails) {
  start_with({kRelay}, {kPublicCandidate});
  Duration hold = kHold;
  for (int time = 0; time < 3; ++time) {
    alive = {{kPublic, 20ms}, {kRelay, 40ms}};
    const auto play_until = [&](const Path& path) {
      const Time began = now;
      while (selector.selected() != path && now - began < 2 * kHoldMax) {
        selector.handle_traffic(now);
        run(20ms);
      }
      return now - began;
    };
    const Duration waited = play_until(kPublic);
    if (time > 0) {
      EXPECT_GE(waited, hold) << time;
      EXPECT_LE(waited, hold + kHealProbe * 2) << time;
      hold *= 4;
    }
    alive.erase(kPublic);
    play_until(kRelay);
  }
}

TEST_F(SelectorTest, TheSecondPathIsPingedWhilePacketsFlow) {
  start_with({kRelay}, {kPublicCandidate});
  alive = {{kPublic, 20ms}, {kRelay, 40ms}};
  run(20s);
  counts.clear();
  for (int tick = 0; tick < 100; ++tick) {
    selector.handle_traffic(now);
    run(100ms);
  }
  EXPECT_GE(counts[kRelay], 4);
  EXPECT_LE(counts[kRelay], 6);
}

TEST_F(SelectorTest, WithoutAnythingElseTheOldPathStaysChosenAndIsTriedAgain) {
  start_with({}, {kPublicCandidate});
  answer(kPublic, 20ms);
  selector.handle_traffic(now);
  run(4s);
  EXPECT_EQ(selector.selected(), kPublic);
  EXPECT_FALSE(selector.is_valid());
  EXPECT_EQ(selector.state(), PeerState::kConnecting);
  run(10s);
  EXPECT_EQ(selector.state(), PeerState::kUnreachable);
  transmits();
  run(5s);
  EXPECT_GE(answer(kPublic, 20ms), 1);
  EXPECT_EQ(selector.state(), PeerState::kConnected);
}

}  // namespace
}  // namespace lanrage::paths
