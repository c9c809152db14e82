// Byte strings: views, loads and stores with a named byte order, text encodings, and a bounded reader and writer.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lanrage {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;
using MutableBytes = std::span<std::uint8_t>;

inline ByteView as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}
inline std::string_view as_text(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
inline Bytes to_bytes(ByteView view) { return {view.begin(), view.end()}; }
inline void append(Bytes& out, ByteView more) { out.insert(out.end(), more.begin(), more.end()); }

// Unaligned loads and stores. `load_le<std::uint32_t>(p)` reads four bytes, least significant first.
template <class T>
constexpr T load_le(const std::uint8_t* p) {
  T v = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) v = static_cast<T>(v | (static_cast<T>(p[i]) << (8 * i)));
  return v;
}
template <class T>
constexpr T load_be(const std::uint8_t* p) {
  T v = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i)
    v = static_cast<T>(v | (static_cast<T>(p[i]) << (8 * (sizeof(T) - 1 - i))));
  return v;
}
template <class T>
constexpr void store_le(std::uint8_t* p, T v) {
  for (std::size_t i = 0; i < sizeof(T); ++i) p[i] = static_cast<std::uint8_t>(v >> (8 * i));
}
template <class T>
constexpr void store_be(std::uint8_t* p, T v) {
  for (std::size_t i = 0; i < sizeof(T); ++i) p[i] = static_cast<std::uint8_t>(v >> (8 * (sizeof(T) - 1 - i)));
}

// RFC 4648. Decoders are strict: exact alphabet, no white space, canonical trailing bits.
std::string to_hex(ByteView bytes);
std::optional<Bytes> from_hex(std::string_view text);
std::string to_base64(ByteView bytes);  // with padding, as `wg` prints keys
std::optional<Bytes> from_base64(std::string_view text);
std::string to_base64url(ByteView bytes);  // without padding
std::optional<Bytes> from_base64url(std::string_view text);

// Reads fields from the front of a view. After the first short read `ok()` is false and every further read gives
// zeroes or an empty view, so a parser checks once, at the end.
class ByteReader {
 public:
  explicit ByteReader(ByteView bytes) : rest_(bytes) {}

  std::uint8_t u8() { return number<std::uint8_t, false>(); }
  std::uint16_t u16_be() { return number<std::uint16_t, false>(); }
  std::uint32_t u32_be() { return number<std::uint32_t, false>(); }
  std::uint64_t u64_be() { return number<std::uint64_t, false>(); }
  std::uint32_t u32_le() { return number<std::uint32_t, true>(); }
  std::uint64_t u64_le() { return number<std::uint64_t, true>(); }
  ByteView bytes(std::size_t count) {
    if (count > rest_.size()) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    ByteView taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  template <std::size_t N>
  std::array<std::uint8_t, N> array() {
    std::array<std::uint8_t, N> out{};
    if (ByteView taken = bytes(N); taken.size() == N) std::memcpy(out.data(), taken.data(), N);
    return out;
  }
  ByteView sized_u8() { return bytes(u8()); }       // one length byte, then that many
  ByteView sized_u16() { return bytes(u16_be()); }  // two length bytes, big endian
  ByteView rest() const { return rest_; }
  bool ok() const { return ok_; }
  bool done() const { return ok_ && rest_.empty(); }  // everything read, nothing missing

 private:
  template <class T, bool kLittle>
  T number() {
    ByteView taken = bytes(sizeof(T));
    if (taken.size() != sizeof(T)) return 0;
    return kLittle ? load_le<T>(taken.data()) : load_be<T>(taken.data());
  }
  ByteView rest_;
  bool ok_ = true;
};

// Appends fields to a byte string. Sized fields longer than their length field can say are a bug of the caller.
class ByteWriter {
 public:
  ByteWriter& u8(std::uint8_t v) { return number_be(v); }
  ByteWriter& u16_be(std::uint16_t v) { return number_be(v); }
  ByteWriter& u32_be(std::uint32_t v) { return number_be(v); }
  ByteWriter& u64_be(std::uint64_t v) { return number_be(v); }
  ByteWriter& u32_le(std::uint32_t v) { return number_le(v); }
  ByteWriter& u64_le(std::uint64_t v) { return number_le(v); }
  ByteWriter& bytes(ByteView v) {
    append(out_, v);
    return *this;
  }
  ByteWriter& sized_u8(ByteView v);
  ByteWriter& sized_u16(ByteView v);
  const Bytes& view() const { return out_; }
  Bytes take() { return std::move(out_); }

 private:
  template <class T>
  ByteWriter& number_be(T v) {
    std::uint8_t raw[sizeof(T)];
    store_be(raw, v);
    return bytes(raw);
  }
  template <class T>
  ByteWriter& number_le(T v) {
    std::uint8_t raw[sizeof(T)];
    store_le(raw, v);
    return bytes(raw);
  }
  Bytes out_;
};

}  // namespace lanrage
