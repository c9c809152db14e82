// Pings: when each path gets one, and what is made of those that stay unanswered.
#include <algorithm>
#include <cmath>

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
  push(entry.path, wire::write_probe(probe, keys_[key].bytes()));
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
  entry.quality.record_loss();
  if (!entry.valid) return;
  ++entry.misses;
  if (selected_ == entry.path && is_active(now))
    schedule_watch(now, entry);
  else
    entry.next_ping = now;
  if (selected_ == entry.path && entry.misses == 1) {
    // Distress: know by the next miss who could take over.
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
  Duration gap = spread(kIdleProbe);
  if (is_active(now)) {
    if (selected_ == entry.path) {
      const bool is_doubtful = entry.misses > 0 || entry.is_doubted(now);
      const Duration silence = is_doubtful ? kWatchAgain : std::max(entry.heard + kWatch - entry.pinged, kWatchAgain);
      gap = std::min(kActiveProbe, silence);
    } else if (entry.is_held(now)) {
      gap = kHoldProbe;
    } else if (&entry == best(now, chosen())) {
      gap = kStandbyProbe;
    }
  }
  entry.next_ping = entry.pinged + gap;
}

Duration Selector::spread(Duration d) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(d.count()) * (0.9 + 0.2 * rng_.unit())));
}

}  // namespace lanrage::paths
