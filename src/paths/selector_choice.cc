// Which paths are kept, which one is chosen, and what the node is told of it.
#include <algorithm>
#include <tuple>
#include <utility>

#include "paths/selector.h"

namespace lanrage::paths {

WatchedPath* Selector::find(const Path& path) {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(), [&](const WatchedPath& entry) { return entry.path == path; });
  return found == entries_.end() ? nullptr : &*found;
}

const WatchedPath* Selector::chosen() const {
  return selected_ ? const_cast<Selector*>(this)->find(*selected_) : nullptr;
}
WatchedPath* Selector::chosen() { return selected_ ? find(*selected_) : nullptr; }

WatchedPath* Selector::add(Time now, const Path& path, CandidateKind kind) {
  const auto is_reflexive = [](const WatchedPath& e) {
    return !e.path.relayed && e.kind == CandidateKind::kPeerReflexive;
  };
  const bool crowded =
      kind == CandidateKind::kPeerReflexive &&
      static_cast<std::size_t>(std::count_if(entries_.begin(), entries_.end(), is_reflexive)) >= kPeerReflexiveMax;
  if (crowded || entries_.size() == kPathsMax) {
    auto oldest = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
      const bool may_answer = it->pinged != Time{} && now - it->pinged < kMayAnswer;
      if (!is_reflexive(*it) || it->valid || may_answer || selected_ == it->path) continue;
      if (oldest == entries_.end() || it->heard < oldest->heard) oldest = it;
    }
    if (oldest == entries_.end()) {
      ++stats_.dropped_full;
      return nullptr;
    }
    entries_.erase(oldest);
  }
  WatchedPath& entry = entries_.emplace_back();
  entry.path = path;
  entry.kind = kind;
  entry.found = now;
  return &entry;
}

// Endpoints that the peer no longer names and that prove nothing.
void Selector::forget_stale() {
  entries_.erase(std::remove_if(entries_.begin(), entries_.end(),
                                [&](const WatchedPath& entry) {
                                  return !entry.signalled && !entry.valid && selected_ != entry.path &&
                                         entry.kind != CandidateKind::kPeerReflexive;
                                }),
                 entries_.end());
}

std::vector<std::uint16_t> Selector::sockets(Time now) const {
  std::vector<std::uint16_t> used;
  for (const WatchedPath& entry : entries_) {
    const bool was_proven = entry.healed != Time{} && now - std::max(entry.heard, entry.lost) < kLostFor;
    if (entry.path.socket != 0 && (entry.valid || selected_ == entry.path || was_proven))
      used.push_back(entry.path.socket);
  }
  return used;
}

void Selector::close_sockets(const std::set<std::uint16_t>& open) {
  std::erase_if(entries_, [&](const WatchedPath& entry) {
    return entry.path.socket != 0 && !open.contains(entry.path.socket) && selected_ != entry.path;
  });
}

bool Selector::is_better(const WatchedPath& candidate, const WatchedPath& current, Time now) const {
  const bool has_dwelt = now - selected_since_ >= kDwell;
  if (candidate.path.relayed != current.path.relayed)
    return has_dwelt || (current.path.relayed && !left_direct_);  // direct as soon as there is a way
  if (candidate.path.relayed) return has_dwelt || now - probing_since_ < kConnectTime;
  const Duration offered = candidate.cost();
  const Duration held = current.cost();
  if (candidate.path_class() < current.path_class()) return offered <= held;
  return now - selected_since_ >= kStay && offered + std::max(kMarginMin, held / 5) < held;
}

const WatchedPath* Selector::best_direct(Time now, const WatchedPath* but) const {
  const auto rank = [&](const WatchedPath& e) { return std::tuple(e.is_held(now), e.cost()); };
  const WatchedPath* found = nullptr;
  for (const WatchedPath& entry : entries_) {
    if (!entry.valid || entry.path.relayed || &entry == but) continue;
    if (found == nullptr || rank(entry) < rank(*found)) found = &entry;
  }
  return found;
}

// In the node's order, but for one that is clearly less clean than another.
const WatchedPath* Selector::best_relay(Time now, const WatchedPath* but) const {
  double cleanest = 0;
  for (const WatchedPath& entry : entries_) {
    if (entry.valid && entry.path.relayed && entry.is_judged() && !entry.is_held(now))
      cleanest = std::max(cleanest, entry.cleanness(1));
  }
  const auto rank = [&](const WatchedPath& e) {
    return std::tuple(e.is_held(now), e.cleanness(-1) + kWorthMargin <= cleanest, e.order);
  };
  const WatchedPath* found = nullptr;
  for (const WatchedPath& entry : entries_) {
    if (!entry.valid || !entry.path.relayed || &entry == but) continue;
    if (found == nullptr || rank(entry) < rank(*found)) found = &entry;
  }
  return found;
}

// Whoever is to take over must be better even if what is known of it flatters it.
bool Selector::prefers_direct(const WatchedPath& direct, const WatchedPath& relay) const {
  const double worth = direct.worth(0);
  if (left_direct_) return worth >= kGoodWorth + kWorthMargin / 2 || direct.worth(1) >= relay.worth(-1) + kWorthMargin;
  return worth >= kGoodWorth || !relay.is_judged() || relay.worth(1) < direct.worth(-1) + kWorthMargin;
}

