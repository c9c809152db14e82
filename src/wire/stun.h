// STUN binding requests and success responses (RFC 8489), as much as learning one's own mapped address takes.
//
//   0  u16  0x0001 request, 0x0101 success response      all fields big endian
//   2  u16  bytes of attributes, a multiple of four
//   4  u32  0x2112A442
//   8  u8[12] transaction id
//  20  attributes {u16 type, u16 length, value, padding to four}
//
// A request of ours carries SOFTWARE padded with blanks and FINGERPRINT: 56 bytes, so that no answer is larger than its
// question. A response carries XOR-MAPPED-ADDRESS, and FINGERPRINT when the request had one. Strict: lengths must
// agree, FINGERPRINT must be right and last, an attribute that must be understood and is not makes the message invalid;
// so does a response without a mapped address or with two. Attributes from 0x8000 on are skipped, and in responses the
// old address attributes and MESSAGE-INTEGRITY, which other servers send.
//
// For finding out how a NAT behaves, of RFC 5780: a request may carry CHANGE-REQUEST (answer from another address, from
// another port) or RESPONSE-PORT (answer to another port of the asker's address), and a response OTHER-ADDRESS, which
// says that the server can do the former. Such requests have more padding.
#pragma once

#include <array>
#include <optional>

#include "base/bytes.h"
#include "base/ip.h"

namespace lanrage::wire {

inline constexpr std::size_t kStunRequestBytes = 56;
inline constexpr std::size_t kStunDiscoveryBytes = 84;    // of a question with CHANGE-REQUEST; without it 8 fewer
inline constexpr std::size_t kStunResponseBytesMax = 76;  // IPv6, OTHER-ADDRESS and FINGERPRINT

using StunTransaction = std::array<std::uint8_t, 12>;

struct StunRequest {
  StunTransaction transaction{};
  bool fingerprint = false;
  bool change_address = false;                   // answer from the server's other address,
  bool change_port = false;                      // from its other port
  std::optional<std::uint16_t> response_port{};  // answer to this port of the asker's address
};
struct StunResponse {
  StunTransaction transaction{};
  Endpoint mapped;
  bool fingerprint = false;
  std::optional<Endpoint> other{};  // OTHER-ADDRESS: where changed answers come from
};

std::array<std::uint8_t, kStunRequestBytes> write_stun_request(const StunTransaction& transaction);
// The same with so much padding that OTHER-ADDRESS fits into the answer.
Bytes write_stun_discovery(const StunTransaction& transaction, bool change_address, bool change_port);
// The same with RESPONSE-PORT in place of CHANGE-REQUEST.
Bytes write_stun_to_port(const StunTransaction& transaction, std::uint16_t response_port);
std::optional<StunRequest> parse_stun_request(ByteView datagram);

// Writes at `out`, which holds kStunResponseBytesMax, and answers how many bytes.
std::size_t write_stun_response(const StunResponse& response, MutableBytes out);
std::optional<StunResponse> parse_stun_response(ByteView datagram);

}  // namespace lanrage::wire
