#include <sqlite3.h>

#include <filesystem>
#include <future>

#include "base/format.h"
#include "store/file_layer.h"
#include "store/group_store.h"
#include "store/rows.h"

namespace lanrage::store {
namespace {

// Each step brings the schema from the version that is its number to the next. Landed steps are never changed.
// Party ids lead every key, so that a larger store can be sharded by them.
constexpr const char* kMigrations[] = {
    R"(
    CREATE TABLE party(party BLOB PRIMARY KEY, version INTEGER NOT NULL, genesis BLOB NOT NULL, bundle BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE statement(party BLOB, sequence INTEGER, statement BLOB NOT NULL, PRIMARY KEY(party, sequence)) WITHOUT ROWID;
    CREATE TABLE member(party BLOB, public_key BLOB, verify_key BLOB, state INTEGER NOT NULL, ipv4 BLOB NOT NULL,
                        name TEXT NOT NULL, invite BLOB NOT NULL, joined INTEGER NOT NULL, record_version INTEGER NOT NULL,
                        since INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY(party, public_key)) WITHOUT ROWID;
    CREATE TABLE invite(party BLOB, id BLOB, token_hash BLOB NOT NULL, state INTEGER NOT NULL, uses INTEGER NOT NULL,
                        uses_left INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL, envelope BLOB NOT NULL,
                        PRIMARY KEY(party, id)) WITHOUT ROWID;
    )",
    R"(
    ALTER TABLE party ADD COLUMN idle_days INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE counted(at INTEGER NOT NULL);
    INSERT INTO counted VALUES(0);
    )",
};
constexpr int kSchemaVersion = static_cast<int>(std::size(kMigrations));

struct Database {
  sqlite3* handle = nullptr;
  ~Database() { sqlite3_close_v2(handle); }

