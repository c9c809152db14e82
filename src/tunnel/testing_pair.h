// For tests: two devices, A and Z, each with a data plane in miniature, on a link in virtual time.
//
// A Node does with the Device what the real threads do with it: adds receive keys, switches send keys when told, queues
// packets that have no key, reports Activity. `Pair` carries datagrams with a delay and runs from deadline to deadline.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tunnel/device.h"
#include "wire/wireguard.h"

namespace lanrage::tunnel::testing {

inline constexpr std::size_t kMtu = 1420;

inline Path path_of(std::uint8_t host, std::uint16_t port = 51820) {
  return {{IpAddress::v4(192, 0, 2, host), port}, false};
}

inline crypto::PrivateKey key_of(std::uint8_t seed) {
  SeededRng rng(seed);
  return crypto::PrivateKey::generate(rng);
}

inline crypto::PresharedKey psk_of(std::uint8_t value) {
  std::array<std::uint8_t, crypto::kKeySize> raw;
  raw.fill(value);
  return crypto::PresharedKey(raw);
}

struct Datagram {
  Time arrives{};
  Path from, to;
  Bytes bytes;
};

class Node {
 public:
  Node(std::uint8_t seed, const Path& at, const DeviceOptions& options = {})
      : private_key(key_of(seed)),
        public_key(crypto::public_key(private_key)),
        address(at),
        rng(seed),
        device(options, rng, silent_logger()) {}

  void take_events(Now now, std::vector<Datagram>& out) {
    while (auto event = device.poll_event()) {
      log.push_back(*event);
      if (const auto* ready = std::get_if<SessionReady>(&*event)) {
        receive[ready->receive->local_index()] = ready->receive;
        waiting[ready->receive->local_index()] = ready->send;
        if (ready->initiator) use(now, ready->receive->local_index(), out);
      } else if (const auto* confirmed = std::get_if<SessionConfirmed>(&*event)) {
        use(now, confirmed->local_index, out);
      } else if (const auto* retired = std::get_if<SessionRetired>(&*event)) {
        receive.erase(retired->local_index);
        waiting.erase(retired->local_index);
        if (send && send->local_index() == retired->local_index) send.reset();
      } else if (std::get_if<KeepaliveDue>(&*event) && send && send->usable(now.time) &&
                 activity.last_sent != now.time) {
        seal(now, {}, out);
      } else if (std::get_if<HandshakeFailed>(&*event)) {
        staged.clear();
      }
    }
    while (auto transmit = device.poll_transmit()) {
      const auto path = transmit->path ? transmit->path : device.path(transmit->peer.value());
      transmitted.push_back(transmit->datagram);
      if (path) out.push_back({now.time, address, *path, std::move(transmit->datagram)});
    }
  }

  void send_packet(Now now, std::string_view text, std::vector<Datagram>& out) {
    if (send && send->usable(now.time)) return seal(now, as_bytes(text), out);
    staged.emplace_back(text);
    device.handle_outbound(now, peer);
  }

  void handle(Now now, const Datagram& datagram) {
    const auto data = wire::wireguard::parse_data(datagram.bytes);
    if (!data) return device.handle_packet(now, datagram.from, datagram.bytes, under_load);
    const auto key = receive.find(data->receiver);
    if (key == receive.end() || !key->second->usable(now.time)) return;
    Bytes bytes = datagram.bytes;
    const auto opened = key->second->open(bytes);
    if (!opened) return;
    activity.last_received = now.time;
    ++activity.received_packets;
    activity.received_bytes += bytes.size();
    if (opened->newest) activity.source = datagram.from;
    if (!activity.receive_index || receive.count(*activity.receive_index) == 0 ||
        receive[*activity.receive_index]->created() <= key->second->created())
      activity.receive_index = key->first;
    if (!opened->plain.empty()) {
      activity.last_data_received = now.time;
      std::string text(as_text(opened->plain));
      received.push_back(text.substr(0, text.find('\0')));
    } else {
      ++keepalives;
    }
    device.handle_activity(now, peer, activity);
  }

  template <class T>
  std::size_t count() const {
    return static_cast<std::size_t>(
        std::count_if(log.begin(), log.end(), [](const Event& e) { return std::holds_alternative<T>(e); }));
  }
  std::uint64_t dropped(Drop reason) const { return device.stats().dropped[static_cast<std::size_t>(reason)]; }

  const crypto::PrivateKey private_key;
  const crypto::PublicKey public_key;
  crypto::PublicKey peer;
  Path address;
  SeededRng rng;
  Device device;
  bool under_load = false;
  Duration wall_offset{0};

