#include "crypto/signature.h"

#include <sodium.h>

#include "base/check.h"

namespace lanrage::crypto {
namespace {

static_assert(kSignatureSize == crypto_sign_BYTES && kKeySize == crypto_sign_SEEDBYTES);

// libsodium signs with seed and public key side by side.
struct ExpandedKey {
  std::array<std::uint8_t, crypto_sign_SECRETKEYBYTES> secret;
  std::array<std::uint8_t, kKeySize> point;

  explicit ExpandedKey(const SigningKey& seed) {
    LR_CHECK(crypto_sign_seed_keypair(point.data(), secret.data(), seed.bytes().data()) == 0);
  }
  ~ExpandedKey() { wipe(secret); }
  ExpandedKey(const ExpandedKey&) = delete;
  ExpandedKey& operator=(const ExpandedKey&) = delete;
};

}  // namespace

SigningKey SigningKey::generate(Rng& rng) {
  SigningKey key;
  rng.fill(key.mutable_bytes());
  return key;
}

std::optional<SigningKey> SigningKey::from_bytes(ByteView bytes) {
  if (bytes.size() != kKeySize) return std::nullopt;
  return SigningKey(bytes.first<kKeySize>());
}

std::optional<VerifyKey> VerifyKey::from_bytes(ByteView bytes) {
  if (bytes.size() != kKeySize) return std::nullopt;
  return VerifyKey(bytes.first<kKeySize>());
}

std::optional<VerifyKey> VerifyKey::from_base64(std::string_view text) {
  const auto bytes = lanrage::from_base64(text);
  if (!bytes) return std::nullopt;
  return from_bytes(*bytes);
}

VerifyKey verify_key(const SigningKey& key) { return VerifyKey(ExpandedKey(key).point); }

Signature sign(const SigningKey& key, ByteView message) {
  const ExpandedKey expanded(key);
  Signature signature;
  LR_CHECK(crypto_sign_detached(signature.data(), nullptr, message.data(), message.size(), expanded.secret.data()) ==
           0);
  return signature;
}

bool verify(const VerifyKey& key, ByteView message, const Signature& signature) {
  return crypto_sign_verify_detached(signature.data(), message.data(), message.size(), key.bytes().data()) == 0;
}

}  // namespace lanrage::crypto
