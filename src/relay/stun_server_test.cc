#include "relay/stun_server.h"

#include <gtest/gtest.h>

#include "wire/stun.h"

namespace lanrage::relay {
namespace {

using namespace std::chrono_literals;

const IpAddress kOne = *IpAddress::parse("198.51.100.1");
const IpAddress kTwo = *IpAddress::parse("198.51.100.2");
const Endpoint kNode = *Endpoint::parse("203.0.113.9:1234");
const Endpoint kNode6 = *Endpoint::parse("[2001:db8::7]:9");

struct Fixture : testing::Test {
  StunServer server{{41820, 41821, {kOne, kTwo}}};
  Bytes out = Bytes(wire::kStunResponseBytesMax);
  Time now{1000s};

  std::optional<StunServer::Answer> ask(const Endpoint& local, bool change_address, bool change_port) {
    return server.answer(now, kNode, local, wire::write_stun_discovery({1}, change_address, change_port), out);
  }
  wire::StunResponse response(const StunServer::Answer& answer) {
    return wire::parse_stun_response(ByteView(out).first(answer.size)).value();
  }
};
using StunServerTest = Fixture;

TEST_F(StunServerTest, TellsWhereTheQuestionCameFrom) {
  const auto question = wire::write_stun_request({1, 2, 3});
  const auto answer = server.answer(now, kNode6, {IpAddress::v6({}), 41820}, question, out);
  ASSERT_TRUE(answer);
  EXPECT_EQ(response(*answer).mapped, kNode6);
  EXPECT_EQ(response(*answer).transaction, (wire::StunTransaction{1, 2, 3}));
  EXPECT_EQ(server.stats().answered, 1u);
}

TEST_F(StunServerTest, AnswersFromWhereItWasAskedUnlessToldOtherwise) {
  EXPECT_EQ(ask({kOne, 41820}, false, false)->from, (Endpoint{kOne, 41820}));
  EXPECT_EQ(ask({kTwo, 41821}, false, false)->from, (Endpoint{kTwo, 41821}));
  EXPECT_EQ(ask({kOne, 41820}, false, true)->from, (Endpoint{kOne, 41821}));
  EXPECT_EQ(ask({kOne, 41821}, false, true)->from, (Endpoint{kOne, 41820}));
  EXPECT_EQ(ask({kOne, 41820}, true, false)->from, (Endpoint{kTwo, 41820}));
  EXPECT_EQ(ask({kTwo, 41820}, true, true)->from, (Endpoint{kOne, 41821}));
}

TEST_F(StunServerTest, SaysFromWhereElseItCanAnswer) {
  EXPECT_EQ(response(*ask({kOne, 41820}, false, false)).other, (Endpoint{kTwo, 41821}));
  server = StunServer({41820, 41821, {}});
  EXPECT_EQ(response(*ask({kOne, 41820}, false, false)).other, (Endpoint{kOne, 41821}));
  server = StunServer({41820, 0, {}});
  EXPECT_FALSE(response(*ask({kOne, 41820}, false, false)).other);
}

TEST_F(StunServerTest, DoesNotPretendToBeElsewhere) {
  server = StunServer({41820, 0, {kOne}});
  EXPECT_FALSE(ask({kOne, 41820}, false, true));
  EXPECT_FALSE(ask({kOne, 41820}, true, false));
  EXPECT_TRUE(ask({kOne, 41820}, false, false));
  server = StunServer({41820, 41821, {kOne, kNode6.address}});  // the other family's is no other address
  EXPECT_FALSE(ask({kOne, 41820}, true, true));
}

TEST_F(StunServerTest, NeverAnswersMoreThanItWasAsked) {
  const Bytes bare = *from_hex("000100002112a4420102030405060708090a0b0c");
  EXPECT_FALSE(server.answer(now, kNode, {kOne, 41820}, bare, out));
  // CHANGE-REQUEST alone, as other programs send it: 28 bytes, the answer would have 32.
  const Bytes change = *from_hex("000100082112a4420102030405060708090a0b0c0003000400000002");
  EXPECT_FALSE(server.answer(now, kNode, {kOne, 41820}, change, out));
  for (const Endpoint& source : {kNode, kNode6}) {
    const IpAddress local = source.address.is_v4() ? kOne : *IpAddress::parse("2001:db8::1");
    for (const bool change_port : {false, true}) {
      const Bytes question = wire::write_stun_discovery({1}, false, change_port);
      const auto answer = server.answer(now, source, {local, 41820}, question, out);
      ASSERT_TRUE(answer);
      EXPECT_LE(answer->size, question.size());
      EXPECT_TRUE(response(*answer).other);
    }
    const auto plain = server.answer(now, source, {local, 41820}, wire::write_stun_request({1}), out);
    EXPECT_LE(plain->size, wire::kStunRequestBytes);
    EXPECT_FALSE(source.address.is_v6() && response(*plain).other);
  }
}

TEST_F(StunServerTest, LimitsAnswersFromElsewhereAndNoOthers) {
  int answered = 0;
  for (int i = 0; i < 3000; ++i) answered += ask({kOne, 41820}, false, true) ? 1 : 0;
  EXPECT_EQ(answered, static_cast<int>(kChangedAnswersBurst));
  EXPECT_TRUE(ask({kOne, 41820}, false, false));
  now += 1s;
  answered = 0;
  for (int i = 0; i < 3000; ++i) answered += ask({kOne, 41820}, false, true) ? 1 : 0;
  EXPECT_EQ(answered, static_cast<int>(kChangedAnswersPerSecond));
}

TEST_F(StunServerTest, AnswersToAnotherPortOfTheAskersAddressWhenAsked) {
  const auto to_port = [&](std::uint16_t port) {
    return server.answer(now, kNode, {kOne, 41820}, wire::write_stun_to_port({1}, port), out);
  };
  const auto answer = to_port(5555);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->to, (Endpoint{kNode.address, 5555}));
  EXPECT_EQ(answer->from, (Endpoint{kOne, 41820}));
  EXPECT_EQ(response(*answer).mapped, kNode);
  EXPECT_EQ(ask({kOne, 41820}, false, true)->to, kNode);
  EXPECT_FALSE(to_port(0));
  int answered = 0;
  for (int i = 0; i < 3000; ++i) answered += to_port(5555) ? 1 : 0;
  EXPECT_LE(answered, static_cast<int>(kChangedAnswersBurst));
}

}  // namespace
}  // namespace lanrage::relay
