#include <libpq-fe.h>

#include <algorithm>
#include <memory>

#include "base/format.h"
#include "store/group_store.h"
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
};
constexpr std::int64_t kSchemaVersion = std::size(kMigrations);

// One server at a time: what a server knows of a party it has in memory. The lock is the connection's and ends with it;
// the epoch, counted up by each server that starts, says whether another one was there after a connection broke.
constexpr const char* kTakeLock = "SELECT pg_advisory_lock(7809632219779131237)";
constexpr const char* kLockPatience = "SET lock_timeout='5s'";  // one that was just killed holds it for a moment
constexpr Duration kConnectAgain = std::chrono::seconds(1);     // after it failed

using ResultHandle = std::unique_ptr<PGresult, decltype([](PGresult* r) { PQclear(r); })>;
using ConnectionHandle = std::unique_ptr<PGconn, decltype([](PGconn* c) { PQfinish(c); })>;

// What a statement is about: text where it is text or a number, else bytes.
class Parameters {
 public:
  Parameters& blob(ByteView v) { return add(std::string(as_text(v)), 1); }
  Parameters& text(std::string_view v) { return add(std::string(v), 0); }
  Parameters& number(std::int64_t v) { return add(std::to_string(v), 0); }
  Parameters& number(std::uint64_t v) { return number(static_cast<std::int64_t>(v)); }
  Parameters& number(std::uint32_t v) { return number(static_cast<std::int64_t>(v)); }
  Parameters& time(WallTime v) { return number(static_cast<std::int64_t>(v.time_since_epoch().count())); }
  Parameters& null() {
    add({}, 0);
    null_.back() = true;
    return *this;
  }
  // As bytea[].
  Parameters& ids(const std::vector<party::PartyId>& ids) {
    std::string out = "{";
    for (const party::PartyId& id : ids) {
      if (out.size() > 1) out += ',';
      out += "\"\\\\x" + to_hex(id.bytes()) + '"';
    }
    return text(out + "}");
  }

  struct Pointers {
    std::vector<const char*> values;
    std::vector<int> lengths;
  };
  Pointers pointers() const {
    Pointers out;
    for (std::size_t i = 0; i < values_.size(); ++i) {
      out.values.push_back(null_[i] ? nullptr : values_[i].c_str());
      out.lengths.push_back(static_cast<int>(values_[i].size()));
    }
    return out;
  }
  int count() const { return static_cast<int>(values_.size()); }
  const int* formats() const { return formats_.data(); }

 private:
  Parameters& add(std::string value, int format) {
    values_.push_back(std::move(value));
    formats_.push_back(format);
    null_.push_back(false);
    return *this;
  }
  std::vector<std::string> values_;
  std::vector<int> formats_;
  std::vector<bool> null_;
};

struct Statement {
  const char* sql;
  Parameters parameters{};
};

// Rows in PostgreSQL's binary format.
class Rows {
 public:
  class Row {
   public:
    Row(const PGresult* result, int at) : result_(result), at_(at) {}
    Bytes blob_at(int column) const {
      const auto* data = reinterpret_cast<const std::uint8_t*>(PQgetvalue(result_, at_, column));
      return {data, data + PQgetlength(result_, at_, column)};
    }
    bool null_at(int column) const { return PQgetisnull(result_, at_, column) != 0; }
    std::string text_at(int column) const { return std::string(as_text(blob_at(column))); }
    std::int64_t number_at(int column) const {
      const Bytes raw = blob_at(column);
      return raw.size() == 8 ? static_cast<std::int64_t>(load_be<std::uint64_t>(raw.data())) : 0;
    }
    WallTime time_at(int column) const { return WallTime{Duration{number_at(column)}}; }

   private:
    const PGresult* result_;
    int at_;
  };

  explicit Rows(ResultHandle result) : result_(std::move(result)) {}
  int size() const { return PQntuples(result_.get()); }
  Row operator[](int at) const { return {result_.get(), at}; }

 private:
  ResultHandle result_;
};

Error error_of(std::string_view said, std::string_view what) {
  const std::size_t end = said.find('\n');
  return {Code::kIo, format("PostgreSQL cannot {}: {}", what, said.substr(0, end)),
          "see that it runs, and its own log; what was acknowledged is there"};
}

class Connection {
 public:
  explicit Connection(std::string url) : url_(std::move(url)) {}

