// config, log: the effective settings and where they came from; the node's last log lines.
#include <CLI/CLI.hpp>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "base/format.h"
#include "cli.h"
#include "terminal.h"

namespace lanrage::cli {
namespace {

using wire::Json;

// A database's URL without its password, whichever way that is in it.
std::string without_password(std::string url) {
  const std::size_t host = url.find("://");
  const std::size_t at = host == std::string::npos ? host : url.substr(0, url.find_first_of("?", host)).rfind('@');
  const std::size_t colon = at == std::string::npos ? at : url.find(':', host + 3);
  if (colon < at && at != std::string::npos) url.replace(colon + 1, at - colon - 1, "***");
  for (std::size_t key = 0; (key = url.find("password=", key)) != std::string::npos;) {
    key += std::string_view("password=").size();
    url.replace(key, std::min(url.find_first_of("& ", key), url.size()) - key, "***");
  }
  return url;
}

// A bus's URLs without users, passwords and tokens.
std::string without_user(std::string urls) {
  for (std::size_t at = 0; (at = urls.find("://", at)) != std::string::npos;) {
    at += std::string_view("://").size();
    const std::size_t end = urls.substr(0, urls.find(',', at)).rfind('@');
    if (end != std::string::npos && end > at) urls.replace(at, end - at, "***");
  }
  return urls;
}

// The settings, fit to be shown.
std::vector<config::Entry> shown_entries(const config::Config& config) {
  std::vector<config::Entry> entries = config.entries();
  for (config::Entry& entry : entries) {
    if (entry.key == "store") entry.value = without_password(entry.value);
    if (entry.key == "bus") entry.value = without_user(entry.value);
  }
  return entries;
}

// As it may stand in the file.
std::string toml_value(const config::Entry& entry) {
  if (!entry.quoted) return entry.value;
  std::string out = "\"";
  for (char c : safe(entry.value)) out += c == '"' || c == '\\' ? std::string{'\\', c} : std::string(1, c);
  return out + "\"";
}

Result<void> show_settings(Cli& cli) {
  LR_ASSIGN(const LoadedConfig loaded, load_config(cli, folders()));
  if (cli.json) {
    Json settings = Json::object();
    for (const config::Entry& entry : shown_entries(loaded.config)) {
      settings.set(entry.key, Json::object({{"value", entry.value}, {"from", config::origin_name(entry.origin)}}));
    }
    print_json(Json::object({{"file", folders().state + "/lanrage.toml"}, {"settings", settings}}));
    return {};
  }
  std::printf("# %s/lanrage.toml\n", folders().state.c_str());
  for (const config::Entry& entry : shown_entries(loaded.config)) {
    print_wrapped("# ", entry.help);
    std::printf("%s  # %s\n", padded(format("{} = {}", entry.key, toml_value(entry)), 34).c_str(),
                config::origin_name(entry.origin));
  }
  return {};
}

Result<void> show_log(Cli& cli, int lines) {
  LR_ASSIGN(const Json answer, call_node("GET", format("/api/log?lines={}", lines)));
  if (cli.json) {
    print_json(answer);
    return {};
  }
  for (const Json& line : items_of(answer, "lines")) {
    if (line.if_string() != nullptr) std::printf("%s\n", safe(*line.if_string()).c_str());
  }
  return {};
}

}  // namespace

void add_settings_commands(CLI::App& app, Cli& cli) {
  CLI::App* config_command = app.add_subcommand("config", "The effective settings and where each came from");
  add_settings(*config_command, cli);
  config_command->callback([&cli] { cli.run = [&cli] { return show_settings(cli); }; });

  auto lines = std::make_shared<int>(100);
  CLI::App* log_command = app.add_subcommand("log", "The node's last log lines");
  log_command->add_option("-n", *lines, "how many")->capture_default_str()->check(CLI::Range(1, 1000));
  log_command->callback([&cli, lines] { cli.run = [&cli, lines] { return show_log(cli, *lines); }; });
}

}  // namespace lanrage::cli
