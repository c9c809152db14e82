#include "base/rng.h"

#include <bit>

#include "base/check.h"

namespace lanrage {

std::uint32_t Rng::u32() {
  std::uint8_t raw[4];
  fill(raw);
  return load_le<std::uint32_t>(raw);
}

std::uint64_t Rng::u64() {
  std::uint8_t raw[8];
  fill(raw);
  return load_le<std::uint64_t>(raw);
}

std::uint64_t Rng::below(std::uint64_t bound) {
  LR_CHECK(bound > 0);
  const std::uint64_t rejected = (0 - bound) % bound;  // 2^64 mod bound: drop these so that no value is likelier
  for (;;) {
    std::uint64_t v = u64();
    if (v >= rejected) return v % bound;
  }
}

double Rng::unit() { return static_cast<double>(u64() >> 11) * 0x1.0p-53; }

SeededRng::SeededRng(std::uint64_t seed) {
  for (std::uint64_t& word : state_) {
    seed += 0x9e3779b97f4a7c15;
    std::uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    word = z ^ (z >> 31);
  }
}

std::uint64_t SeededRng::step() {
  const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const std::uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

void SeededRng::fill(MutableBytes out) {
  while (!out.empty()) {
    std::uint8_t raw[8];
    store_le(raw, step());
    const std::size_t count = out.size() < 8 ? out.size() : 8;
    std::memcpy(out.data(), raw, count);
    out = out.subspan(count);
  }
}

}  // namespace lanrage
