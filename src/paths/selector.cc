#include "paths/selector.h"

#include <algorithm>

#include "base/check.h"

namespace lanrage::paths {
namespace {

constexpr int kFollowedBurst = 5;  // pings to where authenticated data of the peer came from

}  // namespace

Selector::Selector(const SelectorOptions& options, Rng& rng)
    : options_(options), rng_(rng), guess_first_(rng.u64()), guess_next_(guess_first_) {
  entries_.reserve(kPathsMax);
}

void Selector::set_keys(const std::vector<ProbeKey>& keys) {
  std::optional<std::size_t> confirmed;
  const std::size_t count = std::min(keys.size(), kProbeKeysMax);
  for (std::size_t i = 0; confirmed_key_ && i < count; ++i) {
    if (crypto::secure_equal(keys[i].bytes(), keys_[*confirmed_key_].bytes())) confirmed = i;
  }
  confirmed_key_ = confirmed;
  keys_.assign(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(count));
  receive_tags_.clear();
  send_tags_.clear();
  for (const ProbeKey& key : keys_) {
    receive_tags_.push_back(wire::probe_tag(key.bytes(), options_.peer));
    send_tags_.push_back(wire::probe_tag(key.bytes(), options_.self));
  }
}

std::vector<std::uint64_t> Selector::receive_tags() const { return receive_tags_; }

void Selector::start(Time now) {
  probing_since_ = now;
  signal(now, true, true);
  pursue(now);
}

void Selector::restart(Time now) {
  for (WatchedPath& entry : entries_) entry.hold = {};
  start(now);
}

void Selector::set_relays(Time now, const std::vector<Path>& relays) {
  const auto is_named = [&](const Path& path) { return std::find(relays.begin(), relays.end(), path) != relays.end(); };
  for (WatchedPath& entry : entries_) {
    if (entry.path.relayed) entry.signalled = is_named(entry.path);
  }
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(),
                                [](const WatchedPath& entry) { return entry.path.relayed && !entry.signalled; }),
                 entries_.end());
  int order = 0;
  for (const Path& path : relays) {
    if (!path.relayed) continue;
    WatchedPath* entry = find(path);
    if (entry == nullptr) {
      entry = add(now, path, CandidateKind::kHost);
      if (entry == nullptr) break;
      entry->signalled = true;
      entry->begin_burst(now, kBurstPings);
    }
    entry->order = order++;
  }
  choose(now);
  update_state(now);
}

void Selector::set_local(const NatReport& report, const std::vector<Candidate>& candidates) {
  local_ = report;
  local_candidates_ = candidates;
}

void Selector::handle_signal(Time now, const wire::PeerSignal& message) {
  const bool is_new_instance = peer_signal_instance_ != message.instance;
  peer_signal_instance_ = message.instance;
  remote_ = message;
  for (WatchedPath& entry : entries_) {
    if (!entry.path.relayed) entry.signalled = false;
  }
  bool found_new = false;
  for (const Candidate& candidate : message.candidates) {
    if (!is_probeable(candidate.endpoint, options_.allow_loopback)) continue;
    const Candidate own{CandidateKind::kHost, candidate.endpoint};
    if (std::find(local_candidates_.begin(), local_candidates_.end(), own) != local_candidates_.end()) continue;
    const Path path{candidate.endpoint, false};
    WatchedPath* entry = find(path);
    if (entry == nullptr) {
      entry = add(now, path, candidate.kind);
      if (entry == nullptr) break;
      entry->begin_burst(now, kBurstPings);
      found_new = true;
    }
    entry->kind = candidate.kind;
    entry->signalled = true;
  }
  forget_stale();
  if (found_new || is_new_instance) retry_gap_ = kRetryFirst;
  if (message.call_me_now || is_new_instance) {
    pursue(now);
    signal(now, false, is_new_instance);
  } else {
    choose(now);
    update_state(now);
  }
}

void Selector::handle_packet(Time now, const Path& path, ByteView datagram) {
  const auto tag = wire::probe_tag_of(datagram);
  const auto known = tag ? std::find(receive_tags_.begin(), receive_tags_.end(), *tag) : receive_tags_.end();
  if (known == receive_tags_.end()) {
    ++stats_.dropped_unauthenticated;
    return;
  }
  const auto key = static_cast<std::size_t>(known - receive_tags_.begin());
  const auto probe = wire::open_probe(datagram, keys_[key].bytes());
  if (!probe) {
    ++stats_.dropped_unauthenticated;
    return;
  }
  if (probe->pong) {
    handle_pong(now, path, *probe);
    if (!confirmed_key_ || key < *confirmed_key_) confirmed_key_ = key;
  } else {
    handle_ping(now, path, *probe, key);
  }
  update_state(now);
}