  Error error(const char* what) const {
    const int code = sqlite3_errcode(handle);
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
      return {Code::kIo, format("the database is damaged: {}", sqlite3_errmsg(handle)), "restore it from a backup"};
    return {Code::kIo, format("the database cannot {}: {}", what, sqlite3_errmsg(handle)),
            "check the disk's free space and its permissions"};
  }
  Result<void> run(const char* sql) {
    if (sqlite3_exec(handle, sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error("run a step");
    return {};
  }
  Result<int> user_version() {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(handle, "PRAGMA user_version", -1, &statement, nullptr) != SQLITE_OK)
      return error("be read");
    const int version = sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : 0;
    sqlite3_finalize(statement);
    return version;
  }
};

// One prepared statement, kept for the database's life. Parameters are bound in order.
class Query {
 public:
  Query(Database& database, const char* sql) : database_(database) {
    sqlite3_prepare_v3(database.handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement_, nullptr);
  }
  ~Query() { sqlite3_finalize(statement_); }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  Query& begin() {
    sqlite3_reset(statement_);
    next_ = 0;
    return *this;
  }
  // An empty view still is a blob, never NULL.
  Query& blob(ByteView v) {
    sqlite3_bind_blob64(statement_, ++next_, v.empty() ? "" : reinterpret_cast<const char*>(v.data()), v.size(),
                        SQLITE_TRANSIENT);
    return *this;
  }
  Query& null() {
    sqlite3_bind_null(statement_, ++next_);
    return *this;
  }
  Query& text(std::string_view v) {
    sqlite3_bind_text64(statement_, ++next_, v.data(), v.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    return *this;
  }
  Query& number(std::int64_t v) {
    sqlite3_bind_int64(statement_, ++next_, v);
    return *this;
  }
  Query& number(std::uint64_t v) { return number(static_cast<std::int64_t>(v)); }
  Query& number(std::uint32_t v) { return number(static_cast<std::int64_t>(v)); }
  Query& time(WallTime v) { return number(static_cast<std::int64_t>(v.time_since_epoch().count())); }

  Result<void> run() {
    const int code = sqlite3_step(statement_);
    sqlite3_reset(statement_);
    if (code != SQLITE_DONE) return database_.error("be written");
    return {};
  }
  Result<bool> row() {
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    sqlite3_reset(statement_);
    if (code == SQLITE_DONE) return false;
    return database_.error("be read");
  }
  Bytes blob_at(int column) const {
    const auto* data = static_cast<const std::uint8_t*>(sqlite3_column_blob(statement_, column));
    return {data, data + sqlite3_column_bytes(statement_, column)};
  }
  bool null_at(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }
  std::string text_at(int column) const { return std::string(as_text(blob_at(column))); }
  std::int64_t number_at(int column) const { return sqlite3_column_int64(statement_, column); }
  WallTime time_at(int column) const { return WallTime{Duration{number_at(column)}}; }

 private:
  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
  int next_ = 0;
};

Result<void> open_database(Database& database, const std::string& path, const FileLayer& files) {
  constexpr int kFlags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
  if (sqlite3_open_v2(path.c_str(), &database.handle, kFlags, files.name()) != SQLITE_OK) {
    Error error = database.error("be opened");
    error.message += format(" ({})", path);
    return error;
  }
  sqlite3_busy_timeout(database.handle, 5000);
  LR_TRY(database.run("PRAGMA journal_mode=WAL"));
  LR_TRY(database.run("PRAGMA synchronous=FULL"));
  // Of 4 KiB: a page that changes often goes into the database once for many times in the log.
  LR_TRY(database.run("PRAGMA wal_autocheckpoint=4000"));
  LR_TRY(database.run("PRAGMA cache_spill=OFF"));  // the log gets whole transactions alone, see file_layer.h
  return database.run("PRAGMA foreign_keys=ON");
}

Result<void> migrate(Database& database) {
  LR_ASSIGN(const int version, database.user_version());
  if (version > kSchemaVersion) {
    return Error{Code::kInvalid, "a newer lanrage made this database", "update this one, or give it another folder"};
  }
  for (int step = version; step < kSchemaVersion; ++step) {
    LR_TRY(database.run("BEGIN IMMEDIATE"));
    LR_TRY(database.run(kMigrations[step]));
    LR_TRY(database.run(format("PRAGMA user_version={}", step + 1).c_str()));
    LR_TRY(database.run("COMMIT"));
  }
  return {};
}

class Writer {
 public:
  explicit Writer(Database& database) : database_(database) {}

  Result<void> apply(const party::PartyId& id, const party::Change& change) {
    return std::visit([&](const auto& c) { return write(id.bytes(), c); }, change);
  }

 private:
  Result<void> write(ByteView party, const party::PartyCreated& c) {
    return create_.begin().blob(party).blob(c.genesis).run();
  }
  Result<void> write(ByteView party, const party::VersionRaised& c) {
    return version_.begin().number(c.version).blob(party).run();
  }
  Result<void> write(ByteView party, const party::StatementAdded& c) {
    return statement_.begin().blob(party).number(c.sequence).blob(c.statement).run();
  }
  Result<void> write(ByteView party, const party::BundleReplaced& c) {
    return bundle_.begin().blob(c.bundle).blob(party).run();
  }
  Result<void> write(ByteView party, const party::MemberPut& c) {
    const party::MemberRow& row = c.row;
    member_.begin().blob(party).blob(row.public_key.bytes());
    row.verify_key ? member_.blob(row.verify_key->bytes()) : member_.null();
    return member_.number(static_cast<std::int64_t>(row.state))
        .blob(row.ipv4.bytes())
        .text(row.name)
        .blob(row.invite.bytes())
        .time(row.joined)
        .number(row.record_version)
        .number(row.since)
        .blob(row.record)
        .run();
  }
  Result<void> write(ByteView party, const party::MemberRemoved& c) {
    return remove_member_.begin().blob(party).blob(c.public_key.bytes()).run();
  }
  Result<void> write(ByteView party, const party::InvitePut& c) {
    const party::InviteRow& row = c.row;
    return invite_.begin()
        .blob(party)
        .blob(row.id.bytes())
        .blob(row.token_hash)
        .number(static_cast<std::int64_t>(row.state))
        .number(row.uses)
        .number(row.uses_left)
        .time(row.created)
        .time(row.expires)
        .blob(row.envelope)
        .run();
  }
  Result<void> write(ByteView party, const party::InviteRemoved& c) {
    return remove_invite_.begin().blob(party).blob(c.id.bytes()).run();
  }

