#include <boost/asio/ip/v6_only.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <unordered_map>

#include "base/format.h"
#include "net/http_stream.h"
#include "net/tcp_state.h"
#include "wire/control.h"

namespace lanrage::net {
namespace {

namespace http = beast::http;

constexpr Duration kAcceptPause = std::chrono::milliseconds(100);  // after an accept that failed: descriptors used up
constexpr Duration kLingerTimeout = std::chrono::seconds(1);
constexpr std::size_t kLingerBytesMax = 1024 * 1024;

// Whose connections are counted together: a host has many addresses within an IPv6 /64.
IpAddress counted_as(const IpAddress& address) {
  return IpPrefix{address, address.is_v4() ? 32 : 64}.network().address;
}

HttpResponse error_response(int status, Code code, std::string message) {
  return {.status = status, .headers = {}, .body = wire::encode(Error{code, std::move(message)})};
}

class Connection;

// What connections share. Outlives the server object while one of them still unwinds.
class Core : public std::enable_shared_from_this<Core> {
 public:
  Core(HttpServer::Options options, HttpServer::Handlers given, const Logger& logger)
      : limits(options.limits),
        loop(options.loop),
        io(context_of(*options.loop)),
        handlers(std::make_shared<const HttpServer::Handlers>(std::move(given))),
        log(logger) {
    if (options.tls) tls = server_tls(*options.tls);
  }

  // Counts a new connection; false where a limit is reached.
  bool admit(const IpAddress& address);
  void release(const IpAddress& address);
  void end_request();
  void end_websocket();
  void stop_idle();
  void stop_all();
  void wait_for_answers(Duration grace);  // not on the loop

  const HttpLimits limits;
  std::weak_ptr<IoLoop> loop;
  asio::io_context& io;
  std::shared_ptr<const HttpServer::Handlers> handlers;  // emptied by stop_all
  const Logger log;
  std::shared_ptr<asio::ssl::context> tls;
  bool stopping = false;
  std::uint64_t next_connection = 1;
  std::unordered_map<std::uint64_t, std::weak_ptr<Connection>> connections;
  std::unordered_map<std::uint64_t, std::weak_ptr<SocketSession>> sockets;
  std::unordered_map<std::uint64_t, std::weak_ptr<BridgeSession>> streams;
  std::unordered_map<IpAddress, std::size_t> per_address;
  std::size_t open = 0;

  std::atomic<std::uint64_t> connections_open{0}, websockets_open{0}, streams_open{0}, accepted{0}, refused_total{0},
      refused_address{0}, timed_out{0}, malformed{0}, requests{0}, too_slow{0};

  std::atomic<std::size_t> requests_open{0};
  std::mutex mutex;
  std::condition_variable answered;
};

// One client's connection, until it ends or becomes a WebSocket. Held by its pending operation.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Core> core, Stream stream, const HttpPeer& peer)
      : core_(std::move(core)), stream_(std::move(stream)), peer_(peer), deadline_(core_->io) {}
  ~Connection() {
    if (counted_) core_->release(peer_.remote.address);
    core_->connections.erase(peer_.connection);
  }

  void start() {
    expire_after(core_->limits.handshake_timeout);
    stream_.handshake(beast::role_type::server, [self = shared_from_this()](error_code error) {
      if (error) return self->close();
      if (self->stream_.is_tls()) self->peer_.exporter = self->stream_.exporter();
      self->wait_for_request();
    });
  }

  // Takes the one answer; ignored where the connection has ended meanwhile.
  void respond(std::uint64_t request, HttpResponse response) {
    if (request != request_ || !answer_due_) return;
    const auto self = answered();
    write(std::move(response), keep_alive_);
  }

  void accept(std::uint64_t request, const std::shared_ptr<SocketSession>& session, Headers extra) {
    if (request != request_ || !answer_due_ || core_->stopping)
      return session->fail({Code::kUnavailable, "the connection ended"});
    const auto self = answered();
    // The connection goes on counting for its address: the session's end releases it.
    counted_ = false;
    core_->websockets_open.fetch_add(1);
    core_->sockets[peer_.connection] = session;
    session->accept(std::move(stream_), std::move(head_), std::move(extra));
  }

