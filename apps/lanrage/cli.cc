#include "cli.h"

#include <CLI/CLI.hpp>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/format.h"
#include "daemon/node_daemon.h"
#include "daemon/process.h"
#include "net/clock.h"
#include "net/http.h"

namespace lanrage::cli {

Result<Duration> parse_duration(std::string_view text) {
  std::int64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  std::int64_t factor = 0;
  if (unit.empty() || unit == "s") factor = 1;
  if (unit == "m") factor = 60;
  if (unit == "h") factor = 3600;
  if (unit == "d") factor = 86400;
  constexpr std::int64_t kSecondsMax = std::int64_t{10} * 365 * 86400;
  if (error != std::errc{} || factor == 0 || number <= 0 || number > kSecondsMax / factor) {
    return Error{Code::kInvalid, format("\"{}\" is no duration", text), "write it like 90s, 15m, 24h or 7d"};
  }
  return Duration{std::chrono::seconds{number * factor}};
}

std::string duration_text(Duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  if (seconds >= 2 * 86400) return format("{}d", seconds / 86400);
  if (seconds >= 2 * 3600) return format("{}h", seconds / 3600);
  if (seconds >= 2 * 60) return format("{}m", seconds / 60);
  return format("{}s", seconds);
}

void add_settings(CLI::App& app, Cli& cli, std::vector<std::string> keys) {
  for (const auto& [key, help] : config::Config::keys()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) continue;
    std::string flag = "--" + key;
    std::replace(flag.begin(), flag.end(), '_', '-');
    auto* option = app.add_option_function<std::string>(
        flag, [&cli, key = key](const std::string& value) { cli.flags[key] = value; }, help);
    option->group("Settings");
    // Named without a value it is wanted.
    if (key == "relay_for_party") option->expected(0, 1)->default_str("on");
  }
}

std::vector<std::string> settings_of_a_new_node() {
  std::vector<std::string> keys = config::Config::key_names();
  std::erase_if(keys, [](const std::string& key) { return key == "name" || key == "server"; });
  return keys;
}

config::Folders folders() {
  config::Folders out = config::Folders::of(config::environment, ::geteuid() == 0);
  std::error_code ignored;  // the working directory is gone: relative paths lead nowhere, as they would
  for (std::string* folder : {&out.state, &out.run}) {
    if (auto whole = std::filesystem::absolute(*folder, ignored); !ignored) *folder = whole.string();
  }
  return out;
}

Result<LoadedConfig> load_config(const Cli& cli, const config::Folders& folders) {
  const Time begun = net::now().time;
  config::Config::Sources sources;
  sources.file_name = folders.state + "/lanrage.toml";
  LR_ASSIGN(auto text, config::read_file(sources.file_name));
  sources.file_text = text.value_or("");
  sources.environment = config::environment;
  sources.flags = cli.flags;
  LR_ASSIGN(config::Config config, config::Config::load(sources));
  return LoadedConfig{std::move(config), net::now().time - begun};
}

namespace {

// One's own node; where there is none, the machine's, if its group lets us in.
std::string node_socket() {
  const std::string own = folders().socket();
  const std::string machine = config::Folders::of([](const std::string&) { return std::nullopt; }, true).socket();
  const bool chosen = !config::environment("LANRAGE_DIR").value_or("").empty();
  const bool shared = !chosen && ::access(own.c_str(), F_OK) != 0 && ::access(machine.c_str(), W_OK) == 0;
  return shared ? machine : own;
}

// One request to who serves `socket`; `nobody` when nobody does.
Result<wire::Json> call(const std::string& socket, Error nobody, std::string method, std::string path,
                        const wire::Json& body, Duration timeout) {
  static Logger log = silent_logger();
  if (::access(socket.c_str(), W_OK) != 0 && errno == EACCES)
    return Error{Code::kRefused,
                 format("{} belongs to another user", std::filesystem::path(socket).parent_path().string()),
                 "run the command as root (sudo) or as that user"};
  auto client = net::HttpClient::create(net::UnixTarget{socket}, {}, log);
  net::HttpRequest request;
  request.method = std::move(method);
  request.target = std::move(path);
  request.body = body.text();
  request.headers = {{"Content-Type", "application/json"}};
  auto answer = client->call(std::move(request), timeout);
  if (!answer) {
    if (answer.error().code == Code::kUnavailable) return nobody;
    return std::move(answer).error();
  }
  LR_ASSIGN(wire::Json value, wire::Json::parse(answer->body));
  if (answer->status < 400) return value;
  const wire::Json& error = member_of(value, "error");
  Error failure{Code::kFailed, text_of(error, "message"), text_of(error, "hint")};
  const std::string code = text_of(error, "code");
  for (int i = 0; i <= static_cast<int>(Code::kIo); ++i) {
    if (code == code_name(static_cast<Code>(i))) failure.code = static_cast<Code>(i);
  }
  // For the exit code kUnavailable is this machine's node; a server that the node cannot reach is a plain failure.
  if (failure.code == Code::kUnavailable) failure.code = Code::kFailed;
  return failure;
}

}  // namespace

