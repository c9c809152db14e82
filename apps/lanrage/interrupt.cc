#include "interrupt.h"

#include <algorithm>

namespace lanrage::cli {
namespace {

sigset_t only_interrupt() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  return set;
}

}  // namespace

InterruptWatch::InterruptWatch() {
  // A shell gives its background jobs an ignored SIGINT, which would never become pending.
  std::signal(SIGINT, SIG_DFL);
  const sigset_t set = only_interrupt();
  ::sigprocmask(SIG_BLOCK, &set, &before_);
}

InterruptWatch::~InterruptWatch() { ::sigprocmask(SIG_SETMASK, &before_, nullptr); }

bool InterruptWatch::wait(Duration duration) const {
  const auto ns = std::max<std::int64_t>(std::chrono::nanoseconds(duration).count(), 0);
  const timespec timeout{ns / 1'000'000'000, ns % 1'000'000'000};
  const sigset_t set = only_interrupt();
  return ::sigtimedwait(&set, nullptr, &timeout) == SIGINT;
}

}  // namespace lanrage::cli
