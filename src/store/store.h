// Where a control server keeps its parties.
//
// Speaks of parties and changes, never of rows. `commit` is asynchronous, so that many acknowledgements share one
// synced transaction (group commit): nothing may be told to anybody before `done` says that it is on disk. Commits of
// one party are applied in the order given; when one fails, those given after it for the same party fail too until
// `load` is called for it, because they were decided on top of something that never happened.
//
// Several servers may share one store (`is_shared`), and none owns a party: every commit says on which revision of the
// party it was decided, and is stored only if the party still is at that one (optimistic concurrency control; Kung and
// Robinson, ACM TODS 6(2), 1981). Who comes too late loads the party and decides again.
//
// Thread: one caller, but for `size` and `stats`. What is given back comes on a thread of the store's own (MemoryStore:
// inside the call).
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "party/server_party.h"
#include "store/commit_window.h"

namespace lanrage::store {

struct StoreSize {
  std::uint64_t parties = 0;
  std::uint64_t members = 0;  // who are in a party, over all of them
  std::uint64_t bytes = 0;    // on disk
};

// Since the store was opened. What was asked for and what became of it: requests - transactions syncs were saved, and
// superseded changes were never written, because a later one of the same key was written with them.
struct StoreStats {
  std::uint64_t requests = 0;          // commits that were asked for
  std::uint64_t refused = 0;           // of them answered with an error
  std::uint64_t changes = 0;           // in those that are stored
  std::uint64_t superseded = 0;        // of them
  std::uint64_t superseded_bytes = 0;  // which they carried
  std::uint64_t transactions = 0;      // that hold them
  bool counts_files = false;           // it writes files itself, so that these are known:
  std::uint64_t writes = 0;            // system calls, and what they carried; of everything the store does
  std::uint64_t bytes = 0;
  std::uint64_t syncs = 0;
  std::string problem{};  // why one could not be stored, less than kProblemFresh ago and none since; empty: all could
};

inline constexpr Duration kProblemFresh = std::chrono::seconds(30);

// What was decided about a party and is to be told to its members. Without changes it only asks whether the party still
// is at `revision`, and everything before it is stored.
struct Commit {
  party::PartyId id;
  std::uint64_t revision = 0;  // that it was decided on; 0: there was no such party. Changes raise it by one
  std::vector<party::Change> changes{};
  std::vector<party::PartyEvent> events{};
};
struct Loaded {
  party::PartyData data;
  std::uint64_t revision = 0;
  std::vector<party::PartyEvent> recent{};  // the last ones, oldest first; none where the store keeps none
};
struct Revision {
  party::PartyId id;
  std::uint64_t revision = 0;
};

using Found = std::function<void(Result<std::optional<Loaded>>)>;
using Committed = std::function<void(Result<void>)>;
using Changed = std::function<void(Result<std::vector<Revision>>)>;
using Retired = std::function<void(Result<std::size_t>)>;  // how many parties were forgotten

// Why a commit is refused that was decided on what is not so any more, or never was.
inline Error decided_on_the_past() {
  return {Code::kConflict, "the party has changed meanwhile, or an earlier change could not be stored", "try again"};
}

// Days without any member connected after which a party is forgotten.
inline constexpr std::int64_t kIdleDaysMax = 180;
inline constexpr Duration kDay = std::chrono::hours{24};

class Store {
 public:
  virtual ~Store() = default;
  // Nothing: no such party. After commits under way of that party.
  virtual void load(const party::PartyId& id, Found found) = 0;
  // kConflict: it was decided on what is not so; load the party and decide again.
  virtual void commit(Commit commit, Committed done) = 0;
  // Whether other servers may change what is here. If not, revisions are not looked at.
  virtual bool is_shared() const = 0;
  // The parties that anybody changed since the last call, some of them perhaps once more. Of a shared store.
  virtual void changed(Changed changed) = 0;
  // For `server status`. Looks at every member; any thread.
  virtual Result<StoreSize> size() = 0;
  virtual StoreStats stats() const = 0;  // any thread
  virtual const char* kind() const = 0;  // "memory", "sqlite", "postgresql"
  // Forgets parties that nobody needs: those with nobody in them and no invite by which somebody could join, and those
  // that were not in use for kIdleDaysMax days. A day counts once, by the first call a day or more after the last that
  // counted; so a calendar that jumps by years is one day. Call it every hour or so with the parties in use since the
  // last call, which stay; of others nothing may be cached meanwhile. Every server that shares the store does.
  virtual void retire(WallTime now, std::vector<party::PartyId> in_use, Retired done) = 0;
};

// In memory, for tests and the simulator; services of one thread may share it. `fail_next` makes the next commit fail,
// as a full disk does.
class MemoryStore final : public Store {
 public:
  void load(const party::PartyId& id, Found found) override;
  void commit(Commit commit, Committed done) override;
  bool is_shared() const override { return true; }
  void changed(Changed changed) override;
  Result<StoreSize> size() override;
  StoreStats stats() const override { return stats_; }
  const char* kind() const override { return "memory"; }
  void retire(WallTime now, std::vector<party::PartyId> in_use, Retired done) override;
  void fail_next(Error error) { failure_ = std::move(error); }

 private:
  std::map<party::PartyId, Loaded> parties_;
  std::map<party::PartyId, std::int64_t> idle_days_;
  std::optional<WallTime> counted_;
  std::set<party::PartyId> failed_;
  std::optional<Error> failure_;
  StoreStats stats_;
};

// SQLite in WAL mode with full sync, on a thread of its own. The file is made when missing; its schema is brought up to
// date by numbered steps. kIo with the reason when it cannot be opened, kInvalid when a newer version made it. While
// much is asked, commits wait up to `window` to share one transaction (commit_window.h).
class SqliteStore {
 public:
  // Brings every party of the file into `to` that has none of that id, and renames the file to `path`.moved when all
  // are there. May be repeated after any interruption. How many were brought; no such file: none.
  static Result<std::size_t> move_parties(const std::string& path, Store& to, const Logger& log);
  static Result<std::unique_ptr<Store>> open(const std::string& path, const Logger& log,
                                             Duration window = kCommitWindow);
};

// A PostgreSQL database, by a URL as libpq takes it (postgres://USER@HOST/DATABASE), that any number of servers share.
// Tables are made, and brought up to date by numbered steps. A connection that breaks fails what was under way, and is
// made again by what is asked next. Otherwise as SqliteStore.
class PostgresStore {
 public:
  static Result<std::unique_ptr<Store>> open(const std::string& url, const Logger& log,
                                             Duration window = kCommitWindow);
};

}  // namespace lanrage::store
