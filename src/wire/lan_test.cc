#include "wire/lan.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "wire/ip.h"

namespace lanrage::wire {
namespace {

Bytes announcement() {
  return build_udp({IpAddress::v4(10, 66, 1, 2), 4445}, {IpAddress::v4(224, 0, 2, 60), 4445}, as_bytes("[MOTD]a"), 1);
}

LanEnvelope sample(ByteView packet) {
  LanEnvelope envelope;
  envelope.origin = {1, 2, 3, 4, 5, 6, 7, 8};
  envelope.sequence = 0x0102030405060708;
  envelope.packet = packet;
  return envelope;
}

TEST(LanEnvelope, HasTheLayoutOfItsPage) {
  const Bytes packet = announcement();
  const Bytes frame = sample(packet).bytes();
  EXPECT_EQ(to_hex(ByteView(frame).first(LanEnvelope::kHeaderBytes)), "100001020304050607080102030405060708");
  EXPECT_EQ(to_bytes(ByteView(frame).subspan(LanEnvelope::kHeaderBytes)), packet);
}

TEST(LanEnvelope, IsReadBackAsWritten) {
  const Bytes packet = announcement();
  const Bytes frame = sample(packet).bytes();
  const auto read = LanEnvelope::parse(frame);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->origin, sample(packet).origin);
  EXPECT_EQ(read->sequence, sample(packet).sequence);
  EXPECT_EQ(to_bytes(read->packet), packet);
}

TEST(LanEnvelope, LeavesTheTunnelsPaddingBehind) {
  const Bytes packet = announcement();
  Bytes frame = sample(packet).bytes();
  frame.resize(frame.size() + LanEnvelope::kPaddingBytesMax);
  const auto read = LanEnvelope::parse(frame);
  ASSERT_TRUE(read);
  EXPECT_EQ(to_bytes(read->packet), packet);
  frame.push_back(0);
  EXPECT_FALSE(LanEnvelope::parse(frame)) << "more than padding can be";
  frame.resize(frame.size() - 2);
  frame.back() = 1;
  EXPECT_FALSE(LanEnvelope::parse(frame)) << "padding is zeroes";
}

TEST(LanEnvelope, RefusesOtherTypesFlagsAndWhatIsNoPacket) {
  const Bytes packet = announcement();
  const Bytes good = sample(packet).bytes();
  Bytes frame = good;
  frame[0] = 0x20;
  EXPECT_FALSE(LanEnvelope::parse(frame));
  frame = good;
  frame[1] = 1;
  EXPECT_FALSE(LanEnvelope::parse(frame));
  frame = good;
  frame[LanEnvelope::kHeaderBytes] = 0x10;  // an envelope in an envelope
  EXPECT_FALSE(LanEnvelope::parse(frame));
}

TEST(LanEnvelope, RefusesEveryShorterPrefix) {
  const Bytes packet = announcement();
  const Bytes frame = sample(packet).bytes();
  for (std::size_t size = 0; size < frame.size(); ++size)
    EXPECT_FALSE(LanEnvelope::parse(ByteView(frame).first(size))) << size;
}

TEST(LanEnvelope, SurvivesAnyBytes) {
  SeededRng rng(7);
  for (int round = 0; round < 20000; ++round) {
    Bytes bytes(rng.below(80));
    rng.fill(bytes);
    if (!bytes.empty()) bytes[0] = LanEnvelope::kType;
    if (bytes.size() > 1) bytes[1] = 0;
    if (const auto read = LanEnvelope::parse(bytes)) {
      EXPECT_LE(read->packet.size() + LanEnvelope::kHeaderBytes, bytes.size());
    }
  }
}

}  // namespace
}  // namespace lanrage::wire
