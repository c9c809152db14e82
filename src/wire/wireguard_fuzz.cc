// Whatever parses is written back byte for byte, and nothing parses as two types.
#include "base/check.h"
#include "wire/wireguard.h"

namespace wireguard = lanrage::wire::wireguard;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const lanrage::ByteView datagram(data, size);
  const auto same = [&](const lanrage::Bytes& written) {
    return written.size() == size && std::memcmp(written.data(), data, size) == 0;
  };
  int parsed = 0;
  if (const auto m = wireguard::parse_initiation(datagram)) {
    ++parsed;
    LR_CHECK(same(wireguard::write(*m)));
  }
  if (const auto m = wireguard::parse_response(datagram)) {
    ++parsed;
    LR_CHECK(same(wireguard::write(*m)));
  }
  if (const auto m = wireguard::parse_cookie_reply(datagram)) {
    ++parsed;
    LR_CHECK(same(wireguard::write(*m)));
  }
  if (const auto m = wireguard::parse_data(datagram)) {
    ++parsed;
    std::array<std::uint8_t, wireguard::kDataHeaderSize> header;
    wireguard::write_data_header(m->receiver, m->counter, header);
    LR_CHECK(std::memcmp(header.data(), data, header.size()) == 0);
    LR_CHECK(m->sealed.size() == size - header.size());
  }
  LR_CHECK(parsed == (wireguard::parse_type(datagram) ? 1 : 0));
  return 0;
}
