#include "host/resolver.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#include <mutex>
#include <thread>

#include "base/format.h"
#include "host/bus.h"
#include "net/event.h"

namespace lanrage::host {
namespace {

constexpr const char* kName = "org.freedesktop.resolve1";
constexpr const char* kPath = "/org/freedesktop/resolve1";
constexpr const char* kInterface = "org.freedesktop.resolve1.Manager";
constexpr const char* kOwners =
    "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',arg0='org.freedesktop.resolve1'";
constexpr int kCallMilliseconds = 2000;

// One call of the resolver's, arguments appended in order. Containers close when their writer goes.
class Call {
 public:
  Call(const char* method, unsigned interface)
      : message_(dbus_message_new_method_call(kName, kPath, kInterface, method)) {
    dbus_message_set_auto_start(message_.get(), FALSE);
    dbus_message_iter_init_append(message_.get(), &top_);
    const dbus_int32_t index = static_cast<dbus_int32_t>(interface);
    add(top_, DBUS_TYPE_INT32, index);
  }
  Call& text(const char* value) {
    add(top_, DBUS_TYPE_STRING, value);
    return *this;
  }
  Call& boolean(bool value) {
    const dbus_bool_t raw = value ? TRUE : FALSE;
    add(top_, DBUS_TYPE_BOOLEAN, raw);
    return *this;
  }
  // a(iayqs): family, address, port, name for TLS.
  Call& servers(const Endpoint& server) {
    within(top_, DBUS_TYPE_ARRAY, "(iayqs)", [&](DBusMessageIter& array) {
      within(array, DBUS_TYPE_STRUCT, nullptr, [&](DBusMessageIter& entry) {
        const dbus_int32_t family = server.address.is_v4() ? AF_INET : AF_INET6;
        const dbus_uint16_t port = server.port;
        const char* no_name = "";
        add(entry, DBUS_TYPE_INT32, family);
        within(entry, DBUS_TYPE_ARRAY, "y", [&](DBusMessageIter& bytes) {
          for (const std::uint8_t byte : server.address.bytes()) add(bytes, DBUS_TYPE_BYTE, byte);
        });
        add(entry, DBUS_TYPE_UINT16, port);
        add(entry, DBUS_TYPE_STRING, no_name);
      });
    });
    return *this;
  }
  // a(sb): a domain, and whether it only routes questions.
  Call& domains(const std::string& search, const std::vector<std::string>& routed) {
    within(top_, DBUS_TYPE_ARRAY, "(sb)", [&](DBusMessageIter& array) {
      const auto put = [&](const std::string& domain, dbus_bool_t only_routes) {
        within(array, DBUS_TYPE_STRUCT, nullptr, [&](DBusMessageIter& entry) {
          const char* text = domain.c_str();
          add(entry, DBUS_TYPE_STRING, text);
          add(entry, DBUS_TYPE_BOOLEAN, only_routes);
        });
      };
      put(search, FALSE);
      for (const std::string& domain : routed) put(domain, TRUE);
    });
    return *this;
  }

  // Empty: done; else why not.
  std::string run(DBusConnection* bus) {
    Failure failure;
    const Message reply(dbus_connection_send_with_reply_and_block(bus, message_.get(), kCallMilliseconds, &failure));
    if (reply) return {};
    if (dbus_error_has_name(&failure, DBUS_ERROR_SERVICE_UNKNOWN) ||
        dbus_error_has_name(&failure, DBUS_ERROR_NAME_HAS_NO_OWNER))
      return "systemd-resolved does not run here";
    return format("systemd-resolved refuses ({})", failure.message == nullptr ? "no reason" : failure.message);
  }

 private:
  template <class T>
  static void add(DBusMessageIter& to, int type, const T& value) {
    dbus_message_iter_append_basic(&to, type, &value);
  }
  template <class F>
  static void within(DBusMessageIter& outer, int type, const char* signature, F&& fill) {
    DBusMessageIter inner;
    dbus_message_iter_open_container(&outer, type, signature, &inner);
    fill(inner);
    dbus_message_iter_close_container(&outer, &inner);
  }

