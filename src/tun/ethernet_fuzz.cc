// Any Ethernet frame from the kernel: no answer to what is no question, answers are well formed.
#include "base/check.h"
#include "tun/ethernet.h"
#include "wire/ip.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const tun::EthernetLayer layer({2, 0, 0, 0, 0, 1}, {{{IpAddress::v4(10, 66, 3, 1), 24}},
                                                             {{IpAddress::v4(10, 66, 3, 2), {2, 0, 0, 0, 0, 0xa}},
                                                              {*IpAddress::parse("fd66::2"), {2, 0, 0, 0, 0, 0xa}}}});
  const ByteView frame{data, size};
  const auto inbound = layer.handle_frame(frame);
  LR_CHECK(!(inbound.is_ip && inbound.answer));
  if (inbound.is_ip) LR_CHECK(frame.size() > tun::kEthernetHeaderSize);
  if (inbound.answer) LR_CHECK(inbound.answer->size() == 42 || inbound.answer->size() == 86);
  LR_CHECK((layer.header_for(frame)[6] & 3) == 2);
  return 0;
}
