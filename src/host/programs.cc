#include "host/programs.h"

#include <dirent.h>
#include <unistd.h>

#include <charconv>
#include <memory>
#include <optional>
#include <string_view>

#include "host/proc_file.h"

namespace lanrage::host {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

std::optional<std::uint64_t> digits(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "socket:[123]"
std::optional<std::uint64_t> socket_inode(const std::string& link) {
  char target[64];
  const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
  if (size <= 9) return std::nullopt;
  const std::string_view text(target, static_cast<std::size_t>(size));
  if (text.substr(0, 8) != "socket:[" || text.back() != ']') return std::nullopt;
  return digits(text.substr(8, text.size() - 9));
}

// A program chooses its own name: what a terminal might take for more than text is left out.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text)
    if (c > ' ' && c < 0x7f) out += c;
  return out;
}

std::string user_name(std::uint32_t uid) {
  std::string out;
  for_each_line(read_proc_file("/etc/passwd"), [&](std::string_view line) {
    const std::size_t name_end = line.find(':');
    if (name_end == std::string_view::npos || !out.empty()) return;
    const std::size_t uid_begin = line.find(':', name_end + 1);
    if (uid_begin == std::string_view::npos) return;
    const std::string_view rest = line.substr(uid_begin + 1);
    if (digits(rest.substr(0, rest.find(':'))) == uid) out = printable(line.substr(0, name_end));
  });
  return out.empty() ? "uid:" + std::to_string(uid) : "user:" + out;
}

}  // namespace

std::string Programs::name(Time now, std::uint64_t inode, std::uint32_t uid) {
  auto found = by_inode_.find(inode);
  if (found == by_inode_.end() && (looks_ == 0 || now - looked_ >= kInterval)) {
    look_through(now);
    found = by_inode_.find(inode);
  }
  if (found != by_inode_.end()) return found->second;
  auto user = users_.find(uid);
  if (user == users_.end()) user = users_.emplace(uid, user_name(uid)).first;
  // Not ours to see: looking again for the same socket would find no more.
  if (looked_ == now && by_inode_.size() < kSocketsMax) by_inode_.emplace(inode, user->second);
  return user->second;
}

void Programs::look_through(Time now) {
  ++looks_;
  looked_ = now;
  by_inode_.clear();
  users_.clear();
  const Directory processes(::opendir("/proc"));
  if (!processes) return;
  while (const dirent* process = ::readdir(processes.get())) {
    if (!digits(process->d_name)) continue;
    const std::string folder = std::string("/proc/") + process->d_name;
    const Directory descriptors(::opendir((folder + "/fd").c_str()));
    if (!descriptors) continue;  // ended meanwhile, or not ours to see
    std::string name;
    while (const dirent* descriptor = ::readdir(descriptors.get())) {
      const auto inode = socket_inode(folder + "/fd/" + descriptor->d_name);
      if (!inode || by_inode_.size() >= kSocketsMax) continue;
      if (name.empty()) name = printable(read_proc_file((folder + "/comm").c_str()));
      by_inode_.emplace(*inode, name);
    }
  }
}

}  // namespace lanrage::host
