// The LAN envelope: one broadcast or multicast datagram on its way from the member it started at to every other member.
// What stands here is docs/wire/lan.md.
//
// It travels inside the tunnel like an IP packet and is told by its first byte. (origin, sequence) names a datagram in
// the whole party, so that a second copy is recognised whichever way it came. Which packets are worth an envelope and
// what becomes of one is decided in lan/; here are only the bytes. Values, any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/bytes.h"

namespace lanrage::wire {

// The first 8 bytes of SHA-256 over a member's public key.
using LanOrigin = std::array<std::uint8_t, 8>;

struct LanEnvelope {
  static constexpr std::uint8_t kType = 0x10;
  static constexpr std::size_t kHeaderBytes = 18;
  static constexpr std::size_t kPaddingBytesMax = 15;  // what WireGuard may leave behind the frame

  LanOrigin origin{};
  std::uint64_t sequence = 0;
  ByteView packet;  // a whole IP packet, within the parsed bytes

  // Nullopt for another type, for flags (none is defined), for what is not one well-formed IP packet, and for anything
  // but a few zeroes behind it.
  static std::optional<LanEnvelope> parse(ByteView inner);
  Bytes bytes() const;
};

}  // namespace lanrage::wire
