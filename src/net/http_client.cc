#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <deque>
#include <list>
#include <thread>

#include "base/format.h"
#include "net/address.h"
#include "net/http_stream.h"
#include "net/tcp_state.h"

namespace lanrage::net {
namespace {

namespace http = beast::http;

constexpr Duration kAttemptStagger = std::chrono::milliseconds(250);  // RFC 8305 section 5
// From a named port to the last one of the same address: one round trip to most servers, which then see one connection.
constexpr Duration kLastPortStagger = std::chrono::milliseconds(50);
constexpr std::size_t kAttemptsMax = 16;

// The system resolver's answer in its order (RFC 6724), families alternating (RFC 8305 section 4). Blocks.
std::vector<Endpoint> resolve(const HostPort& target) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(target.host.c_str(), nullptr, &hints, &found) != 0) return {};
  std::vector<Endpoint> first, second;
  for (const addrinfo* entry = found; entry; entry = entry->ai_next) {
    sockaddr_storage storage{};
    std::memcpy(&storage, entry->ai_addr, std::min<std::size_t>(entry->ai_addrlen, sizeof storage));
    auto endpoint = from_sockaddr(storage);
    if (!endpoint) continue;
    endpoint->port = target.port;
    const bool same = first.empty() || first.front().address.is_v4() == endpoint->address.is_v4();
    (same ? first : second).push_back(*endpoint);
  }
  ::freeaddrinfo(found);
  std::vector<Endpoint> out;
  for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
    if (i < first.size()) out.push_back(first[i]);
    if (i < second.size()) out.push_back(second[i]);
  }
  return out;
}

std::string host_header(const HttpTarget& target) {
  if (const auto* tls = std::get_if<TlsTarget>(&target); tls && !tls->addresses.empty()) {
    const HostPort& first = tls->addresses.front();
    const bool v6 = first.host.find(':') != std::string::npos;
    return format("{}{}{}:{}", v6 ? "[" : "", first.host, v6 ? "]" : "", first.port);
  }
  if (const auto* tcp = std::get_if<TcpTarget>(&target)) return tcp->endpoint.text();
  return "localhost";
}

// Races attempts, each a TCP connection with its TLS handshake. Held by its owner and by what is under way.
class Race final : public Connector, public std::enable_shared_from_this<Race> {
 public:
  Race(const std::shared_ptr<IoLoop>& loop, Connected done)
      : loop_(loop), io_(context_of(*loop)), done_(std::move(done)), stagger_(io_), deadline_(io_) {}

  void run(const HttpTarget& target, Duration timeout) {
    deadline_.expires_after(timeout);
    deadline_.async_wait([weak = weak_from_this()](error_code error) {
      const auto self = weak.lock();
      if (!error && self) self->finish(Error{Code::kTimedOut, "the server does not answer"});
    });
    if (const auto* local = std::get_if<UnixTarget>(&target)) return connect_local(local->path);
    if (const auto* tcp = std::get_if<TcpTarget>(&target)) {
      add(tcp->endpoint);
      return next_attempt();
    }
    const auto& tls = std::get<TlsTarget>(target);
    pin_ = tls.pin;
    last_port_ = tls.last_port;
    found_ = tls.found;
    if (found_ && *found_) candidates_.push_back({**found_});
    tls_ = client_tls();
    for (const HostPort& address : tls.addresses) {
      if (const auto ip = IpAddress::parse(address.host)) {
        add({*ip, address.port});
      } else {
        look_up(address);
      }
    }
    next_attempt();
  }

  void cancel() override {
    done_ = nullptr;
    stop();
  }

 private:
  struct Candidate {
    Endpoint endpoint{};
    bool named = true;  // by the target, port and all
  };
  struct Attempt {
    std::optional<asio::ip::tcp::socket> socket;
    std::optional<Stream> stream;
    Candidate candidate{};
  };

  // And the same address's last port right behind it.
  void add(const Endpoint& endpoint) {
    const auto is_there = [this](const Endpoint& wanted) {
      return std::any_of(candidates_.begin(), candidates_.end(),
                         [&](const Candidate& candidate) { return candidate.endpoint == wanted; });
    };
    if (!is_there(endpoint)) candidates_.push_back({endpoint});
    const Endpoint last{endpoint.address, last_port_};
    if (last_port_ != 0 && !is_there(last)) candidates_.push_back({last, false});
  }

