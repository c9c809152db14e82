// Ctrl-C for commands that wait: told at once, between two steps, and never in the middle of one.
#pragma once

#include <csignal>

#include "base/time.h"

namespace lanrage::cli {

// While it lives SIGINT does nothing by itself; `wait` tells of it. Made before threads that should not take it.
class InterruptWatch {
 public:
  InterruptWatch();
  ~InterruptWatch();
  InterruptWatch(const InterruptWatch&) = delete;
  InterruptWatch& operator=(const InterruptWatch&) = delete;

  // Sleeps that long, or until SIGINT comes or has come: true.
  bool wait(Duration duration) const;

 private:
  sigset_t before_{};
};

}  // namespace lanrage::cli
