#include "control/udp_service.h"

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <thread>

#include "base/format.h"
#include "crypto/random.h"
#include "net/clock.h"
#include "net/poller.h"
#include "net/udp_socket.h"
#include "wire/demux.h"
#include "wire/stun.h"

namespace lanrage::control {
namespace {

constexpr std::size_t kSlots = 32;
constexpr std::size_t kSlotBytes = 65536;
constexpr std::uint64_t kTagV4 = 4;
constexpr std::uint64_t kTagV6 = 6;
constexpr std::uint64_t kTagSecondV4 = 24;
constexpr std::uint64_t kTagSecondV6 = 26;

// Datagrams to send, those that lie one behind the other and go to one place joined into runs.
class Outbox {
 public:
  explicit Outbox(net::UdpPair& sockets) : sockets_(sockets) {}

  void add(const Endpoint& to, ByteView datagram) {
    if (!items_.empty() && joins(items_.back(), to, datagram)) {
      net::SendItem& last = items_.back();
      if (last.segment_size == 0) last.segment_size = static_cast<std::uint16_t>(last.bytes.size());
      last.bytes = {last.bytes.data(), last.bytes.size() + datagram.size()};
      return;
    }
    items_.push_back({.destination = to, .bytes = datagram});
  }
  void flush() {
    if (!items_.empty()) sockets_.send(items_);
    items_.clear();
  }
  void send_now(const Endpoint& to, ByteView datagram) { sockets_.send({.destination = to, .bytes = datagram}); }

 private:
  bool joins(const net::SendItem& last, const Endpoint& to, ByteView datagram) {
    net::UdpSocket* socket = to.address.is_v4() ? sockets_.v4() : sockets_.v6();
    const std::size_t segment = last.segment_size != 0 ? last.segment_size : last.bytes.size();
    return socket && last.destination == to && last.bytes.data() + last.bytes.size() == datagram.data() &&
           last.bytes.size() % segment == 0 && datagram.size() <= segment && !datagram.empty() &&
           last.bytes.size() + datagram.size() <= net::kSegmentedBytesMax &&
           last.bytes.size() / segment < socket->segments_max(segment);
  }
  net::UdpPair& sockets_;
  std::vector<net::SendItem> items_;
};

class Service final : public UdpService {
 public:
  Service(net::UdpPair sockets, std::optional<net::UdpPair> second, net::Poller poller, relay::StunServer::Options stun,
          std::optional<relay::ServerOptions> relay)
      : sockets_(std::move(sockets)),
        second_(std::move(second)),
        stun_(std::move(stun)),
        poller_(std::move(poller)),
        memory_(kSlots * kSlotBytes) {
    if (relay) relay_.emplace(std::move(*relay), rng_);
    for (std::size_t i = 0; i < kSlots; ++i)
      slots_[i].buffer = MutableBytes(memory_).subspan(i * kSlotBytes, kSlotBytes);
    thread_ = std::thread([this] { run(); });
  }
  ~Service() override {
    stop_.store(true);
    poller_.wake();
    thread_.join();
  }
  std::uint16_t port() const override { return sockets_.port(); }
  std::uint16_t second_port() const override { return second_ ? second_->port() : 0; }
  Stats stats() const override {
    const std::lock_guard lock(mutex_);
    return stats_;
  }
  void set_grant_keys(std::vector<crypto::VerifyKey> keys) override {
    const std::lock_guard lock(mutex_);
    grant_keys_ = std::move(keys);
    poller_.wake();
  }

 private:
  void run() {
    ::pthread_setname_np(::pthread_self(), "server-udp");
    Outbox outbox(sockets_);
    while (!stop_.load()) {
      const auto due = relay_ ? relay_->next_timeout() : std::nullopt;
      for (const net::Ready& ready : poller_.wait(net::now().time, due.value_or(kNever))) {
        if (ready.tag == kTagV4) drain(*sockets_.v4(), outbox);
        if (ready.tag == kTagV6) drain(*sockets_.v6(), outbox);
        if (ready.tag == kTagSecondV4) drain_second(*second_->v4());
        if (ready.tag == kTagSecondV6) drain_second(*second_->v6());
      }
      if (relay_) relay_->handle_timeout(net::now());
      const std::lock_guard lock(mutex_);
      if (relay_ && grant_keys_) relay_->set_grant_keys(*std::exchange(grant_keys_, std::nullopt));
      if (relay_) stats_ = {relay_->stats(), relay_->sessions(), {}};
      stats_.stun = stun_.stats();
    }
  }

