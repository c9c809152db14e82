// Probes: authenticated ping and pong between two members, on any path, beside WireGuard on the same port.
//
//   0  u32 LE  0x4C520001 ping, 0x4C520002 pong
//   4  u64     tag: names the ordered pair (sender, receiver) to the receiver and to nobody else
//  12  u64     transaction: random in a ping, repeated in its pong
//  20  u32     instance: random, drawn when the sender's node started; another one means that it restarted
//  24  u32     round trip the sender measures on this path, microseconds; 0 unknown
//  28  u8      flags: 1 = the sender has chosen this path for its packets to the receiver; 2 = packets flow, and it has
//              heard nothing on this path for a while, not even the answer to a ping; 4 = the path
//              was full when what 49 says arrived; others 0
//  29  u8      percent of its last probes on this path that the sender saw lost; 255 unknown
//  30  u8[19]  endpoint (wire/endpoint.h): in a direct pong, where the ping came from; else none
//  49  u24     in a ping on the chosen path: the most of the receiver's packets that reached the sender within a
//  second,
//              in kbit/s, lately; 0: nothing to say
//  52  u8[16]  keyed BLAKE2s-128 over bytes 0..51 under the pair's probe key
//
// Fields without a mark are big endian. Both messages have 68 bytes, so a pong is never larger than its ping; nothing
// unauthenticated is answered. The probe key belongs to a pair and an epoch (HKDF of the pair's X25519 secret and the
// party secret); both directions use it, told apart by their tags.
#pragma once

#include <array>
#include <optional>

#include "base/bytes.h"
#include "base/ip.h"
#include "crypto/keys.h"

namespace lanrage::wire {

inline constexpr std::size_t kProbeBytes = 68;
inline constexpr std::uint8_t kLossUnknown = 255;
inline constexpr std::uint32_t kRateMax = 0xffffff;

// Where a ping asks the members on one LAN that cannot hear of each other otherwise (docs/wire/probe.md).
inline const Endpoint kLanSearch{IpAddress::v4(239, 255, 76, 82), 41821};

using ProbeBytes = std::array<std::uint8_t, kProbeBytes>;
using ProbeKeyView = std::span<const std::uint8_t, crypto::kKeySize>;

struct Probe {
  bool pong = false;
  std::uint64_t tag = 0;
  std::uint64_t transaction = 0;
  std::uint32_t instance = 0;
  std::uint32_t rtt_us = 0;
  bool selected = false;
  bool deaf = false;
  std::uint8_t loss_percent = kLossUnknown;
  std::optional<Endpoint> observed{};  // pongs only
  std::uint32_t rate_kbps = 0;         // pings only, at most kRateMax
  bool full = false;                   // with a rate only
  friend bool operator==(const Probe&, const Probe&) = default;
};

// The tag of probes that `sender` makes under this key.
std::uint64_t probe_tag(ProbeKeyView key, const crypto::PublicKey& sender);

ProbeBytes write_probe(const Probe& probe, ProbeKeyView key);

// The tag of what looks like a probe, to find the peer and its key by.
std::optional<std::uint64_t> probe_tag_of(ByteView datagram);

// The probe, if it is well formed and its MAC is right.
std::optional<Probe> open_probe(ByteView datagram, ProbeKeyView key);

}  // namespace lanrage::wire