  void close() {
    const auto self = answered();
    stop_deadline();
    stream_.close();
  }

  bool idle() const { return !answer_due_ && !writing_; }
  const HttpPeer& peer() const { return peer_; }

 private:
  // The answer is not due any more. Gives what held the connection meanwhile.
  std::shared_ptr<Connection> answered() {
    if (std::exchange(answer_due_, false)) core_->end_request();
    return std::move(waiting_);
  }

  void stop_deadline() {
    deadline_.cancel();
    ++generation_;
  }

  void expire_after(Duration delay) {
    const std::uint64_t generation = ++generation_;
    deadline_.expires_after(delay);
    deadline_.async_wait([weak = weak_from_this(), generation](error_code error) {
      const auto self = weak.lock();
      if (error || !self || self->generation_ != generation) return;
      self->core_->timed_out.fetch_add(1);
      self->close();
    });
  }

  void wait_for_request() {
    if (core_->stopping) return close();
    parser_.emplace();
    parser_->body_limit(boost::none);  // known once the header is
    parser_->header_limit(static_cast<std::uint32_t>(core_->limits.header_bytes_max));
    if (buffer_.size() != 0) return read_header();
    expire_after(core_->limits.idle_timeout);
    stream_.read_some(buffer_.prepare(4096), [self = shared_from_this()](error_code error, std::size_t size) {
      if (error) return self->close();
      self->buffer_.commit(size);
      self->read_header();
    });
  }

  void read_header() {
    expire_after(core_->limits.request_timeout);
    http::async_read_header(stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, std::size_t) {
      if (error) return self->refuse_input(error);
      self->read_body();
    });
  }

