#include "paths/quality.h"

#include <algorithm>

namespace lanrage::paths {
namespace {

constexpr double kSmoothing = 0.3;

Duration scaled(Duration d, double factor) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(d.count()) * factor));
}

// 100 up to `best`, 0 from `worst`, linear between.
double points(double value, double best, double worst) {
  return 100 * std::clamp((worst - value) / (worst - best), 0.0, 1.0);
}

constexpr double kLatencyWeight = 0.35, kJitterWeight = 0.25, kLossWeight = 0.4;
constexpr double kLatencyBestMs = 20, kLatencyWorstMs = 300;
constexpr double kJitterBestMs = 2, kJitterWorstMs = 50;
constexpr double kLossWorstPercent = 5;

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

std::optional<double> Quality::score() const {
  if (!ema_) return std::nullopt;
  double sum = kLatencyWeight * points(milliseconds(*ema_), kLatencyBestMs, kLatencyWorstMs) +
               kLossWeight * points(*loss_percent(), 0, kLossWorstPercent);
  double weights = kLatencyWeight + kLossWeight;
  if (jitter_) {
    sum += kJitterWeight * points(milliseconds(*jitter_), kJitterBestMs, kJitterWorstMs);
    weights += kJitterWeight;
  }
  return sum / weights;
}

std::optional<char> Quality::grade() const {
  const auto points = score();
  return points ? std::optional<char>(grade_of(*points, *loss_percent())) : std::nullopt;
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

void Quality::record_answer(Duration rtt) {
  record_outcome(false);
  if (last_) {
    const Duration difference = rtt > *last_ ? rtt - *last_ : *last_ - rtt;
    const Duration before = jitter_.value_or(Duration::zero());
    jitter_ = before + (difference - before) / 16;  // RFC 3550 section 6.4.1
  }
  last_ = rtt;
  recent_[answers_++ % kTrendWindow] = rtt;
  ema_ = ema_ ? scaled(rtt, kSmoothing) + scaled(*ema_, 1 - kSmoothing) : rtt;
  min_ = min_ ? std::min(*min_, rtt) : rtt;
}

void Quality::record_loss() { record_outcome(true); }

std::optional<double> Quality::loss_percent() const {
  if (count_ == 0) return std::nullopt;
  return 100.0 * static_cast<double>(lost_.count()) / static_cast<double>(count_);
}

void Quality::record_outcome(bool lost) {
  lost_.set(next_, lost);
  next_ = (next_ + 1) % kLossWindow;
  count_ = std::min(count_ + 1, kLossWindow);
}

}  // namespace lanrage::paths