  Message message_;
  DBusMessageIter top_;
};

// The link's own server comes last: until everything else is said, it would be asked what is not its.
std::string tell(DBusConnection* bus, const Resolver::Link& link) {
  const unsigned index = link.interface;
  std::string problem = Call("SetLinkDefaultRoute", index).boolean(false).run(bus);
  if (problem.empty()) problem = Call("SetLinkDomains", index).domains(link.search, link.routed).run(bus);
  // Names of the machine's user are asked of no party's members: LLMNR would by itself.
  for (const char* protocol : {"SetLinkLLMNR", "SetLinkMulticastDNS", "SetLinkDNSSEC", "SetLinkDNSOverTLS"}) {
    if (problem.empty()) problem = Call(protocol, index).text("no").run(bus);
  }
  if (problem.empty()) problem = Call("SetLinkDNSEx", index).servers(link.server).run(bus);
  return problem;
}

}  // namespace

class Resolver::Worker {
 public:
  Worker(std::function<void(std::string)> changed, std::optional<net::Event> wake)
      : changed_(std::move(changed)), wake_(std::move(wake)) {}

  void want(std::optional<Link> link) {
    const std::lock_guard lock(mutex_);
    wanted_ = std::move(link);
    again_ = true;
    if (wake_) wake_->signal();
  }
  void stop() {
    const std::lock_guard lock(mutex_);
    changed_ = nullptr;
    stopping_ = true;
    if (wake_) wake_->signal();
  }

  void run() {
    ::pthread_setname_np(::pthread_self(), "resolver");
    while (const auto turn = next()) {
      if (*turn) say(connect() ? apply() : "there is no system bus (D-Bus) here");
      wait();
    }
  }

 private:
  // Nothing: stop. Whether there is something to tell.
  std::optional<bool> next() {
    const std::lock_guard lock(mutex_);
    if (stopping_) return std::nullopt;
    link_ = wanted_;
    return std::exchange(again_, false);
  }
  void say(std::string problem) {
    retry_ = !problem.empty();
    const std::lock_guard lock(mutex_);
    if (changed_) changed_(std::move(problem));
  }

  bool connect() {
    if (bus_ && dbus_connection_get_is_connected(bus_.get()) == TRUE) return true;
    told_.reset();
    bus_ = open_system_bus();
    if (!bus_) return false;
    dbus_bus_add_match(bus_.get(), kOwners, nullptr);
    return true;
  }

  std::string apply() {
    if (told_ && (!link_ || told_->interface != link_->interface)) Call("RevertLink", told_->interface).run(bus_.get());
    told_ = link_;
    return link_ ? tell(bus_.get(), *link_) : std::string();
  }

  // Until something else is wanted, the resolver starts anew, or it is time to try again.
  void wait() {
    bool anew = take_signals();  // also what came while a call waited for its answer
    if (!anew) {
      pollfd fds[2] = {{wake_->fd(), POLLIN, 0}, {-1, POLLIN, 0}};
      if (bus_) dbus_connection_get_unix_fd(bus_.get(), &fds[1].fd);
      const auto patience = std::chrono::duration_cast<std::chrono::milliseconds>(kRetry).count();
      anew = ::poll(fds, 2, retry_ ? static_cast<int>(patience) : -1) == 0;
      wake_->clear();
      anew = take_signals() || anew;
    }
    const std::lock_guard lock(mutex_);
    again_ = again_ || (anew && wanted_);
  }

  // Whether the resolver came or went, or the bus did.
  bool take_signals() {
    if (!bus_) return false;
    bool anew = false;
    dbus_connection_read_write(bus_.get(), 0);
    while (const Message message{dbus_connection_pop_message(bus_.get())})
      anew = anew || dbus_message_is_signal(message.get(), DBUS_INTERFACE_DBUS, "NameOwnerChanged") == TRUE;
    if (dbus_connection_get_is_connected(bus_.get()) == TRUE) return anew;
    bus_.reset();
    return true;
  }

  std::mutex mutex_;  // guards what follows
  std::function<void(std::string)> changed_;
  std::optional<Link> wanted_;
  bool again_ = false;
  bool stopping_ = false;
  std::optional<net::Event> wake_;
  // The thread's own.
  Bus bus_;
  std::optional<Link> link_;
  std::optional<Link> told_;
  bool retry_ = false;
};

// The thread may be inside the library for longer than anybody wants to wait for it: it holds what it needs itself.
Resolver::Resolver(std::function<void(std::string)> changed) {
  auto wake = net::Event::create();
  if (!wake) {
    changed(wake.error().message);
    worker_ = std::make_shared<Worker>(nullptr, std::nullopt);
    return;
  }
  worker_ = std::make_shared<Worker>(std::move(changed), std::move(*wake));
  std::thread([worker = worker_] { worker->run(); }).detach();
}

Resolver::~Resolver() { worker_->stop(); }

void Resolver::want(std::optional<Link> link) { worker_->want(std::move(link)); }

}  // namespace lanrage::host
