#include "wire/port_control.h"

#include <algorithm>

namespace lanrage::wire {
namespace {

constexpr std::uint8_t kNatPmp = 0;
constexpr std::uint8_t kPcp = 2;
constexpr std::uint8_t kAnswer = 128;
constexpr std::uint8_t kOpcodeMap = 1;
constexpr std::size_t kPcpHeaderBytes = 24;
constexpr std::array<std::uint8_t, 12> kMappedV4 = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

std::uint8_t natpmp_opcode(const std::optional<PortTransport>& transport) {
  return !transport ? 0 : *transport == PortTransport::kUdp ? 1 : 2;
}

// False: no opcode of ours.
bool read_natpmp_opcode(std::uint8_t opcode, std::optional<PortTransport>& out) {
  if (opcode == 1) out = PortTransport::kUdp;
  if (opcode == 2) out = PortTransport::kTcp;
  return opcode <= 2;
}

void write_address(ByteWriter& out, const IpAddress& address) {
  if (address.is_v4()) out.bytes(kMappedV4);
  out.bytes(address.bytes());
}

void write_map(ByteWriter& out, const PcpMap& map) {
  out.bytes(map.nonce).u8(static_cast<std::uint8_t>(map.transport)).u8(0).u16_be(0);
  out.u16_be(map.inside).u16_be(map.outside.port);
  write_address(out, map.outside.address);
}

std::optional<PcpMap> read_map(ByteReader& in) {
  PcpMap map;
  map.nonce = in.array<12>();
  const std::uint8_t protocol = in.u8();
  in.bytes(3);
  map.inside = in.u16_be();
  map.outside.port = in.u16_be();
  map.outside.address = IpAddress::v6(in.array<16>());
  if (!in.ok() || (protocol != 6 && protocol != 17)) return std::nullopt;
  map.transport = static_cast<PortTransport>(protocol);
  return map;
}

bool is_pcp(ByteView datagram) {
  return datagram.size() >= kPcpHeaderBytes && datagram.size() <= kPcpBytesMax && datagram.size() % 4 == 0 &&
         datagram[0] == kPcp;
}

}  // namespace

Bytes write_natpmp(const NatPmpRequest& request) {
  ByteWriter out;
  out.u8(kNatPmp).u8(natpmp_opcode(request.transport));
  if (request.transport) out.u16_be(0).u16_be(request.inside).u16_be(request.outside).u32_be(request.lifetime_s);
  return out.take();
}

Bytes write_natpmp(const NatPmpAnswer& answer) {
  ByteWriter out;
  out.u8(kNatPmp).u8(kAnswer | natpmp_opcode(answer.transport)).u16_be(answer.result).u32_be(answer.epoch_s);
  if (!answer.transport) {
    out.bytes(answer.address.bytes());
  } else if (answer.result == 0) {
    out.u16_be(answer.inside).u16_be(answer.outside).u32_be(answer.lifetime_s);
  }
  return out.take();
}

std::optional<NatPmpRequest> parse_natpmp_request(ByteView datagram) {
  ByteReader in(datagram);
  NatPmpRequest request;
  if (in.u8() != kNatPmp || !read_natpmp_opcode(in.u8(), request.transport)) return std::nullopt;
  if (request.transport) {
    in.u16_be();
    request.inside = in.u16_be();
    request.outside = in.u16_be();
    request.lifetime_s = in.u32_be();
  }
  return in.done() ? std::optional(request) : std::nullopt;
}

// What an error carries beyond its first eight bytes differs between routers, and means nothing.
std::optional<NatPmpAnswer> parse_natpmp_answer(ByteView datagram) {
  ByteReader in(datagram);
  NatPmpAnswer answer;
  const bool version = in.u8() == kNatPmp;
  const std::uint8_t opcode = in.u8();
  if (!version || opcode < kAnswer || !read_natpmp_opcode(opcode - kAnswer, answer.transport)) return std::nullopt;
  answer.result = in.u16_be();
  answer.epoch_s = in.u32_be();
  if (answer.result == PcpAnswer::kUnsupportedVersion) return std::nullopt;  // about a question of PCP's
  if (answer.result != 0) return in.ok() ? std::optional(answer) : std::nullopt;
  if (answer.transport) {
    answer.inside = in.u16_be();
    answer.outside = in.u16_be();
    answer.lifetime_s = in.u32_be();
  } else {
    answer.address = IpAddress::v4(in.u32_be());
  }
  return in.done() ? std::optional(answer) : std::nullopt;
}

Bytes write_pcp(const PcpRequest& request) {
  ByteWriter out;
  out.u8(kPcp).u8(request.map ? kOpcodeMap : 0).u16_be(0).u32_be(request.lifetime_s);
  write_address(out, request.client);
  if (request.map) write_map(out, *request.map);
  return out.take();
}

Bytes write_pcp(const PcpAnswer& answer) {
  ByteWriter out;
  if (answer.result == PcpAnswer::kUnsupportedVersion)
    return out.u8(kNatPmp).u8(kAnswer).u16_be(answer.result).u32_be(answer.epoch_s).take();
  out.u8(kPcp).u8(kAnswer | (answer.map ? kOpcodeMap : 0)).u8(0).u8(answer.result);
  out.u32_be(answer.lifetime_s).u32_be(answer.epoch_s).bytes(std::array<std::uint8_t, 12>{});
  if (answer.map) write_map(out, *answer.map);
  return out.take();
}

std::optional<PcpRequest> parse_pcp_request(ByteView datagram) {
  if (!is_pcp(datagram) || datagram[1] > kOpcodeMap) return std::nullopt;
  ByteReader in(datagram);
  PcpRequest request;
  const bool is_map = in.u16_be() == (kPcp << 8 | kOpcodeMap);
  in.u16_be();
  request.lifetime_s = in.u32_be();
  request.client = IpAddress::v6(in.array<16>());
  if (!is_map) return in.done() ? std::optional(request) : std::nullopt;
  request.map = read_map(in);
  return request.map ? std::optional(request) : std::nullopt;
}

std::optional<PcpAnswer> parse_pcp_answer(ByteView datagram) {
  PcpAnswer answer;
  if (datagram.size() >= 8 && datagram[0] < kPcp && (datagram[1] & kAnswer) != 0 &&
      load_be<std::uint16_t>(datagram.data() + 2) == PcpAnswer::kUnsupportedVersion) {
    answer.result = PcpAnswer::kUnsupportedVersion;
    answer.epoch_s = load_be<std::uint32_t>(datagram.data() + 4);
    return answer;
  }
  if (!is_pcp(datagram) || (datagram[1] & kAnswer) == 0) return std::nullopt;
  ByteReader in(datagram);
  in.u8();
  const std::uint8_t opcode = in.u8() - kAnswer;
  in.u8();
  answer.result = in.u8();
  answer.lifetime_s = in.u32_be();
  answer.epoch_s = in.u32_be();
  in.bytes(12);
  // One that speaks our version and says that it does not was asked by NAT-PMP.
  if (opcode > kOpcodeMap || answer.result == PcpAnswer::kUnsupportedVersion) return std::nullopt;
  if (opcode == kOpcodeMap) {
    answer.map = read_map(in);
    if (!answer.map) return std::nullopt;
  }
  return answer;
}

}  // namespace lanrage::wire
