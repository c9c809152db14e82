// Group commit on top of a database that can write many changes in one synced transaction.
//
// While much is asked, commits wait up to a window (commit_window.h) and share one transaction, of every row only the
// last value (coalesce.h). A transaction that fails is repeated commit by commit.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/log.h"
#include "store/coalesce.h"
#include "store/store.h"

namespace lanrage::store {

// What one transaction does to a party's revision, and which events it adds.
struct Head {
  std::uint64_t revision = 0;  // that the party must be at
  std::uint64_t raised = 0;    // by so many
  std::vector<const party::PartyEvent*> events{};
};
using Heads = std::map<party::PartyId, Head>;

// `write` and `retire` are called on one thread; `load`, `changed` and `size` on others, one of them at a time: a
// backend keeps a connection for either.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* kind() const = 0;
  virtual bool is_shared() const = 0;
  virtual Result<std::optional<Loaded>> load(const party::PartyId& id) = 0;
  virtual Result<std::vector<Revision>> changed() = 0;  // as Store has it
  virtual Result<StoreSize> size() = 0;
  // All or, on error, none; synced when it returns. kConflict: a party of `heads` is not at its revision. One that is
  // repeated, because nobody knows whether it was done, has the same `number`.
  virtual Result<void> write(std::uint64_t number, const Heads& heads, const std::vector<Step>& steps) = 0;
  virtual Result<std::size_t> retire(WallTime now, const std::vector<party::PartyId>& in_use) = 0;  // as Store has it
  virtual void count(StoreStats& stats) const = 0;  // sets writes, bytes and syncs where it knows them; any thread
};

std::unique_ptr<Store> group_store(std::unique_ptr<Backend> backend, const Logger& log, Duration window);

}  // namespace lanrage::store
