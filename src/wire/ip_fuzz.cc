// Any bytes as an IP packet: what parses stays in its bounds, and every rewrite leaves it parseable and as valid as
// it was.
#include "base/check.h"
#include "wire/ip.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes packet(data, data + size);
  const auto ip = wire::parse_ip(packet);
  if (!ip) return 0;
  LR_CHECK(ip->size <= packet.size() && ip->payload_offset <= ip->size);
  const ByteView segment = ByteView{packet}.subspan(ip->payload_offset, ip->payload_size());
  if (const auto tcp = wire::parse_tcp(segment)) LR_CHECK(tcp->header_size <= segment.size());
  if (const auto udp = wire::parse_udp_packet(packet)) LR_CHECK(udp->payload.size() + 8 <= segment.size());
  const bool valid = wire::has_valid_checksum(packet, *ip);

  const IpAddress other = ip->v6 ? *IpAddress::parse("fd00::99") : IpAddress::v4(10, 66, 0, 99);
  wire::rewrite_source(packet, *ip, other);
  wire::rewrite_destination(packet, *wire::parse_ip(packet), other);
  wire::rewrite_ecn(packet, *wire::parse_ip(packet), wire::kEcnCapable0);
  const auto after = wire::parse_ip(packet);
  LR_CHECK(after && after->source == other && after->destination == other);
  LR_CHECK(!valid || wire::has_valid_checksum(packet, *after));
  if (wire::store_checksum(packet, *after)) LR_CHECK(wire::has_valid_checksum(packet, *after));
  return 0;
}
