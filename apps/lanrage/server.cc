// server: the control server, address discovery and relay, for friends behind different routers.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

#include "base/format.h"
#include "cli.h"
#include "daemon/server_daemon.h"

namespace lanrage::cli {
namespace {

using wire::Json;

Result<std::vector<Endpoint>> endpoints(const std::vector<std::string>& texts, const char* flag) {
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

Result<void> serve(Cli& cli, const std::vector<std::string>& listen, const std::vector<std::string>& announced,
                   bool relay) {
  control::ServerOptions options;
  LR_ASSIGN(options.listen, endpoints(listen, "--listen"));
  for (const std::string& text : announced) {
    auto address = party::ServerAddress::parse(text);
    if (!address) {
      return Error{Code::kInvalid, format("--public {}: that is no address", safe(text)),
                   "write it like 203.0.113.7:41820 or play.example.org"};
    }
    options.public_addresses.push_back(std::move(*address));
  }
  options.relay = relay;
  const config::Folders where = folders();
  LR_TRY(where.create());
  options.folder = where.state;
  LR_ASSIGN(const LoadedConfig loaded, load_config(cli, where));
  LR_ASSIGN(const LogOptions log, loaded.config.settings().log_options());
  return daemon::run_server(options, log, [&cli](const daemon::ServerReady& ready) {
    if (cli.json) {
      print_json(Json::object({{"link", ready.link}, {"addresses", Json::list(ready.listening, [](const Endpoint& e) {
                                                        return Json(e.text());
                                                      })}}));
      return;
    }
    std::printf("The server is ready. Host with:\n\n  lanrage host --server '%s'\n\n", ready.link.c_str());
    std::fflush(stdout);
  });
}

}  // namespace

void add_server(CLI::App& app, Cli& cli) {
  struct Options {
    std::vector<std::string> listen, announced;
    bool no_relay = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "server", "Introduce players behind different routers to each other, and relay where nothing else works");
  command->add_option("--listen", options->listen,
                      "ADDRESS:PORT to serve on, TCP and UDP; without: every address, port 41820");
  command->add_option("--public", options->announced,
                      "ADDRESS:PORT that players reach it at, if it cannot see that itself");
  command->add_flag("--no-relay", options->no_relay, "introduce only");
  add_settings(*command, cli);
  command->callback([&cli, options] {
    cli.run = [&cli, options] { return serve(cli, options->listen, options->announced, !options->no_relay); };
  });
}

}  // namespace lanrage::cli
