#include "wire/endpoint.h"

#include <algorithm>

namespace lanrage::wire {

void write_endpoint(std::uint8_t* out, const std::optional<Endpoint>& endpoint) {
  std::fill_n(out, kEndpointBytes, std::uint8_t{0});
  if (!endpoint) return;
  out[0] = endpoint->address.is_v4() ? 4 : 6;
  store_be(out + 1, endpoint->port);
  const ByteView address = endpoint->address.bytes();
  std::copy(address.begin(), address.end(), out + 3);
}

bool read_endpoint(ByteView bytes, std::optional<Endpoint>& out) {
  out.reset();
  if (bytes.size() != kEndpointBytes) return false;
  const std::size_t length = bytes[0] == 4 ? 4 : bytes[0] == 6 ? 16 : 0;
  if (bytes[0] != 0 && length == 0) return false;
  const ByteView unused = bytes.subspan(length == 0 ? 1 : 3 + length);
  if (std::any_of(unused.begin(), unused.end(), [](std::uint8_t b) { return b != 0; })) return false;
  if (length == 0) return true;
  const auto address = IpAddress::from_bytes(bytes.subspan(3, length));
  if (!address || address->is_v4() != (length == 4)) return false;
  out = Endpoint{*address, load_be<std::uint16_t>(bytes.data() + 1)};
  return true;
}

}  // namespace lanrage::wire
