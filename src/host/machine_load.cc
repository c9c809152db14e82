#include "host/machine_load.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "host/proc_file.h"

namespace lanrage::host {
namespace {

constexpr std::uint64_t kValueMax = std::uint64_t{1} << 56;  // sums of ten do not overflow
constexpr std::size_t kTimesCounted = 8;                     // user to steal; what follows is part of user and nice
constexpr std::size_t kIdle = 3, kWaiting = 4;

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > kValueMax) return std::nullopt;
  return value;
}

}  // namespace

std::optional<CpuTimes> parse_cpu_times(std::string_view text) {
  const std::vector<std::string_view> words = words_of(text.substr(0, text.find('\n')));
  if (words.size() <= kTimesCounted || words[0] != "cpu") return std::nullopt;
  CpuTimes times;
  for (std::size_t i = 0; i < kTimesCounted; ++i) {
    const auto value = number_of(words[1 + i]);
    if (!value) return std::nullopt;
    times.total += *value;
    if (i != kIdle && i != kWaiting) times.busy += *value;
  }
  return times;
}

std::optional<double> parse_memory_used(std::string_view text) {
  std::optional<std::uint64_t> total, available;
  for_each_line(text, [&](std::string_view line) {
    const std::vector<std::string_view> words = words_of(line);
    if (words.size() < 2) return;
    if (words[0] == "MemTotal:") total = number_of(words[1]);
    if (words[0] == "MemAvailable:") available = number_of(words[1]);
  });
  if (!total || !available || *total == 0) return std::nullopt;
  return 1 - static_cast<double>(std::min(*available, *total)) / static_cast<double>(*total);
}

std::optional<CpuTimes> read_cpu_times() { return parse_cpu_times(read_proc_file("/proc/stat")); }
std::optional<double> read_memory_used() { return parse_memory_used(read_proc_file("/proc/meminfo")); }

std::uint64_t read_own_memory() {
  const std::string text = read_proc_file("/proc/self/statm");
  const std::vector<std::string_view> words = words_of(text);
  const auto pages = words.size() > 1 ? number_of(words[1]) : std::nullopt;
  return pages.value_or(0) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace lanrage::host
