#include <algorithm>
#include <memory>

#include "base/format.h"
#include "crypto/random.h"
#include "store/group_store.h"
#include "store/postgres_connection.h"
#include "store/rows.h"

namespace lanrage::store {
namespace {

// Each step brings the tables from the version that is its number to the next. Landed steps are never changed. As in
// sqlite.cc, party ids lead every key.
constexpr const char* kMigrations[] = {
    R"(
    CREATE TABLE party(party bytea PRIMARY KEY, version bigint NOT NULL, genesis bytea NOT NULL, bundle bytea NOT NULL,
                       idle_days bigint NOT NULL DEFAULT 0);
    CREATE TABLE statement(party bytea, sequence bigint, statement bytea NOT NULL, PRIMARY KEY(party, sequence));
    CREATE TABLE member(party bytea, public_key bytea, verify_key bytea, state bigint NOT NULL, ipv4 bytea NOT NULL,
                        name text NOT NULL, invite bytea NOT NULL, joined bigint NOT NULL, record_version bigint NOT NULL,
                        since bigint NOT NULL, record bytea NOT NULL, PRIMARY KEY(party, public_key));
    CREATE TABLE invite(party bytea, id bytea, token_hash bytea NOT NULL, state bigint NOT NULL, uses bigint NOT NULL,
                        uses_left bigint NOT NULL, created bigint NOT NULL, expires bigint NOT NULL, envelope bytea NOT NULL,
                        PRIMARY KEY(party, id));
    CREATE TABLE counted(at bigint NOT NULL);
    INSERT INTO counted VALUES(0);
    )",
    // Servers share the database from here on; one of before finds that another was there, and writes no more.
    R"(
    ALTER TABLE party ADD COLUMN revision bigint NOT NULL DEFAULT 1, ADD COLUMN written_by bytea NOT NULL DEFAULT '',
                      ADD COLUMN changed xid8 NOT NULL DEFAULT pg_current_xact_id();
    CREATE INDEX party_changed ON party(changed);
    ALTER TABLE member ADD CONSTRAINT one_address_each UNIQUE (party, ipv4) DEFERRABLE INITIALLY DEFERRED;
    ALTER TABLE invite ADD CONSTRAINT uses_are_counted CHECK (uses_left BETWEEN 0 AND uses);
    CREATE TABLE event(party bytea, number bigint, kind bigint NOT NULL, body bytea NOT NULL, bundle bytea NOT NULL,
                       expires bigint NOT NULL, uses_left bigint NOT NULL, PRIMARY KEY(party, number));
    CREATE UNLOGGED TABLE news(number bigserial PRIMARY KEY, sent xid8 NOT NULL DEFAULT pg_current_xact_id(),
                               at timestamptz NOT NULL DEFAULT now(), sender text NOT NULL, party bytea,
                               message text NOT NULL);
    CREATE INDEX news_sent ON news(sent);
    UPDATE lanrage SET epoch=epoch+1;
    )",
};
constexpr std::int64_t kSchemaVersion = std::size(kMigrations);

// While it brings the tables up to date, nobody else does; servers of before step 2 held it as long as they ran.
constexpr const char* kTakeLock = "SET lock_timeout='5s'; SELECT pg_advisory_lock(7809632219779131237)";
constexpr const char* kGiveLock = "SELECT pg_advisory_unlock(7809632219779131237)";
constexpr Duration kReadPatience = std::chrono::seconds(5);
constexpr Duration kWritePatience = std::chrono::seconds(30);  // a standby that is waited for may come back meanwhile

// What a transaction begins with for each of its parties, in their order, so that two never wait for each other: it
// takes the party's row and fails (kDivisionByZero) where the party is not at the revision that was decided on. A
// transaction whose answer was lost may be repeated: it finds its own number.
constexpr const char* kMake =
    "WITH done AS (INSERT INTO party(party, version, genesis, bundle, revision, written_by) VALUES($1,0,$2,'',$3,$4) "
    "ON CONFLICT (party) DO UPDATE SET revision=$3 WHERE party.written_by=$4 RETURNING 1) SELECT 1/count(*) FROM done";
