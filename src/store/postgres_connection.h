// A connection to PostgreSQL (libpq) that waits for nothing for ever, and statements with their parameters and rows.
//
// Of one thread at a time. A seam: libpq is named here and in postgres.cc alone.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "party/ids.h"

namespace lanrage::store {

// SQLSTATE, PostgreSQL's appendix A.
inline constexpr std::string_view kLockNotAvailable = "55P03", kDivisionByZero = "22012", kNotSerializable = "40001",
                                  kNoPrivilege = "42501", kNoSchema = "3F000";

struct Free {
  void operator()(PGresult* result) const { PQclear(result); }
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
using ResultHandle = std::unique_ptr<PGresult, Free>;
using ConnectionHandle = std::unique_ptr<PGconn, Free>;

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

class Connection {
 public:
  // `patience`: for the answer to what is asked.
  Connection(std::string url, Duration patience) : url_(std::move(url)), patience_(patience) {}

  // Connected anew, or still. A connection that broke is noticed by what is asked of it.
  bool is_up() const { return handle_ && PQstatus(handle_.get()) == CONNECTION_OK; }
  // Not so soon again after it failed, so that a caller may ask for it before each request. kUnavailable.
  Result<void> open();
  Result<void> keep_open() { return is_up() ? Result<void>{} : open(); }
  void close() { handle_.reset(); }

  // Several statements without parameters; one transaction, if they do not say otherwise.
  Result<void> script(const char* sql);
  Result<Rows> ask(const Statement& statement);
  // All in one transaction and one round trip; the rows of each. kUnavailable, kTimedOut: whether it was done is not
  // known. `begin`: how it begins.
  Result<std::vector<Rows>> transact(const std::vector<Statement>& statements, const char* begin = "BEGIN");
  // To wait for a NOTIFY (LISTEN was asked before), and whether some came since the last call.
  int socket() const { return PQsocket(handle_.get()); }
  bool take_notices();
  // The SQLSTATE of the last failure; empty: the connection's.
  std::string_view state() const { return state_; }

 private:
  Result<void> set_up();
  Error failed(const PGresult* result, std::string_view what);
  bool send(const Statement& statement);
  Result<ResultHandle> next(Time until);
  Result<Rows> all(std::string_view what);
  Result<std::vector<Rows>> receive(std::size_t count);

  const std::string url_;
  const Duration patience_;
  ConnectionHandle handle_;
  Time again_{};  // not to be connected before, since it failed
  Error problem_{};
  std::string state_;
};

// Whether it is a URL that libpq takes; says nothing of what stands in it, which may be a password.
Result<void> check_url(const std::string& url);

}  // namespace lanrage::store
