#include "net/poller.h"

#include <sys/epoll.h>

#include <algorithm>

namespace lanrage::net {
namespace {

std::uint32_t events_for(Interest interest) {
  switch (interest) {
    case Interest::kRead:
      return EPOLLIN;
    case Interest::kWrite:
      return EPOLLOUT;
    case Interest::kReadWrite:
      return EPOLLIN | EPOLLOUT;
  }
  return EPOLLIN;
}

// epoll_pwait2 takes nanoseconds; where the kernel has none (before 5.11), milliseconds rounded up, so that a wait
// never ends before its deadline and spins.
int wait_for(int epoll, epoll_event* events, int count, Time now, Time deadline) {
  if (deadline == kNever) return ::epoll_wait(epoll, events, count, -1);
  const Duration left = std::max(deadline - now, Duration::zero());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
  timespec timeout{};
  timeout.tv_sec = seconds.count();
  timeout.tv_nsec = (left - seconds).count();
  const int found = ::epoll_pwait2(epoll, events, count, &timeout, nullptr);
  if (found >= 0 || errno != ENOSYS) return found;
  const auto rounded = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return ::epoll_wait(epoll, events, count, static_cast<int>(std::min<std::int64_t>(rounded, 1 << 30)));
}

}  // namespace

Result<Poller> Poller::create() {
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll.is_open()) return os_error("cannot create a poller", errno);
  LR_ASSIGN(auto event, Event::create());
  Poller poller(std::move(epoll), std::move(event));
  LR_TRY(poller.add(poller.event_.fd(), kWakeTag));
  return poller;
}

Result<void> Poller::add(int fd, std::uint64_t tag, Interest interest) {
  return control(EPOLL_CTL_ADD, fd, tag, interest);
}

Result<void> Poller::modify(int fd, std::uint64_t tag, Interest interest) {
  return control(EPOLL_CTL_MOD, fd, tag, interest);
}

void Poller::remove(int fd) { ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

Result<void> Poller::control(int operation, int fd, std::uint64_t tag, Interest interest) {
  epoll_event event{};
  event.events = events_for(interest);
  event.data.u64 = tag;
  if (::epoll_ctl(epoll_.get(), operation, fd, &event) != 0) return os_error("cannot watch a descriptor", errno);
  return {};
}

std::span<const Ready> Poller::wait(Time now, Time deadline) {
  std::array<epoll_event, kBatchMax> events;
  const int found = wait_for(epoll_.get(), events.data(), static_cast<int>(events.size()), now, deadline);
  std::size_t count = 0;
  for (int i = 0; i < found; ++i) {
    const epoll_event event = events[static_cast<std::size_t>(i)];
    if (event.data.u64 == kWakeTag) {
      event_.clear();
      continue;
    }
    ready_[count++] = {event.data.u64, (event.events & EPOLLIN) != 0, (event.events & EPOLLOUT) != 0,
                       (event.events & (EPOLLERR | EPOLLHUP)) != 0};
  }
  return {ready_.data(), count};
}

}  // namespace lanrage::net
