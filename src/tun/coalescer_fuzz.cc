// A batch of packets, each with a 16-bit length before it: merging and cutting again gives every packet back byte for
// byte (but for IPv4 ids that mean nothing), every flow in its order.
#include <map>

#include "base/check.h"
#include "tun/offload.h"
#include "wire/ip.h"

using namespace lanrage;

namespace {

// What may legally differ after a merge: the id of an IPv4 packet that must not be fragmented, and the sum over it.
Bytes without_id(ByteView packet) {
  Bytes out = to_bytes(packet);
  if (out.size() >= 20 && out[0] == 0x45 && (out[6] & 0x40) != 0) out[4] = out[5] = out[10] = out[11] = 0;
  return out;
}

// Where order counts: addresses, protocol and ports of whole, well-formed packets. The rest is of no flow.
Bytes flow_of(ByteView packet) {
  const auto ip = wire::parse_ip(packet);
  if (!ip || ip->fragment || ip->size != packet.size() || ip->payload_size() < 8) return {};
  if (!ip->v6 && (packet[6] & 0x80) != 0) return {};
  if (ip->protocol == wire::kProtocolTcp && !wire::parse_tcp(packet.subspan(ip->payload_offset))) return {};
  Bytes key = to_bytes(packet.subspan(ip->payload_offset, 4));
  key.push_back(ip->protocol);
  append(key, ip->source.bytes());
  append(key, ip->destination.bytes());
  key.push_back(static_cast<std::uint8_t>(ip->payload_offset));
  return key;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader reader({data, size});
  std::vector<Bytes> packets;
  while (!reader.rest().empty() && packets.size() < tun::Coalescer::kPacketsMax)
    packets.push_back(to_bytes(reader.sized_u16()));
  tun::Coalescer coalescer({true, true, true});
  std::map<Bytes, std::vector<Bytes>> before;
  for (const Bytes& packet : packets) {
    LR_CHECK(coalescer.add(packet));
    if (!packet.empty()) before[flow_of(packet)].push_back(without_id(packet));
  }
  std::map<Bytes, std::vector<Bytes>> after;
  coalescer.flush([&](const tun::Frame& frame) {
    Bytes merged;
    for (const ByteView piece : frame.pieces) append(merged, piece);
    LR_CHECK(merged.size() <= 65535);
    if (merged.empty()) return;
    auto segmenter = tun::Segmenter::start(frame.vnet, merged);
    LR_CHECK(segmenter && segmenter->count() == frame.packets.size());
    while (segmenter->left() > 0) {
      const ByteView packet = segmenter->next();
      after[flow_of(packet)].push_back(without_id(packet));
    }
  });
  // Packets of no flow keep no order among themselves but their arrival, which is the same for all of them.
  LR_CHECK(before == after);
  return 0;
}
