// Sockets beside a node's own pair, by their number (Path::socket): for peers that are reached from no other.
//
// Immutable once published; who holds it keeps its sockets open.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "base/ip.h"
#include "net/udp_socket.h"

namespace lanrage::dataplane {

using ExtraSockets = std::map<std::uint16_t, std::shared_ptr<net::UdpSocket>>;

// The socket that sends on `path`; null where there is none (any more).
inline net::UdpSocket* socket_of(const Path& path, net::UdpPair& own, const ExtraSockets& extra) {
  if (path.socket == 0) return path.endpoint.address.is_v6() ? own.v6() : own.v4();
  const auto found = extra.find(path.socket);
  return found == extra.end() ? nullptr : found->second.get();
}

}  // namespace lanrage::dataplane
