// A control server's address and pinned key: `https://HOST:PORT#KEY`, KEY = base64url(SHA-256(SubjectPublicKeyInfo)).
// HOST is an IPv4 address, an IPv6 address in brackets, or a DNS name. Used by `--server`, the server's own printout,
// and (as fields) by invites. Values; any thread.
#pragma once

#include <array>
#include <compare>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace lanrage::party {

inline constexpr std::uint16_t kServerPort = 41820;
// TCP: what some networks let out alone. A server is there too where it may be; links and invites do not name it.
inline constexpr std::uint16_t kHttpsPort = 443;
inline constexpr std::size_t kServerAddressesMax = 8;

using ServerKey = std::array<std::uint8_t, 32>;  // SHA-256 of the server's SubjectPublicKeyInfo

// Where a server may be reached. `host` is canonical: an IP address as IpAddress::text() writes it, else a DNS name in
// lower case. Make one by parse() or of().
struct ServerAddress {
  std::string host;
  std::uint16_t port = kServerPort;

  static ServerAddress of(const Endpoint& endpoint) { return {endpoint.address.text(), endpoint.port}; }
  // "HOST", "HOST:PORT", "[v6]", "[v6]:PORT"; a bare IPv6 address too. Without a port: kServerPort.
  static std::optional<ServerAddress> parse(std::string_view text);
  std::optional<IpAddress> ip() const { return IpAddress::parse(host); }  // nothing: a DNS name
  std::string text() const;                                               // "HOST:PORT", IPv6 in brackets
  friend auto operator<=>(const ServerAddress&, const ServerAddress&) = default;
};

// One server: all addresses lead to the same key.
struct ServerInfo {
  ServerKey key{};
  std::vector<ServerAddress> addresses;  // 1..kServerAddressesMax, tried in this order
  friend bool operator==(const ServerInfo&, const ServerInfo&) = default;
};

// With the addresses that a server says it and its kind have: the first that was known stays the first, since it is
// what a person was given; what means nothing is left out.
ServerInfo with_addresses(const ServerInfo& server, const std::vector<std::string>& told);

struct ServerLink {
  ServerAddress address;
  ServerKey key{};

  static Result<ServerLink> parse(std::string_view text);  // kInvalid, with a hint
  std::string text() const;                                // always with the port
  ServerInfo info() const { return {key, {address}}; }
  friend bool operator==(const ServerLink&, const ServerLink&) = default;
};

// Letters, digits and '-' in labels of 1..63, at most 253 in all, the last label not all digits.
bool is_dns_name(std::string_view text);

}  // namespace lanrage::party
