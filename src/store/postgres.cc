#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
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
// the epoch, counted up by each server that starts, says whether another one was there after a connection broke. Every
// transaction begins with it too, and fails where another server has come, whatever became of the lock: a pooler, say,
// may keep it for somebody else.
constexpr const char* kTakeLock = "SELECT pg_advisory_lock(7809632219779131237)";
constexpr const char* kLockPatience = "SET lock_timeout='5s'";  // one that was just killed holds it for a moment
constexpr const char* kStillOurs = "UPDATE lanrage SET epoch=CASE WHEN epoch=$1 THEN epoch END";  // it may not be null
constexpr Duration kConnectAgain = std::chrono::seconds(1);  // after it failed; longer where that took long
constexpr Duration kReadPatience = std::chrono::seconds(5);
constexpr Duration kWritePatience = std::chrono::seconds(30);  // a standby that is waited for may come back meanwhile

// SQLSTATE, PostgreSQL's appendix A.
constexpr std::string_view kLockNotAvailable = "55P03", kNotNullViolation = "23502", kNoPrivilege = "42501",
                           kNoSchema = "3F000";

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

Time now() { return Time{std::chrono::steady_clock::now().time_since_epoch()}; }

class Connection {
 public:
  Connection(std::string url, Duration patience) : url_(std::move(url)), patience_(patience) {}

  // Connected anew, or still. A connection that broke is noticed by what is asked of it.
  bool is_up() const { return handle_ && PQstatus(handle_.get()) == CONNECTION_OK; }
  // So soon again that a caller may ask for it before each request. kUnavailable.
  Result<void> open() {
    const Time begun = now();
    if (begun < again_) return problem_;
    // What the URL says of the first ones comes later, and counts; of the last two it has no say. Nobody is to wait for
    // a machine that is gone.
    const char* const names[] = {"connect_timeout",
                                 "keepalives_idle",
                                 "keepalives_interval",
                                 "keepalives_count",
                                 "tcp_user_timeout",
                                 "fallback_application_name",
                                 "dbname",
                                 "client_encoding",
                                 "target_session_attrs",
                                 nullptr};
    const char* const values[] = {"3", "10", "5", "3", "10000", "lanrage", url_.c_str(), "UTF8", "read-write", nullptr};
    handle_.reset(PQconnectdbParams(names, values, 1));
    auto opened = is_up() ? set_up() : Result<void>(failed(nullptr, "be reached"));
    if (!opened) {
      const Time ended = now();
      again_ = ended + std::max(kConnectAgain, 4 * (ended - begun));
      problem_ = opened.error();
      close();
    }
    return opened;
  }
  Result<void> keep_open() { return is_up() ? Result<void>{} : open(); }
  void close() { handle_.reset(); }

  // Several statements without parameters; one transaction, if they do not say otherwise.
  Result<void> script(const char* sql) {
    if (PQsendQuery(handle_.get(), sql) != 1) return failed(nullptr, "run a step");
    LR_ASSIGN(const Rows rows, all("run a step"));
    return {};
  }
  Result<Rows> ask(const Statement& statement) {
    if (!send(statement)) return failed(nullptr, "answer");
    return all("answer");
  }
  // All in one transaction and one round trip. kUnavailable, kTimedOut: whether it was done is not known.
  Result<void> transact(const std::vector<Statement>& statements) {
    if (PQenterPipelineMode(handle_.get()) != 1) return failed(nullptr, "begin a transaction");
    bool sent = send({"BEGIN"});
    for (const Statement& statement : statements) sent = sent && send(statement);
    sent = sent && send({"COMMIT"}) && PQpipelineSync(handle_.get()) == 1;
    Result<void> done = sent ? receive(statements.size() + 2) : failed(nullptr, "be written");
    // What state the connection is in is not worth finding out: whoever asks next gets another.
    if (!done || PQexitPipelineMode(handle_.get()) != 1) close();
    return done;
  }
  // The SQLSTATE of the last failure; empty: the connection's.
  std::string_view state() const { return state_; }

