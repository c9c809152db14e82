// How good one path is, from the probes sent on it: round trip (last, smoothed, smallest), jitter, loss.
// A value with no clock; whoever probes feeds it. Smoothing is 0.3 x sample + 0.7 x before, jitter the estimator of
// RFC 3550 section 6.4.1 over round trips, loss the share of lost ones among the last kLossWindow probes.
//
// The score, 0 unusable to 100 perfect, is the weighted mean of three parts of 0 to 100, each linear between its ends:
// smoothed round trip (weight 0.35; 100 up to 20 ms, 0 from 300 ms), jitter (0.25; 2 ms, 50 ms), loss (0.4; 0, 5 %).
// While jitter is unknown the others' weights are scaled to 1. Grades: A from 90, B from 70, C from 50, D from 30, else
// F; from 2 % loss at most B, from 5 % at most C, from 15 % F.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>

#include "base/time.h"

namespace lanrage::paths {

inline constexpr std::size_t kLossWindow = 100;
inline constexpr std::size_t kTrendWindow = 10;  // round trips kept
inline constexpr std::size_t kTrendLeast = 3;    // before there is a trend

enum class Trend : std::uint8_t { kImproving, kStable, kDegrading };
const char* trend_name(Trend trend);

// By the score alone and by what the loss allows.
char grade_of(double score, double loss_percent);

class Quality {
 public:
  void record_answer(Duration rtt);
  void record_loss();

  std::optional<Duration> rtt_last() const { return last_; }
  std::optional<Duration> rtt_ema() const { return ema_; }
  std::optional<Duration> rtt_min() const { return min_; }
  std::optional<Duration> jitter() const { return jitter_; }  // from the second answer on
  std::optional<double> loss_percent() const;                 // from the first probe on
  std::optional<double> score() const;                        // from the first answer on
  std::optional<char> grade() const;                          // likewise
  // The newest round trip against the mean of those before it: more than 5 % of that is a change.
  std::optional<Trend> trend() const;
  std::size_t probes() const { return count_; }       // in the window
  std::size_t lost() const { return lost_.count(); }  // of these

 private:
  void record_outcome(bool lost);
  std::optional<Duration> last_, ema_, min_, jitter_;
  std::array<Duration, kTrendWindow> recent_{};  // the newest at answers_ - 1, as a ring
  std::size_t answers_ = 0;
  std::bitset<kLossWindow> lost_;
  std::size_t next_ = 0;
  std::size_t count_ = 0;
};

}  // namespace lanrage::paths
