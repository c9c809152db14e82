#include "store/postgres_connection.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "base/format.h"

namespace lanrage::store {
namespace {

constexpr Duration kConnectAgain = std::chrono::seconds(1);  // after it failed; longer where that took long

Time now() { return Time{std::chrono::steady_clock::now().time_since_epoch()}; }

}  // namespace

Result<void> Connection::open() {
  const Time begun = now();
  if (begun < again_) return problem_;
  // What the URL says of the first ones comes later, and counts; of the last two it has no say. Nobody is to wait for
  // a machine that is gone.
  const char* const names[] = {
      "connect_timeout",           "keepalives_idle", "keepalives_interval", "keepalives_count",     "tcp_user_timeout",
      "fallback_application_name", "dbname",          "client_encoding",     "target_session_attrs", nullptr};
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

Result<void> Connection::script(const char* sql) {
  if (PQsendQuery(handle_.get(), sql) != 1) return failed(nullptr, "run a step");
  LR_ASSIGN(const Rows rows, all("run a step"));
  return {};
}

Result<Rows> Connection::ask(const Statement& statement) {
  if (!send(statement)) return failed(nullptr, "answer");
  return all("answer");
}

Result<std::vector<Rows>> Connection::transact(const std::vector<Statement>& statements, const char* begin) {
  if (PQenterPipelineMode(handle_.get()) != 1) return failed(nullptr, "begin a transaction");
  bool sent = send({begin});
  for (const Statement& statement : statements) sent = sent && send(statement);
  sent = sent && send({"COMMIT"}) && PQpipelineSync(handle_.get()) == 1;
  Result<std::vector<Rows>> done = sent ? receive(statements.size()) : failed(nullptr, "be written");
  if (!is_up() || PQexitPipelineMode(handle_.get()) != 1) {
    close();
    return done;
  }
  if (!done) {
    const std::string state = std::exchange(state_, {});
    if (!script("ROLLBACK")) close();
    state_ = state;
  }
  return done;
}

bool Connection::take_notices() {
  bool came = false;
  PQconsumeInput(handle_.get());
  while (PGnotify* notice = PQnotifies(handle_.get())) {
    PQfreemem(notice);
    came = true;
  }
  return came;
}

Result<void> Connection::set_up() {
  PQsetNoticeProcessor(
      handle_.get(), [](void*, const char*) {}, nullptr);  // it would write to standard error
  if (PQsetnonblocking(handle_.get(), 1) != 0) return failed(nullptr, "be reached");
  // Lost after a power cut would be what somebody was told is there. A client that is gone is to be noticed soon.
  return script(
      "SET synchronous_commit=on; SET tcp_keepalives_idle=10; SET tcp_keepalives_interval=5; "
      "SET tcp_keepalives_count=3; SET client_min_messages=warning");
}

// Of a result, or of the connection where there is none.
Error Connection::failed(const PGresult* result, std::string_view what) {
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

bool Connection::send(const Statement& statement) {
  const auto pointers = statement.parameters.pointers();
  return PQsendQueryParams(handle_.get(), statement.sql, statement.parameters.count(), nullptr, pointers.values.data(),
                           pointers.lengths.data(), statement.parameters.formats(), 1) == 1;
}

// The next result of what was sent; null after the last. kTimedOut: hung up on.
Result<ResultHandle> Connection::next(Time until) {
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
Result<Rows> Connection::all(std::string_view what) {
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

// Of a transaction: what its `count` statements gave, between the results of its beginning and its end.
Result<std::vector<Rows>> Connection::receive(std::size_t count) {
  const Time until = now() + patience_;
  std::vector<Rows> out;
  std::optional<Error> problem;
  bool committed = false;
  for (std::size_t i = 0; i < count + 2; ++i) {
    LR_ASSIGN(ResultHandle result, next(until));
    const auto status = PQresultStatus(result.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
      if (!problem) problem = failed(result.get(), "do it");
      if (!is_up()) return std::move(*problem);
    }
    committed = std::string_view(result ? PQcmdStatus(result.get()) : "") == "COMMIT";
    if (i > 0 && i <= count) out.push_back(Rows(std::move(result)));
    for (;;) {
      LR_ASSIGN(const ResultHandle rest, next(until));
      if (!rest) break;
    }
  }
  LR_ASSIGN(const ResultHandle synced, next(until));
  if (problem) return std::move(*problem);
  if (!committed || PQresultStatus(synced.get()) != PGRES_PIPELINE_SYNC) return failed(nullptr, "commit");
  return out;
}

// In words of our own: libpq's repeat parts of it.
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

}  // namespace lanrage::store
