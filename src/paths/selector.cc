#include "paths/selector.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/check.h"
#include "base/format.h"
#include "paths/why.h"

namespace lanrage::paths {
namespace {

constexpr int kFollowedBurst = 5;  // pings to where authenticated data of the peer came from

Duration times(Duration d, double factor) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(d.count()) * factor));
}

// 0: same LAN (or a public address of its own), 1: through a NAT, 2: relayed.
int path_class(const Path& path, CandidateKind kind) {
  if (path.relayed) return 2;
  return kind == CandidateKind::kHost ? 0 : 1;
}

// What comparisons are made of: smoothed round trip and bias.
Duration cost(const Path& path, CandidateKind kind, const Quality& quality) {
  const Duration rtt = quality.rtt_ema().value_or(kPongMemory);
  return path_class(path, kind) == 1 ? rtt + kReflexiveBias : rtt;
}

bool has_family(const std::vector<Candidate>& candidates, bool v4) {
  return std::any_of(candidates.begin(), candidates.end(),
                     [&](const Candidate& c) { return c.endpoint.address.is_v4() == v4; });
}

}  // namespace

const char* peer_state_name(PeerState state) {
  switch (state) {
    case PeerState::kConnecting:
      return "connecting";
    case PeerState::kConnected:
      return "connected";
    case PeerState::kUnreachable:
      return "unreachable";
  }
  return "unknown";
}

Selector::Selector(const SelectorOptions& options, Rng& rng) : options_(options), rng_(rng) {
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
  for (Entry& entry : entries_) entry.hold = {};
  start(now);
}

