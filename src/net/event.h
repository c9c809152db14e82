// A wake-up between threads (eventfd). Any thread signals; the owner polls `fd()` for readability and clears it.
#pragma once

#include "base/result.h"
#include "net/fd.h"

namespace lanrage::net {

class Event {
 public:
  static Result<Event> create();

  void signal();  // any thread; never blocks; many signals before a clear are one
  bool clear();   // whether it had been signalled
  int fd() const { return fd_.get(); }

 private:
  explicit Event(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace lanrage::net
