#include "host/kernel_tables.h"

#include <utility>

#include "host/groups.h"

namespace lanrage::host {
namespace {

lan::HostInterface interface_of(net::Interface interface) {
  lan::HostInterface out;
  out.index = static_cast<int>(interface.index);
  out.name = std::move(interface.name);
  out.addresses = std::move(interface.addresses);
  out.loopback = interface.loopback;
  out.multicast = interface.multicast;
  return out;
}

}  // namespace

Result<std::unique_ptr<KernelTables>> KernelTables::open(const Logger& log) {
  LR_ASSIGN(auto netlink, net::Netlink::open());
  LR_ASSIGN(auto sockets, SocketReader::open());
  return std::unique_ptr<KernelTables>(new KernelTables(std::move(netlink), std::move(sockets), log));
}

const lan::HostView& KernelTables::view(Time now, lan::Freshness freshness) {
  if (view_.generation != 0 && freshness == lan::Freshness::kCached && now - read_ < kAge) return view_;
  const Timed timed{log_, op::kReadSockets};
  read_ = now;
  lan::HostView fresh;
  fresh.generation = view_.generation;
  if (auto interfaces = netlink_.interfaces()) {
    for (net::Interface& interface : *interfaces) fresh.interfaces.push_back(interface_of(std::move(interface)));
  } else {
    complain(interfaces.error());
    fresh.interfaces = view_.interfaces;
  }
  if (auto sockets = sockets_.read()) {
    fresh.sockets = std::move(*sockets);
  } else {
    complain(sockets.error());
    fresh.sockets = view_.sockets;
  }
  fresh.groups = read_groups();
  if (fresh != view_ || view_.generation == 0) {
    ++fresh.generation;
    view_ = std::move(fresh);
  }
  return view_;
}

std::string KernelTables::program(const lan::LocalSocket& socket) {
  return programs_.name(read_, socket.inode, socket.uid);
}

void KernelTables::complain(const Error& error) {
  if (std::exchange(complained_, true)) return;
  log_.warn("this computer's sockets cannot be read", {{"error", error.message}});
}

}  // namespace lanrage::host
