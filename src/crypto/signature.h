// Ed25519 signatures (RFC 8032, pure). Values; any thread.
#pragma once

#include <array>
#include <compare>
#include <functional>
#include <optional>

#include "crypto/keys.h"

namespace lanrage::crypto {

inline constexpr std::size_t kSignatureSize = 64;

// The 32-byte seed of a signing key.
class SigningKey : public Secret<struct SigningKeyTag> {
 public:
  using Secret::Secret;
  static SigningKey generate(Rng& rng);
  static std::optional<SigningKey> from_bytes(ByteView bytes);  // exactly 32
};

// Who signed. Compare and ban by this key, never by a hash of something signed.
class VerifyKey {
 public:
  constexpr VerifyKey() = default;
  explicit VerifyKey(std::span<const std::uint8_t, kKeySize> bytes) {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
  }
  static std::optional<VerifyKey> from_bytes(ByteView bytes);
  static std::optional<VerifyKey> from_base64(std::string_view text);
  std::string base64() const { return to_base64(bytes_); }
  std::span<const std::uint8_t, kKeySize> bytes() const { return bytes_; }
  friend constexpr auto operator<=>(const VerifyKey&, const VerifyKey&) = default;

 private:
  std::array<std::uint8_t, kKeySize> bytes_{};
};

using Signature = std::array<std::uint8_t, kSignatureSize>;

VerifyKey verify_key(const SigningKey& key);
Signature sign(const SigningKey& key, ByteView message);

// Refuses what is malleable: a scalar not below the group order, a key of small order or not in canonical form.
bool verify(const VerifyKey& key, ByteView message, const Signature& signature);

}  // namespace lanrage::crypto

template <>
struct std::hash<lanrage::crypto::VerifyKey> {
  std::size_t operator()(const lanrage::crypto::VerifyKey& key) const noexcept {
    return std::hash<std::string_view>{}(lanrage::as_text(key.bytes()));
  }
};
