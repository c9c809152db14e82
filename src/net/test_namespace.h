// For tests: network namespaces of their own, gone when their last user is.
#pragma once

#include <fcntl.h>
#include <linux/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <utility>

#include "net/fd.h"

namespace lanrage::net {

// A namespace with its loopback up. Making one needs root: without, the test process ends and says so.
class TestNamespace {
 public:
  TestNamespace() {
    std::thread([this] {
      if (::unshare(CLONE_NEWNET) != 0) give_up("cannot make a network namespace: run this test as root");
      const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      ifreq request{};
      request.ifr_name[0] = 'l';
      request.ifr_name[1] = 'o';
      request.ifr_flags = IFF_UP;
      if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) give_up("cannot switch lo on");
      handle_ = Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    }).join();
  }

  // Calls `f` on a thread inside the namespace and waits for it. Sockets and adapters made there stay there.
  template <class F>
  void run(F&& f) const {
    std::thread([&] {
      if (::setns(handle_.get(), CLONE_NEWNET) != 0) give_up("cannot enter a network namespace");
      std::forward<F>(f)();
    }).join();
  }

  // Writes a file below /proc/sys/net of this namespace.
  void set_sysctl(const char* path, const char* value) const {
    run([&] {
      const Fd file(::open(path, O_WRONLY | O_CLOEXEC));
      if (!file.is_open() || ::write(file.get(), value, 1) != 1) give_up(path);
    });
  }

 private:
  [[noreturn]] static void give_up(const char* why) {
    std::perror(why);
    std::_Exit(1);
  }

  Fd handle_;
};

}  // namespace lanrage::net
