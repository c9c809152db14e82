// A hostile router: any datagrams, announcements and HTTP answers in any order. Nobody but the gateway is ever talked
// to, no mapping has an address that nobody can reach, and asking stays bounded.
#include "base/check.h"
#include "base/rng.h"
#include "paths/port_mapper.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  SeededRng rng(1);
  const IpAddress gateway = IpAddress::v4(192, 168, 1, 1);
  paths::PortMapper mapper(as_bytes("secret"), rng);
  Time now{std::chrono::seconds(1)};
  const paths::PortMapper::Wanted wanted{{gateway, IpAddress::v4(192, 168, 1, 2)},
                                         {{wire::PortTransport::kUdp, 41000}, {wire::PortTransport::kTcp, 41820}}};
  mapper.want(now, wanted);
  std::uint64_t asked = 0;
  int sent = 0;
  const auto drain = [&] {
    while (const auto datagram = mapper.poll_datagram()) {
      LR_CHECK(datagram->to.address == gateway || datagram->to.address == wire::kSsdpGroup);
      ++sent;
    }
    while (const auto http = mapper.poll_http()) {
      LR_CHECK(http->url.endpoint.address == gateway);
      asked = http->id;
      ++sent;
    }
    while (const auto event = mapper.poll_event())
      for (const auto& mapping : event->mappings) LR_CHECK(paths::is_public(mapping.outside.address));
  };
  drain();
  ByteReader in({data, size});
  int steps = 0;
  while (!in.rest().empty() && ++steps < 200) {
    const std::uint8_t what = in.u8();
    switch (what % 8) {
      case 0:
      case 1:
        mapper.handle_packet(now, {gateway, what & 8 ? wire::kSsdpPort : wire::kPortControlPort}, in.sized_u16());
        break;
      case 2:
        mapper.handle_announcement(now, {gateway, wire::kPortControlPort}, in.sized_u16());
        break;
      case 3:
      case 4:
        mapper.handle_http(now, asked, paths::HttpAnswer{what & 8 ? 500 : 200, std::string(as_text(in.sized_u16()))});
        break;
      case 5:
        mapper.handle_http(now, asked, std::nullopt);
        break;
      case 6:
        mapper.want(now, what & 8 ? wanted : paths::PortMapper::Wanted{wanted.place, {}});
        break;
      default:
        now += std::chrono::milliseconds(in.u8() * 50);
        mapper.handle_timeout(now);
    }
    drain();
  }
  LR_CHECK(sent < 4000);
  return 0;
}