  void read_body() {
    const auto& head = parser_->get();
    const std::string_view method(head.method_string().data(), head.method_string().size());
    const std::string_view target(head.target().data(), head.target().size());
    if (is_stream_upgrade(head)) return become_stream();
    if (beast::websocket::is_upgrade(head)) return hand_over_upgrade();
    const HttpLimits& limits = core_->limits;
    const std::size_t bytes_max =
        limits.body_bytes_max_for ? limits.body_bytes_max_for(method, target) : limits.body_bytes_max;
    // Only a body in chunks is measured against the limit from here on.
    if (const auto length = parser_->content_length(); length && *length > bytes_max)
      return refuse_input(http::error::body_limit);
    parser_->body_limit(bytes_max);
    http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, std::size_t) {
      if (error) return self->refuse_input(error);
      self->hand_over_request();
    });
  }

  bool is_stream_upgrade(const SocketSession::RequestHead& head) const {
    const auto is = [](beast::string_view text, std::string_view wanted) {
      return beast::iequals(text, beast::string_view(wanted.data(), wanted.size()));
    };
    return core_->handlers->stream_to && is(head[http::field::upgrade], wire::kRelayStreamProtocol) &&
           is(head.target(), wire::kRelayStreamPath);
  }

  // The rest of the connection is a relay's stream. It goes on counting for its address.
  void become_stream() {
    const auto self = shared_from_this();
    const auto loop = core_->loop.lock();
    if (!loop || core_->stopping || core_->streams_open >= core_->limits.streams_max) return close();
    stop_deadline();
    const auto release = [core = core_, address = peer_.remote.address, id = peer_.connection] {
      if (core->streams.erase(id) == 0) return;
      core->streams_open.fetch_sub(1);
      core->release(address);
    };
    const auto session =
        BridgeSession::create(*loop, BridgeSession::End::kRelay, [release](const Error&) { release(); });
    counted_ = false;
    core_->streams[peer_.connection] = session;
    core_->streams_open.fetch_add(1);
    const auto rest = buffer_.data();
    const ByteView early(static_cast<const std::uint8_t*>(rest.data()), rest.size());
    const auto started =
        session->start(std::move(stream_), *core_->handlers->stream_to, wire::kRelayStreamAnswer, early);
    if (started) return;
    core_->log.warn("a relay's stream cannot be opened", {{"problem", started.error().message}});
    release();
  }

  HttpRequest take_request() {
    head_ = parser_->release();
    HttpRequest request;
    request.method.assign(head_.method_string().data(), head_.method_string().size());
    request.target.assign(head_.target().data(), head_.target().size());
    request.headers = headers_of(head_);
    request.body = std::move(head_.body());
    request.peer = peer_;
    keep_alive_ = head_.keep_alive();
    head_only_ = head_.method() == http::verb::head;
    core_->requests.fetch_add(1);
    core_->requests_open.fetch_add(1);
    answer_due_ = true;
    waiting_ = shared_from_this();
    stop_deadline();
    ++request_;
    return request;
  }

  void hand_over_request();
  void hand_over_upgrade();

  // Input that is no request this server takes: say so where the other side still listens, then end.
  void refuse_input(error_code error) {
    if (error == http::error::header_limit) {
      core_->malformed.fetch_add(1);
      return write(error_response(431, Code::kInvalid, "the request's header is too large"), false);
    }
    if (error == http::error::body_limit) {
      core_->malformed.fetch_add(1);
      return write(error_response(413, Code::kInvalid, "the request is too large"), false);
    }
    if (error.category() == error_code(http::error::bad_method).category() && error != http::error::end_of_stream &&
        error != http::error::partial_message) {
      core_->malformed.fetch_add(1);
      return write(error_response(400, Code::kInvalid, "not an HTTP request: " + describe(error)), false);
    }
    close();
  }

  void write(HttpResponse response, bool keep_alive) {
    writing_ = true;
    auto message = std::make_shared<http::response<http::string_body>>();
    message->version(11);
    message->result(static_cast<unsigned>(response.status));
    if (find_header(response.headers, "Content-Type").empty() && !response.body.empty())
      message->set(http::field::content_type, "application/json");
    for (const auto& [name, value] : response.headers) message->insert(name, value);
    message->keep_alive(keep_alive && !core_->stopping);
    message->body() = std::move(response.body);
    message->prepare_payload();
    if (head_only_) message->body().clear();
    expire_after(core_->limits.request_timeout);
    http::async_write(stream_, *message, [self = shared_from_this(), message](error_code error, std::size_t) {
      self->writing_ = false;
      if (error) return self->close();
      if (message->keep_alive()) return self->wait_for_request();
      self->linger(0);
    });
  }

  // Reads on for a moment before closing: to close with bytes unread would reset the connection and take the answer
  // out of the other side's hands.
  void linger(std::size_t drained) {
    if (drained == 0) {
      stream_.shutdown_send();
      expire_after(kLingerTimeout);
    }
    buffer_.clear();
    stream_.read_some(buffer_.prepare(16384), [self = shared_from_this(), drained](error_code error, std::size_t size) {
      if (error || drained + size > kLingerBytesMax) return self->close();
      self->linger(drained + size);
    });
  }

  std::shared_ptr<Core> core_;
  Stream stream_;
  HttpPeer peer_;
  asio::steady_timer deadline_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  SocketSession::RequestHead head_;
  std::shared_ptr<Connection> waiting_;  // itself, while an answer is due and no operation holds it
  std::uint64_t generation_ = 0;         // of the deadline
  std::uint64_t request_ = 0;
  bool answer_due_ = false;
  bool writing_ = false;
  bool keep_alive_ = false;
  bool head_only_ = false;
  bool counted_ = true;
};

// One request's answer, from wherever it comes to the connection's loop.
class Answer final : public HttpResponder::Sink, public WebSocketUpgrade::Sink {
 public:
  Answer(const std::shared_ptr<Core>& core, const std::shared_ptr<Connection>& connection, std::uint64_t request)
      : core_(core), connection_(connection), peer_(connection->peer()), request_(request) {}
  ~Answer() override { give(error_response(500, Code::kFailed, "the request was dropped")); }
  void respond(HttpResponse response) override { give(std::move(response)); }
  void refuse(HttpResponse response) override { give(std::move(response)); }