 private:
  Result<void> set_up() {
    PQsetNoticeProcessor(
        handle_.get(), [](void*, const char*) {}, nullptr);  // it would write to standard error
    if (PQsetnonblocking(handle_.get(), 1) != 0) return failed(nullptr, "be reached");
    // Lost after a power cut would be what somebody was told is there. A client that is gone is to be noticed soon.
    return script(
        "SET synchronous_commit=on; SET tcp_keepalives_idle=10; SET tcp_keepalives_interval=5; "
        "SET tcp_keepalives_count=3; SET client_min_messages=warning");
  }
  // Of a result, or of the connection where there is none.
  Error failed(const PGresult* result, std::string_view what) {
    const char* state = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    state_ = state == nullptr ? "" : state;
    const std::string_view said = result == nullptr ? PQerrorMessage(handle_.get()) : PQresultErrorMessage(result);
    Error error{is_up() ? Code::kIo : Code::kUnavailable,
                format("PostgreSQL cannot {}: {}", what, said.substr(0, said.find('\n'))),
                "see that it runs, and its own log; what was acknowledged is there"};
    if (state_ == kNoPrivilege || state_ == kNoSchema)
      error.hint = "give its role what it needs: GRANT USAGE, CREATE ON SCHEMA public, or the database's ownership";
    return error;
  }
  bool send(const Statement& statement) {
    const auto pointers = statement.parameters.pointers();
    return PQsendQueryParams(handle_.get(), statement.sql, statement.parameters.count(), nullptr,
                             pointers.values.data(), pointers.lengths.data(), statement.parameters.formats(), 1) == 1;
  }
  // The next result of what was sent; null after the last. kTimedOut: hung up on.
  Result<ResultHandle> next(Time until) {
    for (;;) {
      const int unsent = PQflush(handle_.get());
      if (unsent <= 0 && PQisBusy(handle_.get()) == 0) return ResultHandle(PQgetResult(handle_.get()));
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - now());
      pollfd wait{PQsocket(handle_.get()), static_cast<short>(unsent > 0 ? POLLIN | POLLOUT : POLLIN), 0};
      const int ready = left.count() <= 0 ? 0 : ::poll(&wait, 1, static_cast<int>(left.count()) + 1);
      if (ready == 0) {
        close();
        return Error{Code::kTimedOut, "PostgreSQL does not answer", "see that it runs, and its own log"};
      }
      if (ready < 0 && errno != EINTR) return os_error("cannot wait for PostgreSQL", errno);
      if (ready > 0 && PQconsumeInput(handle_.get()) != 1) return ResultHandle(PQgetResult(handle_.get()));
    }
  }
  // The rows of the last statement that was sent, or why one failed.
  Result<Rows> all(std::string_view what) {
    const Time until = now() + patience_;
    std::optional<Error> problem;
    ResultHandle last;
    for (;;) {
      LR_ASSIGN(ResultHandle result, next(until));
      if (!result) break;
      const auto status = PQresultStatus(result.get());
      if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && !problem) problem = failed(result.get(), what);
      last = std::move(result);
    }
    if (problem) return std::move(*problem);
    if (!last) return failed(nullptr, what);
    return Rows(std::move(last));
  }
  Result<void> receive(std::size_t count) {
    const Time until = now() + patience_;
    Result<void> done;
    bool committed = false;
    for (std::size_t i = 0; i < count; ++i) {
      LR_ASSIGN(const ResultHandle result, next(until));
      if (PQresultStatus(result.get()) != PGRES_COMMAND_OK) {
        if (done) done = failed(result.get(), "be written");
        if (!is_up()) return done;
      }
      committed = std::string_view(result ? PQcmdStatus(result.get()) : "") == "COMMIT";
      for (;;) {
        LR_ASSIGN(const ResultHandle rest, next(until));
        if (!rest) break;
      }
    }
    LR_ASSIGN(const ResultHandle synced, next(until));
    if (done && (!committed || PQresultStatus(synced.get()) != PGRES_PIPELINE_SYNC)) return failed(nullptr, "commit");
    return done;
  }

  const std::string url_;
  const Duration patience_;
  ConnectionHandle handle_;
  Time again_{};  // not to be connected before, since it failed
  Error problem_{};
  std::string state_;
};

