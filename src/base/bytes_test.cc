#include "base/bytes.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace lanrage {
namespace {

TEST(Encoding, MatchesRfc4648Vectors) {
  EXPECT_EQ(to_base64(as_bytes("")), "");
  EXPECT_EQ(to_base64(as_bytes("f")), "Zg==");
  EXPECT_EQ(to_base64(as_bytes("fo")), "Zm8=");
  EXPECT_EQ(to_base64(as_bytes("foobar")), "Zm9vYmFy");
  EXPECT_EQ(to_hex(as_bytes("foobar")), "666f6f626172");
  EXPECT_EQ(to_base64url(Bytes{0xfb, 0xff}), "-_8");
}

TEST(Encoding, RoundTripsEveryLength) {
  SeededRng rng(1);
  for (std::size_t size = 0; size < 70; ++size) {
    Bytes raw(size);
    rng.fill(raw);
    EXPECT_EQ(from_hex(to_hex(raw)), raw);
    EXPECT_EQ(from_base64(to_base64(raw)), raw);
    EXPECT_EQ(from_base64url(to_base64url(raw)), raw);
  }
}

TEST(Encoding, RefusesASecondSpellingOfTheSameBytes) {
  EXPECT_FALSE(from_base64("Zh=="));
  EXPECT_FALSE(from_base64("Zg="));
  EXPECT_FALSE(from_base64("Zg"));
  EXPECT_FALSE(from_base64("Z g="));
  EXPECT_FALSE(from_base64url("Zg=="));
  EXPECT_FALSE(from_base64url("A"));
  EXPECT_FALSE(from_hex("abc"));
  EXPECT_FALSE(from_hex("zz"));
}

TEST(ByteReader, GivesZeroesAfterAShortReadAndSaysSo) {
  const Bytes raw = ByteWriter{}.u8(7).u16_be(0x0102).u32_le(0x03040506).sized_u8(as_bytes("hi")).take();
  ByteReader reader(raw);
  EXPECT_EQ(reader.u8(), 7);
  EXPECT_EQ(reader.u16_be(), 0x0102);
  EXPECT_EQ(reader.u32_le(), 0x03040506u);
  EXPECT_EQ(as_text(reader.sized_u8()), "hi");
  EXPECT_TRUE(reader.done());
  EXPECT_EQ(reader.u64_be(), 0u);
  EXPECT_FALSE(reader.ok());
}

TEST(ByteReader, RefusesALengthBeyondTheEnd) {
  const Bytes raw = {5, 'a', 'b'};
  ByteReader reader(raw);
  EXPECT_TRUE(reader.sized_u8().empty());
  EXPECT_FALSE(reader.ok());
}

}  // namespace
}  // namespace lanrage
