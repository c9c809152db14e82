// What is LAN traffic at all, and what of it never leaves: the list that docs/lan.md explains to people.
//
// Functions of their arguments; any thread. The data plane asks `is_lan_destination` for every packet that no member's
// address claims; everything else here is asked by `Forwarder`.
#pragma once

#include <cstdint>
#include <span>

#include "base/ip.h"

namespace lanrage::lan {

// Limited broadcast, the broadcast address of `party`, IPv4 groups, and IPv6 groups of more than interface scope.
bool is_lan_destination(const IpAddress& destination, const IpPrefix& party);

// The broadcast address a program gets when it takes `party`'s address and an older, wider mask (/8 or /16):
// 10.255.255.255 and 10.66.255.255 for 10.66.1.0/24. Such packets leave by the default gateway.
bool is_wide_guess(const IpAddress& destination, const IpPrefix& party);

struct PortRule {
  std::uint16_t port;
  const char* what;
};

// UDP destination ports that neither leave this machine nor are taken from a member, with the service behind each.
std::span<const PortRule> never_forwarded();
const char* never_forwarded(std::uint16_t port);  // the service, or null

// Service discovery that only counts when a program a person started asks: mDNS and SSDP.
inline constexpr std::uint16_t kMdnsPort = 5353;
inline constexpr std::uint16_t kSsdpPort = 1900;
constexpr bool is_service_discovery(std::uint16_t port) { return port == kMdnsPort || port == kSsdpPort; }

// Whether `uid` is the account of a daemon and not of a person: what Debian and systemd give to services. Root is
// neither and counts as a person.
bool is_service_account(std::uint32_t uid);

}  // namespace lanrage::lan
