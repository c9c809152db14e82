// A bounded queue of moved values from any number of threads to one, with a wake-up.
//
// A full queue drops the new value and counts it: producers never wait. The consumer watches `fd()` in its poller and
// takes everything with `drain`. The lock is held for a move of one value (push) or a swap of two vectors (drain).
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "base/result.h"
#include "net/event.h"

namespace lanrage::net {

template <class T>
class Queue {
 public:
  // Event from `Event::create()`; at most `capacity` values wait.
  Queue(Event event, std::size_t capacity) : event_(std::move(event)), capacity_(capacity) {
    waiting_.reserve(capacity);
  }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // Any thread. False: full, the value was dropped and counted.
  bool push(T value) {
    bool first = false;
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.size() >= capacity_) {
        dropped_.fetch_add(1, std::memory_order_relaxed);
        return false;
      }
      first = waiting_.empty();
      waiting_.push_back(std::move(value));
    }
    if (first) event_.signal();
    return true;
  }

  // Consumer only: replaces `out` by all that waits, oldest first, and clears the wake-up. Pass the same vector each
  // time and nothing is allocated.
  void drain(std::vector<T>& out) {
    out.clear();
    event_.clear();
    const std::lock_guard lock(mutex_);
    out.swap(waiting_);
    waiting_.reserve(capacity_);
  }

  // Any thread: how many wait now.
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return waiting_.size();
  }

  int fd() const { return event_.fd(); }  // readable: something may wait
  std::uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  Event event_;
  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::vector<T> waiting_;
  std::atomic<std::uint64_t> dropped_{0};
};

}  // namespace lanrage::net
