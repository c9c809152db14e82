#include "host/proc_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "net/fd.h"

namespace lanrage::host {
namespace {

constexpr std::size_t kFileBytesMax = 4 * 1024 * 1024;

}  // namespace

std::string read_proc_file(const char* path) {
  std::string text;
  const net::Fd file(::open(path, O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) return text;
  char block[16 * 1024];
  while (text.size() < kFileBytesMax) {
    const ssize_t count = net::retry([&] { return ::read(file.get(), block, sizeof block); });
    if (count <= 0) break;
    text.append(block, static_cast<std::size_t>(count));
  }
  return text;
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> out;
  std::size_t at = 0;
  while ((at = line.find_first_not_of(" \t", at)) != std::string_view::npos) {
    const std::size_t end = std::min(line.find_first_of(" \t", at), line.size());
    out.push_back(line.substr(at, end - at));
    at = end;
  }
  return out;
}

}  // namespace lanrage::host
