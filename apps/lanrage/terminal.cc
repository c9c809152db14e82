#include "terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace lanrage::cli {
namespace {

constexpr std::size_t kColumnsUnknown = 80;
constexpr std::size_t kColumnsMin = 40;

// The ranges that matter for names; exact tables are the terminal's own affair.
std::size_t cells_of(std::uint32_t c) {
  const auto in = [c](std::uint32_t first, std::uint32_t last) { return c >= first && c <= last; };
  if (in(0x0300, 0x036f) || in(0x200b, 0x200f) || in(0x20d0, 0x20ff) || in(0xfe00, 0xfe0f)) return 0;
  if (in(0x1100, 0x115f) || in(0x2e80, 0xa4cf) || in(0xac00, 0xd7a3) || in(0xf900, 0xfaff) || in(0xfe30, 0xfe6f) ||
      in(0xff00, 0xff60) || in(0xffe0, 0xffe6) || in(0x1f300, 0x1faff) || in(0x20000, 0x3fffd))
    return 2;
  return 1;
}

}  // namespace

std::size_t terminal_columns() {
  winsize size{};
  if (::ioctl(1, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kColumnsUnknown;
  return std::max<std::size_t>(size.ws_col, kColumnsMin);
}

std::size_t display_width(std::string_view text) {
  std::size_t cells = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0xc0 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    std::uint32_t c = length == 1 ? lead : lead & (0x7fu >> length);
    for (std::size_t k = 1; k < length && i + k < text.size(); ++k)
      c = c << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3f);
    cells += cells_of(c);
    i += length;
  }
  return cells;
}

std::string padded(std::string_view text, std::size_t cells) {
  const std::size_t width = display_width(text);
  return std::string(text) + std::string(width < cells ? cells - width : 0, ' ');
}

void print_wrapped(std::string_view label, std::string_view text) {
  const std::size_t indent = display_width(label);
  const std::size_t room = std::max<std::size_t>(terminal_columns(), indent + kColumnsMin / 2) - indent;
  std::string line(label);
  std::size_t used = 0;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (used > 0 && used + 1 + display_width(word) > room) {
      std::printf("%s\n", line.c_str());
      line.assign(indent, ' ');
      used = 0;
    }
    if (used > 0) line += ' ';
    line += word;
    used += display_width(word) + (used > 0 ? 1 : 0);
  }
  std::printf("%s\n", line.c_str());
}

}  // namespace lanrage::cli
