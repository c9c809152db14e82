#include <sodium.h>

#include "base/check.h"
#include "crypto/aead.h"

namespace lanrage::crypto {

static_assert(kXNonceSize == crypto_aead_xchacha20poly1305_ietf_NPUBBYTES);
static_assert(kTagSize == crypto_aead_xchacha20poly1305_ietf_ABYTES);

Bytes xseal(std::span<const std::uint8_t, kKeySize> key, const XNonce& nonce, ByteView aad, ByteView plaintext) {
  Bytes out(plaintext.size() + kTagSize);
  LR_CHECK(crypto_aead_xchacha20poly1305_ietf_encrypt(out.data(), nullptr, plaintext.data(), plaintext.size(),
                                                      aad.data(), aad.size(), nullptr, nonce.data(), key.data()) == 0);
  return out;
}

std::optional<Bytes> xopen(std::span<const std::uint8_t, kKeySize> key, const XNonce& nonce, ByteView aad,
                           ByteView sealed) {
  if (sealed.size() < kTagSize) return std::nullopt;
  Bytes out(sealed.size() - kTagSize);
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(out.data(), nullptr, nullptr, sealed.data(), sealed.size(), aad.data(),
                                                 aad.size(), nonce.data(), key.data()) != 0)
    return std::nullopt;
  return out;
}

}  // namespace lanrage::crypto