void Selector::set_relays(Time now, const std::vector<Path>& relays) {
  const auto is_named = [&](const Path& path) { return std::find(relays.begin(), relays.end(), path) != relays.end(); };
  for (Entry& entry : entries_) {
    if (entry.path.relayed) entry.signalled = is_named(entry.path);
  }
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(),
                                [](const Entry& entry) { return entry.path.relayed && !entry.signalled; }),
                 entries_.end());
  for (const Path& path : relays) {
    if (!path.relayed || find(path) != nullptr) continue;
    if (Entry* entry = add(now, path, CandidateKind::kHost)) {
      entry->signalled = true;
      burst(now, *entry, kBurstPings);
    }
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
  for (Entry& entry : entries_) {
    if (!entry.path.relayed) entry.signalled = false;
  }
  bool found_new = false;
  for (const Candidate& candidate : message.candidates) {
    if (!is_probeable(candidate.endpoint, options_.allow_loopback)) continue;
    const Candidate own{CandidateKind::kHost, candidate.endpoint};
    if (std::find(local_candidates_.begin(), local_candidates_.end(), own) != local_candidates_.end()) continue;
    const Path path{candidate.endpoint, false};
    Entry* entry = find(path);
    if (entry == nullptr) {
      entry = add(now, path, candidate.kind);
      if (entry == nullptr) break;
      burst(now, *entry, kBurstPings);
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
  Entry* entry = find(path);
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
  if (probe.deaf && selected_ == path) doubt(now, *entry);
  // A ping could be a recording: only the answer to a ping of ours proves the path, or that the peer restarted.
  const bool is_restart = peer_instance_ && *peer_instance_ != probe.instance;
  if ((!entry->valid || is_restart) && now - entry->pinged >= kTriggerGap) ping(now, *entry);
}

void Selector::handle_pong(Time now, const Path& path, const wire::Probe& probe) {
  Entry* entry = find(path);
  Ping* answered = nullptr;
  for (std::size_t i = 0; entry != nullptr && i < entry->in_flight.size(); ++i) {
    if (entry->in_flight[i].transaction == probe.transaction) answered = &entry->in_flight[i];
  }
  const bool is_late = former_instance_ == probe.instance;  // sent before the peer restarted
  if (answered == nullptr || probe.transaction == 0 || is_late) {
    ++stats_.dropped_stale;
    return;
  }
  ++stats_.pongs_received;
  entry->quality.record_answer(now - answered->sent);
  *answered = {};
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
  if (!is_restart) return;
  emit(Event::Kind::kPeerRestarted);
  pursue(now);
}

void Selector::handle_received(Time now, const Path& path, Time at) {
  Entry* entry = find(path);
  const bool is_new = entry == nullptr;
  if (is_new && !path.relayed && is_probeable(path.endpoint, options_.allow_loopback)) {
    entry = add(now, path, CandidateKind::kPeerReflexive);
  }
  if (entry != nullptr) {
    entry->heard = std::max(entry->heard, at);
    entry->absent = false;
    Entry* current = chosen();
    if (current != nullptr && current != entry && current->valid && at > current->heard + kWatch) doubt(now, *current);
    if (!entry->valid) {
      entry->followed = true;
      if (is_new) burst(now, *entry, kFollowedBurst);
      if (!is_new && now - entry->pinged >= kBurstAgain) ping(now, *entry);
    }
  }
}

void Selector::handle_traffic(Time now) {
  const bool was_active = is_active(now);
  active_until_ = now + kActiveFor;
  if (was_active) return;
  for (Entry& entry : entries_) {
    if (entry.burst_left > 0) continue;
    if (entry.valid)
      schedule_watch(now, entry);
    else if (entry.next_ping != kNever)
      entry.next_ping = std::min(entry.next_ping, entry.pinged + kHealProbe);
  }
}

// Its word could be a recording: it only makes us look.
void Selector::doubt(Time now, Entry& entry) {
  entry.doubted = now;
  if (entry.valid && now - entry.pinged >= kTriggerGap) ping(now, entry);
}

void Selector::handle_relay_absent(Time now, const Path& relay) {
  Entry* entry = find(relay);
  if (entry == nullptr || !relay.relayed) return;
  entry->absent = true;
  // Nobody vouches for this message: it only makes us look at once.
  if (entry->valid && now - entry->pinged >= kPongWaitMin) ping(now, *entry);
  choose(now);
  update_state(now);
}

void Selector::handle_timeout(Time now) {
  for (Entry& entry : entries_) expire_pings(now, entry);
  for (Entry& entry : entries_) {
    if (entry.next_ping > now) continue;
    const bool is_watched = selected_ == entry.path && entry.valid && entry.burst_left == 0 && is_active(now);
    if (is_watched) schedule_watch(now, entry);  // it may have been heard since
    if (entry.next_ping > now) continue;
    ping(now, entry);
    if (entry.burst_left > 0 && --entry.burst_left > 0) {
      entry.next_ping = now + entry.burst_gap;
      entry.burst_gap = std::min(kBurstGapMax, times(entry.burst_gap, 1.5));
    } else if (entry.valid) {
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
  for (const Entry& entry : entries_) {
    next = std::min(next, entry.next_ping);
    for (const Ping& flying : entry.in_flight) {
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

// ---- Pings

void Selector::push(const Path& path, const wire::ProbeBytes& datagram) {
  if (transmits_.size() == kTransmitsMax) {
    ++stats_.dropped_full;
    return;
  }
  transmits_.push_back({path, datagram});
}

void Selector::send_ping(Time now, Entry& entry, std::size_t key, bool counts) {
  auto slot = std::min_element(entry.in_flight.begin(), entry.in_flight.end(), [](const Ping& a, const Ping& b) {
    return a.transaction == 0 || b.transaction == 0 ? a.transaction == 0 && b.transaction != 0 : a.sent < b.sent;
  });
  const std::uint64_t transaction = rng_.u64() | 1;  // never 0, which means free
  *slot = {transaction, now, now + (counts ? pong_wait(entry) : kPongMemory), counts};
  wire::Probe probe{.tag = send_tags_[key],
                    .transaction = transaction,
                    .instance = options_.instance,
                    .selected = selected_ == entry.path};
  const Duration turn = std::max(kWatchAgain, entry.quality.rtt_ema().value_or(kPongWaitMax));
  probe.deaf = probe.selected && is_active(now) && now - entry.heard >= kWatch + turn;
  if (const auto rtt = entry.quality.rtt_ema()) {
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(*rtt).count();
    probe.rtt_us = static_cast<std::uint32_t>(std::clamp<std::int64_t>(us, 1, UINT32_MAX));
  }
  if (const auto loss = entry.quality.loss_percent())
    probe.loss_percent = static_cast<std::uint8_t>(std::lround(*loss));
  push(entry.path, wire::write_probe(probe, keys_[key].bytes()));
  ++stats_.pings_sent;
}

// One ping under the key that the peer is known to have; beside it one under the newest, until the peer has that too.
void Selector::ping(Time now, Entry& entry) {
  entry.pinged = now;
  if (keys_.empty()) return;
  if (!confirmed_key_) {
    send_ping(now, entry, key_turn_++ % keys_.size(), entry.valid);
    return;
  }
  send_ping(now, entry, *confirmed_key_, entry.valid);
  if (*confirmed_key_ != 0) send_ping(now, entry, 0, false);
}

void Selector::burst(Time now, Entry& entry, int pings) {
  if (entry.burst_left > 0 && now - entry.burst_began < kBurstAgain) return;
  entry.burst_left = pings;
  entry.burst_gap = kBurstFirstGap;
  entry.burst_began = now;
  entry.next_ping = now;
}

void Selector::burst_all(Time now) {
  ++stats_.bursts;
  for (Entry& entry : entries_) {
    if (!entry.valid) {
      burst(now, entry, kBurstPings);
    } else if (now - entry.pinged >= kPongWaitMin) {
      entry.next_ping = now;
    }
  }
}

// Tries everything again, and plans the next time.
void Selector::pursue(Time now) {
  burst_all(now);
  retry_at_ = is_direct() ? kNever : now + spread(retry_gap_);
  choose(now);
  update_state(now);
}

void Selector::expire_pings(Time now, Entry& entry) {
  for (Ping& flying : entry.in_flight) {
    if (flying.transaction == 0 || flying.deadline > now) continue;
    if (!flying.counts) {
      flying = {};
      continue;
    }
    // Missed; a late pong still tells the round trip and proves the path.
    flying.counts = false;
    flying.deadline = flying.sent + kPongMemory;
    if (entry.misses == 0) entry.missed_since = flying.sent;
    handle_miss(now, entry);
  }
}

void Selector::handle_miss(Time now, Entry& entry) {
  ++stats_.pings_lost;
  entry.quality.record_loss();
  if (!entry.valid) return;
  ++entry.misses;
  if (selected_ == entry.path && is_active(now))
    schedule_watch(now, entry);
  else
    entry.next_ping = now;
  if (selected_ == entry.path && entry.misses == 1) {
    // Distress: know by the next miss who could take over.
    for (Entry& other : entries_) {
      if (&other != &entry && (other.valid || other.path.relayed)) ping(now, other);
    }
  }
  if (entry.misses >= misses_allowed(now, entry)) lose(now, entry);
}

// How many pings in a row may be missed: so many that the line's own losses are no likely cause.
int Selector::misses_allowed(Time now, const Entry& entry) const {
  if (selected_ != entry.path) return kMissesMax;
  if (entry.doubted != Time{} && now - entry.doubted < kDoubt) return kMissesDoubted;
  if (entry.heard > entry.missed_since) return kMissesHeard;
  const int lost_before = static_cast<int>(entry.quality.lost()) - entry.misses;  // of the last kLossWindow
  return kMissesMax + (lost_before > 2 ? 1 : 0) + (lost_before > 7 ? 1 : 0);
}

// The peer restarted, maybe with another port: what led to it before is tried anew.
void Selector::forget_proofs(const Entry& answered) {
  for (Entry& entry : entries_) {
    if (&entry == &answered) continue;
    entry.valid = entry.followed = false;
    entry.misses = 0;
    entry.hold = {};
  }
}

void Selector::lose(Time now, Entry& entry) {
  const bool is_flapping =
      entry.hold != Duration{} && entry.healed - entry.lost < kBrief && now - selected_since_ < kSteady;
  entry.valid = false;
  entry.lost = now;
  entry.misses = 0;
  entry.followed = false;
  if (selected_ != entry.path) return;
  ++stats_.losses;
  entry.hold = is_flapping ? std::min(kHoldMax, entry.hold * 4) : kHold;
  probing_since_ = now;
  retry_gap_ = kRetryFirst;
  choose(now);
  signal(now, true, false);
  pursue(now);
}

void Selector::schedule_watch(Time now, Entry& entry) {
  Duration gap = spread(kIdleProbe);
  if (is_active(now)) {
    if (selected_ == entry.path) {
      const bool is_doubtful = entry.misses > 0 || (entry.doubted != Time{} && now - entry.doubted < kDoubt);
      const Duration silence = is_doubtful ? kWatchAgain : std::max(entry.heard + kWatch - entry.pinged, kWatchAgain);
      gap = std::min(kActiveProbe, silence);
    } else if (is_held(entry, now)) {
      gap = kHoldProbe;
    } else if (&entry == best(now, chosen())) {
      gap = kStandbyProbe;
    }
  }
  entry.next_ping = entry.pinged + gap;
}

Duration Selector::pong_wait(const Entry& entry) const {
  const auto rtt = entry.quality.rtt_ema();
  if (!rtt) return kPongWaitMax;
  const Duration least = *rtt + entry.quality.jitter().value_or(Duration::zero()) * 4;
  return std::max(std::clamp(*rtt * 3, kPongWaitMin, kPongWaitMax), std::min(least, kPongMemory));
}

Duration Selector::spread(Duration d) { return times(d, 0.9 + 0.2 * rng_.unit()); }

// ---- Paths

Selector::Entry* Selector::find(const Path& path) {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.path == path; });
  return found == entries_.end() ? nullptr : &*found;
}

const Selector::Entry* Selector::chosen() const {
  return selected_ ? const_cast<Selector*>(this)->find(*selected_) : nullptr;
}
Selector::Entry* Selector::chosen() { return selected_ ? find(*selected_) : nullptr; }

Selector::Entry* Selector::add(Time now, const Path& path, CandidateKind kind) {
  const auto is_reflexive = [](const Entry& e) { return !e.path.relayed && e.kind == CandidateKind::kPeerReflexive; };
  const bool crowded =
      kind == CandidateKind::kPeerReflexive &&
      static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(), is_reflexive)) >= kPeerReflexiveMax;
  if (crowded || entries_.size() == kPathsMax) {
    auto oldest = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      if (!is_reflexive(*it) || it->valid || selected_ == it->path) continue;
      if (oldest == entries_.end() || it->heard < oldest->heard) oldest = it;
    }
    if (oldest == entries_.end()) {
      ++stats_.dropped_full;
      return nullptr;
    }
    entries_.erase(oldest);
  }
  Entry& entry = entries_.emplace_back();
  entry.path = path;
  entry.kind = kind;
  entry.found = now;
  return &entry;
}

// Endpoints that the peer no longer names and that prove nothing.
void Selector::forget_stale() {
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(),
                                [&](const Entry& entry) {
                                  return !entry.signalled && !entry.valid && selected_ != entry.path &&
                                         entry.kind != CandidateKind::kPeerReflexive;
                                }),
                 entries_.end());
}

