// libipsec-mb and OpenSSL must agree byte for byte, in place and apart, and on what they refuse.
// Input: key 32, nonce 12, length of aad 1, position of a flipped bit 2, aad, plaintext.
#include "base/check.h"
#include "crypto/aead.h"

using namespace lanrage;
using crypto::AeadKey;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader reader({data, size});
  const auto raw_key = reader.array<crypto::kKeySize>();
  const auto nonce = reader.array<crypto::kNonceSize>();
  const std::size_t aad_size = reader.u8();
  const std::size_t flip = reader.u16_be();
  if (!reader.ok() || reader.rest().size() < aad_size) return 0;
  const ByteView aad = reader.bytes(aad_size);
  const ByteView plaintext = reader.rest();

  AeadKey fast(raw_key), reference(raw_key, crypto::AeadBackend::kOpenSsl);
  Bytes sealed(plaintext.size() + crypto::kTagSize), expected(sealed.size()), in_place = to_bytes(plaintext);
  in_place.resize(sealed.size());
  fast.seal(nonce, aad, plaintext, sealed);
  reference.seal(nonce, aad, plaintext, expected);
  fast.seal(nonce, aad, ByteView(in_place).first(plaintext.size()), in_place);
  LR_CHECK(sealed == expected);
  LR_CHECK(sealed == in_place);

  Bytes opened(plaintext.size());
  LR_CHECK(fast.open(nonce, aad, sealed, opened) && opened == to_bytes(plaintext));
  LR_CHECK(reference.open(nonce, aad, sealed, opened) && opened == to_bytes(plaintext));

  sealed[flip / 8 % sealed.size()] ^= static_cast<std::uint8_t>(1 << (flip % 8));
  const Bytes nothing(plaintext.size());
  LR_CHECK(!fast.open(nonce, aad, sealed, opened) && opened == nothing);
  LR_CHECK(!reference.open(nonce, aad, sealed, opened) && opened == nothing);
  LR_CHECK(!fast.open(nonce, aad, sealed, MutableBytes(sealed).first(plaintext.size())));
  return 0;
}
