// What a router or host says about a UDP datagram that could not be delivered: ICMP "destination unreachable" (RFC 792,
// page 4) and its ICMPv6 twin (RFC 4443 section 3.1), with the beginning of the datagram inside.
// Whoever guesses our port can forge one, so it is a hint and nothing more.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/ip.h"

namespace lanrage::wire {

struct Unreachable {
  Endpoint source, destination;  // of the datagram
  friend bool operator==(const Unreachable&, const Unreachable&) = default;
};

// `message` begins with the ICMP header; `v6`: it is ICMPv6. Nothing for every other message, among them "too big",
// for what carried no UDP, and for later fragments.
std::optional<Unreachable> parse_unreachable(ByteView message, bool v6);

}  // namespace lanrage::wire
