// What was read of NAT-PMP and PCP survives being written and read again, and no question is an answer.
#include "base/check.h"
#include "wire/port_control.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView datagram(data, size);
  const auto pcp_request = wire::parse_pcp_request(datagram);
  const auto pcp_answer = wire::parse_pcp_answer(datagram);
  const auto request = wire::parse_natpmp_request(datagram);
  const auto answer = wire::parse_natpmp_answer(datagram);
  LR_CHECK(!(pcp_request && pcp_answer) && !(request && answer));
  if (pcp_request) LR_CHECK(wire::parse_pcp_request(wire::write_pcp(*pcp_request)) == pcp_request);
  if (pcp_answer) LR_CHECK(wire::parse_pcp_answer(wire::write_pcp(*pcp_answer)) == pcp_answer);
  if (request) LR_CHECK(wire::parse_natpmp_request(wire::write_natpmp(*request)) == request);
  if (answer) LR_CHECK(wire::parse_natpmp_answer(wire::write_natpmp(*answer)) == answer);
  return 0;
}
