#include "wire/relay.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "wire/demux.h"

namespace lanrage::wire {
namespace {

struct Fixture : testing::Test {
  SeededRng rng{1};
  crypto::SigningKey grant_key = crypto::SigningKey::generate(rng);
  crypto::PrivateKey device = crypto::PrivateKey::generate(rng);
  crypto::PrivateKey relay = crypto::PrivateKey::generate(rng);
  crypto::PublicKey device_public = crypto::public_key(device);
  crypto::PublicKey relay_public = crypto::public_key(relay);
  RelayMacKey key = *relay_mac_key(device, relay_public, device_public, relay_public);
  GrantBytes grant = sign_grant({.party = {9}, .peer = device_public, .expires_unix = 1700000000}, grant_key);
  std::vector<std::uint32_t> indices = {5, 0xfffffffe, 7};
};
using RelayWire = Fixture;

TEST_F(RelayWire, BothSidesDeriveTheSameMacKey) {
  const auto theirs = relay_mac_key(relay, device_public, device_public, relay_public);
  ASSERT_TRUE(theirs);
  EXPECT_TRUE(crypto::secure_equal(theirs->bytes(), key.bytes()));
}

TEST_F(RelayWire, GrantsComeBackAsSignedAndNothingElseVerifies) {
  const auto parsed = parse_grant(grant);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->peer, device_public);
  EXPECT_EQ(parsed->expires_unix, 1700000000);
  EXPECT_EQ(parsed->key_id, grant_key_id(crypto::verify_key(grant_key)));
  EXPECT_TRUE(verify_grant(grant, crypto::verify_key(grant_key)));
  EXPECT_FALSE(verify_grant(grant, crypto::verify_key(crypto::SigningKey::generate(rng))));
  for (std::size_t i = 0; i < kGrantBytes; ++i) {
    GrantBytes bad = grant;
    bad[i] ^= 1;
    EXPECT_FALSE(verify_grant(bad, crypto::verify_key(grant_key))) << i;
  }
}

TEST_F(RelayWire, MessagesComeBackAsWritten) {
  const RelayCookie cookie = {1, 2, 3};
  const Bytes registering = write_relay_register(11, cookie, grant, indices, key);
  const auto r = parse_relay_register(registering);
  ASSERT_TRUE(r);
  EXPECT_EQ(r->transaction, 11u);
  EXPECT_EQ(r->cookie, cookie);
  EXPECT_EQ(to_bytes(r->grant), to_bytes(grant));
  ASSERT_EQ(r->indices.size(), 3u);
  EXPECT_EQ(r->indices[1], 0xfffffffeu);
  EXPECT_TRUE(verify_relay_mac(registering, key));
  EXPECT_EQ(protocol_of(registering), Protocol::kRelay);

  const auto c = parse_relay_challenge(write_relay_challenge({12, cookie}));
  ASSERT_TRUE(c);
  EXPECT_EQ(c->transaction, 12u);
  EXPECT_EQ(c->cookie, cookie);

  RelayRegistered answer;
  answer.transaction = 13;
  answer.session = 14;
  answer.lifetime_seconds = 60;
  answer.observed = *Endpoint::parse("1.2.3.4:5");
  const Bytes registered = write_relay_registered(answer, std::vector<std::uint32_t>{7}, key);
  const auto a = parse_relay_registered(registered);
  ASSERT_TRUE(a);
  EXPECT_EQ(a->session, 14u);
  EXPECT_EQ(a->lifetime_seconds, 60u);
  EXPECT_EQ(a->observed, answer.observed);
  ASSERT_EQ(a->taken.size(), 1u);
  EXPECT_EQ(a->taken[0], 7u);
  EXPECT_TRUE(verify_relay_mac(registered, key));

  const auto refused = parse_relay_refused(write_relay_refused({15, RelayRefusal::kFull}));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->reason, RelayRefusal::kFull);

  const Bytes refreshing = write_relay_refresh(16, 14, indices, std::vector<std::uint32_t>{1}, key);
  const auto f = parse_relay_refresh(refreshing);
  ASSERT_TRUE(f);
  EXPECT_EQ(f->added.size(), 3u);
  ASSERT_EQ(f->removed.size(), 1u);
  EXPECT_EQ(f->removed[0], 1u);
  EXPECT_TRUE(verify_relay_mac(refreshing, key));

  const Bytes payload = {1, 2, 3};
  Bytes frame(kRelayHeaderBytes + payload.size());
  write_relay_send(17, payload, frame);
  EXPECT_EQ(relay_type(frame), RelayType::kSend);
  EXPECT_EQ(parse_relay_frame(frame)->peer, 17u);
  make_relay_deliver(frame, 18);
  EXPECT_EQ(relay_type(frame), RelayType::kDeliver);
  EXPECT_EQ(parse_relay_frame(frame)->peer, 18u);
  EXPECT_EQ(to_bytes(parse_relay_frame(frame)->payload), payload);

  EXPECT_EQ(parse_relay_absent(write_relay_absent({19}))->peer, 19u);
  EXPECT_EQ(parse_relay_leave(write_relay_leave({20, 14}, key))->session, 14u);
  const Bytes draining = write_relay_drain({14, 30}, key);
  EXPECT_EQ(parse_relay_drain(draining)->session, 14u);
  EXPECT_EQ(parse_relay_drain(draining)->seconds, 30);
  EXPECT_TRUE(verify_relay_mac(draining, key));
}

TEST_F(RelayWire, AnswersAreNeverLargerThanQuestions) {
  const Bytes smallest = write_relay_register(1, {}, grant, {}, key);
  EXPECT_LE(write_relay_challenge({}).size(), smallest.size());
  EXPECT_LE(write_relay_registered({}, indices, key).size(), write_relay_register(1, {}, grant, indices, key).size());
  EXPECT_LE(write_relay_registered({}, {}, key).size(), write_relay_refresh(1, 1, {}, {}, key).size());
  EXPECT_LE(write_relay_registered({}, indices, key).size(), write_relay_refresh(1, 1, indices, {}, key).size());
}

TEST_F(RelayWire, RefusesCountsThatDisagreeWithTheLength) {
  Bytes bad = write_relay_register(1, {}, grant, indices, key);
  bad[4 + 8 + 16 + kGrantBytes + 1] = 2;
  EXPECT_FALSE(parse_relay_register(bad));
  bad = write_relay_refresh(1, 1, indices, {}, key);
  bad[4 + 8 + 8 + 1] = 4;
  EXPECT_FALSE(parse_relay_refresh(bad));
  for (std::size_t size = 0; size < bad.size(); ++size) {
    EXPECT_FALSE(parse_relay_register(ByteView(bad).first(size)));
    EXPECT_FALSE(parse_relay_refresh(ByteView(bad).first(size)));
  }
}

TEST_F(RelayWire, MacsCoverEveryByte) {
  const Bytes good = write_relay_register(1, {4}, grant, indices, key);
  for (std::size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] ^= 0x80;
    EXPECT_FALSE(verify_relay_mac(bad, key)) << i;
  }
}

}  // namespace
}  // namespace lanrage::wire