  Database& database_;
  Query create_{database_, "INSERT INTO party(party, version, genesis, bundle) VALUES(?,0,?,x'')"};
  Query version_{database_, "UPDATE party SET version=? WHERE party=?"};
  Query bundle_{database_, "UPDATE party SET bundle=? WHERE party=?"};
  Query statement_{database_, "INSERT INTO statement VALUES(?,?,?)"};
  Query member_{database_, "INSERT OR REPLACE INTO member VALUES(?,?,?,?,?,?,?,?,?,?,?)"};
  Query remove_member_{database_, "DELETE FROM member WHERE party=? AND public_key=?"};
  Query invite_{database_, "INSERT OR REPLACE INTO invite VALUES(?,?,?,?,?,?,?,?,?)"};
  Query remove_invite_{database_, "DELETE FROM invite WHERE party=? AND id=?"};
};

// Forgets parties, see Store::retire; inside a transaction.
class Retirement {
 public:
  explicit Retirement(Database& database) : database_(database) {}

  Result<std::size_t> run(WallTime now, const std::vector<party::PartyId>& in_use) {
    LR_ASSIGN(const bool day_over, count_day(now));
    if (day_over) LR_TRY(Query(database_, "UPDATE party SET idle_days=idle_days+1").begin().run());
    Query used(database_, "UPDATE party SET idle_days=0 WHERE party=? AND idle_days>0");
    for (const party::PartyId& id : in_use) LR_TRY(used.begin().blob(id.bytes()).run());
    LR_ASSIGN(const auto gone, unneeded(now, {in_use.begin(), in_use.end()}));
    for (const char* sql : {"DELETE FROM statement WHERE party=?", "DELETE FROM member WHERE party=?",
                            "DELETE FROM invite WHERE party=?", "DELETE FROM party WHERE party=?"}) {
      Query remove(database_, sql);
      for (const party::PartyId& id : gone) LR_TRY(remove.begin().blob(id.bytes()).run());
    }
    return gone.size();
  }

 private:
  Result<bool> count_day(WallTime now) {
    Query last(database_, "SELECT at FROM counted");
    LR_ASSIGN(const bool found, last.begin().row());
    const WallTime at = found ? last.time_at(0) : WallTime{};
    last.begin();
    if (now < at + kDay && now > at - kDay) return false;
    LR_TRY(Query(database_, "UPDATE counted SET at=?").begin().time(now).run());
    return true;
  }
  Result<std::vector<party::PartyId>> unneeded(WallTime now, const std::set<party::PartyId>& in_use) {
    // Member states 0 and 1 are pending and joined, invite state 0 is live.
    Query query(database_,
                "SELECT party FROM party WHERE idle_days>? OR (NOT EXISTS(SELECT 1 FROM member WHERE "
                "member.party=party.party AND state IN (0,1)) AND NOT EXISTS(SELECT 1 FROM invite WHERE "
                "invite.party=party.party AND state=0 AND uses_left>0 AND expires>?))");
    query.begin().number(kIdleDaysMax).time(now);
    std::vector<party::PartyId> out;
    for (;;) {
      LR_ASSIGN(const bool more, query.row());
      if (!more) return out;
      const auto id = party::PartyId::from_bytes(query.blob_at(0));
      if (id && !in_use.contains(*id)) out.push_back(*id);
    }
  }

  Database& database_;
};

// Reads on a connection of its own: in WAL mode readers and the writer do not wait for each other.
class Reader {
 public:
  explicit Reader(Database& database) : database_(database) {}

