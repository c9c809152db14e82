#include "wire/stun.h"

#include <algorithm>

#include "base/check.h"
#include "wire/demux.h"

namespace lanrage::wire {
namespace {

constexpr std::uint16_t kBindingRequest = 0x0001;
constexpr std::uint16_t kBindingSuccess = 0x0101;
constexpr std::uint16_t kXorMappedAddress = 0x0020;
// Other servers send these too. They must be understood, and are: we have no use for them.
constexpr std::array<std::uint16_t, 4> kSkipped = {
    0x0001,  // MAPPED-ADDRESS, which routers rewrite
    0x0004,  // SOURCE-ADDRESS and
    0x0005,  // CHANGED-ADDRESS of RFC 3489
    0x0008,  // MESSAGE-INTEGRITY; we have no credentials
};
constexpr std::uint16_t kSoftware = 0x8022;
constexpr std::uint16_t kFingerprint = 0x8028;
constexpr std::uint16_t kOptionalFrom = 0x8000;        // RFC 8489 section 14: these may be ignored
constexpr std::uint32_t kFingerprintXor = 0x5354554e;  // section 14.7
constexpr std::size_t kHeaderBytes = 20;
constexpr std::string_view kSoftwareText = "LANrage                 ";  // 24 bytes

// CRC-32 of ITU V.42, bit by bit: a handful of these messages a minute.
std::uint32_t crc32(ByteView bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const std::uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320 : 0);
  }
  return ~crc;
}

void write_header(std::uint8_t* out, std::uint16_t type, std::size_t attribute_bytes, const StunTransaction& id) {
  store_be(out, type);
  store_be(out + 2, static_cast<std::uint16_t>(attribute_bytes));
  store_be(out + 4, kStunMagic);
  std::copy(id.begin(), id.end(), out + 8);
}

// FINGERPRINT over everything before it; the header's length already counts it.
void write_fingerprint(MutableBytes message) {
  std::uint8_t* attribute = message.data() + message.size() - 8;
  store_be(attribute, kFingerprint);
  store_be(attribute + 2, std::uint16_t{4});
  store_be(attribute + 4, crc32(message.first(message.size() - 8)) ^ kFingerprintXor);
}

std::optional<Endpoint> parse_mapped(ByteView value, const std::uint8_t* header) {
  if (value.size() < 8 || value[0] != 0) return std::nullopt;
  const std::size_t length = value[1] == 1 ? 4 : value[1] == 2 ? 16 : 0;
  if (length == 0 || value.size() != 4 + length) return std::nullopt;
  std::array<std::uint8_t, 16> raw{};
  for (std::size_t i = 0; i < length; ++i) raw[i] = value[4 + i] ^ header[4 + i];  // magic cookie, then transaction
  const auto address = IpAddress::from_bytes(ByteView(raw).first(length));
  if (!address || address->is_v4() != (length == 4)) return std::nullopt;
  const auto port = static_cast<std::uint16_t>(load_be<std::uint16_t>(value.data() + 2) ^ (kStunMagic >> 16));
  return Endpoint{*address, port};
}

struct Attributes {
  bool fingerprint = false;
  std::optional<Endpoint> mapped;
};

