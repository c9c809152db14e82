// A message is a request or a response or neither, and what was read survives being written and read again.
#include "base/check.h"
#include "wire/stun.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const ByteView datagram(data, size);
  const auto request = wire::parse_stun_request(datagram);
  const auto response = wire::parse_stun_response(datagram);
  LR_CHECK(!request || !response);
  if (response) {
    Bytes written(wire::kStunResponseBytesMax);
    written.resize(wire::write_stun_response(*response, written));
    const auto again = wire::parse_stun_response(written);
    LR_CHECK(again && again->mapped == response->mapped && again->fingerprint == response->fingerprint);
    LR_CHECK(again->transaction == response->transaction && again->other == response->other);
  }
  if (request) {
    const Bytes written =
        wire::write_stun_discovery(request->transaction, request->change_address, request->change_port);
    const auto again = wire::parse_stun_request(written);
    LR_CHECK(again && again->change_address == request->change_address && again->change_port == request->change_port);
    LR_CHECK(again->transaction == request->transaction);
  }
  return 0;
}