// The best proven path, `but` excepted; one that healed a moment ago only when there is no other.
const WatchedPath* Selector::best(Time now, const WatchedPath* but) const {
  const WatchedPath* direct = best_direct(now, but);
  const WatchedPath* relay = best_relay(now, but);
  if (direct == nullptr || relay == nullptr) return direct != nullptr ? direct : relay;
  if (direct->is_held(now) != relay->is_held(now)) return direct->is_held(now) ? relay : direct;
  return prefers_direct(*direct, *relay) ? direct : relay;
}

// The chosen path was measured: when it gets worse, or is no good, the others are looked at before it fails.
void Selector::review(Time now, const WatchedPath& current) {
  const Quality& quality = current.quality;
  const bool is_rising = quality.trend() == Trend::kDegrading && *quality.rtt_last() > *quality.rtt_ema() + kTrendNoise;
  if (!is_rising && current.worth(0) >= kGoodWorth) return;
  if (now - reviewed_ < kReviewGap) return;
  reviewed_ = now;
  for (WatchedPath& other : entries_) {
    if (&other != &current && other.valid) other.next_ping = std::min(other.next_ping, now);
  }
  if (is_rising) emit(Event::Kind::kReviewed);
}

// `moved_to`: a path just proven from which the peer sends.
void Selector::choose(Time now, const WatchedPath* moved_to) {
  const WatchedPath* current = chosen();
  if (const WatchedPath* best = this->best(now, nullptr)) {
    const bool followed = moved_to != nullptr && current != nullptr && moved_to != current && !moved_to->path.relayed &&
                          current->heard < moved_to->found;
    if (current == nullptr || !current->valid) {
      select(now, best->path);
    } else if (followed) {
      select(now, moved_to->path);
    } else if (best != current && (is_better(*best, *current, now) && !best->is_held(now))) {
      select(now, best->path);
    }
    return;
  }
  // Nothing is proven: the first relay that does not deny knowing the peer, else where it was last.
  if (current != nullptr && current->path.relayed && !current->absent) return;
  const WatchedPath* relay = nullptr;
  for (const WatchedPath& entry : entries_) {
    if (!entry.path.relayed || (entry.absent && current != nullptr)) continue;
    if (relay == nullptr || std::tuple(entry.absent, entry.order) < std::tuple(relay->absent, relay->order))
      relay = &entry;
  }
  if (relay != nullptr) {
    select(now, relay->path);
  } else if (current == nullptr) {
    select(now, std::nullopt);
  }
}

void Selector::select(Time now, const std::optional<Path>& path) {
  if (selected_ == path) return;
  collect_measured();
  if (path) left_direct_ = path->relayed && (left_direct_ || is_direct());
  selected_ = path;
  selected_since_ = now;
  WatchedPath* entry = chosen();
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

// The second path of two: proven, by another address than the first one's, so that one line's trouble is not both's,
// and not much slower. The one that we have is kept while it is so.
void Selector::update_second(Time now) {
  const WatchedPath* current = chosen();
  const WatchedPath* found = nullptr;
  const bool wanted =
      current != nullptr && current->valid && redundancy_.update(now, options_.redundancy, current->quality);
  for (const WatchedPath& entry : entries_) {
    if (!wanted || !entry.valid || entry.is_held(now)) continue;
    if (entry.path.endpoint.address == current->path.endpoint.address) continue;
    if (entry.quality.rtt_ema() > *current->quality.rtt_ema() + RedundancySwitch::kSlowerMax) continue;
    if (second_ == entry.path) {
      found = &entry;
      break;
    }
    if (found == nullptr || entry.cost() < found->cost()) found = &entry;
  }
  const auto next = found != nullptr ? std::optional<Path>(found->path) : std::nullopt;
  if (std::exchange(second_, next) != next) emit(Event::Kind::kSecondChanged);
}

void Selector::update_state(Time now) {
  update_second(now);
  const WatchedPath* entry = chosen();
  const PeerState next = entry != nullptr && entry->valid                             ? PeerState::kConnected
                         : local_.udp_blocked || now - probing_since_ >= kConnectTime ? PeerState::kUnreachable
                                                                                      : PeerState::kConnecting;
  if (next == PeerState::kConnected) proven_ = selected_;
  if (next == state_) return;
  state_ = next;
  emit(Event::Kind::kStateChanged);
}

std::optional<Path> Selector::selected() const { return selected_; }

bool Selector::is_valid() const {
  const WatchedPath* entry = chosen();
  return entry != nullptr && entry->valid;
}

bool Selector::is_direct() const {
  const WatchedPath* entry = chosen();
  return entry != nullptr && entry->valid && !entry->path.relayed;
}

const Quality* Selector::quality() const {
  const WatchedPath* entry = shown();
  return entry == nullptr ? nullptr : &entry->quality;
}

const WatchedPath* Selector::shown() const {
  const WatchedPath* entry = chosen();
  if ((entry != nullptr && entry->valid) || !proven_) return entry;
  const WatchedPath* before = const_cast<Selector*>(this)->find(*proven_);
  return before == nullptr ? entry : before;
}

}  // namespace lanrage::paths
