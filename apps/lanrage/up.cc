// up, down: the node itself.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>
#include <thread>

#include "cli.h"
#include "daemon/node_daemon.h"
#include "daemon/process.h"

namespace lanrage::cli {
namespace {

using wire::Json;

constexpr int kGoneTries = 100;  // five seconds

Result<void> up(Cli& cli, bool foreground) {
  if (foreground) {
    const config::Folders where = folders();
    LR_TRY(where.create());
    LR_ASSIGN(const LoadedConfig loaded, load_config(cli, where));
    return daemon::run_node(loaded.config, loaded.took, where, daemon::Readiness());
  }
  if (node_runs())
    return Error{Code::kConflict, "a node is running already", "`lanrage status` shows it; `lanrage down` stops it"};
  LR_TRY(ensure_node(cli));
  LR_ASSIGN(const Json status, call_node("GET", "/api/status"));
  if (cli.json) {
    print_json(status);
  } else {
    std::printf("The node is up. `lanrage host` starts a party, `lanrage join INVITE` joins one.\n");
  }
  return {};
}

Result<void> down(Cli& cli) {
  LR_TRY(call_node("GET", "/api/status"));
  // A node that goes may be gone before its answer is out.
  const auto asked = call_node("POST", "/api/down", Json::object(), std::chrono::seconds(10));
  if (!asked && asked.error().code != Code::kUnavailable) return asked.error();
  for (int i = 0; i < kGoneTries && node_runs(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  if (cli.json) {
    print_json(Json::object({{"state", "down"}}));
  } else {
    std::printf("The node is down. `lanrage up` brings it back, into its party too.\n");
  }
  return {};
}

}  // namespace

void add_up(CLI::App& app, Cli& cli) {
  auto foreground = std::make_shared<bool>(false);
  CLI::App* up_command = app.add_subcommand("up", "Start the node, in the background");
  up_command->add_flag("--foreground", *foreground, "stay, and log to standard error: what a service runs");
  add_settings(*up_command, cli);
  up_command->callback([&cli, foreground] { cli.run = [&cli, foreground] { return up(cli, *foreground); }; });

  CLI::App* down_command = app.add_subcommand("down", "Stop the node; it stays a member");
  down_command->callback([&cli] { cli.run = [&cli] { return down(cli); }; });
}

}  // namespace lanrage::cli