  Result<std::optional<Loaded>> load(const party::PartyId& id) {
    Loaded party{{}, 1, {}};
    party::PartyData& data = party.data;
    party_.begin().blob(id.bytes());
    LR_ASSIGN(const bool found, party_.row());
    if (!found) return std::optional<Loaded>();
    data.version = static_cast<std::uint64_t>(party_.number_at(0));
    data.genesis = party_.blob_at(1);
    data.bundle = party_.blob_at(2);
    party_.begin();
    LR_TRY(load_statements(id, data));
    LR_TRY(load_members(id, data));
    LR_TRY(load_invites(id, data));
    return std::optional<Loaded>(std::move(party));
  }
  Result<std::vector<party::PartyId>> parties() {
    std::vector<party::PartyId> out;
    for (Query query(database_, "SELECT party FROM party");;) {
      LR_ASSIGN(const bool more, query.row());
      if (!more) return out;
      const auto id = party::PartyId::from_bytes(query.blob_at(0));
      if (!id) return damaged_party();
      out.push_back(*id);
    }
  }
  Result<StoreSize> size() {
    StoreSize size;
    size_.begin().number(static_cast<std::int64_t>(party::MemberState::kJoined));
    LR_ASSIGN(const bool found, size_.row());
    if (found) size = {.parties = count_at(0), .members = count_at(1)};
    size_.begin();
    return size;
  }

 private:
  std::uint64_t count_at(int column) { return static_cast<std::uint64_t>(size_.number_at(column)); }

  Result<void> load_statements(const party::PartyId& id, party::PartyData& data) {
    statements_.begin().blob(id.bytes());
    for (;;) {
      LR_ASSIGN(const bool more, statements_.row());
      if (!more) return {};
      data.statements.push_back(statements_.blob_at(0));
    }
  }
  Result<void> load_members(const party::PartyId& id, party::PartyData& data) {
    members_.begin().blob(id.bytes());
    for (;;) {
      LR_ASSIGN(const bool more, members_.row());
      if (!more) return {};
      LR_ASSIGN(party::MemberRow row, read_member(members_));
      data.members.emplace(row.public_key, std::move(row));
    }
  }
  Result<void> load_invites(const party::PartyId& id, party::PartyData& data) {
    invites_.begin().blob(id.bytes());
    for (;;) {
      LR_ASSIGN(const bool more, invites_.row());
      if (!more) return {};
      LR_ASSIGN(party::InviteRow row, read_invite(invites_));
      data.invites.emplace(row.id, std::move(row));
    }
  }

  Database& database_;
  Query party_{database_, "SELECT version, genesis, bundle FROM party WHERE party=?"};
  Query statements_{database_, "SELECT statement FROM statement WHERE party=? ORDER BY sequence"};
  Query members_{database_, format("SELECT {} FROM member WHERE party=?", kMemberColumns).c_str()};
  Query invites_{database_, format("SELECT {} FROM invite WHERE party=?", kInviteColumns).c_str()};
  Query size_{database_, "SELECT (SELECT count(*) FROM party), (SELECT count(*) FROM member WHERE state=?)"};
};

class SqliteBackend final : public Backend {
 public:
  static Result<std::unique_ptr<SqliteBackend>> open(const std::string& path) {
    std::unique_ptr<SqliteBackend> out(new SqliteBackend(path));
    LR_TRY(open_database(out->write_database_, path, out->files_));
    LR_TRY(migrate(out->write_database_));
    LR_TRY(open_database(out->read_database_, path, out->files_));
    out->writer_.emplace(out->write_database_);
    out->reader_.emplace(out->read_database_);
    return out;
  }

  Result<std::vector<party::PartyId>> parties() { return reader_->parties(); }
  const char* kind() const override { return "sqlite"; }
  bool is_shared() const override { return false; }  // the folder is one server's
  Result<std::optional<Loaded>> load(const party::PartyId& id) override { return reader_->load(id); }
  Result<std::vector<Revision>> changed() override { return std::vector<Revision>(); }
  Result<StoreSize> size() override {
    LR_ASSIGN(StoreSize size, reader_->size());
    for (const char* file : {"", "-wal"}) {
      std::error_code missing;
      const auto bytes = std::filesystem::file_size(path_ + file, missing);
      if (!missing) size.bytes += bytes;
    }
    return size;
  }
  void count(StoreStats& stats) const override {
    stats.counts_files = true;
    stats.writes = counts_.writes;
    stats.bytes = counts_.bytes;
    stats.syncs = counts_.syncs;
  }

