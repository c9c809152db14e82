// Between our addresses and the kernel's `sockaddr`.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <optional>

#include "base/ip.h"

namespace lanrage::net {

// Fills `out` and gives the length to pass with it. `scope` is the interface index of a link-local IPv6 address.
socklen_t to_sockaddr(const Endpoint& endpoint, sockaddr_storage& out, unsigned scope = 0);

// Nullopt for families other than IPv4 and IPv6. `scope`, where given, gets the IPv6 scope (0: none).
std::optional<Endpoint> from_sockaddr(const sockaddr_storage& address, unsigned* scope = nullptr);

}  // namespace lanrage::net
