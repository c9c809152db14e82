// The newest immutable snapshot, handed from one thread to others without a lock on their hot path: a reader compares a
// number once per batch and takes the lock only when it changed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>

namespace lanrage::dataplane {

template <class T>
class Published {
 public:
  explicit Published(std::shared_ptr<const T> first) : value_(std::move(first)) {}

  // Any thread. `also` runs under the lock, before readers can see the value.
  template <class Also>
  void publish(std::shared_ptr<const T> value, Also&& also) {
    const std::lock_guard lock(mutex_);
    value_.swap(value);  // the old one is released by the caller, after the lock
    also();
    version_.fetch_add(1, std::memory_order_release);
  }

  // One per reading thread.
  class Reader {
   public:
    explicit Reader(Published& from) : from_(from) {
      take([] {});
    }

    // Takes a newer value if there is one, and then runs `also` under the lock.
    template <class Also>
    bool refresh(Also&& also) {
      if (from_.version_.load(std::memory_order_acquire) == seen_) return false;
      take(std::forward<Also>(also));
      return true;
    }
    const T& operator*() const { return *value_; }
    const T* operator->() const { return value_.get(); }

   private:
    template <class Also>
    void take(Also&& also) {
      std::shared_ptr<const T> old;
      const std::lock_guard lock(from_.mutex_);
      old.swap(value_);
      value_ = from_.value_;
      seen_ = from_.version_.load(std::memory_order_relaxed);
      also();
    }
    Published& from_;
    std::shared_ptr<const T> value_;
    std::uint64_t seen_ = 0;
  };

 private:
  std::mutex mutex_;
  std::shared_ptr<const T> value_;
  std::atomic<std::uint64_t> version_{0};
};

}  // namespace lanrage::dataplane
