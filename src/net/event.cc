#include "net/event.h"

#include <sys/eventfd.h>

#include <cstdint>

namespace lanrage::net {

Result<Event> Event::create() {
  Fd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd.is_open()) return os_error("cannot create an event", errno);
  return Event(std::move(fd));
}

void Event::signal() {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the reader is woken anyway.
  [[maybe_unused]] const auto written = retry([&] { return ::write(fd_.get(), &one, sizeof one); });
}

bool Event::clear() {
  std::uint64_t count = 0;
  return retry([&] { return ::read(fd_.get(), &count, sizeof count); }) == sizeof count;
}

}  // namespace lanrage::net
