// What local programs broadcast on the machine's other cards: a packet socket on each of them, kept up to date.
//
// Driven by the control thread: `fd()` goes into its poller, `read` hands each packet to `lan::Forwarder` as
// `handle_captured_packet`. The party's adapter and loopback are left out, and so are the adapters of other LANrage
// nodes on this machine: what is said in their party is theirs. Interfaces that come, go or change are followed by
// netlink. Decides nothing about packets.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "base/log.h"
#include "base/result.h"
#include "net/fd.h"
#include "net/netlink.h"
#include "net/packet_socket.h"

namespace lanrage::host {

struct LanCaptureOptions {
  unsigned adapter = 0;                    // the party's interface
  std::string adapter_prefix = "lanrage";  // how the adapters of all nodes are named
};

class LanCapture {
 public:
  static constexpr std::size_t kInterfacesMax = 64;
  static constexpr std::size_t kBatchMax = 256;  // packets per interface and call; the rest come next time

  // Needs CAP_NET_RAW. Stays with the namespace of the thread that opens it.
  static Result<LanCapture> open(const LanCaptureOptions& options, const Logger& log);

  int fd() const { return epoll_.get(); }  // readable when `read` has something

  // Calls `handle` with each waiting packet, an IP packet whose bytes are valid during the call.
  void read(const std::function<void(unsigned interface, ByteView packet)>& handle);

  std::size_t watched() const { return sockets_.size(); }
  std::uint64_t lost();  // packets the kernel dropped because we were slow

 private:
  LanCapture(const LanCaptureOptions& options, const Logger& log, net::Fd epoll, net::Netlink netlink,
             net::NetlinkWatch watch);
  void follow();
  void watch_interface(const net::Interface& interface);

  LanCaptureOptions options_;
  Logger log_;
  net::Fd epoll_;
  net::Netlink netlink_;
  net::NetlinkWatch watch_;
  std::map<unsigned, net::PacketSocket> sockets_;  // by interface
  Bytes buffer_;
  std::uint64_t lost_before_ = 0;  // by sockets that are gone
};

}  // namespace lanrage::host