bool Selector::is_better(const Entry& candidate, const Entry& current, Time now) const {
  if (candidate.path.relayed != current.path.relayed) return !candidate.path.relayed;
  const Duration offered = cost(candidate.path, candidate.kind, candidate.quality);
  const Duration held = cost(current.path, current.kind, current.quality);
  if (path_class(candidate.path, candidate.kind) < path_class(current.path, current.kind)) return offered <= held;
  return now - selected_since_ >= kStay && offered + std::max(kMarginMin, held / 5) < held;
}

// The best proven path, `but` excepted; one that healed a moment ago only when there is no other.
const Selector::Entry* Selector::best(Time now, const Entry* but) const {
  const auto rank = [&](const Entry& e) {
    return std::tuple(is_held(e, now), e.path.relayed, cost(e.path, e.kind, e.quality));
  };
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {
    if (entry.valid && &entry != but && (found == nullptr || rank(entry) < rank(*found))) found = &entry;
  }
  return found;
}

// `moved_to`: a path just proven from which the peer sends.
void Selector::choose(Time now, const Entry* moved_to) {
  const Entry* current = chosen();
  if (const Entry* best = this->best(now, nullptr)) {
    const bool followed = moved_to != nullptr && current != nullptr && moved_to != current && !moved_to->path.relayed &&
                          current->heard < moved_to->found;
    if (current == nullptr || !current->valid) {
      select(now, best->path);
    } else if (followed) {
      select(now, moved_to->path);
    } else if (best != current && (is_better(*best, *current, now) && !is_held(*best, now))) {
      select(now, best->path);
    }
    return;
  }
  // Nothing is proven: the first relay that does not deny knowing the peer, else where it was last.
  if (current != nullptr && current->path.relayed && !current->absent) return;
  const auto usable = [](bool even_absent) {
    return [even_absent](const Entry& entry) { return entry.path.relayed && (even_absent || !entry.absent); };
  };
  auto relay = std::find_if(entries_.begin(), entries_.end(), usable(false));
  if (relay == entries_.end() && current == nullptr)
    relay = std::find_if(entries_.begin(), entries_.end(), usable(true));
  if (relay != entries_.end()) {
    select(now, relay->path);
  } else if (current == nullptr) {
    select(now, std::nullopt);
  }
}

