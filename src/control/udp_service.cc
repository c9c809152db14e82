#include "control/udp_service.h"

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <iterator>
#include <mutex>
#include <thread>

#include "base/format.h"
#include "crypto/random.h"
#include "net/clock.h"
#include "net/poller.h"
#include "net/relay_offload.h"
#include "net/udp_socket.h"
#include "relay/fair_queue.h"
#include "wire/demux.h"
#include "wire/stun.h"

namespace lanrage::control {
namespace {

constexpr std::size_t kSlots = 128;  // received runs that can wait to be forwarded
constexpr std::size_t kSlotBytes = 65536;
constexpr std::size_t kReadMax = 32;                             // runs at once
constexpr std::size_t kServeMax = 32;                            // runs, before what came meanwhile is read
constexpr std::uint32_t kServeCostMax = 256 * 1024;              // likewise
constexpr std::uint32_t kDatagramCost = 512;                     // of forwarding one, besides its bytes
constexpr Duration kBacklogMax = std::chrono::milliseconds(50);  // longer is no burst (CoDel, RFC 8289, waits 100 ms)
constexpr std::uint32_t kNoParty = 0;                            // whoever is not registered
constexpr std::uint64_t kTagFirst = 1000;                        // and the socket's place among those of the port
constexpr std::uint64_t kTagSecond = 2000;                       // likewise
constexpr std::uint64_t kTagOffload = 1;
constexpr int kFreePortAttempts = 16;

// One port at some addresses of this machine.
class Sockets {
 public:
  // No addresses: all of those families that the machine has. Port 0: one that is free at all of them.
  static Result<Sockets> open(const std::vector<IpAddress>& addresses, std::uint16_t port) {
    Sockets out;
    if (addresses.empty()) {
      net::UdpOptions udp;
      udp.bind.port = port;
      LR_ASSIGN(net::UdpPair pair, net::UdpPair::open(udp));
      if (pair.v4()) out.sockets_.push_back(std::move(*pair.v4()));
      if (pair.v6()) out.sockets_.push_back(std::move(*pair.v6()));
      return out;
    }
    Result<void> bound = out.bind(addresses, port);
    for (int i = 1; !bound && port == 0 && bound.error().os_errno == EADDRINUSE && i < kFreePortAttempts; ++i)
      bound = out.bind(addresses, port);
    LR_TRY(std::move(bound));
    return out;
  }

  Result<void> watch(net::Poller& poller, std::uint64_t tag) {
    for (net::UdpSocket& socket : sockets_) LR_TRY(poller.add(socket.fd(), tag++));
    return {};
  }
  net::UdpSocket* at(std::uint64_t place) { return place < sockets_.size() ? &sockets_[place] : nullptr; }
  std::uint16_t port() const { return sockets_.front().local().port; }

  // The one that sends this; none: the family is not spoken here.
  net::UdpSocket* sender_of(const net::SendItem& item) {
    net::UdpSocket* any = nullptr;
    for (net::UdpSocket& socket : sockets_) {
      const IpAddress& local = socket.local().address;
      if (local.is_v4() != item.destination.address.is_v4()) continue;
      if (local == item.source) return &socket;
      if (any == nullptr || local.is_unspecified()) any = &socket;
    }
    return any;
  }
  void send(std::span<const net::SendItem> items) {
    while (!items.empty()) {
      net::UdpSocket* socket = sender_of(items.front());
      std::size_t run = 1;
      while (run < items.size() && sender_of(items[run]) == socket) ++run;
      if (socket) {
        const net::SendReport report = socket->send(items.first(run));
        unsent_ += report.congested + report.too_big + report.failed;
      }
      items = items.subspan(run);
    }
  }
  void send(const net::SendItem& item) { send(std::span(&item, 1)); }
  std::uint64_t unsent() const { return unsent_; }
  std::uint64_t overflows() const {
    std::uint64_t sum = 0;
    for (const net::UdpSocket& socket : sockets_) sum += socket.overflows();
    return sum;
  }

 private:
  Result<void> bind(const std::vector<IpAddress>& addresses, std::uint16_t port) {
    sockets_.clear();
    std::vector<IpAddress> bound;
    for (const IpAddress& address : addresses) {
      if (std::find(bound.begin(), bound.end(), address) != bound.end()) continue;
      bound.push_back(address);
      net::UdpOptions udp;
      udp.bind = {address, sockets_.empty() ? port : this->port()};
      LR_ASSIGN(net::UdpSocket socket, net::UdpSocket::open(udp));
      sockets_.push_back(std::move(socket));
    }
    return {};
  }

