#include "wire/ip.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace lanrage::wire {
namespace {

constexpr std::uint8_t kHopByHop = 0;
constexpr std::uint8_t kRouting = 43;
constexpr std::uint8_t kAuthentication = 51;
constexpr std::uint8_t kDestinationOptions = 60;
constexpr int kExtensionHeadersMax = 8;  // RFC 8200 section 4.1 recommends at most seven

constexpr std::size_t kUdpChecksumOffset = 6;
constexpr std::size_t kTcpChecksumOffset = 16;
constexpr std::size_t kIcmpChecksumOffset = 2;

template <class T>
T load_native(const std::uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

void add_with_carry(std::uint64_t& sum, std::uint64_t v) {
  sum += v;
  sum += sum < v ? 1 : 0;
}

bool skips(std::uint8_t protocol) {
  return protocol == kHopByHop || protocol == kRouting || protocol == kProtocolIpv6Fragment ||
         protocol == kAuthentication || protocol == kDestinationOptions;
}

std::optional<IpHeader> parse_v4(ByteView packet) {
  if (packet.size() < kIpv4HeaderSize) return std::nullopt;
  const std::uint8_t* p = packet.data();
  IpHeader ip;
  ip.payload_offset = (p[0] & 0xfu) * 4u;
  ip.size = load_be<std::uint16_t>(p + 2);
  if (ip.payload_offset < kIpv4HeaderSize || ip.size < ip.payload_offset || ip.size > packet.size())
    return std::nullopt;
  const std::uint16_t fragment = load_be<std::uint16_t>(p + 6);
  ip.fragment = (fragment & 0x3fff) != 0;  // more fragments, or an offset
  ip.more_fragments = (fragment & 0x2000) != 0;
  ip.fragment_offset = static_cast<std::uint16_t>((fragment & 0x1fff) * 8);
  ip.identification = load_be<std::uint16_t>(p + 4);
  ip.traffic_class = p[1];
  ip.hop_limit = p[8];
  ip.protocol = p[9];
  ip.source = IpAddress::v4(load_be<std::uint32_t>(p + 12));
  ip.destination = IpAddress::v4(load_be<std::uint32_t>(p + 16));
  return ip;
}

std::optional<IpAddress> v6_address(const std::uint8_t* p) {
  std::array<std::uint8_t, 16> raw;
  std::memcpy(raw.data(), p, raw.size());
  const IpAddress address = IpAddress::v6(raw);
  if (address.is_v4()) return std::nullopt;  // was IPv4-mapped
  return address;
}

// Walks the extension headers; false where one does not fit in the packet.
bool skip_extensions(ByteView packet, IpHeader& ip) {
  for (int i = 0; skips(ip.protocol); ++i) {
    if (i == kExtensionHeadersMax || ip.payload_size() < 8) return false;
    const std::uint8_t* p = packet.data() + ip.payload_offset;
    std::size_t length = (p[1] + 1u) * 8u;
    if (ip.protocol == kProtocolIpv6Fragment) {
      const std::uint16_t fragment = load_be<std::uint16_t>(p + 2);
      ip.fragment = true;
      ip.more_fragments = (fragment & 1) != 0;
      ip.fragment_offset = fragment & 0xfff8;
      ip.identification = load_be<std::uint32_t>(p + 4);
      length = 8;
    } else if (ip.protocol == kAuthentication) {
      length = (p[1] + 2u) * 4u;  // RFC 4302 counts in four bytes
    }
    if (length > ip.payload_size()) return false;
    ip.protocol = p[0];
    ip.payload_offset += length;
    if (ip.fragment_offset != 0) return true;  // what follows is the middle of something
  }
  return true;
}

std::optional<IpHeader> parse_v6(ByteView packet) {
  if (packet.size() < kIpv6HeaderSize) return std::nullopt;
  const std::uint8_t* p = packet.data();
  IpHeader ip;
  ip.v6 = true;
  ip.traffic_class = static_cast<std::uint8_t>(load_be<std::uint16_t>(p) >> 4);
  ip.payload_offset = kIpv6HeaderSize;
  ip.size = kIpv6HeaderSize + load_be<std::uint16_t>(p + 4);
  if (ip.size > packet.size()) return std::nullopt;
  ip.protocol = p[6];
  ip.hop_limit = p[7];
  const auto source = v6_address(p + 8);
  const auto destination = v6_address(p + 24);
  if (!source || !destination || !skip_extensions(packet, ip)) return std::nullopt;
  ip.source = *source;
  ip.destination = *destination;
  return ip;
}

// Where the checksum of a layer-4 header stands, if the packet has a whole such field.
std::optional<std::size_t> checksum_offset(const IpHeader& ip) {
  if (ip.fragment_offset != 0) return std::nullopt;
  std::size_t offset = 0;
  std::size_t least = 0;
  switch (ip.protocol) {
    case kProtocolTcp:
      offset = kTcpChecksumOffset, least = kTcpHeaderSize;
      break;
    case kProtocolUdp:
      offset = kUdpChecksumOffset, least = kUdpHeaderSize;
      break;
    case kProtocolIcmp:
      if (ip.v6) return std::nullopt;
      offset = kIcmpChecksumOffset, least = 4;
      break;
    case kProtocolIcmpv6:
      if (!ip.v6) return std::nullopt;
      offset = kIcmpChecksumOffset, least = 4;
      break;
    default:
      return std::nullopt;
  }
  if (ip.payload_size() < least) return std::nullopt;
  return ip.payload_offset + offset;
}

std::uint16_t layer4_sum(ByteView packet, const IpHeader& ip) {
  const std::uint16_t pseudo =
      ip.protocol == kProtocolIcmp
          ? std::uint16_t{0}
          : pseudo_header_sum(ip.source, ip.destination, ip.protocol, static_cast<std::uint32_t>(ip.payload_size()));
  return ones_sum(packet.subspan(ip.payload_offset, ip.payload_size()), pseudo);
}

// Replaces an address and mends the checksums that cover it.
void rewrite_address(MutableBytes packet, const IpHeader& ip, std::size_t offset, const IpAddress& address) {
  LR_CHECK(address.is_v6() == ip.v6);
  const std::size_t length = ip.v6 ? 16 : 4;
  std::uint8_t* field = packet.data() + offset;
  const ByteView before{field, length};
  if (!ip.v6) {
    std::uint8_t* sum = packet.data() + 10;
    store_be(sum, checksum_update(load_be<std::uint16_t>(sum), before, address.bytes()));
  }
  const auto at = checksum_offset(ip);
  if (at && ip.protocol != kProtocolIcmp) {
    std::uint8_t* sum = packet.data() + *at;
    const std::uint16_t old = load_be<std::uint16_t>(sum);
    const bool absent = ip.protocol == kProtocolUdp && old == 0;
    if (!absent) {
      const std::uint16_t updated = checksum_update(old, before, address.bytes());
      store_be<std::uint16_t>(sum, ip.protocol == kProtocolUdp && updated == 0 ? 0xffff : updated);
    }
  }
  std::memcpy(field, address.bytes().data(), length);
}

}  // namespace

std::uint16_t ones_sum(ByteView bytes, std::uint16_t sum) {
  // The sum does not depend on byte order as long as the result is swapped at the end (RFC 1071, section 2.B), so
  // eight bytes are added at a time as the machine reads them, four chains at once.
  const std::uint8_t* p = bytes.data();
  std::size_t left = bytes.size();
  std::uint64_t a = 0, b = 0, c = 0, d = 0;
  while (left >= 32) {
    add_with_carry(a, load_native<std::uint64_t>(p));
    add_with_carry(b, load_native<std::uint64_t>(p + 8));
    add_with_carry(c, load_native<std::uint64_t>(p + 16));
    add_with_carry(d, load_native<std::uint64_t>(p + 24));
    p += 32;
    left -= 32;
  }
  while (left >= 8) {
    add_with_carry(a, load_native<std::uint64_t>(p));
    p += 8;
    left -= 8;
  }
  if (left > 0) {
    std::uint64_t tail = 0;
    std::memcpy(&tail, p, left);
    add_with_carry(b, tail);
  }
  add_with_carry(a, b);
  add_with_carry(c, d);
  add_with_carry(a, c);
  a = (a & 0xffffffff) + (a >> 32);
  a = (a & 0xffff) + ((a >> 16) & 0xffff) + (a >> 32);
  a = (a & 0xffff) + (a >> 16);
  a = (a & 0xffff) + (a >> 16);
  auto folded = static_cast<std::uint16_t>(a);
  if constexpr (std::endian::native == std::endian::little)
    folded = static_cast<std::uint16_t>((folded << 8) | (folded >> 8));
  return ones_add(folded, sum);
}

std::uint16_t pseudo_header_sum(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                                std::uint32_t length) {
  std::uint16_t sum = ones_sum(source.bytes());
  sum = ones_sum(destination.bytes(), sum);
  sum = ones_add(sum, protocol);
  sum = ones_add(sum, static_cast<std::uint16_t>(length >> 16));
  return ones_add(sum, static_cast<std::uint16_t>(length));
}

std::uint16_t checksum_update(std::uint16_t checksum, ByteView before, ByteView after) {
  LR_DCHECK(before.size() == after.size() && before.size() % 2 == 0);
  const auto without = static_cast<std::uint16_t>(~ones_sum(before));
  return static_cast<std::uint16_t>(
      ~ones_add(ones_add(static_cast<std::uint16_t>(~checksum), without), ones_sum(after)));
}

std::optional<IpHeader> parse_ip(ByteView packet) {
  if (packet.empty()) return std::nullopt;
  switch (packet[0] >> 4) {
    case 4:
      return parse_v4(packet);
    case 6:
      return parse_v6(packet);
    default:
      return std::nullopt;
  }
}

std::optional<UdpHeader> parse_udp(ByteView segment) {
  if (segment.size() < kUdpHeaderSize) return std::nullopt;
  const std::uint8_t* p = segment.data();
  const UdpHeader udp{load_be<std::uint16_t>(p), load_be<std::uint16_t>(p + 2), load_be<std::uint16_t>(p + 4),
                      load_be<std::uint16_t>(p + 6)};
  if (udp.length < kUdpHeaderSize || udp.length > segment.size()) return std::nullopt;
  return udp;
}

std::optional<TcpHeader> parse_tcp(ByteView segment) {
  if (segment.size() < kTcpHeaderSize) return std::nullopt;
  const std::uint8_t* p = segment.data();
  TcpHeader tcp;
  tcp.source_port = load_be<std::uint16_t>(p);
  tcp.destination_port = load_be<std::uint16_t>(p + 2);
  tcp.sequence = load_be<std::uint32_t>(p + 4);
  tcp.acknowledgement = load_be<std::uint32_t>(p + 8);
  tcp.header_size = (p[12] >> 4) * 4u;
  tcp.flags = p[13];
  tcp.window = load_be<std::uint16_t>(p + 14);
  tcp.checksum = load_be<std::uint16_t>(p + 16);
  if (tcp.header_size < kTcpHeaderSize || tcp.header_size > segment.size()) return std::nullopt;
  return tcp;
}

std::optional<UdpPacket> parse_udp_packet(ByteView packet) {
  const auto ip = parse_ip(packet);
  if (!ip || ip->fragment || ip->protocol != kProtocolUdp) return std::nullopt;
  const ByteView segment = packet.subspan(ip->payload_offset, ip->payload_size());
  const auto udp = parse_udp(segment);
  if (!udp) return std::nullopt;
  return UdpPacket{*ip,
                   {ip->source, udp->source_port},
                   {ip->destination, udp->destination_port},
                   segment.subspan(kUdpHeaderSize, udp->length - kUdpHeaderSize)};
}

bool has_valid_checksum(ByteView packet, const IpHeader& ip) {
  if (ip.fragment) return false;
  const auto at = checksum_offset(ip);
  if (!at) return false;
  if (ip.protocol == kProtocolUdp && load_be<std::uint16_t>(packet.data() + *at) == 0) return !ip.v6;
  return layer4_sum(packet, ip) == 0xffff;
}

void store_ipv4_header_sum(MutableBytes packet) {
  const std::size_t length = (packet[0] & 0xfu) * 4u;
  store_be<std::uint16_t>(packet.data() + 10, 0);
  store_be<std::uint16_t>(packet.data() + 10, static_cast<std::uint16_t>(~ones_sum(packet.first(length))));
}

bool store_checksum(MutableBytes packet, const IpHeader& ip) {
  if (ip.fragment) return false;
  const auto at = checksum_offset(ip);
  if (!at) return false;
  store_be<std::uint16_t>(packet.data() + *at, 0);
  const auto sum = static_cast<std::uint16_t>(~layer4_sum(packet, ip));
  store_be<std::uint16_t>(packet.data() + *at, ip.protocol == kProtocolUdp && sum == 0 ? 0xffff : sum);
  return true;
}

void rewrite_source(MutableBytes packet, const IpHeader& ip, const IpAddress& source) {
  rewrite_address(packet, ip, ip.v6 ? 8 : 12, source);
}

void rewrite_destination(MutableBytes packet, const IpHeader& ip, const IpAddress& destination) {
  rewrite_address(packet, ip, ip.v6 ? 24 : 16, destination);
}

void rewrite_ecn(MutableBytes packet, const IpHeader& ip, std::uint8_t ecn) {
  std::uint8_t* p = packet.data();
  if (ip.v6) {
    p[1] = static_cast<std::uint8_t>((p[1] & 0xcf) | ((ecn & kEcnMask) << 4));
    return;
  }
  const std::uint16_t before = load_be<std::uint16_t>(p);
  p[1] = static_cast<std::uint8_t>((p[1] & ~kEcnMask) | (ecn & kEcnMask));
  store_be(p + 10, checksum_update(load_be<std::uint16_t>(p + 10), before, load_be<std::uint16_t>(p)));
}

std::vector<Bytes> split_ip(ByteView packet, std::size_t size_max, std::uint32_t identification) {
  LR_CHECK(size_max >= 576);
  const auto ip = parse_ip(packet);
  if (!ip || ip->fragment) return {};
  if (ip->size <= size_max) return {to_bytes(packet.first(ip->size))};
  if (ip->v6 && ip->payload_offset != kIpv6HeaderSize) return {};
  const std::size_t header = ip->payload_offset + (ip->v6 ? kIpv6FragmentHeaderSize : 0);
  const std::size_t step = (size_max - header) / 8 * 8;
  std::vector<Bytes> out;
  for (std::size_t at = 0; at < ip->payload_size(); at += step) {
    const ByteView part = packet.subspan(ip->payload_offset + at, std::min(step, ip->payload_size() - at));
    const bool more = at + part.size() < ip->payload_size();
    Bytes& piece = out.emplace_back(header + part.size());
    std::uint8_t* p = piece.data();
    std::ranges::copy(packet.first(ip->payload_offset), p);
    if (ip->v6) {
      store_be(p + 4, static_cast<std::uint16_t>(piece.size() - kIpv6HeaderSize));
      p[6] = kProtocolIpv6Fragment;
      p[kIpv6HeaderSize] = ip->protocol;
      store_be(p + kIpv6HeaderSize + 2, static_cast<std::uint16_t>(at | (more ? 1 : 0)));
      store_be(p + kIpv6HeaderSize + 4, identification);
    } else {
      store_be(p + 2, static_cast<std::uint16_t>(piece.size()));
      store_be(p + 4, static_cast<std::uint16_t>(identification));
      store_be(p + 6, static_cast<std::uint16_t>(at / 8 | (more ? 0x2000 : 0)));
      store_ipv4_header_sum(piece);
    }
    std::ranges::copy(part, p + header);
  }
  return out;
}

Bytes build_udp(const Endpoint& source, const Endpoint& destination, ByteView payload, std::uint8_t hop_limit) {
  const bool v6 = source.address.is_v6();
  LR_CHECK(v6 == destination.address.is_v6() && payload.size() <= 65507);
  const std::size_t header = v6 ? kIpv6HeaderSize : kIpv4HeaderSize;
  const auto length = static_cast<std::uint16_t>(kUdpHeaderSize + payload.size());
  Bytes packet(header + length);
  std::uint8_t* p = packet.data();
  if (v6) {
    p[0] = 0x60;
    store_be(p + 4, length);
    p[6] = kProtocolUdp;
    p[7] = hop_limit;
    std::ranges::copy(source.address.bytes(), p + 8);
    std::ranges::copy(destination.address.bytes(), p + 24);
  } else {
    p[0] = 0x45;
    store_be(p + 2, static_cast<std::uint16_t>(packet.size()));
    p[8] = hop_limit;
    p[9] = kProtocolUdp;
    std::ranges::copy(source.address.bytes(), p + 12);
    std::ranges::copy(destination.address.bytes(), p + 16);
    store_ipv4_header_sum(packet);
  }
  store_be(p + header, source.port);
  store_be(p + header + 2, destination.port);
  store_be(p + header + 4, length);
  std::ranges::copy(payload, p + header + kUdpHeaderSize);
  const auto ip = parse_ip(packet);
  LR_CHECK(ip && store_checksum(packet, *ip));
  return packet;
}

}  // namespace lanrage::wire
