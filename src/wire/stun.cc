#include "wire/stun.h"

#include <algorithm>

#include "base/check.h"
#include "wire/demux.h"

namespace lanrage::wire {
namespace {

constexpr std::uint16_t kBindingRequest = 0x0001;
constexpr std::uint16_t kBindingSuccess = 0x0101;
constexpr std::uint16_t kXorMappedAddress = 0x0020;
constexpr std::uint16_t kChangeRequest = 0x0003;   // RFC 5780 section 7.2
constexpr std::uint16_t kResponsePort = 0x0027;    // section 7.5
constexpr std::uint16_t kOtherAddress = 0x802c;    // section 7.4, coded like MAPPED-ADDRESS
constexpr std::uint32_t kChangeAddressFlag = 0x4;  // "A" and
constexpr std::uint32_t kChangePortFlag = 0x2;     // "B"
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
constexpr std::string_view kSoftwareText = "LANrage                                     ";  // 44 bytes
constexpr std::size_t kSoftwareBytes = 24;                                                  // of a plain question

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

void write_software(std::uint8_t* out, std::size_t bytes) {
  store_be(out, kSoftware);
  store_be(out + 2, static_cast<std::uint16_t>(bytes));
  std::copy_n(kSoftwareText.begin(), bytes, out + 4);
}

// FINGERPRINT over everything before it; the header's length already counts it.
void write_fingerprint(MutableBytes message) {
  std::uint8_t* attribute = message.data() + message.size() - 8;
  store_be(attribute, kFingerprint);
  store_be(attribute + 2, std::uint16_t{4});
  store_be(attribute + 4, crc32(message.first(message.size() - 8)) ^ kFingerprintXor);
}

// The value of an address attribute; `mask` is zero, or the magic cookie and transaction of an XOR- attribute.
using AddressMask = std::array<std::uint8_t, 16>;

AddressMask mask_of(ByteView message) {
  AddressMask mask;
  std::copy_n(message.begin() + 4, mask.size(), mask.begin());
  return mask;
}

std::optional<Endpoint> parse_address(ByteView value, const AddressMask& mask) {
  if (value.size() < 8 || value[0] != 0) return std::nullopt;
  const std::size_t length = value[1] == 1 ? 4 : value[1] == 2 ? 16 : 0;
  if (length == 0 || value.size() != 4 + length) return std::nullopt;
  std::array<std::uint8_t, 16> raw{};
  for (std::size_t i = 0; i < length; ++i) raw[i] = value[4 + i] ^ mask[i];
  const auto address = IpAddress::from_bytes(ByteView(raw).first(length));
  if (!address || address->is_v4() != (length == 4)) return std::nullopt;
  const auto port =
      static_cast<std::uint16_t>(load_be<std::uint16_t>(value.data() + 2) ^ load_be<std::uint16_t>(mask.data()));
  return Endpoint{*address, port};
}

std::size_t write_address(std::uint8_t* out, std::uint16_t type, const Endpoint& endpoint, const AddressMask& mask) {
  const ByteView address = endpoint.address.bytes();
  store_be(out, type);
  store_be(out + 2, static_cast<std::uint16_t>(4 + address.size()));
  out[4] = 0;
  out[5] = endpoint.address.is_v4() ? 1 : 2;
  store_be(out + 6, static_cast<std::uint16_t>(endpoint.port ^ load_be<std::uint16_t>(mask.data())));
  for (std::size_t i = 0; i < address.size(); ++i) out[8 + i] = static_cast<std::uint8_t>(address[i] ^ mask[i]);
  return 8 + address.size();
}

struct Attributes {
  bool fingerprint = false;
  std::optional<Endpoint> mapped;
  std::optional<Endpoint> other;
  std::optional<std::uint32_t> change;  // flags
  std::optional<std::uint16_t> response_port;
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
      found.mapped = parse_address(value, mask_of(datagram));
      if (!found.mapped) return std::nullopt;
    } else if (attribute == kOtherAddress && type == kBindingSuccess) {
      found.other = found.other ? std::nullopt : parse_address(value, {});
      if (!found.other) return std::nullopt;
    } else if (attribute == kChangeRequest && type == kBindingRequest) {
      if (found.change || size != 4) return std::nullopt;
      found.change = load_be<std::uint32_t>(value.data());
      if ((*found.change & ~(kChangeAddressFlag | kChangePortFlag)) != 0) return std::nullopt;
    } else if (attribute == kResponsePort && type == kBindingRequest) {
      // The port and two bytes of padding, which some count in the length and others do not.
      if (found.response_port || (size != 2 && size != 4)) return std::nullopt;
      found.response_port = load_be<std::uint16_t>(value.data());
    } else if (attribute < kOptionalFrom) {
      const bool is_skipped = std::find(kSkipped.begin(), kSkipped.end(), attribute) != kSkipped.end();
      if (type != kBindingSuccess || !is_skipped) return std::nullopt;
    }
    rest = rest.subspan(4 + padded);
  }
  return found;
}