  std::vector<net::UdpSocket> sockets_;
  std::uint64_t unsent_ = 0;
};

// Datagrams to send. Those to one place leave as runs (UDP GSO): where they lie one behind the other as they are, and
// where each was received alone, copied behind the first in its buffer: a copy of 100 bytes costs a hundredth of a way
// through the kernel.
class Outbox {
 public:
  explicit Outbox(Sockets& sockets) : sockets_(sockets) {}

  // `room`: the rest of the buffer, behind a datagram that was received alone; empty: it is one of several.
  void add(const net::SendItem& item, MutableBytes room) {
    const auto behind = std::find_if(items_.rbegin(), items_.rend(), [&](const Item& one) {
      return one.send.destination == item.destination && one.send.source == item.source;
    });
    if (behind == items_.rend() || !join(*behind, item, room)) items_.push_back({item, room});
  }
  void flush() {
    if (items_.empty()) return;
    sending_.clear();
    for (const Item& item : items_) sending_.push_back(item.send);
    sockets_.send(sending_);
    items_.clear();
  }
  void send_now(const net::SendItem& item) { sockets_.send(item); }

 private:
  struct Item {
    net::SendItem send;
    MutableBytes room;  // behind it
  };
  bool join(Item& run, const net::SendItem& item, MutableBytes room) {
    net::SendItem& send = run.send;
    const net::UdpSocket* socket = sockets_.sender_of(item);
    const std::size_t size = item.bytes.size();
    const std::size_t segment = send.segment_size != 0 ? send.segment_size : send.bytes.size();
    if (!socket || size == 0 || size > segment || send.bytes.size() % segment != 0 ||
        send.bytes.size() + size > net::kSegmentedBytesMax ||
        send.bytes.size() / segment >= socket->segments_max(segment))
      return false;
    if (send.bytes.data() + send.bytes.size() != item.bytes.data()) {
      if (room.empty() || run.room.size() < size) return false;
      std::copy(item.bytes.begin(), item.bytes.end(), run.room.begin());
      run.room = run.room.subspan(size);
    }
    send.segment_size = static_cast<std::uint16_t>(segment);
    send.bytes = {send.bytes.data(), send.bytes.size() + size};
    return true;
  }
  Sockets& sockets_;
  std::vector<Item> items_;
  std::vector<net::SendItem> sending_;
};

class Service final : public UdpService {
 public:
  Service(Sockets sockets, std::optional<Sockets> second, net::Poller poller, relay::StunServer::Options stun,
          std::optional<relay::ServerOptions> relay, std::unique_ptr<net::RelayOffload> offload, bool answers_stun)
      : sockets_(std::move(sockets)),
        second_(std::move(second)),
        answers_stun_(answers_stun),
        stun_(std::move(stun)),
        poller_(std::move(poller)),
        memory_(std::make_unique_for_overwrite<std::uint8_t[]>(kSlots * kSlotBytes)),
        offload_(std::move(offload)) {
    if (relay) relay_.emplace(std::move(*relay), rng_, offload_.get());
    for (std::size_t i = 0; i < kSlots; ++i) free_.push_back(static_cast<relay::FairQueue::Item>(i));
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
    const net::RelayOffload::Totals kernel = offload_ ? offload_->totals() : net::RelayOffload::Totals();
    const std::lock_guard lock(mutex_);
    Stats out = stats_;
    out.packets_kernel = kernel.packets;
    out.relay.packets_in += kernel.packets;
    out.relay.bytes_in += kernel.bytes;
    out.relay.packets_forwarded += kernel.packets;
    out.relay.bytes_forwarded += kernel.bytes;
    return out;
  }
  Duration thread_time() const override {
    clockid_t clock{};
    timespec used{};
    if (::pthread_getcpuclockid(const_cast<std::thread&>(thread_).native_handle(), &clock) != 0 ||
        ::clock_gettime(clock, &used) != 0)
      return {};
    return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
  }
  void drain() override {
    drain_.store(true);
    poller_.wake();
  }
  bool is_drained() const override { return drained_.load(); }
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
      const auto look = offload_ ? offload_->next_timeout() : std::nullopt;
      const Time until = queue_.empty() ? std::min(due.value_or(kNever), look.value_or(kNever)) : Time{};
      for (const net::Ready& ready : poller_.wait(net::now().time, until)) {
        if (ready.tag == kTagOffload) {
          offload_->handle_change(net::now().time);
        } else if (ready.tag >= kTagSecond) {
          if (net::UdpSocket* socket = second_->at(ready.tag - kTagSecond)) read_second(*socket);
        } else if (ready.tag >= kTagFirst) {
          if (net::UdpSocket* socket = sockets_.at(ready.tag - kTagFirst)) read(*socket);
        }
      }
      serve(outbox);
      if (relay_) relay_->handle_timeout(net::now());
      if (offload_) offload_->handle_timeout(net::now().time);
      if (drain_.load()) drain(net::now().time);
      const std::lock_guard lock(mutex_);
      if (relay_ && grant_keys_) relay_->set_grant_keys(*std::exchange(grant_keys_, std::nullopt));
      if (relay_) {
        stats_.relay = relay_->stats();
        stats_.sessions = relay_->sessions();
        stats_.sessions_max = relay_->sessions_max();
        stats_.parties = relay_->parties();
      }
      stats_.overflows = sockets_.overflows();
      stats_.unsent = sockets_.unsent();
      stats_.dropped_queue = dropped_queue_;
      stats_.stun = stun_.stats();
    }
  }

