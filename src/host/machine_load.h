// How busy this machine is: /proc/stat and /proc/meminfo, and our own share of its memory.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace lanrage::host {

// Time of all cores since the machine started, in the kernel's ticks.
struct CpuTimes {
  std::uint64_t busy = 0, total = 0;
};

std::optional<CpuTimes> read_cpu_times();
std::optional<double> read_memory_used();  // 0 to 1: what programs cannot get any more
std::uint64_t read_own_memory();           // bytes resident; 0: unknown

// Of the text of /proc/stat; and of /proc/meminfo. Nothing where it does not say.
std::optional<CpuTimes> parse_cpu_times(std::string_view text);
std::optional<double> parse_memory_used(std::string_view text);

}  // namespace lanrage::host