  // On a thread of its own, that may outlive all of this: the system's resolver cannot be cancelled.
  void look_up(const HostPort& target) {
    ++lookups_;
    std::thread([target, loop = loop_, weak = weak_from_this()] {
      auto found = resolve(target);
      const auto alive = loop.lock();
      if (!alive) return;
      alive->post([weak, found = std::move(found)] {
        const auto self = weak.lock();
        if (!self) return;
        --self->lookups_;
        for (const Endpoint& endpoint : found) self->add(endpoint);
        self->next_attempt();
      });
    }).detach();
  }

  void next_attempt() {
    if (!done_) return;
    if (started_ == std::min(candidates_.size(), kAttemptsMax)) {
      if (attempts_.empty() && lookups_ == 0)
        finish(Error{failure_.code, failure_.message.empty() ? "the server's name has no address" : failure_.message,
                     failure_.hint, failure_.os_errno});
      return;
    }
    const auto attempt = attempts_.emplace(attempts_.end());
    attempt->candidate = candidates_[started_++];
    attempt->socket.emplace(io_);
    error_code unopened;  // told by async_connect, which tries again
    attempt->socket->open(to_tcp(attempt->candidate.endpoint).protocol(), unopened);
    if (!unopened) fit_every_path(attempt->socket->native_handle());
    attempt->socket->async_connect(
        to_tcp(attempt->candidate.endpoint), [self = shared_from_this(), attempt](error_code error) {
          if (!self->done_) return;
          if (error)
            return self->failed(attempt, {Code::kUnavailable, "cannot connect: " + describe(error), {}, error.value()});
          error_code ignored;
          attempt->socket->set_option(asio::ip::tcp::no_delay(true), ignored);
          Stream::Socket generic(std::move(*attempt->socket));
          self->handshake(attempt, self->tls_ ? Stream(std::move(generic), self->tls_) : Stream(std::move(generic)));
        });
    const bool last_port_is_next = started_ < candidates_.size() && !candidates_[started_].named;
    stagger_.expires_after(last_port_is_next ? kLastPortStagger : kAttemptStagger);
    stagger_.async_wait([weak = weak_from_this()](error_code error) {
      const auto self = weak.lock();
      if (!error && self) self->next_attempt();
    });
  }

  void handshake(std::list<Attempt>::iterator attempt, Stream stream) {
    attempt->stream.emplace(std::move(stream));
    attempt->stream->handshake(beast::role_type::client, [self = shared_from_this(), attempt](error_code error) {
      if (!self->done_) return;
      if (error) return self->failed(attempt, {Code::kUnavailable, "no TLS session: " + describe(error)});
      if (self->tls_ && attempt->stream->remote_key() != self->pin_)
        return self->failed(attempt, {Code::kRefused, "the server's key is not the one in the link or invite",
                                      "ask for a new one; somebody may also be in between"});
      if (self->found_) *self->found_ = attempt->candidate.endpoint;
      Stream won = std::move(*attempt->stream);
      attempt->stream.reset();
      self->finish(std::move(won));
    });
  }

  void connect_local(const std::string& path) {
    using Local = asio::local::stream_protocol;
    if (path.size() >= 108) return post_failure({Code::kInvalid, path + " is too long for a socket's path"});
    auto socket = std::make_shared<Local::socket>(io_);
    socket->async_connect(Local::endpoint(path), [self = shared_from_this(), socket, path](error_code error) {
      if (error)
        return self->finish(
            Error{Code::kUnavailable, "cannot connect to " + path + ": " + describe(error), {}, error.value()});
      self->finish(Stream(Stream::Socket(std::move(*socket))));
    });
  }

  void post_failure(Error error) {
    asio::post(io_, [self = shared_from_this(), error = std::move(error)] { self->finish(error); });
  }

  void failed(std::list<Attempt>::iterator attempt, Error why) {
    // A wrong key says more than a connection that failed.
    const bool wrong_key = why.code == Code::kRefused;
    if (attempt->candidate.named && (failure_.message.empty() || wrong_key)) failure_ = std::move(why);
    attempts_.erase(attempt);
    next_attempt();
  }

  void finish(Result<Stream> result) {
    if (!done_) return;
    const Connected once = std::exchange(done_, nullptr);
    stop();
    once(std::move(result));
  }

