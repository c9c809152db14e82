#include "daemon/stop_signals.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace lanrage::daemon {

Result<StopSignals> StopSignals::take() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  if (pthread_sigmask(SIG_BLOCK, &set, nullptr) != 0) return os_error("cannot block signals", errno);
  net::Fd fd(::signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd.is_open()) return os_error("cannot receive signals", errno);
  return StopSignals(std::move(fd));
}

void StopSignals::read() {
  signalfd_siginfo info;
  while (::read(fd_.get(), &info, sizeof info) > 0) {
  }
}

}  // namespace lanrage::daemon
