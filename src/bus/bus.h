// How control servers that share a store hear of each other: messages by party, and some for all.
//
// At most once, in order from one sender, and lossy when something breaks: nothing that must be right depends on it.
// Messages are text (wire/news.h) that the bus does not read. Thread: one caller; what comes is given on a thread of
// the bus's.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/log.h"
#include "base/result.h"
#include "party/ids.h"

namespace lanrage::bus {

struct Handlers {
  std::function<void(std::string)> on_message;
  std::function<void()> on_gap;  // problem() begins or ends: something may have been missed
};

class Bus {
 public:
  virtual ~Bus() = default;  // after it nothing is given any more
  // To all other servers that have subscribed to the party.
  virtual void publish(const party::PartyId& party, std::string message) = 0;
  virtual void broadcast(std::string message) = 0;
  virtual void subscribe(const party::PartyId& party) = 0;
  virtual void unsubscribe(const party::PartyId& party) = 0;
  virtual std::string problem() const = 0;  // why messages are lost just now; empty: none are. Any thread
  virtual const char* kind() const = 0;     // "postgresql", "nats"
};

// Rows of a table in the database of store::PostgresStore, which makes it: read every 250 ms, and sooner when a NOTIFY
// says so, which is sent ten times a second at most (it serialises commits). Every server reads every row: for a few.
// kUnavailable.
Result<std::unique_ptr<Bus>> open_postgres_bus(const std::string& url, Handlers handlers, const Logger& log);

// `main`, and `reserve` while `main` has a problem here, or at another server, which is heard over the reserve then, or
// has no other bus. Messages may come twice meanwhile, and with a space before them: they are JSON.
using Opener = std::function<Result<std::unique_ptr<Bus>>(Handlers)>;
Result<std::unique_ptr<Bus>> open_bus_with_reserve(const Opener& main, const Opener& reserve, Handlers handlers);

// Core NATS, by its servers' URLs with commas between: nats://[USER:PASSWORD@]HOST[:PORT],... A server that is not
// there is waited for. kInvalid: no such URL.
Result<std::unique_ptr<Bus>> open_nats_bus(const std::string& urls, Handlers handlers, const Logger& log);

}  // namespace lanrage::bus
