#include "crypto/signature.h"

#include <gtest/gtest.h>

namespace lanrage::crypto {
namespace {

struct Vector {
  const char *seed, *key, *message, *signature;
};

// RFC 8032 section 7.1, tests 1 to 3.
constexpr Vector kVectors[] = {
    {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
     "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
     "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
     "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"},
    {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
     "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
     "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"},
    {"c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
     "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
     "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
     "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"},
};

TEST(Signature, AnswersThePublishedVectors) {
  for (const Vector& v : kVectors) {
    const auto seed = SigningKey::from_bytes(from_hex(v.seed).value()).value();
    const Bytes message = from_hex(v.message).value();
    EXPECT_EQ(to_hex(verify_key(seed).bytes()), v.key);
    EXPECT_EQ(to_hex(sign(seed, message)), v.signature);
    EXPECT_TRUE(verify(verify_key(seed), message, sign(seed, message)));
  }
}

TEST(Signature, RefusesAnythingChanged) {
  SeededRng rng(1);
  const auto seed = SigningKey::generate(rng), other = SigningKey::generate(rng);
  const Bytes message = to_bytes(as_bytes("who is in the party"));
  const Signature good = sign(seed, message);
  for (std::size_t i = 0; i < good.size(); ++i) {
    Signature bad = good;
    bad[i] ^= 1;
    EXPECT_FALSE(verify(verify_key(seed), message, bad)) << i;
  }
  EXPECT_FALSE(verify(verify_key(other), message, good));
  EXPECT_FALSE(verify(verify_key(seed), as_bytes("who is in the partx"), good));
}

// s + L signs the same message for a lax verifier: one signature must not have two forms.
TEST(Signature, RefusesAScalarNotBelowTheGroupOrder) {
  SeededRng rng(2);
  const auto seed = SigningKey::generate(rng);
  Signature signature = sign(seed, {});
  const Bytes order = from_hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").value();
  unsigned carry = 0;
  for (std::size_t i = 0; i < 32; ++i) {
    carry += signature[32 + i] + unsigned{order[i]};
    signature[32 + i] = static_cast<std::uint8_t>(carry);
    carry >>= 8;
  }
  EXPECT_FALSE(verify(verify_key(seed), {}, signature));
}

TEST(Signature, RefusesKeysOfSmallOrder) {
  // With the neutral element as key, R = neutral and s = 0 would sign every message.
  const VerifyKey neutral(std::array<std::uint8_t, 32>{1});
  Signature signature{};
  signature[0] = 1;
  EXPECT_FALSE(verify(neutral, as_bytes("anything"), signature));
}

TEST(VerifyKey, ReadsAndPrints) {
  SeededRng rng(4);
  const VerifyKey key = verify_key(SigningKey::generate(rng));
  EXPECT_EQ(VerifyKey::from_base64(key.base64()), key);
  EXPECT_FALSE(VerifyKey::from_base64("AAAA"));
  EXPECT_FALSE(VerifyKey::from_bytes(Bytes(33)));
  EXPECT_FALSE(SigningKey::from_bytes(Bytes(31)));
}

}  // namespace
}  // namespace lanrage::crypto