  // Connected anew, or still. A connection that broke is noticed by what is asked of it.
  bool is_up() const { return handle_ && PQstatus(handle_.get()) == CONNECTION_OK; }
  Result<void> open() {
    const Time now{std::chrono::steady_clock::now().time_since_epoch()};
    if (failed_ && now - *failed_ < kConnectAgain) return problem_;
    // What the URL says of these comes later, and counts. Nobody is to wait for a machine that is gone.
    const char* const names[] = {"connect_timeout",
                                 "keepalives_idle",
                                 "keepalives_interval",
                                 "keepalives_count",
                                 "tcp_user_timeout",
                                 "fallback_application_name",
                                 "dbname",
                                 nullptr};
    const char* const values[] = {"5", "10", "5", "3", "10000", "lanrage", url_.c_str(), nullptr};
    handle_.reset(PQconnectdbParams(names, values, 1));
    if (!is_up()) {
      failed_ = now;
      problem_ = error_of(PQerrorMessage(handle_.get()), "be reached");
      return problem_;
    }
    PQsetNoticeProcessor(
        handle_.get(), [](void*, const char*) {}, nullptr);  // it would write to standard error
    // Lost after a power cut would be what somebody was told is there. A client that is gone is to be noticed soon.
    return script(
        "SET synchronous_commit=on; SET tcp_keepalives_idle=10; SET tcp_keepalives_interval=5; "
        "SET tcp_keepalives_count=3; SET client_min_messages=warning");
  }
  // So soon that a caller may ask for it before each request.
  Result<void> keep_open() { return is_up() ? Result<void>{} : open(); }
  void close() { handle_.reset(); }

  // Several statements without parameters; one transaction, if they do not say otherwise.
  Result<void> script(const char* sql) {
    const ResultHandle result(PQexec(handle_.get(), sql));
    const auto status = PQresultStatus(result.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) return failed("run a step");
    return {};
  }
  Result<Rows> ask(const Statement& statement) {
    const auto pointers = statement.parameters.pointers();
    ResultHandle result(PQexecParams(handle_.get(), statement.sql, statement.parameters.count(), nullptr,
                                     pointers.values.data(), pointers.lengths.data(), statement.parameters.formats(),
                                     1));
    const auto status = PQresultStatus(result.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) return failed("answer");
    return Rows(std::move(result));
  }
  // All in one transaction and one round trip.
  Result<void> transact(const std::vector<Statement>& statements) {
    if (PQenterPipelineMode(handle_.get()) != 1) return failed("begin a transaction");
    bool sent = send({"BEGIN"});
    for (const Statement& statement : statements) sent = sent && send(statement);
    sent = sent && send({"COMMIT"}) && PQpipelineSync(handle_.get()) == 1;
    Result<void> done = sent ? receive(statements.size() + 2) : failed("be written");
    // What state the connection is in is not worth finding out: whoever asks next gets another.
    if (PQexitPipelineMode(handle_.get()) != 1 || !done) close();
    return done;
  }
  Error failed(std::string_view what) const { return error_of(PQerrorMessage(handle_.get()), what); }
  bool lock_timed_out() const {
    return std::string_view(PQerrorMessage(handle_.get())).find("lock timeout") != std::string_view::npos;
  }

 private:
  bool send(const Statement& statement) {
    const auto pointers = statement.parameters.pointers();
    return PQsendQueryParams(handle_.get(), statement.sql, statement.parameters.count(), nullptr,
                             pointers.values.data(), pointers.lengths.data(), statement.parameters.formats(), 1) == 1;
  }
  Result<void> receive(std::size_t count) {
    Result<void> done;
    bool committed = false;
    for (std::size_t i = 0; i < count; ++i) {
      const ResultHandle result(PQgetResult(handle_.get()));
      if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) {
        if (done) done = error_of(PQresultErrorMessage(result.get()), "be written");
        if (!is_up()) return done;
      }
      committed = std::string_view(result ? PQcmdStatus(result.get()) : "") == "COMMIT";
      while (const ResultHandle rest{PQgetResult(handle_.get())}) continue;
    }
    const ResultHandle synced(PQgetResult(handle_.get()));
    if (done && (!committed || PQresultStatus(synced.get()) != PGRES_PIPELINE_SYNC)) return failed("commit");
    return done;
  }

  const std::string url_;
  ConnectionHandle handle_;
  std::optional<Time> failed_;  // to connect, last
  Error problem_{};
};

