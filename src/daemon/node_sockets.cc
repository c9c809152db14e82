// The sockets beside the node's own: opened and closed as the node says, read by the data threads.
#include "daemon/node_daemon.h"

namespace lanrage::daemon {

void NodeDaemon::open_extra_sockets() {
  auto sockets = std::make_shared<dataplane::ExtraSockets>();
  net::UdpOptions options;
  options.segmentation = options.coalescing = settings_.offload;
  for (const std::uint16_t number : node_->extra_sockets()) {
    if (const auto known = extra_sockets_->find(number); known != extra_sockets_->end()) {
      sockets->insert(*known);
    } else if (auto opened = net::UdpSocket::open(options)) {
      sockets->emplace(number, std::make_shared<net::UdpSocket>(std::move(*opened)));
    } else {  // what would be sent from it is lost, and the attempt that needs it fails
      log_.debug("a socket cannot be opened", {{"problem", opened.error().message}});
    }
  }
  extra_sockets_ = std::move(sockets);
  publish_ = true;
}

void NodeDaemon::hear_icmp(bool v6) {
  std::uint16_t number = 0;
  const auto is_discovery = [&](std::uint16_t port) { return discovery_[1] && port == discovery_[1]->port(); };
  const auto is_ours = [&](std::uint16_t port) {
    number = 0;
    if (port == sockets_->port() || is_discovery(port)) return true;
    const auto extra = std::find_if(extra_sockets_->begin(), extra_sockets_->end(),
                                    [&](const auto& one) { return one.second->local().port == port; });
    if (extra == extra_sockets_->end()) return false;
    number = extra->first;
    return true;
  };
  const auto heard = icmp_->receive(v6, is_ours);
  if (!heard) return;
  const wire::Undelivered& lost = heard->datagram;
  if (is_discovery(lost.source.port)) {
    if (lost.expired) node_->handle_discovery_expired(now_, heard->from, lost.destination);
  } else if (!lost.expired) {
    node_->handle_unreachable(now_, lost.destination, number);
  }
}

void NodeDaemon::send(const node::OutDatagram& datagram) {
  const Path path{datagram.to, false, datagram.socket};
  if (net::UdpSocket* socket = dataplane::socket_of(path, *sockets_, *extra_sockets_))
    socket->send(net::SendItem{.destination = datagram.to, .bytes = datagram.bytes, .source = datagram.from});
}

}  // namespace lanrage::daemon
