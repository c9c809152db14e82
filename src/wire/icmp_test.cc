#include "wire/icmp.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "wire/ip.h"

namespace lanrage::wire {
namespace {

// As it comes from a host: the header of ICMP and the first bytes of what was sent.
Bytes message(std::uint8_t type, std::uint8_t code, ByteView datagram) {
  Bytes out(8 + datagram.size());
  out[0] = type;
  out[1] = code;
  std::copy(datagram.begin(), datagram.end(), out.begin() + 8);
  return out;
}

const Endpoint kUs4 = *Endpoint::parse("192.168.1.2:5555"), kRelay4 = *Endpoint::parse("5.9.1.2:41820");
const Endpoint kUs6 = *Endpoint::parse("[2a0b::2]:5555"), kRelay6 = *Endpoint::parse("[2a0b::9]:41820");

TEST(Icmp, NamesBothEndsOfADatagramThatNobodyTook) {
  const Bytes v4 = build_udp(kUs4, kRelay4, as_bytes("tick"));
  EXPECT_EQ(parse_undelivered(message(3, 3, v4), false), (Undelivered{kUs4, kRelay4}));
  EXPECT_EQ(parse_undelivered(message(3, 1, ByteView(v4).first(28)), false), (Undelivered{kUs4, kRelay4}));
  const Bytes v6 = build_udp(kUs6, kRelay6, as_bytes("tick"));
  EXPECT_EQ(parse_undelivered(message(1, 4, v6), true), (Undelivered{kUs6, kRelay6}));
}

TEST(Icmp, NamesADatagramThatPassedTooManyRouters) {
  const Bytes v4 = build_udp(kUs4, kRelay4, as_bytes("tick"));
  EXPECT_EQ(parse_undelivered(message(11, 0, v4), false), (Undelivered{kUs4, kRelay4, true}));
}

TEST(Icmp, OtherMessagesAndOtherProtocolsSayNothing) {
  Bytes v4 = build_udp(kUs4, kRelay4, as_bytes("tick"));
  EXPECT_FALSE(parse_undelivered(message(3, 4, v4), false)) << "too big";
  EXPECT_FALSE(parse_undelivered(message(11, 1, v4), false)) << "a fragment is missing";
  EXPECT_FALSE(parse_undelivered(message(3, 0, v4), true)) << "ICMPv6's time exceeded";
  EXPECT_FALSE(parse_undelivered(message(1, 4, v4), true)) << "IPv4 in ICMPv6";
  EXPECT_FALSE(parse_undelivered(message(3, 3, ByteView(v4).first(23)), false)) << "no ports";
  EXPECT_FALSE(parse_undelivered(message(3, 3, {}), false));
  v4[7] = 9;
  EXPECT_FALSE(parse_undelivered(message(3, 3, v4), false)) << "a later fragment";
  v4[7] = 0;
  v4[9] = 6;
  EXPECT_FALSE(parse_undelivered(message(3, 3, v4), false)) << "TCP";
}

}  // namespace
}  // namespace lanrage::wire
