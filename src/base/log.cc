#include "base/log.h"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "base/format.h"

namespace lanrage {
namespace {

constexpr const char* kLevelNames[] = {"trace", "debug", "info", "warn", "error", "off"};

void append_json_string(std::string& out, std::string_view text) {
  out += '"';
  for (char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (u < 0x20 || u == 0x7f) {
      out += format("\\u{:04x}", u);
    } else {
      out += c;
    }
  }
  out += '"';
}

std::string timestamp(WallTime time) {
  const std::time_t seconds = unix_seconds(time);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  const auto ms = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch()).count() % 1000;
  return format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                utc.tm_hour, utc.tm_min, utc.tm_sec, ms);
}

thread_local Context current_context;

WallTime wall_now() {
  return WallTime{std::chrono::duration_cast<Duration>(std::chrono::system_clock::now().time_since_epoch())};
}
std::int64_t steady_ns() {
  return std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

const char* level_name(Level level) { return kLevelNames[static_cast<std::size_t>(level)]; }

Result<Level> parse_level(std::string_view text) {
  for (std::size_t i = 0; i < std::size(kLevelNames); ++i) {
    if (text == kLevelNames[i]) return static_cast<Level>(i);
  }
  return Error{Code::kInvalid, format("unknown log level \"{}\"", text), "use trace, debug, info, warn, error or off"};
}

Result<LogLevels> LogLevels::parse(std::string_view text) {
  LogLevels levels;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
      LR_ASSIGN(levels.base, parse_level(part));
    } else {
      LR_ASSIGN(levels.by_logger[std::string(part.substr(0, equals))], parse_level(part.substr(equals + 1)));
    }
  }
  return levels;
}

void LogValue::append_text(std::string& out) const {
  if (const auto* text = std::get_if<std::string>(&value_)) {
    const bool plain = !text->empty() && text->find_first_of(" \t\n\r\"=") == std::string::npos &&
                       std::all_of(text->begin(), text->end(),
                                   [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f; });
    if (plain) {
      out += *text;
      return;
    }
  }
  append_json(out);
}

void LogValue::append_json(std::string& out) const {
  struct Visitor {
    std::string& out;
    void operator()(bool v) const { out += v ? "true" : "false"; }
    void operator()(std::int64_t v) const { out += std::to_string(v); }
    void operator()(double v) const { out += std::isfinite(v) ? format("{}", v) : "null"; }
    void operator()(const std::string& v) const { append_json_string(out, v); }
  };
  std::visit(Visitor{out}, value_);
}

Context Context::current() { return current_context; }

Context Context::with(std::string_view key, LogValue value) const {
  auto fields = fields_ ? std::make_shared<std::vector<std::pair<std::string, LogValue>>>(*fields_)
                        : std::make_shared<std::vector<std::pair<std::string, LogValue>>>();
  bool replaced = false;
  for (auto& [existing, old] : *fields) {
    if (existing != key) continue;
    old = value;
    replaced = true;
  }
  if (!replaced) fields->emplace_back(std::string(key), std::move(value));
  Context out;
  out.fields_ = std::move(fields);
  return out;
}

const std::vector<std::pair<std::string, LogValue>>& Context::fields() const {
  static const std::vector<std::pair<std::string, LogValue>> kNone;
  return fields_ ? *fields_ : kNone;
}

ContextScope::ContextScope(Context context) : before_(std::exchange(current_context, std::move(context))) {}
ContextScope::~ContextScope() { current_context = std::move(before_); }

std::string format_text(const LogRecord& record) {
  std::string out =
      format("{} {:<5} {}: {}", timestamp(record.time), level_name(record.level), record.logger, record.message);
  auto add = [&out](std::string_view key, const LogValue& value) {
    if (key == "duration_ms") {
      out += " took ";
      value.append_text(out);
      out += " ms";
      return;
    }
    out += ' ';
    out += key;
    out += '=';
    value.append_text(out);
  };
  for (std::size_t i = 0; i < record.field_count; ++i) add(record.fields[i].key, record.fields[i].value);
  for (const auto& [key, value] : record.context.fields()) add(key, value);
  return out;
}

