// ChaCha20-Poly1305 (RFC 8439) for packets, XChaCha20-Poly1305 for cookies.
//
// `AeadKey` seals and opens synchronously and allocates nothing per packet. On x86-64 it is libipsec-mb's job
// interface with one manager per thread, elsewhere (and where asked for) OpenSSL; both make the same bytes, which a
// differential fuzz target holds them to. One AeadKey is used by one thread at a time; it may be handed to another.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "base/bytes.h"
#include "crypto/keys.h"

namespace lanrage::crypto {

inline constexpr std::size_t kTagSize = 16;
inline constexpr std::size_t kNonceSize = 12;
inline constexpr std::size_t kXNonceSize = 24;

enum class AeadBackend { kIpsecMb, kOpenSsl };

// The fastest one that this build and this machine have.
AeadBackend fastest_aead();

class AeadKey {
 public:
  using Nonce = std::array<std::uint8_t, kNonceSize>;

  explicit AeadKey(std::span<const std::uint8_t, kKeySize> key, AeadBackend backend = fastest_aead());
  AeadKey(AeadKey&&) noexcept;
  AeadKey& operator=(AeadKey&&) noexcept;
  ~AeadKey();  // wipes

  // WireGuard's nonce: four zero bytes, then the counter, little endian.
  static Nonce counter_nonce(std::uint64_t counter);

  // Writes ciphertext and tag: `out.size()` is `plaintext.size() + kTagSize`. `out` begins where `plaintext` does (in
  // place) or does not overlap it. A nonce must never be used twice for one key.
  void seal(std::uint64_t counter, ByteView aad, ByteView plaintext, MutableBytes out) {
    seal(counter_nonce(counter), aad, plaintext, out);
  }
  void seal(const Nonce& nonce, ByteView aad, ByteView plaintext, MutableBytes out);

  // Writes the plaintext: `out.size()` is `sealed.size() - kTagSize`, overlap as for seal. Forged input is answered by
  // false, and `out` then holds zeroes: nobody sees the plaintext of a forgery.
  bool open(std::uint64_t counter, ByteView aad, ByteView sealed, MutableBytes out) {
    return open(counter_nonce(counter), aad, sealed, out);
  }
  bool open(const Nonce& nonce, ByteView aad, ByteView sealed, MutableBytes out);

 private:
  struct OpenSsl;
  Secret<struct AeadKeyTag> key_;
  std::unique_ptr<OpenSsl> openssl_;  // null: libipsec-mb
};

// XChaCha20-Poly1305 with a random 24-byte nonce (draft-irtf-cfrg-xchacha-03): WireGuard's cookie replies, sealed
// envelopes. Answers ciphertext and tag.
using XNonce = std::array<std::uint8_t, kXNonceSize>;
Bytes xseal(std::span<const std::uint8_t, kKeySize> key, const XNonce& nonce, ByteView aad, ByteView plaintext);
std::optional<Bytes> xopen(std::span<const std::uint8_t, kKeySize> key, const XNonce& nonce, ByteView aad,
                           ByteView sealed);

}  // namespace lanrage::crypto
