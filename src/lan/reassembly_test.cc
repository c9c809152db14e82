#include "lan/reassembly.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace lanrage::lan {
namespace {

using std::chrono::milliseconds;

const Endpoint kGame = *Endpoint::parse("10.66.1.1:5000");
const Endpoint kAll = *Endpoint::parse("255.255.255.255:6000");
const Endpoint kGame6 = *Endpoint::parse("[fd00::1]:5000");
const Endpoint kGroup6 = *Endpoint::parse("[ff02::1]:6000");

Bytes payload(std::size_t size) {
  Bytes out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
  return out;
}

std::optional<Bytes> give(Reassembly& to, ByteView piece, Time now = {}, int way = 1) {
  return to.handle_fragment(now, way, piece, *wire::parse_ip(piece));
}

TEST(Reassembly, PutsTogetherInAnyOrder) {
  for (const auto& [from, to] : {std::pair{kGame, kAll}, {kGame6, kGroup6}}) {
    for (const std::size_t size : {1400u, 1401u, 4000u, 8192u, 65'000u}) {
      const Bytes packet = wire::build_udp(from, to, payload(size), 1);
      auto pieces = wire::split_ip(packet, 1280, 99);
      ASSERT_GE(pieces.size(), 2u);
      for (const bool backwards : {false, true}) {
        if (backwards) std::ranges::reverse(pieces);
        Reassembly reassembly;
        std::optional<Bytes> whole;
        for (const Bytes& piece : pieces) {
          EXPECT_LE(piece.size(), 1280u);
          EXPECT_FALSE(whole);
          whole = give(reassembly, piece);
        }
        ASSERT_TRUE(whole);
        const auto udp = wire::parse_udp_packet(*whole);
        ASSERT_TRUE(udp);
        EXPECT_EQ(to_bytes(udp->payload), payload(size));
        EXPECT_EQ(udp->source, from);
        EXPECT_EQ(udp->ip.hop_limit, 1);
        EXPECT_TRUE(wire::has_valid_checksum(*whole, udp->ip));
        EXPECT_EQ(reassembly.pending(), 0u);
        EXPECT_EQ(reassembly.given_up(), 0u);
      }
    }
  }
}

TEST(Reassembly, KeepsWhatIsNotOneDatagramApart) {
  const auto pieces = wire::split_ip(wire::build_udp(kGame, kAll, payload(2000)), 1280, 1);
  const auto others = wire::split_ip(wire::build_udp(kGame, kAll, payload(2000)), 1280, 2);
  Reassembly reassembly;
  EXPECT_FALSE(give(reassembly, pieces[0]));
  EXPECT_FALSE(give(reassembly, others[1])) << "another identification";
  EXPECT_FALSE(give(reassembly, pieces[1], {}, 2)) << "another card";
  EXPECT_FALSE(give(reassembly, pieces[0])) << "twice the same";
  EXPECT_TRUE(give(reassembly, pieces[1]));
}

TEST(Reassembly, WaitsABoundedTimeForABoundedNumber) {
  Reassembly reassembly;
  const auto piece_of = [](std::uint32_t identification, std::size_t part) {
    return wire::split_ip(wire::build_udp(kGame, kAll, payload(2000)), 1280, identification)[part];
  };
  EXPECT_FALSE(give(reassembly, piece_of(0, 0)));
  EXPECT_FALSE(give(reassembly, piece_of(0, 1), Time{} + Reassembly::kWait)) << "too late";
  EXPECT_EQ(reassembly.given_up(), 1u);
  for (std::uint32_t i = 1; i <= Reassembly::kPendingMax; ++i)
    EXPECT_FALSE(give(reassembly, piece_of(i, 0), Time{} + Reassembly::kWait));
  EXPECT_EQ(reassembly.pending(), Reassembly::kPendingMax);
  EXPECT_TRUE(give(reassembly, piece_of(1, 1), Time{} + Reassembly::kWait));
}

TEST(Reassembly, RefusesWhatMakesNoSense) {
  const auto pieces = wire::split_ip(wire::build_udp(kGame, kAll, payload(4000)), 1280, 1);
  const auto shorter = wire::split_ip(wire::build_udp(kGame, kAll, payload(2000)), 1280, 1);
  Reassembly reassembly;
  EXPECT_FALSE(give(reassembly, pieces.back()));
  EXPECT_FALSE(give(reassembly, shorter.back())) << "two ends";
  EXPECT_EQ(reassembly.pending(), 0u);
  EXPECT_FALSE(give(reassembly, pieces[2]));
  EXPECT_FALSE(give(reassembly, shorter.back())) << "an end before what came";
  EXPECT_EQ(reassembly.pending(), 0u);
  Bytes odd = pieces[0];
  odd.resize(odd.size() - 1);
  store_be(odd.data() + 2, static_cast<std::uint16_t>(odd.size()));
  EXPECT_FALSE(give(reassembly, odd)) << "not whole blocks";
  Bytes far = pieces.back();
  store_be<std::uint16_t>(far.data() + 6, 0x1fff);
  EXPECT_FALSE(give(reassembly, far)) << "beyond what a packet holds";
  EXPECT_EQ(reassembly.pending(), 0u);
  EXPECT_EQ(reassembly.given_up(), 4u);
}

}  // namespace
}  // namespace lanrage::lan
