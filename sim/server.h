// A control server with its relay and STUN service on a public host of the virtual network.
//
// The real cores (control::Service over a MemoryStore, relay::Server), without sockets: UDP comes from the network,
// requests and streams from `ControlLink`s. `stop` loses everything but the store and the keys, as kill -9 does;
// `tamper` makes it a hostile one. SimRelay is a relay on a host of its own.
#pragma once

#include <functional>
#include <optional>
#include <set>

#include "control/service.h"
#include "party/link.h"
#include "relay/server.h"
#include "relay/stun_server.h"
#include "sim/network.h"
#include "store/store.h"

namespace lanrage::sim {

class ControlLink;

class SimServer {
 public:
  static constexpr std::uint16_t kPort = 41820;        // relay and STUN
  static constexpr std::uint16_t kSecondPort = 41821;  // STUN: tells how NATs behave
  static constexpr Duration kCommit = std::chrono::milliseconds{1};

  SimServer(Scheduler& scheduler, Network& network, std::uint64_t seed, const Link& access);

  void start();
  void stop();
  bool up() const { return service_ != nullptr; }
  std::uint64_t run() const { return run_; }  // counts starts: whoever talked to an earlier one is cut off

  control::Service& service() { return *service_; }
  relay::Server& relay() { return *relay_; }
  party::ServerInfo info() const;
  Now now() const;
  Network::HostId host() const { return host_; }
  crypto::VerifyKey grant_key() const { return crypto::verify_key(grant_key_); }

  void attach(ControlLink& link) { links_.insert(&link); }
  void detach(ControlLink& link) { links_.erase(&link); }

  // What a stream of `to` gets instead of an event: none, others, more. Unset: the event.
  std::function<std::vector<wire::Event>(const crypto::PublicKey& to, const wire::Event& event)> tamper;
  Duration clock_skew{};  // of its calendar
  bool relaying = true;   // false: its UDP ports are dead

 private:
  void receive(const Endpoint& source, const Endpoint& destination, const Bytes& datagram);
  void tick();

  Scheduler& scheduler_;
  Network& network_;
  SeededRng rng_;
  crypto::SigningKey grant_key_;
  crypto::PrivateKey relay_key_;
  store::MemoryStore store_;
  relay::StunServer stun_;
  std::unique_ptr<control::Service> service_;
  std::unique_ptr<relay::Server> relay_;
  std::uint64_t run_ = 0;
  Network::HostId host_ = 0;
  std::set<ControlLink*> links_;
};

class SimRelay {
 public:
  SimRelay(Scheduler& scheduler, Network& network, const SimServer& server, std::uint64_t seed,
           const IpAddress& address, const std::string& region);

  const wire::RelayInfo& info() const { return info_; }
  bool relaying = true;  // false: its UDP port is dead

 private:
  void receive(const Endpoint& source, const Bytes& datagram);
  void tick();

  Scheduler& scheduler_;
  Network& network_;
  const SimServer& server_;
  SeededRng rng_;
  wire::RelayInfo info_;
  std::unique_ptr<relay::Server> relay_;
  Network::HostId host_ = 0;
};

}  // namespace lanrage::sim
