// For tests: hands values from callbacks on any thread to the test, which waits for them.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>

#include "base/time.h"

namespace lanrage::net {

inline constexpr Duration kTestPatience = std::chrono::seconds(30);

template <class T>
class TestMailbox {
 public:
  void put(T value) {
    const std::lock_guard lock(mutex_);
    values_.push_back(std::move(value));
    changed_.notify_all();
  }
  // The oldest value; nothing: none came in time.
  std::optional<T> take(Duration timeout = kTestPatience) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, timeout, [&] { return !values_.empty(); })) return std::nullopt;
    T value = std::move(values_.front());
    values_.pop_front();
    return value;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<T> values_;
};

}  // namespace lanrage::net
