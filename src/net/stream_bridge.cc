#include "net/stream_bridge.h"

#include <boost/asio/ip/udp.hpp>

#include "net/clock.h"
#include "net/http_stream.h"
#include "net/tcp_state.h"
#include "relay/stream_queue.h"
#include "wire/relay_stream.h"

namespace lanrage::net {
namespace {

using Reader = wire::RelayStreamReader;

constexpr std::size_t kRecordBytesMax = 16000;  // one TLS record
constexpr int kDatagramsAtOnce = 64;            // read before the stream gets its turn
constexpr int kUdpBufferBytes = 1 << 20;
constexpr Duration kIdleTimeout = std::chrono::seconds(60);   // without a frame; a registration is refreshed after 20
constexpr Duration kRoomWait = std::chrono::milliseconds(3);  // until the connection is looked at again

class Session final : public BridgeSession, public std::enable_shared_from_this<Session> {
 public:
  Session(asio::io_context& io, Reader::End end, std::function<void(const Error&)> on_close)
      : udp_(io), room_(io), idle_(io), reader_(end), on_close_(std::move(on_close)) {}

  Result<Endpoint> start(Stream stream, const Endpoint& inside, std::string_view first, ByteView early) override {
    const asio::ip::udp::endpoint to(to_tcp(inside).address(), inside.port);
    error_code error;
    udp_.open(to.protocol(), error);
    if (!error) udp_.set_option(asio::socket_base::receive_buffer_size(kUdpBufferBytes), error);
    if (!error) udp_.non_blocking(true, error);
    if (!error) udp_.connect(to, error);
    if (error) return os_error("cannot open a socket for a relay's stream", error.value());
    const auto local = udp_.local_endpoint(error);
    if (error) return os_error("cannot open a socket for a relay's stream", error.value());
    stream_.emplace(std::move(stream));
    prepare_for_datagrams(stream_->native_handle());
    self_ = shared_from_this();
    heard_ = now().time;
    out_ = to_bytes(as_bytes(first));
    writing_ = true;
    write_rest(0);
    wait_for_datagrams();
    watch_idleness();
    // Whatever does not fit is read in pieces as the stream's own would be.
    while (!early.empty() && on_close_) {
      const MutableBytes room = reader_.room();
      const std::size_t size = std::min(early.size(), room.size());
      std::copy_n(early.begin(), size, room.begin());
      early = early.subspan(size);
      read(size);
    }
    if (on_close_) read_on();
    return from_tcp({local.address(), local.port()});
  }

  void close(const Error& why) override {
    if (!on_close_) return;
    const auto keep = std::move(self_);
    const auto once = std::exchange(on_close_, nullptr);
    error_code ignored;
    udp_.close(ignored);
    room_.cancel();
    idle_.cancel();
    if (stream_) stream_->close();
    once(why);
  }

 private:
  // --- out of the stream

  void read_on() {
    const MutableBytes room = reader_.room();
    stream_->read_some(asio::buffer(room.data(), room.size()),
                       [self = shared_from_this()](error_code error, std::size_t size) {
                         if (!self->on_close_) return;
                         if (error) return self->close({Code::kUnavailable, describe(error)});
                         self->read(size);
                         if (self->on_close_) self->read_on();
                       });
  }

  void read(std::size_t size) {
    reader_.commit(size);
    while (const auto datagram = reader_.next()) {
      heard_ = now().time;
      error_code lost;  // as UDP loses: nobody there, or no room
      udp_.send(asio::buffer(datagram->data(), datagram->size()), 0, lost);
    }
    if (reader_.is_broken()) close({Code::kRefused, "the other side speaks no relay stream"});
  }

  // --- into the stream

  void wait_for_datagrams() {
    udp_.async_wait(asio::socket_base::wait_read, [self = shared_from_this()](error_code error) {
      if (!self->on_close_ || error) return;
      self->take_datagrams();
      self->write();
      self->wait_for_datagrams();
    });
  }

  void take_datagrams() {
    const Time time = now().time;
    for (int i = 0; i < kDatagramsAtOnce; ++i) {
      error_code error;
      const std::size_t size = udp_.receive(asio::buffer(datagram_), 0, error);
      if (error == asio::error::would_block) return;
      if (!error) queue_.push(time, ByteView(datagram_).first(size));  // else what an earlier send met
    }
  }

