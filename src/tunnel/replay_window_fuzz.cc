// The window against a set of everything seen: nothing twice, nothing inside the window refused.
// Input: steps of 3 bytes: how to move (1), how far (2).
#include <algorithm>
#include <set>

#include "base/check.h"
#include "tunnel/replay_window.h"

using lanrage::tunnel::ReplayWindow;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ReplayWindow window;
  std::set<std::uint64_t> seen;
  std::uint64_t next = 0;  // one more than the greatest
  for (; size >= 3; data += 3, size -= 3) {
    const std::uint64_t distance = data[1] | std::uint64_t{data[2]} << 8;
    std::uint64_t counter = next;
    switch (data[0] % 4) {
      case 0:
        counter += distance;
        break;
      case 1:
        counter -= std::min(counter, distance);
        break;
      case 2:
        counter += distance << (data[0] >> 4);
        break;
      case 3:
        counter -= std::min(counter, ReplayWindow::kSize - 32 + distance % 64);
        break;
    }
    const bool expected = (counter >= next || next - counter <= ReplayWindow::kSize) && !seen.contains(counter);
    LR_CHECK(window.would_accept(counter) == expected);
    LR_CHECK(window.accept(counter) == expected);
    LR_CHECK(!window.would_accept(counter) || !expected);
    seen.insert(counter);
    next = std::max(next, counter + 1);
    LR_CHECK(window.next() == next);
  }
  return 0;
}
