// server, server status, server relays: the control server, address discovery and relay, for friends behind different
// routers.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

#include "base/format.h"
#include "cli.h"
#include "daemon/server_daemon.h"
#include "terminal.h"
#include "wire/control.h"

namespace lanrage::cli {
namespace {

using wire::Json;

Result<void> serve(Cli& cli, const std::vector<std::string>& listen, const std::vector<std::string>& announced,
                   const std::string& region, bool relay, bool check) {
  control::ServerOptions options;
  if (!wire::is_region(region))
    return Error{Code::kInvalid, format("--region {}: that is no region", safe(region)),
                 format("use up to {} letters, digits and -", wire::kRegionBytesMax)};
  options.region = region;
  LR_ASSIGN(options.listen, endpoints_of(listen, "--listen"));
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
  options.write_window = std::chrono::milliseconds(loaded.config.settings().write_window);
  options.store = loaded.config.settings().store;
  options.bus = loaded.config.settings().bus;
  for (const char* flag : {"store", "bus"})  // may hold passwords
    if (const auto given = cli.flags.find(flag); given != cli.flags.end()) wipe_argument(cli, given->second);
  options.offload = loaded.config.settings().offload;
  const auto on_ready = [&cli, check](const daemon::ServerReady& ready) {
    if (cli.json) {
      print_json(
          Json::object({{"link", ready.link},
                        {"addresses", Json::list(ready.listening, [](const Endpoint& e) { return Json(e.text()); })},
                        {"mapped_link", ready.mapped_link.empty() ? Json() : Json(ready.mapped_link)}}));
      return;
    }
    std::string places;
    for (const Endpoint& e : ready.listening) places += (places.empty() ? "" : ", ") + e.text();
    std::printf("The server %s on %s. Host with:\n\n  lanrage host --server '%s'\n\n", check ? "can serve" : "is ready",
                places.c_str(), ready.link.c_str());
    if (!ready.mapped_link.empty())
      std::printf(
          "The router leads a public port here. For friends elsewhere, host with:\n\n  lanrage host --server '%s'\n\n",
          ready.mapped_link.c_str());
    std::fflush(stdout);
  };
  return check
             ? daemon::check_server(std::move(options), log, on_ready)
             : daemon::run_server(options, where.server_socket(), loaded.config.settings().port_mapping, log, on_ready);
}

// "1536" -> "1.5 kB".
std::string bytes_text(double bytes) {
  const char* unit = "B";
  for (const char* larger : {"kB", "MB", "GB", "TB"}) {
    if (bytes < 1000) break;
    bytes /= 1000;
    unit = larger;
  }
  return format("{:.{}f} {}", bytes, bytes < 10 && *unit != 'B' ? 1 : 0, unit);
}

// How a relay is, as it said last.
void print_report(const Json& report) {
  if (report.is_null()) return;
  const auto number = [&](std::string_view key) { return number_of(report, key).value_or(0); };
  std::printf("  health %.0f of 100, load %.0f %%: %.0f sessions of %.0f parties\n", number("health"), number("load"),
              number("sessions"), number("parties"));
  std::printf(
      "  relayed %.0f packets (%.0f in the kernel), %s; machine at %.0f %% of its CPU, %.0f %% of its memory, %s for "
      "the relay\n",
      number("packets_out"), number("packets_kernel"), bytes_text(number("bytes_out")).c_str(), number("cpu_percent"),
      number("memory_percent"), bytes_text(number("memory_bytes")).c_str());
  std::string dropped;
  if (const Json::Object* reasons = member_of(report, "dropped").if_object()) {
    for (const auto& [reason, count] : *reasons)
      dropped += format("{}{} {}", dropped.empty() ? "" : ", ", count.if_number().value_or(0), safe(reason));
  }
  if (!dropped.empty()) print_wrapped("  ", "dropped: " + dropped);
}

void print_relays(const Json& answer) {
  for (const Json& relay : items_of(answer, "relays")) {
    const std::string region = text_of(relay, "region");
    std::printf("relay %s, %s%s%s", text_of(relay, "key").c_str(), text_of(relay, "state").c_str(),
                region.empty() ? "" : ", ", region.c_str());
    for (const Json& address : items_of(relay, "addresses"))
      if (address.if_string() != nullptr) std::printf(" %s", address.if_string()->c_str());
    std::printf("\n");
    print_report(member_of(relay, "report"));
  }
}

Result<void> relays(Cli& cli, const std::string& action, const std::string& key) {
  if (action.empty() != key.empty())
    return Error{Code::kInvalid, "a relay's key is missing", "`lanrage relay` prints it"};
  Result<Json> answer = action.empty()
                            ? call_server("GET", "/api/relays")
                            : call_server("POST", "/api/relays", Json::object({{"action", action}, {"key", key}}));
  if (!answer) return std::move(answer).error();
  if (cli.json) {
    print_json(*answer);
    return {};
  }
  if (items_of(*answer, "relays").empty()) std::printf("No other relay is allowed here.\n");
  print_relays(*answer);
  return {};
}

Result<void> show_status(Cli& cli) {
  LR_ASSIGN(const Json status, call_server("GET", "/api/server"));
  if (cli.json) {
    print_json(status);
    return {};
  }
  const auto number = [](const Json& object, std::string_view key) { return number_of(object, key).value_or(0); };
  const std::chrono::seconds uptime{static_cast<std::int64_t>(number(status, "uptime_s"))};
  std::printf("lanrage %s, up for %s\n%s\n", text_of(status, "version").c_str(), duration_text(uptime).c_str(),
              text_of(status, "link").c_str());
  std::string places;
  for (const Json& address : items_of(status, "addresses")) {
    if (address.if_string() != nullptr) places += (places.empty() ? "listening on " : ", ") + *address.if_string();
  }
  print_wrapped("", places);
  if (const Json& router = member_of(status, "port_mapping"); !router.is_null()) {
    const std::string outside = text_of(router, "outside"), problem = text_of(router, "problem");
    const double port = number(router, "port");
    print_wrapped(
        "", outside.empty()
                ? format("the router opens no port: {}; forward TCP and UDP port {:.0f} to this machine on it, and "
                         "say the public address with --public",
                         problem, port)
                : format("the router leads {} here ({})", outside, text_of(router, "by")));
  }
  std::printf("%.0f parties with %.0f members; %.0f of them connected\n", number(status, "parties"),
              number(status, "members"), number(status, "clients"));
  const Json& requests = member_of(status, "requests");
  std::printf("%.0f requests, %.0f refused, %.0f too many; %.0f connections open\n", number(requests, "served"),
              number(requests, "refused"), number(requests, "limited"), number(status, "connections"));
  const Json& relay = member_of(status, "relay");
  if (relay.is_null()) {
    std::printf("no relay\n");
  } else {
    std::printf("relay: %.0f sessions, %.0f packets, %s\n", number(relay, "sessions"), number(relay, "packets"),
                bytes_text(number(relay, "bytes")).c_str());
    print_report(member_of(relay, "report"));
  }
  print_relays(status);
  const Json& store = member_of(status, "store");
  std::printf("store: %s, %s\n", text_of(store, "kind").c_str(), bytes_text(number(store, "bytes")).c_str());
  std::printf("  %.0f changes in %.0f transactions", number(store, "requests"), number(store, "transactions"));
  if (!member_of(store, "syncs").is_null())
    std::printf(", %.0f syncs, %s written", number(store, "syncs"), bytes_text(number(store, "written_bytes")).c_str());
  std::printf("\n");
  if (const std::string problem = text_of(store, "problem"); !problem.empty())
    print_wrapped("  ", "changes are refused: " + problem);
  if (const Json& bus = member_of(status, "bus"); !bus.is_null()) {
    std::printf("bus: %s, %.0f other servers share the store\n", text_of(bus, "kind").c_str(), number(bus, "servers"));
    if (const std::string problem = text_of(bus, "problem"); !problem.empty())
      print_wrapped("  ", "news come late: " + problem);
  }
  return {};
}

}  // namespace

void add_server(CLI::App& app, Cli& cli) {
  struct Options {
    std::vector<std::string> listen, announced;
    std::string region;
    std::string action, key;  // of `relays`
    bool no_relay = false;
    bool check = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "server", "Introduce players behind different routers to each other, and relay where nothing else works");
  command->add_option("--listen", options->listen,
                      "ADDRESS:PORT to serve on, TCP and UDP; without: every address, port 41820, and TCP 443 if free");
  command->add_option("--public", options->announced,
                      "ADDRESS:PORT that players reach it at, if it cannot see that itself");
  command->add_option("--region", options->region,
                      "where its relay is: eu-west; each pair has one elsewhere in reserve");
  command->add_flag("--no-relay", options->no_relay, "introduce only");
  command->add_flag("--check", options->check, "start everything, say whether it could serve, and end");
  add_settings(*command, cli,
               {"port_mapping", "store", "bus", "write_window", "offload", "log_level", "log_format", "log_file"});
  CLI::App* status = command->add_subcommand("status", "Load, parties, relay and version of the server that runs here");
  CLI::App* others =
      command->add_subcommand("relays", "The relays on other hosts that this server names to its players");
  others->add_option("ACTION", options->action, "allow or remove; without: list them")
      ->check(CLI::IsMember({"allow", "remove"}));
  others->add_option("KEY", options->key, "the relay's key, as `lanrage relay` prints it");
  command->callback([&cli, options, status, others] {
    if (status->parsed()) {
      cli.run = [&cli] { return show_status(cli); };
      return;
    }
    if (others->parsed()) {
      cli.run = [&cli, options] { return relays(cli, options->action, options->key); };
      return;
    }
    cli.run = [&cli, options] {
      return serve(cli, options->listen, options->announced, options->region, !options->no_relay, options->check);
    };
  });
}

}  // namespace lanrage::cli
