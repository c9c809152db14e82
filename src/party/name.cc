#include "party/name.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/format.h"

namespace lanrage::party {
namespace {

struct Range {
  char32_t first, last;
};

// What a terminal or a reader must not meet: controls, line ends, direction marks, invisible characters, spaces other
// than U+0020, private use, noncharacters (each plane's last two are tested apart).
constexpr std::array kUnsafe = {
    Range{0x0000, 0x001f},   Range{0x007f, 0x00a0},   Range{0x00ad, 0x00ad}, Range{0x034f, 0x034f},
    Range{0x061c, 0x061c},   Range{0x115f, 0x1160},   Range{0x1680, 0x1680}, Range{0x17b4, 0x17b5},
    Range{0x180b, 0x180f},   Range{0x2000, 0x200f},   Range{0x2028, 0x202f}, Range{0x205f, 0x206f},
    Range{0x3000, 0x3000},   Range{0x3164, 0x3164},   Range{0xd800, 0xf8ff}, Range{0xfdd0, 0xfdef},
    Range{0xfe00, 0xfe0f},   Range{0xfeff, 0xfeff},   Range{0xffa0, 0xffa0}, Range{0xfff0, 0xfffb},
    Range{0x1d173, 0x1d17a}, Range{0xe0000, 0x10ffff}};

bool is_safe(char32_t c) {
  if ((c & 0xfffe) == 0xfffe) return false;
  return std::none_of(kUnsafe.begin(), kUnsafe.end(), [c](Range r) { return c >= r.first && c <= r.last; });
}

// Takes one character from the front; nothing when that is not well-formed UTF-8 (RFC 3629: shortest form, no
// surrogates).
std::optional<char32_t> take_character(std::string_view& text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  std::size_t length = 1;
  char32_t value = lead;
  char32_t least = 0;
  if (lead >= 0x80) {
    if (lead >= 0xc2 && lead < 0xe0) {
      length = 2, value = lead & 0x1fu, least = 0x80;
    } else if (lead >= 0xe0 && lead < 0xf0) {
      length = 3, value = lead & 0x0fu, least = 0x800;
    } else if (lead >= 0xf0 && lead < 0xf5) {
      length = 4, value = lead & 0x07u, least = 0x10000;
    } else {
      return std::nullopt;
    }
  }
  if (text.size() < length) return std::nullopt;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return std::nullopt;
    value = (value << 6) | (byte(i) & 0x3fu);
  }
  if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return std::nullopt;
  text.remove_prefix(length);
  return value;
}

void append_character(std::string& out, char32_t c) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | (c >> 6)), put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | (c >> 12)), put(0x80 | ((c >> 6) & 0x3f)), put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | (c >> 18)), put(0x80 | ((c >> 12) & 0x3f)), put(0x80 | ((c >> 6) & 0x3f)), put(0x80 | (c & 0x3f));
  }
}

// Lower case of the alphabets that have it and that keyboards write.
char32_t lower(char32_t c) {
  const auto in = [c](char32_t first, char32_t last) { return c >= first && c <= last; };
  if (in('A', 'Z') || (in(0xc0, 0xde) && c != 0xd7) || in(0x410, 0x42f) || (in(0x391, 0x3ab) && c != 0x3a2)) {
    return c + 32;
  }
  if (in(0x400, 0x40f)) return c + 80;
  if (c == 0x3c2) return 0x3c3;  // final sigma
  if (c == 0x178) return 0xff;
  const bool even_is_upper = in(0x100, 0x12f) || in(0x132, 0x137) || in(0x14a, 0x177) || in(0x460, 0x481) ||
                             in(0x48a, 0x4bf) || in(0x4d0, 0x52f) || in(0x1e00, 0x1e95) || in(0x1ea0, 0x1eff);
  if (even_is_upper && c % 2 == 0) return c + 1;
  const bool odd_is_upper = in(0x139, 0x148) || in(0x179, 0x17e) || in(0x4c1, 0x4ce);
  if (odd_is_upper && c % 2 == 1) return c + 1;
  return c;
}

Result<void> check(std::string_view what, std::string_view text, std::size_t characters_max) {
  const auto wrong = [&](const char* rule) {
    return Error{Code::kInvalid, format("{} {}", what, rule),
                 format("use 1 to {} printable characters", characters_max)};
  };
  if (text.empty()) return wrong("is empty");
  if (text.size() > 4 * characters_max) return wrong("is too long");
  if (text.front() == ' ' || text.back() == ' ') return wrong("begins or ends with a space");
  std::size_t count = 0;
  while (!text.empty()) {
    const auto c = take_character(text);
    if (!c) return wrong("is not valid UTF-8");
    if (!is_safe(*c)) return wrong("holds a control or invisible character");
    ++count;
  }
  if (count > characters_max) return wrong("is too long");
  return {};
}

}  // namespace

bool display_safe(std::string_view text) {
  while (!text.empty()) {
    const auto c = take_character(text);
    if (!c || !is_safe(*c)) return false;
  }
  return true;
}

Result<void> check_name(std::string_view name) { return check("the name", name, kNameCharactersMax); }
Result<void> check_party_name(std::string_view name) {
  return check("the party's name", name, kPartyNameCharactersMax);
}

bool is_valid_hostname(std::string_view hostname) {
  return hostname.size() <= kHostnameBytesMax && std::all_of(hostname.begin(), hostname.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                  c == '.';
         });
}

std::string fold_name(std::string_view name) {
  std::string out;
  out.reserve(name.size());
  while (!name.empty()) {
    const auto c = take_character(name);
    if (!c) return out;
    append_character(out, lower(*c));
  }
  return out;
}

}  // namespace lanrage::party
