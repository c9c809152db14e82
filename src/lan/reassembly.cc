#include "lan/reassembly.h"

#include <algorithm>

namespace lanrage::lan {
namespace {

constexpr std::size_t kBlock = 8;
constexpr std::size_t kPacketMax = 0xffff;

// The headers as the whole packet has them but for its length; empty where something stands between IPv6's header and
// its fragment header.
Bytes whole_header(ByteView packet, const wire::IpHeader& ip) {
  if (!ip.v6) {
    Bytes header = to_bytes(packet.first(ip.payload_offset));
    store_be<std::uint16_t>(header.data() + 6, 0);
    return header;
  }
  if (ip.payload_offset != wire::kIpv6HeaderSize + wire::kIpv6FragmentHeaderSize) return {};
  Bytes header = to_bytes(packet.first(wire::kIpv6HeaderSize));
  header[6] = ip.protocol;
  return header;
}

Bytes finished(Bytes packet, ByteView payload, bool v6) {
  packet.insert(packet.end(), payload.begin(), payload.end());
  const std::size_t length = v6 ? packet.size() - wire::kIpv6HeaderSize : packet.size();
  store_be(packet.data() + (v6 ? 4 : 2), static_cast<std::uint16_t>(length));
  if (!v6) wire::store_ipv4_header_sum(packet);
  return packet;
}

}  // namespace

Reassembly::Pending& Reassembly::pending_for(Time now, int way, const wire::IpHeader& ip) {
  while (!pending_.empty() && pending_.front().since + kWait <= now) pending_.pop_front(), ++given_up_;
  for (Pending& one : pending_)
    if (one.way == way && one.identification == ip.identification && one.protocol == ip.protocol &&
        one.source == ip.source && one.destination == ip.destination)
      return one;
  if (pending_.size() >= kPendingMax) pending_.pop_front(), ++given_up_;
  Pending& fresh = pending_.emplace_back();
  fresh.since = now;
  fresh.way = way;
  fresh.protocol = ip.protocol;
  fresh.identification = ip.identification;
  fresh.source = ip.source;
  fresh.destination = ip.destination;
  return fresh;
}

std::optional<Bytes> Reassembly::handle_fragment(Time now, int way, ByteView packet, const wire::IpHeader& ip) {
  const ByteView part = packet.subspan(ip.payload_offset, ip.payload_size());
  const std::size_t end = ip.fragment_offset + part.size();
  const std::size_t room = kPacketMax - (ip.v6 ? 0 : ip.payload_offset);
  if (part.empty() || end > room || (ip.more_fragments && part.size() % kBlock != 0)) {
    ++given_up_;
    return std::nullopt;
  }
  Pending& whole = pending_for(now, way, ip);
  const auto give_up = [&] {
    std::erase_if(pending_, [&](const Pending& one) { return &one == &whole; });
    ++given_up_;
    return std::nullopt;
  };
  if (!ip.more_fragments) {
    if (whole.size.value_or(end) != end || whole.payload.size() > end) return give_up();
    whole.size = end;
  } else if (whole.size && end > *whole.size) {
    return give_up();
  }
  if (ip.fragment_offset == 0 && whole.header.empty()) {
    whole.header = whole_header(packet, ip);
    if (whole.header.empty()) return give_up();
  }
  if (whole.payload.size() < end) {
    whole.payload.resize(end);
    whole.known.resize((end + kBlock - 1) / kBlock);
  }
  for (std::size_t at = 0; at < part.size(); at += kBlock) {
    const std::size_t block = (ip.fragment_offset + at) / kBlock;
    if (whole.known[block]) continue;
    whole.known[block] = true;
    ++whole.blocks;
    const ByteView bytes = part.subspan(at, std::min(kBlock, part.size() - at));
    std::ranges::copy(bytes, whole.payload.begin() + static_cast<std::ptrdiff_t>(ip.fragment_offset + at));
  }
  if (!whole.size || whole.blocks != (*whole.size + kBlock - 1) / kBlock) return std::nullopt;
  if (whole.header.size() + *whole.size > kPacketMax + (ip.v6 ? wire::kIpv6HeaderSize : 0)) return give_up();
  Bytes out = finished(std::move(whole.header), whole.payload, ip.v6);
  std::erase_if(pending_, [&](const Pending& one) { return &one == &whole; });
  return out;
}

}  // namespace lanrage::lan