void Selector::handle_ping(Time now, const Path& path, const wire::Probe& probe, std::size_t key) {
  ++stats_.pings_received;
  WatchedPath* entry = find(path);
  if (entry == nullptr && !path.relayed && is_probeable(path.endpoint, options_.allow_loopback)) {
    entry = add(now, path, CandidateKind::kPeerReflexive);
  }
  wire::Probe pong{.pong = true,
                   .tag = send_tags_[key],
                   .transaction = probe.transaction,
                   .instance = options_.instance,
                   .selected = selected_ == path};
  if (!path.relayed) pong.observed = path.endpoint;
  push(path, wire::write_probe(pong, keys_[key].bytes()));
  ++stats_.pongs_sent;
  if (entry == nullptr) return;
  entry->heard = now;
  entry->absent = false;
  entry->followed = probe.selected;
  entry->peer_rtt_us = probe.rtt_us;
  entry->peer_loss_percent = probe.loss_percent;
  if (probe.rate_kbps > 0 && entry->valid && selected_ == path)
    entry->note_rate(now, probe.rate_kbps / 1000.0, probe.full);
  if (probe.deaf && selected_ == path) doubt(now, *entry);
  // A ping could be a recording: only the answer to a ping of ours proves the path, or that the peer restarted. A
  // handshake now and then for nothing costs less than a round trip of packets that a restarted peer cannot open.
  const bool is_restart = peer_instance_ && *peer_instance_ != probe.instance;
  if (is_restart && former_instance_ != probe.instance && now - restart_told_ >= kRestartGap) {
    restart_told_ = now;
    emit(Event::Kind::kPeerRestarted);
  }
  if ((!entry->valid || is_restart) && now - entry->pinged >= kTriggerGap) ping(now, *entry);
}

void Selector::handle_pong(Time now, const Path& path, const wire::Probe& probe) {
  WatchedPath* entry = find(path);
  const bool is_hit = entry == nullptr && probe.transaction - guess_first_ < guess_next_ - guess_first_;
  if (is_hit && !path.relayed && is_probeable(path.endpoint, options_.allow_loopback)) {
    // It could be a recording, sent from elsewhere: it only makes us look there, and once.
    guess_first_ = probe.transaction + 1;
    entry = add(now, path, CandidateKind::kPeerReflexive);
    if (entry != nullptr) entry->begin_burst(now, kFollowedBurst);
    return;
  }
  const bool is_late = former_instance_ == probe.instance;  // sent before the peer restarted
  if (entry == nullptr || is_late || !entry->take_answer(now, probe.transaction)) {
    ++stats_.dropped_stale;
    return;
  }
  ++stats_.pongs_received;
  const bool was_valid = entry->valid;
  entry->valid = true;
  if (!was_valid) entry->healed = now;
  entry->absent = false;
  entry->misses = 0;
  entry->burst_left = 0;
  entry->heard = now;
  const bool is_restart = peer_instance_ && *peer_instance_ != probe.instance;
  if (is_restart) {
    former_instance_ = peer_instance_;
    forget_proofs(*entry);
  }
  peer_instance_ = probe.instance;
  choose(now, entry->followed && !was_valid ? entry : nullptr);
  schedule_watch(now, *entry);
  if (selected_ == path) review(now, *entry);
  if (!is_restart) return;
  emit(Event::Kind::kPeerRestarted);
  pursue(now);
}

void Selector::handle_received(Time now, const Path& path, Time at) {
  WatchedPath* entry = find(path);
  const bool is_new = entry == nullptr;
  if (is_new && !path.relayed && is_probeable(path.endpoint, options_.allow_loopback)) {
    entry = add(now, path, CandidateKind::kPeerReflexive);
  }
  if (entry != nullptr) {
    entry->heard = std::max(entry->heard, at);
    entry->absent = false;
    WatchedPath* current = chosen();
    if (current != nullptr && current != entry && current->valid && at > current->heard + kWatch) doubt(now, *current);
    if (!entry->valid) {
      entry->followed = true;
      if (is_new) entry->begin_burst(now, kFollowedBurst);
      if (!is_new && now - entry->pinged >= kBurstAgain) ping(now, *entry);
    }
  }
}

