// How good a way is, from the probes sent on it: the one engine for paths to peers, relays and the server.
// A value with no clock; whoever probes feeds it. Not thread-safe.
//
// Round trip: smoothed as 0.3 x sample + 0.7 x before. Jitter: RFC 3550 section 6.4.1 over round trips, the mean of the
// first sixteen differences and from there on a sixteenth of each new one. Loss: the share of the last kPingsKept
// probes. Stability: the share of time in which probes were answered; between two probes with the same outcome all of
// it counts as that, between different ones half each. Bandwidth: the most that arrived in a second, at either end, in
// the last five minutes: a lower bound, and the real thing when the way was full meanwhile, that is when probes queued.
// Rates below kRateLeastMbps say nothing.
//
// The score, 0 unusable to 100 perfect, is the weighted mean (kWeights) of five parts of 0 to 100, each linear between
// its ends: smoothed round trip (100 up to 20 ms, 0 from 300 ms), jitter (2 ms, 50 ms), loss (0, 5 %), bandwidth (10
// Mbit/s, 0), stability of the last five minutes (its percentage). What is unknown is left out and the other weights
// are scaled to 1; so is a bandwidth below 10 Mbit/s that is only a lower bound. Grades: A from 90, B from 70, C from
// 50, D from 30, else F; from 2 % loss at most B, from 5 % at most C, from 15 % F.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/time.h"

namespace lanrage::paths {

inline constexpr std::size_t kPingsKept = 100;
inline constexpr std::size_t kTrendWindow = 10;  // round trips that the trend looks at
inline constexpr std::size_t kTrendLeast = 3;    // before there is one
inline constexpr std::size_t kJitterLeast =
    4;  // differences, before there is a jitter: one may be the computer's doing
inline constexpr double kRateLeastMbps = 1;
// While nothing is played a way is measured so often: when good and steady, when middling, when bad or worsening.
inline constexpr Duration kCalmInterval = std::chrono::seconds(60);
inline constexpr Duration kFairInterval = std::chrono::seconds(30);
inline constexpr Duration kWaryInterval = std::chrono::seconds(10);

struct Weights {
  double latency, jitter, loss, bandwidth, stability;
};
inline constexpr Weights kWeights{0.3, 0.2, 0.3, 0.1, 0.1};

enum class Trend : std::uint8_t { kImproving, kStable, kDegrading };
const char* trend_name(Trend trend);

struct Bandwidth {
  double mbps = 0;
  bool full = false;  // else a lower bound
};

// What the score is made of.
struct Parts {
  std::optional<Duration> rtt, jitter;
  std::optional<double> loss_percent;
  std::optional<Bandwidth> bandwidth;
  std::optional<double> stability_percent;
};
// Nothing without a round trip and a loss.
std::optional<double> score_of(const Parts& parts);
// By the score alone and by what the loss allows.
char grade_of(double score, double loss_percent);

// What was measured in a span of time. A change of what was counted before may be negative.
struct Aggregate {
  std::int32_t answered = 0, lost = 0;  // probes
  Duration rtt_sum{}, rtt_min = Duration::max(), rtt_max{};
  Duration difference_sum{};  // between one round trip and the next
  std::int32_t differences = 0;
  Duration up{}, known{};                     // time answered, and time that is known of
  std::int32_t rate_kbps = 0, full_kbps = 0;  // highest; highest while the way was full

  void add(const Aggregate& other);
  Parts parts() const;
};

// The newest kBuckets spans of `width`, the last of them not yet over.
template <std::size_t kBuckets>
class Window {
 public:
  explicit Window(Duration width) : width_(width) {}

  void add(Time at, const Aggregate& what) {
    const std::int64_t bucket = at.time_since_epoch() / width_;
    if (bucket <= newest_ - static_cast<std::int64_t>(kBuckets)) return;
    if (bucket - newest_ >= static_cast<std::int64_t>(kBuckets)) {
      buckets_.fill({});
      newest_ = bucket;
    }
    while (newest_ < bucket) buckets_[index(++newest_)] = {};
    buckets_[index(bucket)].add(what);
  }

  Aggregate sum() const {
    Aggregate all;
    for (const Aggregate& bucket : buckets_) all.add(bucket);
    return all;
  }

 private:
  static std::size_t index(std::int64_t bucket) { return static_cast<std::uint64_t>(bucket) % kBuckets; }
  Duration width_;
  std::int64_t newest_ = 0;
  std::array<Aggregate, kBuckets> buckets_{};
};

class Quality {
 public:
  // A probe sent then was answered after `rtt`; was not answered in time; was answered after it had been recorded as
  // lost; was not answered on a way that is known to be down, so that it tells about time but is no sample of loss.
  // Each returns what it adds to an aggregate.
  Aggregate record_answer(Time sent, Duration rtt);
  Aggregate record_loss(Time sent);
  Aggregate record_late_answer(Time sent, Duration rtt);
  Aggregate record_silence(Time sent);
  // So much arrived per second, here or at the other end. is_full(): at the time of the newest answers probes queued.
  Aggregate record_rate(Time at, double mbps, bool full);
  bool is_full() const;

  std::optional<Duration> rtt_last() const { return last_; }
  std::optional<Duration> rtt_ema() const { return ema_; }
  std::optional<Duration> rtt_min() const { return min_; }
  std::optional<Duration> jitter() const;                            // from the fifth answer on
  std::optional<double> loss_percent() const;                        // from the first probe on
  std::optional<double> score() const { return score_of(parts()); }  // from the first answer on
  std::optional<char> grade() const;                                 // likewise
  Parts parts() const;
  // The newest round trip against the mean of those before it: more than 5 % of that is a change.
  std::optional<Trend> trend() const;
  std::size_t probes() const { return count_; }  // in the window
  std::size_t lost() const { return lost_; }     // of these
  // Round trips, oldest first; nothing: lost.
  std::vector<std::optional<Duration>> pings() const;
  // The ten newest round trips at most, oldest first: what the trend is made of.
  std::vector<Duration> recent() const;
  // The last five minutes and the last hour, up to the newest probe.
  Aggregate five_minutes() const { return five_minutes_.sum(); }
  Aggregate hour() const { return hour_.sum(); }
  Duration measuring_interval() const;

 private:
  void keep_ping(std::uint32_t microseconds);
  void note_rtt(Duration rtt, Aggregate& change);
  void note_outcome(Time sent, bool answered, Aggregate& change);
  Aggregate finish(Time at, const Aggregate& change);

  std::optional<Duration> last_, ema_, min_;
  Duration jitter_{};
  std::size_t differences_ = 0;
  std::array<Duration, kTrendWindow> recent_{};  // the newest at answers_ - 1, as a ring
  std::size_t answers_ = 0;
  std::array<std::uint32_t, kPingsKept> pings_{};  // microseconds or kLost, as a ring
  std::size_t next_ = 0, count_ = 0, lost_ = 0;
  std::optional<Time> outcome_at_;  // sending time of the newest probe whose outcome is known
  bool answered_ = false;           // that outcome
  Window<20> five_minutes_{std::chrono::seconds(15)};
  Window<30> hour_{std::chrono::minutes(2)};
};

}  // namespace lanrage::paths