// An attribute of four bytes.
struct Word {
  std::uint16_t type;
  std::uint32_t value;
};

Bytes write_padded(const StunTransaction& transaction, const std::optional<Word>& first) {
  static_assert(kHeaderBytes + 8 + 4 + kSoftwareText.size() + 8 == kStunDiscoveryBytes);
  static_assert(kStunDiscoveryBytes - 8 >= kStunResponseBytesMax);
  Bytes out(kStunDiscoveryBytes - (first ? 0 : 8));
  write_header(out.data(), kBindingRequest, out.size() - kHeaderBytes, transaction);
  std::uint8_t* attribute = out.data() + kHeaderBytes;
  if (first) {
    store_be(attribute, first->type);
    store_be(attribute + 2, std::uint16_t{4});
    store_be(attribute + 4, first->value);
    attribute += 8;
  }
  write_software(attribute, kSoftwareText.size());
  write_fingerprint(out);
  return out;
}

StunTransaction transaction_of(ByteView datagram) {
  StunTransaction id;
  std::copy_n(datagram.begin() + 8, id.size(), id.begin());
  return id;
}

}  // namespace

std::array<std::uint8_t, kStunRequestBytes> write_stun_request(const StunTransaction& transaction) {
  static_assert(kHeaderBytes + 4 + kSoftwareBytes + 8 == kStunRequestBytes);
  std::array<std::uint8_t, kStunRequestBytes> out{};
  write_header(out.data(), kBindingRequest, kStunRequestBytes - kHeaderBytes, transaction);
  write_software(out.data() + kHeaderBytes, kSoftwareBytes);
  write_fingerprint(out);
  return out;
}

Bytes write_stun_discovery(const StunTransaction& transaction, bool change_address, bool change_port) {
  if (!change_address && !change_port) return write_padded(transaction, std::nullopt);
  return write_padded(transaction, Word{kChangeRequest, (change_address ? kChangeAddressFlag : 0) |
                                                            (change_port ? kChangePortFlag : 0)});
}

Bytes write_stun_to_port(const StunTransaction& transaction, std::uint16_t response_port) {
  return write_padded(transaction, Word{kResponsePort, std::uint32_t{response_port} << 16});
}

std::optional<StunRequest> parse_stun_request(ByteView datagram) {
  const auto attributes = parse_message(datagram, kBindingRequest);
  if (!attributes) return std::nullopt;
  const std::uint32_t change = attributes->change.value_or(0);
  return StunRequest{transaction_of(datagram), attributes->fingerprint, (change & kChangeAddressFlag) != 0,
                     (change & kChangePortFlag) != 0, attributes->response_port};
}

std::size_t write_stun_response(const StunResponse& response, MutableBytes out) {
  LR_CHECK(out.size() >= kStunResponseBytesMax);
  const std::size_t other_bytes = response.other ? 8 + response.other->address.bytes().size() : 0;
  const std::size_t attribute_bytes =
      8 + response.mapped.address.bytes().size() + other_bytes + (response.fingerprint ? 8 : 0);
  const MutableBytes message = out.first(kHeaderBytes + attribute_bytes);
  write_header(message.data(), kBindingSuccess, attribute_bytes, response.transaction);
  std::uint8_t* attribute = message.data() + kHeaderBytes;
  attribute += write_address(attribute, kXorMappedAddress, response.mapped, mask_of(message));
  if (response.other) write_address(attribute, kOtherAddress, *response.other, {});
  if (response.fingerprint) write_fingerprint(message);
  return message.size();
}

std::optional<StunResponse> parse_stun_response(ByteView datagram) {
  const auto attributes = parse_message(datagram, kBindingSuccess);
  if (!attributes || !attributes->mapped) return std::nullopt;
  return StunResponse{transaction_of(datagram), *attributes->mapped, attributes->fingerprint, attributes->other};
}

}  // namespace lanrage::wire
