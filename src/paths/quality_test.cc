#include "paths/quality.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/rng.h"

namespace lanrage::paths {
namespace {

using namespace std::chrono_literals;

// A Quality fed with a probe every second, or so.
struct Probed {
  Quality quality;
  Time now{1000s};

  void answer(Duration rtt, int times = 1) {
    for (; times > 0; --times, now += 1s) quality.record_answer(now, rtt);
  }
  void lose(int times = 1) {
    for (; times > 0; --times, now += 1s) quality.record_loss(now);
  }
};

TEST(Quality, KnowsNothingAtFirst) {
  const Quality quality;
  EXPECT_FALSE(quality.rtt_last() || quality.rtt_ema() || quality.rtt_min() || quality.jitter());
  EXPECT_FALSE(quality.loss_percent());
}

TEST(Quality, SmoothsRoundTripsByThreeTenths) {
  Probed path;
  path.answer(20ms);
  EXPECT_EQ(path.quality.rtt_ema(), 20ms);
  path.answer(120ms);
  EXPECT_NEAR(milliseconds(*path.quality.rtt_ema()), 50, 0.001);
  path.answer(10ms);
  EXPECT_NEAR(milliseconds(*path.quality.rtt_ema()), 38, 0.001);
  EXPECT_EQ(path.quality.rtt_last(), 10ms);
  EXPECT_EQ(path.quality.rtt_min(), 10ms);
}

TEST(Quality, ASpikeMovesTheSmoothedRoundTripByThreeTenths) {
  Probed path;
  path.answer(40ms, 20);
  path.answer(240ms);
  EXPECT_NEAR(milliseconds(*path.quality.rtt_ema()), 100, 0.001);
}

TEST(Quality, TheSmoothedRoundTripIsCloserToTheTruthThanASinglePing) {
  SeededRng rng(5);
  Probed path;
  double truth = 40, single = 0, smoothed = 0;
  for (int i = 0; i < 2000; ++i) {
    truth = std::clamp(truth + (rng.unit() - 0.5), 20.0, 120.0);  // it wanders half a millisecond a ping
    const double noise = 12 * (rng.unit() + rng.unit() + rng.unit() - 1.5);
    const double spike = rng.below(50) == 0 ? 60 * rng.unit() : 0;
    const double measured = std::max(1.0, truth + noise + spike);
    path.answer(Duration(static_cast<Duration::rep>(measured * 1e6)));
    single += (measured - truth) * (measured - truth);
    const double off = milliseconds(*path.quality.rtt_ema()) - truth;
    smoothed += off * off;
  }
  EXPECT_LE(std::sqrt(smoothed), 0.7 * std::sqrt(single));
  RecordProperty("rmse_percent_of_single", static_cast<int>(100 * std::sqrt(smoothed / single)));
}

TEST(Quality, JitterIsAMeanAtFirstAndThenAsRfc3550Says) {
  Probed path;
  for (const Duration rtt : {20ms, 36ms, 28ms, 28ms}) path.answer(rtt);
  EXPECT_FALSE(path.quality.jitter());
  path.answer(32ms);
  EXPECT_NEAR(milliseconds(*path.quality.jitter()), (16 + 8 + 0 + 4) / 4.0, 0.001);
  path.answer(28ms, 30);
  const double before = milliseconds(*path.quality.jitter());
  path.answer(38ms);
  EXPECT_NEAR(milliseconds(*path.quality.jitter()), before + (10 - before) / 16, 0.001);
}

TEST(Quality, CountsLossOverTheLastHundredProbes) {
  Probed path;
  path.lose(5);
  EXPECT_EQ(path.quality.loss_percent(), 100);
  path.answer(1ms, 95);
  EXPECT_EQ(path.quality.loss_percent(), 5);
  path.answer(1ms, 5);
  EXPECT_EQ(path.quality.loss_percent(), 0);
  EXPECT_EQ(path.quality.probes(), kPingsKept);
  EXPECT_EQ(path.quality.pings().size(), kPingsKept);
  EXPECT_EQ(path.quality.recent().size(), kTrendWindow);
}

TEST(Quality, AnAnswerThatComesLateUndoesItsLoss) {
  Probed path;
  path.answer(20ms, 9);
  path.quality.record_loss(path.now);
  EXPECT_EQ(path.quality.loss_percent(), 10);
  path.quality.record_late_answer(path.now, 900ms);
  EXPECT_EQ(path.quality.loss_percent(), 0);
  EXPECT_EQ(path.quality.rtt_last(), 900ms);
  EXPECT_EQ(path.quality.pings().back(), 900ms);
  EXPECT_EQ(path.quality.five_minutes().answered, 10);
  EXPECT_EQ(path.quality.five_minutes().lost, 0);
}

TEST(Quality, KeepsThePingsInOrder) {
  Probed path;
  for (int i = 0; i < 150; ++i) i % 10 == 0 ? path.lose() : path.answer(std::chrono::milliseconds(i));
  const auto pings = path.quality.pings();
  EXPECT_FALSE(pings.front());
  EXPECT_EQ(pings[1], 51ms);
  EXPECT_EQ(pings.back(), 149ms);
  EXPECT_EQ(path.quality.loss_percent(), 10);
}

TEST(Quality, APerfectPathScoresExactlyAHundred) {
  Probed path;
  for (int i = 0; i < 400; ++i) {
    path.answer(300us + i % 2 * 100us);
    path.quality.record_rate(path.now, 400, false);
  }
  EXPECT_EQ(path.quality.score(), 100.0);
  EXPECT_EQ(path.quality.grade(), 'A');
  EXPECT_EQ(path.quality.parts().stability_percent, 100.0);
}

TEST(Quality, TheWeightsAreAWhole) {
  EXPECT_DOUBLE_EQ(kWeights.latency + kWeights.jitter + kWeights.loss + kWeights.bandwidth + kWeights.stability, 1);
}

TEST(Quality, TheScoreIsTheWeightedMeanOfWhatIsKnown) {
  Parts parts;
  EXPECT_FALSE(score_of(parts));
  parts.rtt = 160ms;  // half way from 20 to 300 ms
  EXPECT_FALSE(score_of(parts)) << "no loss known";
  parts.loss_percent = 2;
  EXPECT_NEAR(*score_of(parts), (0.3 * 50 + 0.3 * 60) / 0.6, 1e-9);
  parts.jitter = 14ms;  // a quarter of the way from 2 to 50 ms
  EXPECT_NEAR(*score_of(parts), (0.3 * 50 + 0.3 * 60 + 0.2 * 75) / 0.8, 1e-9);
  parts.stability_percent = 90;
  EXPECT_NEAR(*score_of(parts), (0.3 * 50 + 0.3 * 60 + 0.2 * 75 + 0.1 * 90) / 0.9, 1e-9);
  parts.bandwidth = Bandwidth{4, false};
  EXPECT_NEAR(*score_of(parts), (0.3 * 50 + 0.3 * 60 + 0.2 * 75 + 0.1 * 90) / 0.9, 1e-9) << "a lower bound";
  parts.bandwidth = Bandwidth{4, true};
  EXPECT_NEAR(*score_of(parts), 0.3 * 50 + 0.3 * 60 + 0.2 * 75 + 0.1 * 90 + 0.1 * 40, 1e-9);
  parts.bandwidth = Bandwidth{50, false};
  EXPECT_NEAR(*score_of(parts), 0.3 * 50 + 0.3 * 60 + 0.2 * 75 + 0.1 * 90 + 0.1 * 100, 1e-9) << "more is not needed";
}

TEST(Quality, LatencyJitterAndLossEachLowerTheScore) {
  const auto score = [](Duration rtt, Duration swing, int lost) {
    Probed path;
    for (int i = 0; i < 100; ++i) i < lost ? path.lose() : path.answer(rtt + i % 2 * swing);
    return *path.quality.score();
  };
  EXPECT_GT(score(30ms, 0ms, 0), score(90ms, 0ms, 0));
  EXPECT_GT(score(30ms, 0ms, 0), score(30ms, 10ms, 0));
  EXPECT_GT(score(30ms, 0ms, 1) - score(30ms, 0ms, 4), 15);
}

TEST(Quality, GradesAreHalfOpenAndCappedByLoss) {
  const std::pair<double, char> bands[] = {{100, 'A'}, {90, 'A'},   {89.9, 'B'}, {70, 'B'},   {69.9, 'C'},
                                           {50, 'C'},  {49.9, 'D'}, {30, 'D'},   {29.9, 'F'}, {0, 'F'}};
  for (const auto& [score, grade] : bands) EXPECT_EQ(grade_of(score, 0), grade) << score;
  EXPECT_EQ(grade_of(100, 1.9), 'A');
  EXPECT_EQ(grade_of(100, 2), 'B');
  EXPECT_EQ(grade_of(100, 5), 'C');
  EXPECT_EQ(grade_of(40, 5), 'D');
  EXPECT_EQ(grade_of(100, 15), 'F');
}

TEST(Quality, TheTrendIsTheNewestAgainstTheMeanOfNineBefore) {
  const std::pair<Duration, Trend> steps[] = {{94ms, Trend::kImproving}, {95ms, Trend::kStable},
                                              {96ms, Trend::kStable},    {104ms, Trend::kStable},
                                              {105ms, Trend::kStable},   {106ms, Trend::kDegrading}};
  for (const auto& [rtt, trend] : steps) {
    Probed path;
    path.answer(500ms, 20);  // forgotten
    path.answer(100ms, 9);
    path.answer(rtt);
    EXPECT_EQ(path.quality.trend(), trend) << milliseconds(rtt);
  }
  Probed path;
  path.answer(100ms);
  path.answer(200ms);
  EXPECT_FALSE(path.quality.trend()) << "two are none";
  path.lose();
  EXPECT_FALSE(path.quality.trend()) << "a loss is no round trip";
}

TEST(Quality, StabilityIsTheShareOfTimeInWhichProbesWereAnswered) {
  Probed path;
  path.quality.record_silence(path.now);  // never answered yet: that is no outage
  EXPECT_FALSE(path.quality.parts().stability_percent);
  path.answer(20ms, 100);
  path.lose(3);
  for (int i = 0; i < 27; ++i, path.now += 1s) path.quality.record_silence(path.now);
  EXPECT_EQ(path.quality.probes(), kPingsKept);
  EXPECT_EQ(path.quality.lost(), 3u) << "what is sent on a dead way is no sample of loss";
  path.answer(20ms, 170);
  EXPECT_NEAR(*path.quality.parts().stability_percent, 90, 1) << "30 of 300 s";
  EXPECT_NEAR(*path.quality.hour().parts().stability_percent, 90, 1);
  path.answer(20ms, 300);
  EXPECT_EQ(path.quality.parts().stability_percent, 100);
  EXPECT_NEAR(*path.quality.hour().parts().stability_percent, 95, 1);
}

TEST(Quality, SleepIsNoOutageAndNoUptime) {
  Probed path;
  path.answer(20ms, 3);
  path.now += 180s;
  path.answer(20ms);
  EXPECT_EQ(path.quality.five_minutes().known, 2s);
}

TEST(Quality, TheFiveMinutesFollowAStep) {
  Probed path;
  path.answer(20ms, 300);
  path.answer(120ms, 150);
  const Parts half = path.quality.five_minutes().parts();
  EXPECT_NEAR(milliseconds(*half.rtt), 70, 5) << "half and half, by buckets of 15 s";
  path.answer(120ms, 150);
  EXPECT_EQ(path.quality.five_minutes().parts().rtt, 120ms);
  EXPECT_EQ(path.quality.five_minutes().rtt_max, 120ms);
}

TEST(Quality, BandwidthIsAtLeastWhatArrived) {
  Probed path;
  path.answer(20ms, 30);
  path.quality.record_rate(path.now, 0.3, false);
  EXPECT_FALSE(path.quality.parts().bandwidth) << "a game's trickle says nothing";
  path.quality.record_rate(path.now, 6, path.quality.is_full());
  ASSERT_TRUE(path.quality.parts().bandwidth);
  EXPECT_NEAR(path.quality.parts().bandwidth->mbps, 6, 1e-6);
  EXPECT_FALSE(path.quality.parts().bandwidth->full);
  path.answer(1ms, 320);
  EXPECT_FALSE(path.quality.parts().bandwidth) << "that was more than five minutes ago";
}

TEST(Quality, AWayIsFullWhenProbesQueue) {
  Probed path;
  path.answer(20ms, 60);
  path.quality.record_rate(path.now, 9.8, path.quality.is_full());
  for (int i = 0; i < 10; ++i) path.answer(80ms + i % 2 * 5ms);
  EXPECT_TRUE(path.quality.is_full());
  path.quality.record_rate(path.now, 9.6, path.quality.is_full());
  const Bandwidth found = *path.quality.parts().bandwidth;
  EXPECT_NEAR(found.mbps, 9.8, 1e-6);
  EXPECT_TRUE(found.full);

  Probed shaky;
  for (int i = 0; i < 100; ++i) shaky.answer(20ms + i * 7 % 20 * 1ms);
  EXPECT_FALSE(shaky.quality.is_full()) << "jitter is no queue";
}

TEST(Quality, IsMeasuredMoreOftenTheWorseItIs) {
  Probed path;
  path.answer(20ms, 2);
  EXPECT_EQ(path.quality.measuring_interval(), kWaryInterval) << "no trend known";
  path.answer(20ms);
  EXPECT_EQ(path.quality.measuring_interval(), kCalmInterval);
  path.answer(21500us);
  EXPECT_EQ(path.quality.trend(), Trend::kDegrading);
  EXPECT_EQ(path.quality.measuring_interval(), kCalmInterval) << "a computer's noise";
  path.answer(30ms);
  EXPECT_EQ(path.quality.measuring_interval(), kWaryInterval);
  path.answer(10ms);
  EXPECT_EQ(path.quality.measuring_interval(), kCalmInterval) << "improving counts as good";

  for (const auto& [rtt, interval] : {std::pair(49ms, kCalmInterval), std::pair(50ms, kFairInterval),
                                      std::pair(150ms, kFairInterval), std::pair(151ms, kWaryInterval)}) {
    Probed band;
    band.answer(rtt, 10);
    EXPECT_EQ(band.quality.measuring_interval(), interval) << milliseconds(rtt);
  }
}

}  // namespace
}  // namespace lanrage::paths
