#include "daemon/process.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>
#include <vector>

#include "base/format.h"

namespace lanrage::daemon {
namespace {

struct Capabilities {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};

  bool read() { return ::syscall(SYS_capget, &header, data) == 0; }
  bool write() { return ::syscall(SYS_capset, &header, data) == 0; }
  bool effective(unsigned capability) const { return (data[capability / 32].effective >> (capability % 32) & 1) != 0; }
};

constexpr rlim_t kDescriptorsMin = 128;    // a node that hosts needs half of them
constexpr rlim_t kDescriptorsMax = 65536;  // enough for every limit of ours (control/server.cc)
constexpr unsigned kKept[] = {CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE, CAP_BPF};

// One line each way over the pipe: "ready", or code, message and hint separated by what no message holds.
constexpr int kLockTries = 20;
constexpr unsigned kLockRetryMicroseconds = 50'000;

constexpr int kReadinessFd = 3;
constexpr char kSeparator = '\x1f';

std::string read_all(int fd) {
  std::string out;
  char buffer[512];
  for (;;) {
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return out;
    out.append(buffer, static_cast<std::size_t>(count));
  }
}

Error parse_failure(const std::string& text, int pid) {
  const std::size_t first = text.find(kSeparator);
  const std::size_t second = text.find(kSeparator, first + 1);
  if (first == std::string::npos || second == std::string::npos) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    return Error{Code::kFailed, "the node ended while starting", "run `lanrage up --foreground` to see why"};
  }
  return Error{static_cast<Code>(std::atoi(text.substr(0, first).c_str())), text.substr(first + 1, second - first - 1),
               text.substr(second + 1)};
}

}  // namespace

void open_standard_streams() {
  for (const int fd : {0, 1, 2}) {
    if (::fcntl(fd, F_GETFD) >= 0) continue;
    [[maybe_unused]] const int opened = ::open("/dev/null", O_RDWR);  // takes the lowest free number, which is fd
  }
}

void harden_process() {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::prctl(PR_SET_DUMPABLE, 0);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(0077);
}

std::optional<gid_t> join_users_group() {
  const group* users = ::getgrnam("lanrage");
  if (users == nullptr) return std::nullopt;
  const gid_t gid = users->gr_gid;
  std::vector<gid_t> groups(static_cast<std::size_t>(std::max(::getgroups(0, nullptr), 0)));
  if (::getgroups(static_cast<int>(groups.size()), groups.data()) < 0) return std::nullopt;
  if (::getegid() == gid || std::find(groups.begin(), groups.end(), gid) != groups.end()) return gid;
  groups.push_back(gid);
  return ::setgroups(groups.size(), groups.data()) == 0 ? std::optional(gid) : std::nullopt;
}

Result<void> raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return os_error("cannot read the limit of open files", errno);
  const rlim_t wanted = std::max(limit.rlim_cur, std::min(limit.rlim_max, kDescriptorsMax));
  if (wanted < kDescriptorsMin) {
    return Error{Code::kFailed, format("a process may have {} open files here, {} are needed", wanted, kDescriptorsMin),
                 "raise the limit: `ulimit -n 1024`, or LimitNOFILE= in a service unit"};
  }
  limit.rlim_cur = wanted;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return os_error("cannot raise the limit of open files", errno);
  return {};
}

Result<void> require_network_privileges() {
  Capabilities capabilities;
  if (capabilities.read() && capabilities.effective(CAP_NET_ADMIN) && capabilities.effective(CAP_NET_RAW)) return {};
  return Error{Code::kRefused, "making a network adapter needs privileges this process does not have",
               "run it as root (sudo), or give it CAP_NET_ADMIN and CAP_NET_RAW"};
}

void permit_raised_priority() {
  const rlimit nice{30, 30};  // 20 minus the nice value
  ::setrlimit(RLIMIT_NICE, &nice);
}

Result<void> keep_network_privileges() {
  Capabilities capabilities;
  if (!capabilities.read()) return os_error("cannot read this process's capabilities", errno);
  Capabilities kept;
  for (unsigned capability : kKept) {
    if (!capabilities.effective(capability)) continue;
    kept.data[capability / 32].effective |= 1u << (capability % 32);
    kept.data[capability / 32].permitted |= 1u << (capability % 32);
  }
  if (!kept.write()) return os_error("cannot give up capabilities", errno);
  return {};
}

Result<FolderLock> FolderLock::take(const std::string& folder) {
  const std::string path = folder + "/lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return os_error(format("cannot open {}", path), errno);
  // One that was just killed holds it until the kernel has taken it apart.
  int locked = ::flock(fd, LOCK_EX | LOCK_NB);
  for (int i = 0; locked != 0 && i < kLockTries; ++i) {
    ::usleep(kLockRetryMicroseconds);
    locked = ::flock(fd, LOCK_EX | LOCK_NB);
  }
  if (locked != 0) {
    char holder[32] = {};
    const ssize_t count = ::pread(fd, holder, sizeof holder - 1, 0);
    ::close(fd);
    return Error{Code::kConflict,
                 format("another lanrage (process {}) already uses {}", count > 0 ? holder : "unknown", folder),
                 "stop it with `lanrage down`, or give this one its own LANRAGE_DIR"};
  }
  const std::string pid = std::to_string(::getpid());
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) < 0) {
    const int error = errno;
    ::close(fd);
    return os_error(format("cannot write {}", path), error);
  }
  return FolderLock(fd);
}

FolderLock::FolderLock(FolderLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
FolderLock::~FolderLock() {
  if (fd_ >= 0) ::close(fd_);
}

Readiness::Readiness(Readiness&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
Readiness& Readiness::operator=(Readiness&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
Readiness::~Readiness() {
  if (fd_ >= 0) ::close(fd_);
}
void Readiness::ready() { say("ready"); }
void Readiness::failed(const Error& error) {
  say(format("{}{}{}{}{}", static_cast<int>(error.code), kSeparator, error.message, kSeparator, error.hint));
}
void Readiness::say(const std::string& text) {
  if (fd_ < 0) return;
  [[maybe_unused]] const ssize_t count = ::write(fd_, text.data(), text.size());  // the parent may be gone already
  ::close(std::exchange(fd_, -1));
}

Result<bool> fork_into_background(Readiness& child) {
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return os_error("cannot make a pipe", errno);
  const pid_t pid = ::fork();
  if (pid < 0) {
    const int error = errno;
    ::close(pipe_fds[0]);
    ::close(pipe_fds[1]);
    return os_error("cannot start a process", error);
  }
  if (pid == 0) {
    ::close(pipe_fds[0]);
    ::setsid();
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd : {0, 1, 2}) ::dup2(null, fd);
    // What the caller had open (a lock, another pipe) is none of a daemon's business, and would never be closed.
    ::dup3(pipe_fds[1], kReadinessFd, O_CLOEXEC);
    ::close_range(kReadinessFd + 1, ~0u, 0);
    child.fd_ = kReadinessFd;
    return true;
  }
  ::close(pipe_fds[1]);
  const std::string word = read_all(pipe_fds[0]);
  ::close(pipe_fds[0]);
  if (word == "ready") return false;
  return parse_failure(word, pid);
}

}  // namespace lanrage::daemon