// The statement that a change is.
Statement statement_of(const party::PartyId& id, const party::PartyCreated& c) {
  Statement out{"INSERT INTO party(party, version, genesis, bundle) VALUES($1,0,$2,'')"};
  out.parameters.blob(id.bytes()).blob(c.genesis);
  return out;
}
Statement statement_of(const party::PartyId& id, const party::VersionRaised& c) {
  Statement out{"UPDATE party SET version=$1 WHERE party=$2"};
  out.parameters.number(c.version).blob(id.bytes());
  return out;
}
Statement statement_of(const party::PartyId& id, const party::StatementAdded& c) {
  Statement out{"INSERT INTO statement VALUES($1,$2,$3)"};
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

class PostgresBackend final : public Backend {
 public:
  static Result<std::unique_ptr<Backend>> open(const std::string& url) {
    std::unique_ptr<PostgresBackend> out(new PostgresBackend(url));
    LR_TRY(out->writer_.open());
    LR_TRY(out->take_lock());
    LR_TRY(out->migrate());
    LR_ASSIGN(const Rows epoch, out->writer_.ask({"UPDATE lanrage SET epoch=epoch+1 RETURNING epoch"}));
    out->epoch_ = epoch[0].number_at(0);
    LR_TRY(out->reader_.open());
    return std::unique_ptr<Backend>(std::move(out));
  }

  const char* kind() const override { return "postgresql"; }
  void count(StoreStats&) const override {}  // its writes and syncs are the database's

  Result<std::optional<party::PartyData>> load(const party::PartyId& id) override {
    LR_TRY(reader_.keep_open());
    auto data = read_at_once(id);
    if (data) return data;
    reader_.close();  // the database was restarted since, perhaps
    LR_TRY(reader_.open());
    return read_at_once(id);
  }
  Result<StoreSize> size() override {
    LR_TRY(reader_.keep_open());
    Statement sizes{
        "SELECT (SELECT count(*) FROM party), (SELECT count(*) FROM member WHERE state=$1), "
        "pg_total_relation_size('party') + pg_total_relation_size('statement') + "
        "pg_total_relation_size('member') + pg_total_relation_size('invite')"};
    sizes.parameters.number(static_cast<std::int64_t>(party::MemberState::kJoined));
    LR_ASSIGN(const Rows rows, reader_.ask(sizes));
    const auto at = [&](int column) { return static_cast<std::uint64_t>(rows[0].number_at(column)); };
    return StoreSize{at(0), at(1), at(2)};
  }

  Result<void> write(const std::vector<Step>& steps) override {
    LR_TRY(keep_lock());
    std::vector<Statement> statements;
    for (const Step& step : steps)
      statements.push_back(
          std::visit([&](const auto& change) { return statement_of(*step.party, change); }, *step.change));
    return writer_.transact(statements);
  }

  Result<std::size_t> retire(WallTime now, const std::vector<party::PartyId>& in_use) override {
    LR_TRY(keep_lock());
    LR_ASSIGN(const Rows last, writer_.ask({"SELECT at FROM counted"}));
    const WallTime at = last.size() > 0 ? last[0].time_at(0) : WallTime{};
    std::vector<Statement> statements;
    if (now >= at + kDay || now <= at - kDay) {
      statements.push_back({"UPDATE counted SET at=$1"});
      statements.back().parameters.time(now);
      statements.push_back({"UPDATE party SET idle_days=idle_days+1"});
    }
    statements.push_back({"UPDATE party SET idle_days=0 WHERE idle_days>0 AND party=ANY($1::bytea[])"});
    statements.back().parameters.ids(in_use);
    LR_TRY(writer_.transact(statements));
    // Nobody else writes: what is so now is still so in the next transaction.
    Statement unneeded{
        "SELECT party FROM party WHERE (idle_days>$1 OR (NOT EXISTS(SELECT 1 FROM member WHERE "
        "member.party=party.party "
        "AND state IN (0,1)) AND NOT EXISTS(SELECT 1 FROM invite WHERE invite.party=party.party AND state=0 AND "
        "uses_left>0 AND expires>$2))) AND NOT party=ANY($3::bytea[])"};
    unneeded.parameters.number(kIdleDaysMax).time(now).ids(in_use);
    LR_ASSIGN(const Rows rows, writer_.ask(unneeded));
    std::vector<party::PartyId> gone;
    for (int row = 0; row < rows.size(); ++row) {
      const auto id = party::PartyId::from_bytes(rows[row].blob_at(0));
      if (id) gone.push_back(*id);
    }
    statements.clear();
    for (const char* sql :
         {"DELETE FROM statement WHERE party=ANY($1::bytea[])", "DELETE FROM member WHERE party=ANY($1::bytea[])",
          "DELETE FROM invite WHERE party=ANY($1::bytea[])", "DELETE FROM party WHERE party=ANY($1::bytea[])"}) {
      statements.push_back({sql});
      statements.back().parameters.ids(gone);
    }
    LR_TRY(writer_.transact(statements));
    return gone.size();
  }

 private:
  explicit PostgresBackend(const std::string& url) : writer_(url), reader_(url) {}

  Result<void> take_lock() {
    LR_TRY(writer_.script(kLockPatience));
    auto taken = writer_.script(kTakeLock);
    if (!taken && writer_.lock_timed_out())
      return Error{Code::kConflict, "another lanrage server uses this database", "stop it, or give this one its own"};
    return taken;
  }
  // A connection that broke is opened again, if nobody has changed anything meanwhile.
  Result<void> keep_lock() {
    if (writer_.is_up()) return {};
    LR_TRY(writer_.open());
    auto ours = is_ours();
    if (!ours) writer_.close();
    return ours;
  }
  Result<void> is_ours() {
    LR_TRY(take_lock());
    LR_ASSIGN(const Rows epoch, writer_.ask({"SELECT epoch FROM lanrage"}));
    if (epoch[0].number_at(0) != epoch_)
      return Error{Code::kConflict, "another lanrage server has used this database since", "restart this one"};
    return {};
  }

  Result<void> migrate() {
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

  // Of one moment.
  Result<std::optional<party::PartyData>> read_at_once(const party::PartyId& id) {
    LR_TRY(reader_.script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"));
    auto data = read(id);
    if (!reader_.script("COMMIT") && data) return reader_.failed("be read");
    return data;
  }
  Result<std::optional<party::PartyData>> read(const party::PartyId& id) {
    const auto ask = [&](const char* sql) {
      Statement statement{sql};
      statement.parameters.blob(id.bytes());
      return reader_.ask(statement);
    };
    LR_ASSIGN(const Rows found, ask("SELECT version, genesis, bundle FROM party WHERE party=$1"));
    if (found.size() == 0) return std::optional<party::PartyData>();
    party::PartyData data;
    data.version = static_cast<std::uint64_t>(found[0].number_at(0));
    data.genesis = found[0].blob_at(1);
    data.bundle = found[0].blob_at(2);
    LR_ASSIGN(const Rows statements, ask("SELECT statement FROM statement WHERE party=$1 ORDER BY sequence"));
    for (int row = 0; row < statements.size(); ++row) data.statements.push_back(statements[row].blob_at(0));
    LR_ASSIGN(const Rows members, ask(format("SELECT {} FROM member WHERE party=$1", kMemberColumns).c_str()));
    for (int at = 0; at < members.size(); ++at) {
      LR_ASSIGN(party::MemberRow row, read_member(members[at]));
      data.members.emplace(row.public_key, std::move(row));
    }
    LR_ASSIGN(const Rows invites, ask(format("SELECT {} FROM invite WHERE party=$1", kInviteColumns).c_str()));
    for (int at = 0; at < invites.size(); ++at) {
      LR_ASSIGN(party::InviteRow row, read_invite(invites[at]));
      data.invites.emplace(row.id, std::move(row));
    }
    return std::optional<party::PartyData>(std::move(data));
  }

  Connection writer_;  // holds the lock
  Connection reader_;
  std::int64_t epoch_ = 0;
};

}  // namespace

Result<std::unique_ptr<Store>> PostgresStore::open(const std::string& url, const Logger& log, Duration window) {
  const Logger named = log.named("store");
  const Timed timed(named, op::kStoreOpen);
  LR_ASSIGN(auto backend, PostgresBackend::open(url));
  return group_store(std::move(backend), named, window);
}

}  // namespace lanrage::store
