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

void NodeDaemon::send(const node::OutDatagram& datagram) {
  const Path path{datagram.to, false, datagram.socket};
  if (net::UdpSocket* socket = dataplane::socket_of(path, *sockets_, *extra_sockets_))
    socket->send(net::SendItem{.destination = datagram.to, .bytes = datagram.bytes, .source = datagram.from});
}

}  // namespace lanrage::daemon
