#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/websocket/stream.hpp>

#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "net/http_stream.h"

namespace lanrage::net {
namespace {

namespace websocket = beast::websocket;

using Socket = websocket::stream<Stream, false>;  // no compression: it would leak lengths of what is secret

constexpr Duration kClosingTimeout = std::chrono::seconds(2);

class Session final : public SocketSession, public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<IoLoop> loop, const SocketOptions& options, SocketHandlers handlers)
      : io_(context_of(*loop)),
        loop_(loop),
        options_(options),
        handlers_(std::make_shared<const SocketHandlers>(std::move(handlers))) {}

  void accept(Stream stream, RequestHead request, Headers extra) override {
    if (!prepare(std::move(stream), beast::role_type::server)) return;
    socket_->set_option(websocket::stream_base::decorator([extra = std::move(extra)](websocket::response_type& answer) {
      for (const auto& [name, value] : extra) answer.set(name, value);
    }));
    auto held = std::make_shared<RequestHead>(std::move(request));
    socket_->async_accept(*held, [self = shared_from_this(), held](error_code error) { self->opened(error, {}); });
  }

  void connect(Stream stream, std::string host, std::string target, Headers headers) override {
    if (!prepare(std::move(stream), beast::role_type::client)) return;
    socket_->set_option(
        websocket::stream_base::decorator([headers = std::move(headers)](websocket::request_type& request) {
          for (const auto& [name, value] : headers) request.set(name, value);
        }));
    auto answer = std::make_shared<websocket::response_type>();
    socket_->async_handshake(*answer, host, target, [self = shared_from_this(), answer](error_code error) {
      std::optional<HttpResponse> refused;
      if (error == websocket::error::upgrade_declined)
        refused = HttpResponse{
            .status = static_cast<int>(answer->result_int()), .headers = headers_of(*answer), .body = answer->body()};
      self->opened(error, std::move(refused));
    });
  }

  bool send(std::string text) override {
    const std::lock_guard lock(mutex_);
    if (ended_ || closing_) return false;
    if (queued_bytes_ + text.size() > options_.queue_bytes_max) {
      ended_ = true;
      post([](Session& self) { self.fail({Code::kExhausted, "the other side reads too slowly"}); });
      return false;
    }
    queued_bytes_ += text.size();
    queue_.push_back(std::move(text));
    if (queue_.size() == 1) post([](Session& self) { self.write(); });
    return true;
  }

  void close(std::uint16_t code, std::string reason) override {
    const std::lock_guard lock(mutex_);
    if (ended_ || closing_) return;
    // RFC 6455 section 5.5: a control frame carries at most 125 bytes, two of them the code.
    const std::string shown = reason.substr(0, 123);
    closing_ = websocket::close_reason(static_cast<websocket::close_code>(code), shown);
    post([](Session& self) { self.write(); });
  }

  void ping(std::string_view payload) override {
    post([data = websocket::ping_data(payload.data(), payload.size())](Session& self) { self.send_ping(data); });
  }

  void fail(Error reason) override { end(std::move(reason), std::nullopt); }

  void forget() override {
    handlers_ = std::make_shared<const SocketHandlers>();
    end({Code::kUnavailable, "stopped"}, std::nullopt);
  }

 private:
  template <class F>
  void post(F f) {
    if (const auto loop = loop_.lock())
      loop->post([weak = weak_from_this(), f] {
        if (const auto self = weak.lock()) f(*self);
      });
  }

