// Pings: when each path gets one, and what is made of those that stay unanswered.
#include <algorithm>
#include <cmath>
#include <utility>

#include "paths/selector.h"

namespace lanrage::paths {

void Selector::push(const Path& path, const wire::ProbeBytes& datagram) {
  if (transmits_.size() == kTransmitsMax) {
    ++stats_.dropped_full;
    return;
  }
  transmits_.push_back({path, datagram});
}

void Selector::send_ping(Time now, WatchedPath& entry, std::size_t key, bool counts) {
  const std::uint64_t transaction = rng_.u64() | 1;  // never 0, which means free
  entry.note_ping(now, transaction, counts);
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
  if (probe.selected && arrived_ && now - arrived_->at <= kRateTold) {
    probe.rate_kbps = static_cast<std::uint32_t>(std::clamp(arrived_->mbps * 1000, 0.0, double{wire::kRateMax}));
    probe.full = arrived_->full;
  }
  push(entry.path, wire::write_probe(probe, keys_[key].bytes()));
  ++stats_.pings_sent;
}

std::optional<wire::ProbeBytes> Selector::search_ping() {
  if (keys_.empty()) return std::nullopt;
  const std::size_t key = confirmed_key_.value_or(key_turn_++ % keys_.size());
  const wire::Probe probe{.tag = send_tags_[key], .transaction = rng_.u64() | 1, .instance = options_.instance};
  return wire::write_probe(probe, keys_[key].bytes());
}

void Selector::guess(const Path& path) {
  if (keys_.empty()) return;
  const std::size_t key = confirmed_key_.value_or(0);
  const wire::Probe probe{.tag = send_tags_[key], .transaction = guess_next_++, .instance = options_.instance};
  push(path, wire::write_probe(probe, keys_[key].bytes()));
  ++stats_.pings_sent;
}

// One ping under the key that the peer is known to have; beside it one under the newest, until the peer has that too.
void Selector::ping(Time now, WatchedPath& entry) {
  entry.pinged = now;
  if (keys_.empty()) return;
  if (!confirmed_key_) {
    send_ping(now, entry, key_turn_++ % keys_.size(), entry.valid);
    return;
  }
  send_ping(now, entry, *confirmed_key_, entry.valid);
  if (*confirmed_key_ != 0) send_ping(now, entry, 0, false);
}

void Selector::burst_all(Time now) {
  ++stats_.bursts;
  for (WatchedPath& entry : entries_) {
    if (!entry.valid) {
      entry.begin_burst(now, kBurstPings);
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

void Selector::expire_pings(Time now, WatchedPath& entry) {
  while (const auto sent = entry.take_missed(now)) {
    if (entry.misses == 0) entry.missed_since = *sent;
    handle_miss(now, entry);
  }
}

void Selector::handle_miss(Time now, WatchedPath& entry) {
  ++stats_.pings_lost;
  if (!entry.valid) return;
  ++entry.misses;
  if (selected_ == entry.path && is_active(now))
    schedule_watch(now, entry);
  else
    entry.next_ping = now;
  if (selected_ == entry.path && entry.misses == 1) {
    // Distress: know by the next miss who could take over, and whose fault it is.
    if (entry.path.relayed) events_.push_back({Event::Kind::kRelaySilent, entry.path});
    for (WatchedPath& other : entries_) {
      if (&other != &entry && (other.valid || other.path.relayed)) ping(now, other);
    }
  }
  const int allowed = selected_ == entry.path ? entry.misses_allowed(now) : kMissesMax;
  if (entry.misses >= allowed) lose(now, entry);
}

// The peer restarted, maybe with another port: what led to it before is tried anew.
void Selector::forget_proofs(const WatchedPath& answered) {
  for (WatchedPath& entry : entries_) {
    if (&entry == &answered) continue;
    entry.valid = entry.followed = false;
    entry.misses = 0;
    entry.hold = {};
  }
}

void Selector::lose(Time now, WatchedPath& entry) {
  const bool is_flapping =
      entry.hold != Duration{} && entry.healed - entry.lost < kBrief && now - selected_since_ < kSteady;
  entry.valid = false;
  entry.lost = now;
  entry.forgive(entry.misses);
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

void Selector::schedule_watch(Time now, WatchedPath& entry) {
  const Duration interval = entry.quality.measuring_interval();
  Duration gap = interval + Duration(rng_.below(static_cast<std::uint64_t>(interval.count() / 20)));
  if (needs_keepalive(entry)) gap = std::min(gap, keepalive_);
  const WatchedPath* current = chosen();
  if (current != nullptr && &entry != current && !entry.is_judged() && current->worth(0) < kGoodWorth) {
    gap = kHoldProbe;  // it may have to take over: know soon how good it is
  } else if (is_active(now)) {
    if (selected_ == entry.path) {
      const bool is_doubtful = entry.misses > 0 || entry.is_doubted(now);
      const Duration silence = is_doubtful ? kWatchAgain : std::max(entry.heard + kWatch - entry.pinged, kWatchAgain);
      gap = std::min(entry.loss_percent(0) > 0 ? kHoldProbe : kActiveProbe, silence);
    } else if (entry.is_held(now)) {
      gap = kHoldProbe;
    } else if (&entry == best(now, current) || (left_direct_ && &entry == best_direct(now, nullptr))) {
      gap = kStandbyProbe;
    }
  }
  entry.next_ping = entry.pinged + gap;
}

void Selector::set_keepalive(Duration keepalive) {
  keepalive_ = keepalive;
  for (WatchedPath& entry : entries_) {
    if (entry.valid && needs_keepalive(entry)) entry.next_ping = std::min(entry.next_ping, entry.pinged + keepalive_);
  }
}

// Whether something on the way forgets the path when nothing is sent: relays are refreshed by their client, a LAN has
// no NAT, and two ends that are both open to everybody have none either.
bool Selector::needs_keepalive(const WatchedPath& entry) const {
  if (entry.path.relayed || entry.path.endpoint.address.is_private()) return false;
  const auto is_open = [](Mapping mapping, wire::Dependence filtering) {
    return mapping == Mapping::kNone &&
           (filtering == wire::Dependence::kEndpointIndependent || filtering == wire::Dependence::kNotPort);
  };
  return !remote_ || !is_open(local_.mapping, network_.filtering) ||
         !is_open(remote_->mapping, remote_->network.filtering);
}

void Selector::handle_rate(Time now, double mbps) {
  WatchedPath* entry = chosen();
  if (entry == nullptr || !entry->valid || mbps < kRateLeastMbps) return;
  const bool full = entry->quality.is_full();
  entry->note_rate(now, mbps, full);
  // Of the last seconds the one that says most.
  const bool says_more =
      !arrived_ || now - arrived_->at > kRateTold || (full == arrived_->full ? mbps >= arrived_->mbps : full);
  if (says_more) arrived_ = Arrived{now, mbps, full};
}

// Puts what was measured on the path shown to what is handed on.
void Selector::collect_measured() {
  const WatchedPath* shown = this->shown();
  for (WatchedPath& entry : entries_) {
    if (&entry != shown || !entry.measured) continue;
    if (!measured_) measured_.emplace();
    measured_->add(*std::exchange(entry.measured, std::nullopt));
  }
}

std::optional<Aggregate> Selector::take_measured() {
  collect_measured();
  for (WatchedPath& entry : entries_) entry.measured.reset();
  return std::exchange(measured_, std::nullopt);
}

Duration Selector::spread(Duration d) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(d.count()) * (0.9 + 0.2 * rng_.unit())));
}

}  // namespace lanrage::paths
