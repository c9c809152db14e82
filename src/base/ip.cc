#include "base/ip.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace lanrage {
namespace {

template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The first `length` bits of both are equal.
bool same_bits(ByteView a, ByteView b, int length) {
  const int whole = length / 8;
  if (!std::equal(a.begin(), a.begin() + whole, b.begin())) return false;
  const int rest = length % 8;
  return rest == 0 || ((a[static_cast<std::size_t>(whole)] ^ b[static_cast<std::size_t>(whole)]) >> (8 - rest)) == 0;
}

}  // namespace

IpAddress IpAddress::v6(const std::array<std::uint8_t, 16>& bytes) {
  static constexpr std::array<std::uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::equal(kMapped.begin(), kMapped.end(), bytes.begin())) return v4(load_be<std::uint32_t>(bytes.data() + 12));
  IpAddress a;
  a.v6_ = true;
  a.bytes_ = bytes;
  return a;
}

std::optional<IpAddress> IpAddress::from_bytes(ByteView bytes) {
  if (bytes.size() == 4) return v4(load_be<std::uint32_t>(bytes.data()));
  if (bytes.size() != 16) return std::nullopt;
  std::array<std::uint8_t, 16> raw;
  std::copy(bytes.begin(), bytes.end(), raw.begin());
  return v6(raw);
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  char buffer[INET6_ADDRSTRLEN];
  if (text.size() >= sizeof buffer) return std::nullopt;
  *std::copy(text.begin(), text.end(), buffer) = '\0';
  std::array<std::uint8_t, 16> raw{};
  if (inet_pton(AF_INET, buffer, raw.data()) == 1) return v4(load_be<std::uint32_t>(raw.data()));
  if (inet_pton(AF_INET6, buffer, raw.data()) == 1) return v6(raw);
  return std::nullopt;
}

std::string IpAddress::text() const {
  char buffer[INET6_ADDRSTRLEN];
  return inet_ntop(v6_ ? AF_INET6 : AF_INET, bytes_.data(), buffer, sizeof buffer);
}

bool IpAddress::is_unspecified() const {
  return std::all_of(bytes_.begin(), bytes_.end(), [](std::uint8_t b) { return b == 0; });
}
bool IpAddress::is_loopback() const {
  if (is_v4()) return bytes_[0] == 127;
  return bytes_[15] == 1 && std::all_of(bytes_.begin(), bytes_.end() - 1, [](std::uint8_t b) { return b == 0; });
}
bool IpAddress::is_multicast() const { return is_v4() ? (bytes_[0] >> 4) == 14 : bytes_[0] == 0xff; }
bool IpAddress::is_link_local() const {
  return is_v4() ? bytes_[0] == 169 && bytes_[1] == 254 : bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}
bool IpAddress::is_limited_broadcast() const { return is_v4() && v4_value() == 0xffffffff; }
bool IpAddress::is_private() const {
  if (is_v6()) return (bytes_[0] & 0xfe) == 0xfc;
  return bytes_[0] == 10 || (bytes_[0] == 172 && (bytes_[1] & 0xf0) == 16) || (bytes_[0] == 192 && bytes_[1] == 168) ||
         (bytes_[0] == 100 && (bytes_[1] & 0xc0) == 64);
}

std::optional<IpPrefix> IpPrefix::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  auto address = IpAddress::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  if (slash == std::string_view::npos) return host(*address);
  auto length = parse_number<int>(text.substr(slash + 1));
  if (!length || *length < 0 || *length > address->bits()) return std::nullopt;
  return IpPrefix{*address, *length};
}

bool IpPrefix::contains(const IpAddress& other) const {
  return address.is_v4() == other.is_v4() && same_bits(address.bytes(), other.bytes(), length);
}
bool IpPrefix::overlaps(const IpPrefix& other) const {
  return length <= other.length ? contains(other.address) : other.contains(address);
}

IpPrefix IpPrefix::network() const {
  Bytes raw = to_bytes(address.bytes());
  for (int bit = length; bit < address.bits(); ++bit)
    raw[static_cast<std::size_t>(bit / 8)] &= static_cast<std::uint8_t>(~(0x80 >> (bit % 8)));
  return {*IpAddress::from_bytes(raw), length};
}

IpAddress IpPrefix::broadcast() const {
  const std::uint32_t host_bits = length == 0 ? 0xffffffff : length == 32 ? 0 : (0xffffffffu >> length);
  return IpAddress::v4(address.v4_value() | host_bits);
}

std::string IpPrefix::text() const { return address.text() + "/" + std::to_string(length); }

std::optional<Endpoint> Endpoint::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  auto address = IpAddress::parse(host);
  auto port = parse_number<std::uint16_t>(text.substr(colon + 1));
  if (!address || !port || (host.find(':') != std::string_view::npos) != bracketed) return std::nullopt;
  return Endpoint{*address, *port};
}

std::string Endpoint::text() const {
  const std::string host = address.is_v6() ? "[" + address.text() + "]" : address.text();
  return host + ":" + std::to_string(port);
}

}  // namespace lanrage
