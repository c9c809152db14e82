// The operating system's randomness. Cores take an `Rng&`; this is the one that real programs pass.
#pragma once

#include "base/rng.h"

namespace lanrage::crypto {

// Cryptographically secure (OpenSSL's generator, seeded by the kernel, safe across fork). Any thread.
class SystemRng final : public Rng {
 public:
  void fill(MutableBytes out) override;
};

}  // namespace lanrage::crypto
