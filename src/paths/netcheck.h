// What a person should know of this network: its type in a word, what it lets through in sentences, one line of advice.
// Functions of their arguments; any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "paths/binding_lifetime.h"
#include "paths/nat_discovery.h"
#include "paths/nat_report.h"
#include "paths/port_protocol.h"

namespace lanrage::paths {

// What the router here said when it was asked to open a port.
struct RouterReport {
  bool asked = false;                  // and answered, or did not in time
  bool speaks = false;                 // it takes such requests at all
  std::optional<Endpoint> outside{};   // which leads to the node's port
  bool is_offline = false;             // it says that it has no public address, or no connection
  std::optional<IpAddress> address{};  // outside, as it says itself
  std::optional<PortMethod> by{};      // what it was asked by with success
  std::string problem{};               // why the port is not open, without a full stop; empty: it is
  friend bool operator==(const RouterReport&, const RouterReport&) = default;
};

// What stands between the router here and the internet.
enum class Upstream : std::uint8_t {
  kUnknown,
  kNothing,
  kCarrier,       // a carrier's NAT (RFC 6598)
  kSecondRouter,  // another router's private network
  kNat,           // one or the other
};

struct NetworkView {
  DiscoveryReport discovery;
  bool udp_blocked = false;
  std::vector<IpAddress> own;  // this machine's addresses
  RouterReport router;
  std::uint16_t port = 0;  // of the node's socket
  std::optional<LifetimeReport> lifetime{};
};

Upstream upstream_of(const NetworkView& view);

// "none", "firewall", "full_cone", "address_restricted", "port_restricted", "cone" (filtering not known exactly),
// "symmetric", "udp_blocked"; empty: not known. IPv4's, or IPv6's where that is all there is.
std::string nat_type(const NetworkView& view);
// "endpoint_independent", "address_dependent", "address_and_port_dependent"; empty: not known. What a server with one
// address cannot tell from independence counts as it.
std::string mapping_name_of(const NetworkView& view);
// The type in a sentence without a full stop.
std::string type_in_words(const NetworkView& view);

// What the router did when it was asked for a port, and what to do where it did not; without a full stop. Empty: it was
// not asked.
std::string port_mapping_in_words(const NetworkView& view);

// For how long a silent flow is remembered, without a full stop.
std::string lifetime_in_words(const LifetimeReport& lifetime);

std::vector<std::string> describe(const NetworkView& view);
std::string advice(const NetworkView& view);

}  // namespace lanrage::paths
