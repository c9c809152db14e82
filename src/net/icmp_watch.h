// Hears what hosts and routers say about datagrams of ours that could not be delivered (wire/icmp.h).
//
// Raw sockets that take nothing but "destination unreachable" and IPv4's "time exceeded". The UDP sockets are left
// alone: IP_RECVERR there would make an ICMP message, which anybody can forge, fail the next send. Owned by the control
// thread. Needs CAP_NET_RAW.
#pragma once

#include <functional>
#include <optional>

#include "base/result.h"
#include "net/fd.h"
#include "wire/icmp.h"

namespace lanrage::net {

class IcmpWatch {
 public:
  struct Message {
    wire::Undelivered datagram;
    IpAddress from;  // who says so
  };
  static Result<IcmpWatch> open();

  // About a datagram from a UDP port that `is_ours`, if the next few messages of that family say so.
  // Call it once each time that its descriptor is readable: a flood of forged ones must not keep anything else waiting.
  std::optional<Message> receive(bool v6, const std::function<bool(std::uint16_t port)>& is_ours);

  int fd4() const { return v4_.get(); }
  std::optional<int> fd6() const { return v6_.is_open() ? std::optional(v6_.get()) : std::nullopt; }

 private:
  IcmpWatch(Fd v4, Fd v6) : v4_(std::move(v4)), v6_(std::move(v6)) {}
  Fd v4_;
  Fd v6_;  // closed where the machine has no IPv6
};

}  // namespace lanrage::net
