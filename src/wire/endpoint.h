// An endpoint as our own messages carry it: 19 bytes, whatever the family, so that lengths do not depend on it.
//
//   0  u8      4, 6, or 0 for "none"
//   1  u16     port, big endian
//   3  u8[16]  the address; IPv4 uses the first four bytes and the rest is zero
//
// Strict: what must be zero is zero, IPv6 is never an IPv4-mapped address, "none" is all zero.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/ip.h"

namespace lanrage::wire {

inline constexpr std::size_t kEndpointBytes = 19;

// Writes kEndpointBytes at `out`.
void write_endpoint(std::uint8_t* out, const std::optional<Endpoint>& endpoint);

// Reads kEndpointBytes. False when they are malformed; `out` is empty for "none".
bool read_endpoint(ByteView bytes, std::optional<Endpoint>& out);

}  // namespace lanrage::wire
