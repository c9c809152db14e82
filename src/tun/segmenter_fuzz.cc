// A virtio header and a frame, as bytes: whatever is accepted is cut into packets that stay in bounds, parse, have true
// checksums and hold the frame's payload in order; cutting in place and by copy agree.
#include "base/check.h"
#include "tun/offload.h"
#include "wire/ip.h"

using namespace lanrage;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < tun::VnetHeader::kSize) return 0;
  const tun::VnetHeader vnet = tun::VnetHeader::load(data);
  Bytes frame(data + tun::VnetHeader::kSize, data + size);
  Bytes copy = frame;
  auto in_place = tun::Segmenter::start(vnet, frame);
  auto by_copy = tun::Segmenter::start(vnet, copy);
  LR_CHECK(in_place.has_value() == by_copy.has_value());
  if (!in_place) return 0;
  const bool cut = vnet.gso_type != tun::VnetHeader::kGsoNone;
  std::size_t taken = 0;
  Bytes out(by_copy->packet_size_max());
  while (in_place->left() > 0) {
    const ByteView packet = in_place->next();
    const std::size_t copied = by_copy->next_into(out);
    LR_CHECK(to_bytes(packet) == Bytes(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(copied)));
    LR_CHECK(packet.size() <= in_place->packet_size_max());
    if (cut) {
      const auto ip = wire::parse_ip(packet);
      LR_CHECK(ip && ip->size == packet.size() && wire::has_valid_checksum(packet, *ip));
    }
    ++taken;
  }
  LR_CHECK(taken == in_place->count() && in_place->next().empty() && by_copy->next_into(out) == 0);
  return 0;
}
