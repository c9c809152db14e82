// IP addresses, prefixes and UDP endpoints as plain values, IPv4 and IPv6 alike.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace lanrage {

// An IPv4 or IPv6 address. IPv4-mapped IPv6 (::ffff:a.b.c.d) is always held as IPv4, so that one address has one
// value: relays and filters have been fooled by the two forms elsewhere. A default one is 0.0.0.0.
class IpAddress {
 public:
  constexpr IpAddress() = default;
  static constexpr IpAddress v4(std::uint32_t host_order) {
    IpAddress a;
    store_be(a.bytes_.data(), host_order);
    return a;
  }
  static constexpr IpAddress v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    return v4((std::uint32_t{a} << 24) | (std::uint32_t{b} << 16) | (std::uint32_t{c} << 8) | d);
  }
  static IpAddress v6(const std::array<std::uint8_t, 16>& bytes);
  static std::optional<IpAddress> from_bytes(ByteView bytes);  // 4 or 16 of them
  static std::optional<IpAddress> parse(std::string_view text);

  constexpr bool is_v4() const { return !v6_; }
  constexpr bool is_v6() const { return v6_; }
  ByteView bytes() const { return {bytes_.data(), v6_ ? 16u : 4u}; }
  constexpr std::uint32_t v4_value() const { return load_be<std::uint32_t>(bytes_.data()); }  // host order; IPv4 only
  constexpr int bits() const { return v6_ ? 128 : 32; }
  std::string text() const;

  bool is_unspecified() const;
  bool is_loopback() const;
  bool is_multicast() const;
  bool is_link_local() const;
  bool is_limited_broadcast() const;
  bool is_private() const;  // RFC 1918, RFC 6598 (carrier NAT) and RFC 4193

  friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) = default;

 private:
  bool v6_ = false;
  std::array<std::uint8_t, 16> bytes_{};
};

// An address and a length; bits past the length are kept as given (an interface's own address has them).
struct IpPrefix {
  IpAddress address;
  int length = 0;

  static std::optional<IpPrefix> parse(std::string_view text);  // "10.66.0.1/24"; without "/": a host
  static IpPrefix host(const IpAddress& address) { return {address, address.bits()}; }
  bool contains(const IpAddress& other) const;
  bool overlaps(const IpPrefix& other) const;
  IpPrefix network() const;     // host bits cleared
  IpAddress broadcast() const;  // IPv4: host bits set
  std::string text() const;
  friend constexpr auto operator<=>(const IpPrefix&, const IpPrefix&) = default;
};

struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  static std::optional<Endpoint> parse(std::string_view text);  // "1.2.3.4:5", "[::1]:5"
  std::string text() const;
  friend constexpr auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// How a datagram travels: straight to an endpoint, or by the relay that listens there; from which of this node's
// sockets: 0 is its own port's pair, which everybody knows, others were opened for one peer.
struct Path {
  Endpoint endpoint;
  bool relayed = false;
  std::uint16_t socket = 0;
  friend constexpr auto operator<=>(const Path&, const Path&) = default;
};

}  // namespace lanrage

template <>
struct std::hash<lanrage::IpAddress> {
  std::size_t operator()(const lanrage::IpAddress& a) const noexcept {
    return std::hash<std::string_view>{}(lanrage::as_text(a.bytes()));
  }
};
template <>
struct std::hash<lanrage::Endpoint> {
  std::size_t operator()(const lanrage::Endpoint& e) const noexcept {
    return std::hash<lanrage::IpAddress>{}(e.address) * 31 + e.port;
  }
};
template <>
struct std::hash<lanrage::Path> {
  std::size_t operator()(const lanrage::Path& p) const noexcept {
    return (std::hash<lanrage::Endpoint>{}(p.endpoint) * 2 + (p.relayed ? 1 : 0)) * 31 + p.socket;
  }
};
