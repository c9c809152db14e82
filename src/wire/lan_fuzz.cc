// Whatever parses as an envelope is written back to the same bytes, but for the padding.
#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "wire/lan.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto envelope = lanrage::wire::LanEnvelope::parse({data, size});
  if (!envelope) return 0;
  const lanrage::Bytes written = envelope->bytes();
  LR_CHECK(written.size() <= size);
  LR_CHECK(std::equal(written.begin(), written.end(), data));
  const auto again = lanrage::wire::LanEnvelope::parse(written);
  LR_CHECK(again.has_value());
  LR_CHECK(again->origin == envelope->origin && again->sequence == envelope->sequence);
  return 0;
}
