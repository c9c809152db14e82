// Group commit on top of a database that can write many changes in one synced transaction.
//
// While much is asked, commits wait up to a window (commit_window.h) and share one transaction, of every row only the
// last value (coalesce.h). A transaction that fails is repeated party by party.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/log.h"
#include "store/coalesce.h"
#include "store/store.h"

namespace lanrage::store {

// `load` and `size` are called by the store's caller, `write` and `retire` by the store's thread, each one at a time:
// a backend keeps a connection for either.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* kind() const = 0;
  virtual Result<std::optional<party::PartyData>> load(const party::PartyId& id) = 0;
  virtual Result<StoreSize> size() = 0;
  virtual Result<void> write(const std::vector<Step>& steps) = 0;  // all or, on error, none; synced when it returns
  virtual Result<std::size_t> retire(WallTime now, const std::vector<party::PartyId>& in_use) = 0;  // as Store has it
  virtual void count(StoreStats& stats) const = 0;  // sets writes, bytes and syncs where it knows them; any thread
};

std::unique_ptr<Store> group_store(std::unique_ptr<Backend> backend, const Logger& log, Duration window);

}  // namespace lanrage::store
