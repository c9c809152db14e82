// What the subcommands share: flags, errors, the call to the node, and text that is safe for a terminal.
//
// A subcommand is one `add_...` function that declares itself on the CLI::App and, when chosen, sets `Cli::run`. It
// speaks to the node over the local API and nothing else.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/log.h"
#include "base/result.h"
#include "base/time.h"
#include "config/config.h"
#include "config/folders.h"
#include "wire/json.h"

namespace CLI {
class App;
}

namespace lanrage::cli {

struct Cli {
  bool json = false;
  std::map<std::string, std::string> flags;  // settings given on the command line, by key
  std::vector<char*> arguments;              // argv, to wipe secrets from
  std::function<Result<void>()> run;         // the chosen subcommand
};

// "90s", "15m", "24h", "7d"; a bare number is seconds.
Result<Duration> parse_duration(std::string_view text);
std::string duration_text(Duration duration);  // "24h", for people

// Settings as flags of `app`.
void add_settings(CLI::App& app, Cli& cli, std::vector<std::string> keys = config::Config::key_names());
// Those that make sense for a command that may start the node: the party's and the player's name have flags of its own.
std::vector<std::string> settings_of_a_new_node();
// The effective settings: flags, environment, lanrage.toml in the state folder.
struct LoadedConfig {
  config::Config config;
  Duration took;
};
Result<LoadedConfig> load_config(const Cli& cli, const config::Folders& folders);
config::Folders folders();

// One request to the node of this folder. kUnavailable with a hint when none runs.
Result<wire::Json> call_node(std::string method, std::string path, const wire::Json& body = wire::Json::object(),
                             Duration timeout = std::chrono::seconds(10));
// The same to the server of this folder, a node's own one included.
Result<wire::Json> call_server(std::string method, std::string path, const wire::Json& body = wire::Json::object());
bool node_runs();
// Starts one in the background unless it runs.
Result<void> ensure_node(const Cli& cli);

// One JSON object on standard output.
void print_json(const wire::Json& value);
// A line on standard error, when a person is there to read it.
void progress(const Cli& cli, std::string_view line);
// Removes control and non-printable characters: names come from other people.
std::string safe(std::string_view text);
// Overwrites an argument, so that a secret is not seen in the list of processes.
void wipe_argument(Cli& cli, std::string_view value);

// "0.0.0.0:41820" or "[::]:41820", of the flag that is named. kInvalid.
Result<std::vector<Endpoint>> endpoints_of(const std::vector<std::string>& texts, const char* flag);

// Typed reads of an answer, empty where absent.
std::string text_of(const wire::Json& object, std::string_view key);
std::optional<double> number_of(const wire::Json& object, std::string_view key);
const wire::Json::Array& items_of(const wire::Json& object, std::string_view key);
const wire::Json& member_of(const wire::Json& object, std::string_view key);

void add_up(CLI::App& app, Cli& cli);                 // up, down
void add_server(CLI::App& app, Cli& cli);             // server, server status, server relays
void add_quality(CLI::App& app, Cli& cli);            // quality
void add_relay(CLI::App& app, Cli& cli);              // relay
void add_party(CLI::App& app, Cli& cli);              // host, join, leave, invite, revoke, kick, rekey, handover
void add_status(CLI::App& app, Cli& cli);             // status, peers, ping, netcheck
void add_rules(CLI::App& app, Cli& cli);              // allow, deny
void add_lan(CLI::App& app, Cli& cli);                // lan
void add_tasks(CLI::App& app, Cli& cli);              // tasks, operations
void add_settings_commands(CLI::App& app, Cli& cli);  // config, log
void add_completion(CLI::App& app, Cli& cli);         // completion
void add_demo(CLI::App& app, Cli& cli);               // demo

}  // namespace lanrage::cli