constexpr const char* kRaise =
    "WITH done AS (UPDATE party SET revision=$3, written_by=$4, changed=pg_current_xact_id() WHERE party=$1 AND "
    "(revision=$2 OR (revision=$3 AND written_by=$4)) RETURNING 1) SELECT 1/count(*) FROM done";
constexpr const char* kCheck = "SELECT 1/count(*) FROM party WHERE party=$1 AND revision=$2";

// The statement that a change is. Each may be repeated, as the transaction may. A party is made by kMake.
Statement statement_of(const party::PartyId& id, const party::VersionRaised& c) {
  Statement out{"UPDATE party SET version=$1 WHERE party=$2"};
  out.parameters.number(c.version).blob(id.bytes());
  return out;
}
Statement statement_of(const party::PartyId& id, const party::StatementAdded& c) {
  Statement out{"INSERT INTO statement VALUES($1,$2,$3) ON CONFLICT (party, sequence) DO UPDATE SET statement=$3"};
  out.parameters.blob(id.bytes()).number(c.sequence).blob(c.statement);
  return out;
}
Statement statement_of(const party::PartyId& id, const party::BundleReplaced& c) {
  Statement out{"UPDATE party SET bundle=$1 WHERE party=$2"};
  out.parameters.blob(c.bundle).blob(id.bytes());
  return out;
}
Statement statement_of(const party::PartyId& id, const party::MemberPut& c) {
  const party::MemberRow& row = c.row;
  Statement out{
      "INSERT INTO member VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11) ON CONFLICT (party, public_key) DO UPDATE SET "
      "verify_key=$3, state=$4, ipv4=$5, name=$6, invite=$7, joined=$8, record_version=$9, since=$10, record=$11"};
  out.parameters.blob(id.bytes()).blob(row.public_key.bytes());
  row.verify_key ? out.parameters.blob(row.verify_key->bytes()) : out.parameters.null();
  out.parameters.number(static_cast<std::int64_t>(row.state))
      .blob(row.ipv4.bytes())
      .text(row.name)
      .blob(row.invite.bytes())
      .time(row.joined)
      .number(row.record_version)
      .number(row.since)
      .blob(row.record);
  return out;
}
Statement statement_of(const party::PartyId& id, const party::MemberRemoved& c) {
  Statement out{"DELETE FROM member WHERE party=$1 AND public_key=$2"};
  out.parameters.blob(id.bytes()).blob(c.public_key.bytes());
  return out;
}
Statement statement_of(const party::PartyId& id, const party::InvitePut& c) {
  const party::InviteRow& row = c.row;
  Statement out{
      "INSERT INTO invite VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9) ON CONFLICT (party, id) DO UPDATE SET "
      "token_hash=$3, state=$4, uses=$5, uses_left=$6, created=$7, expires=$8, envelope=$9"};
  out.parameters.blob(id.bytes())
      .blob(row.id.bytes())
      .blob(row.token_hash)
      .number(static_cast<std::int64_t>(row.state))
      .number(row.uses)
      .number(row.uses_left)
      .time(row.created)
      .time(row.expires)
      .blob(row.envelope);
  return out;
}
Statement statement_of(const party::PartyId& id, const party::InviteRemoved& c) {
  Statement out{"DELETE FROM invite WHERE party=$1 AND id=$2"};
  out.parameters.blob(id.bytes()).blob(c.id.bytes());
  return out;
}

// An event's body, and a second one where it has two.
enum class EventKind : std::uint8_t { kRecord, kStatement, kInvite };

Statement statement_of(const party::PartyId& id, const party::PartyEvent& event) {
  struct Visitor {
    Parameters& out;
    void operator()(const party::RecordPut& e) { row(EventKind::kRecord, e.record, {}, {}, 0); }
    void operator()(const party::StatementPut& e) { row(EventKind::kStatement, e.statement, e.bundle, {}, 0); }
    void operator()(const party::InviteChanged& e) {
      row(EventKind::kInvite, e.id.bytes(), {}, e.expires, e.uses_left);
    }
    void row(EventKind kind, ByteView body, ByteView bundle, WallTime expires, std::uint32_t uses_left) {
      out.number(static_cast<std::int64_t>(kind)).blob(body).blob(bundle).time(expires).number(uses_left);
    }
  };
  Statement out{"INSERT INTO event VALUES($1,$2,$3,$4,$5,$6,$7) ON CONFLICT DO NOTHING"};
  out.parameters.blob(id.bytes()).number(event.number);
  std::visit(Visitor{out.parameters}, event.body);
  return out;
}

