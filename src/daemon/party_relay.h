// A relay that a member's node runs for its own party (docs/decisions/relay-for-party.md): control::UdpService without
// STUN, with the device's own key as the relay's identity, bounds of a home line, and grants of that one party.
//
// Owned by the control thread; relays on a thread of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "control/relay_meter.h"
#include "control/udp_service.h"
#include "party/identity.h"
#include "party/ids.h"

namespace lanrage::daemon {

class PartyRelay {
 public:
  // At `port` if it is free, else at any. `grant_keys`: whose grants count.
  static Result<std::unique_ptr<PartyRelay>> start(const party::Identity& identity, const party::PartyId& party,
                                                   std::vector<crypto::VerifyKey> grant_keys, std::uint16_t port,
                                                   Time now, const Logger& log);

  const party::PartyId& party() const { return party_; }
  std::uint16_t port() const { return udp_->port(); }
  void set_grant_keys(const std::vector<crypto::VerifyKey>& keys);
  // How it is, over the time since the look before; at most every control::kRelayReportInterval, else what it was.
  const wire::ReportRelay& look(Time now);
  control::UdpService::Stats stats() const { return udp_->stats(); }

  // Members are told to use others, and served until they do: `patience` at most, a moment if nobody's packets flow.
  // Said again, it may end sooner, never later.
  void stop(Time now, Duration patience);
  bool is_stopping() const { return gone_at_ != kNever; }
  bool is_gone(Time now) const { return is_stopping() && (now >= gone_at_ || udp_->is_drained()); }

 private:
  PartyRelay(std::unique_ptr<control::UdpService> udp, const party::PartyId& party,
             std::vector<crypto::VerifyKey> grant_keys, Time now);
  bool is_used() const;

  std::unique_ptr<control::UdpService> udp_;
  control::RelayMeter meter_;
  const party::PartyId party_;
  std::vector<crypto::VerifyKey> grant_keys_;
  wire::ReportRelay report_, before_;  // of the last look and the one before
  Time look_at_;                       // the next
  Time gone_at_ = kNever;
};

}  // namespace lanrage::daemon
