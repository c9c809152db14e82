// SIGINT and SIGTERM as a descriptor for a poller. Make it before any thread exists: threads inherit that the signals
// are blocked.
#pragma once

#include "base/result.h"
#include "net/fd.h"

namespace lanrage::daemon {

class StopSignals {
 public:
  static Result<StopSignals> take();
  int fd() const { return fd_.get(); }  // readable: somebody wants this process to end
  void read();                          // readable again only when somebody says so once more

 private:
  explicit StopSignals(net::Fd fd) : fd_(std::move(fd)) {}
  net::Fd fd_;
};

}  // namespace lanrage::daemon
