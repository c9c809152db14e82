// Ports that this network's router opens to the internet and leads to this machine: UPnP's Internet Gateway Device, by
// miniupnpc, which only the source file names.
//
// Asks on a thread of its own, since a router may take seconds: `want` never waits. Mappings are leases, renewed while
// they are wanted, given back when they no longer are. An honest refusal is believed: nothing is asked again until what
// is wanted changes. Of what a router says nothing is believed that would make this machine talk to another (every
// address it names must be its own), or that nobody could use (an external address which is none).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/time.h"

namespace lanrage::net {

enum class Transport : std::uint8_t { kUdp, kTcp };

struct PortToMap {
  Transport transport = Transport::kUdp;
  std::uint16_t port = 0;  // of this machine
  friend bool operator==(const PortToMap&, const PortToMap&) = default;
};

struct PortMapping {
  PortToMap inside;
  Endpoint outside;
  friend bool operator==(const PortMapping&, const PortMapping&) = default;
};

class PortMap {
 public:
  static constexpr Duration kLease = std::chrono::minutes(20);
  static constexpr Duration kRenewal = std::chrono::minutes(8);
  static constexpr std::size_t kPortsMax = 8;
  static constexpr int kPortsTried = 8;  // outside, while others hold them

  struct Wanted {
    IpAddress gateway;             // the router, IPv4
    IpAddress self;                // this machine's address towards it
    std::vector<PortToMap> ports;  // at most kPortsMax; empty: nothing, what was mapped is given back
    friend bool operator==(const Wanted&, const Wanted&) = default;
  };
  struct Outcome {
    Wanted wanted{};                      // what was asked for
    std::vector<PortMapping> mappings{};  // of it
    std::string problem{};                // why others are missing, for a person; empty: none is
    bool speaks = false;                  // the router takes such requests
    bool offline = false;                 // and says that it has no connection, or no public address
    std::optional<IpAddress> address{};   // outside, as it says itself, whatever that is worth
  };

  // `changed` is called on another thread after each attempt, must not block, and is not called any more once the
  // destructor returned.
  explicit PortMap(std::function<void(Outcome)> changed);
  // Gives mappings back, for which it waits at most a second and a half.
  ~PortMap();
  PortMap(const PortMap&) = delete;
  PortMap& operator=(const PortMap&) = delete;

  void want(Wanted wanted);

 private:
  class Worker;
  std::shared_ptr<Worker> worker_;
};

// What a router calls its external address, if others can reach one: IPv4, and neither private nor of a carrier's NAT.
std::optional<IpAddress> external_address(std::string_view text);
// Whether an http:// URL leads to this very address.
bool url_is_at(std::string_view url, const IpAddress& address);

}  // namespace lanrage::net
