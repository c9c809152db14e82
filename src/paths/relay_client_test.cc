#include <map>

#include "paths/test_relay.h"

namespace lanrage::paths {
namespace {

using Kind = RelayClient::Event::Kind;

TEST_F(RelayClientTest, RegistersInTwoRoundTrips) {
  client.add_index(now, 5);
  begin();
  const auto first = sent();
  ASSERT_EQ(first.size(), 1u);
  EXPECT_EQ(wire::parse_relay_register(first[0].datagram)->cookie, wire::RelayCookie{});
  challenge(first[0], {9});
  const auto second = sent();
  ASSERT_EQ(second.size(), 1u);
  const auto message = wire::parse_relay_register(second[0].datagram);
  EXPECT_EQ(message->cookie, (wire::RelayCookie{9}));
  ASSERT_EQ(message->indices.size(), 1u);
  EXPECT_EQ(message->indices[0], 5u);
  EXPECT_TRUE(client.registered().empty());
  now += 30ms;
  accept(second[0]);
  EXPECT_EQ(client.registered(), (std::vector<Path>{{kV4, true}}));
  EXPECT_EQ(events().at(0).kind, Kind::kRegistered);
  EXPECT_EQ(client.status().at(0).quality.rtt_last(), 30ms);
  EXPECT_EQ(client.status().at(0).observed, kUs);
}

TEST_F(RelayClientTest, SendsNothingWithoutAGrant) {
  client.set_relays(now, {{relay_public, {kV4}}});
  run(60s);
  EXPECT_TRUE(sent().empty());
}

TEST_F(RelayClientTest, UsesTheEndpointThatAnswersFirst) {
  begin({kV6, kV4});
  const auto questions = sent();
  ASSERT_EQ(questions.size(), 2u);
  challenge(questions[1]);
  challenge(questions[0]);
  const auto next = sent();
  ASSERT_EQ(next.size(), 1u);
  EXPECT_EQ(next[0].to, kV4);
}

TEST_F(RelayClientTest, StaysReachableWhereItIsRegisteredWhileTheRelayMoves) {
  enter();
  client.set_relays(now, {{relay_public, {kV6}}});
  EXPECT_EQ(client.registered(), (std::vector<Path>{{kV4, true}}));
  EXPECT_TRUE(client.is_relay(kV4)) << "what comes from there still comes relayed";
  EXPECT_EQ(client.id_of({kV4, true}), wire::relay_peer(relay_public));
  challenge(sent().at(0));
  accept(sent().at(0));
  EXPECT_EQ(client.registered(), (std::vector<Path>{{kV6, true}}));
  EXPECT_FALSE(client.is_relay(kV4));
}

TEST_F(RelayClientTest, AsksNoMoreThanFourEndpointsOfARelay) {
  begin();
  sent();
  std::vector<Endpoint> many;
  for (std::uint16_t i = 1; i <= 10; ++i) many.push_back({kV6.address, i});
  client.set_relays(now, {{relay_public, many}});
  EXPECT_EQ(sent().size(), kRelayEndpointsMax);
}

TEST_F(RelayClientTest, RefreshesEveryTwentySecondsAndSoMeasuresTheRoundTrip) {
  enter();
  settle();
  run(kRelayRefresh - 1ms);
  EXPECT_TRUE(sent().empty());
  run(1ms);
  const auto questions = sent();
  ASSERT_EQ(questions.size(), 1u);
  EXPECT_EQ(wire::parse_relay_refresh(questions[0].datagram)->session, session);
  now += 50ms;
  accept(questions[0]);
  EXPECT_EQ(client.status().at(0).quality.rtt_last(), 50ms);
  EXPECT_NEAR(milliseconds(*client.status().at(0).quality.rtt_ema()), 36, 0.01);
}

TEST_F(RelayClientTest, LosesARelayThatStopsAnsweringAndComesBack) {
  enter();
  settle();
  run(kRelayRefresh + 3500ms);
  EXPECT_EQ(sent().size(), 4u);
  EXPECT_TRUE(events().empty());
  run(250ms);
  const auto lost = events();
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].kind, Kind::kLost);
  EXPECT_TRUE(client.registered().empty());
  run(120s);
  const auto tries = sent();
  EXPECT_GT(tries.size(), 12u);
  EXPECT_LT(tries.size(), 60u);  // backing off
  challenge(tries.back());
  const auto next = sent();
  if (!next.empty()) accept(next.back());
  while (client.registered().empty()) {
    run(1s);
    for (const auto& question : sent()) {
      wire::parse_relay_register(question.datagram)->cookie == wire::RelayCookie{} ? challenge(question)
                                                                                   : accept(question);
    }
  }
  EXPECT_EQ(events().at(0).kind, Kind::kRegistered);
}

