#include "observe/prometheus.h"

#include "base/format.h"

namespace lanrage::observe {

void MetricsText::head(std::string_view name, std::string_view type, std::string_view help) {
  if (name == last_) return;
  last_ = name;
  out_ += format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void MetricsText::sample(std::string_view name, Labels labels, std::string_view value) {
  out_ += name;
  char separator = '{';
  for (const auto& [key, label] : labels) {
    out_ += separator;
    out_ += format("{}=\"{}\"", key, label);
    separator = ',';
  }
  if (separator == ',') out_ += '}';
  out_ += format(" {}\n", value);
}

void MetricsText::counter(std::string_view name, std::string_view help, std::uint64_t value, Labels labels) {
  head(name, "counter", help);
  sample(name, labels, std::to_string(value));
}

void MetricsText::gauge(std::string_view name, std::string_view help, double value, Labels labels) {
  head(name, "gauge", help);
  sample(name, labels, format("{}", value));
}

void MetricsText::timings(const Timings& timings) {
  constexpr std::string_view kName = "lanrage_operation_seconds";
  for (const Timings::Summary& summary : timings.summaries()) {
    head(kName, "histogram", "How long named operations take (docs/operations.md).");
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i < summary.buckets.size(); ++i) {
      cumulative += summary.buckets[i];
      const std::string bound = i < Timings::kBounds.size() ? format("{}", Timings::kBounds[i]) : "+Inf";
      sample(format("{}_bucket", kName), {{"operation", summary.name}, {"le", bound}}, std::to_string(cumulative));
    }
    sample(format("{}_sum", kName), {{"operation", summary.name}}, format("{}", summary.sum_seconds));
    sample(format("{}_count", kName), {{"operation", summary.name}}, std::to_string(summary.count));
  }
}

}  // namespace lanrage::observe
