// Which UDP sockets and TCP listeners this network namespace has: sock_diag netlink, else /proc/net/udp and udp6.
//
// sock_diag tells IP_MULTICAST_ALL (since Linux 5.10) and the bound device; /proc tells neither. Neither tells which
// socket joined which group. A dump takes about a tenth of a millisecond; the control thread asks when it needs to
// know.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "lan/host_view.h"
#include "net/fd.h"

namespace lanrage::host {

class SocketReader {
 public:
  static constexpr std::size_t kSocketsMax = 65'536;  // more are not looked at

  // Stays with the namespace of the thread that opens it.
  static Result<SocketReader> open();
  Result<std::vector<lan::LocalSocket>> read();

 private:
  explicit SocketReader(net::Fd netlink) : netlink_(std::move(netlink)) {}
  Result<void> dump(int family, int protocol, std::vector<lan::LocalSocket>& out);
  net::Fd netlink_;
  std::uint32_t sequence_ = 0;
};

// The sockets in the text of /proc/net/udp, or of udp6. Lines that do not parse are left out.
std::vector<lan::LocalSocket> parse_proc_udp(std::string_view text, bool v6);

}  // namespace lanrage::host