TEST_F(RelayClientTest, RegistersAgainAtOnceWithARelayThatForgotIt) {
  enter();
  settle();
  run(kRelayRefresh);
  const auto question = sent().at(0);
  client.handle_packet(now, kV4,
                       wire::write_relay_refused({transaction_of(question), wire::RelayRefusal::kUnknownSession}));
  const auto again = sent();
  ASSERT_EQ(again.size(), 1u);
  challenge(again[0]);
  session = 78;
  accept(sent().at(0));
  EXPECT_TRUE(events().empty());  // for the node nothing changed
  EXPECT_EQ(client.registered().size(), 1u);
}

TEST_F(RelayClientTest, AHintThatNobodyVouchesForMakesItAskOnceASecond) {
  enter();
  now += 5s;
  const Bytes hint = wire::write_relay_refused({0, wire::RelayRefusal::kUnknownSession});
  for (int i = 0; i < 10; ++i) client.handle_packet(now, kV4, hint);
  EXPECT_EQ(sent().size(), 1u);
  EXPECT_EQ(client.registered().size(), 1u);
}

TEST_F(RelayClientTest, TellsANewIndexAtOnceAndAGoneOneWithTheNext) {
  enter();
  client.add_index(now, 5);
  auto question = sent().at(0);
  EXPECT_EQ(wire::parse_relay_refresh(question.datagram)->added.size(), 1u);
  accept(question);
  client.remove_index(5);
  EXPECT_TRUE(sent().empty());
  client.add_index(now, 6);
  question = sent().at(0);
  const auto message = wire::parse_relay_refresh(question.datagram);
  ASSERT_EQ(message->added.size(), 1u);
  EXPECT_EQ(message->added[0], 6u);
  ASSERT_EQ(message->removed.size(), 1u);
  EXPECT_EQ(message->removed[0], 5u);
  accept(question);
  run(kRelayFirstGap);
  question = sent().at(0);
  EXPECT_EQ(wire::parse_relay_refresh(question.datagram)->added.size(), 0u);
  EXPECT_EQ(wire::parse_relay_refresh(question.datagram)->removed.size(), 0u);
}

TEST_F(RelayClientTest, AnIndexWhoseMessageIsLostIsToldAgain) {
  enter();
  client.add_index(now, 5);
  sent();
  client.add_index(now, 6);
  EXPECT_EQ(wire::parse_relay_refresh(sent().at(0).datagram)->added.size(), 2u);
  run(kRelayRetry);
  EXPECT_EQ(wire::parse_relay_refresh(sent().at(0).datagram)->added.size(), 2u);
}

TEST_F(RelayClientTest, NewIndicesDoNotPutOffTheLossOfARelayThatDied) {
  enter();
  settle();
  run(kRelayRefresh);
  const Duration patience = client.status().at(0).quality.rtt_ema().value_or(0ms) * 2;
  const Duration lost_after = 15 * std::clamp<Duration>(patience, kRelayRetry, kRelayRetryMax);
  ASSERT_FALSE(sent().empty());
  std::uint32_t index = 0;
  for (Duration silent = 0ms; silent < lost_after; silent += 50ms) {
    client.add_index(now, ++index);
    EXPECT_FALSE(sent().empty()) << "told at once";
    EXPECT_FALSE(client.registered().empty()) << "after " << milliseconds(silent) << " ms";
    run(50ms);
  }
  EXPECT_TRUE(client.registered().empty());
}

