#include "paths/selector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace lanrage::paths {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using Kind = Selector::Event::Kind;

const Path kRelay{*Endpoint::parse("198.51.100.1:41820"), true};
const Path kOtherRelay{*Endpoint::parse("198.51.100.2:41820"), true};
const Path kLan{*Endpoint::parse("192.168.1.9:5555"), false};
const Path kPublic{*Endpoint::parse("203.0.113.9:5555"), false};
const Path kElsewhere{*Endpoint::parse("203.0.113.77:6000"), false};

ProbeKey probe_key(std::uint8_t fill) {
  ProbeKey key;
  key.mutable_bytes()[0] = fill;
  return key;
}
crypto::PublicKey public_key(std::uint8_t fill) {
  ProbeKey raw = probe_key(fill);
  return crypto::PublicKey(raw.bytes());
}

// One selector and a peer made of values.
struct Fixture : testing::Test {
  SeededRng rng{1};
  Selector selector{{public_key(1), public_key(2), 11, 5555, false}, rng};
  Time now{1000s};
  ProbeKey key = probe_key(7);
  std::uint32_t peer_instance = 22;

  Fixture() { selector.set_keys({key}); }

  std::vector<Selector::Transmit> transmits() {
    std::vector<Selector::Transmit> all;
    while (auto one = selector.poll_transmit()) all.push_back(*one);
    return all;
  }
  // Paths pinged since last asked.
  std::vector<Path> pinged() {
    std::vector<Path> paths;
    for (const auto& transmit : transmits()) {
      if (!wire::open_probe(transmit.datagram, key.bytes())->pong) paths.push_back(transmit.path);
    }
    return paths;
  }
  std::vector<Selector::Event> events(std::optional<Kind> only = std::nullopt) {
    std::vector<Selector::Event> all;
    while (auto event = selector.poll_event()) {
      if (!only || event->kind == *only) all.push_back(*event);
    }
    return all;
  }
  // Paths in `alive` answer their pings after so long; what they were sent is counted and not kept.
  std::map<Path, Duration> alive;
  std::map<Path, int> counts;
  std::multimap<Time, std::pair<Path, std::uint64_t>> pongs;
  void run_until(Time end) {
    while (true) {
      if (!alive.empty()) {
        for (const auto& transmit : transmits()) {
          const auto probe = wire::open_probe(transmit.datagram, key.bytes());
          if (!probe || probe->pong) continue;
          ++counts[transmit.path];
          if (alive.count(transmit.path) == 0) continue;
          pongs.emplace(now + alive[transmit.path], std::pair(transmit.path, probe->transaction));
        }
      }
      const Time timeout = selector.next_timeout().value_or(kNever);
      const Time pong = pongs.empty() ? kNever : pongs.begin()->first;
      if (std::min(timeout, pong) > end) break;
      now = std::max(now, std::min(timeout, pong));
      if (pong <= timeout) {
        const auto [path, transaction] = pongs.begin()->second;
        pongs.erase(pongs.begin());
        receive_pong(path, transaction);
      } else {
        selector.handle_timeout(now);
      }
    }
    now = end;
  }
  void run(Duration d) { run_until(now + d); }
  // Answers the pings on `path` that wait to be sent, `rtt` from now.
  int answer(const Path& path, Duration rtt) {
    std::vector<wire::Probe> pings;
    for (const auto& transmit : transmits()) {
      const auto probe = wire::open_probe(transmit.datagram, key.bytes());
      if (transmit.path == path && !probe->pong) pings.push_back(*probe);
    }
    now += rtt;
    for (const wire::Probe& ping : pings) receive_pong(path, ping.transaction);
    return static_cast<int>(pings.size());
  }
  void receive_pong(const Path& path, std::uint64_t transaction) {
    wire::Probe pong{.pong = true,
                     .tag = wire::probe_tag(key.bytes(), public_key(2)),
                     .transaction = transaction,
                     .instance = peer_instance};
    selector.handle_packet(now, path, wire::write_probe(pong, key.bytes()));
  }
  void receive_ping(const Path& path, bool selected = false) {
    wire::Probe ping{.tag = wire::probe_tag(key.bytes(), public_key(2)),
                     .transaction = rng.u64(),
                     .instance = peer_instance,
                     .selected = selected};
    selector.handle_packet(now, path, wire::write_probe(ping, key.bytes()));
  }
  wire::PeerSignal signal(std::vector<Candidate> candidates) {
    wire::PeerSignal message;
    message.instance = peer_instance;
    message.candidates = std::move(candidates);
    return message;
  }
  void start_with(std::vector<Path> relays, std::vector<Candidate> candidates) {
    selector.start(now);
    selector.set_relays(now, relays);
    selector.handle_signal(now, signal(std::move(candidates)));
    selector.handle_timeout(now);
  }
  bool is_valid(const Path& path) {
    for (const auto& info : selector.paths()) {
      if (info.path == path) return info.valid;
    }
    return false;
  }
};
using SelectorTest = Fixture;
const Candidate kLanCandidate{CandidateKind::kHost, kLan.endpoint};
const Candidate kPublicCandidate{CandidateKind::kServerReflexive, kPublic.endpoint};

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

