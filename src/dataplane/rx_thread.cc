#include "dataplane/rx_thread.h"

#include <pthread.h>

#include <algorithm>

#include "net/clock.h"
#include "wire/wireguard.h"

namespace lanrage::dataplane {

namespace wg = wire::wireguard;
using Action = node::InboundVerdict::Action;

DataPlane::RxThread::RxThread(DataPlane& plane, net::Poller poller)
    : plane_(plane),
      poller_(std::move(poller)),
      forwarding_(plane.forwarding_),
      writer_(plane.adapter_, {.tcp = true, .udp = true, .verify = plane.options_.verify_checksums}),
      memory_(new std::uint8_t[kBufferBytes]),
      coalesced_(kBufferBytes / kCoalescedBytes),
      singles_(std::min(kBufferBytes / kSingleBytes, net::UdpSocket::kBatchMax)) {
  for (std::size_t i = 0; i < coalesced_.size(); ++i)
    coalesced_[i].buffer = MutableBytes(memory_.get() + i * kCoalescedBytes, kCoalescedBytes);
  for (std::size_t i = 0; i < singles_.size(); ++i)
    singles_[i].buffer = MutableBytes(memory_.get() + i * kSingleBytes, kSingleBytes);
}

DataPlane::RxThread::~RxThread() { stop(); }

void DataPlane::RxThread::start() {
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "lanrage-rx");
}

void DataPlane::RxThread::stop() {
  wake();
  if (thread_.joinable()) thread_.join();
}

void DataPlane::RxThread::run() {
  raise_priority();
  refresh();
  while (!plane_.stopping_.load(std::memory_order_acquire)) {
    const auto ready = poller_.wait(now_, kNever);
    now_ = net::now().time;
    std::shared_ptr<const ExtraSockets> extra;
    if (forwarding_.refresh([&] { extra = plane_.extra_; })) {
      refresh();
      if (extra != extra_) use_extra(std::move(extra));
    }
    for (const net::Ready& one : ready) {
      if (one.tag == kV4Tag) receive(*plane_.sockets_.v4(), 0);
      if (one.tag == kV6Tag) receive(*plane_.sockets_.v6(), 0);
      if (one.tag < kExtraTag || one.tag == net::Poller::kWakeTag) continue;
      const auto number = static_cast<std::uint16_t>(one.tag - kExtraTag);
      if (const auto socket = extra_->find(number); socket != extra_->end()) receive(*socket->second, number);
    }
    store_stats();
  }
}

void DataPlane::RxThread::refresh() {
  if (identity_ == forwarding_->identity) return;
  identity_ = forwarding_->identity;
  door_.reset();
  if (identity_) door_.emplace(*identity_, rng_);
}

void DataPlane::RxThread::use_extra(std::shared_ptr<const ExtraSockets> extra) {
  if (!extra) extra = std::make_shared<ExtraSockets>();
  for (const auto& [number, socket] : *extra_)
    if (!extra->contains(number)) poller_.remove(socket->fd());
  for (const auto& [number, socket] : *extra) {
    if (extra_->contains(number)) continue;
    // What comes to it is not seen then, as if its NAT let nothing in.
    if (auto added = poller_.add(socket->fd(), kExtraTag + number); !added)
      plane_.log_.debug("a socket cannot be watched", {{"problem", added.error().message}});
  }
  extra_ = std::move(extra);
}

void DataPlane::RxThread::receive(net::UdpSocket& socket, std::uint16_t number) {
  const std::span<net::ReceiveSlot> slots = socket.coalesces() ? coalesced_ : singles_;
  for (int round = 0; round < kRoundsMax; ++round) {
    const std::size_t count = socket.receive(slots);
    for (const net::ReceiveSlot& slot : slots.first(count)) {
      ++stats_.batches;
      if (slot.truncated) continue;
      const Path from = forwarding_->path_from(slot.source, number);
      net::for_each_datagram(slot, [&](MutableBytes datagram) { handle_datagram(from, datagram); });
    }
    flush();
    if (count < slots.size()) return;
  }
}

void DataPlane::RxThread::handle_datagram(const Path& from, MutableBytes datagram) {
  ++stats_.datagrams;
  const wire::Protocol protocol = wire::protocol_of(datagram);
  if (protocol == wire::Protocol::kWireGuard) {
    if (datagram[0] == static_cast<std::uint8_t>(wg::Type::kData)) return handle_data(from, datagram);
    return handle_handshake(from, datagram);
  }
  if (protocol == wire::Protocol::kUnknown || !plane_.options_.other_protocols) {
    ++stats_.unknown;
    return;
  }
  plane_.queues_->messages.push({protocol, from, to_bytes(datagram)});
}