  void write() {
    if (writing_) return;
    const Time time = now().time;
    const auto state = tcp_state(stream_->native_handle());
    const std::size_t room =
        state ? window_.allowance(time, state->rtt, state->least_rtt, state->unacknowledged) : kRecordBytesMax;
    if (room == 0) return wait_for_room();
    out_.clear();
    queue_.take(time, std::min(room, kRecordBytesMax), out_);
    if (out_.empty()) return;
    writing_ = true;
    write_rest(0);
  }

  void write_rest(std::size_t written) {
    stream_->write_some(asio::buffer(out_) + written,
                        [self = shared_from_this(), written](error_code error, std::size_t size) {
                          if (!self->on_close_) return;
                          if (error) return self->close({Code::kUnavailable, describe(error)});
                          if (written + size < self->out_.size()) return self->write_rest(written + size);
                          self->writing_ = false;
                          self->write();
                        });
  }

  void wait_for_room() {
    if (queue_.empty()) return;
    room_.expires_after(kRoomWait);
    room_.async_wait([self = shared_from_this()](error_code error) {
      if (!error && self->on_close_) self->write();
    });
  }

  void watch_idleness() {
    idle_.expires_after(kIdleTimeout / 4);
    idle_.async_wait([weak = weak_from_this()](error_code error) {
      const auto self = weak.lock();
      if (error || !self || !self->on_close_) return;
      if (now().time - self->heard_ >= kIdleTimeout) return self->close({Code::kTimedOut, "silent for a minute"});
      self->watch_idleness();
    });
  }

  std::optional<Stream> stream_;
  asio::ip::udp::socket udp_;
  asio::steady_timer room_, idle_;
  Reader reader_;
  relay::StreamQueue queue_;
  relay::StreamWindow window_;
  Bytes out_;  // what is being written
  std::array<std::uint8_t, wire::kRelayStreamDatagramMax + 1> datagram_{};
  bool writing_ = false;
  Time heard_{};
  std::function<void(const Error&)> on_close_;  // null: it is over
  std::shared_ptr<Session> self_;               // while it is open
};

// The node's end, handed to the loop.
class Opened final : public StreamBridge {
 public:
  Opened(std::shared_ptr<IoLoop> loop, const TlsTarget& relay, const Endpoint& inside, Handlers handlers)
      : loop_(std::move(loop)), state_(std::make_shared<State>()) {
    state_->handlers = std::move(handlers);
    loop_->post([loop = loop_, state = state_, relay, inside] {
      if (state->over) return;
      state->connector = Connector::start(loop, relay, kConnectTimeout, [loop, state, inside](Result<Stream> stream) {
        begin(*loop, state, inside, std::move(stream));
      });
    });
  }
  ~Opened() override {
    loop_->run([this] {
      state_->over = true;
      state_->handlers = {};
      if (state_->connector) state_->connector->cancel();
      if (state_->session) state_->session->close({Code::kUnavailable, "closed"});
    });
  }

 private:
  struct State {
    Handlers handlers;
    std::shared_ptr<Connector> connector;
    std::shared_ptr<BridgeSession> session;
    bool over = false;
  };

  static void begin(IoLoop& loop, const std::shared_ptr<State>& state, const Endpoint& inside, Result<Stream> stream) {
    state->connector.reset();
    if (state->over) return;
    const auto end = [state](const Error& why) {
      if (std::exchange(state->over, true)) return;
      state->session.reset();
      if (state->handlers.on_close) state->handlers.on_close(why);
    };
    if (!stream) return end(stream.error());
    state->session = BridgeSession::create(loop, BridgeSession::End::kAsker, end);
    const auto session = state->session;
    const auto entrance = session->start(*std::move(stream), inside, wire::relay_stream_question("relay"), {});
    if (!entrance) return end(entrance.error());
    if (!state->over && state->handlers.on_open) state->handlers.on_open(*entrance);
  }

  const std::shared_ptr<IoLoop> loop_;
  const std::shared_ptr<State> state_;
};

}  // namespace

std::shared_ptr<BridgeSession> BridgeSession::create(IoLoop& loop, End end,
                                                     std::function<void(const Error&)> on_close) {
  return std::make_shared<Session>(context_of(loop), end, std::move(on_close));
}

std::unique_ptr<StreamBridge> StreamBridge::open(const TlsTarget& relay, const Endpoint& inside,
                                                 std::shared_ptr<IoLoop> loop, Handlers handlers) {
  return std::make_unique<Opened>(std::move(loop), relay, inside, std::move(handlers));
}

}  // namespace lanrage::net