  // The losers end with an error that nobody looks at; they are kept until then.
  void stop() {
    stagger_.cancel();
    deadline_.cancel();
    for (Attempt& attempt : attempts_) {
      error_code ignored;
      if (attempt.stream)
        attempt.stream->close();
      else if (attempt.socket)
        attempt.socket->close(ignored);
    }
  }

  std::weak_ptr<IoLoop> loop_;
  asio::io_context& io_;
  Connected done_;
  asio::steady_timer stagger_;
  asio::steady_timer deadline_;
  std::shared_ptr<asio::ssl::context> tls_;
  SpkiHash pin_{};
  std::vector<Candidate> candidates_;
  std::size_t started_ = 0;
  std::uint16_t last_port_ = 0;
  std::shared_ptr<std::optional<Endpoint>> found_;
  int lookups_ = 0;
  std::list<Attempt> attempts_;
  Error failure_{Code::kUnavailable, {}};
};

bool is_quiet(Stream& stream) {
  std::uint8_t byte = 0;
  return ::recv(stream.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

// A race that begins before anybody waits for its end.
class Early final : public EarlyConnection, public Connector, public std::enable_shared_from_this<Early> {
 public:
  Early(std::shared_ptr<IoLoop> loop, TlsTarget target, Duration timeout)
      : loop_(loop), target_(std::move(target)), timeout_(timeout) {}
  ~Early() override { cancel(); }

  void start() {
    race_ = Connector::start(loop_.lock(), target_, timeout_, [weak = weak_from_this()](Result<Stream> stream) {
      const auto self = weak.lock();
      if (!self) return;
      self->race_ = nullptr;
      if (self->done_) return self->give(std::move(stream));
      self->came_.emplace(std::move(stream));
    });
  }
  // What came meanwhile is of use if the other side said nothing since: it only ever answers, or ends.
  void take(Connected done) {
    done_ = std::move(done);
    const auto loop = loop_.lock();
    if (!came_ || !loop) return;
    if (!*came_ || !is_quiet(**came_)) {
      came_.reset();
      return start();
    }
    loop->post([self = shared_from_this()] {
      if (self->done_) self->give(*std::move(self->came_));
    });
  }
  void cancel() override {
    done_ = nullptr;
    came_.reset();
    if (const auto race = std::exchange(race_, nullptr)) race->cancel();
  }

 private:
  void give(Result<Stream> stream) { std::exchange(done_, nullptr)(std::move(stream)); }

  const std::weak_ptr<IoLoop> loop_;
  const TlsTarget target_;
  const Duration timeout_;
  std::shared_ptr<Connector> race_;
  std::optional<Result<Stream>> came_;
  Connected done_;  // of who took it
};

// The client on its loop. Held by the client object and by what is under way.
class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(HttpTarget target, const HttpClient::Options& options, const Logger& log)
      : target_(std::move(target)),
        host_(host_header(target_)),
        options_(options),
        loop_(options.loop),
        io_(context_of(*options.loop)),
        log_(log) {
    options_.loop.reset();
  }

  void request(HttpRequest request, Duration timeout, HttpClient::Done done, std::optional<std::uint64_t> connection) {
    if (stopped_) return;
    if (waiting_.size() >= options_.waiting_max) return done(Error{Code::kExhausted, "too many requests wait already"});
    waiting_.push_back(std::make_unique<Job>(io_));
    Job* job = waiting_.back().get();
    job->request = std::move(request);
    job->done = std::move(done);
    job->connection = connection;
    job->deadline.expires_after(timeout);
    job->deadline.async_wait([weak = weak_from_this(), job](error_code error) {
      const auto self = weak.lock();
      if (!error && self) self->expired(job);
    });
    work();
  }

  void stop() {
    stopped_ = true;
    waiting_.clear();
    if (connector_) connector_->cancel();
    drop_connection();
  }

 private:
  struct Job {
    explicit Job(asio::io_context& io) : deadline(io) {}
    HttpRequest request;
    HttpClient::Done done;
    std::optional<std::uint64_t> connection;
    asio::steady_timer deadline;
    bool repeated = false;
  };
  struct Connection {
    explicit Connection(Stream s) : stream(std::move(s)) {}
    Stream stream;
    beast::flat_buffer buffer;
    std::uint64_t id = 0;
    TlsExporter exporter{};
    bool used = false;
    bool open = true;
  };

  void work() {
    if (busy_ || stopped_ || waiting_.empty()) return;
    const Job& job = *waiting_.front();
    if (job.connection && (!connection_ || connection_->id != *job.connection))
      return finish(Error{Code::kUnavailable, "the connection was lost"});
    busy_ = true;
    if (connection_) return send();
    connector_ = nullptr;
    const auto loop = loop_.lock();
    if (!loop) return;
    connector_ =
        Connector::start(loop, target_, options_.connect_timeout, [weak = weak_from_this()](Result<Stream> stream) {
          if (const auto self = weak.lock()) self->connected(std::move(stream));
        });
  }

  void connected(Result<Stream> stream) {
    if (stopped_) return;
    if (waiting_.empty() || waiting_.front()->connection) {  // it ran out of time, and what is next wants another
      busy_ = false;
      return work();
    }
    if (!stream) return finish(std::move(stream).error());
    connection_ = std::make_shared<Connection>(*std::move(stream));
    connection_->id = ++last_connection_;
    connection_->exporter = connection_->stream.exporter();
    if (options_.on_connected) options_.on_connected();
    send();
  }

  void send() {
    auto message = std::make_shared<http::request<http::string_body>>();
    HttpRequest& request = waiting_.front()->request;
    message->version(11);
    message->method_string(request.method);
    message->target(request.target);
    message->set(http::field::host, host_);
    for (const auto& [name, value] : request.headers) message->set(name, value);
    if (!request.body.empty() && find_header(request.headers, "Content-Type").empty())
      message->set(http::field::content_type, "application/json");
    message->body() = request.body;
    message->prepare_payload();
    sent_ = waiting_.front().get();
    http::async_write(connection_->stream, *message,
                      [self = shared_from_this(), message, used = connection_](error_code error, std::size_t) {
                        if (self->connection_ != used) return;
                        // An answer may stand before the error: a server that refuses a body stops reading it.
                        self->receive(error == asio::error::operation_aborted ? error : error_code{});
                      });
  }

  void receive(error_code error) {
    if (error) return broken(error, false);
    auto parser = std::make_shared<http::response_parser<http::string_body>>();
    parser->body_limit(options_.response_bytes_max);
    http::async_read(connection_->stream, connection_->buffer, *parser,
                     [self = shared_from_this(), parser, used = connection_](error_code failure, std::size_t) {
                       if (self->connection_ != used) return;
                       if (failure) return self->broken(failure, parser->got_some());
                       self->answered(parser->release(), *used);
                     });
  }

  void answered(http::response<http::string_body> message, Connection& connection) {
    HttpResponse response;
    response.status = static_cast<int>(message.result_int());
    response.headers = headers_of(message);
    response.body = std::move(message.body());
    response.connection = connection.id;
    response.exporter = connection.exporter;
    connection.used = true;
    if (!message.keep_alive()) drop_connection();
    if (sent_ && !waiting_.empty() && waiting_.front().get() == sent_) return finish(std::move(response));
    busy_ = false;
    work();
  }

  void broken(error_code error, bool answer_begun) {
    const bool kept = connection_->used;
    drop_connection();
    if (waiting_.empty() || waiting_.front().get() != sent_) {
      busy_ = false;
      return work();
    }
    Job& job = *waiting_.front();
    if (kept && !answer_begun && !job.repeated && !job.connection) {
      job.repeated = true;
      busy_ = false;
      return work();
    }
    const bool not_http = answer_begun && error != http::error::partial_message &&
                          error != http::error::end_of_stream &&
                          error.category() == error_code(http::error::bad_method).category();
    finish(Error{not_http ? Code::kInvalid : Code::kUnavailable, "no answer: " + describe(error)});
  }

  void expired(Job* job) {
    const bool under_way = busy_ && waiting_.front().get() == job;
    if (under_way && connection_) drop_connection();
    if (under_way) {
      if (connector_) connector_->cancel();
      connector_ = nullptr;
      return finish(Error{Code::kTimedOut, "no answer in time"});
    }
    for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
      if (it->get() != job) continue;
      const auto late = std::move(*it);
      waiting_.erase(it);
      return late->done(Error{Code::kTimedOut, "no answer in time"});
    }
  }

  // Ends the first waiting job and goes on with the next.
  void finish(Result<HttpResponse> result) {
    const auto self = shared_from_this();
    busy_ = false;
    sent_ = nullptr;
    const auto job = std::move(waiting_.front());
    waiting_.pop_front();
    job->deadline.cancel();
    job->done(std::move(result));
    work();
  }

  void drop_connection() {
    if (!connection_) return;
    connection_->stream.close();
    connection_.reset();
  }

  const HttpTarget target_;
  const std::string host_;
  HttpClient::Options options_;
  std::weak_ptr<IoLoop> loop_;
  asio::io_context& io_;
  const Logger log_;
  std::deque<std::unique_ptr<Job>> waiting_;
  std::shared_ptr<Connection> connection_;
  std::shared_ptr<Connector> connector_;
  const Job* sent_ = nullptr;
  std::uint64_t last_connection_ = 0;
  bool busy_ = false;  // connecting, or a request under way
  bool stopped_ = false;
};

