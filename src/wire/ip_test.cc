#include "wire/ip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"

namespace lanrage::wire {
namespace {

using testing::ElementsAreArray;

Endpoint endpoint(std::string_view text) { return *Endpoint::parse(text); }
Bytes hex(std::string_view text) { return *from_hex(text); }

// The definition of RFC 1071, word by word.
std::uint16_t plain_sum(ByteView bytes) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2)
    sum += (std::uint32_t{bytes[i]} << 8) | (i + 1 < bytes.size() ? bytes[i + 1] : 0u);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

TEST(Checksum, MatchesTheExampleOfRfc1071) { EXPECT_EQ(ones_sum(hex("0001f203f4f5f6f7")), 0xddf2); }

TEST(Checksum, EqualsTheDefinitionForEveryLengthAndAlignment) {
  SeededRng rng(1);
  Bytes bytes(300);
  for (std::size_t length = 0; length < 280; ++length) {
    rng.fill(bytes);
    if (length % 7 == 0) std::fill(bytes.begin(), bytes.end(), std::uint8_t{0xff});
    const ByteView view = ByteView{bytes}.subspan(length % 9, length);
    EXPECT_EQ(ones_sum(view), plain_sum(view)) << length;
  }
}

TEST(Checksum, SumsChainOverEvenParts) {
  SeededRng rng(2);
  Bytes bytes(1421);
  rng.fill(bytes);
  const ByteView all{bytes};
  EXPECT_EQ(ones_sum(all.subspan(600), ones_sum(all.first(600))), plain_sum(all));
}

TEST(Checksum, UpdateEqualsComputingAnew) {
  SeededRng rng(3);
  for (int i = 0; i < 2000; ++i) {
    Bytes bytes = to_bytes(rng.array<40>());
    const auto checksum = static_cast<std::uint16_t>(~plain_sum(bytes));
    const auto replacement = rng.array<4>();
    const Bytes before(bytes.begin() + 12, bytes.begin() + 16);
    std::copy(replacement.begin(), replacement.end(), bytes.begin() + 12);
    EXPECT_EQ(checksum_update(checksum, before, replacement), static_cast<std::uint16_t>(~plain_sum(bytes)));
  }
}

TEST(ParseIp, ReadsAnIpv4UdpHeader) {
  // The start of a DNS question.
  const Bytes packet = hex("45000039a6f440004011b83ac0a80014c0a80001aabb003500259b65");
  EXPECT_FALSE(parse_ip(packet)) << "its total length says more than is here";
  Bytes whole = packet;
  whole.resize(57);
  const auto ip = parse_ip(whole);
  ASSERT_TRUE(ip);
  EXPECT_EQ(ip->source.text(), "192.168.0.20");
  EXPECT_EQ(ip->destination.text(), "192.168.0.1");
  EXPECT_EQ(ip->protocol, kProtocolUdp);
  EXPECT_EQ(ip->hop_limit, 64);
  EXPECT_EQ(ip->payload_offset, 20u);
  EXPECT_FALSE(ip->fragment);
}

TEST(ParseIp, IgnoresPaddingBehindThePacket) {
  Bytes packet = build_udp(endpoint("10.66.0.1:1000"), endpoint("10.66.0.2:2000"), as_bytes("hello"));
  const std::size_t size = packet.size();
  packet.resize(size + 15);
  const auto udp = parse_udp_packet(packet);
  ASSERT_TRUE(udp);
  EXPECT_EQ(udp->ip.size, size);
  EXPECT_EQ(as_text(udp->payload), "hello");
  EXPECT_TRUE(has_valid_checksum(packet, udp->ip));
}

TEST(ParseIp, RefusesWhatIsTooShortForItsOwnLengths) {
  const Bytes v4 = build_udp(endpoint("10.66.0.1:1"), endpoint("10.66.0.2:2"), as_bytes("x"));
  const Bytes v6 = build_udp(endpoint("[fd00::1]:1"), endpoint("[fd00::2]:2"), as_bytes("x"));
  for (const Bytes& packet : {v4, v6})
    for (std::size_t size = 0; size < packet.size(); ++size) EXPECT_FALSE(parse_ip(ByteView{packet}.first(size)));
  Bytes bad = v4;
  bad[0] = 0x44;  // a header of 16 bytes
  EXPECT_FALSE(parse_ip(bad));
  bad[0] = 0x55;  // version 5
  EXPECT_FALSE(parse_ip(bad));
}

TEST(ParseIp, RefusesIpv4MappedAddresses) {
  Bytes packet = build_udp(endpoint("[fd00::1]:1"), endpoint("[fd00::2]:2"), as_bytes("x"));
  const Bytes mapped = hex("00000000000000000000ffff0a420001");
  std::copy(mapped.begin(), mapped.end(), packet.begin() + 8);
  EXPECT_FALSE(parse_ip(packet));
}

TEST(ParseIp, SeesFragmentsOfBothFamilies) {
  Bytes v4 = build_udp(endpoint("10.66.0.1:1"), endpoint("10.66.0.2:2"), as_bytes("x"));
  v4[6] = 0x20;  // more fragments, offset 0
  EXPECT_TRUE(parse_ip(v4)->fragment);
  v4[6] = 0x00, v4[7] = 0x02;  // the last one
  EXPECT_EQ(parse_ip(v4)->fragment_offset, 16);
  EXPECT_FALSE(parse_udp_packet(v4));
  v4[6] = 0x40, v4[7] = 0;  // don't fragment
  EXPECT_FALSE(parse_ip(v4)->fragment);

  Bytes v6 = build_udp(endpoint("[fd00::1]:1"), endpoint("[fd00::2]:2"), as_bytes("x"));
  v6[6] = 44;
  const Bytes fragment = hex("1100000100000007");
  v6.insert(v6.begin() + 40, fragment.begin(), fragment.end());
  v6[5] = static_cast<std::uint8_t>(v6[5] + 8);
  const auto ip = parse_ip(v6);
  ASSERT_TRUE(ip);
  EXPECT_TRUE(ip->fragment);
  EXPECT_EQ(ip->protocol, kProtocolUdp);
  EXPECT_EQ(ip->payload_offset, 48u);
}

TEST(ParseIp, WalksExtensionHeadersAndGivesUpOnEndlessOnes) {
  Bytes packet(40 + 8 * 9);
  packet[0] = 0x60;
  packet[5] = 8 * 9;
  packet[6] = 0;
  packet[40] = kProtocolIcmpv6;
  ASSERT_TRUE(parse_ip(packet));
  EXPECT_EQ(parse_ip(packet)->payload_offset, 48u);
  packet[40] = 0;  // then hop-by-hop again and again
  EXPECT_FALSE(parse_ip(packet));
}

TEST(ParseTcp, ReadsFieldsAndChecksTheDataOffset) {
  Bytes segment = hex("01bbc3500000000a0000000b5010ffff12340000");
  const auto tcp = parse_tcp(segment);
  ASSERT_TRUE(tcp);
  EXPECT_EQ(tcp->source_port, 443);
  EXPECT_EQ(tcp->sequence, 10u);
  EXPECT_EQ(tcp->acknowledgement, 11u);
  EXPECT_EQ(tcp->flags, kTcpAck);
  EXPECT_EQ(tcp->header_size, 20u);
  segment[12] = 0x60;
  EXPECT_FALSE(parse_tcp(segment));
  segment[12] = 0x40;
  EXPECT_FALSE(parse_tcp(segment));
}

TEST(BuildUdp, RoundTripsThroughTheParser) {
  SeededRng rng(4);
  for (std::size_t size = 0; size < 100; ++size) {
    Bytes payload(size);
    rng.fill(payload);
    for (const auto& [from, to] : {std::pair{"10.66.0.1:5", "255.255.255.255:7"}, {"[fe80::1]:5", "[ff02::1]:7"}}) {
      const Bytes packet = build_udp(endpoint(from), endpoint(to), payload, 1);
      const auto udp = parse_udp_packet(packet);
      ASSERT_TRUE(udp);
      EXPECT_EQ(udp->source, endpoint(from));
      EXPECT_EQ(udp->destination, endpoint(to));
      EXPECT_EQ(udp->ip.hop_limit, 1);
      EXPECT_THAT(to_bytes(udp->payload), ElementsAreArray(payload));
      EXPECT_TRUE(has_valid_checksum(packet, udp->ip));
      if (!udp->ip.v6) {
        EXPECT_EQ(ones_sum(ByteView{packet}.first(20)), 0xffff);
      }
    }
  }
}

TEST(Checksum, SpoiledPayloadIsSeen) {
  Bytes packet = build_udp(endpoint("[fd00::1]:1"), endpoint("[fd00::2]:2"), as_bytes("payload"));
  packet.back() ^= 1;
  EXPECT_FALSE(has_valid_checksum(packet, *parse_ip(packet)));
}

TEST(Rewrite, KeepsChecksumsTrue) {
  SeededRng rng(5);
  for (int i = 0; i < 500; ++i) {
    for (const bool v6 : {false, true}) {
      const Endpoint from = endpoint(v6 ? "[fd00::1]:1" : "192.168.9.1:1");
      Bytes packet = build_udp(from, endpoint(v6 ? "[fd00::2]:2" : "10.66.0.2:2"), rng.array<33>());
      IpAddress fresh = v6 ? IpAddress::v6(rng.array<16>()) : IpAddress::v4(rng.u32());
      rewrite_source(packet, *parse_ip(packet), fresh);
      EXPECT_EQ(parse_ip(packet)->source, fresh);
      rewrite_destination(packet, *parse_ip(packet), from.address);
      EXPECT_EQ(parse_ip(packet)->destination, from.address);
      rewrite_ecn(packet, *parse_ip(packet), kEcnCongested);
      EXPECT_EQ(parse_ip(packet)->traffic_class, kEcnCongested);
      EXPECT_TRUE(has_valid_checksum(packet, *parse_ip(packet)));
      if (!v6) {
        EXPECT_EQ(ones_sum(ByteView{packet}.first(20)), 0xffff);
      }
    }
  }
}

TEST(Rewrite, LeavesAnAbsentUdpChecksumAbsent) {
  Bytes packet = build_udp(endpoint("10.66.0.1:1"), endpoint("10.66.0.2:2"), as_bytes("x"));
  packet[26] = packet[27] = 0;
  rewrite_source(packet, *parse_ip(packet), IpAddress::v4(10, 0, 0, 9));
  EXPECT_EQ(parse_udp(ByteView{packet}.subspan(20))->checksum, 0);
}

}  // namespace
}  // namespace lanrage::wire