Result<party::PartyEvent> read_event(const Rows::Row& row) {
  party::PartyEvent event;
  event.number = static_cast<std::uint64_t>(row.number_at(0));
  switch (static_cast<EventKind>(row.number_at(1))) {
    case EventKind::kRecord:
      event.body = party::RecordPut{row.blob_at(2)};
      return event;
    case EventKind::kStatement:
      event.body = party::StatementPut{row.blob_at(2), row.blob_at(3)};
      return event;
    case EventKind::kInvite:
      if (const auto id = party::InviteId::from_bytes(row.blob_at(2))) {
        event.body = party::InviteChanged{*id, row.time_at(4), static_cast<std::uint32_t>(row.number_at(5))};
        return event;
      }
  }
  return damaged_party();
}

class PostgresBackend final : public Backend {
 public:
  static Result<std::unique_ptr<Backend>> open(const std::string& url) {
    std::unique_ptr<PostgresBackend> out(new PostgresBackend(url));
    LR_TRY(out->writer_.open());
    LR_TRY(out->take_lock());
    LR_TRY(out->migrate());
    LR_TRY(out->writer_.script(kGiveLock));
    LR_TRY(out->reader_.open());
    LR_TRY(out->changed());  // from here on
    return std::unique_ptr<Backend>(std::move(out));
  }

  const char* kind() const override { return "postgresql"; }
  bool is_shared() const override { return true; }
  void count(StoreStats&) const override {}  // its writes and syncs are the database's

  Result<std::optional<Loaded>> load(const party::PartyId& id) override {
    std::vector<Statement> wanted;
    for (const auto& sql : reads_) {
      wanted.push_back({sql.c_str()});
      wanted.back().parameters.blob(id.bytes());
    }
    LR_ASSIGN(const auto rows, read(wanted));
    return loaded(rows);
  }
  Result<std::vector<Revision>> changed() override {
    Statement changed{"SELECT party, revision FROM party WHERE changed >= $1::text::xid8"};
    horizon_.empty() ? changed.parameters.null() : changed.parameters.text(horizon_);
    LR_ASSIGN(const auto rows, read({changed, {"SELECT pg_snapshot_xmin(pg_current_snapshot())::text"}}));
    // What was under way then is asked for again: the next one's horizon is this one's oldest transaction.
    horizon_ = rows[1][0].text_at(0);
    std::vector<Revision> out;
    for (int row = 0; row < rows[0].size(); ++row) {
      const auto id = party::PartyId::from_bytes(rows[0][row].blob_at(0));
      if (id) out.push_back({*id, static_cast<std::uint64_t>(rows[0][row].number_at(1))});
    }
    return out;
  }
  Result<StoreSize> size() override {
    Statement sizes{
        "SELECT (SELECT count(*) FROM party), (SELECT count(*) FROM member WHERE state=$1), "
        "pg_total_relation_size('party') + pg_total_relation_size('statement') + pg_total_relation_size('event') + "
        "pg_total_relation_size('member') + pg_total_relation_size('invite')"};
    sizes.parameters.number(static_cast<std::int64_t>(party::MemberState::kJoined));
    LR_ASSIGN(const auto rows, read({sizes}));
    const auto at = [&](int column) { return static_cast<std::uint64_t>(rows[0][0].number_at(column)); };
    return StoreSize{at(0), at(1), at(2)};
  }

