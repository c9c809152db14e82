// Structured logs: a constant message plus fields, in the text form for people or as one JSON object per line.
//
// A `Log` (the sink with its levels and timings) is made once, in main or in a test; everything else is handed a
// `Logger`, which is a name and a reference to it. Levels: debug = state changed, info = a user would notice, warn =
// unusual but working, error = someone must act; trace may be per packet and is off by default. Addresses and names
// never above debug; keys, tokens and secrets never.
//
// The context (peer_id, party_id, correlation_id, ...) belongs to the operation, not to the thread: a `ContextScope`
// sets it for a block, and whatever is run later for the same operation is wrapped with `keep_context`, which restores
// it. So it crosses callbacks and never leaks into another operation.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "base/timing.h"

namespace lanrage {

enum class Level : std::uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff };

const char* level_name(Level level);
Result<Level> parse_level(std::string_view text);

// "warn" or "info,paths=debug,control=trace": a default, then exceptions by logger name.
struct LogLevels {
  Level base = Level::kInfo;
  std::map<std::string, Level, std::less<>> by_logger;
  static Result<LogLevels> parse(std::string_view text);
};

class LogValue {
 public:
  LogValue(bool v) : value_(v) {}
  template <std::integral T>
  LogValue(T v) : value_(static_cast<std::int64_t>(v)) {}
  template <std::floating_point T>
  LogValue(T v) : value_(static_cast<double>(v)) {}
  LogValue(const char* v) : value_(std::string(v)) {}
  LogValue(std::string_view v) : value_(std::string(v)) {}
  LogValue(std::string v) : value_(std::move(v)) {}

  void append_text(std::string& out) const;  // quoted where it holds a space
  void append_json(std::string& out) const;
  friend bool operator==(const LogValue&, const LogValue&) = default;

 private:
  std::variant<bool, std::int64_t, double, std::string> value_;
};

struct LogField {
  std::string_view key;
  LogValue value;
};
using LogFields = std::initializer_list<LogField>;

// The fields an operation carries. Immutable and cheap to copy.
class Context {
 public:
  static Context current();
  Context with(std::string_view key, LogValue value) const;
  const std::vector<std::pair<std::string, LogValue>>& fields() const;

 private:
  friend class ContextScope;
  std::shared_ptr<const std::vector<std::pair<std::string, LogValue>>> fields_;
};

// Makes `context` current on this thread until the end of the block.
class ContextScope {
 public:
  explicit ContextScope(Context context);
  ContextScope(std::string_view key, LogValue value) : ContextScope(Context::current().with(key, std::move(value))) {}
  ~ContextScope();
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  Context before_;
};

// `function`, to be called later, with the context of now.
template <class F>
auto keep_context(F function) {
  return [function = std::move(function), context = Context::current()](auto&&... args) mutable {
    ContextScope scope(context);
    return function(std::forward<decltype(args)>(args)...);
  };
}

struct LogRecord {
  WallTime time;
  Level level;
  std::string_view logger;
  std::string_view message;
  std::string_view function;
  int line;
  const LogField* fields;
  std::size_t field_count;
  const Context& context;
};

std::string format_text(const LogRecord& record);
std::string format_json(const LogRecord& record);

enum class LogFormat { kText, kJson };

struct LogOptions {
  LogFormat format = LogFormat::kText;
  LogLevels levels;
  std::string file;                               // empty: standard error
  std::size_t file_bytes_max = 10 * 1024 * 1024;  // then rotated
  std::size_t files_max = 5;
};

class Log {
 public:
  static Result<std::unique_ptr<Log>> open(const LogOptions& options);
  // Lines go to `write` instead (tests; the local API's tail). Called under a lock.
  Log(LogFormat format, LogLevels levels, std::function<void(std::string_view line)> write);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void write(const LogRecord& record);
  void flush();
  Level level_for(std::string_view logger) const;
  Timings& timings() { return timings_; }

 private:
  LogFormat format_;
  LogLevels levels_;
  std::function<void(std::string_view)> write_;
  std::function<void()> flush_;
  std::mutex mutex_;
  Timings timings_;
};

class Logger {
 public:
  struct Where {
    const char* function;
    int line;
    static constexpr Where here(const char* function = __builtin_FUNCTION(), int line = __builtin_LINE()) {
      return {function, line};
    }
  };

  Logger(Log& log, std::string name) : log_(&log), name_(std::move(name)), level_(log.level_for(name_)) {}
  Logger named(std::string name) const { return Logger(*log_, std::move(name)); }

  bool enabled(Level level) const { return level >= level_; }
  void trace(std::string_view message, LogFields fields = {}, Where where = Where::here()) const {
    at(Level::kTrace, message, fields, where);
  }
  void debug(std::string_view message, LogFields fields = {}, Where where = Where::here()) const {
    at(Level::kDebug, message, fields, where);
  }
  void info(std::string_view message, LogFields fields = {}, Where where = Where::here()) const {
    at(Level::kInfo, message, fields, where);
  }
  void warn(std::string_view message, LogFields fields = {}, Where where = Where::here()) const {
    at(Level::kWarn, message, fields, where);
  }
  void error(std::string_view message, LogFields fields = {}, Where where = Where::here()) const {
    at(Level::kError, message, fields, where);
  }

  // An operation that took `duration`, measured by the caller (cores have no clock): histogram and a debug line.
  void timed(Operation operation, Duration duration, Where where = Where::here()) const;
  Log& log() const { return *log_; }

 private:
  void at(Level level, std::string_view message, LogFields fields, Where where) const;
  Log* log_;
  std::string name_;
  Level level_;
};

// Times a block of an adapter: `Timed timed{log_, op::kPersist};`
class Timed {
 public:
  explicit Timed(const Logger& log, Operation operation, Logger::Where where = Logger::Where::here());
  ~Timed();
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  const Logger& log_;
  Operation operation_;
  Logger::Where where_;
  std::int64_t start_ns_;
};

// A logger that writes nothing, for tests and tools.
Logger silent_logger();

}  // namespace lanrage