TEST_F(RelayClientTest, AnAnswerToWhatWasSaidAnewIsMeasuredFromThen) {
  enter();
  settle();
  run(kRelayRefresh);
  sent();
  const auto probes = client.status().at(0).quality.probes();
  run(100ms);
  client.add_index(now, 5);
  now += 40ms;
  accept(sent().back());
  EXPECT_EQ(client.status().at(0).quality.probes(), probes + 1);
  EXPECT_EQ(client.status().at(0).quality.rtt_last(), 40ms);
}

TEST_F(RelayClientTest, CountsEveryRelayWhoseQualityMeansNothingAnyMore) {
  enter();
  EXPECT_EQ(client.stats().forgotten, 0u);
  run(kRelayRefresh);
  EXPECT_TRUE(client.registered().empty());
  EXPECT_EQ(client.stats().forgotten, 1u) << "it died";
  client.set_relays(now, {});
  EXPECT_EQ(client.stats().forgotten, 2u) << "it is not listed any more";
}

TEST_F(RelayClientTest, CountsARelayThatIsMeasuredAloneAndDies) {
  std::vector<RelayAddress> many;
  for (std::size_t i = 0; i <= kRelaysMax; ++i)
    many.push_back({crypto::public_key(crypto::PrivateKey::generate(rng)), {kV6}});
  many.push_back({relay_public, {kV4}});
  client.set_grant(now, grant);
  client.set_relays(now, many);
  for (const auto& question : sent())
    if (question.to == kV4) challenge(question);
  ASSERT_NE(client.status().back().quality.probes(), 0u);
  EXPECT_EQ(client.stats().forgotten, 0u);
  run(kRelayMeasure);
  EXPECT_EQ(client.status().back().quality.probes(), 0u);
  EXPECT_EQ(client.stats().forgotten, 1u);
}

TEST_F(RelayClientTest, MoreIndicesThanAMessageHoldsFollowInTheNext) {
  for (std::uint32_t i = 0; i < 600; ++i) client.add_index(now, i);
  begin();
  challenge(sent().at(0));
  std::size_t told = 0;
  for (int i = 0; i < 3; ++i) {
    const auto question = sent().at(0);
    if (const auto m = wire::parse_relay_register(question.datagram)) told += m->indices.size();
    if (const auto m = wire::parse_relay_refresh(question.datagram)) told += m->added.size();
    accept(question);
  }
  EXPECT_EQ(told, 600u);
  EXPECT_TRUE(sent().empty());
}

TEST_F(RelayClientTest, ATakenIndexIsReportedAndForgotten) {
  enter();
  client.add_index(now, 5);
  accept(sent().at(0), {5, 999});  // 999 is none of ours
  const auto taken = events();
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0].kind, Kind::kIndexTaken);
  EXPECT_EQ(taken[0].index, 5u);
  session = 79;
  client.restart(now);
  challenge(sent().at(0));
  EXPECT_EQ(wire::parse_relay_register(sent().at(0).datagram)->indices.size(), 0u);
}

TEST_F(RelayClientTest, AsksForANewGrantWhenTheRelayRefusesThisOne) {
  begin();
  challenge(sent().at(0));
  const auto question = sent().at(0);
  client.handle_packet(now, kV4,
                       wire::write_relay_refused({transaction_of(question), wire::RelayRefusal::kExpiredGrant}));
  EXPECT_EQ(events().at(0).kind, Kind::kGrantWanted);
  run(20s);
  EXPECT_TRUE(sent().empty());
  client.set_grant(now, grant);
  EXPECT_EQ(sent().size(), 1u);
}

