#include "host/lan_capture.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace lanrage::host {
namespace {

bool add_to(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

LanCapture::LanCapture(const LanCaptureOptions& options, const Logger& log, net::Fd epoll, net::Netlink netlink,
                       net::NetlinkWatch watch)
    : options_(options),
      log_(log),
      epoll_(std::move(epoll)),
      netlink_(std::move(netlink)),
      watch_(std::move(watch)),
      buffer_(net::PacketSocket::kPacketMax) {}

Result<LanCapture> LanCapture::open(const LanCaptureOptions& options, const Logger& log) {
  const Timed timed{log, op::kLanCaptureStart};
  net::Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.is_open()) return os_error("cannot wait for LAN traffic", errno);
  LR_ASSIGN(auto netlink, net::Netlink::open());
  LR_ASSIGN(auto watch, net::NetlinkWatch::open());
  if (!add_to(epoll.get(), watch.fd())) return os_error("cannot wait for interface changes", errno);
  LanCapture capture(options, log, std::move(epoll), std::move(netlink), std::move(watch));
  // One socket tried on loopback says at once whether this process may look at all.
  LR_ASSIGN(auto interfaces, capture.netlink_.interfaces());
  for (const net::Interface& interface : interfaces) {
    if (!interface.loopback) continue;
    LR_TRY(net::PacketSocket::open(interface.index));
  }
  capture.follow();
  return capture;
}

void LanCapture::read(const std::function<void(unsigned interface, ByteView packet)>& handle) {
  if (watch_.take_changes()) follow();
  for (auto& [index, socket] : sockets_) {
    for (std::size_t count = 0; count < kBatchMax; ++count) {
      const auto packet = socket.receive(buffer_);
      if (!packet) break;
      handle(index, *packet);
    }
  }
}

void LanCapture::follow() {
  const auto interfaces = netlink_.interfaces();
  if (!interfaces) {
    log_.warn("interfaces cannot be read", {{"error", interfaces.error().message}});
    return;
  }
  const auto wanted = [&](const net::Interface& interface) {
    return interface.up && !interface.loopback && interface.index != options_.adapter &&
           interface.name.compare(0, options_.adapter_prefix.size(), options_.adapter_prefix) != 0;
  };
  for (auto it = sockets_.begin(); it != sockets_.end();) {
    const bool keep = std::any_of(interfaces->begin(), interfaces->end(), [&](const net::Interface& interface) {
      return interface.index == it->first && wanted(interface);
    });
    if (!keep) lost_before_ += it->second.lost();
    it = keep ? std::next(it) : sockets_.erase(it);  // closing a socket takes it out of the epoll set
  }
  for (const net::Interface& interface : *interfaces)
    if (wanted(interface) && !sockets_.contains(interface.index) && sockets_.size() < kInterfacesMax)
      watch_interface(interface);
}

void LanCapture::watch_interface(const net::Interface& interface) {
  auto socket = net::PacketSocket::open(interface.index);
  if (!socket || !add_to(epoll_.get(), socket->fd())) {
    log_.warn("LAN games cannot be heard on an interface",
              {{"interface", interface.name}, {"error", socket ? "epoll" : socket.error().message.c_str()}});
    return;
  }
  log_.debug("watching an interface for LAN games", {{"interface", interface.name}});
  sockets_.emplace(interface.index, std::move(*socket));
}

std::uint64_t LanCapture::lost() {
  std::uint64_t out = lost_before_;
  for (auto& [index, socket] : sockets_) out += socket.lost();
  return out;
}

}  // namespace lanrage::host
