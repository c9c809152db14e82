// For tests: TCP and UDP packets made to measure.
#pragma once

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"
#include "base/rng.h"
#include "wire/ip.h"

namespace lanrage::tun {

struct PacketShape {
  bool v6 = false;
  bool tcp = true;
  bool options = false;  // a TCP timestamp
  bool dont_fragment = true;
  std::uint8_t traffic_class = 0;
  std::uint8_t hop_limit = 64;
  std::uint8_t flags = wire::kTcpAck;
  std::uint16_t id = 100;
  std::uint16_t source_port = 5000;
  std::uint16_t window = 500;
  std::uint32_t flow_label = 7;
  std::uint32_t sequence = 0xfffff000;  // wraps soon
  std::uint32_t acknowledgement = 9;
  std::uint32_t timestamp = 1;

  std::size_t header_size() const { return (v6 ? 40u : 20u) + (tcp ? options ? 32u : 20u : 8u); }

  // The shape of the packet that follows `packet` in the same flow.
  PacketShape after(const Bytes& packet) const {
    PacketShape next = *this;
    ++next.id;
    next.sequence += static_cast<std::uint32_t>(packet.size() - header_size());
    return next;
  }
};

inline Bytes make_packet(const PacketShape& shape, Rng& rng, std::size_t payload_size) {
  Bytes packet(shape.header_size() + payload_size);
  rng.fill(MutableBytes{packet}.subspan(shape.header_size()));
  std::uint8_t* p = packet.data();
  const std::uint8_t protocol = shape.tcp ? wire::kProtocolTcp : wire::kProtocolUdp;
  std::uint8_t* l4 = p + (shape.v6 ? 40 : 20);
  const std::size_t layer4_size = packet.size() - (shape.v6 ? 40 : 20);
  if (shape.v6) {
    store_be(p, (6u << 28) | (std::uint32_t{shape.traffic_class} << 20) | shape.flow_label);
    store_be(p + 4, static_cast<std::uint16_t>(layer4_size));
    p[6] = protocol;
    p[7] = shape.hop_limit;
    p[8] = p[24] = 0xfd;
    p[23] = 1;
    p[39] = 2;
  } else {
    p[0] = 0x45;
    p[1] = shape.traffic_class;
    store_be(p + 2, static_cast<std::uint16_t>(packet.size()));
    store_be(p + 4, shape.id);
    p[6] = shape.dont_fragment ? 0x40 : 0;
    p[8] = shape.hop_limit;
    p[9] = protocol;
    store_be<std::uint32_t>(p + 12, 0x0a420001);
    store_be<std::uint32_t>(p + 16, 0x0a420002);
    wire::store_ipv4_header_sum(packet);
  }
  store_be(l4, shape.source_port);
  store_be<std::uint16_t>(l4 + 2, 6000);
  if (shape.tcp) {
    store_be(l4 + 4, shape.sequence);
    store_be(l4 + 8, shape.acknowledgement);
    l4[12] = shape.options ? 0x80 : 0x50;
    l4[13] = shape.flags;
    store_be(l4 + 14, shape.window);
    if (shape.options) {
      store_be<std::uint32_t>(l4 + 20, 0x0101080a);
      store_be(l4 + 24, shape.timestamp);
    }
  } else {
    store_be(l4 + 4, static_cast<std::uint16_t>(layer4_size));
  }
  const auto ip = wire::parse_ip(packet);
  LR_CHECK(ip && wire::store_checksum(packet, *ip));
  return packet;
}

}  // namespace lanrage::tun
