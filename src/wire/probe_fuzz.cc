// Nothing that the fuzzer makes up passes the MAC unless it was written under the key: every probe that opens is
// written back byte for byte. The input's MAC is put right first, so that the fields behind it are reached.
#include <algorithm>

#include "base/check.h"
#include "crypto/hash.h"
#include "wire/probe.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const crypto::Secret<struct FuzzKeyTag> key;
  LR_CHECK(!wire::open_probe({data, size}, key.bytes()));
  if (size < crypto::kMacSize) return 0;
  Bytes datagram(data, data + size);
  const std::size_t covered = size - crypto::kMacSize;
  const crypto::Mac mac = crypto::blake2s_mac16(key.bytes(), {ByteView(datagram).first(covered)});
  std::copy(mac.begin(), mac.end(), datagram.begin() + static_cast<std::ptrdiff_t>(covered));
  if (const auto probe = wire::open_probe(datagram, key.bytes())) {
    const wire::ProbeBytes again = wire::write_probe(*probe, key.bytes());
    LR_CHECK(std::equal(again.begin(), again.end(), datagram.begin(), datagram.end()));
  }
  return 0;
}
