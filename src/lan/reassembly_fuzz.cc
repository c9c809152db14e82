// Any bytes, cut into frames of a length each, as fragments: what comes out is a whole packet as large as it says. And
// whatever is a whole packet survives being cut and put together, in either order.
#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "lan/reassembly.h"

using namespace lanrage;

namespace {

void any_fragments(ByteView input) {
  lan::Reassembly reassembly;
  while (input.size() > 1) {
    const std::size_t size = std::min<std::size_t>(input[0], input.size() - 1);
    const ByteView packet = input.subspan(1, size);
    input = input.subspan(1 + size);
    const auto ip = wire::parse_ip(packet);
    if (!ip || !ip->fragment) continue;
    if (const auto whole = reassembly.handle_fragment(Time{}, 1, packet.first(ip->size), *ip)) {
      const auto out = wire::parse_ip(*whole);
      LR_CHECK(!out || (out->size == whole->size() && !out->fragment));
    }
    LR_CHECK(reassembly.pending() <= lan::Reassembly::kPendingMax);
  }
}

void round_trip(ByteView packet) {
  const auto ip = wire::parse_ip(packet);
  auto pieces = wire::split_ip(packet, 576, 7);
  if (!ip || pieces.size() < 2) return;
  for (int backwards = 0; backwards < 2; ++backwards) {
    lan::Reassembly reassembly;
    std::optional<Bytes> whole;
    for (const Bytes& piece : pieces) {
      LR_CHECK(piece.size() <= 576 && !whole);
      whole = reassembly.handle_fragment(Time{}, 1, piece, *wire::parse_ip(piece));
    }
    LR_CHECK(whole && whole->size() == ip->size);
    LR_CHECK(std::equal(whole->begin() + static_cast<std::ptrdiff_t>(ip->payload_offset), whole->end(),
                        packet.begin() + static_cast<std::ptrdiff_t>(ip->payload_offset)));
    std::reverse(pieces.begin(), pieces.end());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  any_fragments({data, size});
  round_trip({data, size});
  return 0;
}