Result<wire::Json> call_node(std::string method, std::string path, const wire::Json& body, Duration timeout) {
  return call(
      node_socket(),
      {Code::kUnavailable, "no node is running", "start one with `lanrage up`, or `lanrage host` or `lanrage join`"},
      std::move(method), std::move(path), body, timeout);
}

Result<wire::Json> call_server(std::string method, std::string path, const wire::Json& body) {
  const config::Folders where = folders();
  return call(where.server_socket(),
              {Code::kUnavailable, format("no server is running in {}", where.state),
               "start one with `lanrage server`, or set LANRAGE_DIR to its folder (the service's is "
               "/var/lib/lanrage-server)"},
              std::move(method), std::move(path), body, std::chrono::seconds(10));
}

Result<std::vector<Endpoint>> endpoints_of(const std::vector<std::string>& texts, const char* flag) {
  std::vector<Endpoint> out;
  for (const std::string& text : texts) {
    const auto endpoint = Endpoint::parse(text);
    if (!endpoint)
      return Error{Code::kInvalid, format("{} {}: that is no ADDRESS:PORT", flag, text),
                   "write it like 0.0.0.0:41820 or [::]:41820"};
    out.push_back(*endpoint);
  }
  return out;
}

bool node_runs() { return call_node("GET", "/api/status").has_value(); }

Result<void> ensure_node(const Cli& cli) {
  if (node_runs()) {
    for (const auto& [key, value] : cli.flags) {
      if (key == "server") continue;
      return Error{Code::kConflict, format("the node runs already, with its own {}", key),
                   "`lanrage down` first, then try again"};
    }
    return {};
  }
  progress(cli, "starting the node…");
  const config::Folders where = folders();
  LR_TRY(where.create());
  LR_ASSIGN(LoadedConfig loaded, load_config(cli, where));
  if (loaded.config.settings().log_file.empty()) {
    Cli background = cli;
    background.flags["log_file"] = where.state + "/lanrage.log";
    LR_ASSIGN(loaded, load_config(background, where));
  }
  daemon::Readiness readiness;
  LR_ASSIGN(const bool child, daemon::fork_into_background(readiness));
  if (!child) return {};
  std::_Exit(daemon::run_node(loaded.config, loaded.took, where, std::move(readiness)) ? 0 : 1);
}

void print_json(const wire::Json& value) {
  std::printf("%s\n", value.text().c_str());
  std::fflush(stdout);
}

void progress(const Cli& cli, std::string_view line) {
  if (!cli.json && ::isatty(2) == 1) std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
}

std::string safe(std::string_view text) {
  std::string out;
  for (char c : text) {
    const auto u = static_cast<unsigned char>(c);
    out += u < 0x20 || u == 0x7f ? '?' : c;
  }
  return out;
}

void wipe_argument(Cli& cli, std::string_view value) {
  for (char* argument : cli.arguments) {
    if (char* found = std::strstr(argument, std::string(value).c_str())) std::memset(found, 'x', value.size());
  }
}

std::string text_of(const wire::Json& object, std::string_view key) {
  const wire::Json* member = object.find(key);
  const std::string* text = member == nullptr ? nullptr : member->if_string();
  return text == nullptr ? std::string() : *text;
}

std::optional<double> number_of(const wire::Json& object, std::string_view key) {
  const wire::Json* member = object.find(key);
  return member == nullptr ? std::nullopt : member->if_number();
}

const wire::Json::Array& items_of(const wire::Json& object, std::string_view key) {
  static const wire::Json::Array kNone;
  const wire::Json* member = object.find(key);
  const wire::Json::Array* items = member == nullptr ? nullptr : member->if_array();
  return items == nullptr ? kNone : *items;
}

const wire::Json& member_of(const wire::Json& object, std::string_view key) {
  static const wire::Json kNone;
  const wire::Json* member = object.find(key);
  return member == nullptr ? kNone : *member;
}

}  // namespace lanrage::cli
