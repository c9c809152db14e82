// DNS messages (RFC 1035, EDNS of RFC 6891) as far as a responder for the names of a party needs them: one question,
// answers of three types. docs/wire/dns.md.
//
//   0  id                      12  question: labels (length, bytes)... 0, type, class
//   2  flags, response code        answers: name, type, class, time to live, length, data
//   4  counts: question,           OPT: 0, 41, size of datagrams, extended code and version, 0
//      answer, authority, more
//
// What is read is bounded by the message: names in a question are never compressed, those of an answer are the
// question's. Anything else does not parse.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"

namespace lanrage::wire {

inline constexpr std::size_t kDnsBytesMax = 512;  // of a message over UDP (RFC 1035, 2.3.4)
inline constexpr std::size_t kDnsAnswersMax = 8;
inline constexpr std::uint16_t kDnsInternet = 1;  // class IN

enum class DnsType : std::uint16_t { kA = 1, kPtr = 12, kAaaa = 28, kAny = 255 };
enum class DnsCode : std::uint8_t { kNone = 0, kNoName = 3, kRefused = 5 };

using DnsName = std::vector<std::string>;  // labels, the outermost last; 1 to 63 bytes each, 255 with their lengths

struct DnsAnswer {
  DnsType type = DnsType::kA;  // not kAny
  std::uint32_t seconds = 0;   // how long it may be kept
  IpAddress address{};         // kA, kAaaa
  DnsName name{};              // kPtr
  friend bool operator==(const DnsAnswer&, const DnsAnswer&) = default;
};

struct DnsMessage {
  std::uint16_t id = 0;
  bool response = false;
  bool authoritative = false;
  bool truncated = false;
  bool recursion_desired = false;
  DnsCode code = DnsCode::kNone;
  DnsName name{};  // asked for, case as sent
  DnsType type = DnsType::kA;
  std::uint16_t klass = kDnsInternet;
  std::vector<DnsAnswer> answers{};  // about `name`
  bool edns = false;                 // has an OPT record
  friend bool operator==(const DnsMessage&, const DnsMessage&) = default;
};

std::optional<DnsMessage> parse_dns(ByteView datagram);
// At most kDnsBytesMax: answers that do not fit are left out, and the message says `truncated`.
Bytes encode_dns(const DnsMessage& message);

}  // namespace lanrage::wire
