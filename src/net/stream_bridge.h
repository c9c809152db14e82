// Datagrams over TLS, for networks that let no UDP out: frames in a stream (wire/relay_stream.h) at one end, a UDP
// socket of this machine at the other.
//
// The same at both ends. The node's data threads and the relay speak UDP to a socket on the loopback, and know nothing
// of the stream behind it; the node's end is made here, the relay's by HttpServer::Handlers::stream_to. That socket is
// connected: nobody else on the machine gets a packet in. What goes into the stream waits in a relay::StreamQueue.
#pragma once

#include <functional>
#include <memory>

#include "net/http.h"

namespace lanrage::net {

class StreamBridge {
 public:
  struct Handlers {
    // Connected: what is sent to `entrance` by the UDP port that it was made for goes into the stream from now on.
    std::function<void(const Endpoint& entrance)> on_open{};
    // Once, also when it never opened. Nothing comes after it.
    std::function<void(const Error& reason)> on_close{};
  };
  static constexpr Duration kConnectTimeout = std::chrono::seconds(10);

  // Connects to the relay's stream; what comes out of it is sent to `inside`, a UDP port of this machine.
  static std::unique_ptr<StreamBridge> open(const TlsTarget& relay, const Endpoint& inside,
                                            std::shared_ptr<IoLoop> loop, Handlers handlers);
  virtual ~StreamBridge() = default;  // closes it; no handler is called any more
};

}  // namespace lanrage::net
