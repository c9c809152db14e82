#include "paths/stun_client.h"

#include <gtest/gtest.h>

namespace lanrage::paths {
namespace {

using namespace std::chrono_literals;

const Endpoint kServer = *Endpoint::parse("198.51.100.1:41820");
const Endpoint kSecond = *Endpoint::parse("198.51.100.1:41821");
const Endpoint kServer6 = *Endpoint::parse("[2001:db8::1]:41820");
const Endpoint kMapped = *Endpoint::parse("203.0.113.9:1234");
const Endpoint kOtherMapped = *Endpoint::parse("203.0.113.9:4321");

struct Fixture : testing::Test {
  SeededRng rng{1};
  StunClient client{rng};
  Time now{1000s};

  std::vector<StunClient::Transmit> sent() {
    std::vector<StunClient::Transmit> all;
    while (auto one = client.poll_transmit()) all.push_back(*one);
    return all;
  }
  void answer(const StunClient::Transmit& question, const Endpoint& mapped) {
    Bytes out(wire::kStunResponseBytesMax);
    out.resize(
        wire::write_stun_response({wire::parse_stun_request(question.datagram)->transaction, mapped, true}, out));
    client.handle_packet(now, question.to, out);
  }
  void run(Duration d) {
    const Time end = now + d;
    while (client.next_timeout() && *client.next_timeout() <= end) {
      now = *client.next_timeout();
      client.handle_timeout(now);
    }
    now = end;
  }
};
using StunClientTest = Fixture;

TEST_F(StunClientTest, LearnsThatTheMappingIsTheSameForEveryServer) {
  client.set_servers(now, {kServer, kSecond});
  const auto questions = sent();
  ASSERT_EQ(questions.size(), 2u);
  answer(questions[0], kMapped);
  EXPECT_EQ(client.poll_event()->mapping, Mapping::kUnknown);
  EXPECT_FALSE(client.is_complete());
  answer(questions[1], kMapped);
  const auto report = client.poll_event();
  EXPECT_EQ(report->mapping, Mapping::kEndpointIndependent);
  EXPECT_EQ(report->public_endpoints, std::vector{kMapped});
  EXPECT_TRUE(client.is_complete());
  EXPECT_FALSE(client.poll_event());
}

TEST_F(StunClientTest, LearnsThatTheMappingDependsOnTheDestination) {
  client.set_servers(now, {kServer, kSecond});
  const auto questions = sent();
  answer(questions[0], kMapped);
  answer(questions[1], kOtherMapped);
  EXPECT_EQ(client.report().mapping, Mapping::kDependent);
  EXPECT_EQ(client.report().public_endpoints.size(), 2u);
}

TEST_F(StunClientTest, LearnsThatThereIsNoNat) {
  client.set_local({kMapped.address}, kMapped.port);
  client.set_servers(now, {kServer});
  answer(sent()[0], kMapped);
  EXPECT_EQ(client.report().mapping, Mapping::kNone);
}

TEST_F(StunClientTest, JudgesByIpv4WhereBothFamiliesAnswer) {
  client.set_local({*IpAddress::parse("2001:db8::5")}, 77);
  client.set_servers(now, {kServer6, kServer});
  const auto questions = sent();
  answer(questions[0], *Endpoint::parse("[2001:db8::5]:77"));
  EXPECT_EQ(client.report().mapping, Mapping::kNone);
  answer(questions[1], kMapped);
  EXPECT_EQ(client.report().mapping, Mapping::kUnknown);
  EXPECT_EQ(client.report().public_endpoints.size(), 2u);
}

TEST_F(StunClientTest, RepeatsAQuestionAndThenSaysThatUdpIsBlocked) {
  client.set_servers(now, {kServer});
  const auto first = sent();
  run(4500ms);
  const auto repeated = sent();
  EXPECT_EQ(repeated.size(), 4u);
  EXPECT_EQ(repeated[3].datagram, first[0].datagram);
  EXPECT_FALSE(client.report().udp_blocked);
  run(500ms);
  EXPECT_TRUE(client.report().udp_blocked);
  run(10s);
  const auto later = sent();
  ASSERT_FALSE(later.empty());
  answer(later[0], kMapped);
  EXPECT_FALSE(client.report().udp_blocked);
}

TEST_F(StunClientTest, KeepsTheMappingAliveAndNoticesANewOne) {
  client.set_servers(now, {kServer});
  answer(sent()[0], kMapped);
  client.poll_event();
  run(kStunRefresh - 1ms);
  EXPECT_TRUE(sent().empty());
  run(1ms);
  const auto again = sent();
  ASSERT_EQ(again.size(), 1u);
  answer(again[0], kMapped);
  EXPECT_FALSE(client.poll_event());
  run(kStunRefresh);
  answer(sent()[0], kOtherMapped);
  EXPECT_EQ(client.poll_event()->public_endpoints, std::vector{kOtherMapped});
}

TEST_F(StunClientTest, BelievesOnlyAnswersToItsQuestionsFromTheServerAsked) {
  client.set_servers(now, {kServer, kSecond});
  auto question = sent()[0];
  question.to = kServer6;
  answer(question, kMapped);
  question.to = kSecond;
  answer(question, kMapped);
  client.handle_packet(now, kServer, question.datagram);
  EXPECT_EQ(client.stats().dropped, 3u);
  EXPECT_TRUE(client.report().public_endpoints.empty());
}

TEST_F(StunClientTest, KeepsAnswersOfServersThatStayAndForgetsThoseThatGo) {
  client.set_servers(now, {kServer, kSecond});
  const auto questions = sent();
  answer(questions[0], kMapped);
  answer(questions[1], kOtherMapped);
  client.set_servers(now, {kServer});
  EXPECT_TRUE(sent().empty());
  EXPECT_EQ(client.report().public_endpoints, std::vector{kMapped});
  client.restart(now);
  EXPECT_TRUE(client.report().public_endpoints.empty());
  EXPECT_EQ(sent().size(), 1u);
}

}  // namespace
}  // namespace lanrage::paths
