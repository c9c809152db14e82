#include "node/forwarding.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace lanrage::node {
namespace {

constexpr std::uint64_t kHasIndex = std::uint64_t{1} << 32;

// A path as three words: 16 bytes of address, then port, family, kind and socket.
constexpr std::uint64_t kV6 = 1 << 16;
constexpr std::uint64_t kRelayed = 1 << 17;
constexpr int kSocketShift = 18;

std::array<std::uint64_t, 3> pack(const Path& path) {
  std::array<std::uint8_t, 16> raw{};
  const ByteView bytes = path.endpoint.address.bytes();
  std::copy(bytes.begin(), bytes.end(), raw.begin());
  return {load_be<std::uint64_t>(raw.data()), load_be<std::uint64_t>(raw.data() + 8),
          path.endpoint.port | (path.endpoint.address.is_v6() ? kV6 : 0) | (path.relayed ? kRelayed : 0) |
              std::uint64_t{path.socket} << kSocketShift};
}

Path unpack(const std::array<std::uint64_t, 3>& words) {
  std::array<std::uint8_t, 16> raw;
  store_be(raw.data(), words[0]);
  store_be(raw.data() + 8, words[1]);
  Path path;
  path.endpoint.address =
      (words[2] & kV6) != 0 ? IpAddress::v6(raw) : IpAddress::v4(load_be<std::uint32_t>(raw.data()));
  path.endpoint.port = static_cast<std::uint16_t>(words[2]);
  path.relayed = (words[2] & kRelayed) != 0;
  path.socket = static_cast<std::uint16_t>(words[2] >> kSocketShift);
  return path;
}

Time time_of(const std::atomic<std::int64_t>& nanoseconds) {
  return Time{Duration{nanoseconds.load(std::memory_order_relaxed)}};
}

}  // namespace

void PeerCounters::note_sent(Time now, std::size_t datagram_bytes, std::uint64_t send_counter, bool empty) {
  const std::int64_t when = now.time_since_epoch().count();
  last_sent_.store(when, std::memory_order_relaxed);
  if (!empty) last_data_sent_.store(when, std::memory_order_relaxed);
  send_counter_.store(send_counter, std::memory_order_relaxed);
  add(sent_packets_, 1);
  add(sent_bytes_, datagram_bytes);
}

void PeerCounters::note_copy(std::size_t datagram_bytes) {
  add(copied_packets_, 1);
  add(copied_bytes_, datagram_bytes);
}

PeerCounters::Copies PeerCounters::copies() const {
  return {copied_packets_.load(std::memory_order_relaxed), copied_bytes_.load(std::memory_order_relaxed)};
}

void PeerCounters::note_received(Time now, std::size_t datagram_bytes, std::uint32_t receive_index, bool empty) {
  const std::int64_t when = now.time_since_epoch().count();
  last_received_.store(when, std::memory_order_relaxed);
  if (!empty) last_data_received_.store(when, std::memory_order_relaxed);
  receive_index_.store(kHasIndex | receive_index, std::memory_order_relaxed);
  add(received_packets_, 1);
  add(received_bytes_, datagram_bytes);
}

void PeerCounters::note_source(const Path& source) {
  const auto words = pack(source);
  const std::uint64_t version = source_version_.load(std::memory_order_relaxed);
  source_version_.store(version + 1, std::memory_order_relaxed);
  // Whoever sees one of these words sees the odd version too.
  for (std::size_t i = 0; i < words.size(); ++i) source_[i].store(words[i], std::memory_order_release);
  source_version_.store(version + 2, std::memory_order_release);
}

tunnel::Activity PeerCounters::read() const {
  tunnel::Activity activity;
  activity.last_sent = time_of(last_sent_);
  activity.last_data_sent = time_of(last_data_sent_);
  activity.last_received = time_of(last_received_);
  activity.last_data_received = time_of(last_data_received_);
  activity.send_counter = send_counter_.load(std::memory_order_relaxed);
  activity.sent_packets = sent_packets_.load(std::memory_order_relaxed);
  activity.sent_bytes = sent_bytes_.load(std::memory_order_relaxed);
  activity.received_packets = received_packets_.load(std::memory_order_relaxed);
  activity.received_bytes = received_bytes_.load(std::memory_order_relaxed);
  const std::uint64_t index = receive_index_.load(std::memory_order_relaxed);
  if ((index & kHasIndex) != 0) activity.receive_index = static_cast<std::uint32_t>(index);
  for (;;) {
    const std::uint64_t before = source_version_.load(std::memory_order_acquire);
    if (before == 0) break;
    std::array<std::uint64_t, 3> words;
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = source_[i].load(std::memory_order_acquire);
    if (before % 2 == 0 && source_version_.load(std::memory_order_relaxed) == before) {
      activity.source = unpack(words);
      break;
    }
  }
  return activity;
}

bool PeerState::Rx::follow(Time now, const Path& from) {
  if (source == from) {
    source_heard = now;
    return false;
  }
  const bool is_second = second_source == from && now - std::exchange(second_heard, now) < kCopyLead;
  if (is_second && now - source_heard < kCopyLead) return false;
  second_source = std::exchange(source, from);
  second_heard = std::exchange(source_heard, now);
  return true;
}

SessionTable::SessionTable(std::vector<Session> sessions) : sessions_(std::move(sessions)) {
  if (sessions_.empty()) return;
  places_.resize(std::bit_ceil(sessions_.size() * 2));
  for (std::size_t i = 0; i < sessions_.size(); ++i) {
    const std::uint32_t index = sessions_[i].key->local_index();
    std::size_t at = place(index);
    while (places_[at].session != 0) at = (at + 1) & (places_.size() - 1);
    places_[at] = {index, static_cast<std::uint32_t>(i + 1)};
  }
}

bool Forwarding::is_group(const IpAddress& destination) const {
  return destination.is_multicast() || destination.is_limited_broadcast() ||
         std::find(broadcasts.begin(), broadcasts.end(), destination) != broadcasts.end();
}

bool Forwarding::is_own(const IpAddress& destination) const {
  return std::find(own.begin(), own.end(), destination) != own.end();
}

Path Forwarding::path_from(const Endpoint& source, std::uint16_t socket) const {
  return {source, std::find(relays.begin(), relays.end(), source) != relays.end(), socket};
}

}  // namespace lanrage::node
