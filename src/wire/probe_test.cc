#include "wire/probe.h"

#include <gtest/gtest.h>

#include "wire/demux.h"
#include "wire/endpoint.h"

namespace lanrage::wire {
namespace {

using Key = crypto::Secret<struct TestKeyTag>;

Key key_of(std::uint8_t fill) {
  Key key;
  std::fill(key.mutable_bytes().begin(), key.mutable_bytes().end(), fill);
  return key;
}

const Key kKey = key_of(7);

Probe ping() {
  return {.tag = 1,
          .transaction = 2,
          .instance = 3,
          .rtt_us = 40000,
          .selected = true,
          .deaf = true,
          .loss_percent = 12,
          .rate_kbps = 0xabcdef,
          .full = true};
}
Probe pong() {
  Probe probe = ping();
  probe.pong = true;
  probe.observed = Endpoint::parse("[2001:db8::1]:9");
  probe.rate_kbps = 0;
  probe.full = false;
  return probe;
}

TEST(Probe, ComesBackAsWritten) {
  for (const Probe& probe : {ping(), pong()}) {
    const ProbeBytes bytes = write_probe(probe, kKey.bytes());
    EXPECT_EQ(protocol_of(bytes), Protocol::kProbe);
    EXPECT_EQ(probe_tag_of(bytes), probe.tag);
    EXPECT_EQ(open_probe(bytes, kKey.bytes()), probe);
  }
}

TEST(Probe, IsRefusedWithAnyBitFlipped) {
  const ProbeBytes good = write_probe(pong(), kKey.bytes());
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    ProbeBytes bad = good;
    bad[bit / 8] = static_cast<std::uint8_t>(bad[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(open_probe(bad, kKey.bytes())) << bit;
  }
}

TEST(Probe, IsRefusedWhenFieldsContradict) {
  Probe rate_in_pong = pong();
  rate_in_pong.rate_kbps = 1;
  EXPECT_FALSE(open_probe(write_probe(rate_in_pong, kKey.bytes()), kKey.bytes()));
  Probe full_of_nothing = ping();
  full_of_nothing.rate_kbps = 0;
  EXPECT_FALSE(open_probe(write_probe(full_of_nothing, kKey.bytes()), kKey.bytes()));
}

TEST(Probe, IsRefusedUnderAnotherKeyOrLength) {
  const ProbeBytes good = write_probe(ping(), kKey.bytes());
  EXPECT_FALSE(open_probe(good, key_of(8).bytes()));
  EXPECT_FALSE(open_probe(ByteView(good).first(kProbeBytes - 1), kKey.bytes()));
  Bytes longer = to_bytes(good);
  longer.push_back(0);
  EXPECT_FALSE(open_probe(longer, kKey.bytes()));
}

TEST(Probe, TagsNameSenderAndKey) {
  const crypto::PublicKey a(key_of(1).bytes());
  const crypto::PublicKey b(key_of(2).bytes());
  EXPECT_NE(probe_tag(kKey.bytes(), a), probe_tag(kKey.bytes(), b));
  EXPECT_NE(probe_tag(kKey.bytes(), a), probe_tag(key_of(8).bytes(), a));
}

TEST(WireEndpoint, HasOneFormOnly) {
  std::array<std::uint8_t, kEndpointBytes> raw;
  std::optional<Endpoint> read;
  for (const char* text : {"1.2.3.4:5", "[2001:db8::1]:65535"}) {
    write_endpoint(raw.data(), Endpoint::parse(text));
    ASSERT_TRUE(read_endpoint(raw, read));
    EXPECT_EQ(read, Endpoint::parse(text));
  }
  write_endpoint(raw.data(), std::nullopt);
  EXPECT_TRUE(read_endpoint(raw, read));
  EXPECT_FALSE(read);
  raw[18] = 1;  // "none" with something in it
  EXPECT_FALSE(read_endpoint(raw, read));
  write_endpoint(raw.data(), Endpoint::parse("1.2.3.4:5"));
  raw[7] = 1;  // IPv4 with a fifth byte
  EXPECT_FALSE(read_endpoint(raw, read));
  std::fill(raw.begin(), raw.end(), std::uint8_t{0});
  raw[0] = 6;
  raw[13] = raw[14] = 0xff;  // ::ffff:0.0.0.0
  EXPECT_FALSE(read_endpoint(raw, read));
}

}  // namespace
}  // namespace lanrage::wire
