// Waits for file descriptors, a wake-up from another thread, or a deadline (epoll).
//
// One thread owns a poller and calls `add`, `modify`, `remove` and `wait`; `wake` is for every thread. A descriptor is
// level-triggered and known by the tag its owner chose. Timeouts run on CLOCK_MONOTONIC, which stands still while the
// machine sleeps: a caller that counts in `Time` sees more time passed than it waited for, and just handles what is
// due.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "base/time.h"
#include "net/event.h"
#include "net/fd.h"

namespace lanrage::net {

enum class Interest : std::uint8_t { kRead, kWrite, kReadWrite };

struct Ready {
  std::uint64_t tag = 0;
  bool readable = false;
  bool writable = false;
  bool failed = false;  // error or hang-up: read it to learn more
};

class Poller {
 public:
  static constexpr std::size_t kBatchMax = 64;                  // descriptors told by one wait; the rest come next time
  static constexpr std::uint64_t kWakeTag = ~std::uint64_t{0};  // reserved

  static Result<Poller> create();

  Result<void> add(int fd, std::uint64_t tag, Interest interest = Interest::kRead);
  Result<void> modify(int fd, std::uint64_t tag, Interest interest);
  void remove(int fd);

  // Waits until `deadline` (kNever: for ever; past: looks without waiting). The answer is valid until the next call and
  // empty after the deadline, a wake-up or a signal.
  std::span<const Ready> wait(Time now, Time deadline);

  void wake() { event_.signal(); }  // any thread: the current or next wait returns

 private:
  Poller(Fd epoll, Event event) : epoll_(std::move(epoll)), event_(std::move(event)) {}
  Result<void> control(int operation, int fd, std::uint64_t tag, Interest interest);

  Fd epoll_;
  Event event_;
  std::array<Ready, kBatchMax> ready_{};
};

}  // namespace lanrage::net