std::string format_json(const LogRecord& record) {
  std::string out = format(R"({{"timestamp":"{}","level":"{}","logger":"{}","message":)", timestamp(record.time),
                           level_name(record.level), record.logger);
  append_json_string(out, record.message);
  out += format(R"(,"module":"{}","function":)", record.logger);  // loggers are named after modules
  append_json_string(out, record.function);
  out += format(",\"line\":{}", record.line);
  auto add = [&out](std::string_view key, const LogValue& value) {
    out += ',';
    append_json_string(out, key);
    out += ':';
    value.append_json(out);
  };
  // A field of the record wins over the same key of the context: a JSON object has each key once.
  for (std::size_t i = 0; i < record.field_count; ++i) add(record.fields[i].key, record.fields[i].value);
  for (const auto& [key, value] : record.context.fields()) {
    const bool shadowed = std::any_of(record.fields, record.fields + record.field_count,
                                      [&key = key](const LogField& f) { return f.key == key; });
    if (!shadowed) add(key, value);
  }
  return out + "}";
}

Result<std::unique_ptr<Log>> Log::open(const LogOptions& options) {
  std::shared_ptr<spdlog::sinks::sink> sink;
  try {
    if (options.file.empty()) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_st>();
    } else {
      sink = std::make_shared<spdlog::sinks::rotating_file_sink_st>(options.file, options.file_bytes_max,
                                                                    options.files_max);
    }
  } catch (const std::exception& e) {
    return Error{Code::kIo, format("cannot open the log file {}: {}", options.file, e.what()),
                 "choose another with --log-file"};
  }
  sink->set_pattern("%v");
  auto write = [sink](std::string_view line) {
    try {  // a full disk must not end the program; the line is lost
      sink->log(spdlog::details::log_msg(spdlog::string_view_t{}, spdlog::level::info,
                                         spdlog::string_view_t(line.data(), line.size())));
    } catch (const std::exception&) {
    }
  };
  auto log = std::make_unique<Log>(options.format, options.levels, std::move(write));
  log->flush_ = [sink] {
    try {
      sink->flush();
    } catch (const std::exception&) {
    }
  };
  return log;
}

Log::Log(LogFormat format, LogLevels levels, std::function<void(std::string_view)> write)
    : format_(format), levels_(std::move(levels)), write_(std::move(write)) {}

Log::~Log() { flush(); }

void Log::write(const LogRecord& record) {
  const std::string line = format_ == LogFormat::kJson ? format_json(record) : format_text(record);
  const std::lock_guard lock(mutex_);
  write_(line);
  if (flush_) flush_();
}

void Log::flush() {
  const std::lock_guard lock(mutex_);
  if (flush_) flush_();
}

Level Log::level_for(std::string_view logger) const {
  auto it = levels_.by_logger.find(logger);
  return it == levels_.by_logger.end() ? levels_.base : it->second;
}

void Logger::at(Level level, std::string_view message, LogFields fields, Where where) const {
  if (!enabled(level)) return;
  const Context context = Context::current();
  log_->write(
      LogRecord{wall_now(), level, name_, message, where.function, where.line, fields.begin(), fields.size(), context});
}

void Logger::timed(Operation operation, Duration duration, Where where) const {
  log_->timings().record(operation, duration);
  if (!enabled(Level::kDebug)) return;
  at(Level::kDebug, format("completed {}", operation.name),
     {{"duration_ms", milliseconds(duration)}, {"operation", operation.name}}, where);
}

Timed::Timed(const Logger& log, Operation operation, Logger::Where where)
    : log_(log), operation_(operation), where_(where), start_ns_(steady_ns()) {}

Timed::~Timed() { log_.timed(operation_, Duration{steady_ns() - start_ns_}, where_); }

Logger silent_logger() {
  static Log log(LogFormat::kText, LogLevels{Level::kOff, {}}, [](std::string_view) {});
  return Logger(log, "silent");
}

}  // namespace lanrage
