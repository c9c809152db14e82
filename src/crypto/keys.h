// Curve25519 keys and the shared secrets made from them, as distinct 32-byte types.
//
// A secret wipes itself when it dies and has no operator==, so that it can only be compared by `secure_equal`. Nothing
// here is logged or formatted by accident: secrets have no `text()`, and `base64()` of a secret is for configuration
// and state files alone. Values; any thread.
#pragma once

#include <array>
#include <compare>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/rng.h"

namespace lanrage::crypto {

inline constexpr std::size_t kKeySize = 32;

// Overwrites `bytes`; the compiler cannot remove it.
void wipe(MutableBytes bytes);

// Equal length and content, in time that depends on the length alone.
bool secure_equal(ByteView a, ByteView b);

// 32 bytes that nobody else may know. `Tag` makes kinds of secrets different types.
template <class Tag>
class Secret {
 public:
  Secret() = default;  // all zero
  explicit Secret(std::span<const std::uint8_t, kKeySize> bytes) {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
  }
  Secret(const Secret&) = default;
  Secret& operator=(const Secret&) = default;
  ~Secret() { wipe(bytes_); }

  static std::optional<Secret> from_bytes(ByteView bytes) {  // exactly 32
    if (bytes.size() != kKeySize) return std::nullopt;
    return Secret(bytes.first<kKeySize>());
  }
  static std::optional<Secret> from_base64(std::string_view text) {  // as `wg` prints keys
    auto bytes = lanrage::from_base64(text);
    if (!bytes) return std::nullopt;
    auto secret = from_bytes(*bytes);
    wipe(*bytes);
    return secret;
  }
  std::string base64() const { return to_base64(bytes_); }
  std::span<const std::uint8_t, kKeySize> bytes() const { return bytes_; }
  std::span<std::uint8_t, kKeySize> mutable_bytes() { return bytes_; }

 private:
  std::array<std::uint8_t, kKeySize> bytes_{};
};

using PresharedKey = Secret<struct PresharedKeyTag>;
using SharedSecret = Secret<struct SharedSecretTag>;

// An X25519 scalar. Stored as given and clamped on use (RFC 7748 section 5), so that it prints as it was read.
class PrivateKey : public Secret<struct PrivateKeyTag> {
 public:
  using Secret::Secret;
  static PrivateKey generate(Rng& rng);  // clamped
  static std::optional<PrivateKey> from_bytes(ByteView bytes);
  static std::optional<PrivateKey> from_base64(std::string_view text);
};

// An X25519 point: the name of a device. Not a secret; ordered and hashable.
class PublicKey {
 public:
  constexpr PublicKey() = default;
  explicit PublicKey(std::span<const std::uint8_t, kKeySize> bytes) {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
  }
  static std::optional<PublicKey> from_bytes(ByteView bytes);
  static std::optional<PublicKey> from_base64(std::string_view text);
  std::string base64() const { return to_base64(bytes_); }
  std::span<const std::uint8_t, kKeySize> bytes() const { return bytes_; }
  friend constexpr auto operator<=>(const PublicKey&, const PublicKey&) = default;

 private:
  std::array<std::uint8_t, kKeySize> bytes_{};
};

PublicKey public_key(const PrivateKey& key);

// The Diffie-Hellman result; nothing when `theirs` is a point of low order (the result would be all zero, RFC 7748
// section 6.1), which only an attacker sends.
std::optional<SharedSecret> x25519(const PrivateKey& mine, const PublicKey& theirs);

}  // namespace lanrage::crypto

template <>
struct std::hash<lanrage::crypto::PublicKey> {
  std::size_t operator()(const lanrage::crypto::PublicKey& key) const noexcept {
    return std::hash<std::string_view>{}(lanrage::as_text(key.bytes()));
  }
};
