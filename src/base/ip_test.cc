#include "base/ip.h"

#include <gtest/gtest.h>

namespace lanrage {
namespace {

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

TEST(IpAddress, HoldsAMappedAddressAsIpv4) {
  EXPECT_EQ(ip("::ffff:127.0.0.1"), ip("127.0.0.1"));
  EXPECT_TRUE(ip("::ffff:127.0.0.1").is_loopback());
}

TEST(IpAddress, KnowsItsKind) {
  EXPECT_TRUE(ip("::1").is_loopback());
  EXPECT_TRUE(ip("224.0.0.251").is_multicast());
  EXPECT_TRUE(ip("ff02::1").is_multicast());
  EXPECT_TRUE(ip("fe80::1").is_link_local());
  EXPECT_TRUE(ip("169.254.3.4").is_link_local());
  EXPECT_TRUE(ip("100.64.0.1").is_private());
  EXPECT_TRUE(ip("fd00::1").is_private());
  EXPECT_FALSE(ip("100.128.0.1").is_private());
  EXPECT_FALSE(ip("8.8.8.8").is_private());
  EXPECT_TRUE(ip("255.255.255.255").is_limited_broadcast());
}

TEST(IpAddress, RefusesWhatIsNoAddress) {
  for (const char* text : {"", "1.2.3", "1.2.3.256", "fe80::1%eth0", "01.2.3.4 ",
                           ":::", "1234567890123456789012345678901234567890123456"}) {
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  }
}

TEST(IpPrefix, ContainsOverlapsAndBroadcasts) {
  const IpPrefix party = *IpPrefix::parse("10.66.7.1/24");
  EXPECT_TRUE(party.contains(ip("10.66.7.255")));
  EXPECT_FALSE(party.contains(ip("10.66.8.1")));
  EXPECT_FALSE(party.contains(ip("::1")));
  EXPECT_EQ(party.broadcast(), ip("10.66.7.255"));
  EXPECT_EQ(party.network().text(), "10.66.7.0/24");
  EXPECT_TRUE(party.overlaps(*IpPrefix::parse("10.0.0.0/8")));
  EXPECT_TRUE(IpPrefix::parse("0.0.0.0/0")->contains(ip("9.9.9.9")));
  EXPECT_EQ(IpPrefix::parse("fd00:1::5/64")->network().text(), "fd00:1::/64");
  EXPECT_FALSE(IpPrefix::parse("10.0.0.0/33"));
  EXPECT_FALSE(IpPrefix::parse("10.0.0.0/"));
}

TEST(Endpoint, RoundTripsItsText) {
  for (const char* text : {"1.2.3.4:5", "[::1]:65535", "[fd00::2]:1"}) {
    EXPECT_EQ(Endpoint::parse(text)->text(), text);
  }
  for (const char* text : {"1.2.3.4", "::1:5", "[1.2.3.4]:5", "1.2.3.4:65536", "1.2.3.4:", ":5"}) {
    EXPECT_FALSE(Endpoint::parse(text)) << text;
  }
}

}  // namespace
}  // namespace lanrage
