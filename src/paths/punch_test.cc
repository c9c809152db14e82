#include "paths/punch.h"

#include <gtest/gtest.h>

#include <map>

namespace lanrage::paths {
namespace {

using namespace std::chrono_literals;
using Method = Punch::Method;
using Offer = wire::SignalPunch;

const Endpoint kStun = *Endpoint::parse("198.51.100.1:41820");
const Endpoint kStunToo = *Endpoint::parse("198.51.100.1:41821");
const IpAddress kHome = *IpAddress::parse("203.0.113.5");
const Endpoint kPeer = *Endpoint::parse("203.0.113.9:5555");

constexpr Punch::End kFixed{true, Mapping::kEndpointIndependent, PortChoice::kUnknown};
constexpr Punch::End kCounting{true, Mapping::kDependent, PortChoice::kSequential};
constexpr Punch::End kRandom{true, Mapping::kDependent, PortChoice::kRandom};
constexpr Punch::End kNotYet{true, Mapping::kDependent, PortChoice::kUnknown};

// One end, its time, and a NAT of values.
struct PunchTest : testing::Test {
  SeededRng rng{1};
  ExtraSockets sockets;
  Punch punch{true, sockets, rng};
  Time now{1000s};
  std::vector<std::pair<Time, Path>> pinged;
  int offers = 0;

