// This machine's resolver, told who answers for a party's names: systemd-resolved over the system bus (its D-Bus
// interface org.freedesktop.resolve1), by libdbus, which only the source file names.
//
// Asks on a thread of its own, since the bus may take long: `want` never waits. Tells it again whenever the resolver
// starts anew, and never starts it. Touches no file; what was told ends with the interface. A machine without it is no
// failure: `changed` says why names are not resolved.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/time.h"

namespace lanrage::host {

class Resolver {
 public:
  static constexpr Duration kRetry = std::chrono::seconds(30);  // while there is no bus, or the resolver refuses

  struct Link {
    unsigned interface = 0;
    Endpoint server;                    // answers for the domains below, and is asked nothing else
    std::string search;                 // "bob" means bob.SEARCH, too
    std::vector<std::string> routed{};  // further domains that it answers for
    friend bool operator==(const Link&, const Link&) = default;
  };

  // `changed` is called on another thread when it has an answer, must not block, and is not called any more once the
  // destructor returned. `problem` is for a person; empty: names are resolved.
  explicit Resolver(std::function<void(std::string problem)> changed);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  void want(std::optional<Link> link);  // nothing: as if we had never been

 private:
  class Worker;
  std::shared_ptr<Worker> worker_;
};

}  // namespace lanrage::host