void DataPlane::RxThread::handle_handshake(const Path& from, ByteView datagram) {
  const auto type = wg::parse_type(datagram);
  if (!type) {
    ++stats_.unknown;
    return;
  }
  net::Queue<ReceivedHandshake>& queue = plane_.queues_->handshakes;
  if (*type == wg::Type::kCookieReply) {
    // Only control can tell whether we asked for it: no source may send many, and together they never fill the queue.
    if (queue.size() >= tunnel::LoadDetector::kQueuedMax || !cookie_reply_limiter_.allow(now_, from.endpoint.address)) {
      ++stats_.limited;
      return;
    }
  } else {
    const auto verdict = door_ ? door_->check(now_, from, datagram) : tunnel::CookieChecker::Verdict::kInvalid;
    if (verdict == tunnel::CookieChecker::Verdict::kInvalid) {
      ++stats_.bad_mac;
      return;
    }
    if (load_.note(now_, queue.size())) {
      const IpAddress& source = from.endpoint.address;
      const bool has_cookie = verdict == tunnel::CookieChecker::Verdict::kValidCookie;
      if (!has_cookie && !newcomers_.admit(now_, source)) {
        ++stats_.cookies;
        cookies_.emplace_back(from, door_->make_reply(now_, from, datagram));
        if (cookies_.size() == net::UdpSocket::kBatchMax) send_cookies();
        return;
      }
      if (has_cookie && !limiter_.allow(now_, source)) {
        ++stats_.limited;
        return;
      }
    }
  }
  queue.push({from, to_bytes(datagram)});
}

void DataPlane::RxThread::handle_data(const Path& from, MutableBytes datagram) {
  const node::InboundVerdict verdict = inbound_.handle_datagram(*forwarding_, now_, from, datagram);
  if (verdict.first || verdict.moved) plane_.queues_->attention.signal();
  switch (verdict.action) {
    case Action::kNothing:
    case Action::kDrop:
      return;
    case Action::kDeliver:
      return deliver(verdict);
    case Action::kForward: {
      const crypto::PublicKey& target = forwarding_->peer(verdict.forward_slot)->key;
      if (!plane_.queues_->clear.push({target, verdict.forward_slot, to_bytes(verdict.packet), verdict.lane}))
        inbound_.note_drop(node::InboundDrop::kQueueFull);
      return;
    }
    case Action::kFrame:
    case Action::kGroup: {
      const crypto::PublicKey& peer = forwarding_->peer(verdict.slot)->key;
      if (!plane_.queues_->frames.push({peer, verdict.action == Action::kGroup, to_bytes(verdict.packet)}))
        inbound_.note_drop(node::InboundDrop::kQueueFull);
      return;
    }
  }
}

void DataPlane::RxThread::deliver(const node::InboundVerdict& verdict) {
  ByteView packet = verdict.packet;
  if (verdict.reassembled) {
    if (reassembled_.empty()) reassembled_.resize(kReassembledMax);
    if (reassembled_used_ == kReassembledMax) flush();
    auto& place = reassembled_[reassembled_used_++];
    std::copy(packet.begin(), packet.end(), place.begin());
    packet = ByteView(place).first(packet.size());
  }
  ++stats_.delivered;
  writer_.add(packet, verdict.lane == node::Lane::kBulk);
}

void DataPlane::RxThread::flush() {
  if (writer_.flush() == tun::IoStatus::kClosed) plane_.note_adapter_closed();
  reassembled_used_ = 0;
  if (!cookies_.empty()) send_cookies();
}

void DataPlane::RxThread::send_cookies() {
  std::array<net::SendItem, net::UdpSocket::kBatchMax> items;
  std::size_t count = 0;
  for (const auto& [to, reply] : cookies_) {
    items[count] = {};
    items[count].destination = to.endpoint;
    items[count].bytes = reply;
    if (to.socket == 0)
      ++count;
    else if (net::UdpSocket* socket = socket_of(to, plane_.sockets_, *extra_))
      socket->send(items[count]);
  }
  plane_.sockets_.send(std::span(items).first(count));
  cookies_.clear();
}

void DataPlane::RxThread::store_stats() {
  const tun::Writer::Stats& written = writer_.stats();
  stats_.frames = written.frames;
  stats_.frames_lost = written.dropped;
  stats_.refused_merges = written.refused;
  stats_.overflows = 0;
  if (plane_.sockets_.v4() != nullptr) stats_.overflows += plane_.sockets_.v4()->overflows();
  if (plane_.sockets_.v6() != nullptr) stats_.overflows += plane_.sockets_.v6()->overflows();
  stats_.dropped = inbound_.dropped();
  plane_.rx_stats_.store(stats_);
}

}  // namespace lanrage::dataplane
