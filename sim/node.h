// One machine of the simulator: a whole node::Node with the data plane inline, a party adapter whose packets tests send
// and read, a fixed view of local sockets, a disk that survives kills, and a control link.
//
// What the daemon's threads do happens here at once and in the order the node's contract asks for. `kill` is kill -9:
// what was saved is what the next `start` has.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "node/inbound.h"
#include "node/node.h"
#include "node/outbound.h"
#include "relay/server.h"
#include "sim/control_link.h"
#include "sim/network.h"
#include "sim/server.h"

namespace lanrage::sim {

// This machine as LAN games see it: one card, the party's adapter, and the UDP sockets that tests open.
class FixedTables final : public lan::HostTables {
 public:
  const lan::HostView& view(Time, lan::Freshness) override { return view_; }
  std::string program(const lan::LocalSocket&) override { return "game"; }

  void set_adapter(const std::vector<IpPrefix>& addresses);
  void listen(std::uint16_t port);  // on 0.0.0.0

 private:
  lan::HostView view_;
};

struct SimNodeOptions {
  std::string name;
  Network::DomainId domain = Network::kInternet;
  std::vector<IpPrefix> addresses;
  Link access;
  Duration control_delay = std::chrono::milliseconds{15};
  IpAddress seen_as;      // by the control server
  Duration clock_skew{};  // of its calendar
  std::uint64_t seed = 0;
};

class SimNode {
 public:
  static constexpr std::uint16_t kPort = 41821;
  static constexpr std::uint16_t kRelayPort = 41823;  // of a relay for its party
  static constexpr int kAdapter = 7;
  static constexpr std::uint16_t kDiscoveryPorts = 52000;  // discovery's sockets, new ones for every run
  static constexpr std::uint16_t kExtraPorts = 10000;      // of extra sockets, likewise
  static constexpr std::uint16_t kExtraPortsEnd = 40000;

  SimNode(Scheduler& scheduler, Network& network, SimServer& server, SimNodeOptions options);
  ~SimNode();

  void start();
  void kill();  // the process ends without a word
  bool running() const { return node_ != nullptr; }
  void roam(Network::DomainId domain, std::vector<IpPrefix> addresses);
  void cut();      // the machine loses every network, without a word
  void plug();     // and gets it back
  void suspend();  // the process stops (SIGSTOP, or the machine sleeps); its sockets fill up meanwhile
  void resume();
  void set_control_reachable(bool reachable) { link_->set_reachable(reachable); }

  // It relays for its party from now on, at its first address, as the daemon of an open machine does, and says how
  // well; or does not any more.
  void serve_relay(std::uint8_t health = 100, std::uint8_t load = 0);
  void withdraw_relay();
  const relay::Server* relay() const { return relay_ ? &*relay_ : nullptr; }

  node::Node& node() { return *node_; }
  const party::Identity& identity() const { return identity_; }
  const crypto::PublicKey& key() const { return identity_.public_key(); }
  const std::string& name() const { return options_.name; }
  ControlLink& link() { return *link_; }
  FixedTables& tables() { return tables_; }
  Now now() const;

  // Calls into the node and does what comes of it.
  template <class F>
  void with(F&& act) {
    act(*node_);
    drive();
  }

  // A program sends an IP packet into the party's adapter.
  void send_packet(ByteView packet);
  // What came out of it, in order.
  struct Received {
    Time at;
    Bytes packet;
  };
  std::vector<Received> received;
  // Packets written for games, by the LAN forwarder (they are in `received` too).
  std::size_t deliveries = 0;

  std::optional<IpAddress> address() const;  // ours in the party, IPv4
  node::NodeStatus status() const { return node_->status(now()); }
  std::optional<node::PeerStatus> peer(const SimNode& other) const;
  const node::Inbound& inbound() const { return inbound_; }
  std::uint64_t wakeups() const { return wakeups_; }
  int saves() const { return saves_; }
  Bytes saved_party;           // the disk
  std::string saved_contacts;  // likewise
  int contacts_saves = 0;

 private:
  void receive(const Endpoint& source, std::uint16_t port, const Bytes& datagram);
  void receive_relayed(const Endpoint& source, const Bytes& datagram);
  void tick_relay();
  void open_extra_sockets();
  void handle_data(const Endpoint& source, std::uint16_t socket, Bytes datagram);
  void send(const Endpoint& to, std::uint16_t socket, Bytes datagram);
  void drive();
  void handle(const node::NodeEvent& event);
  void seal(const node::OutInner& inner);
  void seal(const node::Peer& peer, node::Lane lane, ByteView packet);
  void wake_at(Time at);
  void tell_interfaces();

  Scheduler& scheduler_;
  Network& network_;
  SimServer& server_;
  const SimNodeOptions options_;
  SeededRng rng_;
  Log log_;
  const party::Identity identity_;
  Network::HostId host_ = 0;
  std::vector<IpPrefix> addresses_;
  FixedTables tables_;
  tunnel::Tai64n floor_;

  std::unique_ptr<ControlLink> link_;
  std::unique_ptr<node::Node> node_;
  std::shared_ptr<const node::Forwarding> forwarding_;
  node::Outbound outbound_;
  node::Inbound inbound_;
  std::optional<relay::Server> relay_;
  std::uint16_t discovery_port_ = 0;  // the first of two; 0: none are open
  std::uint16_t discoveries_ = 0;
  std::map<std::uint16_t, std::uint16_t> extra_ports_;    // by socket
  std::map<std::uint16_t, std::uint16_t> extra_sockets_;  // by port
  std::uint16_t next_extra_port_ = kExtraPorts;
  bool driving_ = false;
  bool suspended_ = false;
  std::vector<std::function<void()>> backlog_;  // what came meanwhile
  std::uint64_t life_ = 0;                      // counts starts: earlier timers are not ours
  Time wake_ = kNever;
  Time last_wake_{};
  int wakes_here_ = 0;  // at last_wake_: a node that wakes for ever at one moment is broken
  std::uint64_t wakeups_ = 0;
  int saves_ = 0;
};

}  // namespace lanrage::sim
