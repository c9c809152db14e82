// Whatever is read has the family that was asked for; nothing beyond the message is looked at.
#include "base/check.h"
#include "wire/icmp.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  for (const bool v6 : {false, true}) {
    if (const auto found = wire::parse_undelivered(ByteView(data, size), v6))
      LR_CHECK(found->source.address.is_v6() == v6 && found->destination.address.is_v6() == v6 &&
               !(v6 && found->expired));
  }
  return 0;
}
