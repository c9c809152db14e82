// HTTP/1.1 and WebSocket for everything that speaks them: the control server, its clients, the local API and the CLI.
//
// A seam: Boost.Asio and Beast are named only in the .cc files behind it. Every server and client lives on an `IoLoop`,
// shared or its own; handlers and callbacks are called on that loop's thread and must not block. All other methods may
// be called from any thread. Destroying a server or client is bounded in time, and none of its callbacks runs
// afterwards. Nothing throws.
//
// It does not route, authenticate, or interpret bodies; it does hold every limit that protects the process from the
// other side: sizes, times and numbers of connections.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/ip.h"
#include "base/log.h"
#include "base/result.h"
#include "base/time.h"
#include "net/loop.h"
#include "net/tls.h"

namespace lanrage::net {

using Headers = std::vector<std::pair<std::string, std::string>>;
// The first value of a header, whatever the case of its name; empty when absent.
std::string_view find_header(const Headers& headers, std::string_view name);

// SO_PEERCRED and SO_PEERGROUPS of a Unix socket's other end.
struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups{};  // the supplementary ones
};

// Whom a request came from.
struct HttpPeer {
  Endpoint remote{};  // TCP only
  Endpoint local{};   // TCP only
  bool tls = false;
  std::optional<PeerCredentials> credentials{};  // Unix sockets only
  TlsExporter exporter{};                        // TLS only
  std::uint64_t connection = 0;                  // never reused by one server
};

struct HttpRequest {
  std::string method = "GET";
  std::string target = "/";  // path and query as sent
  Headers headers{};
  std::string body{};
  HttpPeer peer{};  // set by the server

  std::string_view path() const;                   // target without its query
  std::string query(std::string_view name) const;  // percent-decoded; empty when absent
  std::string_view header(std::string_view name) const { return find_header(headers, name); }
};

struct HttpResponse {
  int status = 200;
  Headers headers{};
  std::string body{};
  // Set by the client: the connection it came over.
  std::uint64_t connection = 0;
  TlsExporter exporter{};

  std::string_view header(std::string_view name) const { return find_header(headers, name); }
};

// Gives the answer to one request, once, from any thread, at once or later. Copies share the one answer: the first call
// counts. When the last copy goes without an answer the client gets a 500.
class HttpResponder {
 public:
  class Sink {
   public:
    virtual ~Sink() = default;
    virtual void respond(HttpResponse response) = 0;
  };
  explicit HttpResponder(std::shared_ptr<Sink> sink) : sink_(std::move(sink)) {}
  void operator()(HttpResponse response) const { sink_->respond(std::move(response)); }

 private:
  std::shared_ptr<Sink> sink_;
};

// One end of an open WebSocket connection (text messages only).
class WebSocket {
 public:
  virtual ~WebSocket() = default;
  // Queues a message. False: the connection is over or its queue of `websocket_queue_bytes_max` is full; a full queue
  // ends the connection, so that one slow reader costs bounded memory and learns of it.
  virtual bool send(std::string text) = 0;
  // Ends the connection with a status code (RFC 6455, section 7.4) once what is queued was sent.
  virtual void close(std::uint16_t code = 1000, std::string reason = {}) = 0;
};

struct WebSocketHandlers {
  std::function<void(std::string text)> on_text{};
  // Called once, after which no other handler is. The reason is for logs.
  std::function<void(const Error& reason)> on_close{};
};

// Decides one upgrade request, once, from any thread. Copies share the decision; without one the client gets a 500.
class WebSocketUpgrade {
 public:
  class Sink {
   public:
    virtual ~Sink() = default;
    virtual std::shared_ptr<WebSocket> accept(WebSocketHandlers handlers, Headers extra) = 0;
    virtual void refuse(HttpResponse response) = 0;
  };
  explicit WebSocketUpgrade(std::shared_ptr<Sink> sink) : sink_(std::move(sink)) {}
  // What is sent before the handshake is through waits in the queue. `extra` headers go into the 101 answer.
  std::shared_ptr<WebSocket> accept(WebSocketHandlers handlers, Headers extra = {}) const {
    return sink_->accept(std::move(handlers), std::move(extra));
  }
  void refuse(HttpResponse response) const { sink_->refuse(std::move(response)); }

