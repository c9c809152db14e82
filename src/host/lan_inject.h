// Carries out what `lan::Forwarder` decided about the kernel's multicast: groups joined and left on the party's
// adapter, and packets handed over on another interface without reaching its wire.
//
// Control thread. Writing into the adapter is not done here: that is the data plane's.
#pragma once

#include "base/log.h"
#include "base/result.h"
#include "lan/forwarder.h"
#include "net/multicast_member.h"
#include "net/raw_socket.h"

namespace lanrage::host {

class LanInject {
 public:
  // `adapter` is the party's interface. Needs CAP_NET_RAW. Stays with the namespace of the thread that opens it.
  static Result<LanInject> open(unsigned adapter, const Logger& log);

  // kJoin, kLeave and kInject; not kWrite. A failed kJoin is for `Forwarder::handle_join_failed`.
  Result<void> handle(const lan::Delivery& delivery);

 private:
  LanInject(const Logger& log, net::RawSocket raw, net::MulticastMember member)
      : log_(log), raw_(std::move(raw)), member_(std::move(member)) {}
  Logger log_;
  net::RawSocket raw_;
  net::MulticastMember member_;
};

}  // namespace lanrage::host
