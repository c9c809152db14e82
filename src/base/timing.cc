#include "base/timing.h"

namespace lanrage {

void Timings::record(Operation operation, Duration duration) {
  Series& series = series_[operation.id];
  const double seconds = std::chrono::duration<double>(duration).count();
  std::size_t bucket = 0;
  while (bucket < kBounds.size() && seconds > kBounds[bucket]) ++bucket;
  series.count.fetch_add(1, std::memory_order_relaxed);
  series.sum_ns.fetch_add(static_cast<std::uint64_t>(duration.count()), std::memory_order_relaxed);
  series.buckets[bucket].fetch_add(1, std::memory_order_relaxed);
}

std::vector<Timings::Summary> Timings::summaries() const {
  static constexpr const char* kNames[] = {
#define X(id, name) name,
      LR_OPERATIONS(X)
#undef X
  };
  std::vector<Summary> out;
  for (std::size_t i = 0; i < series_.size(); ++i) {
    const Series& series = series_[i];
    const std::uint64_t count = series.count.load(std::memory_order_relaxed);
    if (count == 0) continue;
    Summary summary{kNames[i], count, static_cast<double>(series.sum_ns.load(std::memory_order_relaxed)) * 1e-9, {}};
    for (std::size_t b = 0; b < summary.buckets.size(); ++b) {
      summary.buckets[b] = series.buckets[b].load(std::memory_order_relaxed);
    }
    out.push_back(summary);
  }
  return out;
}

}  // namespace lanrage