  std::shared_ptr<WebSocket> accept(WebSocketHandlers handlers, Headers extra) override {
    const auto loop = core_->loop.lock();
    if (given_.exchange(true) || !loop) return nullptr;
    const HttpLimits& limits = core_->limits;
    const auto session = SocketSession::create(
        loop, {limits.websocket_message_bytes_max, limits.websocket_queue_bytes_max, limits.websocket_idle_timeout},
        wrap(std::move(handlers)));
    loop->post([weak = connection_, session, extra = std::move(extra), request = request_]() mutable {
      if (const auto connection = weak.lock()) return connection->accept(request, session, std::move(extra));
      session->fail({Code::kUnavailable, "the connection ended"});
    });
    return session;
  }

 private:
  // Keeps the counts right at the session's end, however it comes.
  SocketHandlers wrap(WebSocketHandlers handlers) const {
    SocketHandlers out;
    out.on_text = std::move(handlers.on_text);
    out.on_close = [core = core_, address = peer_.remote.address, id = peer_.connection,
                    on_close = std::move(handlers.on_close)](const Error& reason, const std::optional<HttpResponse>&) {
      if (core->sockets.erase(id) != 0) {
        core->release(address);
        core->end_websocket();
      }
      if (reason.code == Code::kExhausted) core->too_slow.fetch_add(1);
      if (on_close) on_close(reason);
    };
    return out;
  }

  void give(HttpResponse response) {
    if (given_.exchange(true)) return;
    const auto loop = core_->loop.lock();
    if (!loop) return;
    loop->post([weak = connection_, request = request_, response = std::move(response)]() mutable {
      if (const auto connection = weak.lock()) connection->respond(request, std::move(response));
    });
  }

  const std::shared_ptr<Core> core_;
  const std::weak_ptr<Connection> connection_;
  const HttpPeer peer_;
  const std::uint64_t request_;
  std::atomic<bool> given_{false};
};

void Connection::hand_over_request() {
  HttpRequest request = take_request();
  const auto answer = std::make_shared<Answer>(core_, shared_from_this(), request_);
  const auto handlers = core_->handlers;
  if (handlers->on_request) handlers->on_request(std::move(request), HttpResponder(answer));
}

void Connection::hand_over_upgrade() {
  HttpRequest request = take_request();
  const auto answer = std::make_shared<Answer>(core_, shared_from_this(), request_);
  keep_alive_ = false;  // what follows a refused upgrade may be anything
  const auto handlers = core_->handlers;
  if (handlers->on_upgrade) return handlers->on_upgrade(std::move(request), WebSocketUpgrade(answer));
  answer->refuse(error_response(404, Code::kNotFound, "no WebSocket here"));
}

bool Core::admit(const IpAddress& address) {
  if (open >= limits.connections_max) {
    refused_total.fetch_add(1);
    return false;
  }
  std::size_t& count = per_address[counted_as(address)];
  if (count >= limits.connections_per_address_max) {
    refused_address.fetch_add(1);
    return false;
  }
  ++count;
  ++open;
  accepted.fetch_add(1);
  connections_open.store(open);
  return true;
}

void Core::release(const IpAddress& address) {
  const auto found = per_address.find(counted_as(address));
  if (found != per_address.end() && --found->second == 0) per_address.erase(found);
  connections_open.store(--open);
}

void Core::end_request() {
  const std::lock_guard lock(mutex);
  requests_open.fetch_sub(1);
  answered.notify_all();
}

void Core::end_websocket() {
  const std::lock_guard lock(mutex);
  websockets_open.fetch_sub(1);
  answered.notify_all();
}

void Core::stop_idle() {
  stopping = true;
  for (const auto& [id, socket] : sockets)
    if (const auto held = socket.lock()) held->close(1001, "the server stops");
  std::vector<std::shared_ptr<Connection>> idle;
  for (const auto& [id, connection] : connections)
    if (auto held = connection.lock(); held && held->idle()) idle.push_back(std::move(held));
  for (const auto& connection : idle) connection->close();
}