void Selector::select(Time now, const std::optional<Path>& path) {
  if (selected_ == path) return;
  selected_ = path;
  selected_since_ = now;
  Entry* entry = chosen();
  if (entry == nullptr) {
    selected_.reset();
    emit(Event::Kind::kLost);
    return;
  }
  ++stats_.promotions;
  events_.push_back({Event::Kind::kSelected, entry->path, entry->valid});
  if (entry->valid && entry->burst_left == 0) schedule_watch(now, *entry);
  if (is_direct()) {
    retry_at_ = kNever;
    retry_gap_ = kRetryFirst;
  } else if (retry_at_ == kNever) {
    retry_at_ = now + spread(retry_gap_);
  }
}

// ---- What the node is told

void Selector::emit(Event::Kind kind) {
  Event event;
  event.kind = kind;
  events_.push_back(event);
}

void Selector::signal(Time now, bool call_me_now, bool at_once) {
  signal_call_me_now_ = signal_call_me_now_ || call_me_now;
  if (!at_once && signalled_ && now - *signalled_ < kSignalGap) {
    signal_at_ = *signalled_ + kSignalGap;
    return;
  }
  events_.push_back({Event::Kind::kSignal, {}, false, signal_call_me_now_});
  signalled_ = now;
  signal_at_ = kNever;
  signal_call_me_now_ = false;
}

