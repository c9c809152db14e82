#include "crypto/keys.h"

#include <sodium.h>

#include "base/check.h"

namespace lanrage::crypto {
namespace {

// Lets libsodium choose its vector code; before that it uses the portable one.
void choose_implementation() {
  static const int chosen = sodium_init();
  LR_CHECK(chosen >= 0);
}

}  // namespace

void wipe(MutableBytes bytes) { sodium_memzero(bytes.data(), bytes.size()); }

bool secure_equal(ByteView a, ByteView b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

PrivateKey PrivateKey::generate(Rng& rng) {
  PrivateKey key;
  const auto bytes = key.mutable_bytes();
  rng.fill(bytes);
  bytes[0] &= 248;
  bytes[31] = static_cast<std::uint8_t>((bytes[31] & 127) | 64);
  return key;
}

std::optional<PrivateKey> PrivateKey::from_bytes(ByteView bytes) {
  if (bytes.size() != kKeySize) return std::nullopt;
  return PrivateKey(bytes.first<kKeySize>());
}

std::optional<PrivateKey> PrivateKey::from_base64(std::string_view text) {
  auto bytes = lanrage::from_base64(text);
  if (!bytes) return std::nullopt;
  auto key = from_bytes(*bytes);
  wipe(*bytes);
  return key;
}

std::optional<PublicKey> PublicKey::from_bytes(ByteView bytes) {
  if (bytes.size() != kKeySize) return std::nullopt;
  return PublicKey(bytes.first<kKeySize>());
}

std::optional<PublicKey> PublicKey::from_base64(std::string_view text) {
  const auto bytes = lanrage::from_base64(text);
  if (!bytes) return std::nullopt;
  return from_bytes(*bytes);
}

// libsodium clamps the scalar itself.
PublicKey public_key(const PrivateKey& key) {
  choose_implementation();
  std::array<std::uint8_t, kKeySize> point;
  LR_CHECK(crypto_scalarmult_base(point.data(), key.bytes().data()) == 0);
  return PublicKey(point);
}

std::optional<SharedSecret> x25519(const PrivateKey& mine, const PublicKey& theirs) {
  choose_implementation();
  SharedSecret shared;
  if (crypto_scalarmult(shared.mutable_bytes().data(), mine.bytes().data(), theirs.bytes().data()) != 0)
    return std::nullopt;
  return shared;
}

}  // namespace lanrage::crypto
