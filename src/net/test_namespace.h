// For tests: a network namespace of its own for the calling thread, gone when its last user is.
#pragma once

#include <fcntl.h>
#include <linux/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/result.h"
#include "net/fd.h"

namespace lanrage::net {

// Moves this thread into a fresh namespace with its loopback up. Needs CAP_SYS_ADMIN.
inline Result<void> enter_new_namespace() {
  if (::unshare(CLONE_NEWNET) != 0) {
    Error error = os_error("cannot make a network namespace", errno);
    error.hint = "this test runs as root";
    return error;
  }
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  request.ifr_name[0] = 'l';
  request.ifr_name[1] = 'o';
  request.ifr_flags = IFF_UP;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) return os_error("cannot switch lo on", errno);
  return {};
}

}  // namespace lanrage::net
