// Hands a multicast packet to local programs as if it had come from the LAN, and to nobody else.
//
// For programs that hear a group on one card only (IP_MULTICAST_ALL=0, every Java game): a raw socket with the IP
// header of the real sender, sent "out" of that card with hop limit 0, which the kernel loops back and never puts on
// the wire (RFC 1112 section 6.1). Only where the group is joined on that card does anything happen. Owned by the
// control thread. Needs CAP_NET_RAW.
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "net/fd.h"

namespace lanrage::net {

class RawSocket {
 public:
  static constexpr std::size_t kPacketMax = 9000;  // longer ones are refused

  static Result<RawSocket> open();

  // `packet` is a whole IPv4 or IPv6 packet with true checksums and a multicast destination (else kInvalid); its hop
  // limit is replaced by 0. `interface` is the index of the card where the group is joined.
  Result<void> loop_back(ByteView packet, unsigned interface);

 private:
  RawSocket(Fd v4, Fd v6) : v4_(std::move(v4)), v6_(std::move(v6)) {}
  Fd v4_;
  Fd v6_;  // closed where the machine has no IPv6
};

}  // namespace lanrage::net