 private:
  std::shared_ptr<Sink> sink_;
};

struct HttpLimits {
  std::size_t header_bytes_max = 16 * 1024;
  std::size_t body_bytes_max = 64 * 1024;
  // When set, gives the limit of a request's body from its method and target (path and query).
  std::function<std::size_t(std::string_view method, std::string_view target)> body_bytes_max_for{};
  std::size_t connections_max = 4096;
  std::size_t streams_max = 2048;  // of a relay, of these: requests find room also when strangers hold streams
  std::size_t connections_per_address_max = 128;  // an IPv6 /64 counts as one address; Unix sockets as one as well
  std::size_t websocket_message_bytes_max = 64 * 1024;
  std::size_t websocket_queue_bytes_max = 1024 * 1024;
  Duration handshake_timeout = std::chrono::seconds(10);  // TLS
  Duration request_timeout =
      std::chrono::seconds(15);  // from a request's first byte to its last; and for an answer's way out
  Duration idle_timeout = std::chrono::seconds(60);  // between requests
  // A WebSocket peer that is silent for half of it is pinged, and dropped after the whole.
  Duration websocket_idle_timeout = std::chrono::seconds(60);
};

struct TcpListener {
  Endpoint endpoint;  // port 0: any; IPv6 listens on IPv6 alone
  bool tls = false;
};

struct UnixListener {
  std::string path;
  unsigned mode = 0600;
  std::optional<gid_t> group{};  // the socket file's group
};

class HttpServer {
 public:
  struct Handlers {
    std::function<void(HttpRequest request, HttpResponder respond)> on_request{};
    // Without it upgrades are refused with 404. Host and Origin are in the request's headers: check them here.
    std::function<void(HttpRequest request, WebSocketUpgrade upgrade)> on_upgrade{};
    // Where a relay's stream (wire/relay_stream.h) leads: a UDP port of this machine. Without it there is none.
    std::optional<Endpoint> stream_to{};
  };
  struct Options {
    HttpLimits limits{};
    std::optional<TlsIdentity> tls{};               // needed for TLS listeners
    std::shared_ptr<IoLoop> loop{};                 // null: its own
    Duration stop_grace = std::chrono::seconds(1);  // how long the destructor waits for answers under way
  };
  struct Stats {
    std::uint64_t connections_open = 0;
    std::uint64_t websockets_open = 0;
    std::uint64_t streams_open = 0;  // of a relay
    std::uint64_t accepted = 0;
    std::uint64_t refused_total_cap = 0;
    std::uint64_t refused_address_cap = 0;
    std::uint64_t timed_out = 0;
    std::uint64_t malformed = 0;
    std::uint64_t requests = 0;
    std::uint64_t websockets_too_slow = 0;
  };

  static std::unique_ptr<HttpServer> create(Options options, Handlers handlers, const Logger& log);
  virtual ~HttpServer() = default;

  // Begins to serve there. kConflict: the port or socket is in use (the message says which); kRefused: no permission.
  // Gives the endpoint bound to.
  virtual Result<Endpoint> listen(const TcpListener& listener) = 0;
  // A stale socket file is replaced, one that somebody answers on is kConflict. Removed again by the destructor.
  virtual Result<void> listen(const UnixListener& listener) = 0;
  virtual Stats stats() const = 0;
};