void Selector::update_state(Time now) {
  const Entry* entry = chosen();
  const PeerState next = entry != nullptr && entry->valid                             ? PeerState::kConnected
                         : local_.udp_blocked || now - probing_since_ >= kConnectTime ? PeerState::kUnreachable
                                                                                      : PeerState::kConnecting;
  if (next == state_) return;
  state_ = next;
  emit(Event::Kind::kStateChanged);
}

std::optional<Path> Selector::selected() const { return selected_; }

bool Selector::is_valid() const {
  const Entry* entry = chosen();
  return entry != nullptr && entry->valid;
}

bool Selector::is_direct() const {
  const Entry* entry = chosen();
  return entry != nullptr && entry->valid && !entry->path.relayed;
}

const Quality* Selector::quality() const {
  const Entry* entry = chosen();
  return entry == nullptr ? nullptr : &entry->quality;
}

std::vector<Selector::PathInfo> Selector::paths() const {
  std::vector<PathInfo> all;
  for (const Entry& entry : entries_) {
    PathInfo info;
    info.path = entry.path;
    if (!entry.path.relayed) info.kind = entry.kind;
    info.valid = entry.valid;
    info.selected = selected_ == entry.path;
    info.quality = entry.quality;
    if (entry.peer_rtt_us != 0) info.peer_rtt = std::chrono::microseconds(entry.peer_rtt_us);
    if (entry.peer_loss_percent != wire::kLossUnknown) info.peer_loss_percent = entry.peer_loss_percent;
    all.push_back(info);
  }
  return all;
}

std::string Selector::why(Time now) const {
  if (is_direct()) return {};
  if (state_ == PeerState::kUnreachable) return why_unreachable();
  if (!remote_) return "waiting for the other side's addresses; nothing to do yet";
  if (now - probing_since_ < kConnectTime) return "still trying for a direct path; nothing to do yet";
  return why_not_direct();
}

std::string Selector::why_not_direct() const {
  if (!remote_ || (remote_->candidates.empty() && !remote_->udp_blocked && !local_.udp_blocked)) {
    return "the other side has not said where it can be reached; check that it is online";
  }
  const NetworkEnd here{has_family(local_candidates_, true),
                        has_family(local_candidates_, false),
                        local_.udp_blocked,
                        local_.mapping == Mapping::kDependent,
                        network_.is_behind_nat,
                        network_.is_mapping_refused};
  const NetworkEnd there{has_family(remote_->candidates, true),
                         has_family(remote_->candidates, false),
                         remote_->udp_blocked,
                         remote_->mapping == Mapping::kDependent,
                         remote_->network.is_behind_nat,
                         remote_->network.is_mapping_refused};
  return explain(paths::why_not_direct(here, there), here, there, options_.local_port);
}

std::string Selector::why_unreachable() const {
  if (local_.udp_blocked) {
    return "this network blocks UDP, so no game traffic can leave it; use another network or have outgoing UDP allowed";
  }
  if (remote_ && remote_->udp_blocked) {
    return "the other side's network blocks UDP, so it can reach nobody; it needs another network or outgoing UDP "
           "allowed";
  }
  const auto is_relay = [](const Entry& entry) { return entry.path.relayed; };
  if (std::none_of(entries_.begin(), entries_.end(), is_relay)) {
    return "no direct path answers and no relay can be reached; " +
           format("forward UDP port {} on the router here, or use a server with a public address", options_.local_port);
  }
  const bool is_absent = std::all_of(entries_.begin(), entries_.end(),
                                     [](const Entry& entry) { return !entry.path.relayed || entry.absent; });
  if (is_absent) return "the other side is not connected to the relay; check that it is online";
  return "neither a direct path nor the relay brings an answer; check that the other side is online";
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
