#include "dataplane/tx_thread.h"

#include <pthread.h>

#include <algorithm>

#include "net/clock.h"

namespace lanrage::dataplane {

using Action = node::OutboundVerdict::Action;

DataPlane::TxThread::TxThread(DataPlane& plane, net::Poller poller)
    : plane_(plane), poller_(std::move(poller)), forwarding_(plane.forwarding_), batch_(plane.sockets_) {}

DataPlane::TxThread::~TxThread() { stop(); }

void DataPlane::TxThread::start() {
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "lanrage-tx");
}

void DataPlane::TxThread::stop() {
  wake();
  if (thread_.joinable()) thread_.join();
}

void DataPlane::TxThread::run() {
  raise_priority();
  while (!plane_.stopping_.load(std::memory_order_acquire)) {
    const auto ready = poller_.wait(now_, kNever);
    now_ = net::now().time;
    refresh();
    bool adapter_ready = false;
    for (const net::Ready& one : ready) {
      if (one.tag == kClearTag) drain_clear();
      if (one.tag == kAdapterTag) adapter_ready = true;
    }
    if (adapter_ready) drain_adapter();
    flush();
    if (outbound_.take_begun()) plane_.queues_->attention.signal();
    store_stats();
  }
}

void DataPlane::TxThread::refresh() {
  std::shared_ptr<const ExtraSockets> extra;
  const auto take = [&] {
    staged_.swap(plane_.staged_);
    extra = plane_.extra_;
  };
  if (!forwarding_.refresh(take)) return;
  batch_.set_extra(std::move(extra));
  for (const ClearPacket& packet : staged_) handle_clear(packet);
  staged_.clear();
}

void DataPlane::TxThread::drain_clear() {
  plane_.queues_->clear.drain(clear_);
  for (const ClearPacket& packet : clear_) handle_clear(packet);
}

void DataPlane::TxThread::drain_adapter() {
  for (int reads = 0; reads < kReadsMax; ++reads) {
    const tun::ReadResult result = plane_.adapter_.read(std::span(buffer_.get(), 1));
    if (result.status == tun::IoStatus::kClosed) {
      poller_.remove(plane_.adapter_.fd());
      plane_.note_adapter_closed();
      return;
    }
    if (result.count == 0) return;
    handle_frame(*buffer_);
    // What woke us goes at once; only what came meanwhile is worth a batch.
    if (reads == 0) flush();
  }
}

void DataPlane::TxThread::handle_frame(tun::ReadBuffer& buffer) {
  ++stats_.frames;
  const node::OutboundVerdict verdict = outbound_.judge(*forwarding_, now_, buffer.packet());
  if (verdict.action == Action::kDrop) return;
  // A game packet does not wait while a superframe is sealed.
  if (verdict.lane == node::Lane::kBulk && batch_has_game_) flush();
  auto segmenter = tun::Segmenter::start(buffer.vnet, buffer.packet());
  if (!segmenter) return outbound_.note_drop(node::OutboundDrop::kMalformed);
  if (verdict.action == Action::kGroup) {
    for (MutableBytes packet = segmenter->next(); !packet.empty(); packet = segmenter->next())
      wait_for_control({}, true, packet);
    return;
  }
  const node::Peer& peer = *forwarding_->peer(verdict.slot);
  for (MutableBytes packet = segmenter->next(); !packet.empty(); packet = segmenter->next()) {
    if (verdict.translate) node::Outbound::translate(*forwarding_, packet);
    if (verdict.action == Action::kSeal)
      seal(verdict.slot, peer, verdict.lane, packet);
    else
      wait_for_control(peer.key, false, packet);
  }
  batch_has_game_ = batch_has_game_ || verdict.lane == node::Lane::kGame;
}

void DataPlane::TxThread::handle_clear(const ClearPacket& clear) {
  const node::Peer* peer = forwarding_->peer_of(clear.peer, clear.slot);
  if (peer == nullptr || peer->path_count == 0) return outbound_.note_drop(node::OutboundDrop::kNoPath);
  if (peer->send && peer->send->usable(now_))
    seal(clear.slot, *peer, clear.lane, clear.packet);
  else if (!clear.packet.empty())
    wait_for_control(peer->key, false, clear.packet);
}

void DataPlane::TxThread::seal(std::uint32_t slot, const node::Peer& peer, node::Lane lane, ByteView packet) {
  if (!node::Outbound::needs_cut(peer, packet)) {
    const std::size_t size = outbound_.seal(peer, now_, packet, batch_.room());
    if (size == 0) return wait_for_control(peer.key, false, packet);
    return commit(slot, peer, lane, size);
  }
  const auto sizes = outbound_.seal_cut(peer, now_, packet, {batch_.room(), second_half_});
  if (sizes[0] == 0) return;
  commit(slot, peer, lane, sizes[0]);
  std::copy_n(second_half_.begin(), sizes[1], batch_.room().begin());
  commit(slot, peer, lane, sizes[1]);
}

void DataPlane::TxThread::commit(std::uint32_t slot, const node::Peer& peer, node::Lane lane, std::size_t size) {
  ++stats_.packets;
  const std::span<const Path> way = peer.way(lane);
  if (way.size() > 1) peer.state->counters.note_copy(size);
  if (batch_.add(slot, way, size)) flush();
}

void DataPlane::TxThread::wait_for_control(const crypto::PublicKey& peer, bool group, ByteView packet) {
  if (!plane_.queues_->waiting.push({peer, group, to_bytes(packet)}))
    outbound_.note_drop(node::OutboundDrop::kQueueFull);
}

void DataPlane::TxThread::flush() {
  if (!batch_.empty()) batch_.flush();
  batch_has_game_ = false;
}

void DataPlane::TxThread::store_stats() {
  const SealedBatch::Totals& totals = batch_.totals();
  stats_.sends = totals.sends;
  stats_.datagrams = totals.datagrams;
  stats_.congested = totals.congested;
  stats_.too_big = totals.too_big;
  stats_.failed = totals.failed;
  stats_.dropped = outbound_.dropped();
  plane_.tx_stats_.store(stats_);
}

}  // namespace lanrage::dataplane
