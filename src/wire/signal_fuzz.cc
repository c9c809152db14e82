// Every signal that parses is written back so that it is read again as the same; no input opens under a key.
#include "base/check.h"
#include "wire/signal.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView bytes(data, size);
  if (const auto signal = wire::parse_signal(bytes))
    LR_CHECK(wire::parse_signal(wire::write_signal(*signal)) == signal);
  static const crypto::Secret<struct FuzzKeyTag> key;
  LR_CHECK(!wire::open_signal(bytes, key.bytes(), {}, {}));
  return 0;
}
