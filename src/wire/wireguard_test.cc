#include "wire/wireguard.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace lanrage::wire::wireguard {
namespace {

Bytes datagram(std::uint8_t type, std::size_t size) {
  Bytes bytes(size, 0x5a);
  store_le<std::uint32_t>(bytes.data(), type);
  return bytes;
}

TEST(WireGuard, WritesBackWhatItReads) {
  SeededRng rng(1);
  for (const auto& [type, size] : {std::pair<int, std::size_t>{1, 148}, {2, 92}, {3, 64}}) {
    Bytes bytes(size);
    rng.fill(bytes);
    store_le<std::uint32_t>(bytes.data(), static_cast<std::uint32_t>(type));
    if (type == 1) {
      EXPECT_EQ(write(parse_initiation(bytes).value()), bytes);
    }
    if (type == 2) {
      EXPECT_EQ(write(parse_response(bytes).value()), bytes);
    }
    if (type == 3) {
      EXPECT_EQ(write(parse_cookie_reply(bytes).value()), bytes);
    }
  }
}

TEST(WireGuard, ReadsFieldsAtTheirOffsets) {
  Bytes bytes(148);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i);
  store_le<std::uint32_t>(bytes.data(), 1);
  const auto initiation = parse_initiation(bytes);
  ASSERT_TRUE(initiation);
  EXPECT_EQ(initiation->sender, 0x07060504u);
  EXPECT_EQ(initiation->ephemeral[0], 8);
  EXPECT_EQ(initiation->sealed_static[0], 40);
  EXPECT_EQ(initiation->sealed_timestamp[0], 88);
  EXPECT_EQ(initiation->mac1[0], 116);
  EXPECT_EQ(initiation->mac2[0], 132);
  EXPECT_EQ(mac1_offset(kInitiationSize), 116u);
  EXPECT_EQ(mac2_offset(kInitiationSize), 132u);

  bytes.resize(92);
  store_le<std::uint32_t>(bytes.data(), 2);
  const auto response = parse_response(bytes);
  ASSERT_TRUE(response);
  EXPECT_EQ(response->receiver, 0x0b0a0908u);
  EXPECT_EQ(response->ephemeral[0], 12);
  EXPECT_EQ(response->sealed_nothing[0], 44);
  EXPECT_EQ(response->mac1[0], 60);

  bytes.resize(64);
  store_le<std::uint32_t>(bytes.data(), 3);
  const auto reply = parse_cookie_reply(bytes);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->nonce[0], 8);
  EXPECT_EQ(reply->sealed_cookie[0], 32);

  store_le<std::uint32_t>(bytes.data(), 4);
  const auto data = parse_data(bytes);
  ASSERT_TRUE(data);
  EXPECT_EQ(data->receiver, 0x07060504u);
  EXPECT_EQ(data->counter, 0x0f0e0d0c0b0a0908u);
  EXPECT_EQ(data->sealed[0], 16);
}

TEST(WireGuard, AcceptsExactLengthsOnly) {
  for (int type = 0; type < 256; ++type) {
    for (std::size_t size = 4; size <= 200; ++size) {
      const bool valid = (type == 1 && size == 148) || (type == 2 && size == 92) || (type == 3 && size == 64) ||
                         (type == 4 && size >= 32);
      EXPECT_EQ(parse_type(datagram(static_cast<std::uint8_t>(type), size)).has_value(), valid) << type << " " << size;
    }
  }
  EXPECT_FALSE(parse_type({}));
  EXPECT_FALSE(parse_type(Bytes{1, 0, 0}));
}

TEST(WireGuard, RefusesReservedBytesThatAreNotZero) {
  for (std::size_t i = 1; i < 4; ++i) {
    Bytes bytes = datagram(1, 148);
    bytes[i] = 1;
    EXPECT_FALSE(parse_initiation(bytes));
  }
}

TEST(WireGuard, PadsToSixteenButNotBeyondTheMtu) {
  EXPECT_EQ(padded_size(0, 1420), 0u);
  EXPECT_EQ(padded_size(1, 1420), 16u);
  EXPECT_EQ(padded_size(16, 1420), 16u);
  EXPECT_EQ(padded_size(1409, 1420), 1420u);
  EXPECT_EQ(padded_size(1420, 1420), 1420u);
  EXPECT_EQ(padded_size(1500, 1420), 1500u);
}

TEST(WireGuard, WritesTheDataHeader) {
  std::array<std::uint8_t, kDataHeaderSize> out;
  write_data_header(0x01020304, 0x1122334455667788, out);
  EXPECT_EQ(to_hex(out), "04000000040302018877665544332211");
}

}  // namespace
}  // namespace lanrage::wire::wireguard
