// The relays that a server trusts, by key, and those of them that its members are told of.
//
// Only the server's operator puts a key in. Who proves that key may say where the relay is, for this key alone; so
// nobody else can name a relay, or move one. One that is not heard any more stays named for kRelayGrace: what broke may
// be its way to the server alone, and clients notice by themselves whether it relays. One that says goodbye is gone at
// once. Pure; owned by the service's thread, which saves text() whenever it says so. How a relay is, as it reports, is
// known only while it is connected.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "wire/control.h"

namespace lanrage::control {

inline constexpr Duration kRelayGrace = std::chrono::minutes(15);
inline constexpr std::size_t kRelaysAllowedMax = wire::kRelaysMax - 1;  // beside the server's own

class RelayDirectory {
 public:
  struct Relay {
    wire::RelayInfo info;  // no addresses: not offered
    bool connected = false;
    std::optional<Time> lost;  // since expire() first saw it not connected
    std::optional<wire::ReportRelay> report;
  };

  // What text() gave before this server was restarted: relays are named as if they had just been lost. kInvalid.
  static Result<RelayDirectory> parse(std::string_view text);
  std::string text() const;

  Result<void> allow(const crypto::PublicKey& key);   // kExhausted
  Result<void> remove(const crypto::PublicKey& key);  // kNotFound
  // Whether what members are told changed. kRefused: nobody allowed that key.
  Result<bool> offer(const crypto::PublicKey& key, const wire::OfferRelay& offer);
  Result<void> report(const crypto::PublicKey& key, const wire::ReportRelay& report);  // kRefused: not connected
  void lose(const crypto::PublicKey& key);
  bool withdraw(const crypto::PublicKey& key);
  bool expire(Time now);  // to be called every second or so

  std::vector<wire::RelayInfo> named() const;
  std::vector<wire::RelayHealth> health() const;  // of those who said
  const std::vector<Relay>& all() const { return relays_; }

 private:
  Relay* find(const crypto::PublicKey& key);
  std::vector<Relay> relays_;
};

}  // namespace lanrage::control
