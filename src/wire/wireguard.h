// WireGuard's four messages ("WireGuard: Next Generation Kernel Network Tunnel", section 5.4). All integers are
// little endian. This header is the specification; docs/wire/wireguard.md says what we do with it.
//
//   initiation, 148 bytes                        response, 92 bytes
//     0  1  type = 1                               0  1  type = 2
//     1  3  reserved, zero                         1  3  reserved, zero
//     4  4  sender index                           4  4  sender index
//     8 32  ephemeral                              8  4  receiver index
//    40 48  static, sealed (32 + tag)             12 32  ephemeral
//    88 28  timestamp, sealed (12 + tag)          44 16  nothing, sealed (tag)
//   116 16  mac1                                  60 16  mac1
//   132 16  mac2, zero without a cookie           76 16  mac2
//
//   cookie reply, 64 bytes                       data, 32 bytes and more
//     0  1  type = 3                               0  1  type = 4
//     1  3  reserved, zero                         1  3  reserved, zero
//     4  4  receiver index                         4  4  receiver index
//     8 24  nonce                                  8  8  counter
//    32 32  cookie, sealed (16 + tag)             16  n  packet and padding, sealed (n = padded size + tag)
//
// mac1 covers everything before it, mac2 everything before it including mac1. Parsers are strict: exact lengths (data:
// at least 32), reserved bytes zero. Views point into the datagram.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "base/bytes.h"

namespace lanrage::wire::wireguard {

enum class Type : std::uint8_t { kInitiation = 1, kResponse = 2, kCookieReply = 3, kData = 4 };

inline constexpr std::size_t kHeaderSize = 4;
inline constexpr std::size_t kTagSize = 16;
inline constexpr std::size_t kMacSize = 16;
inline constexpr std::size_t kKeySize = 32;
inline constexpr std::size_t kTimestampSize = 12;  // TAI64N: seconds, nanoseconds, big endian
inline constexpr std::size_t kCookieSize = 16;
inline constexpr std::size_t kCookieNonceSize = 24;

inline constexpr std::size_t kInitiationSize = 148;
inline constexpr std::size_t kResponseSize = 92;
inline constexpr std::size_t kCookieReplySize = 64;
inline constexpr std::size_t kDataHeaderSize = 16;
inline constexpr std::size_t kDataSizeMin = kDataHeaderSize + kTagSize;  // a keepalive
inline constexpr std::size_t kPadding = 16;                              // packets are padded to a multiple of this

struct Initiation {
  std::uint32_t sender = 0;
  std::array<std::uint8_t, kKeySize> ephemeral{};
  std::array<std::uint8_t, kKeySize + kTagSize> sealed_static{};
  std::array<std::uint8_t, kTimestampSize + kTagSize> sealed_timestamp{};
  std::array<std::uint8_t, kMacSize> mac1{}, mac2{};
  friend bool operator==(const Initiation&, const Initiation&) = default;
};

struct Response {
  std::uint32_t sender = 0;
  std::uint32_t receiver = 0;
  std::array<std::uint8_t, kKeySize> ephemeral{};
  std::array<std::uint8_t, kTagSize> sealed_nothing{};
  std::array<std::uint8_t, kMacSize> mac1{}, mac2{};
  friend bool operator==(const Response&, const Response&) = default;
};

struct CookieReply {
  std::uint32_t receiver = 0;
  std::array<std::uint8_t, kCookieNonceSize> nonce{};
  std::array<std::uint8_t, kCookieSize + kTagSize> sealed_cookie{};
  friend bool operator==(const CookieReply&, const CookieReply&) = default;
};

struct DataView {
  std::uint32_t receiver = 0;
  std::uint64_t counter = 0;
  ByteView sealed;  // into the datagram
};

static_assert(kHeaderSize + 4 + 32 + 48 + 28 + 2 * kMacSize == kInitiationSize);
static_assert(kHeaderSize + 4 + 4 + 32 + 16 + 2 * kMacSize == kResponseSize);
static_assert(kHeaderSize + 4 + kCookieNonceSize + kCookieSize + kTagSize == kCookieReplySize);

// The type, when the first four bytes are a WireGuard type word and the length fits it. Anything else on the port is
// another protocol's or nobody's.
std::optional<Type> parse_type(ByteView datagram);

std::optional<Initiation> parse_initiation(ByteView datagram);
std::optional<Response> parse_response(ByteView datagram);
std::optional<CookieReply> parse_cookie_reply(ByteView datagram);
std::optional<DataView> parse_data(ByteView datagram);

// Where the two MACs stand in an initiation or response: mac1 covers [0, size - 32), mac2 [0, size - 16).
constexpr std::size_t mac1_offset(std::size_t message_size) { return message_size - 2 * kMacSize; }
constexpr std::size_t mac2_offset(std::size_t message_size) { return message_size - kMacSize; }

Bytes write(const Initiation& message);
Bytes write(const Response& message);
Bytes write(const CookieReply& message);
void write_data_header(std::uint32_t receiver, std::uint64_t counter, std::span<std::uint8_t, kDataHeaderSize> out);

// What a packet of `size` bytes is padded to: the next multiple of 16, but never beyond `mtu`, so that a full packet
// grows by nothing. A packet larger than the MTU is left as it is.
constexpr std::size_t padded_size(std::size_t size, std::size_t mtu) {
  if (size >= mtu) return size;
  const std::size_t padded = (size + kPadding - 1) / kPadding * kPadding;
  return padded < mtu ? padded : mtu;
}

}  // namespace lanrage::wire::wireguard
