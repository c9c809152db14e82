#include "net/loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "net/http_stream.h"

namespace lanrage::net {
namespace {

class Timer final : public LoopTimer {
 public:
  Timer(asio::io_context& io, Duration delay, std::function<void()> callback)
      : pending_(std::make_shared<Pending>(Pending{asio::steady_timer(io, delay), std::move(callback)})) {
    pending_->timer.async_wait([pending = std::weak_ptr<Pending>(pending_)](error_code error) {
      const auto held = pending.lock();
      if (error || !held || !held->callback) return;
      const auto once = std::move(held->callback);
      held->callback = nullptr;
      once();
    });
  }
  ~Timer() override { cancel(); }
  void cancel() override {
    pending_->callback = nullptr;
    pending_->timer.cancel();
  }

 private:
  struct Pending {
    asio::steady_timer timer;
    std::function<void()> callback;
  };
  std::shared_ptr<Pending> pending_;
};

class AsioLoop final : public IoLoop {
 public:
  explicit AsioLoop(const std::string& name) : io_(std::make_shared<asio::io_context>(1)) {
    thread_ = std::thread([io = io_, name] {
      ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
      const auto keep_running = asio::make_work_guard(*io);
      io->run();
    });
  }
  ~AsioLoop() override {
    io_->stop();
    if (on_loop_thread()) {
      thread_.detach();  // the thread's function owns the context
    } else {
      thread_.join();
    }
  }
  void post(std::function<void()> callback) override { asio::post(*io_, std::move(callback)); }
  std::unique_ptr<LoopTimer> after(Duration delay, std::function<void()> callback) override {
    return std::make_unique<Timer>(*io_, delay, std::move(callback));
  }
  bool on_loop_thread() const override { return std::this_thread::get_id() == thread_.get_id(); }
  asio::io_context& io() { return *io_; }

 private:
  std::shared_ptr<asio::io_context> io_;
  std::thread thread_;
};

}  // namespace

std::shared_ptr<IoLoop> IoLoop::start(const std::string& name) { return std::make_shared<AsioLoop>(name); }

void IoLoop::run(const std::function<void()>& callback) {
  if (on_loop_thread()) return callback();
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  post([&] {
    callback();
    const std::lock_guard lock(mutex);
    done = true;
    changed.notify_one();
  });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return done; });
}

asio::io_context& context_of(IoLoop& loop) { return static_cast<AsioLoop&>(loop).io(); }

}  // namespace lanrage::net
