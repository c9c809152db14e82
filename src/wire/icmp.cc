#include "wire/icmp.h"

#include <algorithm>

#include "wire/ip.h"

namespace lanrage::wire {
namespace {

constexpr std::size_t kIcmpHeaderSize = 8;
constexpr std::size_t kIpv6HeaderBytes = 40;
constexpr std::uint8_t kUnreachableV4 = 3;
constexpr std::uint8_t kUnreachableV6 = 1;
constexpr std::uint8_t kTimeExceededV4 = 11;
constexpr std::uint8_t kInTransit = 0;  // a code of it; the other is a fragment that never came
constexpr std::uint8_t kTooBig = 4;     // a code of kUnreachableV4; ICMPv6 has a type of its own for it

IpAddress v6_at(ByteView bytes) {
  std::array<std::uint8_t, 16> raw;
  std::copy_n(bytes.begin(), raw.size(), raw.begin());
  return IpAddress::v6(raw);
}

}  // namespace

std::optional<Undelivered> parse_undelivered(ByteView message, bool v6) {
  if (message.size() < kIcmpHeaderSize + 1) return std::nullopt;
  const bool expired = !v6 && message[0] == kTimeExceededV4 && message[1] == kInTransit;
  if (!expired && message[0] != (v6 ? kUnreachableV6 : kUnreachableV4)) return std::nullopt;
  if (!v6 && !expired && message[1] == kTooBig) return std::nullopt;
  const ByteView inside = message.subspan(kIcmpHeaderSize);
  if (inside[0] >> 4 != (v6 ? 6 : 4)) return std::nullopt;
  const std::size_t header = v6 ? kIpv6HeaderBytes : static_cast<std::size_t>(inside[0] & 0xf) * 4;
  if (header < kIpv4HeaderSize || inside.size() < header + 4) return std::nullopt;
  if (inside[v6 ? 6 : 9] != kProtocolUdp) return std::nullopt;
  if (!v6 && (load_be<std::uint16_t>(inside.data() + 6) & 0x1fff) != 0) return std::nullopt;
  Undelivered out;
  out.expired = expired;
  out.source.address = v6 ? v6_at(inside.subspan(8)) : IpAddress::v4(load_be<std::uint32_t>(inside.data() + 12));
  out.destination.address = v6 ? v6_at(inside.subspan(24)) : IpAddress::v4(load_be<std::uint32_t>(inside.data() + 16));
  out.source.port = load_be<std::uint16_t>(inside.data() + header);
  out.destination.port = load_be<std::uint16_t>(inside.data() + header + 2);
  return out;
}

}  // namespace lanrage::wire
