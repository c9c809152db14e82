#include "node/quality_history.h"

#include <gtest/gtest.h>

namespace lanrage::node {
namespace {

using namespace std::chrono_literals;
using paths::Aggregate;

crypto::PublicKey key_of(std::uint8_t fill) {
  std::array<std::uint8_t, crypto::kKeySize> bytes{};
  bytes[0] = fill;
  return crypto::PublicKey(bytes);
}

WallTime at(int hour, Duration past = 0s) { return WallTime{std::chrono::hours(hour) + past}; }

Aggregate measured(int answered, Duration rtt, int lost = 0) {
  Aggregate out;
  out.answered = answered;
  out.lost = lost;
  out.rtt_sum = rtt * answered;
  out.rtt_min = out.rtt_max = rtt;
  out.up = out.known = 1s;
  out.rate_kbps = 4500;
  return out;
}

TEST(QualityHistory, AddsUpByTheHour) {
  QualityHistory history;
  history.add(at(100, 5s), key_of(1), measured(1, 20ms));
  history.add(at(100, 3599s), key_of(1), measured(1, 40ms, 2));
  history.add(at(101), key_of(1), measured(1, 60ms));
  history.add(at(101), key_of(2), measured(1, 80ms));
  const auto& hours = history.hours(key_of(1));
  ASSERT_EQ(hours.size(), 2u);
  EXPECT_EQ(hours[0].begins, 100);
  EXPECT_EQ(hours[0].measured.parts().rtt, 30ms);
  EXPECT_EQ(hours[0].measured.parts().loss_percent, 50);
  EXPECT_EQ(hours[1].measured.rtt_max, 60ms);
  EXPECT_TRUE(history.hours(key_of(3)).empty());
}

TEST(QualityHistory, ComesBackAsWritten) {
  QualityHistory history;
  history.add(at(100), key_of(1), measured(7, 20ms, 3));
  history.add(at(101), key_of(1), measured(1, 30ms));
  Aggregate silent;
  silent.lost = 4;
  silent.known = 10s;
  history.add(at(101), key_of(2), silent);
  QualityHistory again;
  again.restore(history.text());
  EXPECT_EQ(again.text(), history.text());
  EXPECT_EQ(again.hours(key_of(1))[0].measured.parts().rtt, 20ms);
  EXPECT_EQ(again.hours(key_of(2))[0].measured.parts().stability_percent, 0);
  again.add(at(101), key_of(1), measured(1, 50ms));
  EXPECT_EQ(again.hours(key_of(1))[1].measured.parts().rtt, 40ms) << "the hour goes on";
}

TEST(QualityHistory, SkipsWhatMeansNothing) {
  QualityHistory history;
  history.add(at(100), key_of(1), measured(7, 20ms));
  const std::string line = history.text();
  QualityHistory again;
  again.restore("\nrubbish\n" + line.substr(0, line.size() / 2) + "\n" + line + line + "AAAA 1 2 3\n" +
                line.substr(0, line.size() - 1) + " 5\n");
  EXPECT_EQ(again.text(), line);
}

TEST(QualityHistory, IsBounded) {
  QualityHistory history;
  for (int hour = 0; hour < 500; ++hour) history.add(at(hour), key_of(1), measured(1, 20ms));
  EXPECT_EQ(history.hours(key_of(1)).size(), QualityHistory::kHoursMax);
  EXPECT_EQ(history.hours(key_of(1)).front().begins, 500 - static_cast<int>(QualityHistory::kHoursMax));
  for (std::uint8_t peer = 2; peer < 60; ++peer) {
    for (int hour = 400; hour < 500; ++hour) history.add(at(hour), key_of(peer), measured(1, 20ms));
  }
  std::size_t rows = 0;
  for (std::uint8_t peer = 1; peer < 60; ++peer) rows += history.hours(key_of(peer)).size();
  EXPECT_EQ(rows, QualityHistory::kRowsMax);
  EXPECT_EQ(history.hours(key_of(59)).back().begins, 499);
  EXPECT_LT(history.hours(key_of(1)).size(), 100u) << "the oldest made room";
}

TEST(QualityHistory, AClockThatJumpsBackKeepsTheOrder) {
  QualityHistory history;
  for (const int hour : {100, 90, 100, 95}) history.add(at(hour), key_of(1), measured(1, 20ms));
  std::vector<std::int64_t> begins;
  for (const auto& hour : history.hours(key_of(1))) begins.push_back(hour.begins);
  EXPECT_EQ(begins, (std::vector<std::int64_t>{90, 95, 100}));
}

}  // namespace
}  // namespace lanrage::node