class Client final : public HttpClient {
 public:
  Client(std::shared_ptr<IoLoop> loop, std::shared_ptr<Exchange> exchange)
      : loop_(std::move(loop)), exchange_(std::move(exchange)) {}
  ~Client() override {
    loop_->run([this] { exchange_->stop(); });
  }
  void request(HttpRequest request, Duration timeout, Done done, std::optional<std::uint64_t> connection) override {
    loop_->post(
        [exchange = exchange_, request = std::move(request), timeout, done = std::move(done), connection]() mutable {
          exchange->request(std::move(request), timeout, std::move(done), connection);
        });
  }

 private:
  std::shared_ptr<IoLoop> loop_;
  std::shared_ptr<Exchange> exchange_;
};

class SocketClient final : public WebSocketClient {
 public:
  SocketClient(std::shared_ptr<IoLoop> loop, const Options& options, const Handlers& handlers)
      : loop_(std::move(loop)),
        session_(SocketSession::create(loop_,
                                       {options.message_bytes_max, options.queue_bytes_max, options.idle_timeout},
                                       {handlers.on_open, handlers.on_text, handlers.on_close, handlers.on_pong})) {}
  ~SocketClient() override {
    loop_->run([this] {
      if (connector_) connector_->cancel();
      session_->forget();
    });
  }