// Checks the header and walks the attributes.
std::optional<Attributes> parse_message(ByteView datagram, std::uint16_t type) {
  if (datagram.size() < kHeaderBytes || load_be<std::uint16_t>(datagram.data()) != type) return std::nullopt;
  const std::size_t length = load_be<std::uint16_t>(datagram.data() + 2);
  if (length % 4 != 0 || length != datagram.size() - kHeaderBytes) return std::nullopt;
  if (load_be<std::uint32_t>(datagram.data() + 4) != kStunMagic) return std::nullopt;
  Attributes found;
  ByteView rest = datagram.subspan(kHeaderBytes);
  while (!rest.empty()) {
    const auto attribute = load_be<std::uint16_t>(rest.data());  // rest is a multiple of four
    const std::size_t size = load_be<std::uint16_t>(rest.data() + 2);
    const std::size_t padded = (size + 3) & ~std::size_t{3};
    if (found.fingerprint || 4 + padded > rest.size()) return std::nullopt;  // nothing follows FINGERPRINT
    const ByteView value = rest.subspan(4, size);
    if (attribute == kFingerprint) {
      const ByteView covered = datagram.first(datagram.size() - rest.size());
      if (size != 4 || load_be<std::uint32_t>(value.data()) != (crc32(covered) ^ kFingerprintXor)) return std::nullopt;
      found.fingerprint = true;
    } else if (attribute == kXorMappedAddress) {
      if (type != kBindingSuccess || found.mapped) return std::nullopt;
      found.mapped = parse_mapped(value, datagram.data());
      if (!found.mapped) return std::nullopt;
    } else if (attribute < kOptionalFrom) {
      const bool is_skipped = std::find(kSkipped.begin(), kSkipped.end(), attribute) != kSkipped.end();
      if (type != kBindingSuccess || !is_skipped) return std::nullopt;
    }
    rest = rest.subspan(4 + padded);
  }
  return found;
}

StunTransaction transaction_of(ByteView datagram) {
  StunTransaction id;
  std::copy_n(datagram.begin() + 8, id.size(), id.begin());
  return id;
}

}  // namespace

std::array<std::uint8_t, kStunRequestBytes> write_stun_request(const StunTransaction& transaction) {
  static_assert(kHeaderBytes + 4 + kSoftwareText.size() + 8 == kStunRequestBytes);
  std::array<std::uint8_t, kStunRequestBytes> out{};
  write_header(out.data(), kBindingRequest, kStunRequestBytes - kHeaderBytes, transaction);
  store_be(out.data() + kHeaderBytes, kSoftware);
  store_be(out.data() + kHeaderBytes + 2, static_cast<std::uint16_t>(kSoftwareText.size()));
  std::copy(kSoftwareText.begin(), kSoftwareText.end(), out.begin() + kHeaderBytes + 4);
  write_fingerprint(out);
  return out;
}

std::optional<StunRequest> parse_stun_request(ByteView datagram) {
  const auto attributes = parse_message(datagram, kBindingRequest);
  if (!attributes) return std::nullopt;
  return StunRequest{transaction_of(datagram), attributes->fingerprint};
}

std::size_t write_stun_response(const StunResponse& response, MutableBytes out) {
  LR_CHECK(out.size() >= kStunResponseBytesMax);
  const ByteView address = response.mapped.address.bytes();
  const std::size_t attribute_bytes = 8 + address.size() + (response.fingerprint ? 8 : 0);
  const MutableBytes message = out.first(kHeaderBytes + attribute_bytes);
  write_header(message.data(), kBindingSuccess, attribute_bytes, response.transaction);
  std::uint8_t* attribute = message.data() + kHeaderBytes;
  store_be(attribute, kXorMappedAddress);
  store_be(attribute + 2, static_cast<std::uint16_t>(4 + address.size()));
  attribute[4] = 0;
  attribute[5] = response.mapped.address.is_v4() ? 1 : 2;
  store_be(attribute + 6, static_cast<std::uint16_t>(response.mapped.port ^ (kStunMagic >> 16)));
  for (std::size_t i = 0; i < address.size(); ++i)
    attribute[8 + i] = static_cast<std::uint8_t>(address[i] ^ message[4 + i]);
  if (response.fingerprint) write_fingerprint(message);
  return message.size();
}

std::optional<StunResponse> parse_stun_response(ByteView datagram) {
  const auto attributes = parse_message(datagram, kBindingSuccess);
  if (!attributes || !attributes->mapped) return std::nullopt;
  return StunResponse{transaction_of(datagram), *attributes->mapped, attributes->fingerprint};
}

}  // namespace lanrage::wire