  Result<void> write(std::uint64_t number, const Heads& heads, const std::vector<Step>& steps) override {
    LR_TRY(writer_.keep_open());
    Bytes transaction = instance_;
    transaction.resize(instance_.size() + sizeof number);
    store_be(transaction.data() + instance_.size(), number);
    std::map<party::PartyId, const Bytes*> made;
    for (const Step& step : steps) {
      if (const auto* created = std::get_if<party::PartyCreated>(step.change))
        made.emplace(*step.party, &created->genesis);
    }
    std::vector<Statement> statements;
    for (const auto& [id, head] : heads) {
      const bool is_new = head.revision == 0 && made.contains(id);
      statements.push_back({is_new ? kMake : head.raised > 0 ? kRaise : kCheck});
      Parameters& out = statements.back().parameters.blob(id.bytes());
      is_new ? out.blob(*made.at(id)) : out.number(head.revision);
      if (is_new || head.raised > 0) out.number(head.revision + head.raised).blob(transaction);
    }
    for (const Step& step : steps) {
      std::visit(
          [&]<class T>(const T& change) {
            if constexpr (!std::is_same_v<T, party::PartyCreated>)
              statements.push_back(statement_of(*step.party, change));
          },
          *step.change);
    }
    for (const auto& [id, head] : heads) {
      if (head.events.empty()) continue;
      for (const party::PartyEvent* event : head.events) statements.push_back(statement_of(id, *event));
      statements.push_back({"DELETE FROM event WHERE party=$1 AND number<=$2"});
      const auto last = static_cast<std::int64_t>(head.events.back()->number);
      statements.back().parameters.blob(id.bytes()).number(last - std::int64_t{party::kRecentEventsMax});
    }
    const auto done = writer_.transact(statements);
    if (!done && writer_.state() == kDivisionByZero) return decided_on_the_past();
    return done ? Result<void>() : done.error();
  }

  Result<std::size_t> retire(WallTime now, const std::vector<party::PartyId>& in_use) override {
    LR_TRY(writer_.keep_open());
    LR_ASSIGN(const Rows last, writer_.ask({"SELECT at FROM counted"}));
    const WallTime at = last.size() > 0 ? last[0].time_at(0) : WallTime{};
    std::vector<Statement> statements;
    if (now >= at + kDay || now <= at - kDay) {
      statements.push_back({"UPDATE counted SET at=$1 WHERE at=$2"});  // unless another server has
      statements.back().parameters.time(now).time(at);
      statements.push_back({"UPDATE party SET idle_days=idle_days+1 WHERE EXISTS(SELECT 1 FROM counted WHERE at=$1)"});
      statements.back().parameters.time(now);
    }
    statements.push_back({"UPDATE party SET idle_days=0 WHERE idle_days>0 AND party=ANY($1::bytea[])"});
    statements.back().parameters.ids(in_use);
    Statement forget{
        "WITH gone AS (DELETE FROM party WHERE (idle_days>$1 OR (NOT EXISTS(SELECT 1 FROM member WHERE "
        "member.party=party.party AND state IN (0,1)) AND NOT EXISTS(SELECT 1 FROM invite WHERE "
        "invite.party=party.party AND state=0 AND uses_left>0 AND expires>$2))) AND NOT party=ANY($3::bytea[]) "
        "RETURNING party), s AS (DELETE FROM statement USING gone WHERE statement.party=gone.party), "
        "m AS (DELETE FROM member USING gone WHERE member.party=gone.party), "
        "i AS (DELETE FROM invite USING gone WHERE invite.party=gone.party), "
        "e AS (DELETE FROM event USING gone WHERE event.party=gone.party) SELECT count(*) FROM gone"};
    forget.parameters.number(kIdleDaysMax).time(now).ids(in_use);
    statements.push_back(std::move(forget));
    // A party that somebody changes meanwhile, and a day that another server counts, make it fail as a whole.
    const auto done = writer_.transact(statements, "BEGIN ISOLATION LEVEL REPEATABLE READ");
    if (!done && writer_.state() == kNotSerializable) return std::size_t{0};
    if (!done) return done.error();
    return static_cast<std::size_t>(done->back()[0].number_at(0));
  }

 private:
  explicit PostgresBackend(const std::string& url)
      : instance_(to_bytes(crypto::SystemRng().array<8>())),
        writer_(url, kWritePatience),
        reader_(url, kReadPatience) {}