TEST_F(RelayClientTest, BelievesNoForgedAnswer) {
  begin();
  challenge(sent().at(0));
  const auto question = sent().at(0);
  Bytes forged = registered(transaction_of(question));
  forged.back() ^= 1;
  client.handle_packet(now, kV4, forged);
  client.handle_packet(now, kV4, registered(transaction_of(question) + 2));
  client.handle_packet(now, kV6, registered(transaction_of(question)));
  EXPECT_TRUE(client.registered().empty());
  EXPECT_EQ(client.stats().dropped_forged, 1u);
  EXPECT_EQ(client.stats().dropped_stale, 1u);
  EXPECT_EQ(client.stats().dropped_unknown_source, 1u);
}

TEST_F(RelayClientTest, UnframesWhatTheRelayDelivers) {
  enter();
  const Bytes payload = {1, 2, 3};
  Bytes datagram(wire::kRelayHeaderBytes + payload.size());
  RelayClient::frame(42, payload, datagram);
  EXPECT_FALSE(client.handle_packet(now, kV4, datagram));  // a Send is for relays
  wire::make_relay_deliver(datagram, 43);
  const auto inbound = client.handle_packet(now, kV4, datagram);
  ASSERT_TRUE(inbound);
  EXPECT_EQ(inbound->peer, 43u);
  EXPECT_EQ(inbound->path, (Path{kV4, true}));
  EXPECT_EQ(to_bytes(inbound->payload), payload);
  EXPECT_FALSE(client.handle_packet(now, kV6, datagram));
  client.handle_packet(now, kV4, wire::write_relay_absent({44}));
  const auto absent = events();
  ASSERT_EQ(absent.size(), 1u);
  EXPECT_EQ(absent[0].kind, Kind::kAbsent);
  EXPECT_EQ(absent[0].peer, 44u);
}

TEST_F(RelayClientTest, MovesFromARelayThatStopsAndLeavesItWhenNobodySendsByItAnyMore) {
  enter();
  const crypto::PrivateKey other = crypto::PrivateKey::generate(rng);
  const Endpoint other_at = *Endpoint::parse("198.51.100.2:41820");
  client.set_relays(now, {{relay_public, {kV4}}, {crypto::public_key(other), {other_at}}});
  challenge(sent().at(0));
  const auto question = sent().at(0);
  wire::RelayRegistered answer;
  answer.transaction = transaction_of(question);
  answer.lifetime_seconds = 60;
  answer.observed = kUs;
  client.handle_packet(now, other_at,
                       wire::write_relay_registered(answer, {},
                                                    *wire::relay_mac_key(device, crypto::public_key(other),
                                                                         device_public, crypto::public_key(other))));
  ASSERT_EQ(client.registered().size(), 2u);
  events();
  client.handle_packet(now, kV4, wire::write_relay_drain({session, 30}, key));
  EXPECT_EQ(client.registered(), (std::vector<Path>{{other_at, true}}));
  EXPECT_EQ(client.heard(), (std::vector<Endpoint>{kV4, other_at}));
  EXPECT_EQ(events().at(0).kind, Kind::kDraining);
  client.handle_packet(now, kV4, wire::write_relay_drain({session, 30}, key));  // told again
  EXPECT_TRUE(events().empty());
  run(kRelayLinger);
  auto last = sent();
  std::erase_if(last, [](const auto& one) { return !wire::parse_relay_leave(one.datagram); });
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(wire::parse_relay_leave(last[0].datagram)->session, session);
  EXPECT_EQ(client.heard(), std::vector<Endpoint>{other_at});
  run(kRelayBackoffMax);
  EXPECT_TRUE(wire::parse_relay_register(sent().back().datagram));  // it may be back
}

