#include <gmock/gmock.h>

#include "paths/test_peer.h"

namespace lanrage::paths {
namespace {

// ---- Bootstrapping

TEST_F(SelectorTest, ChoosesTheRelayAtOnceAndUnproven) {
  selector.start(now);
  selector.set_relays(now, {kRelay});
  const auto selected = events(Kind::kSelected);
  ASSERT_EQ(selected.size(), 1u);
  EXPECT_EQ(selected[0].path, kRelay);
  EXPECT_FALSE(selected[0].valid);
  EXPECT_EQ(selector.state(), PeerState::kConnecting);
}

TEST_F(SelectorTest, AsksThePeerToCallWhenItStarts) {
  selector.start(now);
  const auto signals = events(Kind::kSignal);
  ASSERT_EQ(signals.size(), 1u);
  EXPECT_TRUE(signals[0].call_me_now);
}

TEST_F(SelectorTest, PingsEveryCandidateAndTheRelayAtOnce) {
  start_with({kRelay}, {kLanCandidate, kPublicCandidate});
  EXPECT_THAT(pinged(), testing::UnorderedElementsAre(kRelay, kLan, kPublic));
}

TEST_F(SelectorTest, ABurstIsTenPingsWithinEightSeconds) {
  start_with({}, {kPublicCandidate});
  EXPECT_EQ(pinged().size(), 1u);
  run(100ms);
  EXPECT_EQ(pinged().size(), 1u);
  run(150ms);
  EXPECT_EQ(pinged().size(), 1u);
  run(4200ms);  // before the first retry, 4.5 s from the start at the earliest
  EXPECT_EQ(pinged().size(), 5u);
}

TEST_F(SelectorTest, AnswersASignalThatAsksForACallButNotAnAnswer) {
  start_with({}, {kPublicCandidate});
  events();
  run(2s);
  auto message = signal({kPublicCandidate});
  selector.handle_signal(now, message);
  EXPECT_TRUE(events(Kind::kSignal).empty());
  message.call_me_now = true;
  selector.handle_signal(now, message);
  const auto signals = events(Kind::kSignal);
  ASSERT_EQ(signals.size(), 1u);
  EXPECT_FALSE(signals[0].call_me_now);
}

TEST_F(SelectorTest, NeverProbesWhatCannotBeAPeer) {
  start_with({}, {{CandidateKind::kHost, *Endpoint::parse("127.0.0.1:5")},
                  {CandidateKind::kHost, *Endpoint::parse("224.0.0.1:5")},
                  {CandidateKind::kHost, *Endpoint::parse("0.0.0.0:5")},
                  {CandidateKind::kHost, *Endpoint::parse("255.255.255.255:5")},
                  {CandidateKind::kHost, *Endpoint::parse("[fe80::1]:5")},
                  {CandidateKind::kHost, *Endpoint::parse("192.0.2.1:0")}});
  EXPECT_TRUE(pinged().empty());
}

TEST_F(SelectorTest, NeverProbesItself) {
  selector.set_local({}, {kLanCandidate});
  start_with({}, {kLanCandidate, kPublicCandidate});
  EXPECT_THAT(pinged(), testing::ElementsAre(kPublic));
}

// ---- Promotion

TEST_F(SelectorTest, PromotesTheDirectPathOnlyAfterItsPong) {
  start_with({kRelay}, {kPublicCandidate});
  EXPECT_EQ(selector.selected(), kRelay);
  receive_ping(kPublic);
  EXPECT_EQ(selector.selected(), kRelay);
  EXPECT_GE(answer(kPublic, 20ms), 1);
  EXPECT_EQ(selector.selected(), kPublic);
  EXPECT_EQ(selector.state(), PeerState::kConnected);
  EXPECT_EQ(selector.quality()->rtt_last(), 20ms);
  EXPECT_EQ(selector.why(now), "");
}

TEST_F(SelectorTest, ProvesNothingByAPongFromAnotherPlaceOrToNoPing) {
  start_with({}, {kPublicCandidate});
  const auto sent = transmits();
  const auto ping = wire::open_probe(sent[0].datagram, key.bytes());
  receive_pong(kElsewhere, ping->transaction);
  receive_pong(kPublic, ping->transaction + 2);
  EXPECT_FALSE(selector.is_valid());
  EXPECT_EQ(selector.stats().dropped_stale, 2u);
}

TEST_F(SelectorTest, IgnoresProbesUnderAnotherKey) {
  start_with({}, {kPublicCandidate});
  transmits();
  const wire::Probe ping{.tag = wire::probe_tag(key.bytes(), public_key(2)), .transaction = 5};
  selector.handle_packet(now, kPublic, wire::write_probe(ping, probe_key(8).bytes()));
  EXPECT_TRUE(transmits().empty());
  EXPECT_EQ(selector.stats().dropped_unauthenticated, 1u);
}

TEST_F(SelectorTest, IgnoresItsOwnProbesReflected) {
  start_with({}, {kPublicCandidate});
  const auto sent = transmits();
  selector.handle_packet(now, kPublic, sent[0].datagram);
  EXPECT_TRUE(transmits().empty());
  EXPECT_EQ(selector.stats().dropped_unauthenticated, 1u);
}

TEST_F(SelectorTest, PrefersTheLanToTheWayAroundTheRouter) {
  start_with({}, {kLanCandidate, kPublicCandidate});
  std::vector<Selector::Transmit> sent = transmits();
  now += 2ms;
  for (const Path& path : {kPublic, kLan}) {  // the router's answer comes first
    for (const auto& transmit : sent) {
      if (transmit.path == path) receive_pong(path, wire::open_probe(transmit.datagram, key.bytes())->transaction);
    }
  }
  EXPECT_EQ(selector.selected(), kLan);
}

TEST_F(SelectorTest, AnswersAPingOnItsOwnPathAndTellsWhereItCameFrom) {
  start_with({kRelay}, {});
  transmits();
  receive_ping(kElsewhere);
  receive_ping(kRelay);
  const auto sent = transmits();
  const auto direct = wire::open_probe(sent[0].datagram, key.bytes());
  EXPECT_EQ(sent[0].path, kElsewhere);
  EXPECT_TRUE(direct->pong);
  EXPECT_EQ(direct->observed, kElsewhere.endpoint);
  const auto relayed = std::find_if(sent.begin(), sent.end(), [&](const auto& t) {
    return t.path == kRelay && wire::open_probe(t.datagram, key.bytes())->pong;
  });
  ASSERT_NE(relayed, sent.end());
  EXPECT_FALSE(wire::open_probe(relayed->datagram, key.bytes())->observed);
}

TEST_F(SelectorTest, ANewSourceIsPingedBackOnceAPing) {
  start_with({kRelay}, {});
  transmits();
  receive_ping(kElsewhere);
  EXPECT_THAT(pinged(), testing::ElementsAre(kElsewhere));
  receive_ping(kElsewhere);  // a flood of recordings is not multiplied
  EXPECT_TRUE(pinged().empty());
  now += kTriggerGap;
  receive_ping(kElsewhere);
  EXPECT_EQ(answer(kElsewhere, 10ms), 1);
  EXPECT_EQ(selector.selected(), kElsewhere);
}

TEST_F(SelectorTest, TheTableOfSourcesIsBounded) {
  start_with({kRelay}, {kPublicCandidate});
  for (std::uint16_t port = 1; port < 1000; ++port) {
    now += kTriggerGap;
    receive_ping({{kElsewhere.endpoint.address, port}, false});
    transmits();
  }
  EXPECT_LE(selector.paths().size(), kPeerReflexiveMax + 2);
  EXPECT_TRUE(selector.is_consistent());
}

// Ports that both ends foresaw all open at once: pings from each of them, faster than their answers come.
TEST_F(SelectorTest, ManyNewSourcesDoNotPushEachOtherOutBeforeTheirAnswersCome) {
  start_with({kRelay}, {});
  for (std::uint16_t port = 0; port < 16; ++port)
    alive[{{kElsewhere.endpoint.address, static_cast<std::uint16_t>(20000 + port)}, false}] = 150ms;
  for (int round = 0; round < 4; ++round) {
    for (const auto& [path, rtt] : alive) {
      receive_ping(path);
      run(5ms);
    }
  }
  EXPECT_TRUE(selector.is_direct());
  int sent = 0;
  for (const auto& [path, count] : counts) sent += count;
  EXPECT_LE(sent, 2 * 16) << "no storm of pings";
}

// ---- Changing

TEST_F(SelectorTest, FollowsDataFromANewPlaceWhenTheOldIsSilent) {
  start_with({kRelay}, {kPublicCandidate});
  answer(kPublic, 20ms);
  now += 100ms;
  selector.handle_received(now, kElsewhere, now);
  selector.handle_timeout(now);
  EXPECT_EQ(selector.selected(), kPublic);  // not before it is proven
  EXPECT_GE(answer(kElsewhere, 20ms), 1);
  EXPECT_EQ(selector.selected(), kElsewhere);
}

TEST_F(SelectorTest, DoesNotFollowWhenTheOldPathIsAlive) {
  start_with({kRelay}, {kPublicCandidate});
  answer(kPublic, 20ms);
  now += 100ms;
  selector.handle_received(now, kElsewhere, now);
  selector.handle_timeout(now);
  now += 1ms;
  selector.handle_received(now, kPublic, now);
  EXPECT_GE(answer(kElsewhere, 20ms), 1);
  EXPECT_EQ(selector.selected(), kPublic);
}

TEST_F(SelectorTest, StaysWhenAnotherPathIsOnlyALittleBetter) {
  const Candidate other{CandidateKind::kServerReflexive, kElsewhere.endpoint};
  start_with({}, {kPublicCandidate, other});
  std::vector<Selector::Transmit> sent = transmits();
  const auto pong = [&](const Path& path) {
    for (const auto& transmit : sent) {
      if (transmit.path == path) receive_pong(path, wire::open_probe(transmit.datagram, key.bytes())->transaction);
    }
  };
  now += 20ms;
  pong(kPublic);
  run(kStay);
  events();
  sent = transmits();
  // The other answers its latest ping 1 ms quicker than ours did.
  const auto latest = std::find_if(sent.rbegin(), sent.rend(), [](const auto& t) { return t.path == kElsewhere; });
  ASSERT_NE(latest, sent.rend());
  EXPECT_TRUE(is_valid(kPublic));
  selector.restart(now);
  selector.handle_timeout(now);
  EXPECT_GE(answer(kElsewhere, 19ms), 1);
  EXPECT_EQ(selector.selected(), kPublic);
  EXPECT_TRUE(events(Kind::kSelected).empty());
}

TEST_F(SelectorTest, MovesToAMuchBetterPathAfterItsStay) {
  const Candidate other{CandidateKind::kServerReflexive, kElsewhere.endpoint};
  start_with({}, {kPublicCandidate});
  EXPECT_EQ(answer(kPublic, 90ms), 1);
  selector.handle_signal(now, signal({kPublicCandidate, other}));
  selector.handle_timeout(now);
  EXPECT_EQ(answer(kElsewhere, 20ms), 1);
  EXPECT_EQ(selector.selected(), kPublic);
  run(kStay);
  selector.handle_timeout(now);
  EXPECT_EQ(selector.selected(), kElsewhere);
}

TEST_F(SelectorTest, PunchesAgainWithBackoffWhileRelayed) {
  start_with({kRelay}, {kPublicCandidate});
  alive = {{kRelay, 20ms}};
  run(1s);
  const auto bursts = selector.stats().bursts;
  run(300s);
  const auto again = selector.stats().bursts - bursts;
  EXPECT_GE(again, 5u);  // after 5, 15, 35, 75, 155, 315 s
  EXPECT_LE(again, 6u);
}

// ---- Relays

TEST_F(SelectorTest, TriesTheNextRelayWhenThePeerIsAbsentFromTheFirst) {
  start_with({kRelay, kOtherRelay}, {});
  EXPECT_EQ(selector.selected(), kRelay);
  selector.handle_relay_absent(now, kRelay);
  EXPECT_EQ(selector.selected(), kOtherRelay);
}

TEST_F(SelectorTest, AnAbsenceThatNobodyVouchesForBreaksNoProvenPath) {
  start_with({kRelay, kOtherRelay}, {});
  answer(kRelay, 20ms);
  for (int i = 0; i < 5; ++i) selector.handle_relay_absent(now, kRelay);
  EXPECT_EQ(selector.selected(), kRelay);
  EXPECT_TRUE(selector.is_valid());
}

TEST_F(SelectorTest, ARelayThatIsGoneIsLeftAtOnce) {
  start_with({kRelay}, {});
  answer(kRelay, 20ms);
  events();
  selector.set_relays(now, {kOtherRelay});
  EXPECT_EQ(selector.selected(), kOtherRelay);
  selector.set_relays(now, {});
  EXPECT_EQ(selector.selected(), std::nullopt);
  EXPECT_EQ(events(Kind::kLost).size(), 1u);
}

// ---- Restarts and keys

TEST_F(SelectorTest, ReportsARestartByThePingThatTellsItAndWhenAPongProvesIt) {
  start_with({}, {kPublicCandidate});
  answer(kPublic, 20ms);
  events();
  peer_instance = 23;
  now += kTriggerGap;
  receive_ping(kPublic);
  EXPECT_EQ(events(Kind::kPeerRestarted).size(), 1u);
  EXPECT_EQ(answer(kPublic, 20ms), 1);
  EXPECT_EQ(events(Kind::kPeerRestarted).size(), 1u);
}

TEST_F(SelectorTest, RecordedPingsOfOtherInstancesAreRarelyTakenForARestart) {
  start_with({}, {kPublicCandidate});
  answer(kPublic, 20ms);
  events();
  for (std::uint32_t i = 0; i < 100; ++i) {
    peer_instance = 100 + i;
    now += 20ms;
    receive_ping(kPublic);
  }
  EXPECT_EQ(events(Kind::kPeerRestarted).size(), 1u);
  EXPECT_EQ(selector.selected(), kPublic);
  EXPECT_TRUE(selector.is_valid());
}

TEST_F(SelectorTest, ARestartedPeerIsReachedOnlyByWhatAnsweredSince) {
  start_with({kRelay}, {kLanCandidate, kPublicCandidate});
  alive = {{kRelay, 40ms}, {kLan, 1ms}, {kPublic, 20ms}};
  run(1s);
  ASSERT_EQ(selector.selected(), kLan);
  peer_instance = 23;  // and has another port
  alive = {{kRelay, 40ms}};
  receive_ping(kRelay);
  run(41ms);
  EXPECT_EQ(selector.selected(), kRelay);
  EXPECT_TRUE(selector.is_valid());
  EXPECT_FALSE(is_valid(kLan) || is_valid(kPublic));
  alive[kElsewhere] = 20ms;
  receive_ping(kElsewhere);
  run(21ms);
  EXPECT_EQ(selector.selected(), kElsewhere);
}

TEST_F(SelectorTest, ALateAnswerOfTheInstanceBeforeARestartChangesNothing) {
  start_with({}, {kPublicCandidate});
  answer(kPublic, 20ms);
  now += 1s;
  selector.restart(now);
  selector.handle_timeout(now);
  std::uint64_t flying = 0;
  for (const auto& transmit : transmits()) flying = wire::open_probe(transmit.datagram, key.bytes())->transaction;
  peer_instance = 23;
  receive_ping(kElsewhere);
  events();
  answer(kElsewhere, 20ms);
  EXPECT_EQ(events(Kind::kPeerRestarted).size(), 1u);
  peer_instance = 22;
  receive_pong(kPublic, flying);
  EXPECT_EQ(selector.selected(), kElsewhere);
  EXPECT_TRUE(selector.is_valid());
  EXPECT_TRUE(events(Kind::kPeerRestarted).empty());
}

TEST_F(SelectorTest, KeepsThePathWhileThePeerHasOnlyTheOlderKey) {
  start_with({}, {kPublicCandidate});
  answer(kPublic, 20ms);
  const ProbeKey newer = probe_key(9);
  selector.set_keys({newer, key});
  EXPECT_EQ(selector.receive_tags().size(), 2u);
  selector.handle_traffic(now);
  run(kWatch);
  int old_key = 0;
  int new_key = 0;
  for (const auto& transmit : transmits()) {
    if (const auto ping = wire::open_probe(transmit.datagram, key.bytes())) {
      ++old_key;
      now += 20ms;
      receive_pong(kPublic, ping->transaction);
    }
    if (wire::open_probe(transmit.datagram, newer.bytes())) ++new_key;
  }
  EXPECT_EQ(old_key, 1);
  EXPECT_EQ(new_key, 1);
  EXPECT_TRUE(selector.is_valid());
}

// ---- Guesses

TEST_F(SelectorTest, AGuessBecomesAPathByItsPongAndIsProvenAsAnyOther) {
  start_with({kRelay}, {});
  answer(kRelay, 20ms);
  const Path guessed{kElsewhere.endpoint, false, 3}, other{kPublic.endpoint, false, 4};
  transmits();
  selector.guess(guessed);
  selector.guess(other);
  const auto sent = transmits();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(sent[0].path, guessed);
  run(1s);
  EXPECT_THAT(pinged(), testing::Not(testing::Contains(guessed))) << "a guess alone is no path";
  receive_pong(guessed, wire::open_probe(sent[0].datagram, key.bytes())->transaction);
  EXPECT_EQ(selector.selected(), kRelay);
  selector.handle_timeout(now);
  EXPECT_EQ(answer(guessed, 30ms), 1);
  EXPECT_EQ(selector.selected(), guessed);
  EXPECT_TRUE(selector.is_direct());
  EXPECT_EQ(selector.sockets(now), std::vector<std::uint16_t>{3});
}

TEST_F(SelectorTest, ARecordedPongToAGuessMakesUsLookAtOnePlaceOnly) {
  start_with({kRelay}, {});
  const Path guessed{kElsewhere.endpoint, false, 3}, mirror{kPublic.endpoint, false};
  selector.guess(guessed);
  const auto guess = wire::open_probe(transmits().back().datagram, key.bytes())->transaction;
  receive_pong(kOtherRelay, guess);
  receive_pong(guessed, guess);
  receive_pong(mirror, guess);
  selector.handle_timeout(now);
  const auto looked_at = pinged();
  EXPECT_THAT(looked_at, testing::Contains(guessed));
  EXPECT_THAT(looked_at, testing::Not(testing::Contains(mirror)));
  EXPECT_THAT(looked_at, testing::Not(testing::Contains(kOtherRelay)));
}

TEST_F(SelectorTest, APongToNoGuessMakesNoPath) {
  start_with({kRelay}, {});
  selector.guess({kElsewhere.endpoint, false, 3});
  const auto ping = wire::open_probe(transmits().back().datagram, key.bytes());
  receive_pong({kElsewhere.endpoint, false, 3}, ping->transaction + 1);
  selector.handle_timeout(now);
  EXPECT_THAT(pinged(), testing::Not(testing::Contains(Path{kElsewhere.endpoint, false, 3})));
}

TEST_F(SelectorTest, KeepsTheSocketOfALostPathForAWhileAndForgetsThoseThatWereClosed) {
  start_with({kRelay}, {});
  const Path proven{kElsewhere.endpoint, false, 3}, heard{kPublic.endpoint, false, 4};
  receive_ping(proven);
  selector.handle_timeout(now);
  answer(proven, 20ms);
  receive_ping(heard);
  EXPECT_EQ(selector.sockets(now), std::vector<std::uint16_t>{3});
  selector.close_sockets({3});
  transmits();
  run(kKeepaliveDefault * 2 + 10s);  // nothing answers any more
  EXPECT_FALSE(selector.is_direct());
  EXPECT_THAT(pinged(), testing::Not(testing::Contains(heard)));
  EXPECT_EQ(selector.sockets(now), std::vector<std::uint16_t>{3});
  EXPECT_TRUE(selector.sockets(now + kLostFor + 1min).empty());
}

// ---- Keys

TEST_F(SelectorTest, UsesTheNewestKeyAloneOnceThePeerWasHeardUnderIt) {
  start_with({}, {kPublicCandidate});
  answer(kPublic, 20ms);
  selector.set_keys({probe_key(9), key});
  key = probe_key(9);
  selector.handle_traffic(now);
  run(kActiveProbe);
  for (const auto& transmit : transmits()) {
    if (const auto ping = wire::open_probe(transmit.datagram, key.bytes())) receive_pong(kPublic, ping->transaction);
  }
  selector.handle_traffic(now);
  run(kActiveProbe);
  for (const auto& transmit : transmits()) EXPECT_TRUE(wire::open_probe(transmit.datagram, key.bytes()));
}

}  // namespace
}  // namespace lanrage::paths