  Result<void> write(std::uint64_t, const Heads&, const std::vector<Step>& steps) override {
    return transact([&]() -> Result<void> {
      for (const Step& step : steps) LR_TRY(writer_->apply(*step.party, *step.change));
      return {};
    });
  }
  Result<std::size_t> retire(WallTime now, const std::vector<party::PartyId>& in_use) override {
    std::size_t gone = 0;
    LR_TRY(transact([&]() -> Result<void> {
      LR_ASSIGN(gone, Retirement(write_database_).run(now, in_use));
      return {};
    }));
    return gone;
  }

 private:
  explicit SqliteBackend(const std::string& path) : path_(path) {}

  template <class F>
  Result<void> transact(F&& body) {
    LR_TRY(write_database_.run("BEGIN IMMEDIATE"));
    Result<void> done = body();
    if (done) done = write_database_.run("COMMIT");
    // Fails when SQLite did so already.
    if (!done) sqlite3_exec(write_database_.handle, "ROLLBACK", nullptr, nullptr, nullptr);
    return done;
  }

  const std::string path_;
  FileCounts counts_;
  const FileLayer files_{counts_};
  Database write_database_;
  Database read_database_;
  std::optional<Writer> writer_;
  std::optional<Reader> reader_;
};

// A party as if it were made now.
std::vector<party::Change> changes_of(const party::PartyData& data) {
  std::vector<party::Change> out = {party::PartyCreated{data.genesis}, party::VersionRaised{data.version},
                                    party::BundleReplaced{data.bundle}};
  std::uint32_t sequence = 0;
  for (const Bytes& statement : data.statements) out.emplace_back(party::StatementAdded{++sequence, statement});
  for (const auto& [key, row] : data.members) out.emplace_back(party::MemberPut{row});
  for (const auto& [id, row] : data.invites) out.emplace_back(party::InvitePut{row});
  return out;
}

Result<void> commit_and_wait(Store& store, Commit commit) {
  std::promise<Result<void>> done;
  store.commit(std::move(commit), [&](Result<void> stored) { done.set_value(std::move(stored)); });
  return done.get_future().get();
}

}  // namespace

Result<std::size_t> SqliteStore::move_parties(const std::string& path, Store& to, const Logger& log) {
  if (!std::filesystem::exists(path)) return std::size_t{0};
  const Logger named = log.named("store");
  std::size_t moved = 0;
  {
    LR_ASSIGN(const auto from, SqliteBackend::open(path));
    LR_ASSIGN(const auto ids, from->parties());
    named.info("parties are moved from SQLite", {{"count", ids.size()}, {"to", to.kind()}});
    for (const party::PartyId& id : ids) {
      LR_ASSIGN(const auto party, from->load(id));
      if (!party) continue;
      const auto stored = commit_and_wait(to, {id, 0, changes_of(party->data)});
      if (!stored && stored.error().code != Code::kConflict) return stored.error();
      moved += stored ? 1 : 0;
      if (stored && moved % 10000 == 0) named.info("parties are moved from SQLite", {{"done", moved}});
    }
  }
  std::error_code failed;
  std::filesystem::rename(path, path + ".moved", failed);
  if (failed) return os_error(format("cannot rename {}", path), failed.value());
  return moved;
}

Result<std::unique_ptr<Store>> SqliteStore::open(const std::string& path, const Logger& log, Duration window) {
  const Logger named = log.named("store");
  const Timed timed(named, op::kStoreOpen);
  LR_ASSIGN(auto backend, SqliteBackend::open(path));
  return group_store(std::move(backend), named, window);
}

}  // namespace lanrage::store
