#include "host/metered.h"

#include <pthread.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "host/bus.h"

namespace lanrage::host {
namespace {

constexpr const char* kName = "org.freedesktop.NetworkManager";
constexpr const char* kPath = "/org/freedesktop/NetworkManager";
constexpr const char* kProperty = "Metered";
constexpr int kCallMilliseconds = 2000;
constexpr dbus_uint32_t kYes = 1, kGuessedYes = 3;  // NMMetered; else unknown, no, or guessed no

bool ask(DBusConnection* bus) {
  const Message call(dbus_message_new_method_call(kName, kPath, DBUS_INTERFACE_PROPERTIES, "Get"));
  dbus_message_set_auto_start(call.get(), FALSE);
  dbus_message_append_args(call.get(), DBUS_TYPE_STRING, &kName, DBUS_TYPE_STRING, &kProperty, DBUS_TYPE_INVALID);
  Failure failure;
  const Message reply(dbus_connection_send_with_reply_and_block(bus, call.get(), kCallMilliseconds, &failure));
  DBusMessageIter outer, inner;
  if (!reply || dbus_message_iter_init(reply.get(), &outer) == FALSE ||
      dbus_message_iter_get_arg_type(&outer) != DBUS_TYPE_VARIANT)
    return false;
  dbus_message_iter_recurse(&outer, &inner);
  if (dbus_message_iter_get_arg_type(&inner) != DBUS_TYPE_UINT32) return false;
  dbus_uint32_t value = 0;
  dbus_message_iter_get_basic(&inner, &value);
  return value == kYes || value == kGuessedYes;
}

}  // namespace

class MeteredWatch::Worker {
 public:
  explicit Worker(std::function<void(bool)> changed) : changed_(std::move(changed)) {}

  void stop() {
    const std::lock_guard lock(mutex_);
    changed_ = nullptr;
    wake_.notify_all();
  }

  void run() {
    ::pthread_setname_np(::pthread_self(), "metered");
    Bus bus;
    for (bool told = false;;) {
      if (!bus || dbus_connection_get_is_connected(bus.get()) == FALSE) bus = open_system_bus();
      const bool metered = bus && ask(bus.get());
      if (bus) discard(bus.get());
      std::unique_lock lock(mutex_);
      if (changed_ && metered != std::exchange(told, metered)) changed_(metered);
      wake_.wait_for(lock, kAskEvery, [this] { return changed_ == nullptr; });
      if (changed_ == nullptr) return;
    }
  }

 private:
  // What else came by the bus.
  static void discard(DBusConnection* bus) {
    dbus_connection_read_write(bus, 0);
    while (const Message message{dbus_connection_pop_message(bus)}) {
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::function<void(bool)> changed_;  // empty: stop
};

// The thread may be inside the library for longer than anybody wants to wait for it: it holds what it needs itself.
MeteredWatch::MeteredWatch(std::function<void(bool)> changed) : worker_(std::make_shared<Worker>(std::move(changed))) {
  std::thread([worker = worker_] { worker->run(); }).detach();
}

MeteredWatch::~MeteredWatch() { worker_->stop(); }

}  // namespace lanrage::host
