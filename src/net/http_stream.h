// Inside the HTTP seam: what its .cc files share. Nothing outside src/net includes this.
//
// `Stream` is one connected byte stream, plain or TLS, TCP or Unix, behind one type, so that Beast's templates are
// instantiated once and not per kind of socket. A read or write costs one small allocation more for it. Everything here
// is used on the loop's thread only.
#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/bind_handler.hpp>
#include <boost/beast/core/role.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

#include <functional>
#include <memory>

#include "net/http.h"
#include "wire/relay_stream.h"

namespace lanrage::net {

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;

// The context of a loop made by IoLoop::start.
asio::io_context& context_of(IoLoop& loop);

std::shared_ptr<asio::ssl::context> server_tls(const TlsIdentity& identity);
std::shared_ptr<asio::ssl::context> client_tls();

Endpoint from_tcp(const asio::ip::tcp::endpoint& endpoint);
asio::ip::tcp::endpoint to_tcp(const Endpoint& endpoint);

class Stream {
 public:
  using Socket = asio::generic::stream_protocol::socket;
  using executor_type = Socket::executor_type;
  using IoDone = std::function<void(error_code, std::size_t)>;

  explicit Stream(Socket socket);
  Stream(Socket socket, std::shared_ptr<asio::ssl::context> tls);
  Stream(Stream&&) noexcept = default;
  Stream& operator=(Stream&&) noexcept = default;

  bool is_tls() const { return tls_ != nullptr; }
  void handshake(beast::role_type role, std::function<void(error_code)> done);  // nothing to do when plain
  TlsExporter exporter() const;                                                 // after the handshake; TLS only
  std::optional<SpkiHash> remote_key() const;                                   // after the handshake; TLS only
  std::optional<PeerCredentials> credentials();                                 // Unix sockets only
  int native_handle() { return socket().native_handle(); }
  void shutdown_send();  // the TCP half; no TLS farewell
  void close();          // what is under way ends with operation_aborted

  executor_type get_executor() { return socket().get_executor(); }
  void read_some(asio::mutable_buffer buffer, IoDone done);
  void write_some(asio::const_buffer buffer, IoDone done);

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return asio::async_initiate<Token, void(error_code, std::size_t)>(
        [this](auto handler, asio::mutable_buffer buffer) { read_some(buffer, erase(std::move(handler))); }, token,
        first_of<asio::mutable_buffer>(buffers));
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return asio::async_initiate<Token, void(error_code, std::size_t)>(
        [this](auto handler, asio::const_buffer buffer) { write_some(buffer, erase(std::move(handler))); }, token,
        first_of<asio::const_buffer>(buffers));
  }

 private:
  Socket& socket();

  template <class Handler>
  static IoDone erase(Handler handler) {
    return [held = std::make_shared<Handler>(std::move(handler))](error_code error, std::size_t size) {
      Handler once = std::move(*held);
      once(error, size);
    };
  }
  template <class Buffer, class Buffers>
  static Buffer first_of(const Buffers& buffers) {
    for (auto it = asio::buffer_sequence_begin(buffers); it != asio::buffer_sequence_end(buffers); ++it)
      if (Buffer buffer(*it); buffer.size() != 0) return buffer;
    return {};
  }

  struct Tls;
  // Shared with the operation under way, so that a Stream may be destroyed at any time.
  std::shared_ptr<Socket> plain_;
  std::shared_ptr<Tls> tls_;
};

// What websocket::stream asks of the stream below it. The farewell frames are sent by then.
inline void beast_close_socket(Stream& stream) { stream.close(); }
inline void teardown(beast::role_type, Stream& stream, error_code& error) {
  stream.close();
  error = {};
}
template <class Handler>
void async_teardown(beast::role_type, Stream& stream, Handler&& handler) {
  stream.close();
  asio::post(stream.get_executor(), beast::bind_front_handler(std::forward<Handler>(handler), error_code{}));
}

// Connects to a target: one Stream whose handshake is through and whose key is the pinned one, or an Error. Destroying
// it gives up without a call.
class Connector {
 public:
  using Connected = std::function<void(Result<Stream> stream)>;
  virtual ~Connector() = default;
  static std::shared_ptr<Connector> start(std::shared_ptr<IoLoop> loop, const HttpTarget& target, Duration timeout,
                                          Connected done);
  virtual void cancel() = 0;
};

// The WebSocket on one Stream, either end. Holds itself while it is open.
struct SocketOptions {
  std::size_t message_bytes_max = 0;
  std::size_t queue_bytes_max = 0;
  Duration idle_timeout{};
};
struct SocketHandlers {
  std::function<void()> on_open;
  std::function<void(std::string)> on_text;
  std::function<void(const Error&, const std::optional<HttpResponse>&)> on_close;
  std::function<void(std::string_view payload)> on_pong{};
};
class SocketSession : public WebSocket {
 public:
  using RequestHead = beast::http::request<beast::http::string_body>;
  static std::shared_ptr<SocketSession> create(std::shared_ptr<IoLoop> loop, const SocketOptions& options,
                                               SocketHandlers handlers);
  virtual void accept(Stream stream, RequestHead request, Headers extra) = 0;                      // server
  virtual void connect(Stream stream, std::string host, std::string target, Headers headers) = 0;  // client
  virtual void ping(std::string_view payload) = 0;                                                 // once open
  virtual void fail(Error reason) = 0;  // ends it at once, with its on_close
  virtual void forget() = 0;            // ends it at once, without any further call
};

// A stream of datagrams and its UDP socket (stream_bridge.h), either end. On the loop; holds itself while it is open.
class BridgeSession {
 public:
  using End = wire::RelayStreamReader::End;
  static std::shared_ptr<BridgeSession> create(IoLoop& loop, End end, std::function<void(const Error&)> on_close);
  virtual ~BridgeSession() = default;
  // `first` goes out before any frame; `early` was read from the stream already. Gives the UDP socket's endpoint.
  // When it fails, on_close is not called.
  virtual Result<Endpoint> start(Stream stream, const Endpoint& inside, std::string_view first, ByteView early) = 0;
  virtual void close(const Error& why) = 0;  // with its on_close
};

std::string describe(const error_code& error);
Headers headers_of(const beast::http::fields& fields);

}  // namespace lanrage::net
