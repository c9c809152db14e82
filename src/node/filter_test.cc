#include "node/filter.h"

#include <gtest/gtest.h>

namespace lanrage::node {
namespace {

using Action = FilterRule::Action;
using std::chrono::seconds;

const IpAddress kHere = IpAddress::v4(10, 66, 1, 1);
const IpAddress kThere = IpAddress::v4(10, 66, 1, 2);

FilterRule rule(Action action, std::string_view text) { return FilterRule::parse(action, text).value(); }

struct FilterTest : testing::Test {
  Flows flows{42};
  Time now = Time{} + seconds(1000);

  bool admits(const PortFilter& filter, const Bytes& packet) {
    return filter.admits(now, packet, wire::parse_ip(packet).value(), flows);
  }
  void sent(const PortFilter& filter, const Bytes& packet) {
    filter.note_sent(now, packet, wire::parse_ip(packet).value(), flows);
  }
  static Bytes udp_in(std::uint16_t to, std::uint16_t from = 40000) {
    return wire::build_udp({kThere, from}, {kHere, to}, as_bytes("hello"));
  }
  static Bytes udp_out(std::uint16_t from, std::uint16_t to = 40000) {
    return wire::build_udp({kHere, from}, {kThere, to}, as_bytes("hello"));
  }
  static Bytes with_protocol(Bytes packet, std::uint8_t protocol) {
    packet[9] = protocol;
    wire::store_ipv4_header_sum(packet);
    return packet;
  }
};

TEST_F(FilterTest, UnknownGamesAreOpenAndServicesAreClosed) {
  const PortFilter filter(false, {});
  EXPECT_TRUE(admits(filter, udp_in(27015)));
  EXPECT_TRUE(admits(filter, udp_in(1024)));
  EXPECT_FALSE(admits(filter, udp_in(137)));
  EXPECT_FALSE(admits(filter, udp_in(3389)));
  EXPECT_FALSE(admits(filter, with_protocol(udp_in(445), wire::kProtocolTcp)));
  EXPECT_FALSE(admits(filter, with_protocol(udp_in(5900), wire::kProtocolTcp)));
  EXPECT_TRUE(admits(filter, with_protocol(udp_in(25565), wire::kProtocolTcp)));
}

TEST_F(FilterTest, RulesChangeTheDefaultAndLaterOnesWin) {
  const std::array rules{rule(Action::kAllow, "tcp/22"), rule(Action::kDeny, "7000-8000"),
                         rule(Action::kAllow, "udp/7777")};
  const PortFilter filter(false, rules);
  EXPECT_TRUE(filter.is_open(wire::kProtocolTcp, 22));
  EXPECT_FALSE(filter.is_open(wire::kProtocolUdp, 22));
  EXPECT_FALSE(filter.is_open(wire::kProtocolTcp, 7777));
  EXPECT_TRUE(filter.is_open(wire::kProtocolUdp, 7777));
}

TEST_F(FilterTest, StrictOpensOnlyWhatIsAllowed) {
  const std::array rules{rule(Action::kAllow, "udp/27015")};
  const PortFilter filter(true, rules);
  EXPECT_TRUE(admits(filter, udp_in(27015)));
  EXPECT_FALSE(admits(filter, udp_in(27016)));
}

TEST_F(FilterTest, AnswersToWhatWeSentPassAndForeignPacketsDoNot) {
  const PortFilter filter(true, {});
  EXPECT_FALSE(admits(filter, udp_in(5000)));
  sent(filter, udp_out(5000));
  EXPECT_TRUE(admits(filter, udp_in(5000)));
  EXPECT_FALSE(admits(filter, udp_in(5000, 40001)));
  EXPECT_FALSE(admits(filter, udp_in(5001)));
  EXPECT_FALSE(admits(filter, with_protocol(udp_in(5000), wire::kProtocolTcp)));
  now += Flows::kIdle;
  EXPECT_TRUE(admits(filter, udp_in(5000)));
  now += seconds(1);
  EXPECT_FALSE(admits(filter, udp_in(5000)));
}

TEST_F(FilterTest, ManyFlowsPushOutTheOldestNotTheNewest) {
  const PortFilter filter(true, {});
  for (std::uint32_t i = 0; i < 20000; ++i) {
    if (i % 500 == 0) now += seconds(1);
    const auto port = static_cast<std::uint16_t>(20000 + i);
    sent(filter, udp_out(port));
    ASSERT_TRUE(admits(filter, udp_in(port)));
  }
  int forgotten = 0;
  for (std::uint16_t port = 20000; port < 21000; ++port) forgotten += admits(filter, udp_in(port)) ? 0 : 1;
  EXPECT_GT(forgotten, 900);
}

TEST_F(FilterTest, PingAndErrorsPassRedirectsAndStrangeProtocolsDoNot) {
  const PortFilter filter(true, {});
  const auto icmp = [](std::uint8_t type) {
    Bytes packet = with_protocol(udp_in(1), wire::kProtocolIcmp);
    packet[20] = type;
    return packet;
  };
  for (const int type : {0, 3, 8, 11}) EXPECT_TRUE(admits(filter, icmp(static_cast<std::uint8_t>(type)))) << type;
  for (const int type : {5, 9, 13}) EXPECT_FALSE(admits(filter, icmp(static_cast<std::uint8_t>(type)))) << type;
  EXPECT_FALSE(admits(PortFilter(false, {}), with_protocol(udp_in(27015), 47)));
}

TEST_F(FilterTest, FirstFragmentIsJudgedAndTooShortOnesAreRefused) {
  const PortFilter filter(false, {});
  Bytes packet = udp_in(445);
  packet[6] = 0x20;  // more fragments
  EXPECT_FALSE(admits(filter, packet));
  packet.resize(22);
  packet[3] = 22;
  EXPECT_FALSE(admits(filter, packet));
  Bytes later = udp_in(445);
  later[7] = 100;  // offset 800
  EXPECT_TRUE(admits(filter, later));
}

TEST_F(FilterTest, RulesReadAndPrintTheSame) {
  for (const char* text : {"all", "22", "tcp/22", "udp/27000-27050", "1-2"})
    EXPECT_EQ(rule(Action::kAllow, text).text(), text);
  for (const char* text : {"", "x", "tcp/", "5-4", "70000", "22/tcp", "1-2-3", "-1", "0", "tcp/0-5"})
    EXPECT_FALSE(FilterRule::parse(Action::kAllow, text)) << text;
}

}  // namespace
}  // namespace lanrage::node
