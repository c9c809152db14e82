#include "net/address.h"

#include <cstring>

namespace lanrage::net {

socklen_t to_sockaddr(const Endpoint& endpoint, sockaddr_storage& out, unsigned scope) {
  if (endpoint.address.is_v4()) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(endpoint.port);
    v4.sin_addr.s_addr = htonl(endpoint.address.v4_value());
    std::memcpy(&out, &v4, sizeof v4);
    return sizeof v4;
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(endpoint.port);
  v6.sin6_scope_id = scope;
  std::memcpy(&v6.sin6_addr, endpoint.address.bytes().data(), sizeof v6.sin6_addr);
  std::memcpy(&out, &v6, sizeof v6);
  return sizeof v6;
}

std::optional<Endpoint> from_sockaddr(const sockaddr_storage& address, unsigned* scope) {
  if (scope != nullptr) *scope = 0;
  if (address.ss_family == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &address, sizeof v4);
    return Endpoint{IpAddress::v4(ntohl(v4.sin_addr.s_addr)), ntohs(v4.sin_port)};
  }
  if (address.ss_family == AF_INET6) {
    sockaddr_in6 v6;
    std::memcpy(&v6, &address, sizeof v6);
    if (scope != nullptr) *scope = v6.sin6_scope_id;
    std::array<std::uint8_t, 16> raw;
    std::memcpy(raw.data(), &v6.sin6_addr, raw.size());
    return Endpoint{IpAddress::v6(raw), ntohs(v6.sin6_port)};
  }
  return std::nullopt;
}

}  // namespace lanrage::net
