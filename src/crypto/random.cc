#include "crypto/random.h"

#include <openssl/rand.h>

#include <algorithm>

#include "base/check.h"

namespace lanrage::crypto {

void SystemRng::fill(MutableBytes out) {
  constexpr std::size_t kStep = 1 << 20;  // RAND_bytes counts in int
  while (!out.empty()) {
    const std::size_t count = std::min(out.size(), kStep);
    LR_CHECK(RAND_bytes(out.data(), static_cast<int>(count)) == 1);
    out = out.subspan(count);
  }
}

}  // namespace lanrage::crypto
