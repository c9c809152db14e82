// What the three ways of asking a router for ports have in common: NAT-PMP and PCP (port_control.h), UPnP's Internet
// Gateway Device (igd_client.h). PortMapper asks all and chooses one.
//
// Pure. First a protocol only finds out whether the router speaks it and has a public address (`start`), which leaves
// nothing behind; only the chosen one opens ports (`set_ports`). What it has to send goes to the outbox that all share.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"
#include "base/time.h"
#include "wire/igd.h"
#include "wire/port_control.h"

namespace lanrage::paths {

inline constexpr Duration kPortLease = std::chrono::minutes(20);  // asked for; renewed at half of what is granted
inline constexpr std::size_t kMappedPortsMax = 8;
inline constexpr int kGoodbyeTries = 3;  // of giving a port back

using wire::PortTransport;

enum class PortMethod : std::uint8_t { kPcp, kNatPmp, kUpnp };  // best first
inline constexpr std::size_t kPortMethods = 3;

struct PortToMap {
  PortTransport transport = PortTransport::kUdp;
  std::uint16_t port = 0;  // of this machine
  friend bool operator==(const PortToMap&, const PortToMap&) = default;
};

struct PortMapping {
  PortToMap inside;
  Endpoint outside;
  Time until = kNever;  // kNever: for good
  friend bool operator==(const PortMapping&, const PortMapping&) = default;
};

// The router and this machine's address towards it, both IPv4.
struct RouterPlace {
  IpAddress gateway;
  IpAddress self;
  friend bool operator==(const RouterPlace&, const RouterPlace&) = default;
};

struct PortOutbox {
  struct Datagram {
    Endpoint to;
    Bytes bytes;
  };
  // Answered by handle_http with the same id. At most wire::kIgdBytesMax of the answer are wanted.
  struct Http {
    std::uint64_t id = 0;
    wire::HttpUrl url;
    std::string action{};  // SOAPACTION and POST; empty: GET
    std::string body{};
  };
  std::deque<Datagram> datagrams;
  std::deque<Http> https;
  std::uint64_t last_http = 0;
};

struct HttpAnswer {
  int status = 0;
  std::string body;
};

// Whether others can reach it: no private, carrier's, special or multicast address (RFC 6890). IPv4.
bool is_public(const IpAddress& address);

class PortProtocol {
 public:
  enum class State : std::uint8_t {
    kIdle,
    kAsking,   // no answer yet
    kUsable,   // the router speaks it and has a public address, as far as it tells
    kRefused,  // it answers and says no, which is believed
    kSilent,   // given up
  };
  virtual ~PortProtocol() = default;

  virtual void start(Time now, const RouterPlace& place) = 0;  // forgets everything before
  virtual void stop() = 0;                                     // likewise, and is idle
  // Opens these and gives others back; in kUsable. The outside port is the one inside where that is free.
  virtual void set_ports(Time now, const std::vector<PortToMap>& ports) = 0;
  // The router restarted, or may have: everything open is asked for again.
  virtual void renew(Time now) = 0;
  virtual void handle_timeout(Time now) = 0;
  virtual Time next_timeout() const = 0;

  virtual std::vector<PortMapping> mappings() const = 0;
  virtual bool is_settled() const = 0;  // every port is open or refused, nothing is being given back

  State state() const { return state_; }
  const std::string& problem() const { return problem_; }  // why it is refused, or a port is
  bool is_offline() const { return offline_; }             // the router has no connection or public address
  const std::optional<IpAddress>& address() const { return address_; }  // outside, as the router says, whatever it is

 protected:
  void refuse(std::string why) {
    state_ = State::kRefused;
    problem_ = std::move(why);
  }
  void reset() {
    state_ = State::kIdle;
    problem_.clear();
    offline_ = false;
    address_.reset();
  }
  State state_ = State::kIdle;
  std::string problem_;
  bool offline_ = false;
  std::optional<IpAddress> address_;
};

}  // namespace lanrage::paths
