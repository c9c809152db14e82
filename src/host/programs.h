// Which program owns a socket, as far as this process may see it.
//
// The name comes from /proc/PID/fd and /proc/PID/comm, which a process without CAP_SYS_PTRACE sees of its own user's
// programs only; of others the user's name is told, from /etc/passwd. Control thread; a look through /proc takes
// milliseconds, so it is done at most every two seconds and only when a socket is new.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "base/time.h"

namespace lanrage::host {

class Programs {
 public:
  static constexpr std::size_t kSocketsMax = 16'384;
  static constexpr Duration kInterval = std::chrono::seconds(2);

  // "name", "user:NAME", "uid:N".
  std::string name(Time now, std::uint64_t inode, std::uint32_t uid);
  int looks() const { return looks_; }

 private:
  void look_through(Time now);
  std::unordered_map<std::uint64_t, std::string> by_inode_;
  std::unordered_map<std::uint32_t, std::string> users_;
  Time looked_{};
  int looks_ = 0;
};

}  // namespace lanrage::host
