// For tests: Debian's nats-server on a port of loopback. Gone with the test, however that ends.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

namespace lanrage::bus {

class TestNats {
 public:
  TestNats() { run(); }
  ~TestNats() { stop(); }

  std::string url() const { return "nats://127.0.0.1:" + std::to_string(port_); }
  void run() {
    if (port_ == 0) port_ = free_port();
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::_Exit(1);
    server_ = ::fork();
    if (server_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int nothing = ::open("/dev/null", O_RDWR);
      for (int fd = 0; fd < 2; ++fd) ::dup2(nothing, fd);
      ::dup2(ends[1], 2);
      const std::string port = std::to_string(port_);
      ::execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", port.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(ends[1]);
    said_ = ends[0];  // open for its life: it ends when it cannot write
    std::string log;
    char part[256];
    for (ssize_t size; (size = ::read(said_, part, sizeof part)) > 0;) {
      log.append(part, static_cast<std::size_t>(size));
      if (log.find("Server is ready") != std::string::npos) return;
    }
    std::fprintf(stderr, "nats-server does not start: tools/install-packages test\n");
    std::_Exit(1);
  }
  void stop() {
    if (server_ <= 0) return;
    ::kill(server_, SIGKILL);
    ::waitpid(std::exchange(server_, -1), nullptr, 0);
    ::close(said_);
  }

 private:
  static sockaddr_in local(std::uint16_t port) {
    sockaddr_in out{};
    out.sin_family = AF_INET;
    out.sin_port = htons(port);
    out.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return out;
  }
  static std::uint16_t free_port() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = local(0);
    socklen_t size = sizeof address;
    ::bind(fd, reinterpret_cast<sockaddr*>(&address), size);
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    ::close(fd);
    return ntohs(address.sin_port);
  }
  std::uint16_t port_ = 0;
  pid_t server_ = -1;
  int said_ = -1;  // its log
};

}  // namespace lanrage::bus