TEST_F(RelayClientTest, BelievesItsOwnRelayAloneThatItStops) {
  enter();
  crypto::PrivateKey stranger = crypto::PrivateKey::generate(rng);
  const auto wrong = *wire::relay_mac_key(stranger, device_public, device_public, relay_public);
  client.handle_packet(now, kV4, wire::write_relay_drain({session, 30}, wrong));
  EXPECT_EQ(client.stats().dropped_forged, 1u);
  client.handle_packet(now, kV4, wire::write_relay_drain({session + 1, 30}, key));  // of an earlier registration
  EXPECT_EQ(client.stats().dropped_stale, 1u);
  client.handle_packet(now, kUs, wire::write_relay_drain({session, 30}, key));
  EXPECT_EQ(client.stats().dropped_unknown_source, 1u);
  EXPECT_TRUE(events().empty());
  EXPECT_TRUE(client.handle_packet(now, kV4, wire::write_relay_drain({session, 30}, key)) == std::nullopt);
  EXPECT_EQ(client.registered().size(), 1u);  // there is no other
  EXPECT_EQ(events().at(0).kind, Kind::kDraining);
}

TEST_F(RelayClientTest, LeavesARelayThatIsNoLongerListed) {
  enter();
  client.set_relays(now, {});
  EXPECT_TRUE(client.status().empty());
  EXPECT_TRUE(sent().empty());  // others may send by it for a moment yet
  EXPECT_TRUE(client.is_relay(kV4));
  events();
  run(kRelayLinger);
  const auto bye = sent();
  ASSERT_EQ(bye.size(), 1u);
  EXPECT_EQ(wire::parse_relay_leave(bye[0].datagram)->session, session);
  EXPECT_EQ(events().at(0).kind, Kind::kDraining);
  EXPECT_TRUE(client.registered().empty());
  EXPECT_FALSE(client.is_relay(kV4));
  EXPECT_FALSE(client.next_timeout());
}
TEST_F(RelayClientTest, OneThatIsNotUsedIsMeasuredAndLeftWithoutState) {
  enter();
  std::vector<RelayAddress> many = {{relay_public, {kV4}}};
  while (many.size() <= kRelaysMax) many.push_back({crypto::public_key(crypto::PrivateKey::generate(rng)), {}});
  client.set_relays(now, many);
  EXPECT_EQ(events().at(0).kind, Kind::kLeft);
  run(kRelayLinger);
  auto questions = sent();
  ASSERT_EQ(questions.size(), 1u);
  EXPECT_TRUE(wire::parse_relay_leave(questions[0].datagram));
  EXPECT_TRUE(client.registered().empty());
  settle(40ms);
  EXPECT_TRUE(sent().empty());
  EXPECT_EQ(client.status().at(0).quality.rtt_last(), 40ms);
  run(kRelayMeasure - 1ms);
  EXPECT_TRUE(sent().empty());
  run(1ms);
  questions = sent();
  ASSERT_EQ(questions.size(), 1u);
  EXPECT_EQ(wire::parse_relay_register(questions[0].datagram)->cookie, wire::RelayCookie{});
  challenge(questions[0]);
  EXPECT_TRUE(sent().empty()) << "a challenge is all it wanted";
  const wire::RelayPeer id = wire::relay_peer(relay_public);
  client.use(now, std::span(&id, 1));
  challenge(sent().at(0));
  accept(sent().at(0));
  EXPECT_EQ(client.registered().size(), 1u);
}

TEST_F(RelayClientTest, WhereThereIsAnotherItAsksOftenAtFirst) {
  enter();
  client.set_relays(now, {{relay_public, {kV4}}, {crypto::public_key(crypto::PrivateKey::generate(rng)), {}}});
  const Time began = now;
  std::size_t questions = 0;
  for (run(kRelayFirstGap); client.status().at(0).quality.probes() < kRelayChoiceProbes; run(kRelayChoiceGap)) {
    const auto all = sent();
    ASSERT_EQ(all.size(), 1u);
    now += 30ms;
    accept(all[0]);
    ++questions;
  }
  EXPECT_EQ(questions, kRelayChoiceProbes - 2) << "two measured it while it was entered";
  EXPECT_LT(now - began, kRelayChoiceProbes * (kRelayChoiceGap + 30ms) + kRelayFirstGap);
  sent();
  run(kRelayRefresh - kRelayChoiceGap - 1ms);
  EXPECT_TRUE(sent().empty());
  run(1ms);
  EXPECT_EQ(sent().size(), 1u);
}

