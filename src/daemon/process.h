// This process: its privileges, its place in the background, its claim on a folder.
//
// Called by main before any thread exists, unless said otherwise.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace lanrage::daemon {

// Gives standard streams that whoever started us had closed to /dev/null, before a socket takes their numbers.
void open_standard_streams();

// Makes secrets unreadable to others (no core dumps, not traceable) and lets no child gain privileges. For every long-
// running command, root or not. Turns SIGPIPE into an error of the write.
void harden_process();

// The group `lanrage`, whose members may use the node, where this machine has it. Joins it, so that files can be given
// to it once privileges are given up: call this before. Nothing where there is none or this process may not join.
std::optional<gid_t> join_users_group();

// As many open files as this process may have: a server takes one for each connection. kFailed when that is too few to
// work with.
Result<void> raise_descriptor_limit();

// kRefused, with what to do, unless the process may make network adapters and open packet sockets.
Result<void> require_network_privileges();

// Lets threads started later raise their priority to nice -10 after privileges are given up: the data threads do.
void permit_raised_priority();

// Gives up everything but CAP_NET_ADMIN and CAP_NET_RAW (and CAP_NET_BIND_SERVICE, for a server on ports below 1024).
// Of the calling thread and those that it starts: call it before there are others. Without any privilege to begin with
// it does nothing.
Result<void> keep_network_privileges();

// The exclusive claim on a state folder, released when the process ends, however it ends. kConflict names the holder.
class FolderLock {
 public:
  static Result<FolderLock> take(const std::string& folder);
  FolderLock(FolderLock&& other) noexcept;
  FolderLock& operator=(FolderLock&&) = delete;
  ~FolderLock();

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_;
};

// Goes on in a child of its own session with standard streams on /dev/null and nothing else open, while this process
// waits for the child's word and then exits. `Readiness` is that word: given in the child, once.
class Readiness {
 public:
  Readiness() = default;  // in the foreground: nobody waits
  Readiness(Readiness&& other) noexcept;
  Readiness& operator=(Readiness&& other) noexcept;
  ~Readiness();  // without a word given, the parent reports that the child ended
  void ready();
  void failed(const Error& error);

 private:
  friend Result<bool> fork_into_background(Readiness& child);
  void say(const std::string& text);
  int fd_ = -1;
};

// True in the child, which holds `child`; false in the parent once the child is ready. In the parent an Error is what
// the child failed with.
Result<bool> fork_into_background(Readiness& child);

}  // namespace lanrage::daemon
