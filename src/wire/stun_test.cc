#include "wire/stun.h"

#include <gtest/gtest.h>

#include "wire/demux.h"

namespace lanrage::wire {
namespace {

const Endpoint kV4 = *Endpoint::parse("203.0.113.9:41820");
const Endpoint kV6 = *Endpoint::parse("[2001:db8::9]:41820");
const StunTransaction kId = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};

Bytes response(const Endpoint& mapped, bool fingerprint, std::optional<Endpoint> other = std::nullopt) {
  Bytes out(kStunResponseBytesMax);
  out.resize(write_stun_response({kId, mapped, fingerprint, other}, out));
  return out;
}

TEST(Stun, ReadsTheSampleResponseOfRfc5769) {
  const Bytes sample = *from_hex(
      "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643"
      "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96");
  const auto parsed = parse_stun_response(sample);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->mapped, *Endpoint::parse("192.0.2.1:32853"));
  EXPECT_TRUE(parsed->fingerprint);
}

TEST(Stun, RequestsComeBackAsWritten) {
  const auto request = write_stun_request(kId);
  const auto parsed = parse_stun_request(request);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->transaction, kId);
  EXPECT_TRUE(parsed->fingerprint);
  EXPECT_EQ(protocol_of(request), Protocol::kStun);
}

TEST(Stun, ResponsesComeBackAsWritten) {
  for (const Endpoint& mapped : {kV4, kV6}) {
    for (const bool fingerprint : {false, true}) {
      const auto parsed = parse_stun_response(response(mapped, fingerprint));
      ASSERT_TRUE(parsed);
      EXPECT_EQ(parsed->transaction, kId);
      EXPECT_EQ(parsed->mapped, mapped);
      EXPECT_EQ(parsed->fingerprint, fingerprint);
      EXPECT_FALSE(parsed->other);
      EXPECT_EQ(parse_stun_response(response(mapped, fingerprint, kV6))->other, kV6);
      EXPECT_EQ(parse_stun_response(response(mapped, fingerprint, kV4))->other, kV4);
    }
  }
}

TEST(Stun, QuestionsForAChangedAnswerComeBackAsWritten) {
  for (const bool address : {false, true}) {
    for (const bool port : {false, true}) {
      const auto parsed = parse_stun_request(write_stun_discovery(kId, address, port));
      ASSERT_TRUE(parsed);
      EXPECT_EQ(parsed->transaction, kId);
      EXPECT_EQ(parsed->change_address, address);
      EXPECT_EQ(parsed->change_port, port);
      EXPECT_TRUE(parsed->fingerprint);
    }
  }
}

TEST(Stun, QuestionsForAnAnswerToAnotherPortComeBackAsWritten) {
  for (const std::uint16_t port : {std::uint16_t{1}, std::uint16_t{443}, std::uint16_t{65535}}) {
    const Bytes question = write_stun_to_port(kId, port);
    const auto parsed = parse_stun_request(question);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->transaction, kId);
    EXPECT_EQ(parsed->response_port, port);
    EXPECT_FALSE(parsed->change_address || parsed->change_port);
    EXPECT_GE(question.size(), kStunResponseBytesMax);
  }
  EXPECT_FALSE(parse_stun_request(write_stun_request(kId))->response_port);
}

TEST(Stun, NoAnswerIsLargerThanOurQuestion) {
  EXPECT_LE(response(kV6, true).size(), kStunRequestBytes);
  EXPECT_EQ(response(kV6, true, kV6).size(), kStunResponseBytesMax);
  EXPECT_GE(write_stun_discovery(kId, false, false).size(), kStunResponseBytesMax);
  EXPECT_GE(write_stun_discovery(kId, true, true).size(), kStunResponseBytesMax);
}

TEST(Stun, RefusesEveryShorterOrLongerMessage) {
  const Bytes good = response(kV6, true);
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(parse_stun_response(ByteView(good).first(size))) << size;
  }
  Bytes longer = good;
  longer.push_back(0);
  EXPECT_FALSE(parse_stun_response(longer));
}

TEST(Stun, BelievesNoFlippedBitUnderAFingerprint) {
  const Bytes good = response(kV4, true);
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Bytes bad = good;
    bad[bit / 8] = static_cast<std::uint8_t>(bad[bit / 8] ^ (1 << (bit % 8)));
    const auto parsed = parse_stun_response(bad);
    EXPECT_FALSE(parsed && (parsed->fingerprint || parsed->mapped != kV4)) << bit;
  }
}

TEST(Stun, RefusesRequestsWithAttributesThatMustBeUnderstood) {
  const Bytes request = *from_hex(
      "00010008"
      "2112a442"
      "0102030405060708090a0b0c"
      "00260004"  // PADDING of RFC 5780
      "00000000");
  EXPECT_FALSE(parse_stun_request(request));
  const Bytes unknown_flag = *from_hex("000100082112a4420102030405060708090a0b0c0003000400000008");
  EXPECT_FALSE(parse_stun_request(unknown_flag));
}

TEST(Stun, RefusesResponsesWithTwoMappedAddresses) {
  Bytes twice = response(kV4, false);
  const Bytes attribute(twice.begin() + 20, twice.end());
  append(twice, attribute);
  store_be(twice.data() + 2, static_cast<std::uint16_t>(twice.size() - 20));
  EXPECT_FALSE(parse_stun_response(twice));
}

TEST(Stun, RefusesDamagedOrRepeatedOtherAddresses) {
  const Bytes good = response(kV4, false, kV4);
  ASSERT_TRUE(parse_stun_response(good));
  Bytes twice = good;
  append(twice, Bytes(good.end() - 12, good.end()));
  store_be(twice.data() + 2, static_cast<std::uint16_t>(twice.size() - 20));
  EXPECT_FALSE(parse_stun_response(twice));
  Bytes family = good;
  family[family.size() - 7] = 3;
  EXPECT_FALSE(parse_stun_response(family));
}

TEST(Demux, TellsTheProtocolsApart) {
  EXPECT_EQ(protocol_of(*from_hex("0100000012345678")), Protocol::kWireGuard);
  EXPECT_EQ(protocol_of(*from_hex("0400000012345678")), Protocol::kWireGuard);
  EXPECT_EQ(protocol_of(*from_hex("0500000012345678")), Protocol::kUnknown);
  EXPECT_EQ(protocol_of(*from_hex("0100010012345678")), Protocol::kUnknown);
  EXPECT_EQ(protocol_of(*from_hex("0100524c12345678")), Protocol::kProbe);
  EXPECT_EQ(protocol_of(*from_hex("0601524c12345678")), Protocol::kRelay);
  EXPECT_EQ(protocol_of(*from_hex("0101000c2112a442")), Protocol::kStun);
  EXPECT_EQ(protocol_of(*from_hex("c101000c2112a442")), Protocol::kUnknown);
  EXPECT_EQ(protocol_of(*from_hex("01000000")), Protocol::kUnknown);
}

TEST(Demux, AProbeWhoseTagLooksLikeStunIsAProbe) {
  EXPECT_EQ(protocol_of(*from_hex("0100524c2112a442")), Protocol::kProbe);
}

}  // namespace
}  // namespace lanrage::wire
