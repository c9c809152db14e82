// The sliding window against replays (RFC 6479: a ring of 64-bit words, moved by whole words).
//
// Remembers which of the newest kSize counters were seen. Owned by the RX thread, inside its ReceiveKey: checked before
// a packet is opened, updated only after it proved genuine.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace lanrage::tunnel {

class ReplayWindow {
 public:
  // How far behind the newest counter a packet may come. 8192 packets are 6 ms at 1.3 million packets per second.
  static constexpr std::uint64_t kSize = 8192;

  // Not seen and not too old. Changes nothing.
  bool would_accept(std::uint64_t counter) const {
    if (counter >= next_) return true;
    if (next_ - counter > kSize) return false;
    return (words_[word(counter)] & bit(counter)) == 0;
  }

  // The same, and marks it seen.
  bool accept(std::uint64_t counter) {
    if (!would_accept(counter)) return false;
    if (counter >= next_) {
      advance(counter);
      next_ = counter + 1;
    }
    words_[word(counter)] |= bit(counter);
    return true;
  }

  // One more than the greatest counter accepted; 0 before the first. `counter + 1 == next()` right after accept means
  // that this packet is the newest, the only kind that may move a peer's endpoint. The greatest possible counter,
  // 2^64 - 1, is never accepted by a session (it ends 2^13 before), so this does not wrap.
  std::uint64_t next() const { return next_; }

 private:
  static constexpr std::size_t kBits = 64;
  // More words than the window needs: the word being filled never covers counters that are still valid.
  static constexpr std::size_t kWords = kSize / kBits * 2;
  static_assert((kWords & (kWords - 1)) == 0, "so that the ring's index survives the counter's wrap");

  static constexpr std::size_t word(std::uint64_t counter) { return (counter / kBits) % kWords; }
  static constexpr std::uint64_t bit(std::uint64_t counter) { return std::uint64_t{1} << (counter % kBits); }

  // Clears the words between the newest counter's and the new one's.
  void advance(std::uint64_t counter) {
    const std::uint64_t newest = next_ == 0 ? 0 : (next_ - 1) / kBits;
    const std::uint64_t target = counter / kBits;
    if (target - newest >= kWords) {
      words_.fill(0);
      return;
    }
    for (std::uint64_t i = newest + 1; i <= target; ++i) words_[i % kWords] = 0;
  }

  std::array<std::uint64_t, kWords> words_{};
  std::uint64_t next_ = 0;
};

}  // namespace lanrage::tunnel
