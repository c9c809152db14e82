#include "wire/inner.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/rng.h"

namespace lanrage::wire {
namespace {

using std::chrono::milliseconds;

Bytes counted(std::size_t size) {
  Bytes bytes(size);
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{1});
  return bytes;
}

Bytes frame(std::uint8_t part, std::uint16_t id, ByteView payload) {
  Bytes out(Fragment::kHeaderBytes);
  Fragment::write_header(out.data(), part, id, payload.size());
  append(out, payload);
  return out;
}

TEST(Inner, TellsIpFromFrames) {
  EXPECT_TRUE(is_ip_packet(Bytes{0x45}));
  EXPECT_TRUE(is_ip_packet(Bytes{0x60}));
  EXPECT_FALSE(is_ip_packet(Bytes{0x50}));
  EXPECT_FALSE(is_ip_packet({}));
  EXPECT_EQ(inner_type(Bytes{0x10}), InnerType::kLan);
  EXPECT_EQ(inner_type(Bytes{0x11}), std::nullopt);
  EXPECT_EQ(inner_type({}), std::nullopt);
}

TEST(Inner, EchoRoundTrips) {
  const Echo echo{Echo::Kind::kReply, 7, 0x01020304, 0x1122334455667788};
  const auto bytes = echo.bytes();
  EXPECT_EQ(to_hex(bytes), "50010007010203041122334455667788");
  EXPECT_EQ(Echo::parse(bytes), echo);
  EXPECT_EQ(Echo::parse(ByteView(bytes).first(15)), std::nullopt);
  auto unknown = bytes;
  unknown[1] = 2;
  EXPECT_EQ(Echo::parse(unknown), std::nullopt);
}

TEST(Inner, EchoIgnoresPaddingBehindIt) {
  const Echo echo{Echo::Kind::kRequest, 1, 2, 3};
  Bytes padded = to_bytes(echo.bytes());
  padded.resize(1200);
  EXPECT_EQ(Echo::parse(padded), echo);
}

TEST(Inner, MemberMessageRoundTripsDespitePadding) {
  const Bytes payload = counted(300);
  Bytes message = MemberMessage::write(9, payload);
  message.resize(message.size() + 12);
  const auto parsed = MemberMessage::parse(message);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->kind, 9);
  EXPECT_EQ(to_bytes(parsed->payload), payload);
  EXPECT_FALSE(MemberMessage::parse(ByteView(message).first(200)));
}

TEST(Inner, FragmentRoundTripsAndRefusesNonsense) {
  const Bytes payload = counted(40);
  Bytes bytes = frame(1, 0xbeef, payload);
  bytes.resize(bytes.size() + 8);
  const auto parsed = Fragment::parse(bytes);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->part, 1);
  EXPECT_EQ(parsed->id, 0xbeef);
  EXPECT_EQ(to_bytes(parsed->payload), payload);
  EXPECT_FALSE(Fragment::parse(ByteView(bytes).first(30)));
  bytes[1] = 2;
  EXPECT_FALSE(Fragment::parse(bytes));
  EXPECT_FALSE(Fragment::parse(Bytes{0x20, 0, 0, 1, 0, 0}));
}

TEST(Inner, CutsIntoHalvesThatFit) {
  const auto cut = fragment_cut(1420, 1200);
  ASSERT_TRUE(cut);
  EXPECT_EQ(*cut, 710u);
  EXPECT_FALSE(fragment_cut(1420, 700));
  EXPECT_FALSE(fragment_cut(1, 700));
  EXPECT_FALSE(fragment_cut(Reassembler::kPacketBytesMax + 1, 65535));
}

TEST(Reassembler, PutsHalvesTogetherInEitherOrder) {
  Reassembler reassembler;
  const Bytes packet = counted(1421);
  for (const bool swapped : {false, true}) {
    const Fragment first{0, 5, ByteView(packet).first(711)};
    const Fragment second{1, 5, ByteView(packet).subspan(711)};
    EXPECT_FALSE(reassembler.handle_fragment(Time{}, swapped ? second : first));
    const auto whole = reassembler.handle_fragment(Time{}, swapped ? first : second);
    ASSERT_TRUE(whole);
    EXPECT_EQ(to_bytes(*whole), packet);
  }
}

TEST(Reassembler, ForgetsAHalfAfterItsTime) {
  Reassembler reassembler;
  const Bytes packet = counted(100);
  EXPECT_FALSE(reassembler.handle_fragment(Time{}, {0, 5, ByteView(packet).first(50)}));
  const Time late = Time{} + Reassembler::kWait + milliseconds(1);
  EXPECT_FALSE(reassembler.handle_fragment(late, {1, 5, ByteView(packet).subspan(50)}));
}

TEST(Reassembler, RepeatedHalfIsNotAWhole) {
  Reassembler reassembler;
  const Bytes packet = counted(100);
  EXPECT_FALSE(reassembler.handle_fragment(Time{}, {0, 5, ByteView(packet).first(50)}));
  EXPECT_FALSE(reassembler.handle_fragment(Time{}, {0, 5, ByteView(packet).first(50)}));
  EXPECT_TRUE(reassembler.handle_fragment(Time{}, {1, 5, ByteView(packet).subspan(50)}));
}

TEST(Reassembler, OldestGivesWayWhenFull) {
  Reassembler reassembler;
  const Bytes half = counted(50);
  for (std::uint16_t id = 0; id <= Reassembler::kPendingMax; ++id)
    EXPECT_FALSE(reassembler.handle_fragment(Time{} + milliseconds(id), {0, id, half}));
  const Time now = Time{} + milliseconds(20);
  EXPECT_TRUE(reassembler.handle_fragment(now, {1, Reassembler::kPendingMax, half}));
  EXPECT_TRUE(reassembler.handle_fragment(now, {1, 1, half}));
  EXPECT_FALSE(reassembler.handle_fragment(now, {1, 0, half}));
}

TEST(Reassembler, RefusesMoreThanItHolds) {
  Reassembler reassembler;
  const Bytes half = counted(Reassembler::kPacketBytesMax);
  EXPECT_FALSE(reassembler.handle_fragment(Time{}, {0, 1, half}));
  EXPECT_FALSE(reassembler.handle_fragment(Time{}, {1, 1, half}));
}

TEST(Reassembler, EveryPairedPacketComesBackFromAShuffledStream) {
  Reassembler reassembler;
  SeededRng rng(1);
  int whole = 0;
  for (std::uint16_t id = 0; id < 1000; id = static_cast<std::uint16_t>(id + 4)) {
    std::vector<std::pair<std::uint16_t, std::uint8_t>> sent;
    for (std::uint16_t i = 0; i < 4; ++i)
      for (std::uint8_t part = 0; part < 2; ++part) sent.emplace_back(static_cast<std::uint16_t>(id + i), part);
    for (std::size_t i = sent.size(); i > 1; --i) std::swap(sent[i - 1], sent[rng.below(i)]);
    for (const auto& item : sent) {
      const Bytes payload(10, static_cast<std::uint8_t>(item.first + item.second));
      if (const auto packet = reassembler.handle_fragment(Time{}, {item.second, item.first, payload})) {
        ++whole;
        EXPECT_EQ((*packet)[0], static_cast<std::uint8_t>(item.first));
        EXPECT_EQ((*packet)[10], static_cast<std::uint8_t>(item.first + 1));
      }
    }
  }
  EXPECT_EQ(whole, 1000);
}

}  // namespace
}  // namespace lanrage::wire