  void start(const HttpTarget& target, std::string path_and_query, Headers headers, Duration timeout,
             const std::shared_ptr<EarlyConnection>& early) {
    loop_->run([&] {
      const auto connected = [session = session_, host = host_header(target), path_and_query,
                              headers](Result<Stream> stream) {
        if (!stream) return session->fail(std::move(stream).error());
        session->connect(*std::move(stream), host, path_and_query, headers);
      };
      if (const auto made = std::static_pointer_cast<Early>(early)) {
        connector_ = made;
        return made->take(connected);
      }
      connector_ = Connector::start(loop_, target, timeout, connected);
    });
  }
  bool send(std::string text) override { return session_->send(std::move(text)); }
  void ping(std::string_view payload) override { session_->ping(payload); }
  void close(std::uint16_t code, std::string reason) override {
    session_->close(code, std::move(reason));
    // Before the handshake there is nobody to say goodbye to.
  }

 private:
  std::shared_ptr<IoLoop> loop_;
  std::shared_ptr<SocketSession> session_;
  std::shared_ptr<Connector> connector_;
};

}  // namespace

std::shared_ptr<Connector> Connector::start(std::shared_ptr<IoLoop> loop, const HttpTarget& target, Duration timeout,
                                            Connected done) {
  auto race = std::make_shared<Race>(loop, std::move(done));
  race->run(target, timeout);
  return race;
}

std::shared_ptr<EarlyConnection> EarlyConnection::start(std::shared_ptr<IoLoop> loop, TlsTarget target,
                                                        Duration timeout) {
  auto early = std::make_shared<Early>(std::move(loop), std::move(target), timeout);
  early->start();
  return early;
}

std::unique_ptr<HttpClient> HttpClient::create(HttpTarget target, Options options, const Logger& log) {
  if (!options.loop) options.loop = IoLoop::start("http-client");
  const auto loop = options.loop;
  return std::make_unique<Client>(loop, std::make_shared<Exchange>(std::move(target), options, log));
}

std::unique_ptr<WebSocketClient> WebSocketClient::open(HttpTarget target, std::string path_and_query, Headers headers,
                                                       Options options, Handlers handlers, const Logger&) {
  if (!options.loop) options.loop = IoLoop::start("ws-client");
  auto client = std::make_unique<SocketClient>(options.loop, options, handlers);
  client->start(target, std::move(path_and_query), std::move(headers), options.connect_timeout, options.connection);
  return client;
}

}  // namespace lanrage::net