void Core::stop_all() {
  handlers = std::make_shared<const HttpServer::Handlers>();
  std::vector<std::shared_ptr<Connection>> held;
  for (const auto& [id, connection] : connections) held.push_back(connection.lock());
  std::vector<std::shared_ptr<SocketSession>> sessions;
  for (const auto& [id, socket] : sockets) sessions.push_back(socket.lock());
  std::vector<std::shared_ptr<BridgeSession>> bridges;
  for (const auto& [id, stream] : streams) bridges.push_back(stream.lock());
  for (const auto& connection : held)
    if (connection) connection->close();
  for (const auto& bridge : bridges)
    if (bridge) bridge->close({Code::kUnavailable, "the server stops"});
  for (const auto& session : sessions)
    if (session) session->forget();
}

void Core::wait_for_answers(Duration grace) {
  std::unique_lock lock(mutex);
  answered.wait_for(lock, grace, [&] { return requests_open.load() == 0 && websockets_open.load() == 0; });
}

// One listening socket. Held by its pending accept.
template <class Protocol>
class Listener : public std::enable_shared_from_this<Listener<Protocol>> {
 public:
  Listener(std::shared_ptr<Core> core, bool tls)
      : core_(std::move(core)), acceptor_(core_->io), pause_(core_->io), tls_(tls) {}

  typename Protocol::acceptor& acceptor() { return acceptor_; }
  void stop() {
    error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  }

  void accept() {
    acceptor_.async_accept([self = this->shared_from_this()](error_code error, typename Protocol::socket socket) {
      if (!self->acceptor_.is_open() || self->core_->stopping) return;
      if (error) return self->wait_and_accept(error);
      self->failing_ = false;
      self->take(std::move(socket));
      self->accept();
    });
  }

 private:
  void wait_and_accept(error_code error) {
    if (!std::exchange(failing_, true)) core_->log.warn("cannot accept a connection", {{"error", describe(error)}});
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([self = this->shared_from_this()](error_code stopped) {
      if (!stopped && self->acceptor_.is_open()) self->accept();
    });
  }

  void take(typename Protocol::socket socket) {
    HttpPeer peer;
    error_code error;
    if constexpr (std::is_same_v<Protocol, asio::ip::tcp>) {
      peer.remote = from_tcp(socket.remote_endpoint(error));
      if (error) return;  // gone already
      peer.local = from_tcp(socket.local_endpoint(error));
      socket.set_option(asio::ip::tcp::no_delay(true), error);
    }
    if (!core_->admit(peer.remote.address)) return;  // closes it
    peer.tls = tls_;
    peer.connection = core_->next_connection++;
    Stream::Socket generic(std::move(socket));
    Stream stream = tls_ ? Stream(std::move(generic), core_->tls) : Stream(std::move(generic));
    peer.credentials = stream.credentials();
    const auto connection = std::make_shared<Connection>(core_, std::move(stream), peer);
    core_->connections[peer.connection] = connection;
    connection->start();
  }

  std::shared_ptr<Core> core_;
  typename Protocol::acceptor acceptor_;
  asio::steady_timer pause_;
  bool failing_ = false;  // said once
  bool tls_;
};

using TcpSocketListener = Listener<asio::ip::tcp>;
using UnixSocketListener = Listener<asio::local::stream_protocol>;

Error listen_error(const std::string& where, const error_code& error) {
  if (error == asio::error::address_in_use)
    return {Code::kConflict, where + " is in use", "stop what uses it, or choose another", error.value()};
  if (error == asio::error::access_denied)
    return {Code::kRefused, "no permission to listen on " + where, {}, error.value()};
  return os_error("cannot listen on " + where, error.value());
}

// Whether somebody answers on a socket file; one that nobody answers on is what a killed process left.
bool is_answered(asio::io_context& io, const std::string& path) {
  asio::local::stream_protocol::socket probe(io);
  error_code error;
  probe.connect(asio::local::stream_protocol::endpoint(path), error);
  return !error;
}

class Server final : public HttpServer {
 public:
  Server(std::shared_ptr<IoLoop> loop, std::shared_ptr<Core> core, Duration grace)
      : loop_(std::move(loop)), core_(std::move(core)), grace_(grace) {}

