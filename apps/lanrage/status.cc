// status, peers, ping, netcheck: how it is.
#include <CLI/CLI.hpp>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <thread>

#include "base/format.h"
#include "cli.h"

namespace lanrage::cli {
namespace {

using wire::Json;

std::string rtt_text(const Json& peer) {
  const auto rtt = number_of(peer, "rtt_ms");
  return rtt ? format("{:.1f} ms", *rtt) : "";
}

std::string path_text(const Json& peer) {
  const std::string state = text_of(peer, "state");
  const std::string kind = text_of(member_of(peer, "path"), "kind");
  return state == "connected" && !kind.empty() ? kind : state;
}

std::string first_address(const Json& object) {
  const auto& addresses = items_of(object, "addresses");
  return addresses.empty() || addresses[0].if_string() == nullptr ? "" : *addresses[0].if_string();
}

void print_peers(const Json& status) {
  for (const Json& peer : items_of(status, "peers")) {
    std::printf("  %-20s %-15s %-12s %9s", safe(text_of(peer, "name")).c_str(), first_address(peer).c_str(),
                path_text(peer).c_str(), rtt_text(peer).c_str());
    if (const std::string why = text_of(peer, "why"); !why.empty()) std::printf("  %s", safe(why).c_str());
    std::printf("\n");
  }
}

void print_status(const Json& status) {
  const Json& self = member_of(status, "self");
  const Json& party = member_of(status, "party");
  if (party.is_null()) {
    std::printf("Not in a party. `lanrage host` starts one, `lanrage join INVITE` joins one.\n");
  } else {
    std::printf("%s in \"%s\" (%s), %s on %s: %s\n", safe(text_of(self, "name")).c_str(),
                safe(text_of(party, "name")).c_str(), text_of(party, "role").c_str(), first_address(self).c_str(),
                text_of(self, "interface").c_str(),
                text_of(status, "state") == "in_party" ? "connected" : text_of(status, "state").c_str());
    print_peers(status);
    if (items_of(status, "peers").empty()) std::printf("  nobody else is here yet\n");
  }
  if (const Json& server = member_of(status, "server"); !server.is_null()) {
    std::printf("server %s: %s\n", text_of(server, "url").c_str(), text_of(server, "state").c_str());
  }
  if (const Json& nat = member_of(self, "nat"); !nat.is_null())
    std::printf("this network: %s\n", text_of(nat, "words").c_str());
  for (const Json& notice : items_of(status, "notices")) {
    if (notice.if_string() != nullptr) std::printf("note: %s\n", safe(*notice.if_string()).c_str());
  }
}

volatile std::sig_atomic_t interrupted = 0;

void stop_on_interrupt() {
  std::signal(SIGINT, [](int) { interrupted = 1; });
}

Result<void> show_status(Cli& cli, bool watch) {
  stop_on_interrupt();
  do {
    LR_ASSIGN(const Json status, call_node("GET", "/api/status"));
    if (cli.json) {
      print_json(status);
    } else {
      if (watch && ::isatty(1) == 1) std::printf("\x1b[H\x1b[2J");
      print_status(status);
      std::fflush(stdout);
    }
    if (watch) std::this_thread::sleep_for(std::chrono::seconds(1));
  } while (watch && interrupted == 0);
  return {};
}

Result<void> show_peers(Cli& cli) {
  LR_ASSIGN(const Json answer, call_node("GET", "/api/peers"));
  if (cli.json) {
    print_json(answer);
  } else {
    print_peers(answer);
  }
  return {};
}

Result<void> ping(Cli& cli, const std::string& name, int count, double interval_s) {
  stop_on_interrupt();
  std::vector<double> times;
  int sent = 0;
  Json last_path;
  const auto interval = std::chrono::duration<double>(interval_s);
  while (sent < count && interrupted == 0) {
    const auto begun = std::chrono::steady_clock::now();
    ++sent;
    auto answer =
        call_node("POST", "/api/ping", Json::object({{"peer", name}, {"timeout_ms", 2000}}), std::chrono::seconds(5));
    if (answer) {
      const double rtt = number_of(*answer, "rtt_ms").value_or(0);
      times.push_back(rtt);
      last_path = member_of(*answer, "path");
      if (!cli.json)
        std::printf("answer from %s: %.2f ms (%s)\n", safe(name).c_str(), rtt, text_of(last_path, "kind").c_str());
    } else if (answer.error().code != Code::kTimedOut) {
      return std::move(answer).error();
    } else if (!cli.json) {
      std::printf("no answer from %s within 2 s\n", safe(name).c_str());
    }
    std::fflush(stdout);
    if (sent < count && interrupted == 0) std::this_thread::sleep_until(begun + interval);
  }
  const int received = static_cast<int>(times.size());
  const double loss = sent == 0 ? 0 : 100.0 * (sent - received) / sent;
  Json rtt;
  if (!times.empty()) {
    std::sort(times.begin(), times.end());
    const std::size_t p99 =
        std::min(times.size() - 1, static_cast<std::size_t>(0.99 * static_cast<double>(times.size())));
    rtt = Json::object(
        {{"min", times.front()}, {"median", times[times.size() / 2]}, {"p99", times[p99]}, {"max", times.back()}});
  }
  if (cli.json) {
    print_json(Json::object({{"peer", name},
                             {"sent", sent},
                             {"received", received},
                             {"loss_percent", loss},
                             {"rtt_ms", rtt},
                             {"path", last_path}}));
  } else {
    std::printf("%d sent, %d answered, %.0f %% lost", sent, received, loss);
    if (!times.empty())
      std::printf("; min %.2f, median %.2f, max %.2f ms", times.front(), times[times.size() / 2], times.back());
    std::printf("\n");
  }
  if (received == 0)
    return Error{Code::kTimedOut, format("{} does not answer", safe(name)), "`lanrage status` says how it is reached"};
  return {};
}

Result<void> netcheck(Cli& cli) {
  LR_ASSIGN(const Json answer, call_node("GET", "/api/netcheck", Json::object(), std::chrono::seconds(15)));
  if (cli.json) {
    print_json(answer);
    return {};
  }
  for (const Json& line : items_of(answer, "findings")) {
    if (line.if_string() != nullptr) std::printf("%s\n", safe(*line.if_string()).c_str());
  }
  return {};
}

}  // namespace

void add_status(CLI::App& app, Cli& cli) {
  struct Options {
    bool watch = false;
    std::string nick;
    int count = 4;
    double interval = 1;
  };
  auto options = std::make_shared<Options>();

  CLI::App* status = app.add_subcommand("status", "Who is here, on which path, how good it is, and why");
  status->add_flag("--watch", options->watch, "again every second");
  status->callback([&cli, options] { cli.run = [&cli, options] { return show_status(cli, options->watch); }; });

  CLI::App* peers = app.add_subcommand("peers", "The other players");
  peers->callback([&cli] { cli.run = [&cli] { return show_peers(cli); }; });

  CLI::App* ping_command = app.add_subcommand("ping", "Measure the way to a player through the tunnel");
  ping_command->add_option("NICK", options->nick, "the player")->required();
  ping_command->add_option("-c", options->count, "how many")->capture_default_str()->check(CLI::Range(1, 1000000));
  ping_command->add_option("-i", options->interval, "seconds between two")
      ->capture_default_str()
      ->check(CLI::Range(0.01, 3600.0));
  ping_command->callback([&cli, options] {
    cli.run = [&cli, options] { return ping(cli, options->nick, options->count, options->interval); };
  });

  CLI::App* netcheck_command =
      app.add_subcommand("netcheck", "What this network lets through, and what would make it better");
  netcheck_command->callback([&cli] { cli.run = [&cli] { return netcheck(cli); }; });
}

}  // namespace lanrage::cli
