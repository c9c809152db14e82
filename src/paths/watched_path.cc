#include "paths/watched_path.h"

#include <algorithm>
#include <cmath>

namespace lanrage::paths {

void WatchedPath::begin_burst(Time now, int pings) {
  if (burst_left > 0 && now - burst_began < kBurstAgain) return;
  burst_left = pings;
  burst_gap = kBurstFirstGap;
  burst_began = now;
  next_ping = now;
}

bool WatchedPath::continue_burst(Time now) {
  if (burst_left == 0 || --burst_left == 0) return false;
  next_ping = now + burst_gap;
  burst_gap = std::min(kBurstGapMax, burst_gap * 3 / 2);
  return true;
}

void WatchedPath::note_ping(Time now, std::uint64_t transaction, bool counts) {
  const auto slot = std::min_element(in_flight.begin(), in_flight.end(), [](const Ping& a, const Ping& b) {
    return a.transaction == 0 || b.transaction == 0 ? a.transaction == 0 && b.transaction != 0 : a.sent < b.sent;
  });
  *slot = {transaction, now, now + (counts ? pong_wait(now) : kPongMemory), counts, false};
}

bool WatchedPath::take_answer(Time now, std::uint64_t transaction) {
  const auto answered = std::find_if(in_flight.begin(), in_flight.end(),
                                     [&](const Ping& ping) { return ping.transaction == transaction; });
  if (transaction == 0 || answered == in_flight.end()) return false;
  const Duration rtt = now - answered->sent;
  note(answered->missed ? quality.record_late_answer(answered->sent, rtt) : quality.record_answer(answered->sent, rtt));
  forgiven = std::min(forgiven, quality.lost());
  *answered = {};
  return true;
}

std::optional<Time> WatchedPath::take_missed(Time now) {
  for (Ping& flying : in_flight) {
    if (flying.transaction == 0 || flying.deadline > now) continue;
    if (flying.counts) {
      flying.counts = false;
      flying.missed = true;
      flying.deadline = flying.sent + kPongMemory;
      note(quality.record_loss(flying.sent));
      return flying.sent;
    }
    if (!valid && !flying.missed) note(quality.record_silence(flying.sent));
    flying = {};
  }
  return std::nullopt;
}

void WatchedPath::note(const Aggregate& change) {
  if (!measured) measured.emplace();
  measured->add(change);
}

Duration WatchedPath::pong_wait(Time now) const {
  const auto rtt = quality.rtt_ema();
  if (!rtt) return kPongWaitMax;
  const Duration least = *rtt + quality.jitter().value_or(Duration::zero()) * 4;
  if (is_refused(now)) return std::max(kRefusedWait, least + *rtt / 2);
  return std::max(std::clamp(*rtt * 3, kPongWaitMin, kPongWaitMax), std::min(least, kPongMemory));
}

int WatchedPath::misses_allowed(Time now) const {
  if (is_refused(now)) return 1;
  if (is_doubted(now)) return kMissesDoubted;
  if (heard > missed_since) return kMissesHeard;
  const int lost_before = static_cast<int>(quality.lost()) - misses;  // of the last kPingsKept
  return kMissesMax + (lost_before > 2 ? 1 : 0) + (lost_before > 7 ? 1 : 0);
}

int WatchedPath::path_class() const {
  if (path.relayed) return 2;
  return kind == CandidateKind::kHost ? 0 : 1;
}

Duration WatchedPath::cost() const {
  const Duration rtt = quality.rtt_ema().value_or(kPongMemory);
  return path_class() == 1 ? rtt + kReflexiveBias : rtt;
}

double WatchedPath::loss_percent(int doubt) const {
  const auto lost_pings = static_cast<double>(quality.lost() - std::min(forgiven, quality.lost()));
  const double pings = doubt > 0 ? static_cast<double>(std::max<std::size_t>(quality.probes(), 1)) : kPingsKept;
  const double spread = doubt > 0 ? 1 + std::sqrt(lost_pings) / 2 : doubt < 0 ? -std::sqrt(lost_pings) / 2 : 0;
  return std::min(100.0, 100 * std::max(0.0, lost_pings + spread) / pings);
}

double WatchedPath::worth(int doubt) const {
  return score_of({quality.rtt_ema(), quality.jitter(), loss_percent(doubt), {}, {}}).value_or(0);
}

double WatchedPath::cleanness(int doubt) const {
  return score_of({Duration::zero(), quality.jitter(), loss_percent(doubt), {}, {}}).value_or(0);
}

void WatchedPath::forgive(int losses) {
  forgiven = std::min(quality.lost(), forgiven + static_cast<std::size_t>(losses));
}

}  // namespace lanrage::paths
