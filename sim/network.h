// A network under virtual time: hosts, NATs and firewalls as RFC 4787 describes them, links with delay, jitter, loss,
// reordering and duplication. Seeded: the same seed gives the same packets at the same moments, and `trace_hash()` says
// so.
//
// Domains form a tree. The root is the internet; a gateway joins an inner domain (a home, a carrier) to the one
// outside. A datagram climbs outwards, its source translated at each gateway, until its destination is in reach.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"
#include "base/rng.h"
#include "base/time.h"

namespace lanrage::sim {

// Runs what was posted, in order of time, then of posting.
class Scheduler {
 public:
  Time now() const { return now_; }
  void post(Time at, std::function<void()> action);
  void run_until(Time end);

 private:
  struct Entry {
    Time at;
    std::uint64_t order;
    std::function<void()> action;
    bool operator>(const Entry& other) const { return at != other.at ? at > other.at : order > other.order; }
  };
  Time now_{};
  std::uint64_t posted_ = 0;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
};

struct Link {
  Duration delay{};   // one way
  Duration jitter{};  // uniform in [0, jitter), added
  double loss = 0;    // share of packets, 0..1
  double burst = 0;   // mean number of lost ones in a row (Gilbert's model); 0: each by itself
  double duplicate = 0;
  double reorder = 0;           // share of packets that are held back by another `delay`
  mutable bool losing = false;  // in such a row, while packets cross
};

// RFC 4787 sections 4.1 and 5: on what a mapping, or what it lets in, depends.
enum class Dependence { kEndpointIndependent, kAddress, kAddressAndPort };
enum class PortChoice { kPreserve, kSequential, kRandom };

struct Nat {
  bool translate = true;  // false: a stateful firewall
  Dependence mapping = Dependence::kEndpointIndependent;
  Dependence filtering = Dependence::kAddressAndPort;
  PortChoice ports = PortChoice::kPreserve;
  bool hairpin = false;
  bool block_udp = false;
  Duration expiry = std::chrono::seconds{120};  // after the last outbound packet

  static Nat easy() { return {}; }
  static Nat cone();
  static Nat symmetric();
  static Nat sequential();
  static Nat per_address();
  static Nat firewall();
  static Nat udp_blocked();
};

class Network {
 public:
  using DomainId = std::size_t;
  using HostId = std::size_t;
  using Receive = std::function<void(const Endpoint& source, const Endpoint& destination, const Bytes& datagram)>;
  static constexpr DomainId kInternet = 0;

  Network(Scheduler& scheduler, std::uint64_t seed);

  // A new domain behind a gateway in `outside`; `address` is the gateway's there (ignored by a pure firewall).
  DomainId add_domain(DomainId outside, const Nat& nat, const IpAddress& address, const Link& uplink);
  HostId add_host(DomainId domain, std::vector<IpAddress> addresses, const Link& access, Receive receive);

  // From the host's first address of the destination's family, or from the one given.
  void send(HostId from, std::uint16_t source_port, const Endpoint& destination, Bytes datagram);
  void send_as(HostId from, const Endpoint& source, const Endpoint& destination, Bytes datagram);

  void move_host(HostId host, DomainId domain, std::vector<IpAddress> addresses);  // roaming
  void set_up(HostId host, bool up);      // a host that is down neither sends nor receives
  void forget_mappings(DomainId domain);  // the router restarts
  void set_uplink(DomainId domain, const Link& uplink) { domains_[domain].uplink = uplink; }
  // What crosses the internet from one of these addresses to the other is lost, or not any more.
  void set_broken(const IpAddress& from, const IpAddress& to, bool broken);
  // What crosses the internet between these two, either way, crosses this too.
  void set_distance(const IpAddress& a, const IpAddress& b, const Link& link);
  const std::vector<IpAddress>& addresses(HostId host) const { return hosts_[host].addresses; }
  std::uint64_t trace_hash() const { return trace_hash_; }
  std::uint64_t delivered() const { return delivered_; }
  std::uint64_t dropped() const { return dropped_; }

 private:
  struct Mapping {
    Endpoint inside;
    Endpoint outside;
    Endpoint first_destination;  // what a dependent mapping belongs to
    std::set<Endpoint> sent_to;  // what filtering lets answer
    Time expires;
  };
  struct Domain {
    DomainId outside;
    Nat nat;
    IpAddress address;
    Link uplink;
    std::vector<Mapping> mappings;
    std::uint16_t next_port = 40000;
  };
  struct Host {
    DomainId domain;
    std::vector<IpAddress> addresses;
    Link access;
    Receive receive;
    bool up = true;
  };
  struct Packet {
    Endpoint source;
    Endpoint destination;
    Bytes datagram;
    std::vector<const Link*> crossed;
  };

  // Who answers to an address inside a domain.
  struct Place {
    DomainId domain;
    IpAddress address;
    friend bool operator==(const Place&, const Place&) = default;
  };
  struct PlaceHash {
    std::size_t operator()(const Place& p) const { return std::hash<IpAddress>{}(p.address) * 31 + p.domain; }
  };

  void index_host(HostId host);
  // The packet stands inside `domain`: deliver it there, into a gateway of it, or pass it outwards.
  void route(DomainId domain, Packet packet, bool from_outside);
  void enter(DomainId inner, Packet packet);   // through the gateway of `inner`, from outside
  bool leave(DomainId inner, Packet& packet);  // the other way; false: dropped
  void deliver(HostId host, Packet packet);
  bool is_lost(const Link& link);
  void arrive(HostId host, const Packet& packet);
  std::uint16_t choose_port(Domain& domain, std::uint16_t wanted);
  bool same_target(Dependence dependence, const Endpoint& a, const Endpoint& b) const;

  Scheduler& scheduler_;
  SeededRng rng_;
  std::vector<Domain> domains_;
  std::vector<Host> hosts_;
  std::unordered_map<Place, HostId, PlaceHash> host_at_;
  std::unordered_map<Place, DomainId, PlaceHash> gateway_at_;         // by the domain outside
  std::unordered_map<DomainId, std::vector<DomainId>> firewalls_in_;  // likewise
  std::set<std::pair<IpAddress, IpAddress>> broken_;
  std::map<std::pair<IpAddress, IpAddress>, Link> distances_;
  std::uint64_t trace_hash_ = 0xcbf29ce484222325;
  std::uint64_t delivered_ = 0;
  std::uint64_t dropped_ = 0;
};

}  // namespace lanrage::sim
