// How good one path is, from the probes sent on it: round trip (last, smoothed, smallest), jitter, loss.
// A value with no clock; whoever probes feeds it. Smoothing is 0.3 x sample + 0.7 x before, jitter the estimator of
// RFC 3550 section 6.4.1 over round trips, loss the share of lost ones among the last kLossWindow probes.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>

#include "base/time.h"

namespace lanrage::paths {

inline constexpr std::size_t kLossWindow = 100;

class Quality {
 public:
  void record_answer(Duration rtt);
  void record_loss();

  std::optional<Duration> rtt_last() const { return last_; }
  std::optional<Duration> rtt_ema() const { return ema_; }
  std::optional<Duration> rtt_min() const { return min_; }
  std::optional<Duration> jitter() const { return jitter_; }  // from the second answer on
  std::optional<double> loss_percent() const;                 // from the first probe on
  std::size_t probes() const { return count_; }               // in the window
  std::size_t lost() const { return lost_.count(); }          // of these

 private:
  void record_outcome(bool lost);
  std::optional<Duration> last_, ema_, min_, jitter_;
  std::bitset<kLossWindow> lost_;
  std::size_t next_ = 0;
  std::size_t count_ = 0;
};

}  // namespace lanrage::paths