TEST_F(RelayClientTest, UsesEightOfManyAndMeasuresAll) {
  std::vector<RelayAddress> many;
  std::vector<wire::RelayPeer> last;
  for (std::uint8_t i = 1; i <= 50; ++i) {
    many.push_back({crypto::public_key(crypto::PrivateKey::generate(rng)), {{IpAddress::v4(198, 51, 100, i), 41820}}});
    if (i > 40) last.push_back(wire::relay_peer(many.back().key));
  }
  client.set_grant(now, grant);
  client.set_relays(now, many);
  const auto registering = [&] {
    std::size_t count = 0;
    for (const auto& question : sent()) {
      if (!wire::parse_relay_register(question.datagram)) continue;
      challenge(question);
      for (const auto& next : sent()) count += wire::parse_relay_register(next.datagram)->cookie[0];
    }
    return count;
  };
  EXPECT_EQ(registering(), 0u) << "nobody has chosen";
  client.use(now, last);
  EXPECT_EQ(registering(), kRelaysMax);
  for (const auto& one : client.status()) EXPECT_TRUE(one.quality.rtt_ema());
}

TEST_F(RelayClientTest, ADistantRelayIsMeasuredAndNothingCountsAsLost) {
  begin();
  std::multimap<Time, RelayClient::Transmit> arriving;
  const Time end = now + 30s;
  while (now < end) {
    for (auto& question : sent()) arriving.emplace(now + 600ms, std::move(question));
    const Time timeout = client.next_timeout().value_or(kNever);
    if (arriving.empty() || timeout < arriving.begin()->first) {
      now = timeout;
      client.handle_timeout(now);
      continue;
    }
    now = arriving.begin()->first;
    const RelayClient::Transmit question = std::move(arriving.begin()->second);
    arriving.erase(arriving.begin());
    const auto message = wire::parse_relay_register(question.datagram);
    message && message->cookie == wire::RelayCookie{} ? challenge(question) : accept(question);
  }
  EXPECT_EQ(client.status().at(0).quality.rtt_ema(), 600ms);
  EXPECT_EQ(client.status().at(0).quality.lost(), 0u);
  EXPECT_EQ(client.stats().losses, 0u);
}

TEST_F(RelayClientTest, WhatStaysUnansweredCountsAsLost) {
  enter();
  settle();
  run(kRelayRefresh + kRelayRetry);
  ASSERT_EQ(sent().size(), 2u);
  EXPECT_EQ(client.status().at(0).quality.lost(), 1u);
}

TEST_F(RelayClientTest, ListsTheQuickestRelayFirst) {
  const crypto::PrivateKey second = crypto::PrivateKey::generate(rng);
  const crypto::PublicKey second_public = crypto::public_key(second);
  client.set_grant(now, grant);
  client.set_relays(now, {{relay_public, {kV4}}, {second_public, {kV6}}});
  for (const auto& question : sent()) challenge(question);
  const auto questions = sent();
  now += 10ms;
  key = *wire::relay_mac_key(second, device_public, device_public, second_public);
  accept(questions[1]);
  now += 10ms;
  key = *wire::relay_mac_key(relay, device_public, device_public, relay_public);
  accept(questions[0]);
  EXPECT_EQ(client.registered(), (std::vector<Path>{{kV6, true}, {kV4, true}}));
  EXPECT_EQ(client.id_of({kV6, true}), wire::relay_peer(second_public));
}

}  // namespace
}  // namespace lanrage::paths
