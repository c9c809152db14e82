#include "paths/test_relay.h"

namespace lanrage::paths {
namespace {

using Kind = RelayClient::Event::Kind;

const Endpoint kEntrance = *Endpoint::parse("127.0.0.1:5555");

struct RelayClientStreamTest : RelayClientTest {
  void begin_with_streams() {
    client.set_grant(now, grant);
    client.set_relays(now, {{relay_public, {kV4}, true}});
  }
  // UDP says nothing; a stream is made, and registered by.
  void enter_by_stream() {
    begin_with_streams();
    run(kRelayFirstPatience);
    sent();
    client.set_stream(now, relay_public, kEntrance);
    challenge(to(kEntrance));
    accept(to(kEntrance));
    events();
  }
  // The newest question to there of those sent since the last look.
  RelayClient::Transmit to(const Endpoint& endpoint) {
    RelayClient::Transmit found;
    for (auto& one : sent())
      if (one.to == endpoint) found = one;
    EXPECT_EQ(found.to, endpoint);
    return found;
  }
};

TEST_F(RelayClientStreamTest, WantsOneOnceUdpOwedAnAnswerForTooLong) {
  begin_with_streams();
  run(kRelayFirstPatience - 1ms);
  EXPECT_TRUE(client.streams_wanted().empty());
  run(1ms);
  EXPECT_EQ(client.streams_wanted(), std::vector{relay_public});
  client.set_grant(now, {});
  EXPECT_TRUE(client.streams_wanted().empty());
}

TEST_F(RelayClientStreamTest, WantsNoneWhileARelayAnswersOverUdpAndNoneOfARelayWithout) {
  enter();
  settle();
  run(kRelayRefresh + kRelayPatience);
  EXPECT_TRUE(client.streams_wanted().empty()) << "this relay takes none";
  client.set_relays(now, {{relay_public, {kV4}, true}});
  EXPECT_FALSE(client.streams_wanted().empty());
  accept(sent().back());
  EXPECT_TRUE(client.streams_wanted().empty());
  run(kRelayRefresh + kRelayPatience - 1ms);
  EXPECT_TRUE(client.streams_wanted().empty()) << "one lost packet is none";
  run(1ms);
  EXPECT_EQ(client.streams_wanted(), std::vector{relay_public});
  accept(sent().back());
  EXPECT_TRUE(client.streams_wanted().empty());
}

TEST_F(RelayClientStreamTest, AMembersRelayIsNoReasonToDoWithout) {
  const crypto::PrivateKey member = crypto::PrivateKey::generate(rng);
  const RelayAddress theirs{crypto::public_key(member), {*Endpoint::parse("192.168.1.9:41823")}, false, true};
  enter_by_stream();
  client.set_relays(now, {{relay_public, {kV4}, true}, theirs});
  EXPECT_EQ(client.streams_wanted(), std::vector{relay_public}) << "while it is asked";
  challenge(to(theirs.endpoints.front()));
  EXPECT_EQ(client.streams_wanted(), std::vector{relay_public}) << "and when it answers";
  run(kRelayRefresh);
  EXPECT_EQ(client.streams_wanted(), std::vector{relay_public});
}

TEST_F(RelayClientStreamTest, DoesNotWaitWhereUdpIsKnownToBeSilent) {
  client.set_relays(now, {{relay_public, {kV4}, true}});
  client.doubt_udp();
  client.set_grant(now, grant);
  EXPECT_EQ(client.streams_wanted(), std::vector{relay_public});
  challenge(to(kV4));
  accept(to(kV4));
  EXPECT_TRUE(client.streams_wanted().empty()) << "it does answer";
  client.doubt_udp();
  EXPECT_TRUE(client.streams_wanted().empty()) << "who is registered is not doubted";
}

TEST_F(RelayClientStreamTest, RegistersByTheStreamAsByAnyEndpoint) {
  begin_with_streams();
  run(kRelayFirstPatience);
  sent();
  client.set_stream(now, relay_public, kEntrance);
  challenge(to(kEntrance));
  accept(to(kEntrance));
  const Path path{kEntrance, true};
  EXPECT_EQ(client.registered(), std::vector{path});
  EXPECT_TRUE(client.is_stream(path));
  EXPECT_EQ(client.id_of(path), wire::relay_peer(relay_public));
  EXPECT_EQ(client.address_of(path), kV4);
  EXPECT_TRUE(client.status().at(0).by_stream);
  EXPECT_FALSE(client.status().at(0).observed) << "what the relay sees is its own machine";
  EXPECT_EQ(client.streams_wanted(), std::vector{relay_public});
}

TEST_F(RelayClientStreamTest, TriesUdpAllTheTimeAndMovesBackWithoutALoss) {
  enter_by_stream();
  run(kRelayUdpAgain);
  const auto again = to(kV4);
  EXPECT_EQ(wire::parse_relay_register(again.datagram)->cookie, wire::RelayCookie{}) << "it moves nothing yet";
  run(kRelayUdpAgain);
  challenge(to(kV4));
  EXPECT_EQ(client.registered(), (std::vector<Path>{{kEntrance, true}}));
  EXPECT_EQ(client.streams_wanted().size(), 1u) << "kept until it registered";
  accept(to(kV4));
  EXPECT_EQ(client.registered(), (std::vector<Path>{{kV4, true}}));
  EXPECT_TRUE(client.streams_wanted().empty());
  client.set_stream(now, relay_public, std::nullopt);
  EXPECT_EQ(client.registered(), (std::vector<Path>{{kV4, true}}));
  EXPECT_TRUE(sent().empty());
  settle();
  run(kRelayRefresh - 31ms);
  EXPECT_TRUE(sent().empty()) << "asks no more than before";
}

TEST_F(RelayClientStreamTest, TheAnswerThatUdpGivesAgainIsMeasuredAsTheOneThatItIs) {
  enter_by_stream();
  run(kRelayUdpAgain);
  const auto question = to(kV4);
  const auto answers = client.stats().answers;
  now += 70ms;
  challenge(question, {3});
  EXPECT_EQ(client.stats().answers, answers + 1);
  EXPECT_EQ(client.status().at(0).quality.rtt_last(), 70ms);
}

TEST_F(RelayClientStreamTest, AStreamThatEndsIsALossAndUdpIsAsked) {
  enter_by_stream();
  client.set_stream(now, relay_public, std::nullopt);
  EXPECT_EQ(events().at(0).kind, Kind::kLost);
  EXPECT_TRUE(client.registered().empty());
  EXPECT_EQ(sent().at(0).to, kV4);
  EXPECT_EQ(client.streams_wanted(), std::vector{relay_public}) << "another one";
}

}  // namespace
}  // namespace lanrage::paths
