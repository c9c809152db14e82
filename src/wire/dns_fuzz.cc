// Whatever is read survives being written and read again, but answers that do not fit.
#include "base/check.h"
#include "wire/dns.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto message = wire::parse_dns(ByteView(data, size));
  if (!message) return 0;
  const Bytes written = wire::encode_dns(*message);
  LR_CHECK(written.size() <= wire::kDnsBytesMax);
  const auto again = wire::parse_dns(written);
  LR_CHECK(again && again->name == message->name && again->edns == message->edns);
  if (!again->truncated) LR_CHECK(*again == *message);
  return 0;
}
