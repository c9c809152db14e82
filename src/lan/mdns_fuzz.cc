// The rewriter keeps within the message and changes nothing when no address is local.
#include <cstdint>

#include "base/check.h"
#include "lan/mdns_rewriter.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace lanrage;
  const Bytes before(data, data + size);
  Bytes message = before;
  const auto v6 = IpAddress::parse("fd00::2");
  lan::rewrite_mdns(
      message, [](const IpAddress&) { return false; }, IpAddress::v4(10, 66, 1, 2), v6);
  LR_CHECK(message == before);
  const auto all = [](const IpAddress&) { return true; };
  lan::rewrite_mdns(message, all, IpAddress::v4(10, 66, 1, 2), v6);
  LR_CHECK(message.size() == size);
  LR_CHECK(lan::rewrite_mdns(message, all, IpAddress::v4(10, 66, 1, 2), v6) == 0);
  return 0;
}
