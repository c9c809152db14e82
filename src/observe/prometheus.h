// Prometheus text exposition (format 0.0.4), written in one pass from the plain counters that the cores keep.
//
// A value; any thread. Names and label values are ours: bounded in number, never a player's.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/timing.h"

namespace lanrage::observe {

class MetricsText {
 public:
  using Labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  // Samples of one name follow each other: the help line is written when the name changes.
  void counter(std::string_view name, std::string_view help, std::uint64_t value, Labels labels = {});
  void gauge(std::string_view name, std::string_view help, double value, Labels labels = {});
  // lanrage_operation_seconds, one histogram per operation seen.
  void timings(const Timings& timings);

  const std::string& text() const { return out_; }

 private:
  void head(std::string_view name, std::string_view type, std::string_view help);
  void sample(std::string_view name, Labels labels, std::string_view value);
  std::string out_;
  std::string last_;
};

}  // namespace lanrage::observe