  // One batch of one socket; what is left is told again by the next wait, so that no socket starves the other.
  void drain(net::UdpSocket& socket, Outbox& outbox) {
    const std::size_t count = socket.receive(slots_);
    const Now now = net::now();
    for (std::size_t i = 0; i < count; ++i) {
      const net::ReceiveSlot& slot = slots_[i];
      if (slot.truncated || slot.size == 0) continue;
      net::for_each_datagram(slot, [&](MutableBytes datagram) {
        if (wire::protocol_of(datagram) == wire::Protocol::kStun) {
          answer_stun(now, slot, sockets_.port(), datagram);
        } else if (relay_) {
          relay(now, slot.source, datagram, outbox);
        }
      });
    }
    outbox.flush();
  }

  void drain_second(net::UdpSocket& socket) {
    const std::size_t count = socket.receive(slots_);
    const Now now = net::now();
    for (std::size_t i = 0; i < count; ++i) {
      const net::ReceiveSlot& slot = slots_[i];
      if (slot.truncated || slot.size == 0) continue;
      net::for_each_datagram(slot, [&](ByteView datagram) { answer_stun(now, slot, second_->port(), datagram); });
    }
  }

  void answer_stun(const Now& now, const net::ReceiveSlot& slot, std::uint16_t port, ByteView question) {
    std::array<std::uint8_t, wire::kStunResponseBytesMax> out;
    const auto answer = stun_.answer(now.time, slot.source, {slot.destination, port}, question, out);
    if (!answer) return;
    net::UdpPair& sockets = answer->from.port == sockets_.port() ? sockets_ : *second_;
    sockets.send(
        {.destination = slot.source, .bytes = ByteView(out).first(answer->size), .source = answer->from.address});
  }

  void relay(const Now& now, const Endpoint& source, MutableBytes datagram, Outbox& outbox) {
    const auto transmit = relay_->handle_packet(now, source, datagram);
    if (!transmit) return;
    // Only what lies in the received buffer stays as it is until the batch is sent.
    const bool in_place =
        transmit->datagram.data() >= memory_.data() && transmit->datagram.data() < memory_.data() + memory_.size();
    if (in_place) {
      outbox.add(transmit->to, transmit->datagram);
    } else {
      outbox.send_now(transmit->to, transmit->datagram);
    }
  }

  net::UdpPair sockets_;
  std::optional<net::UdpPair> second_;
  relay::StunServer stun_;
  net::Poller poller_;
  Bytes memory_;
  std::array<net::ReceiveSlot, kSlots> slots_;
  crypto::SystemRng rng_;
  std::optional<relay::Server> relay_;
  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;
  Stats stats_;
  std::optional<std::vector<crypto::VerifyKey>> grant_keys_;  // new ones
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<UdpService>> UdpService::start(Options options, const Logger& log) {
  net::UdpOptions udp;
  udp.bind.port = options.port;
  auto sockets = net::UdpPair::open(udp);
  if (!sockets && sockets.error().os_errno == EADDRINUSE)
    return Error{Code::kConflict, format("port {} (UDP) is in use", options.port),
                 "stop what uses it, or choose another", EADDRINUSE};
  if (!sockets) return std::move(sockets).error();
  LR_ASSIGN(net::Poller poller, net::Poller::create());
  if (sockets->v4()) LR_TRY(poller.add(sockets->v4()->fd(), kTagV4));
  if (sockets->v6()) LR_TRY(poller.add(sockets->v6()->fd(), kTagV6));
  relay::StunServer::Options stun{sockets->port(), 0, std::move(options.addresses)};
  // The next port, which is easy to open in a firewall.
  udp.bind.port = static_cast<std::uint16_t>(stun.port + 1);
  auto next = net::UdpPair::open(udp);
  udp.bind.port = 0;
  auto second = next ? std::move(next) : net::UdpPair::open(udp);
  std::optional<net::UdpPair> pair;
  if (second) {
    stun.second_port = second->port();
    if (second->v4()) LR_TRY(poller.add(second->v4()->fd(), kTagSecondV4));
    if (second->v6()) LR_TRY(poller.add(second->v6()->fd(), kTagSecondV6));
    pair.emplace(std::move(*second));
  } else {
    log.info("no second UDP port: players learn less about their routers", {{"problem", second.error().message}});
  }
  log.debug("serving UDP", {{"port", sockets->port()}, {"relay", options.relay.has_value()}});
  return std::unique_ptr<UdpService>(std::make_unique<Service>(*std::move(sockets), std::move(pair), std::move(poller),
                                                               std::move(stun), std::move(options.relay)));
}

}  // namespace lanrage::control
