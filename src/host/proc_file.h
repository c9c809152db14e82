// Small files of /proc, read whole.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lanrage::host {

// Empty when it cannot be read; cut at 4 MiB.
std::string read_proc_file(const char* path);

// The words of a line, separated by blanks and tabs.
std::vector<std::string_view> words_of(std::string_view line);

// Calls `each` with every line, without its end.
template <class F>
void for_each_line(std::string_view text, F each) {
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    each(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
}

}  // namespace lanrage::host