  bool prepare(Stream stream, beast::role_type role) {
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return false;
    }
    socket_ = std::make_unique<Socket>(std::move(stream));
    auto timeout = websocket::stream_base::timeout::suggested(role);
    timeout.handshake_timeout = std::chrono::seconds(10);
    timeout.idle_timeout = std::chrono::duration_cast<std::chrono::milliseconds>(options_.idle_timeout);
    timeout.keep_alive_pings = true;
    socket_->set_option(timeout);
    socket_->read_message_max(options_.message_bytes_max);
    socket_->text(true);
    socket_->auto_fragment(false);  // it would keep a buffer for every connection
    socket_->control_callback(
        [this](websocket::frame_type kind, beast::string_view data) {  // from within a read of ours
          const auto handlers = handlers_;
          if (kind == websocket::frame_type::pong && handlers->on_pong) handlers->on_pong({data.data(), data.size()});
        });
    self_ = shared_from_this();
    return true;
  }

  void opened(error_code error, std::optional<HttpResponse> refused) {
    if (error) {
      const bool declined = error == websocket::error::upgrade_declined;
      const Code code = error == beast::error::timeout ? Code::kTimedOut
                        : declined                     ? Code::kRefused
                                                       : Code::kUnavailable;
      return end({code, "no WebSocket: " + describe(error)}, std::move(refused));
    }
    if (!self_) return;  // ended meanwhile
    open_ = true;
    const auto handlers = handlers_;  // a handler may end this session
    if (handlers->on_open) handlers->on_open();
    read();
    write();
  }

  // One is written at a time; of those that come meanwhile the newest goes next.
  void send_ping(const websocket::ping_data& data) {
    if (!open_ || !self_) return;
    if (pinging_) {
      next_ping_ = data;
      return;
    }
    pinging_ = true;
    socket_->async_ping(data, [self = shared_from_this()](error_code) {
      self->pinging_ = false;
      if (const auto next = std::exchange(self->next_ping_, std::nullopt)) self->send_ping(*next);
    });
  }

  void read() {
    if (!self_) return;
    socket_->async_read(incoming_,
                        [self = shared_from_this()](error_code error, std::size_t) { self->arrived(error); });
  }

  void arrived(error_code error) {
    if (error) {
      const Code code = error == beast::error::timeout ? Code::kTimedOut : Code::kUnavailable;
      return end({code, error == websocket::error::closed ? "closed by the other side" : describe(error)},
                 std::nullopt);
    }
    if (!self_) return;
    if (!socket_->got_text()) {
      incoming_.clear();
      close(websocket::close_code::unknown_data, "text only");
    } else {
      std::string text = beast::buffers_to_string(incoming_.cdata());
      incoming_.clear();
      const auto handlers = handlers_;
      if (handlers->on_text) handlers->on_text(std::move(text));
    }
    read();
  }

  void write() {
    if (!open_ || writing_ || !self_) return;
    std::optional<websocket::close_reason> closing;
    {
      const std::lock_guard lock(mutex_);
      if (queue_.empty()) {
        if (!closing_) return;
        closing = closing_;
      }
    }
    writing_ = true;
    if (closing) return say_goodbye(*closing);
    // The front stays in the queue until it is written; nobody else removes from it.
    socket_->async_write(asio::buffer(queue_.front()), [self = shared_from_this()](error_code error, std::size_t) {
      self->writing_ = false;
      {
        const std::lock_guard lock(self->mutex_);
        self->queued_bytes_ -= self->queue_.front().size();
        self->queue_.pop_front();
      }
      if (error) return self->end({Code::kUnavailable, describe(error)}, std::nullopt);
      self->write();
    });
  }

  void say_goodbye(const websocket::close_reason& reason) {
    deadline_ = std::make_unique<asio::steady_timer>(io_, kClosingTimeout);
    deadline_->async_wait([weak = weak_from_this()](error_code error) {
      const auto self = weak.lock();
      if (!error && self) self->end({Code::kTimedOut, "closed without an answer"}, std::nullopt);
    });
    socket_->async_close(reason, [self = shared_from_this()](error_code) {
      self->end({Code::kUnavailable, "closed"}, std::nullopt);
    });
  }

  // The one way out: once, on the loop.
  void end(Error reason, std::optional<HttpResponse> refused) {
    if (finished_) return;
    finished_ = true;
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    if (socket_) socket_->next_layer().close();
    // Both belong to the loop, while this session may be held for longer.
    deadline_.reset();
    asio::post(io_, [socket = std::shared_ptr<Socket>(std::move(socket_))] {});
    const auto keep = std::move(self_);
    const auto handlers = std::exchange(handlers_, std::make_shared<const SocketHandlers>());
    if (handlers->on_close) handlers->on_close(reason, refused);
  }

  asio::io_context& io_;
  std::weak_ptr<IoLoop> loop_;
  const SocketOptions options_;
  std::shared_ptr<const SocketHandlers> handlers_;
  std::unique_ptr<Socket> socket_;
  std::shared_ptr<Session> self_;  // while open or opening
  std::unique_ptr<asio::steady_timer> deadline_;
  beast::flat_buffer incoming_;
  bool open_ = false;
  bool writing_ = false;
  bool pinging_ = false;
  std::optional<websocket::ping_data> next_ping_;
  bool finished_ = false;

  std::mutex mutex_;  // guards what follows; the rest belongs to the loop
  std::deque<std::string> queue_;
  std::size_t queued_bytes_ = 0;
  std::optional<websocket::close_reason> closing_;
  bool ended_ = false;
};

}  // namespace

std::shared_ptr<SocketSession> SocketSession::create(std::shared_ptr<IoLoop> loop, const SocketOptions& options,
                                                     SocketHandlers handlers) {
  return std::make_shared<Session>(std::move(loop), options, std::move(handlers));
}

}  // namespace lanrage::net
