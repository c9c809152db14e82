#include "wire/inner.h"

#include <algorithm>

#include "base/check.h"

namespace lanrage::wire {

std::optional<InnerType> inner_type(ByteView inner) {
  if (inner.empty()) return std::nullopt;
  switch (static_cast<InnerType>(inner[0])) {
    case InnerType::kLan:
    case InnerType::kFragment:
    case InnerType::kMember:
    case InnerType::kEcho:
      return static_cast<InnerType>(inner[0]);
  }
  return std::nullopt;
}

std::optional<Fragment> Fragment::parse(ByteView inner) {
  ByteReader reader(inner);
  if (reader.u8() != static_cast<std::uint8_t>(InnerType::kFragment)) return std::nullopt;
  Fragment fragment;
  fragment.part = reader.u8();
  fragment.id = reader.u16_be();
  fragment.payload = reader.sized_u16();
  if (!reader.ok() || fragment.part > 1 || fragment.payload.empty()) return std::nullopt;
  return fragment;
}

void Fragment::write_header(std::uint8_t* out, std::uint8_t part, std::uint16_t id, std::size_t payload_bytes) {
  LR_DCHECK(part <= 1 && payload_bytes > 0 && payload_bytes <= 0xffff);
  out[0] = static_cast<std::uint8_t>(InnerType::kFragment);
  out[1] = part;
  store_be(out + 2, id);
  store_be(out + 4, static_cast<std::uint16_t>(payload_bytes));
}

std::optional<std::size_t> fragment_cut(std::size_t packet_bytes, std::size_t frame_bytes_max) {
  if (packet_bytes < 2 || packet_bytes > Reassembler::kPacketBytesMax) return std::nullopt;
  // Equal halves: two packets of like size keep their order on more paths than a large and a tiny one.
  const std::size_t first = (packet_bytes + 1) / 2;
  if (first + Fragment::kHeaderBytes > frame_bytes_max) return std::nullopt;
  return first;
}

std::optional<Echo> Echo::parse(ByteView inner) {
  ByteReader reader(inner);
  if (reader.u8() != static_cast<std::uint8_t>(InnerType::kEcho)) return std::nullopt;
  const std::uint8_t kind = reader.u8();
  Echo echo;
  echo.kind = static_cast<Kind>(kind);
  echo.id = reader.u16_be();
  echo.sequence = reader.u32_be();
  echo.time_ns = reader.u64_be();
  if (!reader.ok() || kind > 1) return std::nullopt;
  return echo;
}

std::array<std::uint8_t, Echo::kBytes> Echo::bytes() const {
  std::array<std::uint8_t, kBytes> out{};
  out[0] = static_cast<std::uint8_t>(InnerType::kEcho);
  out[1] = static_cast<std::uint8_t>(kind);
  store_be(out.data() + 2, id);
  store_be(out.data() + 4, sequence);
  store_be(out.data() + 8, time_ns);
  return out;
}

std::optional<MemberMessage> MemberMessage::parse(ByteView inner) {
  ByteReader reader(inner);
  if (reader.u8() != static_cast<std::uint8_t>(InnerType::kMember)) return std::nullopt;
  MemberMessage message;
  message.kind = reader.u8();
  message.payload = reader.sized_u16();
  if (!reader.ok() || message.payload.size() > kPayloadMax) return std::nullopt;
  return message;
}

Bytes MemberMessage::write(std::uint8_t kind, ByteView payload) {
  LR_CHECK(payload.size() <= kPayloadMax);
  ByteWriter writer;
  writer.u8(static_cast<std::uint8_t>(InnerType::kMember)).u8(kind).sized_u16(payload);
  return writer.take();
}

std::optional<MutableBytes> Reassembler::handle_fragment(Time now, const Fragment& fragment) {
  if (fragment.payload.size() > kPacketBytesMax) return std::nullopt;
  if (halves_.empty()) halves_.resize(kPendingMax);
  Half* place = &halves_[0];
  for (Half& half : halves_) {
    const bool waiting = half.bytes != 0 && now - half.since <= kWait;
    if (!waiting) half.bytes = 0;
    if (waiting && half.id == fragment.id) {
      place = &half;
      break;
    }
    if (place->bytes != 0 && (half.bytes == 0 || half.since < place->since)) place = &half;
  }
  if (place->bytes != 0 && place->id == fragment.id && place->part != fragment.part) {
    const std::size_t total = place->bytes + fragment.payload.size();
    const ByteView stored = ByteView(place->data).first(place->bytes);
    place->bytes = 0;
    if (total > kPacketBytesMax) return std::nullopt;
    const ByteView first = fragment.part == 0 ? fragment.payload : stored;
    const ByteView second = fragment.part == 0 ? stored : fragment.payload;
    std::copy(first.begin(), first.end(), whole_.begin());
    std::copy(second.begin(), second.end(), whole_.begin() + static_cast<std::ptrdiff_t>(first.size()));
    return MutableBytes(whole_).first(total);
  }
  place->since = now;
  place->id = fragment.id;
  place->part = fragment.part;
  place->bytes = static_cast<std::uint16_t>(fragment.payload.size());
  std::copy(fragment.payload.begin(), fragment.payload.end(), place->data.begin());
  return std::nullopt;
}

}  // namespace lanrage::wire