  // What waits, as far as there is room. After a moment of more than can be forwarded, all that waits, and who sends
  // most makes room: it is to wait behind itself, not before everybody in the kernel.
  void read(net::UdpSocket& socket) {
    const Time now = net::now().time;
    if (queue_.empty()) served_all_ = now;
    const bool is_flooded = now - served_all_ >= kBacklogMax;
    for (std::size_t total = 0, count = kReadMax; count == kReadMax && total < kSlots; total += count) {
      if (is_flooded) make_room();
      if (free_.size() < kReadMax) return;
      count = socket.receive(stage());
      for (std::size_t i = 0; i < count; ++i) {
        const net::ReceiveSlot& slot = incoming_[i];
        if (slot.truncated || slot.size == 0) continue;
        const relay::FairQueue::Item item = item_of(slot);
        held_[item] = slot;
        std::erase(free_, item);
        const std::uint32_t party = relay_ ? relay_->party_of(slot.source).value_or(kNoParty) : kNoParty;
        queue_.push(party, item, static_cast<std::uint32_t>(slot.size + kDatagramCost * datagrams(slot)));
      }
    }
  }

  // The buffers to read into next, of the last free ones.
  std::span<net::ReceiveSlot> stage() {
    for (std::size_t i = 0; i < kReadMax; ++i)
      incoming_[i].buffer = {memory_.get() + free_[free_.size() - 1 - i] * kSlotBytes, kSlotBytes};
    return incoming_;
  }
  relay::FairQueue::Item item_of(const net::ReceiveSlot& slot) const {
    return static_cast<relay::FairQueue::Item>(static_cast<std::size_t>(slot.buffer.data() - memory_.get()) /
                                               kSlotBytes);
  }
  static std::size_t datagrams(const net::ReceiveSlot& slot) {
    return (slot.size + slot.segment_size - 1) / slot.segment_size;
  }
  void make_room() {
    while (free_.size() < kReadMax) {
      const auto item = queue_.drop();
      dropped_queue_ += datagrams(held_[*item]);
      free_.push_back(*item);
    }
  }

  void serve(Outbox& outbox) {
    const Now now = net::now();
    served_.clear();
    for (std::uint32_t cost = 0; served_.size() < kServeMax && cost < kServeCostMax;) {
      const auto item = queue_.pop();
      if (!item) break;
      cost += queue_.cost_of(*item);
      served_.push_back(*item);
      const net::ReceiveSlot& slot = held_[*item];
      net::for_each_datagram(slot, [&](MutableBytes datagram) {
        if (wire::protocol_of(datagram) == wire::Protocol::kStun) {
          if (answers_stun_) answer_stun(now, slot, sockets_.port(), datagram);
        } else if (relay_) {
          relay(now, slot, datagram, outbox);
        }
      });
    }
    outbox.flush();
    free_.insert(free_.end(), served_.begin(), served_.end());
  }

  void drain(Time now) {
    if (relay_) {
      relay_->begin_drain(now);
      if (const auto packets = offload_ ? offload_->totals().packets : 0; packets != packets_kernel_) {
        packets_kernel_ = packets;
        relay_->note_forwarded(now);
      }
      while (const auto notice = relay_->poll_drain(now))
        sockets_.send({.destination = notice->to, .bytes = notice->datagram, .source = notice->from});
    }
    drained_.store(!relay_ || relay_->is_drained(now));
  }

  void read_second(net::UdpSocket& socket) {
    if (free_.size() < kReadMax) return;  // no stranger's question makes members' packets go: it is asked again
    const std::size_t count = socket.receive(stage());
    const Now now = net::now();
    for (std::size_t i = 0; i < count; ++i) {
      const net::ReceiveSlot& slot = incoming_[i];
      if (slot.truncated || slot.size == 0) continue;
      net::for_each_datagram(slot, [&](ByteView datagram) { answer_stun(now, slot, second_->port(), datagram); });
    }
  }