// Where a client connects to.
struct HostPort {
  std::string host;  // name or address text
  std::uint16_t port = 0;
};
struct TlsTarget {
  // Tried in order, a name's addresses with families alternating, the next one started 250 ms after the last or as soon
  // as it failed (RFC 8305); the first whose TLS handshake shows the pinned key wins.
  std::vector<HostPort> addresses;
  SpkiHash pin{};  // certificate names and dates mean nothing
  // Tried on each address 50 ms after its own port, for networks that let no other port out. Whoever else serves there
  // is no news: a wrong key counts as no server. 0: not tried.
  std::uint16_t last_port = 0;
  // Where the key was shown last, by any target that shares it: tried first. For targets on one loop.
  std::shared_ptr<std::optional<Endpoint>> found = {};
};
struct TcpTarget {
  Endpoint endpoint;
};
struct UnixTarget {
  std::string path;
};
using HttpTarget = std::variant<TlsTarget, TcpTarget, UnixTarget>;

// One kept-alive connection to one server; requests are sent one after the other.
//
// Errors: kUnavailable (cannot connect, connection lost), kRefused (the server's key is not the pinned one), kTimedOut,
// kInvalid (no HTTP, or too large), kExhausted (too many requests waiting). Any HTTP status is a value, not an error. A
// request is sent again on a fresh connection only if the kept one turned out closed before any byte of an answer.
class HttpClient {
 public:
  struct Options {
    std::size_t response_bytes_max = 4 * 1024 * 1024;
    std::size_t waiting_max = 64;
    Duration connect_timeout = std::chrono::seconds(10);
    std::shared_ptr<IoLoop> loop{};        // null: its own
    std::function<void()> on_connected{};  // each time, on the loop, before anything is sent
  };
  using Done = std::function<void(Result<HttpResponse>)>;

  static std::unique_ptr<HttpClient> create(HttpTarget target, Options options, const Logger& log);
  virtual ~HttpClient() = default;

  // `done` is called exactly once, on the loop, unless the client is destroyed before. `timeout` covers everything.
  // With `connection`, the request goes over that very connection (HttpResponse::connection) or fails with
  // kUnavailable.
  virtual void request(HttpRequest request, Duration timeout, Done done,
                       std::optional<std::uint64_t> connection = std::nullopt) = 0;
  // The same, waiting for it; for programs that have nothing else to do. Not on the loop's thread.
  Result<HttpResponse> call(HttpRequest request, Duration timeout);
};

// A connection to a server, made before it is known what to say there, so that this waits for one round trip and not
// for three. On the loop's thread; letting go of it ends what nobody took.
class EarlyConnection {
 public:
  static std::shared_ptr<EarlyConnection> start(std::shared_ptr<IoLoop> loop, TlsTarget target, Duration timeout);
  virtual ~EarlyConnection() = default;
};

// A WebSocket to a server. Does not reconnect: its owner makes another.
class WebSocketClient : public WebSocket {
 public:
  struct Options {
    std::size_t message_bytes_max = 4 * 1024 * 1024;
    std::size_t queue_bytes_max = 1024 * 1024;
    Duration connect_timeout = std::chrono::seconds(10);
    Duration idle_timeout = std::chrono::seconds(60);  // as HttpLimits::websocket_idle_timeout
    std::shared_ptr<IoLoop> loop{};                    // null: its own
    // To the same target, on the same loop, taken by this; it is made anew where it failed or ended meanwhile.
    std::shared_ptr<EarlyConnection> connection{};
  };
  struct Handlers {
    std::function<void()> on_open{};
    std::function<void(std::string text)> on_text{};
    // Once, also when it never opened. A refusal's HTTP status is in `refused` with its body, else that is empty.
    std::function<void(const Error& reason, const std::optional<HttpResponse>& refused)> on_close{};
    std::function<void(std::string_view payload)> on_pong{};  // the other side answered a ping that carried it
  };
  // Asks an open connection's other side for a sign of life, which repeats `payload`, at most 125 bytes (RFC 6455,
  // sections 5.5.2 and 5.5.3).
  virtual void ping(std::string_view payload) = 0;
  static std::unique_ptr<WebSocketClient> open(HttpTarget target, std::string path_and_query, Headers headers,
                                               Options options, Handlers handlers, const Logger& log);
};

}  // namespace lanrage::net
