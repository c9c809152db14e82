// Sees the broadcasts and multicasts that local programs send out of one interface, so that a party can hear them too.
//
// An AF_PACKET socket with a filter in the kernel: only outgoing IPv4 and IPv6 UDP wakes us, and only if it goes to a
// group, to 255.255.255.255, to all stations of the link (a subnet's broadcast), or for the gateway to an address
// ending in 255.255 (some games guess a wider mask) or to 10.66.x.255 (a party's, by a program bound to this card).
// Never other unicast, whatever its rate. Each packet comes from its IP header on, its checksum finished; a datagram
// that the card's MTU cuts comes in fragments.
// Owned by the control thread. Needs CAP_NET_RAW. Decides nothing: what to forward is `lan`'s business.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/result.h"
#include "net/fd.h"

namespace lanrage::net {

class PacketSocket {
 public:
  static constexpr std::size_t kPacketMax = 65535;

  // Watches the interface with this index; `PacketSocket`s of several interfaces are independent.
  static Result<PacketSocket> open(unsigned interface);

  // The next packet, or nullopt when none waits. It lies in `buffer` (kPacketMax bytes are always enough; what does not
  // fit is skipped).
  std::optional<MutableBytes> receive(MutableBytes buffer);

  int fd() const { return fd_.get(); }
  unsigned interface() const { return interface_; }
  std::uint64_t lost();  // packets the kernel dropped because we were slow, since `open`

 private:
  PacketSocket(Fd fd, unsigned interface) : fd_(std::move(fd)), interface_(interface) {}
  Fd fd_;
  unsigned interface_;
  std::uint64_t lost_ = 0;
};

}  // namespace lanrage::net
