#include "paths/quality.h"

#include <algorithm>

namespace lanrage::paths {
namespace {

constexpr double kSmoothing = 0.3;
constexpr std::uint32_t kLost = UINT32_MAX;
// An answer so long after the one before says nothing of the time between: the computer may have slept.
constexpr Duration kSpanMax = 2 * kCalmInterval;
// What the trend takes for a change and is this computer's own doing.
constexpr Duration kNoise = std::chrono::milliseconds(2);
constexpr Duration kGoodBelow = std::chrono::milliseconds(50);
constexpr Duration kFairUpTo = std::chrono::milliseconds(150);
// Probes that take so much and two jitters longer than the fastest of the last hour stand in a queue.
constexpr Duration kQueue = std::chrono::milliseconds(10);
// A full second counts as the way's limit when it is not far below the fastest one.
constexpr double kFullShare = 0.9;

constexpr double kLatencyBestMs = 20, kLatencyWorstMs = 300;
constexpr double kJitterBestMs = 2, kJitterWorstMs = 50;
constexpr double kLossWorstPercent = 5;
constexpr double kBandwidthBestMbps = 10;

Duration scaled(Duration d, double factor) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(d.count()) * factor));
}

// 100 up to `best`, 0 from `worst`, linear between.
double points(double value, double best, double worst) {
  return 100 * std::clamp((worst - value) / (worst - best), 0.0, 1.0);
}

}  // namespace

const char* trend_name(Trend trend) {
  switch (trend) {
    case Trend::kImproving:
      return "improving";
    case Trend::kStable:
      return "stable";
    case Trend::kDegrading:
      return "degrading";
  }
  return "unknown";
}

char grade_of(double score, double loss_percent) {
  const char earned = score >= 90 ? 'A' : score >= 70 ? 'B' : score >= 50 ? 'C' : score >= 30 ? 'D' : 'F';
  const char allowed = loss_percent >= 15 ? 'F' : loss_percent >= 5 ? 'C' : loss_percent >= 2 ? 'B' : 'A';
  return std::max(earned, allowed);
}

std::optional<double> score_of(const Parts& parts) {
  if (!parts.rtt || !parts.loss_percent) return std::nullopt;
  double missing = 0, weights = 0;  // what is missing, so that nothing missing is exactly 100
  const auto count = [&](double weight, double earned) {
    missing += weight * (100 - earned);
    weights += weight;
  };
  count(kWeights.latency, points(milliseconds(*parts.rtt), kLatencyBestMs, kLatencyWorstMs));
  count(kWeights.loss, points(*parts.loss_percent, 0, kLossWorstPercent));
  if (parts.jitter) count(kWeights.jitter, points(milliseconds(*parts.jitter), kJitterBestMs, kJitterWorstMs));
  if (parts.bandwidth && (parts.bandwidth->full || parts.bandwidth->mbps >= kBandwidthBestMbps))
    count(kWeights.bandwidth, points(parts.bandwidth->mbps, kBandwidthBestMbps, 0));
  if (parts.stability_percent) count(kWeights.stability, *parts.stability_percent);
  return 100 - missing / weights;
}

void Aggregate::add(const Aggregate& other) {
  answered += other.answered;
  lost += other.lost;
  rtt_sum += other.rtt_sum;
  rtt_min = std::min(rtt_min, other.rtt_min);
  rtt_max = std::max(rtt_max, other.rtt_max);
  difference_sum += other.difference_sum;
  differences += other.differences;
  up += other.up;
  known += other.known;
  rate_kbps = std::max(rate_kbps, other.rate_kbps);
  full_kbps = std::max(full_kbps, other.full_kbps);
}

Parts Aggregate::parts() const {
  Parts out;
  if (answered > 0) out.rtt = rtt_sum / answered;
  if (differences > 0) out.jitter = difference_sum / differences;
  if (answered + lost > 0) out.loss_percent = 100.0 * std::max(lost, 0) / (answered + lost);
  if (const double mbps = rate_kbps / 1000.0; mbps >= kRateLeastMbps)
    out.bandwidth = Bandwidth{mbps, full_kbps >= rate_kbps * kFullShare};
  if (known > Duration::zero())
    out.stability_percent = 100.0 * static_cast<double>(up.count()) / static_cast<double>(known.count());
  return out;
}

Parts Quality::parts() const {
  Parts out = five_minutes().parts();
  out.rtt = ema_;
  out.jitter = jitter();
  out.loss_percent = loss_percent();
  return out;
}

std::optional<Duration> Quality::jitter() const {
  return differences_ < kJitterLeast ? std::nullopt : std::optional<Duration>(jitter_);
}

std::optional<char> Quality::grade() const {
  const auto earned = score();
  return earned ? std::optional<char>(grade_of(*earned, *loss_percent())) : std::nullopt;
}

std::optional<Trend> Quality::trend() const {
  const std::size_t count = std::min(answers_, kTrendWindow);
  if (count < kTrendLeast) return std::nullopt;
  Duration sum{};
  for (std::size_t back = 2; back <= count; ++back) sum += recent_[(answers_ - back) % kTrendWindow];
  // In whole nanoseconds, so that exactly 5 % is told from more: n * newest against 1.05 of the sum.
  const Duration newest = recent_[(answers_ - 1) % kTrendWindow] * static_cast<Duration::rep>(count - 1);
  if (newest * 100 > sum * 105) return Trend::kDegrading;
  if (newest * 100 < sum * 95) return Trend::kImproving;
  return Trend::kStable;
}

