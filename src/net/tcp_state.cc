#include "net/tcp_state.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace lanrage::net {
namespace {

constexpr int kNoDelay = 1;
constexpr int kUnsentBytes = 4 * 1024;         // the kernel takes no more while so much was not sent
constexpr int kSegmentBytes = 1280 - 40 - 20;  // less IPv6's and TCP's headers
constexpr unsigned kSilenceMs = 8 * 1000;      // without an acknowledgement: the connection is dead

}  // namespace

std::optional<TcpState> tcp_state(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  int held = 0;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || ::ioctl(fd, SIOCOUTQ, &held) != 0)
    return std::nullopt;
  return TcpState{std::chrono::microseconds(info.tcpi_rtt), std::chrono::microseconds(info.tcpi_min_rtt),
                  static_cast<std::size_t>(held)};
}

void prepare_for_datagrams(int fd) {
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &kNoDelay, sizeof kNoDelay);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &kUnsentBytes, sizeof kUnsentBytes);
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &kSilenceMs, sizeof kSilenceMs);
}

void fit_every_path(int fd) { ::setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &kSegmentBytes, sizeof kSegmentBytes); }

}  // namespace lanrage::net
