#include "crypto/keys.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <memory>
#include <type_traits>
#include <vector>

#include "crypto/random.h"

namespace lanrage::crypto {
namespace {

PrivateKey private_key(const char* hex) { return PrivateKey::from_bytes(from_hex(hex).value()).value(); }
PublicKey point(const char* hex) { return PublicKey::from_bytes(from_hex(hex).value()).value(); }

// RFC 7748 section 5.2.
TEST(X25519, AnswersThePublishedVectors) {
  const auto first = x25519(private_key("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                            point("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c"));
  ASSERT_TRUE(first);
  EXPECT_EQ(to_hex(first->bytes()), "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
  const auto second = x25519(private_key("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d"),
                             point("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493"));
  ASSERT_TRUE(second);
  EXPECT_EQ(to_hex(second->bytes()), "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957");
}

// RFC 7748 section 5.2: the same function a thousand times over.
TEST(X25519, AnswersTheIteratedVector) {
  std::array<std::uint8_t, kKeySize> k{9}, u{9};
  for (int i = 0; i < 1000; ++i) {
    const auto result = x25519(PrivateKey(k), PublicKey(u));
    ASSERT_TRUE(result);
    u = k;
    std::copy(result->bytes().begin(), result->bytes().end(), k.begin());
    if (i == 0) {
      EXPECT_EQ(to_hex(k), "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079");
    }
  }
  EXPECT_EQ(to_hex(k), "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51");
}

TEST(X25519, AgreesOnBothSides) {
  SystemRng rng;
  const auto a = PrivateKey::generate(rng), b = PrivateKey::generate(rng);
  const auto ab = x25519(a, public_key(b)), ba = x25519(b, public_key(a));
  ASSERT_TRUE(ab && ba);
  EXPECT_TRUE(secure_equal(ab->bytes(), ba->bytes()));
}

TEST(X25519, RefusesPointsOfLowOrder) {
  const auto key = private_key("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
  for (const char* hex : {"0000000000000000000000000000000000000000000000000000000000000000",
                          "0100000000000000000000000000000000000000000000000000000000000000",
                          "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
                          "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
                          "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                          "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                          "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
                          "0000000000000000000000000000000000000000000000000000000000000080"})
    EXPECT_FALSE(x25519(key, point(hex))) << hex;
}

// RFC 7748 section 5: the top bit is ignored, and a coordinate from p on stands for what is left after p = 2^255 - 19.
TEST(X25519, TakesACoordinateByItsRemainder) {
  const auto key = private_key("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
  for (std::uint8_t rest = 2; rest < 19; ++rest) {
    std::array<std::uint8_t, kKeySize> plain{rest}, canonical_plus_p, with_top_bit{rest};
    canonical_plus_p.fill(0xff);
    canonical_plus_p[0] = static_cast<std::uint8_t>(0xed + rest);
    canonical_plus_p[31] = 0x7f;
    with_top_bit[31] = 0x80;
    const auto expected = x25519(key, PublicKey(plain));
    ASSERT_TRUE(expected);
    for (const auto& other : {canonical_plus_p, with_top_bit}) {
      const auto shared = x25519(key, PublicKey(other));
      ASSERT_TRUE(shared);
      EXPECT_EQ(to_hex(shared->bytes()), to_hex(expected->bytes())) << int{rest};
    }
  }
}

std::string openssl_x25519(const PrivateKey& mine, const PublicKey& theirs) {
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  const auto &own = mine.bytes(), &other = theirs.bytes();
  const Key a(EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, nullptr, own.data(), own.size()), EVP_PKEY_free);
  const Key b(EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, nullptr, other.data(), other.size()), EVP_PKEY_free);
  const std::unique_ptr<EVP_PKEY_CTX, decltype(&EVP_PKEY_CTX_free)> context(EVP_PKEY_CTX_new(a.get(), nullptr),
                                                                            EVP_PKEY_CTX_free);
  std::array<std::uint8_t, kKeySize> out{};
  std::size_t size = out.size();
  EXPECT_EQ(EVP_PKEY_derive_init(context.get()), 1);
  EXPECT_EQ(EVP_PKEY_derive_set_peer(context.get(), b.get()), 1);
  return EVP_PKEY_derive(context.get(), out.data(), &size) == 1 ? to_hex(out) : "refused";
}

// Coordinates with long runs of ones and zeroes, about half of them on the curve's twist, and private keys likewise:
// equal to another implementation, or refused by both.
TEST(X25519, AgreesWithAnotherImplementationOnSpecialPoints) {
  std::vector<std::array<std::uint8_t, kKeySize>> numbers;
  for (std::size_t bit = 0; bit < 256; ++bit) {
    std::array<std::uint8_t, kKeySize> power{}, ones{}, zeroes;
    power[bit / 8] = static_cast<std::uint8_t>(1 << (bit % 8));
    for (std::size_t i = 0; i < bit; ++i) ones[i / 8] |= static_cast<std::uint8_t>(1 << (i % 8));
    for (std::size_t i = 0; i < zeroes.size(); ++i) zeroes[i] = static_cast<std::uint8_t>(~ones[i]);
    numbers.insert(numbers.end(), {power, ones, zeroes});
  }
  SeededRng rng(5);
  int refused = 0;
  for (const auto& number : numbers) {
    for (const auto& [mine, theirs] : {std::pair(PrivateKey(rng.array<kKeySize>()), PublicKey(number)),
                                       std::pair(PrivateKey(number), PublicKey(rng.array<kKeySize>()))}) {
      const auto shared = x25519(mine, theirs);
      refused += shared ? 0 : 1;
      EXPECT_EQ(shared ? to_hex(shared->bytes()) : "refused", openssl_x25519(mine, theirs)) << to_hex(number);
    }
  }
  EXPECT_GT(refused, 0);
}

TEST(PrivateKey, IsClampedWhenGeneratedAndOnUse) {
  SeededRng rng(3);
  for (int i = 0; i < 100; ++i) {
    const auto key = PrivateKey::generate(rng);
    EXPECT_EQ(key.bytes()[0] & 7, 0);
    EXPECT_EQ(key.bytes()[31] & 0xc0, 0x40);
    auto raw = PrivateKey(key);
    raw.mutable_bytes()[0] |= 7;
    raw.mutable_bytes()[31] |= 0x80;
    EXPECT_EQ(public_key(raw), public_key(key));
  }
}

// RFC 7748 section 6.1.
TEST(X25519, AnswersTheDiffieHellmanVector) {
  const auto alice = private_key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
  const auto bob = private_key("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
  EXPECT_EQ(to_hex(public_key(alice).bytes()), "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a");
  EXPECT_EQ(to_hex(public_key(bob).bytes()), "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f");
  const auto shared = x25519(alice, public_key(bob));
  ASSERT_TRUE(shared);
  EXPECT_EQ(to_hex(shared->bytes()), "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
}

TEST(Keys, ReadAndPrintAsWgDoes) {
  const std::string text = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
  const auto key = PublicKey::from_base64(text);
  ASSERT_TRUE(key);
  EXPECT_EQ(key->base64(), text);
  EXPECT_EQ(PresharedKey::from_base64(text).value().base64(), text);
  EXPECT_EQ(PrivateKey::from_base64(text).value().base64(), text);
  EXPECT_FALSE(PublicKey::from_base64("xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8D=="));
  EXPECT_FALSE(PublicKey::from_base64("AAAA"));
  EXPECT_FALSE(PublicKey::from_bytes(Bytes(31)));
}

TEST(Keys, AreDistinctTypesAndSecretsDoNotCompare) {
  static_assert(!std::is_convertible_v<SharedSecret, PresharedKey>);
  static_assert(!std::is_convertible_v<PrivateKey, PublicKey>);
  static_assert(std::totally_ordered<PublicKey>);
  static_assert(!std::equality_comparable<PrivateKey> && !std::equality_comparable<PresharedKey>);
  PublicKey a, b(std::array<std::uint8_t, 32>{1});
  EXPECT_LT(a, b);
  EXPECT_NE(std::hash<PublicKey>{}(a), std::hash<PublicKey>{}(b));
}

TEST(Secret, IsWipedWhenItDies) {
  alignas(PresharedKey) std::array<std::uint8_t, sizeof(PresharedKey)> storage;
  std::array<std::uint8_t, kKeySize> raw;
  raw.fill(0xab);
  auto* const key = new (storage.data()) PresharedKey(raw);
  EXPECT_EQ(storage[5], 0xab);
  key->~PresharedKey();
  // Read through volatile: the object's life is over, the bytes are ours.
  for (std::size_t i = 0; i < storage.size(); ++i) EXPECT_EQ(const_cast<volatile std::uint8_t&>(storage[i]), 0);
}

TEST(SecureEqual, ComparesLengthAndContent) {
  const Bytes a = {1, 2, 3}, b = {1, 2, 4}, c = {1, 2};
  EXPECT_TRUE(secure_equal(a, Bytes(a)));
  EXPECT_FALSE(secure_equal(a, b));
  EXPECT_FALSE(secure_equal(a, c));
  EXPECT_TRUE(secure_equal({}, {}));
}

TEST(SystemRng, FillsEveryByte) {
  SystemRng rng;
  Bytes seen(64);
  for (int i = 0; i < 20; ++i) {
    const auto bytes = rng.array<64>();
    for (std::size_t k = 0; k < 64; ++k) seen[k] |= bytes[k];
  }
  for (std::uint8_t b : seen) EXPECT_NE(b, 0);
}

}  // namespace
}  // namespace lanrage::crypto