  std::shared_ptr<SendKey> send;
  std::map<std::uint32_t, std::shared_ptr<SendKey>> waiting;
  std::map<std::uint32_t, std::shared_ptr<ReceiveKey>> receive;
  Activity activity;
  std::deque<std::string> staged;
  std::vector<std::string> received;
  std::size_t keepalives = 0;
  std::vector<Event> log;
  std::vector<Bytes> transmitted;  // handshake messages, in order

 private:
  void use(Now now, std::uint32_t local_index, std::vector<Datagram>& out) {
    send = waiting.at(local_index);
    for (; !staged.empty(); staged.pop_front()) seal(now, as_bytes(staged.front()), out);
  }

  void seal(Now now, ByteView plain, std::vector<Datagram>& out) {
    Bytes bytes(plain.size() + wire::wireguard::kPadding + kDataOverhead);
    const std::size_t size = send->seal(plain, bytes, kMtu);
    if (size == 0) return;
    bytes.resize(size);
    activity.last_sent = now.time;
    if (!plain.empty()) activity.last_data_sent = now.time;
    activity.send_counter = send->counter();
    ++activity.sent_packets;
    activity.sent_bytes += size;
    if (const auto path = device.path(peer)) out.push_back({now.time, address, *path, std::move(bytes)});
    device.handle_activity(now, peer, activity);
  }
};

class Pair {
 public:
  explicit Pair(const DeviceOptions& a_options = {}, const DeviceOptions& z_options = {})
      : a(1, path_of(1), a_options), z(2, path_of(2), z_options) {
    a.peer = z.public_key;
    z.peer = a.public_key;
    a.device.set_private_key(now(a), a.private_key);
    z.device.set_private_key(now(z), z.private_key);
  }

  // A pair that knows each other, with equal options but for the paths.
  void introduce(PeerOptions a_options = {}, PeerOptions z_options = {}) {
    a_options.path = z.address;
    z_options.path = a.address;
    LR_CHECK(a.device.add_peer(now(a), a.peer, a_options));
    LR_CHECK(z.device.add_peer(now(z), z.peer, z_options));
    pump();
  }

  Now now(const Node& node) const {
    return {time, WallTime{std::chrono::hours{500'000}} + time.time_since_epoch() + node.wall_offset};
  }
  Node& other(const Node& node) { return &node == &a ? z : a; }

  void send(Node& from, std::string_view text) {
    std::vector<Datagram> out;
    from.send_packet(now(from), text, out);
    post(std::move(out));
    pump();
  }

  // Lets `duration` pass: every datagram arrives, every timer runs at its time.
  void run_for(Duration duration) {
    const Time end = time + duration;
    pump();
    for (;;) {
      Time next = end;
      if (!wire.empty()) next = std::min(next, wire.front().arrives);
      for (Node* node : {&a, &z})
        if (const auto timeout = node->device.next_timeout()) next = std::min(next, *timeout);
      time = std::max(time, next);
      if (time >= end && (wire.empty() || wire.front().arrives > end) && !timer_due()) break;
      step();
    }
  }

  // Runs until `done` or `limit` has passed; answers how long it took.
  template <class F>
  std::optional<Duration> run_until(F done, Duration limit) {
    const Time start = time;
    while (!done()) {
      if (time - start >= limit) return std::nullopt;
      run_for(std::chrono::milliseconds{1});
    }
    return time - start;
  }

  void pump() {
    for (Node* node : {&a, &z}) {
      std::vector<Datagram> out;
      node->take_events(now(*node), out);
      post(std::move(out));
    }
  }

  bool connected() const {
    return a.device.status(now(a), a.peer)->connected && z.device.status(now(z), z.peer)->connected;
  }

  Time time{std::chrono::seconds{1000}};
  Duration latency = std::chrono::milliseconds{10};
  // Sees every datagram before it is on the wire and may change it; false loses it.
  std::function<bool(Datagram&)> filter = [](Datagram&) { return true; };
  std::vector<Datagram> sent;  // everything that was put on the wire
  std::deque<Datagram> wire;
  Node a, z;

 private:
  bool timer_due() const {
    for (const Node* node : {&a, &z})
      if (const auto timeout = node->device.next_timeout(); timeout && *timeout <= time) return true;
    return false;
  }

  void step() {
    while (!wire.empty() && wire.front().arrives <= time) {
      const Datagram datagram = std::move(wire.front());
      wire.pop_front();
      for (Node* node : {&a, &z})
        if (node->address == datagram.to) node->handle(now(*node), datagram);
      pump();
    }
    for (Node* node : {&a, &z}) {
      node->device.handle_timeout(now(*node));
      LR_CHECK(node->device.is_consistent());
    }
    pump();
  }

  void post(std::vector<Datagram> out) {
    for (Datagram& datagram : out) {
      if (!filter(datagram)) continue;
      datagram.arrives = time + latency;
      sent.push_back(datagram);
      wire.push_back(std::move(datagram));
    }
  }
};

}  // namespace lanrage::tunnel::testing
