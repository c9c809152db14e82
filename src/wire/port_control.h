// NAT-PMP (RFC 6886) and PCP (RFC 6887): a program asks its router for a port. One UDP port of the router serves both,
// the first byte tells which it is. All fields big endian.
//
// NAT-PMP request:                        NAT-PMP answer:
//   0  u8   0                               0  u8   0
//   1  u8   0 address, 1 UDP, 2 TCP         1  u8   128 + that of the request
//   of 1 and 2 also                         2  u16  result; 0 is success
//   2  u16  0                               4  u32  seconds since the router forgot all mappings
//   4  u16  port inside                     of 0:  8  u8[4] address outside
//   6  u16  port outside that is wished     of 1 and 2, where the result is 0:
//   8  u32  seconds; 0 gives it back          8  u16 port inside, 10  u16 port outside, 12  u32 seconds
//
// PCP, requests and answers alike:
//   0  u8   2
//   1  u8   0 ANNOUNCE, 1 MAP; answers have 128 too
//   2  u8   0
//   3  u8   answers: result
//   4  u32  seconds; 0 gives it back
//   8  u8[16] who asks   |  answers: u32 seconds since the router forgot all mappings, 12 bytes that mean nothing
//  24  MAP: u8[12] nonce, u8 protocol (6 TCP, 17 UDP), 3 bytes 0, u16 port inside, u16 port outside, u8[16] address
//      outside; in requests the last two are what is wished
//
// IPv4 addresses stand in PCP's 16 bytes as ::ffff:a.b.c.d. Options after MAP are not read, and none are written.
// A router that speaks only one of them answers the other's questions in its own version with result 1, "unsupported
// version" (RFC 6887 section 9): that is read as an answer to the other's question, and as none of its own.
#pragma once

#include <array>
#include <optional>

#include "base/bytes.h"
#include "base/ip.h"

namespace lanrage::wire {

inline constexpr std::uint16_t kPortControlPort = 5351;     // of routers
inline constexpr std::uint16_t kPortControlHearers = 5350;  // where they announce a restart, at kPortControlGroup
inline constexpr IpAddress kPortControlGroup = IpAddress::v4(224, 0, 0, 1);
inline constexpr std::size_t kPcpBytesMax = 1100;  // RFC 6887 section 7

enum class PortTransport : std::uint8_t { kTcp = 6, kUdp = 17 };

struct NatPmpRequest {
  std::optional<PortTransport> transport{};  // none: what is the address outside?
  std::uint16_t inside = 0;
  std::uint16_t outside = 0;
  std::uint32_t lifetime_s = 0;
  friend bool operator==(const NatPmpRequest&, const NatPmpRequest&) = default;
};
struct NatPmpAnswer {
  static constexpr std::uint16_t kNetworkFailure = 3;  // the router has no address itself

  std::optional<PortTransport> transport{};
  std::uint16_t result = 0;
  std::uint32_t epoch_s = 0;
  IpAddress address{};  // of an address question; else unspecified
  std::uint16_t inside = 0;
  std::uint16_t outside = 0;
  std::uint32_t lifetime_s = 0;
  friend bool operator==(const NatPmpAnswer&, const NatPmpAnswer&) = default;
};

struct PcpMap {
  std::array<std::uint8_t, 12> nonce{};
  PortTransport transport = PortTransport::kUdp;
  std::uint16_t inside = 0;
  Endpoint outside{};
  friend bool operator==(const PcpMap&, const PcpMap&) = default;
};
struct PcpRequest {
  std::uint32_t lifetime_s = 0;
  IpAddress client;
  std::optional<PcpMap> map{};  // none: ANNOUNCE
  friend bool operator==(const PcpRequest&, const PcpRequest&) = default;
};
struct PcpAnswer {
  static constexpr std::uint8_t kUnsupportedVersion = 1;
  static constexpr std::uint8_t kNotAuthorized = 2;
  static constexpr std::uint8_t kNetworkFailure = 7;
  static constexpr std::uint8_t kNoResources = 8;
  static constexpr std::uint8_t kAddressMismatch = 12;  // another NAT stands between us and the router that answers

  std::uint8_t result = 0;
  std::uint32_t lifetime_s = 0;
  std::uint32_t epoch_s = 0;
  std::optional<PcpMap> map{};
  friend bool operator==(const PcpAnswer&, const PcpAnswer&) = default;
};

Bytes write_natpmp(const NatPmpRequest& request);
Bytes write_natpmp(const NatPmpAnswer& answer);
std::optional<NatPmpRequest> parse_natpmp_request(ByteView datagram);
std::optional<NatPmpAnswer> parse_natpmp_answer(ByteView datagram);

Bytes write_pcp(const PcpRequest& request);
Bytes write_pcp(const PcpAnswer& answer);
std::optional<PcpRequest> parse_pcp_request(ByteView datagram);
std::optional<PcpAnswer> parse_pcp_answer(ByteView datagram);

}  // namespace lanrage::wire
