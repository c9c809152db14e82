#include "wire/lan.h"

#include <algorithm>

#include "wire/ip.h"

namespace lanrage::wire {

std::optional<LanEnvelope> LanEnvelope::parse(ByteView inner) {
  ByteReader reader(inner);
  const std::uint8_t type = reader.u8();
  const std::uint8_t flags = reader.u8();
  LanEnvelope envelope;
  envelope.origin = reader.array<8>();
  envelope.sequence = reader.u64_be();
  if (!reader.ok() || type != kType || flags != 0) return std::nullopt;
  const auto ip = parse_ip(reader.rest());
  if (!ip) return std::nullopt;
  envelope.packet = reader.rest().first(ip->size);
  const ByteView padding = reader.rest().subspan(ip->size);
  if (padding.size() > kPaddingBytesMax) return std::nullopt;
  if (std::any_of(padding.begin(), padding.end(), [](std::uint8_t b) { return b != 0; })) return std::nullopt;
  return envelope;
}

Bytes LanEnvelope::bytes() const {
  ByteWriter writer;
  writer.u8(kType).u8(0).bytes(origin).u64_be(sequence).bytes(packet);
  return writer.take();
}

}  // namespace lanrage::wire