Duration Quality::measuring_interval() const {
  const auto trend = this->trend();
  if (!trend || *ema_ > kFairUpTo) return kWaryInterval;
  const auto rtts = recent();
  const Duration fastest = *std::min_element(rtts.begin(), rtts.end());
  if (trend == Trend::kDegrading && *last_ - fastest > kNoise) return kWaryInterval;
  return *ema_ < kGoodBelow ? kCalmInterval : kFairInterval;
}

Aggregate Quality::record_answer(Time sent, Duration rtt) {
  Aggregate change;
  change.answered = 1;
  keep_ping(static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(std::chrono::duration_cast<std::chrono::microseconds>(rtt).count(), 0, kLost - 1)));
  note_rtt(rtt, change);
  note_outcome(sent, true, change);
  return finish(sent, change);
}

Aggregate Quality::record_late_answer(Time sent, Duration rtt) {
  Aggregate change;
  for (std::size_t back = 1; back <= count_; ++back) {
    std::uint32_t& ping = pings_[(next_ + kPingsKept - back) % kPingsKept];
    if (ping != kLost) continue;
    ping = static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(rtt).count());
    --lost_;
    change.answered = 1;
    change.lost = -1;
    break;
  }
  note_rtt(rtt, change);
  note_outcome(sent, true, change);
  return finish(sent, change);
}

Aggregate Quality::record_loss(Time sent) {
  Aggregate change;
  change.lost = 1;
  keep_ping(kLost);
  note_outcome(sent, false, change);
  return finish(sent, change);
}

Aggregate Quality::record_silence(Time sent) {
  Aggregate change;
  note_outcome(sent, false, change);
  return finish(sent, change);
}

Aggregate Quality::record_rate(Time at, double mbps, bool full) {
  Aggregate change;
  change.rate_kbps = static_cast<std::int32_t>(std::min(mbps * 1000, 1e9));
  if (full) change.full_kbps = change.rate_kbps;
  return finish(at, change);
}

bool Quality::is_full() const { return jitter() && *ema_ > hour().rtt_min + kQueue + 2 * jitter_; }

void Quality::note_rtt(Duration rtt, Aggregate& change) {
  if (last_) {
    const Duration difference = rtt > *last_ ? rtt - *last_ : *last_ - rtt;
    const auto gain = static_cast<Duration::rep>(std::min<std::size_t>(++differences_, 16));
    jitter_ += (difference - jitter_) / gain;
    change.difference_sum = difference;
    change.differences = 1;
  }
  last_ = rtt;
  recent_[answers_++ % kTrendWindow] = rtt;
  ema_ = ema_ ? scaled(rtt, kSmoothing) + scaled(*ema_, 1 - kSmoothing) : rtt;
  min_ = min_ ? std::min(*min_, rtt) : rtt;
  change.rtt_sum = change.answered == 0 ? Duration::zero() : rtt;
  change.rtt_min = change.rtt_max = rtt;
}

void Quality::note_outcome(Time sent, bool answered, Aggregate& change) {
  if (!outcome_at_ && !answered) return;  // it begins with the first answer
  if (outcome_at_ && sent <= *outcome_at_) return;
  const Duration span = outcome_at_ ? sent - *outcome_at_ : Duration::zero();
  if (!(answered && answered_ && span > kSpanMax)) {
    change.known = span;
    change.up = answered && answered_ ? span : answered || answered_ ? span / 2 : Duration::zero();
  }
  outcome_at_ = sent;
  answered_ = answered;
}

Aggregate Quality::finish(Time at, const Aggregate& change) {
  five_minutes_.add(at, change);
  hour_.add(at, change);
  return change;
}

std::optional<double> Quality::loss_percent() const {
  if (count_ == 0) return std::nullopt;
  return 100.0 * static_cast<double>(lost_) / static_cast<double>(count_);
}

void Quality::keep_ping(std::uint32_t microseconds) {
  if (count_ == kPingsKept && pings_[next_] == kLost) --lost_;
  if (microseconds == kLost) ++lost_;
  pings_[next_] = microseconds;
  next_ = (next_ + 1) % kPingsKept;
  count_ = std::min(count_ + 1, kPingsKept);
}

std::vector<std::optional<Duration>> Quality::pings() const {
  std::vector<std::optional<Duration>> out;
  for (std::size_t back = count_; back > 0; --back) {
    const std::uint32_t ping = pings_[(next_ + kPingsKept - back) % kPingsKept];
    out.push_back(ping == kLost ? std::nullopt : std::optional<Duration>(std::chrono::microseconds(ping)));
  }
  return out;
}

std::vector<Duration> Quality::recent() const {
  std::vector<Duration> out;
  for (std::size_t back = std::min(answers_, kTrendWindow); back > 0; --back)
    out.push_back(recent_[(answers_ - back) % kTrendWindow]);
  return out;
}

}  // namespace lanrage::paths
