#include "crypto/aead.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/rng.h"

namespace lanrage::crypto {
namespace {

const std::string kSunscreen =
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be "
    "it.";

std::array<std::uint8_t, kKeySize> vector_key() {
  std::array<std::uint8_t, kKeySize> key;
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::uint8_t>(0x80 + i);
  return key;
}

Bytes random_bytes(Rng& rng, std::size_t size) {
  Bytes bytes(size);
  rng.fill(bytes);
  return bytes;
}

// Both implementations pass the same tests.
class Aead : public testing::TestWithParam<AeadBackend> {
 protected:
  AeadKey key(std::span<const std::uint8_t, kKeySize> bytes) const { return AeadKey(bytes, GetParam()); }
};

std::vector<AeadBackend> backends() {
  std::vector<AeadBackend> all{AeadBackend::kOpenSsl};
  if (fastest_aead() != AeadBackend::kOpenSsl) all.push_back(fastest_aead());
  return all;
}
INSTANTIATE_TEST_SUITE_P(Backends, Aead, testing::ValuesIn(backends()), [](const auto& backend) {
  return backend.param == AeadBackend::kOpenSsl ? "OpenSsl" : "IpsecMb";
});

TEST_P(Aead, AnswersThePublishedVector) {  // RFC 8439 section 2.8.2
  AeadKey sealer = key(vector_key());
  const AeadKey::Nonce nonce = {7, 0, 0, 0, 0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47};
  const Bytes aad = from_hex("50515253c0c1c2c3c4c5c6c7").value();
  Bytes sealed(kSunscreen.size() + kTagSize);
  sealer.seal(nonce, aad, as_bytes(kSunscreen), sealed);
  EXPECT_EQ(to_hex(sealed),
            "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b"
            "1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
            "3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691");
  Bytes opened(kSunscreen.size());
  ASSERT_TRUE(sealer.open(nonce, aad, sealed, opened));
  EXPECT_EQ(as_text(opened), kSunscreen);
}

TEST_P(Aead, OpensThePublishedVectorOfACounter) {  // RFC 8439 appendix A.5: a nonce as WireGuard makes them
  const Bytes raw = from_hex("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0").value();
  const Bytes aad = from_hex("f33388860000000000004e91").value();
  const std::string text =
      "Internet-Drafts are draft documents valid for a maximum of six months and may be updated, replaced, or "
      "obsoleted "
      "by other documents at any time. It is inappropriate to use Internet-Drafts as reference material or to cite "
      "them "
      "other than as /\u201cwork in progress./\u201d";
  AeadKey sealer = key(std::span(raw).first<kKeySize>());
  Bytes sealed(text.size() + kTagSize);
  sealer.seal(0x0807060504030201, aad, as_bytes(text), sealed);
  EXPECT_EQ(to_hex(ByteView(sealed).first(16)), "64a0861575861af460f062c79be643bd");
  EXPECT_EQ(to_hex(ByteView(sealed).last(kTagSize)), "eead9d67890cbb22392336fea1851f38");
  Bytes opened(text.size());
  ASSERT_TRUE(sealer.open(0x0807060504030201, aad, sealed, opened));
  EXPECT_EQ(as_text(opened), text);
}

TEST_P(Aead, OpensWhatItSealsInPlaceAndApart) {
  SeededRng rng(1);
  AeadKey sealer = key(vector_key());
  std::uint64_t counter = 0xffffffff00000000;
  for (std::size_t size : {0, 1, 15, 16, 17, 63, 64, 65, 127, 255, 256, 257, 1000, 1420, 9000, 65000}) {
    const Bytes plain = random_bytes(rng, size), aad = random_bytes(rng, size % 41);
    Bytes buffer = plain;
    buffer.resize(size + kTagSize);
    sealer.seal(++counter, aad, ByteView(buffer).first(size), buffer);
    Bytes apart(size + kTagSize);
    sealer.seal(counter, aad, plain, apart);
    EXPECT_EQ(buffer, apart);
    ASSERT_TRUE(sealer.open(counter, aad, buffer, MutableBytes(buffer).first(size)));
    buffer.resize(size);
    EXPECT_EQ(buffer, plain);
  }
}

TEST_P(Aead, AgreesWithTheReference) {
  SeededRng rng(2);
  for (std::size_t size = 0; size < 700; ++size) {
    const auto raw = rng.array<kKeySize>();
    AeadKey tested = key(raw), reference(raw, AeadBackend::kOpenSsl);
    const Bytes plain = random_bytes(rng, size), aad = random_bytes(rng, size % 33);
    const auto nonce = rng.array<kNonceSize>();
    Bytes a(size + kTagSize), b(size + kTagSize);
    tested.seal(nonce, aad, plain, a);
    reference.seal(nonce, aad, plain, b);
    ASSERT_EQ(a, b) << size;
    Bytes opened(size);
    ASSERT_TRUE(tested.open(nonce, aad, b, opened));
    ASSERT_EQ(opened, plain);
  }
}

// Where a carry may be lost: ciphertexts whose blocks are all ones, all zeroes, or the bytes in between that make
// Poly1305's limbs run over, at lengths on both sides of a block.
TEST_P(Aead, AgreesWithTheReferenceWhereLimbsRunOver) {
  SeededRng rng(3);
  for (std::size_t size : {1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 1420}) {
    for (unsigned block : {0x00u, 0xffu, 0x7fu, 0x80u, 0xfbu, 0xfcu, 0x03u}) {
      const auto raw = rng.array<kKeySize>();
      AeadKey tested = key(raw), reference(raw, AeadBackend::kOpenSsl);
      Bytes plain(size), sealed(size + kTagSize), again(size + kTagSize), opened(size);
      reference.seal(7, {}, plain, sealed);  // the key stream
      for (std::size_t i = 0; i < size; ++i) plain[i] = static_cast<std::uint8_t>(sealed[i] ^ block);
      reference.seal(7, {}, plain, sealed);
      ASSERT_EQ(sealed[size - 1], block);
      tested.seal(7, {}, plain, again);
      ASSERT_EQ(again, sealed) << size << " of " << block;
      ASSERT_TRUE(tested.open(7, {}, sealed, opened));
      ASSERT_EQ(opened, plain);
    }
  }
}

TEST_P(Aead, RefusesEveryFlippedBitAndShowsNothingOfIt) {
  AeadKey sealer = key(vector_key());
  const Bytes plain(40, 0x55), aad = {1, 2, 3};
  Bytes sealed(plain.size() + kTagSize);
  sealer.seal(9, aad, plain, sealed);
  for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    Bytes forged = sealed;
    forged[bit / 8] ^= static_cast<std::uint8_t>(1 << (bit % 8));
    Bytes opened(plain.size(), 0xee);
    ASSERT_FALSE(sealer.open(9, aad, forged, opened)) << bit;
    ASSERT_EQ(opened, Bytes(plain.size())) << bit;
    ASSERT_FALSE(sealer.open(9, aad, forged, MutableBytes(forged).first(plain.size())));
    ASSERT_TRUE(std::all_of(forged.begin(), forged.begin() + 40, [](std::uint8_t b) { return b == 0; })) << bit;
  }
  Bytes opened(plain.size());
  EXPECT_FALSE(sealer.open(10, aad, sealed, opened));
  EXPECT_FALSE(sealer.open(9, {}, sealed, opened));
  EXPECT_TRUE(sealer.open(9, aad, sealed, opened));
  EXPECT_FALSE(sealer.open(9, aad, ByteView(sealed).first(15), MutableBytes{}));
}

TEST_P(Aead, MovesToAnotherThread) {
  AeadKey sealer = key(vector_key());
  Bytes sealed(5 + kTagSize), opened(5);
  sealer.seal(1, {}, as_bytes("hello"), sealed);
  bool genuine = false;
  std::thread([&, moved = std::move(sealer)]() mutable { genuine = moved.open(1, {}, sealed, opened); }).join();
  EXPECT_TRUE(genuine);
  EXPECT_EQ(as_text(opened), "hello");
}

TEST(AeadKey, PutsTheCounterWhereWireGuardDoes) {
  EXPECT_EQ(to_hex(AeadKey::counter_nonce(0x0102030405060708)), "000000000807060504030201");
}

// draft-irtf-cfrg-xchacha-03, appendix A.3.1.
TEST(XChaCha20Poly1305, AnswersThePublishedVector) {
  XNonce nonce;
  for (std::size_t i = 0; i < nonce.size(); ++i) nonce[i] = static_cast<std::uint8_t>(0x40 + i);
  const Bytes aad = from_hex("50515253c0c1c2c3c4c5c6c7").value();
  const Bytes sealed = xseal(vector_key(), nonce, aad, as_bytes(kSunscreen));
  EXPECT_EQ(to_hex(sealed),
            "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
            "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
            "21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49");
  const auto opened = xopen(vector_key(), nonce, aad, sealed);
  ASSERT_TRUE(opened);
  EXPECT_EQ(as_text(*opened), kSunscreen);
}

TEST(XChaCha20Poly1305, RefusesAForgery) {
  const XNonce nonce{};
  Bytes sealed = xseal(vector_key(), nonce, {}, as_bytes("cookie"));
  sealed[3] ^= 1;
  EXPECT_FALSE(xopen(vector_key(), nonce, {}, sealed));
  EXPECT_FALSE(xopen(vector_key(), nonce, {}, ByteView(sealed).first(15)));
}

}  // namespace
}  // namespace lanrage::crypto
