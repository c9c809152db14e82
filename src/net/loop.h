// A thread that runs callbacks: what HTTP servers and clients, and those who need timers beside them, live on.
//
// Anything may be posted from any thread; everything posted runs on the loop's one thread in order. What lives on a
// loop holds it by shared_ptr. The last holder stops and joins the thread, except when that holder is let go on the
// loop itself: then the thread ends by itself after the callback. What is still queued at that moment is dropped.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/time.h"

namespace lanrage::net {

// A callback that was promised for later. Destroying or cancelling it on the loop's thread guarantees that it won't
// run.
class LoopTimer {
 public:
  virtual ~LoopTimer() = default;
  virtual void cancel() = 0;
};

class IoLoop {
 public:
  // `name` is the thread's, at most 15 characters.
  static std::shared_ptr<IoLoop> start(const std::string& name);
  virtual ~IoLoop() = default;

  virtual void post(std::function<void()> callback) = 0;
  // Runs `callback` once, `delay` from now (monotonic). Call on the loop's thread.
  virtual std::unique_ptr<LoopTimer> after(Duration delay, std::function<void()> callback) = 0;
  virtual bool on_loop_thread() const = 0;
  // Posts and waits until it ran; runs it at once when called on the loop's thread.
  void run(const std::function<void()>& callback);
};

}  // namespace lanrage::net