TEST_F(SelectorTest, ReportsARestartWhenAPongProvesItAndNotForAPing) {
  start_with({}, {kPublicCandidate});
  answer(kPublic, 20ms);
  events();
  peer_instance = 23;
  now += kTriggerGap;
  receive_ping(kPublic);
  EXPECT_TRUE(events(Kind::kPeerRestarted).empty());
  EXPECT_EQ(answer(kPublic, 20ms), 1);
  EXPECT_EQ(events(Kind::kPeerRestarted).size(), 1u);
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

// ---- Why

struct WhyCase {
  Mapping here, there;
  const char* says;
};

TEST_F(SelectorTest, SaysWhyAPathIsRelayedAndWhatToDo) {
  const WhyCase cases[] = {
      {Mapping::kDependent, Mapping::kDependent, "both networks use a random port"},
      {Mapping::kDependent, Mapping::kEndpointIndependent, "this network uses a random port"},
      {Mapping::kEndpointIndependent, Mapping::kDependent, "the other side's network uses a random port"},
      {Mapping::kEndpointIndependent, Mapping::kEndpointIndependent, "firewall"},
  };
  start_with({kRelay}, {kPublicCandidate});
  EXPECT_THAT(selector.why(now), HasSubstr("still trying"));
  alive = {{kRelay, 20ms}};
  run(6s);
  for (const WhyCase& c : cases) {
    selector.set_local({.mapping = c.here}, {kLanCandidate});
    auto message = signal({kPublicCandidate});
    message.mapping = c.there;
    selector.handle_signal(now, message);
    EXPECT_THAT(selector.why(now), HasSubstr(c.says));
    EXPECT_THAT(selector.why(now), HasSubstr("5555"));
  }
}

TEST_F(SelectorTest, SaysWhenTheFamiliesDiffer) {
  start_with({kRelay}, {{CandidateKind::kHost, *Endpoint::parse("[2001:db8::1]:5")}});
  selector.set_local({}, {kLanCandidate});
  alive = {{kRelay, 20ms}};
  run(6s);
  EXPECT_THAT(selector.why(now), HasSubstr("only IPv4"));
}

TEST_F(SelectorTest, SaysWhyNobodyAnswers) {
  start_with({}, {kPublicCandidate});
  run(6s);
  EXPECT_EQ(selector.state(), PeerState::kUnreachable);
  EXPECT_THAT(selector.why(now), HasSubstr("no relay"));
  selector.set_relays(now, {kRelay});
  EXPECT_THAT(selector.why(now), HasSubstr("neither"));
  selector.handle_relay_absent(now, kRelay);
  EXPECT_THAT(selector.why(now), HasSubstr("not connected to the relay"));
  auto message = signal({});
  message.udp_blocked = true;
  selector.handle_signal(now, message);
  EXPECT_THAT(selector.why(now), HasSubstr("the other side's network blocks UDP"));
  selector.set_local({.udp_blocked = true}, {});
  EXPECT_THAT(selector.why(now), HasSubstr("this network blocks UDP"));
}

}  // namespace
}  // namespace lanrage::paths
