#include "tun/offload.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "wire/ip.h"

namespace lanrage::tun {
namespace {

constexpr std::size_t kIpv4Id = 4;
constexpr std::size_t kIpv4Fragment = 6;
constexpr std::size_t kIpv4Sum = 10;
constexpr std::size_t kTcpSequence = 4;
constexpr std::size_t kTcpOffsetAndFlags = 12;
constexpr std::size_t kTcpSum = 16;
constexpr std::size_t kUdpLength = 4;
constexpr std::size_t kUdpSum = 6;
constexpr std::uint16_t kDontFragment = 0x4000;

std::uint16_t u16(const std::uint8_t* p) { return load_be<std::uint16_t>(p); }
std::uint32_t u32(const std::uint8_t* p) { return load_be<std::uint32_t>(p); }
void put16(std::uint8_t* p, std::size_t v) { store_be(p, static_cast<std::uint16_t>(v)); }

// A sum as it is stored: complemented, and never zero, which means "none" in UDP and is equal to 0xffff elsewhere.
std::uint16_t as_checksum(std::uint16_t sum) { return sum == 0xffff ? 0xffff : static_cast<std::uint16_t>(~sum); }

// Finishes the sum that the kernel began: the field holds the pseudo header's.
bool finish_checksum(const VnetHeader& vnet, MutableBytes frame) {
  const std::size_t field = std::size_t{vnet.checksum_start} + vnet.checksum_offset;
  if (field + 2 > frame.size()) return false;
  put16(frame.data() + field, as_checksum(wire::ones_sum(frame.subspan(vnet.checksum_start))));
  return true;
}

std::uint16_t load_native16(const std::uint8_t* p) {
  std::uint16_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

}  // namespace

VnetHeader VnetHeader::load(const std::uint8_t* bytes) {
  return {bytes[0],
          bytes[1],
          load_native16(bytes + 2),
          load_native16(bytes + 4),
          load_native16(bytes + 6),
          load_native16(bytes + 8)};
}

void VnetHeader::store(std::uint8_t* bytes) const {
  bytes[0] = flags;
  bytes[1] = gso_type;
  std::memcpy(bytes + 2, &header_size, 2);
  std::memcpy(bytes + 4, &gso_size, 2);
  std::memcpy(bytes + 6, &checksum_start, 2);
  std::memcpy(bytes + 8, &checksum_offset, 2);
}

// --- Segmenter -------------------------------------------------------------------------------------------------------

std::optional<Segmenter> Segmenter::start(const VnetHeader& vnet, MutableBytes frame) {
  Segmenter s;
  s.frame_ = frame;
  s.packet_size_max_ = frame.size();
  if (frame.empty()) return std::nullopt;
  if (vnet.gso_type == VnetHeader::kGsoNone) {
    if ((vnet.flags & VnetHeader::kNeedsChecksum) != 0 && !finish_checksum(vnet, frame)) return std::nullopt;
    return s;
  }
  if (!s.prepare(vnet)) return std::nullopt;
  return s;
}

// Checks a superframe and takes its header as the template of all segments.
bool Segmenter::prepare(const VnetHeader& vnet) {
  const auto ip = wire::parse_ip(frame_);
  if (!ip || ip->fragment || vnet.gso_size == 0) return false;
  const std::uint8_t type = vnet.gso_type & static_cast<std::uint8_t>(~VnetHeader::kGsoEcnBit);
  const ByteView layer4 = frame_.subspan(ip->payload_offset, ip->payload_size());
  v6_ = ip->v6;
  tcp_ = type == VnetHeader::kGsoTcp4 || type == VnetHeader::kGsoTcp6;
  if (tcp_) {
    const auto tcp = wire::parse_tcp(layer4);
    if (ip->protocol != wire::kProtocolTcp || !tcp || v6_ != (type == VnetHeader::kGsoTcp6)) return false;
    header_size_ = ip->payload_offset + tcp->header_size;
  } else {
    if (type != VnetHeader::kGsoUdp || ip->protocol != wire::kProtocolUdp || layer4.size() < wire::kUdpHeaderSize)
      return false;
    header_size_ = ip->payload_offset + wire::kUdpHeaderSize;
  }
  if (header_size_ > kHeaderMax) return false;
  frame_ = frame_.first(ip->size);
  layer4_ = ip->payload_offset;
  gso_size_ = vnet.gso_size;
  position_ = header_size_;
  const std::size_t payload = frame_.size() - header_size_;
  count_ = std::max<std::size_t>((payload + gso_size_ - 1) / gso_size_, 1);
  packet_size_max_ = header_size_ + std::min(payload, gso_size_);

  std::memcpy(header_.data(), frame_.data(), header_size_);
  // Sums of what stays: the fields that change are zero in them.
  std::array<std::uint8_t, kHeaderMax> fixed = header_;
  std::uint8_t* l4 = fixed.data() + layer4_;
  if (tcp_) {
    std::memset(l4 + kTcpSequence, 0, 4);
    put16(l4 + kTcpOffsetAndFlags, 0);
    put16(l4 + kTcpSum, 0);
  } else {
    put16(l4 + kUdpLength, 0);
    put16(l4 + kUdpSum, 0);
  }
  fixed_sum_ = wire::ones_sum(ByteView{l4, header_size_ - layer4_},
                              wire::pseudo_header_sum(ip->source, ip->destination, ip->protocol, 0));
  if (!v6_) {
    put16(fixed.data() + 2, 0);
    put16(fixed.data() + kIpv4Id, 0);
    put16(fixed.data() + kIpv4Sum, 0);
    ip_fixed_sum_ = wire::ones_sum(ByteView{fixed.data(), layer4_});
  }
  return true;
}

std::size_t Segmenter::chunk_size() const { return std::min(gso_size_, frame_.size() - position_); }

void Segmenter::stamp(std::uint8_t* packet, std::size_t chunk) {
  std::memcpy(packet, header_.data(), header_size_);
  const std::size_t size = header_size_ + chunk;
  const std::size_t layer4_size = size - layer4_;
  if (v6_) {
    put16(packet + 4, size - wire::kIpv6HeaderSize);
  } else {
    const auto id = static_cast<std::uint16_t>(u16(header_.data() + kIpv4Id) + index_);
    put16(packet + 2, size);
    put16(packet + kIpv4Id, id);
    const std::uint16_t sum = wire::ones_add(wire::ones_add(ip_fixed_sum_, static_cast<std::uint16_t>(size)), id);
    put16(packet + kIpv4Sum, static_cast<std::uint16_t>(~sum));
  }

  std::uint8_t* l4 = packet + layer4_;
  std::uint16_t sum = wire::ones_add(fixed_sum_, static_cast<std::uint16_t>(layer4_size));
  if (tcp_) {
    const auto sequence = static_cast<std::uint32_t>(u32(header_.data() + layer4_ + kTcpSequence) + index_ * gso_size_);
    store_be(l4 + kTcpSequence, sequence);
    std::uint8_t& flags = l4[kTcpOffsetAndFlags + 1];
    if (index_ > 0) flags &= static_cast<std::uint8_t>(~wire::kTcpCwr);
    if (index_ + 1 < count_) flags &= static_cast<std::uint8_t>(~(wire::kTcpFin | wire::kTcpPsh));
    sum = wire::ones_add(sum, static_cast<std::uint16_t>(sequence >> 16));
    sum = wire::ones_add(sum, static_cast<std::uint16_t>(sequence));
    sum = wire::ones_add(sum, u16(l4 + kTcpOffsetAndFlags));
  } else {
    put16(l4 + kUdpLength, layer4_size);
    sum = wire::ones_add(sum, static_cast<std::uint16_t>(layer4_size));
  }
  sum = wire::ones_sum(ByteView{packet + header_size_, chunk}, sum);
  put16(l4 + (tcp_ ? kTcpSum : kUdpSum), as_checksum(sum));
}

MutableBytes Segmenter::next() {
  if (index_ == count_) return {};
  if (header_size_ == 0) {
    ++index_;
    return frame_;
  }
  const std::size_t chunk = chunk_size();
  const MutableBytes packet = frame_.subspan(position_ - header_size_, header_size_ + chunk);
  stamp(packet.data(), chunk);
  position_ += chunk;
  ++index_;
  return packet;
}

std::size_t Segmenter::next_into(MutableBytes out) {
  if (index_ == count_) return 0;
  LR_CHECK(out.size() >= packet_size_max_);
  if (header_size_ == 0) {
    ++index_;
    std::memcpy(out.data(), frame_.data(), frame_.size());
    return frame_.size();
  }
  const std::size_t chunk = chunk_size();
  std::memcpy(out.data() + header_size_, frame_.data() + position_, chunk);
  stamp(out.data(), chunk);
  position_ += chunk;
  ++index_;
  return header_size_ + chunk;
}

// --- Coalescer -------------------------------------------------------------------------------------------------------

namespace {

// Where the two addresses stand in the IP header, source first.
ByteView addresses_of(ByteView packet, bool v6) { return v6 ? packet.subspan(8, 32) : packet.subspan(12, 8); }

std::uint64_t load_native64(const std::uint8_t* p) {
  std::uint64_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

std::uint32_t hash_flow(ByteView addresses, const std::uint8_t* ports) {
  constexpr std::uint64_t kMultiplier = 0x9e3779b97f4a7c15;  // 2^64 over the golden ratio
  std::uint64_t hash = u32(ports);
  for (std::size_t i = 0; i < addresses.size(); i += 8)
    hash = (hash ^ load_native64(addresses.data() + i)) * kMultiplier;
  hash ^= hash >> 29;
  return static_cast<std::uint32_t>((hash * kMultiplier) >> 32);
}

bool equal(const std::uint8_t* a, const std::uint8_t* b, std::size_t offset, std::size_t size) {
  return std::memcmp(a + offset, b + offset, size) == 0;
}

}  // namespace

Coalescer::Coalescer(const CoalescerOptions& options)
    : options_(options),
      packets_(kPacketsMax),
      groups_(kPacketsMax),
      table_(kTableSize, kNone),
      pieces_(kPacketsMax + 1),
      originals_(kPacketsMax) {}

// Whether the packet belongs to a flow that may be merged, and what matters of it. Options, extension headers and
// fragments are left alone.
bool Coalescer::read_shape(ByteView packet, Shape& shape) const {
  if (packet.size() < wire::kIpv4HeaderSize || packet.size() > kFrameBytesMax) return false;
  const std::uint8_t* p = packet.data();
  std::uint8_t protocol = 0;
  if (p[0] == 0x45) {
    if (u16(p + 2) != packet.size() || (u16(p + kIpv4Fragment) & ~kDontFragment) != 0) return false;
    protocol = p[9];
    shape.layer4 = wire::kIpv4HeaderSize;
  } else if (p[0] >> 4 == 6) {
    if (packet.size() < wire::kIpv6HeaderSize || u16(p + 4) + wire::kIpv6HeaderSize != packet.size()) return false;
    protocol = p[6];
    shape.layer4 = wire::kIpv6HeaderSize;
    shape.v6 = true;
  } else {
    return false;
  }
  const std::uint8_t* l4 = p + shape.layer4;
  const std::size_t layer4_size = packet.size() - shape.layer4;
  std::size_t layer4_header = wire::kUdpHeaderSize;
  if (protocol == wire::kProtocolTcp && options_.tcp) {
    if (layer4_size < wire::kTcpHeaderSize) return false;
    shape.tcp = true;
    layer4_header = (l4[kTcpOffsetAndFlags] >> 4) * 4u;
    if (layer4_header < wire::kTcpHeaderSize || layer4_header > layer4_size) return false;
    const std::uint8_t flags = l4[kTcpOffsetAndFlags + 1];
    constexpr std::uint8_t kAllowed = wire::kTcpAck | wire::kTcpPsh | wire::kTcpEce;
    shape.can_merge = (flags & ~kAllowed) == 0 && (flags & wire::kTcpAck) != 0 && (l4[kTcpOffsetAndFlags] & 0xf) == 0 &&
                      layer4_size > layer4_header && u16(l4 + 18) == 0;
  } else if (protocol == wire::kProtocolUdp && options_.udp) {
    if (layer4_size < wire::kUdpHeaderSize) return false;
    shape.can_merge =
        u16(l4 + kUdpLength) == layer4_size && u16(l4 + kUdpSum) != 0 && layer4_size - layer4_header >= kUdpMergeMin;
  } else {
    return false;
  }
  shape.header = static_cast<std::uint16_t>(shape.layer4 + layer4_header);
  shape.payload = static_cast<std::uint16_t>(packet.size() - shape.header);
  shape.flow_hash = hash_flow(addresses_of(packet, shape.v6), l4);
  return true;
}

// The table slot of the packet's flow: the one it has, or a free one. The table has twice as many slots as a batch has
// packets, so there is always one.
std::uint16_t Coalescer::slot_of(ByteView packet, const Shape& shape) const {
  std::size_t slot = shape.flow_hash % kTableSize;
  for (;; slot = (slot + 1) % kTableSize) {
    if (table_[slot] == kNone) break;
    const Group& group = groups_[table_[slot]];
    if (group.shape.flow_hash != shape.flow_hash || group.shape.v6 != shape.v6 || group.shape.tcp != shape.tcp)
      continue;
    const ByteView other = packets_[group.first].bytes;
    if (std::ranges::equal(addresses_of(packet, shape.v6), addresses_of(other, shape.v6)) &&
        equal(packet.data(), other.data(), shape.layer4, 4))
      break;
  }
  return static_cast<std::uint16_t>(slot);
}

bool Coalescer::add(ByteView packet, bool mergeable) {
  if (packets_used_ == kPacketsMax) return false;
  ++stats_.packets;
  Shape shape;
  if (!read_shape(packet, shape)) {
    start_group(packet, shape, kNone, false);
    return true;
  }
  const std::uint16_t slot = slot_of(packet, shape);
  if (mergeable && shape.can_merge && table_[slot] != kNone && try_join(groups_[table_[slot]], packet, shape))
    return true;
  // The newest group of a flow is the only one that packets may join, so nothing overtakes within a flow.
  start_group(packet, shape, slot, mergeable && shape.can_merge);
  table_[slot] = static_cast<std::uint16_t>(groups_used_ - 1);
  return true;
}

std::uint16_t Coalescer::keep(ByteView packet) {
  packets_[packets_used_] = {packet, kNone};
  return static_cast<std::uint16_t>(packets_used_++);
}

void Coalescer::start_group(ByteView packet, const Shape& shape, std::uint16_t slot, bool mergeable) {
  Group& group = groups_[groups_used_++];
  group.shape = shape;
  group.first = group.last = keep(packet);
  group.count = 1;
  group.slot = slot;
  group.open = mergeable;
  group.verified = false;
  if (!mergeable) return;
  const std::uint8_t* p = packet.data();
  group.push = false;
  group.size = packet.size();
  group.next_id = static_cast<std::uint16_t>(shape.v6 ? 0 : u16(p + kIpv4Id) + 1);
  if (shape.tcp) {
    const std::uint8_t* l4 = p + shape.layer4;
    group.next_sequence = u32(l4 + kTcpSequence) + shape.payload;
    if ((l4[kTcpOffsetAndFlags + 1] & wire::kTcpPsh) != 0) group.open = false;
  }
}

bool Coalescer::fits_behind(const Group& group, ByteView packet, const Shape& shape) const {
  const Shape& head = group.shape;
  if (shape.header != head.header || shape.payload > head.payload || group.size + shape.payload > kFrameBytesMax)
    return false;
  const std::uint8_t* a = packets_[group.first].bytes.data();
  const std::uint8_t* b = packet.data();
  if (shape.v6) {
    if (!equal(a, b, 0, 4) || a[7] != b[7]) return false;  // class and flow label; hop limit
  } else {
    if (a[1] != b[1] || a[8] != b[8] || !equal(a, b, kIpv4Fragment, 2)) return false;
    const bool free_id = (u16(b + kIpv4Fragment) & kDontFragment) != 0;  // RFC 6864: means nothing then
    if (!free_id && u16(b + kIpv4Id) != group.next_id) return false;
  }
  if (!shape.tcp) return group.count < kUdpSegmentsMax;
  const std::size_t l4 = shape.layer4;
  constexpr std::size_t kOptions = wire::kTcpHeaderSize;
  const auto flags = [&](const std::uint8_t* p) { return p[l4 + kTcpOffsetAndFlags + 1] & ~wire::kTcpPsh; };
  return u32(b + l4 + kTcpSequence) == group.next_sequence && equal(a, b, l4 + 8, 4) &&  // acknowledgement
         flags(a) == flags(b) && equal(a, b, l4 + 14, 2) &&                              // window
         equal(a, b, l4 + kOptions, shape.header - l4 - kOptions);
}

// Merging replaces the sender's checksums, so a packet that was spoilt before it was sealed must stay alone.
bool Coalescer::is_intact(ByteView packet, const Shape& shape) {
  if (!options_.verify) return true;
  const ByteView layer4 = packet.subspan(shape.layer4);
  std::uint16_t sum = wire::ones_sum(addresses_of(packet, shape.v6));
  sum = wire::ones_add(sum, shape.tcp ? wire::kProtocolTcp : wire::kProtocolUdp);
  sum = wire::ones_add(sum, static_cast<std::uint16_t>(layer4.size()));
  const bool intact = wire::ones_sum(layer4, sum) == 0xffff &&
                      (shape.v6 || wire::ones_sum(packet.first(wire::kIpv4HeaderSize)) == 0xffff);
  if (!intact) ++stats_.bad_checksum;
  return intact;
}

bool Coalescer::try_join(Group& group, ByteView packet, const Shape& shape) {
  if (!group.open || !fits_behind(group, packet, shape)) return false;
  if (!group.verified) {
    if (!is_intact(packets_[group.first].bytes, group.shape)) {
      group.open = false;
      return false;
    }
    group.verified = true;
  }
  if (!is_intact(packet, shape)) return false;
  const std::uint16_t index = keep(packet);
  packets_[group.last].next = index;
  group.last = index;
  ++group.count;
  ++stats_.merged;
  group.size += shape.payload;
  ++group.next_id;
  group.next_sequence += shape.payload;
  group.push = shape.tcp && (packet[shape.layer4 + kTcpOffsetAndFlags + 1] & wire::kTcpPsh) != 0;
  if (group.push || shape.payload < group.shape.payload) group.open = false;
  return true;
}

Frame Coalescer::frame_of(Group& group) {
  ++stats_.frames;
  const ByteView head = packets_[group.first].bytes;
  if (group.count == 1) {
    pieces_[0] = head;
    return {{}, std::span(pieces_).first(1), std::span(pieces_).first(1)};
  }
  const Shape& shape = group.shape;
  std::uint8_t* p = group.header.data();
  std::uint8_t* l4 = p + shape.layer4;
  const std::size_t layer4_size = group.size - shape.layer4;
  std::memcpy(p, head.data(), shape.header);
  if (shape.v6) {
    put16(p + 4, layer4_size);
  } else {
    put16(p + 2, group.size);
    wire::store_ipv4_header_sum(MutableBytes{p, wire::kIpv4HeaderSize});
  }
  if (group.push) l4[kTcpOffsetAndFlags + 1] |= wire::kTcpPsh;
  if (!shape.tcp) put16(l4 + kUdpLength, layer4_size);
  std::uint16_t seed = wire::ones_sum(addresses_of(head, shape.v6));
  seed = wire::ones_add(seed, shape.tcp ? wire::kProtocolTcp : wire::kProtocolUdp);
  seed = wire::ones_add(seed, static_cast<std::uint16_t>(layer4_size));
  const std::size_t sum_offset = shape.tcp ? kTcpSum : kUdpSum;
  put16(l4 + sum_offset, seed);

  VnetHeader vnet;
  vnet.flags = VnetHeader::kNeedsChecksum;
  vnet.gso_type = !shape.tcp ? VnetHeader::kGsoUdp : shape.v6 ? VnetHeader::kGsoTcp6 : VnetHeader::kGsoTcp4;
  vnet.header_size = shape.header;
  vnet.gso_size = shape.payload;
  vnet.checksum_start = shape.layer4;
  vnet.checksum_offset = static_cast<std::uint16_t>(sum_offset);

  std::size_t pieces = 0;
  std::size_t originals = 0;
  pieces_[pieces++] = {p, shape.header};
  for (std::uint16_t i = group.first; i != kNone; i = packets_[i].next) {
    originals_[originals++] = packets_[i].bytes;
    pieces_[pieces++] = packets_[i].bytes.subspan(shape.header);
  }
  return {vnet, std::span(pieces_).first(pieces), std::span(originals_).first(originals)};
}

void Coalescer::clear() {
  for (std::size_t i = 0; i < groups_used_; ++i)
    if (groups_[i].slot != kNone) table_[groups_[i].slot] = kNone;
  packets_used_ = groups_used_ = 0;
}

}  // namespace lanrage::tun
