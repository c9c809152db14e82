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

}  // namespace
}  // namespace lanrage::paths
