// What a router or host says about a UDP datagram that could not be delivered: ICMP "destination unreachable" (RFC 792,
// page 4) and its ICMPv6 twin (RFC 4443 section 3.1), IPv4's "time exceeded in transit" (RFC 792, page 6), with the
// beginning of the datagram inside.
// Whoever guesses our port can forge one, so it is a hint and nothing more.
#pragma once

#include <optional>

#include "base/bytes.h"
#include "base/ip.h"

namespace lanrage::wire {

struct Undelivered {
  Endpoint source, destination;  // of the datagram
  bool expired = false;          // it passed more routers than its time to live allows
  friend bool operator==(const Undelivered&, const Undelivered&) = default;
};

// `message` begins with the ICMP header; `v6`: it is ICMPv6. Nothing for every other message, among them "too big",
// for what carried no UDP, and for later fragments.
std::optional<Undelivered> parse_undelivered(ByteView message, bool v6);

}  // namespace lanrage::wire
