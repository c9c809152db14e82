// Points in time as values.
//
// `Time` counts CLOCK_BOOTTIME (sleep counts) and `WallTime` is UTC. Neither clock type has a now(): cores get time as
// an argument and cannot cheat; `net/clock.h` reads the real clocks, the simulator makes up its own.
#pragma once

#include <chrono>
#include <cstdint>

namespace lanrage {

using Duration = std::chrono::nanoseconds;

struct BootClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootClock>;
  static constexpr bool is_steady = true;
};
using Time = BootClock::time_point;

struct UtcClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<UtcClock>;
  static constexpr bool is_steady = false;
};
using WallTime = UtcClock::time_point;  // since 1970-01-01T00:00:00Z, leap seconds not counted

// Both clocks read at the same moment, for cores that need the calendar too.
struct Now {
  Time time;
  WallTime wall;
};

inline constexpr Time kNever = Time::max();

constexpr std::int64_t unix_seconds(WallTime t) {
  return std::chrono::floor<std::chrono::seconds>(t.time_since_epoch()).count();
}
constexpr WallTime from_unix_seconds(std::int64_t s) { return WallTime{std::chrono::seconds{s}}; }
constexpr double milliseconds(Duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

}  // namespace lanrage