  void answer_stun(const Now& now, const net::ReceiveSlot& slot, std::uint16_t port, ByteView question) {
    std::array<std::uint8_t, wire::kStunResponseBytesMax> out;
    const auto answer = stun_.answer(now.time, slot.source, {slot.destination, port}, question, out);
    if (!answer) return;
    Sockets& sockets = answer->from.port == sockets_.port() ? sockets_ : *second_;
    sockets.send(
        {.destination = answer->to, .bytes = ByteView(out).first(answer->size), .source = answer->from.address});
  }

  void relay(const Now& now, const net::ReceiveSlot& slot, MutableBytes datagram, Outbox& outbox) {
    const auto transmit = relay_->handle_packet(now, slot.source, datagram, slot.destination);
    if (!transmit) return;
    const net::SendItem item{.destination = transmit->to, .bytes = transmit->datagram, .source = transmit->from};
    // Only what lies in the received buffer stays as it is until the batch is sent.
    const std::uint8_t* at = transmit->datagram.data();
    const bool in_place = at >= memory_.get() && at < memory_.get() + kSlots * kSlotBytes;
    if (in_place) {
      const auto used = static_cast<std::size_t>(at - slot.buffer.data()) + item.bytes.size();
      outbox.add(item, datagrams(slot) == 1 ? slot.buffer.subspan(used) : MutableBytes{});
    } else {
      outbox.send_now(item);
    }
  }

  Sockets sockets_;
  std::optional<Sockets> second_;
  const bool answers_stun_;
  relay::StunServer stun_;
  net::Poller poller_;
  const std::unique_ptr<std::uint8_t[]> memory_;  // kSlots buffers; never touched, never resident
  std::array<net::ReceiveSlot, kSlots> held_;     // by item
  std::array<net::ReceiveSlot, kReadMax> incoming_;
  std::vector<relay::FairQueue::Item> free_, served_;
  relay::FairQueue queue_{kSlots};
  Time served_all_{};                // nothing waited in it then
  std::uint64_t dropped_queue_ = 0;  // datagrams of parties that sent too much for all to be served
  crypto::SystemRng rng_;
  const std::unique_ptr<net::RelayOffload> offload_;  // none: everything goes by the sockets
  std::uint64_t packets_kernel_ = 0;                  // that it had forwarded when last looked at
  std::optional<relay::Server> relay_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> drain_{false}, drained_{false};
  mutable std::mutex mutex_;
  Stats stats_;
  std::optional<std::vector<crypto::VerifyKey>> grant_keys_;  // new ones
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<UdpService>> UdpService::start(Options options, const Logger& log) {
  auto sockets = Sockets::open(options.addresses, options.port);
  if (!sockets && sockets.error().os_errno == EADDRINUSE)
    return Error{Code::kConflict, format("port {} (UDP) is in use", options.port),
                 "stop what uses it, or choose another", EADDRINUSE};
  if (!sockets) return std::move(sockets).error();
  LR_ASSIGN(net::Poller poller, net::Poller::create());
  LR_TRY(sockets->watch(poller, kTagFirst));
  relay::StunServer::Options stun{sockets->port(), 0, {}};
  std::copy_if(options.addresses.begin(), options.addresses.end(), std::back_inserter(stun.addresses),
               [](const IpAddress& address) { return !address.is_unspecified(); });
  std::optional<Sockets> pair;
  if (options.stun) {
    // The next port, which is easy to open in a firewall.
    auto next = Sockets::open(options.addresses, static_cast<std::uint16_t>(stun.port + 1));
    auto second = next ? std::move(next) : Sockets::open(options.addresses, 0);
    if (second) {
      stun.second_port = second->port();
      LR_TRY(second->watch(poller, kTagSecond));
      pair.emplace(std::move(*second));
    } else {
      log.info("no second UDP port: players learn less about their routers", {{"problem", second.error().message}});
    }
  }
  std::unique_ptr<net::RelayOffload> offload;
  if (options.offload && options.relay) {
    auto loaded =
        net::RelayOffload::load({sockets->port(), options.relay->sessions_max, options.relay->bytes_per_second});
    if (loaded) LR_TRY(poller.add((*loaded)->fd(), kTagOffload));
    if (loaded) offload = std::move(*loaded);
    if (!loaded)
      log.info("the relay forwards every packet itself",
               {{"problem", loaded.error().message}, {"hint", loaded.error().hint}});
  }
  log.debug("serving UDP", {{"port", sockets->port()}, {"relay", options.relay.has_value()}});
  return std::unique_ptr<UdpService>(std::make_unique<Service>(*std::move(sockets), std::move(pair), std::move(poller),
                                                               std::move(stun), std::move(options.relay),
                                                               std::move(offload), options.stun));
}

}  // namespace lanrage::control
