// Names of things in a party as distinct fixed-size values: the party itself, an invite, an entry of a member list.
// None is secret. Text form: lower hex.
#pragma once

#include <algorithm>
#include <array>
#include <compare>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace lanrage::party {

template <class Tag, std::size_t N>
class Id {
 public:
  static constexpr std::size_t kSize = N;
  constexpr Id() = default;
  explicit constexpr Id(const std::array<std::uint8_t, N>& bytes) : bytes_(bytes) {}
  // From the front of something longer, as in "the first 16 bytes of a hash".
  static Id front_of(ByteView bytes) {
    Id id;
    std::copy_n(bytes.begin(), std::min(N, bytes.size()), id.bytes_.begin());
    return id;
  }
  static std::optional<Id> from_bytes(ByteView bytes) {  // exactly N
    if (bytes.size() != N) return std::nullopt;
    return front_of(bytes);
  }
  static std::optional<Id> parse(std::string_view hex) {
    auto bytes = from_hex(hex);
    if (!bytes) return std::nullopt;
    return from_bytes(*bytes);
  }
  std::string text() const { return to_hex(bytes_); }
  std::span<const std::uint8_t, N> bytes() const { return bytes_; }
  friend constexpr auto operator<=>(const Id&, const Id&) = default;

 private:
  std::array<std::uint8_t, N> bytes_{};
};

// The first 16 bytes of SHA-256("lanrage party v1" || owner's Ed25519 key || 16 random bytes).
using PartyId = Id<struct PartyIdTag, 16>;
// The first 6 bytes of SHA-256(token); all zero in the record of the one who made the party.
using InviteId = Id<struct InviteIdTag, 6>;
// The first 16 bytes of SHA-256("lanrage member v1" || X25519 key || Ed25519 key): a device in a signed member list.
using MemberTag = Id<struct MemberTagTag, 16>;

}  // namespace lanrage::party

template <class Tag, std::size_t N>
struct std::hash<lanrage::party::Id<Tag, N>> {
  std::size_t operator()(const lanrage::party::Id<Tag, N>& id) const noexcept {
    return std::hash<std::string_view>{}(lanrage::as_text(id.bytes()));
  }
};