void Selector::handle_traffic(Time now) {
  const bool was_active = is_active(now);
  active_until_ = now + kActiveFor;
  if (was_active) return;
  for (WatchedPath& entry : entries_) {
    if (entry.burst_left > 0) continue;
    if (entry.valid)
      schedule_watch(now, entry);
    else if (entry.next_ping != kNever)
      entry.next_ping = std::min(entry.next_ping, entry.pinged + kHealProbe);
  }
}

// Its word could be a recording: it only makes us look.
void Selector::doubt(Time now, WatchedPath& entry) {
  entry.doubted = now;
  if (entry.valid && now - entry.pinged >= kTriggerGap) ping(now, entry);
}

// Its word could be forged: it only makes us look, at most once in kDoubt.
void Selector::handle_unreachable(Time now, const Endpoint& endpoint, std::uint16_t socket) {
  for (WatchedPath& entry : entries_) {
    if (!entry.may_be_refused(now, endpoint, socket)) continue;
    entry.refused = now;
    ping(now, entry);
  }
}

bool Selector::would_ask(Time now, const Endpoint& endpoint, std::uint16_t socket) const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const WatchedPath& entry) { return entry.may_be_refused(now, endpoint, socket); });
}

void Selector::handle_relay_absent(Time now, const Path& relay) {
  WatchedPath* entry = find(relay);
  if (entry == nullptr || !relay.relayed) return;
  entry->absent = true;
  // Nobody vouches for this message: it only makes us look at once.
  if (entry->valid && now - entry->pinged >= kPongWaitMin) ping(now, *entry);
  choose(now);
  update_state(now);
}

void Selector::handle_timeout(Time now) {
  for (WatchedPath& entry : entries_) expire_pings(now, entry);
  for (WatchedPath& entry : entries_) {
    if (entry.next_ping > now) continue;
    const bool is_watched = selected_ == entry.path && entry.valid && entry.burst_left == 0 && is_active(now);
    if (is_watched) schedule_watch(now, entry);  // it may have been heard since
    if (entry.next_ping > now) continue;
    ping(now, entry);
    if (entry.continue_burst(now)) continue;
    if (entry.valid) {
      schedule_watch(now, entry);
    } else {
      const Duration gap = is_active(now) ? kHealProbe : kLostProbe;
      entry.next_ping = entry.lost != Time{} && now < entry.lost + kLostFor ? now + spread(gap) : kNever;
    }
  }
  if (signal_at_ <= now) signal(now, signal_call_me_now_, true);
  if (retry_at_ <= now) {
    retry_gap_ = std::min(kRetryMax, retry_gap_ * 2);
    signal(now, true, false);
    pursue(now);
  }
  choose(now);
  update_state(now);
  LR_DCHECK(is_consistent());
}

std::optional<Time> Selector::next_timeout() const {
  Time next = std::min(retry_at_, signal_at_);
  for (const WatchedPath& entry : entries_) {
    next = std::min(next, entry.next_ping);
    for (const WatchedPath::Ping& flying : entry.in_flight) {
      if (flying.transaction != 0) next = std::min(next, flying.deadline);
    }
  }
  if (state_ == PeerState::kConnecting) next = std::min(next, probing_since_ + kConnectTime);
  if (next == kNever) return std::nullopt;
  return next;
}

std::optional<Selector::Transmit> Selector::poll_transmit() {
  if (transmits_.empty()) return std::nullopt;
  Transmit transmit = transmits_.front();
  transmits_.pop_front();
  return transmit;
}

std::optional<Selector::Event> Selector::poll_event() {
  if (events_.empty()) return std::nullopt;
  Event event = events_.front();
  events_.pop_front();
  return event;
}

bool Selector::is_consistent() const {
  if (entries_.size() > kPathsMax || transmits_.size() > kTransmitsMax) return false;
  if (selected_ && chosen() == nullptr) return false;
  if (confirmed_key_ && *confirmed_key_ >= keys_.size()) return false;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (!entries_[i].valid && entries_[i].misses != 0) return false;
    for (std::size_t j = 0; j < i; ++j) {
      if (entries_[i].path == entries_[j].path) return false;
    }
  }
  return true;
}

}  // namespace lanrage::paths
