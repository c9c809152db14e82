#include "crypto/hash.h"

#include <gtest/gtest.h>

namespace lanrage::crypto {
namespace {

Bytes counting(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::uint8_t>(i);
  return bytes;
}

const ByteView kHello = as_bytes("hello, world");

TEST(Blake2s, AnswersThePublishedVectors) {
  // RFC 7693 appendix B, and the first keyed one of the algorithm's own test vectors.
  EXPECT_EQ(to_hex(blake2s({as_bytes("abc")})), "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982");
  EXPECT_EQ(to_hex(blake2s_mac32(counting(32), {})),
            "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49");
}

// The algorithm's own known answers: inputs 00, 00 01, ... of 0 to 255 bytes, with the key 00 ... 1f. The last stands
// here, and a hash over all of them; the two without a published list were computed with another implementation.
TEST(Blake2s, AnswersAllKnownAnswers) {
  const Bytes key = counting(32);
  EXPECT_EQ(to_hex(blake2s_mac32(key, {counting(255)})),
            "3fb735061abc519dfe979e54c1ee5bfad0a9d858b3315bad34bde999efd724dd");
  Bytes keyed, plain, short_mac;
  const auto append = [](Bytes& to, ByteView part) { to.insert(to.end(), part.begin(), part.end()); };
  for (std::size_t size = 0; size < 256; ++size) {
    append(keyed, blake2s_mac32(key, {counting(size)}));
    append(plain, blake2s({counting(size)}));
    append(short_mac, blake2s_mac16(key, {counting(size)}));
  }
  EXPECT_EQ(to_hex(sha256({keyed})), "8ae17a963349019d1c56c0b7834abbbb1639980ef84b6a0438326402db47f02f");
  EXPECT_EQ(to_hex(sha256({plain})), "5f7531adc8f6553c574a96af507ed94d853ec5720a636afb10fe43cd5a3c7047");
  EXPECT_EQ(to_hex(sha256({short_mac})), "cfd0a508eec046354adf5b6b6fe8a6481746ae94f9386f46447386f250802d99");
}

TEST(Blake2s, ShortMacIsItsOwnFunctionAndNotACutOne) {
  EXPECT_EQ(to_hex(blake2s_mac16(counting(32), {kHello})), "aea04ec6148da4936c3c881ea1c50026");
  EXPECT_NE(to_hex(blake2s_mac32(counting(32), {kHello})).substr(0, 32), "aea04ec6148da4936c3c881ea1c50026");
  EXPECT_NE(blake2s_mac16(counting(16), {kHello}), blake2s_mac16(counting(32), {kHello}));
}

TEST(Hashes, TakeInputInParts) {
  const Bytes all = counting(200);
  const ByteView view = all;
  EXPECT_EQ(blake2s({view.first(3), {}, view.subspan(3)}), blake2s({all}));
  EXPECT_EQ(sha256({view.first(64), view.subspan(64)}), sha256({all}));
  EXPECT_EQ(blake2s_mac16(counting(16), {view.first(65), view.subspan(65)}), blake2s_mac16(counting(16), {all}));
  EXPECT_EQ(hmac_sha256(counting(16), {view.first(65), view.subspan(65)}), hmac_sha256(counting(16), {all}));
}

TEST(HmacBlake2s, AgreesWithAnotherImplementation) {
  EXPECT_EQ(to_hex(hmac_blake2s(counting(32), {kHello})),
            "212e122b7ba9034f99802bfd63cf219c01061a051492e5338f828d023ffcc5d1");
  // A key longer than a block is hashed first.
  EXPECT_EQ(to_hex(hmac_blake2s(counting(100), {kHello})),
            "7f9780adf7089498ee191e433e854afb303addb34f565634f47065208c2c66c7");
}

TEST(Kdf, IsAChainOfHmacs) {
  const char* const t1 = "47ba192e055b4acea04add018205533b079ead0773c1145f787d8b9c1977c2df";
  const char* const t2 = "e8ae7d1ec36cde494c7836ee7e18f9750630288abf69ad99b649868313692111";
  const char* const t3 = "ea8d7425ac414b83b497355dd558395c4d1a753dbb7800e0e8775509f71524c1";
  EXPECT_EQ(to_hex(kdf1(counting(32), kHello).bytes()), t1);
  EXPECT_EQ(to_hex(kdf2(counting(32), kHello)[0].bytes()), t1);
  EXPECT_EQ(to_hex(kdf2(counting(32), kHello)[1].bytes()), t2);
  EXPECT_EQ(to_hex(kdf3(counting(32), kHello)[0].bytes()), t1);
  EXPECT_EQ(to_hex(kdf3(counting(32), kHello)[1].bytes()), t2);
  EXPECT_EQ(to_hex(kdf3(counting(32), kHello)[2].bytes()), t3);
}

TEST(Blake2s, GivesTheConstantsOfWireGuard) {
  const Hash chaining_key = blake2s({as_bytes("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")});
  EXPECT_EQ(to_hex(chaining_key), "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36");
  EXPECT_EQ(to_hex(blake2s({chaining_key, as_bytes("WireGuard v1 zx2c4 Jason@zx2c4.com")})),
            "2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3");
}

TEST(Sha256, AnswersThePublishedVectors) {
  // FIPS 180-4 and RFC 4231 test 2.
  EXPECT_EQ(to_hex(sha256({as_bytes("abc")})), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(to_hex(hmac_sha256(as_bytes("Jefe"), {as_bytes("what do ya want for nothing?")})),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Hkdf, AnswersThePublishedVectors) {  // RFC 5869 appendix A, tests 1 and 3
  const Bytes secret(22, 0x0b);
  EXPECT_EQ(to_hex(hkdf_sha256(secret, counting(13), from_hex("f0f1f2f3f4f5f6f7f8f9").value(), 42)),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
  EXPECT_EQ(to_hex(hkdf_sha256(secret, {}, {}, 42)),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
}

TEST(Hkdf, GivesAnyLengthAsAPrefixOfTheLongest) {
  const Bytes longest = hkdf_sha256(kHello, {}, {}, 255 * 32);
  for (std::size_t length : {0, 1, 31, 32, 33, 64, 8159}) {
    const Bytes out = hkdf_sha256(kHello, {}, {}, length);
    ASSERT_EQ(out.size(), length);
    EXPECT_TRUE(std::equal(out.begin(), out.end(), longest.begin()));
  }
}

}  // namespace
}  // namespace lanrage::crypto
