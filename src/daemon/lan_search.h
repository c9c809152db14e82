// Hears members that search this LAN (docs/wire/probe.md): a socket on the search's group, joined on every card.
//
// Owned by the control thread; `fd()` goes into its poller. The nodes of one machine all hear what comes.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "net/multicast_member.h"
#include "net/udp_socket.h"

namespace lanrage::daemon {

class LanSearch {
 public:
  static Result<LanSearch> open();

  int fd() const { return socket_.fd(); }
  // The cards to hear on, by index. One that cannot be joined is tried again at the next call.
  void follow(const std::vector<unsigned>& interfaces);
  // Calls `handle` with each waiting datagram, whose bytes are valid during the call.
  void read(const std::function<void(const Endpoint& source, ByteView datagram)>& handle);

 private:
  explicit LanSearch(net::UdpSocket socket) : socket_(std::move(socket)) {}

  net::UdpSocket socket_;
  std::map<unsigned, net::MulticastMember> members_;  // by interface
};

}  // namespace lanrage::daemon
