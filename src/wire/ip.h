// IP packets as they are: IPv4 (RFC 791), IPv6 (RFC 8200), UDP (RFC 768), TCP (RFC 9293), and the Internet checksum
// (RFC 1071, updates by RFC 1624).
//
// Parsers give offsets and fields by value and never own bytes; what cannot be an IP packet gives nullopt. Writers
// change a packet in place and keep its checksums true. Pure: used by the data plane for every packet, by LAN rules
// and by tests. Nothing here puts fragments together (lan/reassembly.h does) or looks into payloads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"

namespace lanrage::wire {

inline constexpr std::uint8_t kProtocolIcmp = 1;
inline constexpr std::uint8_t kProtocolIgmp = 2;
inline constexpr std::uint8_t kProtocolTcp = 6;
inline constexpr std::uint8_t kProtocolUdp = 17;
inline constexpr std::uint8_t kProtocolIpv6Fragment = 44;  // RFC 8200 section 4.5
inline constexpr std::uint8_t kProtocolIcmpv6 = 58;

inline constexpr std::size_t kIpv4HeaderSize = 20;  // without options
inline constexpr std::size_t kIpv6HeaderSize = 40;  // without extension headers
inline constexpr std::size_t kIpv6FragmentHeaderSize = 8;
inline constexpr std::size_t kUdpHeaderSize = 8;
inline constexpr std::size_t kTcpHeaderSize = 20;  // without options

// The last two bits of the traffic class (RFC 3168).
inline constexpr std::uint8_t kEcnMask = 3;
inline constexpr std::uint8_t kEcnNotCapable = 0;
inline constexpr std::uint8_t kEcnCapable1 = 1;
inline constexpr std::uint8_t kEcnCapable0 = 2;
inline constexpr std::uint8_t kEcnCongested = 3;

// --- Checksums -------------------------------------------------------------------------------------------------------

// Adds `bytes`, as big-endian 16-bit words with an odd last byte padded by zero, to the ones' complement `sum`. The
// result is folded and not complemented, so sums chain as long as every part but the last has an even length.
std::uint16_t ones_sum(ByteView bytes, std::uint16_t sum = 0);

constexpr std::uint16_t ones_add(std::uint16_t a, std::uint16_t b) {
  const std::uint32_t sum = std::uint32_t{a} + b;
  return static_cast<std::uint16_t>((sum & 0xffff) + (sum >> 16));
}

// What TCP, UDP and ICMPv6 sum before their own bytes. `length` is that of the layer-4 header and payload.
std::uint16_t pseudo_header_sum(const IpAddress& source, const IpAddress& destination, std::uint8_t protocol,
                                std::uint32_t length);

// The checksum field after 16-bit word `before` became `after` (RFC 1624, equation 3).
constexpr std::uint16_t checksum_update(std::uint16_t checksum, std::uint16_t before, std::uint16_t after) {
  const std::uint16_t sum = ones_add(static_cast<std::uint16_t>(~checksum), static_cast<std::uint16_t>(~before));
  return static_cast<std::uint16_t>(~ones_add(sum, after));
}
// The same for equally long, even byte strings at an even offset of the summed bytes.
std::uint16_t checksum_update(std::uint16_t checksum, ByteView before, ByteView after);

// --- Parsing ---------------------------------------------------------------------------------------------------------

// The header of an IP packet, IPv6 extension headers included. Sizes and offsets are within the parsed view.
struct IpHeader {
  bool v6 = false;
  bool fragment = false;  // a part of a larger datagram; the first part too
  bool more_fragments = false;
  std::uint8_t traffic_class = 0;
  std::uint8_t hop_limit = 0;
  std::uint8_t protocol = 0;          // what stands at payload_offset
  std::uint16_t fragment_offset = 0;  // in bytes; a layer-4 header is there only where this is 0
  std::uint32_t identification = 0;   // of a fragment: the same in all parts
  std::size_t payload_offset = 0;
  std::size_t size = 0;  // of the whole packet; the parsed view may be longer (WireGuard pads)
  IpAddress source;
  IpAddress destination;

  std::size_t payload_size() const { return size - payload_offset; }
};

// Strict about lengths. IPv4-mapped IPv6 addresses are refused: on the wire they only serve to get around filters
// (RFC 6890), and as values they would be equal to the IPv4 address. The IPv4 header sum is not verified.
std::optional<IpHeader> parse_ip(ByteView packet);

struct UdpHeader {
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint16_t length = 0;    // header and payload
  std::uint16_t checksum = 0;  // 0: none
};
// `segment` starts at the UDP header; its length field must fit in it.
std::optional<UdpHeader> parse_udp(ByteView segment);

inline constexpr std::uint8_t kTcpFin = 0x01;
inline constexpr std::uint8_t kTcpSyn = 0x02;
inline constexpr std::uint8_t kTcpRst = 0x04;
inline constexpr std::uint8_t kTcpPsh = 0x08;
inline constexpr std::uint8_t kTcpAck = 0x10;
inline constexpr std::uint8_t kTcpUrg = 0x20;
inline constexpr std::uint8_t kTcpEce = 0x40;
inline constexpr std::uint8_t kTcpCwr = 0x80;

struct TcpHeader {
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgement = 0;
  std::size_t header_size = 0;  // options included
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  std::uint16_t checksum = 0;
};
std::optional<TcpHeader> parse_tcp(ByteView segment);

// A whole UDP datagram in an unfragmented, exactly sized packet.
struct UdpPacket {
  IpHeader ip;
  Endpoint source;
  Endpoint destination;
  ByteView payload;  // within the parsed view
};
std::optional<UdpPacket> parse_udp_packet(ByteView packet);

// Whether the layer-4 checksum (TCP, UDP, ICMP, ICMPv6) is right; UDP without one is right over IPv4 only. False for
// fragments and other protocols: it cannot be known. `ip` must be parsed from `packet`.
bool has_valid_checksum(ByteView packet, const IpHeader& ip);

// --- Writing ---------------------------------------------------------------------------------------------------------

// Writes the IPv4 header sum. `packet` must hold a parsed IPv4 packet.
void store_ipv4_header_sum(MutableBytes packet);

// Computes the layer-4 checksum anew (TCP, UDP, ICMP, ICMPv6). False, nothing changed: fragment or other protocol.
bool store_checksum(MutableBytes packet, const IpHeader& ip);

// Change one field in place and update every checksum that covers it. The address must be of the packet's family.
// In a fragment that is not the first, only the IP header is there to change. `ip` must be parsed from `packet`.
void rewrite_source(MutableBytes packet, const IpHeader& ip, const IpAddress& source);
void rewrite_destination(MutableBytes packet, const IpHeader& ip, const IpAddress& destination);
void rewrite_ecn(MutableBytes packet, const IpHeader& ip, std::uint8_t ecn);

// A whole packet as fragments of at most `size_max` bytes (RFC 791 section 2.3, RFC 8200 section 4.5); itself where it
// fits, whatever `identification` then. IPv4's "don't fragment" is not heeded. Empty: no whole packet, or IPv6 with
// extension headers. `size_max` is at least 576.
std::vector<Bytes> split_ip(ByteView packet, std::size_t size_max, std::uint32_t identification);

// A UDP datagram as an IP packet with checksums; both addresses of one family, payload at most 65,507 bytes.
Bytes build_udp(const Endpoint& source, const Endpoint& destination, ByteView payload, std::uint8_t hop_limit = 64);

}  // namespace lanrage::wire
