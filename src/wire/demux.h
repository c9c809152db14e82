// One UDP port for everything: which protocol a datagram speaks, from its first eight bytes alone.
//
//   first word (little endian) 1..4              WireGuard
//   first word's upper half 0x4C52 ("LR")        ours: 0x4C5200xx probe, 0x4C5201xx relay
//   magic cookie 0x2112A442 at offset 4          STUN (RFC 8489 section 5), top two bits of byte 0 clear
//   anything else                                dropped and counted by whoever asked
//
// The kinds exclude each other: a STUN message whose first word had the upper half 0x4C52 would claim 21068 bytes of
// attributes, more than any datagram that we accept. Never by the first byte: a STUN answer also begins with 1.
#pragma once

#include "base/bytes.h"

namespace lanrage::wire {

enum class Protocol : std::uint8_t { kWireGuard, kProbe, kRelay, kStun, kUnknown };

inline constexpr std::uint32_t kProbeTypes = 0x4C520000;
inline constexpr std::uint32_t kRelayTypes = 0x4C520100;
inline constexpr std::uint32_t kStunMagic = 0x2112A442;

// Looks at no more than the first eight bytes; the parser of the protocol still decides whether it is valid.
constexpr Protocol protocol_of(ByteView datagram) {
  if (datagram.size() < 8) return Protocol::kUnknown;
  const auto word = load_le<std::uint32_t>(datagram.data());
  if (word >= 1 && word <= 4) return Protocol::kWireGuard;
  if ((word & 0xffffff00) == kProbeTypes) return Protocol::kProbe;
  if ((word & 0xffffff00) == kRelayTypes) return Protocol::kRelay;
  if ((datagram[0] & 0xc0) == 0 && load_be<std::uint32_t>(datagram.data() + 4) == kStunMagic) return Protocol::kStun;
  return Protocol::kUnknown;
}

}  // namespace lanrage::wire
