#include "wire/dns.h"

namespace lanrage::wire {
namespace {

constexpr std::size_t kLabelBytesMax = 63;
constexpr std::size_t kNameBytesMax = 255;
constexpr std::uint16_t kResponse = 0x8000, kOpcode = 0x7800, kAuthoritative = 0x0400, kTruncated = 0x0200;
constexpr std::uint16_t kRecursionDesired = 0x0100, kCode = 0x000f;
constexpr std::uint16_t kQuestionsName = 0xc00c;  // a pointer to offset 12
constexpr std::uint16_t kOpt = 41;
constexpr std::uint32_t kEdnsVersion = 0x00ff0000;

std::optional<DnsName> read_name(ByteReader& reader) {
  DnsName name;
  std::size_t bytes = 1;
  while (const std::size_t length = reader.u8()) {
    bytes += 1 + length;
    if (length > kLabelBytesMax || bytes > kNameBytesMax) return std::nullopt;  // or a pointer
    name.emplace_back(as_text(reader.bytes(length)));
    if (!reader.ok()) return std::nullopt;
  }
  if (!reader.ok()) return std::nullopt;
  return name;
}

void write_name(ByteWriter& writer, const DnsName& name) {
  for (const std::string& label : name) writer.sized_u8(as_bytes(label));
  writer.u8(0);
}

std::optional<DnsAnswer> read_answer(ByteReader& reader) {
  DnsAnswer answer;
  const bool about_question = reader.u16_be() == kQuestionsName;
  answer.type = static_cast<DnsType>(reader.u16_be());
  const bool internet = reader.u16_be() == kDnsInternet;
  answer.seconds = reader.u32_be();
  ByteReader data(reader.sized_u16());
  if (!reader.ok() || !about_question || !internet) return std::nullopt;
  if (answer.type == DnsType::kPtr) {
    auto name = read_name(data);
    if (!name || !data.done()) return std::nullopt;
    answer.name = std::move(*name);
    return answer;
  }
  const auto address = IpAddress::from_bytes(data.rest());
  if (!address || answer.type != (address->is_v4() ? DnsType::kA : DnsType::kAaaa)) return std::nullopt;
  answer.address = *address;
  return answer;
}

void write_answer(ByteWriter& writer, const DnsAnswer& answer) {
  writer.u16_be(kQuestionsName).u16_be(static_cast<std::uint16_t>(answer.type)).u16_be(kDnsInternet);
  writer.u32_be(answer.seconds);
  ByteWriter data;
  if (answer.type == DnsType::kPtr) {
    write_name(data, answer.name);
  } else {
    data.bytes(answer.address.bytes());
  }
  writer.sized_u16(data.view());
}

// The OPT record: nothing in it concerns us but that it is there, and its version (RFC 6891, 6.1.2).
bool read_opt(ByteReader& reader) {
  const bool root = reader.u8() == 0;
  const bool opt = reader.u16_be() == kOpt;
  reader.u16_be();  // the asker's largest datagram: ours fit any
  const bool known = (reader.u32_be() & kEdnsVersion) == 0;
  reader.sized_u16();
  return reader.ok() && root && opt && known;
}

Bytes encode(const DnsMessage& message, bool truncated) {
  ByteWriter writer;
  writer.u16_be(message.id);
  writer.u16_be(static_cast<std::uint16_t>(
      (message.response ? kResponse : 0) | (message.authoritative ? kAuthoritative : 0) | (truncated ? kTruncated : 0) |
      (message.recursion_desired ? kRecursionDesired : 0) | static_cast<std::uint16_t>(message.code)));
  const std::size_t answers = truncated ? 0 : message.answers.size();
  writer.u16_be(1).u16_be(static_cast<std::uint16_t>(answers)).u16_be(0).u16_be(message.edns ? 1 : 0);
  write_name(writer, message.name);
  writer.u16_be(static_cast<std::uint16_t>(message.type)).u16_be(message.klass);
  for (std::size_t i = 0; i < answers; ++i) write_answer(writer, message.answers[i]);
  if (message.edns) writer.u8(0).u16_be(kOpt).u16_be(kDnsBytesMax).u32_be(0).u16_be(0);
  return writer.take();
}

}  // namespace

std::optional<DnsMessage> parse_dns(ByteView datagram) {
  ByteReader reader(datagram);
  DnsMessage message;
  message.id = reader.u16_be();
  const std::uint16_t flags = reader.u16_be();
  message.response = (flags & kResponse) != 0;
  message.authoritative = (flags & kAuthoritative) != 0;
  message.truncated = (flags & kTruncated) != 0;
  message.recursion_desired = (flags & kRecursionDesired) != 0;
  message.code = static_cast<DnsCode>(flags & kCode);
  const std::uint16_t questions = reader.u16_be(), answers = reader.u16_be(), authorities = reader.u16_be();
  const std::uint16_t more = reader.u16_be();
  if (!reader.ok() || (flags & kOpcode) != 0 || questions != 1 || answers > kDnsAnswersMax || authorities != 0 ||
      more > 1)
    return std::nullopt;
  auto name = read_name(reader);
  if (!name) return std::nullopt;
  message.name = std::move(*name);
  message.type = static_cast<DnsType>(reader.u16_be());
  message.klass = reader.u16_be();
  for (std::uint16_t i = 0; i < answers; ++i) {
    auto answer = read_answer(reader);
    if (!answer) return std::nullopt;
    message.answers.push_back(std::move(*answer));
  }
  message.edns = more == 1;
  if (message.edns && !read_opt(reader)) return std::nullopt;
  if (!reader.done()) return std::nullopt;
  return message;
}

Bytes encode_dns(const DnsMessage& message) {
  Bytes whole = encode(message, message.truncated);
  return whole.size() <= kDnsBytesMax ? whole : encode(message, true);
}

}  // namespace lanrage::wire