  wire::PeerSignal signal(const Punch::End& there, std::optional<Offer> offer = std::nullopt) {
    wire::PeerSignal message;
    message.mapping = there.mapping;
    message.network.ports = there.ports;
    if (there.seen) message.candidates = {{wire::CandidateKind::kServerReflexive, kPeer}};
    message.candidates.push_back({wire::CandidateKind::kHost, *Endpoint::parse("192.168.1.9:5555")});
    message.punch = offer;
    return message;
  }
  void begin(const Punch::End& here, const Punch::End& there) {
    punch.set_local(here, {kStun, kStunToo});
    punch.set_missing(now, true, true, 60ms);
    punch.handle_signal(now, signal(there));
  }
  void collect() {
    while (const auto path = punch.poll_guess()) pinged.emplace_back(now, *path);
    if (punch.poll_offer()) ++offers;
    sockets.keep_only({punch.sockets().begin(), punch.sockets().end()});
  }
  void run(Duration time) {
    const Time end = now + time;
    for (collect(); punch.next_timeout() && *punch.next_timeout() <= end; collect()) {
      now = std::max(now, *punch.next_timeout());
      punch.handle_timeout(now);
    }
    now = end;
  }
  // Servers see the sockets that ask at these ports, in turn.
  void answer(std::vector<std::uint16_t> ports) {
    std::vector<Punch::Question> questions;
    while (const auto question = punch.poll_question()) questions.push_back(*question);
    ASSERT_EQ(questions.size(), ports.size());
    for (std::size_t i = 0; i < ports.size(); ++i) {
      const auto request = wire::parse_stun_request(questions[i].datagram);
      std::array<std::uint8_t, wire::kStunResponseBytesMax> out{};
      const std::size_t size = wire::write_stun_response({request->transaction, {kHome, ports[i]}}, out);
      punch.handle_packet(now, questions[i].socket, questions[i].to, ByteView(out).first(size));
    }
    collect();
  }
};

TEST(PunchMethod, IsTheOneThatTheTwoNetworksAllow) {
  const struct {
    Punch::End here, there;
    Method first, second;
  } table[] = {
      {kFixed, kFixed, Method::kFresh, Method::kFresh},   {kCounting, kFixed, Method::kForesee, Method::kForesee},
      {kFixed, kCounting, Method::kNone, Method::kNone},  {kCounting, kCounting, Method::kForesee, Method::kNone},
      {kRandom, kFixed, Method::kMany, Method::kMany},    {kFixed, kRandom, Method::kNone, Method::kNone},
      {kRandom, kRandom, Method::kNone, Method::kNone},   {kRandom, kCounting, Method::kNone, Method::kNone},
      {kCounting, kRandom, Method::kNone, Method::kNone}, {kNotYet, kFixed, Method::kNone, Method::kNone},
      {{}, kFixed, Method::kNone, Method::kNone},         {kFixed, {}, Method::kNone, Method::kNone},
  };
  for (const auto& row : table) {
    EXPECT_EQ(Punch::method_of(row.here, row.there, true), row.first) << &row - table;
    EXPECT_EQ(Punch::method_of(row.here, row.there, false), row.second) << &row - table;
  }
}

TEST_F(PunchTest, TellsTheNextPortsAndOpensTheFirstAsTheyArrive) {
  begin(kCounting, kFixed);
  run(kForeseeAfter);
  answer({40000, 40002});
  EXPECT_EQ(punch.offer(), (Offer{Offer::Method::kPorts, punch.offer()->round, {kHome, 40004}, 2, kPortsAhead}));
  EXPECT_EQ(offers, 1);
  run(29ms);
  EXPECT_TRUE(pinged.empty()) << "a router that accepts anything would hold an early ping against its own";
  run(1ms);
  ASSERT_EQ(punch.sockets().size(), 1u);
  ASSERT_EQ(pinged.size(), 1u);
  EXPECT_EQ(pinged[0].second, (Path{kPeer, false, punch.sockets()[0]}));
}

TEST_F(PunchTest, AsksAgainAndGivesUpWithoutAnswers) {
  begin(kCounting, kFixed);
  run(kForeseeAfter + kSampleGap * (kSampleTries + 1));
  int questions = 0;
  while (punch.poll_question()) ++questions;
  EXPECT_EQ(questions, 0) << "those of an attempt that ended are not asked";
  EXPECT_TRUE(punch.sockets().empty());
  EXPECT_EQ(offers, 0);
  EXPECT_EQ(punch.stats().led, 1u);
}

TEST_F(PunchTest, PingsThePortsThatItIsTold) {
  begin(kFixed, kCounting);
  punch.handle_signal(now, signal(kCounting, Offer{Offer::Method::kPorts, 7, {kPeer.address, 65530}, 2, 999}));
  run(10s);
  std::map<Path, int> counts;
  for (const auto& [at, path] : pinged) ++counts[path];
  // 65530, 65532, 65534, then around the end: 0 is no port.
  EXPECT_EQ(counts.size(), static_cast<std::size_t>(kPortsAhead - 1));
  EXPECT_EQ((counts[{{kPeer.address, 65530}, false, 0}]), kRounds);
  EXPECT_EQ((counts[{{kPeer.address, 24}, false, 0}]), kRounds);
  EXPECT_EQ(punch.stats().guesses, pinged.size());
}

TEST_F(PunchTest, WhoCountsTooAnswersWithItsOwnPortsAndPingsInOrder) {
  begin(kCounting, kCounting);
  punch.handle_signal(now, signal(kCounting, Offer{Offer::Method::kPorts, 7, {kPeer.address, 50001}, 1, kPortsAhead}));
  run(1ms);
  answer({40000, 40001});
  ASSERT_TRUE(punch.offer());
  EXPECT_EQ(punch.offer()->round, 7u);
  EXPECT_EQ(punch.offer()->endpoint, (Endpoint{kHome, 40002}));
  run(100ms);
  ASSERT_EQ(pinged.size(), static_cast<std::size_t>(kPortsAhead));
  for (int i = 0; i < kPortsAhead; ++i) {
    const auto& [at, path] = pinged[static_cast<std::size_t>(i)];
    EXPECT_EQ(path, (Path{{kPeer.address, port_after(50001, 1, i)}, false, punch.sockets()[0]}));
  }
}

TEST_F(PunchTest, WhoLeadsPingsTheAnsweredPorts) {
  begin(kCounting, kCounting);
  run(kForeseeAfter);
  answer({40000, 40001});
  run(20ms);
  EXPECT_TRUE(pinged.empty()) << "each port of ours must meet the one of theirs";
  const std::uint32_t round = punch.offer()->round;
  punch.handle_signal(now,
                      signal(kCounting, Offer{Offer::Method::kPorts, round, {kPeer.address, 50001}, 1, kPortsAhead}));
  run(1ms);
  ASSERT_EQ(pinged.size(), 1u);
  EXPECT_EQ(pinged[0].second, (Path{{kPeer.address, 50001}, false, punch.sockets()[0]}));
}

TEST_F(PunchTest, AFreshSocketPingsWhenItsOfferArrives) {
  begin(kFixed, kFixed);
  run(kFreshAfter - 1ms);
  EXPECT_FALSE(punch.poll_question());
  run(1ms);
  answer({41000, 41000});
  ASSERT_TRUE(punch.offer());
  EXPECT_EQ(*punch.offer(), (Offer{Offer::Method::kPorts, punch.offer()->round, {kHome, 41000}, 0, 1}));
  run(29ms);
  EXPECT_TRUE(pinged.empty());
  run(kFreshTime - 30ms);
  EXPECT_EQ(pinged.size(), static_cast<std::size_t>(kRounds));
  // The next one waits until the peer has surely sent, the third waits for nothing.
  for (const Duration wait : {90ms, 0ms}) {
    const auto before = punch.sockets();
    run(*punch.next_timeout() - now);
    EXPECT_NE(punch.sockets(), before) << "abandoned";
    answer({41001, 41001});
    pinged.clear();
    const Time offered = now;
    run(kFreshTime - 1ms);
    ASSERT_FALSE(pinged.empty());
    EXPECT_EQ(pinged[0].first - offered, wait);
  }
}

// A public address without NAT is its candidate of kind host; servers see nothing else.
TEST_F(PunchTest, AnAddressOfThePeersOwnIsATargetToo) {
  punch.set_local(kRandom, {kStun, kStunToo});
  punch.set_missing(now, true, true, 60ms);
  wire::PeerSignal message;
  message.mapping = Mapping::kNone;
  message.candidates = {{wire::CandidateKind::kHost, *Endpoint::parse("192.168.1.9:5555")},
                        {wire::CandidateKind::kHost, kPeer}};
  message.udp_blocked = true;
  punch.handle_signal(now, message);
  run(kManyAfter);
  EXPECT_TRUE(pinged.empty()) << "nothing would get there";
  message.udp_blocked = false;
  punch.handle_signal(now, message);
  run(kManyAfter);
  ASSERT_FALSE(pinged.empty());
  EXPECT_EQ(pinged[0].second.endpoint, kPeer);
}

TEST_F(PunchTest, ManyPortsInTurnWithFreshSocketsWhereOneAddressAloneWasAsked) {
  constexpr Punch::End kUnsure{true, Mapping::kEndpointIndependent, PortChoice::kUnknown, false};
  begin(kUnsure, kFixed);
  run(kFreshAfter);
  for (const Duration again : {kFreshAgain[0], kFreshAgain[1]}) {
    answer({41000, 41000});
    run(again);
  }
  answer({41000, 41000});
  run(kHiddenAfter - kFreshAfter - kFreshAgain[0] - kFreshAgain[1] - 1ms);
  EXPECT_TRUE(punch.sockets().empty());
  run(1ms);
  EXPECT_EQ(punch.sockets().size(), kManySockets);
  EXPECT_EQ(punch.offer()->method, Offer::Method::kMany);
  run(1h);
  EXPECT_EQ(std::count_if(pinged.begin(), pinged.end(), [](const auto& ping) { return ping.second.socket != 0; }),
            static_cast<std::ptrdiff_t>(2 * kManySockets + 3 * kRounds));
}

TEST_F(PunchTest, WhoFollowedAFreshSocketLeadsSoonAfterwards) {
  Punch second(false, sockets, rng);
  second.set_local(kFixed, {kStun, kStunToo});
  second.set_missing(now, true, true, 60ms);
  second.handle_signal(now, signal(kFixed));
  const Time began = now;
  now += kFreshAfter + 100ms;
  second.handle_signal(now, signal(kFixed, Offer{Offer::Method::kPorts, 7, kPeer, 0, 1}));
  EXPECT_EQ(second.stats().followed, 1u);
  for (; second.stats().led == 0 && second.next_timeout(); second.handle_timeout(now)) now = *second.next_timeout();
  EXPECT_LE(now - began, kFreshAfterToo + 200ms);
  EXPECT_EQ(second.stats().led, 1u);
}

TEST_F(PunchTest, TheOtherEndTakesItsTurnsAndTriesManyPortsTwiceLikewise) {
  Punch second(false, sockets, rng);
  second.set_local({true, Mapping::kEndpointIndependent, PortChoice::kUnknown, false}, {kStun});
  second.set_missing(now, true, true, 60ms);
  second.handle_signal(now, signal(kFixed));
  EXPECT_EQ(second.next_timeout(), now + kFreshAfterToo);
  for (const Time end = now + 1h; second.next_timeout() && now < end; second.handle_timeout(now)) {
    now = std::max(now, *second.next_timeout());
    sockets.keep_only({second.sockets().begin(), second.sockets().end()});
  }
  EXPECT_EQ(second.stats().guesses, 2 * kManySockets);
}

TEST_F(PunchTest, ManySocketsAreOpenedAtTheStatedPace) {
  begin(kRandom, kFixed);
  run(kManyAfter - 1ms);
  EXPECT_TRUE(pinged.empty());
  const Time began = now + 1ms;
  run(kManyTime);
  EXPECT_EQ(pinged.size(), kManySockets);
  std::set<std::uint16_t> from;
  for (const auto& [at, path] : pinged) {
    from.insert(path.socket);
    EXPECT_EQ(path.endpoint, kPeer);
  }
  EXPECT_EQ(from.size(), kManySockets);
  EXPECT_FALSE(from.contains(0));
  EXPECT_EQ(pinged.back().first - began, kManySocketGap * (kManySockets - 1));
  EXPECT_NE(punch.why(), "");
  EXPECT_EQ(offers, 1);
  run(10ms);
  EXPECT_TRUE(punch.sockets().empty());
  EXPECT_EQ(punch.why(), "");
}

TEST_F(PunchTest, ManySocketsPingLateEverySecondTimeAndWhereTheFollowerSays) {
  begin(kRandom, kFixed);
  run(kManyAfter + kManyAgain[0] - 1ms);
  EXPECT_EQ(punch.stats().led, 1u);
  pinged.clear();
  run(1ms);
  ASSERT_TRUE(punch.offer());
  EXPECT_EQ(*punch.offer(), (Offer{Offer::Method::kMany, punch.offer()->round, {}, 1, kManySockets}));
  const Time began = now;
  const Endpoint fresh{kPeer.address, 42000};
  punch.handle_signal(now, signal(kFixed, Offer{Offer::Method::kPorts, punch.offer()->round, fresh, 0, 1}));
  run(kManyTime);
  ASSERT_EQ(pinged.size(), kManySockets);
  EXPECT_EQ(pinged.front().first - began, kManyLate);
  for (const auto& [at, path] : pinged) EXPECT_EQ(path.endpoint, fresh);
}

TEST_F(PunchTest, WhoFollowsALateOfferPingsFromAFreshSocketThatItTells) {
  begin(kFixed, kRandom);
  const Offer late{Offer::Method::kMany, 7, {}, 1, 256};
  punch.handle_signal(now, signal(kRandom, late));
  ASSERT_EQ(punch.sockets().size(), 1u);
  EXPECT_FALSE(punch.offer());
  answer({42000, 42000});
  EXPECT_EQ(*punch.offer(), (Offer{Offer::Method::kPorts, 7, {kHome, 42000}, 0, 1}));
  punch.handle_signal(now, signal(kRandom, late));  // the same again
  const Time began = now;
  run(kManyLate);
  ASSERT_EQ(pinged.size(), kManyPorts);
  for (const auto& [at, path] : pinged) EXPECT_EQ(path.socket, punch.sockets().front());
  EXPECT_EQ(pinged.back().first - began, kManyPortGap * (kManyPorts - 1));
  EXPECT_LT(kSampleTries * kSampleGap + kManyPortGap * kManyPorts, kManyLate);
  EXPECT_LT(kManyLate + kManySocketGap * kManySockets, kManyTime);
  run(kManyTime);
  EXPECT_TRUE(punch.sockets().empty());
}

TEST_F(PunchTest, WhoFollowsALateOfferWithoutAnswersUsesItsOwnSocket) {
  begin(kFixed, kRandom);
  punch.handle_signal(now, signal(kRandom, Offer{Offer::Method::kMany, 7, {}, 1, 256}));
  run(kManyTime);
  EXPECT_FALSE(punch.offer());
  ASSERT_EQ(pinged.size(), kManyPorts);
  for (const auto& [at, path] : pinged) EXPECT_EQ(path.socket, 0);
}

TEST_F(PunchTest, ManyPortsArePingedEachOnceAtTheStatedPace) {
  begin(kFixed, kRandom);
  punch.handle_signal(now, signal(kRandom, Offer{Offer::Method::kMany, 7, {}, 0, 256}));
  const Time began = now;
  run(kManyTime);
  EXPECT_EQ(pinged.size(), kManyPorts);
  std::set<std::uint16_t> ports;
  for (const auto& [at, path] : pinged) {
    EXPECT_EQ(path.endpoint.address, kPeer.address);
    EXPECT_EQ(path.socket, 0);
    EXPECT_GE(path.endpoint.port, 1024);
    ports.insert(path.endpoint.port);
  }
  EXPECT_EQ(ports.size(), kManyPorts);
  EXPECT_EQ(pinged.back().first - began, kManyPortGap * (kManyPorts - 1));
}

TEST_F(PunchTest, ADirectPathEndsEverything) {
  begin(kRandom, kFixed);
  run(kManyAfter + 500ms);
  EXPECT_EQ(punch.sockets().size(), kManySockets);
  punch.set_missing(now, false, true, {});
  pinged.clear();
  run(1h);
  EXPECT_TRUE(pinged.empty());
  EXPECT_TRUE(punch.sockets().empty());
  EXPECT_FALSE(punch.next_timeout());
}

TEST_F(PunchTest, IsRepeatedEverMoreRarely) {
  begin(kRandom, kFixed);
  run(24h);
  // After 3 s, a minute, five more, then every hour.
  EXPECT_EQ(punch.stats().led, 3u + 23u);
}

TEST_F(PunchTest, AServerThatComesAndGoesDoesNotMultiplyAttempts) {
  begin(kRandom, kFixed);
  for (int i = 0; i < 100; ++i) {
    punch.set_missing(now, true, i % 2 != 0, {});
    punch.handle_signal(now, signal(kFixed));
    run(5s);
  }
  EXPECT_EQ(punch.stats().led, 3u);  // within 500 s
}

TEST_F(PunchTest, ManySocketsAreOnePeersAtATime) {
  Punch other(true, sockets, rng);
  other.set_local(kRandom, {kStun});
  other.set_missing(now, true, true, {});
  other.handle_signal(now, signal(kFixed));
  begin(kRandom, kFixed);
  run(kManyAfter);
  other.handle_timeout(now);
  EXPECT_EQ(punch.sockets().size(), kManySockets);
  EXPECT_TRUE(other.sockets().empty());
  run(kManyTime);
  sockets.keep_only({});
  other.handle_timeout(now);
  EXPECT_EQ(other.sockets().size(), kManySockets) << "its turn";
}

TEST_F(PunchTest, OffersAreFollowedOnceAndNotTooOften) {
  begin(kFixed, kRandom);
  for (int i = 0; i < 100; ++i) {
    punch.handle_signal(now,
                        signal(kRandom, Offer{Offer::Method::kMany, static_cast<std::uint32_t>(i / 10), {}, 0, 256}));
    run(1s);
  }
  EXPECT_LE(pinged.size(), 3 * kManyPorts);
  EXPECT_LE(punch.stats().followed, 3u);
}

TEST_F(PunchTest, NobodyFollowsWithoutNeedOrToNowhere) {
  punch.set_local(kFixed, {kStun, kStunToo});
  punch.handle_signal(now, signal(kRandom, Offer{Offer::Method::kMany, 7, {}, 0, 256}));
  run(1min);
  EXPECT_TRUE(pinged.empty()) << "no path is missing";
  punch.set_missing(now, true, true, {});
  for (const char* nowhere : {"192.168.1.1:80", "127.0.0.1:80", "224.0.0.1:80", "255.255.255.255:80", "[::1]:80"}) {
    punch.handle_signal(now, signal(kFixed, Offer{Offer::Method::kPorts, rng.u32(), *Endpoint::parse(nowhere), 1, 16}));
    run(3s);
  }
  EXPECT_TRUE(pinged.empty());
}

TEST_F(PunchTest, AMachineThatSleptDoesNotCatchUp) {
  begin(kFixed, kRandom);
  punch.handle_signal(now, signal(kRandom, Offer{Offer::Method::kMany, 7, {}, 0, 256}));
  run(1s);
  const std::size_t before = pinged.size();
  now += 8s;
  punch.handle_timeout(now);
  collect();
  EXPECT_LE(pinged.size() - before, 51u);
}

}  // namespace
}  // namespace lanrage::paths
