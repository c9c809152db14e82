// Randomness as an argument. Cores draw from an `Rng&`; the real one is `crypto::SystemRng`, tests and the simulator
// pass a `SeededRng`, so that every run can be repeated from its seed.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace lanrage {

class Rng {
 public:
  virtual ~Rng() = default;
  virtual void fill(MutableBytes out) = 0;

  std::uint32_t u32();
  std::uint64_t u64();
  std::uint64_t below(std::uint64_t bound);  // uniform in [0, bound); bound > 0
  double unit();                             // uniform in [0, 1)
  template <std::size_t N>
  std::array<std::uint8_t, N> array() {
    std::array<std::uint8_t, N> out;
    fill(out);
    return out;
  }
};

// xoshiro256** seeded by SplitMix64 (Blackman, Vigna 2018). Repeatable, not secret.
class SeededRng final : public Rng {
 public:
  explicit SeededRng(std::uint64_t seed);
  void fill(MutableBytes out) override;

 private:
  std::uint64_t step();
  std::uint64_t state_[4];
};

}  // namespace lanrage