  Result<void> take_lock() {
    auto taken = writer_.script(kTakeLock);
    if (!taken && writer_.state() == kLockNotAvailable) {
      return Error{Code::kConflict, "an older lanrage server uses this database, and for itself alone",
                   "stop it, update it, and start both"};
    }
    return taken;
  }

  Result<void> migrate() {
    // A role that may use the tables need not be one that may make some.
    LR_ASSIGN(const Rows there, writer_.ask({"SELECT to_regclass('lanrage')::text"}));
    if (there[0].null_at(0))
      LR_TRY(writer_.script("CREATE TABLE IF NOT EXISTS lanrage(version bigint NOT NULL, epoch bigint NOT NULL)"));
    LR_TRY(writer_.script("INSERT INTO lanrage SELECT 0, 0 WHERE NOT EXISTS(SELECT 1 FROM lanrage)"));
    LR_ASSIGN(const Rows rows, writer_.ask({"SELECT version FROM lanrage"}));
    const std::int64_t version = rows[0].number_at(0);
    if (version > kSchemaVersion) {
      return Error{Code::kInvalid, "a newer lanrage made this database",
                   "update this one, or give it another database"};
    }
    for (std::int64_t step = version; step < kSchemaVersion; ++step) {
      const std::string script = format("BEGIN; {} UPDATE lanrage SET version={}; COMMIT", kMigrations[step], step + 1);
      LR_TRY(writer_.script(script.c_str()));
    }
    return {};
  }

  // Of one moment. Once more where the connection broke: the database was restarted since, perhaps.
  Result<std::vector<Rows>> read(const std::vector<Statement>& statements) {
    LR_TRY(reader_.keep_open());
    auto rows = reader_.transact(statements, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    if (rows || reader_.is_up() || rows.error().code == Code::kTimedOut) return rows;
    LR_TRY(reader_.open());
    return reader_.transact(statements, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  }
  static Result<std::optional<Loaded>> loaded(const std::vector<Rows>& rows) {
    const Rows &found = rows[0], &statements = rows[1], &members = rows[2], &invites = rows[3], &events = rows[4];
    if (found.size() == 0) return std::optional<Loaded>();
    Loaded party;
    party::PartyData& data = party.data;
    data.version = static_cast<std::uint64_t>(found[0].number_at(0));
    data.genesis = found[0].blob_at(1);
    data.bundle = found[0].blob_at(2);
    party.revision = static_cast<std::uint64_t>(found[0].number_at(3));
    for (int at = 0; at < statements.size(); ++at) data.statements.push_back(statements[at].blob_at(0));
    for (int at = 0; at < members.size(); ++at) {
      LR_ASSIGN(party::MemberRow row, read_member(members[at]));
      data.members.emplace(row.public_key, std::move(row));
    }
    for (int at = 0; at < invites.size(); ++at) {
      LR_ASSIGN(party::InviteRow row, read_invite(invites[at]));
      data.invites.emplace(row.id, std::move(row));
    }
    for (int at = 0; at < events.size(); ++at) {
      LR_ASSIGN(party::PartyEvent event, read_event(events[at]));
      party.recent.push_back(std::move(event));
    }
    return std::optional<Loaded>(std::move(party));
  }

  const Bytes instance_;  // begins the numbers of our transactions
  Connection writer_;
  Connection reader_;
  std::string horizon_;  // transactions before it are known; empty: all. The reader's
  const std::string reads_[5] = {
      "SELECT version, genesis, bundle, revision FROM party WHERE party=$1",
      "SELECT statement FROM statement WHERE party=$1 ORDER BY sequence",
      format("SELECT {} FROM member WHERE party=$1", kMemberColumns),
      format("SELECT {} FROM invite WHERE party=$1", kInviteColumns),
      "SELECT number, kind, body, bundle, expires, uses_left FROM event WHERE party=$1 ORDER BY number",
  };
};

}  // namespace

Result<std::unique_ptr<Store>> PostgresStore::open(const std::string& url, const Logger& log, Duration window) {
  const Logger named = log.named("store");
  const Timed timed(named, op::kStoreOpen);
  LR_TRY(check_url(url));
  LR_ASSIGN(auto backend, PostgresBackend::open(url));
  return group_store(std::move(backend), named, window);
}

}  // namespace lanrage::store
