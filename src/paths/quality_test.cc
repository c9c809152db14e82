#include "paths/quality.h"

#include <gtest/gtest.h>

namespace lanrage::paths {
namespace {

using namespace std::chrono_literals;

TEST(Quality, KnowsNothingAtFirst) {
  const Quality quality;
  EXPECT_FALSE(quality.rtt_last() || quality.rtt_ema() || quality.rtt_min() || quality.jitter());
  EXPECT_FALSE(quality.loss_percent());
}

TEST(Quality, SmoothsRoundTripsByThreeTenths) {
  Quality quality;
  quality.record_answer(20ms);
  EXPECT_EQ(quality.rtt_ema(), 20ms);
  quality.record_answer(120ms);
  EXPECT_NEAR(milliseconds(*quality.rtt_ema()), 50, 0.001);
  quality.record_answer(10ms);
  EXPECT_NEAR(milliseconds(*quality.rtt_ema()), 38, 0.001);
  EXPECT_EQ(quality.rtt_last(), 10ms);
  EXPECT_EQ(quality.rtt_min(), 10ms);
}

TEST(Quality, EstimatesJitterAsRfc3550Does) {
  Quality quality;
  quality.record_answer(20ms);
  EXPECT_FALSE(quality.jitter());
  quality.record_answer(36ms);
  EXPECT_NEAR(milliseconds(*quality.jitter()), 1, 0.001);
  quality.record_answer(20ms);
  EXPECT_NEAR(milliseconds(*quality.jitter()), 1 + (16 - 1) / 16.0, 0.001);
}

TEST(Quality, CountsLossOverTheLastHundredProbes) {
  Quality quality;
  for (int i = 0; i < 5; ++i) quality.record_loss();
  EXPECT_EQ(quality.loss_percent(), 100);
  for (int i = 0; i < 95; ++i) quality.record_answer(1ms);
  EXPECT_EQ(quality.loss_percent(), 5);
  for (int i = 0; i < 5; ++i) quality.record_answer(1ms);
  EXPECT_EQ(quality.loss_percent(), 0);
  EXPECT_EQ(quality.probes(), kLossWindow);
}

TEST(Quality, APerfectPathScoresExactlyAHundred) {
  Quality quality;
  for (int i = 0; i < 200; ++i) quality.record_answer(300us + i % 2 * 100us);
  EXPECT_EQ(quality.score(), 100.0);
  EXPECT_EQ(quality.grade(), 'A');
}

TEST(Quality, TheScoreIsTheWeightedMeanOfItsParts) {
  Quality quality;
  EXPECT_FALSE(quality.score() || quality.grade() || quality.trend());
  quality.record_answer(160ms);  // half way from 20 to 300 ms
  EXPECT_NEAR(*quality.score(), (0.35 * 50 + 0.4 * 100) / 0.75, 1e-9) << "jitter unknown";
  quality.record_answer(160ms);
  EXPECT_NEAR(*quality.score(), 0.35 * 50 + 0.25 * 100 + 0.4 * 100, 1e-9);
  for (int i = 0; i < 98; ++i) quality.record_answer(160ms);
  quality.record_loss();
  quality.record_loss();
  EXPECT_NEAR(*quality.score(), 0.35 * 50 + 0.25 * 100 + 0.4 * 60, 1e-9) << "2 % lost";
}

TEST(Quality, LatencyJitterAndLossEachLowerTheScore) {
  const auto score = [](Duration rtt, Duration swing, int lost) {
    Quality quality;
    for (int i = 0; i < 100; ++i) i < lost ? quality.record_loss() : quality.record_answer(rtt + i % 2 * swing);
    return *quality.score();
  };
  EXPECT_GT(score(30ms, 0ms, 0), score(90ms, 0ms, 0));
  EXPECT_GT(score(30ms, 0ms, 0), score(30ms, 10ms, 0));
  EXPECT_GT(score(30ms, 0ms, 1) - score(30ms, 0ms, 4), 20);
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
    Quality quality;
    for (int i = 0; i < 20; ++i) quality.record_answer(500ms);  // forgotten
    for (int i = 0; i < 9; ++i) quality.record_answer(100ms);
    quality.record_answer(rtt);
    EXPECT_EQ(quality.trend(), trend) << milliseconds(rtt);
  }
  Quality quality;
  quality.record_answer(100ms);
  quality.record_answer(200ms);
  EXPECT_FALSE(quality.trend()) << "two are none";
  quality.record_loss();
  EXPECT_FALSE(quality.trend()) << "a loss is no round trip";
}

}  // namespace
}  // namespace lanrage::paths
