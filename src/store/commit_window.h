// When a store that others wait for may write: at once while little is asked, else once in a window, so that all that
// is asked meanwhile shares one write and one sync (group commit).
//
// A bucket of kAtOnce writes that regains one per window (GCRA, ITU-T I.371), and all of them when two writes in a row
// waited and nobody came meanwhile: who asks for one thing after the other is not to wait for others. Pure; one thread.
#pragma once

#include <algorithm>

#include "base/time.h"

namespace lanrage::store {

inline constexpr Duration kCommitWindow = std::chrono::milliseconds(100);

class CommitWindow {
 public:
  static constexpr int kAtOnce = 4;  // as many as a player's join asks for one after the other

  // 0: nothing ever waits.
  explicit CommitWindow(Duration window) : window_(window) {}

  // When a write that is asked for at `now` may begin: then, or up to a window later.
  Time due(Time now) const { return std::max(now, full_ - (kAtOnce - 1) * window_); }
  // Also before it was due.
  void begun(Time now) { full_ = std::clamp(full_, now, now + (kAtOnce - 1) * window_) + window_; }
  // It had to wait, and is for so many requests now.
  void begun_after_waiting(Time now, std::size_t requests) {
    const bool alone = requests == 1;
    if (alone && was_alone_) full_ = now;
    was_alone_ = alone;
    begun(now);
  }

 private:
  const Duration window_;
  Time full_{};             // from then on the bucket is full
  bool was_alone_ = false;  // the last write that waited
};

}  // namespace lanrage::store