// The statement that a change is. Each may be repeated, since of a commit whose answer was lost nobody knows whether it
// happened; one that contradicts what is there fails on a column that may not be null.
Statement statement_of(const party::PartyId& id, const party::PartyCreated& c) {
  Statement out{
      "INSERT INTO party(party, version, genesis, bundle) VALUES($1,0,$2,'') ON CONFLICT (party) DO UPDATE SET "
      "genesis=CASE WHEN party.genesis=$2 THEN party.genesis END"};
  out.parameters.blob(id.bytes()).blob(c.genesis);
  return out;
}
Statement statement_of(const party::PartyId& id, const party::VersionRaised& c) {
  Statement out{"UPDATE party SET version=$1 WHERE party=$2"};
  out.parameters.number(c.version).blob(id.bytes());
  return out;
}
Statement statement_of(const party::PartyId& id, const party::StatementAdded& c) {
  Statement out{
      "INSERT INTO statement VALUES($1,$2,$3) ON CONFLICT (party, sequence) DO UPDATE SET "
      "statement=CASE WHEN statement.statement=$3 THEN statement.statement END"};
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
    if (data || data.error().code == Code::kTimedOut) return data;
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
    std::vector<Statement> statements = {still_ours()};
    for (const Step& step : steps)
      statements.push_back(
          std::visit([&](const auto& change) { return statement_of(*step.party, change); }, *step.change));
    return transact(statements);
  }

  Result<std::size_t> retire(WallTime now, const std::vector<party::PartyId>& in_use) override {
    LR_TRY(keep_lock());
    LR_ASSIGN(const Rows last, writer_.ask({"SELECT at FROM counted"}));
    const WallTime at = last.size() > 0 ? last[0].time_at(0) : WallTime{};
    std::vector<Statement> statements = {still_ours()};
    if (now >= at + kDay || now <= at - kDay) {
      statements.push_back({"UPDATE counted SET at=$1"});
      statements.back().parameters.time(now);
      statements.push_back({"UPDATE party SET idle_days=idle_days+1"});
    }
    statements.push_back({"UPDATE party SET idle_days=0 WHERE idle_days>0 AND party=ANY($1::bytea[])"});
    statements.back().parameters.ids(in_use);
    LR_TRY(transact(statements));
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
    statements = {still_ours()};
    for (const char* sql :
         {"DELETE FROM statement WHERE party=ANY($1::bytea[])", "DELETE FROM member WHERE party=ANY($1::bytea[])",
          "DELETE FROM invite WHERE party=ANY($1::bytea[])", "DELETE FROM party WHERE party=ANY($1::bytea[])"}) {
      statements.push_back({sql});
      statements.back().parameters.ids(gone);
    }
    LR_TRY(transact(statements));
    return gone.size();
  }

 private:
  explicit PostgresBackend(const std::string& url) : writer_(url, kWritePatience), reader_(url, kReadPatience) {}

  Statement still_ours() const {
    Statement out{kStillOurs};
    out.parameters.number(epoch_);
    return out;
  }
  static Error displaced() {
    return {Code::kConflict, "another lanrage server has used this database since", "restart this one"};
  }
  Result<void> transact(const std::vector<Statement>& statements) {
    auto done = writer_.transact(statements);
    if (done || writer_.state() != kNotNullViolation) return done;
    // Ours no more, or a change that contradicts what is there.
    LR_TRY(keep_lock());
    return done;
  }

  Result<void> take_lock() {
    LR_TRY(writer_.script(kLockPatience));
    auto taken = writer_.script(kTakeLock);
    if (!taken && writer_.state() == kLockNotAvailable)
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
    if (epoch[0].number_at(0) != epoch_) return displaced();
    return {};
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

  // Of one moment.
  Result<std::optional<party::PartyData>> read_at_once(const party::PartyId& id) {
    LR_TRY(reader_.script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"));
    auto data = read(id);
    if (!reader_.is_up()) return data;
    if (auto ended = reader_.script("COMMIT"); !ended && data) return std::move(ended).error();
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

// In words of our own: libpq's repeat parts of it, which may be the password's.
Result<void> check_url(const std::string& url) {
  char* said = nullptr;
  PQconninfoOption* options = PQconninfoParse(url.c_str(), &said);
  PQfreemem(said);
  if (options == nullptr) {
    return Error{Code::kInvalid, "the store's URL means nothing to PostgreSQL",
                 "it is like postgresql://USER@HOST/DATABASE; write %40 for @, %2F for / and %25 for % in a password"};
  }
  PQconninfoFree(options);
  return {};
}

}  // namespace

Result<std::unique_ptr<Store>> PostgresStore::open(const std::string& url, const Logger& log, Duration window) {
  const Logger named = log.named("store");
  const Timed timed(named, op::kStoreOpen);
  LR_TRY(check_url(url));
  LR_ASSIGN(auto backend, PostgresBackend::open(url));
  return group_store(std::move(backend), named, window);
}

}  // namespace lanrage::store