  ~Server() override {
    loop_->run([this] {
      for (const auto& listener : tcp_) listener->stop();
      for (const auto& listener : unix_) listener->stop();
      core_->stop_idle();
    });
    if (!loop_->on_loop_thread()) core_->wait_for_answers(grace_);
    loop_->run([this] { core_->stop_all(); });
    for (const std::string& path : paths_) ::unlink(path.c_str());
  }

  Result<Endpoint> listen(const TcpListener& listener) override {
    LR_CHECK(!listener.tls || core_->tls);
    const auto fresh = std::make_shared<TcpSocketListener>(core_, listener.tls);
    auto& acceptor = fresh->acceptor();
    const std::string where = listener.endpoint.text() + " (TCP)";
    const auto endpoint = to_tcp(listener.endpoint);
    error_code error;
    acceptor.open(endpoint.protocol(), error);
    if (error) return listen_error(where, error);
    fit_every_path(acceptor.native_handle());
    acceptor.set_option(asio::socket_base::reuse_address(true), error);
    if (listener.endpoint.address.is_v6()) acceptor.set_option(asio::ip::v6_only(true), error);
    if (!error) acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) return listen_error(where, error);
    const Endpoint bound = from_tcp(acceptor.local_endpoint(error));
    loop_->run([&] {
      tcp_.push_back(fresh);
      fresh->accept();
    });
    return bound;
  }

  Result<void> listen(const UnixListener& listener) override {
    const auto fresh = std::make_shared<UnixSocketListener>(core_, false);
    auto& acceptor = fresh->acceptor();
    if (listener.path.size() >= 108) return Error{Code::kInvalid, listener.path + " is too long for a socket's path"};
    struct stat status {};
    if (::lstat(listener.path.c_str(), &status) == 0) {
      if (!S_ISSOCK(status.st_mode)) return Error{Code::kConflict, listener.path + " is there and not a socket"};
      if (is_answered(core_->io, listener.path)) return Error{Code::kConflict, listener.path + " is in use"};
      ::unlink(listener.path.c_str());
    }
    error_code error;
    acceptor.open(asio::local::stream_protocol(), error);
    if (!error) acceptor.bind(asio::local::stream_protocol::endpoint(listener.path), error);
    if (error) return listen_error(listener.path, error);
    // Nobody can connect before listen(), so the mode holds from the first connection on.
    if (listener.group && ::chown(listener.path.c_str(), static_cast<uid_t>(-1), *listener.group) != 0)
      return os_error("cannot change the group of " + listener.path, errno);
    if (::chmod(listener.path.c_str(), listener.mode) != 0)
      return os_error("cannot change the mode of " + listener.path, errno);
    acceptor.listen(asio::socket_base::max_listen_connections, error);
    if (error) return listen_error(listener.path, error);
    loop_->run([&] {
      unix_.push_back(fresh);
      paths_.push_back(listener.path);
      fresh->accept();
    });
    return {};
  }

  Stats stats() const override {
    return {.connections_open = core_->connections_open,
            .websockets_open = core_->websockets_open,
            .streams_open = core_->streams_open,
            .accepted = core_->accepted,
            .refused_total_cap = core_->refused_total,
            .refused_address_cap = core_->refused_address,
            .timed_out = core_->timed_out,
            .malformed = core_->malformed,
            .requests = core_->requests,
            .websockets_too_slow = core_->too_slow};
  }

 private:
  std::shared_ptr<IoLoop> loop_;
  std::shared_ptr<Core> core_;
  Duration grace_;
  std::vector<std::shared_ptr<TcpSocketListener>> tcp_;
  std::vector<std::shared_ptr<UnixSocketListener>> unix_;
  std::vector<std::string> paths_;
};

}  // namespace

std::unique_ptr<HttpServer> HttpServer::create(Options options, Handlers handlers, const Logger& log) {
  if (!options.loop) options.loop = IoLoop::start("http-server");
  const auto loop = options.loop;
  const Duration grace = options.stop_grace;
  auto core = std::make_shared<Core>(std::move(options), std::move(handlers), log);
  return std::make_unique<Server>(loop, std::move(core), grace);
}

}  // namespace lanrage::net
