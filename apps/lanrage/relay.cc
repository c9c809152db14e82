// relay: a relay alone on a host, for the players of a server elsewhere.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

#include "base/format.h"
#include "cli.h"
#include "daemon/relay_daemon.h"

namespace lanrage::cli {
namespace {

using wire::Json;

struct Arguments {
  std::string server, region;
  std::vector<std::string> listen, announced;
};

Result<void> relay(Cli& cli, const Arguments& arguments) {
  daemon::RelayOptions options;
  LR_ASSIGN(const auto link, party::ServerLink::parse(arguments.server));
  options.server = link.info();
  LR_ASSIGN(options.listen, endpoints_of(arguments.listen, "--listen"));
  LR_ASSIGN(options.public_addresses, endpoints_of(arguments.announced, "--public"));
  if (options.public_addresses.size() > wire::kRelayAddressesMax)
    return Error{Code::kInvalid, format("a relay has at most {} addresses", wire::kRelayAddressesMax), {}};
  if (!wire::is_region(arguments.region))
    return Error{Code::kInvalid, format("--region {}: that is no region", safe(arguments.region)),
                 format("use up to {} letters, digits and -", wire::kRegionBytesMax)};
  options.region = arguments.region;
  const config::Folders where = folders();
  LR_TRY(where.create());
  options.folder = where.state;
  LR_ASSIGN(const LoadedConfig loaded, load_config(cli, where));
  options.offload = loaded.config.settings().offload;
  options.port_mapping = loaded.config.settings().port_mapping;
  LR_ASSIGN(const LogOptions log, loaded.config.settings().log_options());
  return daemon::run_relay(options, log, [&cli, &options](const daemon::RelayReady& ready) {
    if (cli.json) {
      print_json(
          Json::object({{"key", ready.key.base64()},
                        {"region", options.region.empty() ? Json() : Json(options.region)},
                        {"addresses", Json::list(ready.addresses, [](const Endpoint& e) { return Json(e.text()); })},
                        {"tls", ready.streams}}));
      return;
    }
    std::printf("The relay is ready at");
    for (const Endpoint& endpoint : ready.addresses) std::printf(" %s", endpoint.text().c_str());
    std::printf(".\nIts server serves it once this was said there:\n\n  lanrage server relays allow %s\n\n",
                ready.key.base64().c_str());
    std::fflush(stdout);
  });
}

}  // namespace

void add_relay(CLI::App& app, Cli& cli) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = app.add_subcommand("relay", "Relay for the players of a server on another host");
  command->add_option("--server", arguments->server, "the server's link, as `lanrage server` prints it")->required();
  command->add_option(
      "--listen", arguments->listen,
      "ADDRESS:PORT to serve on, UDP and TLS; without: every address, port 41820, and TLS on 443 if free");
  command->add_option("--public", arguments->announced,
                      "ADDRESS:PORT that players reach it at, if it cannot see that itself");
  command->add_option("--region", arguments->region, "where it is: eu-west; each pair has one elsewhere in reserve");
  add_settings(*command, cli, {"port_mapping", "offload", "log_level", "log_format", "log_file"});
  command->callback([&cli, arguments] { cli.run = [&cli, arguments] { return relay(cli, *arguments); }; });
}

}  // namespace lanrage::cli
