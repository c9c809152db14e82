#include "lan/mdns_rewriter.h"

#include <algorithm>
#include <array>

namespace lanrage::lan {
namespace {

constexpr std::size_t kHeaderSize = 12;
constexpr std::uint16_t kTypeA = 1;
constexpr std::uint16_t kTypeAaaa = 28;

// Past the name at `at` (RFC 1035 section 4.1.4); a pointer ends it.
std::optional<std::size_t> skip_name(ByteView message, std::size_t at) {
  while (at < message.size()) {
    const std::uint8_t length = message[at];
    if (length == 0) return at + 1;
    if ((length & 0xc0) == 0xc0) return at + 2;
    if ((length & 0xc0) != 0) return std::nullopt;
    at += 1 + std::size_t{length};
  }
  return std::nullopt;
}

}  // namespace

std::size_t rewrite_mdns(MutableBytes message, const std::function<bool(const IpAddress&)>& is_local,
                         const IpAddress& v4, const std::optional<IpAddress>& v6) {
  if (message.size() < kHeaderSize) return 0;
  std::size_t at = kHeaderSize;
  for (int questions = load_be<std::uint16_t>(message.data() + 4); questions > 0; --questions) {
    const auto name_end = skip_name(message, at);
    if (!name_end || *name_end + 4 > message.size()) return 0;
    at = *name_end + 4;
  }
  int records = 0;
  for (std::size_t field = 6; field < kHeaderSize; field += 2)
    records += load_be<std::uint16_t>(message.data() + field);
  std::size_t changed = 0;
  for (; records > 0; --records) {
    const auto name_end = skip_name(message, at);
    if (!name_end || *name_end + 10 > message.size()) break;
    const auto type = load_be<std::uint16_t>(message.data() + *name_end);
    const std::size_t size = load_be<std::uint16_t>(message.data() + *name_end + 8);
    at = *name_end + 10;
    if (at + size > message.size()) break;
    const MutableBytes data = message.subspan(at, size);
    at += size;
    const bool is_v4 = type == kTypeA && size == 4;
    const bool is_v6 = type == kTypeAaaa && size == 16 && v6.has_value();
    if (!is_v4 && !is_v6) continue;
    const auto address = IpAddress::from_bytes(data);
    if (!address || !is_local(*address)) continue;
    const ByteView own = is_v4 ? v4.bytes() : v6->bytes();
    if (std::equal(own.begin(), own.end(), data.begin(), data.end())) continue;
    std::copy(own.begin(), own.end(), data.begin());
    ++changed;
  }
  return changed;
}

}  // namespace lanrage::lan
