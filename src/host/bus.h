// The system bus (D-Bus), by libdbus: what the few sources that speak it share. No header of this module includes this.
#pragma once

#include <dbus/dbus.h>

#include <memory>

namespace lanrage::host {

struct Unref {
  void operator()(DBusMessage* message) const { dbus_message_unref(message); }
  void operator()(DBusConnection* connection) const {
    dbus_connection_close(connection);
    dbus_connection_unref(connection);
  }
};
using Message = std::unique_ptr<DBusMessage, Unref>;
using Bus = std::unique_ptr<DBusConnection, Unref>;

// A DBusError that frees itself.
struct Failure : DBusError {
  Failure() { dbus_error_init(this); }
  ~Failure() { dbus_error_free(this); }
  Failure(const Failure&) = delete;
  Failure& operator=(const Failure&) = delete;
};

// A connection of one's own, that does not end the process with it. Nothing: there is no bus.
inline Bus open_system_bus() {
  Bus bus(dbus_bus_get_private(DBUS_BUS_SYSTEM, nullptr));
  if (bus) dbus_connection_set_exit_on_disconnect(bus.get(), FALSE);
  return bus;
}

}  // namespace lanrage::host
