#include "paths/quality.h"

#include <algorithm>

namespace lanrage::paths {
namespace {

constexpr double kSmoothing = 0.3;

Duration scaled(Duration d, double factor) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(d.count()) * factor));
}

}  // namespace

void Quality::record_answer(Duration rtt) {
  record_outcome(false);
  if (last_) {
    const Duration difference = rtt > *last_ ? rtt - *last_ : *last_ - rtt;
    const Duration before = jitter_.value_or(Duration::zero());
    jitter_ = before + (difference - before) / 16;  // RFC 3550 section 6.4.1
  }
  last_ = rtt;
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
