#include "observe/prometheus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lanrage::observe {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

TEST(MetricsText, WritesHelpOncePerName) {
  MetricsText metrics;
  metrics.counter("lanrage_lan_dropped_total", "Dropped.", 3, {{"reason", "echo"}});
  metrics.counter("lanrage_lan_dropped_total", "Dropped.", 4, {{"reason", "not_udp"}});
  metrics.gauge("lanrage_peers", "Members.", 2);
  EXPECT_EQ(metrics.text(),
            "# HELP lanrage_lan_dropped_total Dropped.\n# TYPE lanrage_lan_dropped_total counter\n"
            "lanrage_lan_dropped_total{reason=\"echo\"} 3\nlanrage_lan_dropped_total{reason=\"not_udp\"} 4\n"
            "# HELP lanrage_peers Members.\n# TYPE lanrage_peers gauge\nlanrage_peers 2\n");
}

TEST(MetricsText, HistogramsAreCumulativeAndEndAtInfinity) {
  Timings timings;
  timings.record(op::kJoinParty, 3ms);
  timings.record(op::kJoinParty, 1h);
  MetricsText metrics;
  metrics.timings(timings);
  EXPECT_THAT(metrics.text(),
              HasSubstr("lanrage_operation_seconds_bucket{operation=\"join_party\",le=\"0.0025\"} 0\n"));
  EXPECT_THAT(metrics.text(), HasSubstr("lanrage_operation_seconds_bucket{operation=\"join_party\",le=\"0.005\"} 1\n"));
  EXPECT_THAT(metrics.text(), HasSubstr("lanrage_operation_seconds_bucket{operation=\"join_party\",le=\"+Inf\"} 2\n"));
  EXPECT_THAT(metrics.text(), HasSubstr("lanrage_operation_seconds_count{operation=\"join_party\"} 2\n"));
}

}  // namespace
}  // namespace lanrage::observe
