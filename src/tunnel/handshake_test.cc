#include "tunnel/handshake.h"

#include <gtest/gtest.h>

namespace lanrage::tunnel {
namespace {

using namespace std::chrono_literals;

struct Two {
  SeededRng rng{7};
  LocalIdentity a{crypto::PrivateKey::generate(rng)};
  LocalIdentity z{crypto::PrivateKey::generate(rng)};
  RemoteIdentity z_for_a = RemoteIdentity::make(a, z.public_key).value();
  RemoteIdentity a_for_z = RemoteIdentity::make(z, a.public_key).value();
  Tai64n stamp = Tai64n::of(WallTime{1'700'000'000s});
  CreatedInitiation initiation = create_initiation(a, z_for_a, stamp, 0xa0a0a0a0, rng).value();

  std::optional<ProvenInitiation> read(const wire::wireguard::Initiation& message) {
    const auto opened = open_initiation(z, message);
    if (!opened) return std::nullopt;
    return prove_initiation(*opened, a_for_z, message);
  }
};

TEST(Tai64n, CountsFromTheEpochOfTai64) {
  EXPECT_EQ(to_hex(Tai64n::of(WallTime{}).bytes), "400000000000000a00000000");
  EXPECT_EQ(to_hex(Tai64n::of(WallTime{1s + 5ns}).bytes), "400000000000000b00000005");
  EXPECT_EQ(to_hex(Tai64n::of(WallTime{-1ns}).bytes), "40000000000000093b9ac9ff");
}

TEST(Tai64n, AddsAndOrdersAsTimeDoes) {
  const Tai64n t = Tai64n::of(WallTime{10s + 999'999'999ns});
  EXPECT_EQ(t.plus(1ns), Tai64n::of(WallTime{11s}));
  EXPECT_EQ(t.plus(2s + 2ns), Tai64n::of(WallTime{13s + 1ns}));
  EXPECT_LT(t, t.plus(1ns));
  EXPECT_LT(Tai64n{}, Tai64n::of(WallTime{-50 * 365 * 24h}));
}

TEST(Handshake, GivesBothSidesTheSameKeysCrossed) {
  Two two;
  const auto proven = two.read(two.initiation.message);
  ASSERT_TRUE(proven);
  EXPECT_EQ(proven->opened.initiator, two.a.public_key);
  EXPECT_EQ(proven->timestamp, two.stamp);
  EXPECT_EQ(proven->opened.remote_index, 0xa0a0a0a0u);
  const crypto::PresharedKey psk(two.rng.array<32>());
  const auto response = create_response(*proven, psk, 0xb0b0b0b0, two.rng);
  ASSERT_TRUE(response);
  const auto keys = consume_response(two.a, two.initiation.in_flight, {&psk, 1}, response->message);
  ASSERT_TRUE(keys);
  EXPECT_TRUE(crypto::secure_equal(keys->send.bytes(), response->keys.receive.bytes()));
  EXPECT_TRUE(crypto::secure_equal(keys->receive.bytes(), response->keys.send.bytes()));
  EXPECT_FALSE(crypto::secure_equal(keys->send.bytes(), keys->receive.bytes()));
  EXPECT_EQ(keys->remote_index, 0xb0b0b0b0u);
  EXPECT_EQ(response->keys.remote_index, 0xa0a0a0a0u);
}

TEST(Handshake, HidesWhoBeginsFromAnyoneElse) {
  Two two;
  const LocalIdentity eve(crypto::PrivateKey::generate(two.rng));
  EXPECT_FALSE(open_initiation(eve, two.initiation.message));
}

TEST(Handshake, AnInitiationProvesTheHolderOfTheStaticKey) {
  Two two;
  // Eve knows both public keys and puts A's into her own initiation.
  const LocalIdentity eve(crypto::PrivateKey::generate(two.rng));
  LocalIdentity pretending = eve;
  pretending.public_key = two.a.public_key;
  const auto z_for_eve = RemoteIdentity::make(eve, two.z.public_key);
  const auto forged = create_initiation(pretending, *z_for_eve, two.stamp, 1, two.rng);
  const auto opened = open_initiation(two.z, forged->message);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->initiator, two.a.public_key) << "so it claims";
  EXPECT_FALSE(prove_initiation(*opened, two.a_for_z, forged->message));
}

TEST(Handshake, RefusesEveryChangedByte) {
  Two two;
  const Bytes good = wire::wireguard::write(two.initiation.message);
  for (std::size_t i = 8; i < 116; ++i) {
    Bytes bad = good;
    bad[i] ^= 0x20;
    EXPECT_FALSE(two.read(wire::wireguard::parse_initiation(bad).value())) << i;
  }
  const auto response = create_response(*two.read(two.initiation.message), {}, 2, two.rng);
  const Bytes good_response = wire::wireguard::write(response->message);
  for (std::size_t i = 8; i < 60; ++i) {
    Bytes bad = good_response;
    bad[i] ^= 0x20;
    EXPECT_FALSE(consume_response(two.a, two.initiation.in_flight, {}, *wire::wireguard::parse_response(bad))) << i;
  }
  EXPECT_TRUE(consume_response(two.a, two.initiation.in_flight, {}, response->message));
}

TEST(Handshake, RefusesEphemeralsOfLowOrder) {
  Two two;
  wire::wireguard::Initiation initiation = two.initiation.message;
  initiation.ephemeral = {1};
  EXPECT_FALSE(open_initiation(two.z, initiation));
  auto response = create_response(*two.read(two.initiation.message), {}, 2, two.rng)->message;
  response.ephemeral = {};
  EXPECT_FALSE(consume_response(two.a, two.initiation.in_flight, {}, response));
  EXPECT_FALSE(RemoteIdentity::make(two.a, crypto::PublicKey{}));
}

TEST(Handshake, TriesEveryPresharedKeyAndTakesTheOneThatFits) {
  Two two;
  const auto proven = two.read(two.initiation.message);
  const std::vector<crypto::PresharedKey> psks = {crypto::PresharedKey(two.rng.array<32>()),
                                                  crypto::PresharedKey(two.rng.array<32>()),
                                                  crypto::PresharedKey(two.rng.array<32>())};
  for (const auto& psk : psks) {
    const auto response = create_response(*proven, psk, 2, two.rng);
    const auto keys = consume_response(two.a, two.initiation.in_flight, psks, response->message);
    ASSERT_TRUE(keys);
    EXPECT_TRUE(crypto::secure_equal(keys->send.bytes(), response->keys.receive.bytes()));
  }
  const auto unknown = create_response(*proven, crypto::PresharedKey(two.rng.array<32>()), 2, two.rng);
  EXPECT_FALSE(consume_response(two.a, two.initiation.in_flight, psks, unknown->message));
  EXPECT_FALSE(consume_response(two.a, two.initiation.in_flight, {}, unknown->message));
}

TEST(Handshake, NeverRepeatsAnEphemeral) {
  Two two;
  const auto again = create_initiation(two.a, two.z_for_a, two.stamp, 0xa0a0a0a0, two.rng);
  EXPECT_NE(again->message.ephemeral, two.initiation.message.ephemeral);
  EXPECT_NE(again->message.sealed_static, two.initiation.message.sealed_static);
}

TEST(Handshake, AResponseAnswersOneInitiation) {
  Two two;
  auto other = create_initiation(two.a, two.z_for_a, two.stamp, 0xa0a0a0a0, two.rng);
  const auto response = create_response(*two.read(two.initiation.message), {}, 2, two.rng);
  EXPECT_FALSE(consume_response(two.a, other->in_flight, {}, response->message));
  other->in_flight.local_index = 5;
  EXPECT_FALSE(consume_response(two.a, other->in_flight, {}, response->message));
}

}  // namespace
}  // namespace lanrage::tunnel
