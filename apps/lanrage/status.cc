// status, peers, ping, netcheck: how it is.
#include <CLI/CLI.hpp>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <memory>

#include "base/format.h"
#include "cli.h"
#include "interrupt.h"
#include "terminal.h"

namespace lanrage::cli {
namespace {

using wire::Json;

std::string number_text(const Json& object, std::string_view key, int decimals, const char* unit) {
  const auto number = number_of(object, key);
  return number ? format("{:.{}f} {}", *number, decimals, unit) : "";
}

std::string path_text(const Json& peer) {
  const std::string state = text_of(peer, "state");
  const std::string kind = text_of(member_of(peer, "path"), "kind");
  if (state != "connected" || kind.empty()) return state;
  const std::string member = text_of(member_of(peer, "path"), "relay_member");
  return member.empty() ? kind : format("{} ({})", kind, safe(member));
}

std::string first_address(const Json& object) {
  const auto& addresses = items_of(object, "addresses");
  return addresses.empty() || addresses[0].if_string() == nullptr ? "" : *addresses[0].if_string();
}

// What two paths at once cost; empty when there is one.
std::string redundancy_text(const Json& peer) {
  const Json& redundancy = member_of(peer, "redundancy");
  const std::string kind = text_of(member_of(redundancy, "path"), "kind");
  if (kind.empty()) return {};
  const double copied = number_of(redundancy, "copied_bytes").value_or(0),
               sent = number_of(peer, "tx_bytes").value_or(0);
  return format("game packets also take {}: {:.0f} % more was sent",
                kind == "relay" ? "a relay" : "a second direct path", sent > 0 ? 100 * copied / sent : 0);
}

void print_peers(const Json& status) {
  using Row = std::array<std::string, 6>;  // name, address, path, round trip, loss, grade
  const auto row_of = [](const Json& peer) {
    const bool connected = text_of(peer, "state") == "connected";
    return Row{safe(text_of(peer, "name")),
               first_address(peer),
               path_text(peer),
               number_text(peer, "rtt_ms", 1, "ms"),
               connected ? number_text(peer, "loss_percent", 0, "%") : "",
               connected ? text_of(member_of(peer, "quality"), "grade") : ""};
  };
  const auto& peers = items_of(status, "peers");
  std::array<std::size_t, 6> widths{6, 11, 6, 7, 3, 1};
  for (const Json& peer : peers) {
    const Row row = row_of(peer);
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], display_width(row[i]));
  }
  for (const Json& peer : peers) {
    const Row row = row_of(peer);
    std::printf("  %s  %s  %s  %*s  %*s  %s\n", padded(row[0], widths[0]).c_str(), padded(row[1], widths[1]).c_str(),
                padded(row[2], widths[2]).c_str(), static_cast<int>(widths[3]), row[3].c_str(),
                static_cast<int>(widths[4]), row[4].c_str(), row[5].c_str());
    if (const std::string why = text_of(peer, "why"); !why.empty()) print_wrapped("    ", safe(why));
    if (const std::string copies = redundancy_text(peer); !copies.empty()) print_wrapped("    ", copies);
  }
}

// What this machine does as a relay for its party; empty where nobody asked for it and it does nothing.
std::string relay_text(const Json& relay) {
  const Json* serves = relay.find("serves");
  if (serves == nullptr || serves->if_bool() == nullptr) return {};
  if (!*serves->if_bool())
    return text_of(relay, "setting") == "on" ? "none for the party: " + text_of(relay, "why") : std::string();
  const double members = number_of(relay, "members").value_or(0);
  return format("for the party, UDP port {:.0f}: {:.0f} {} on it", number_of(relay, "port").value_or(0), members,
                members == 1 ? "player is" : "players are");
}

// `page`: the link that opens the dashboard; may be empty.
void print_status(const Json& status, const std::string& page) {
  const Json& self = member_of(status, "self");
  const Json& party = member_of(status, "party");
  const std::string state = text_of(status, "state");
  if (party.is_null()) {
    std::printf("%s\n", state == "connecting"
                            ? "Joining a party. `lanrage leave` gives up."
                            : "Not in a party. `lanrage host` starts one, `lanrage join INVITE` joins one.");
  } else {
    print_wrapped("", format("{} in \"{}\" ({}), {} on {}: {}", safe(text_of(self, "name")),
                             safe(text_of(party, "name")), text_of(party, "role"), first_address(self),
                             text_of(self, "interface"), state == "in_party" ? "connected" : state));
    print_peers(status);
    if (items_of(status, "peers").empty()) std::printf("  nobody else is here yet\n");
  }
  if (const Json& server = member_of(status, "server"); !server.is_null()) {
    std::string text = format("{}, {}", text_of(server, "url"), text_of(server, "state"));
    if (const std::string problem = text_of(server, "problem"); !problem.empty()) text += ": " + safe(problem);
    print_wrapped("server     ", text);
  }
  if (const std::string words = text_of(member_of(self, "nat"), "words"); !words.empty())
    print_wrapped("network    ", words);
  const Json& router = member_of(self, "port_mapping");
  if (const std::string words = text_of(router, "words"); !words.empty()) {
    const auto left = number_of(router, "lifetime_s");
    print_wrapped("router     ", left ? format("{}, for {}; renewed before", words,
                                               duration_text(std::chrono::seconds(static_cast<std::int64_t>(*left))))
                                      : words);
  }
  if (const std::string relaying = party.is_null() ? "" : relay_text(member_of(self, "relay")); !relaying.empty())
    print_wrapped("relay      ", relaying);
  if (!page.empty()) print_wrapped("dashboard  ", page);
  for (const Json& warning : items_of(status, "warnings")) {
    // In one line: it holds a command to be copied.
    if (warning.if_string() != nullptr) std::printf("warning    %s\n", safe(*warning.if_string()).c_str());
  }
  for (const Json& notice : items_of(status, "notices")) {
    if (notice.if_string() != nullptr) print_wrapped("note       ", safe(*notice.if_string()));
  }
}

Result<void> show_status(Cli& cli, bool watch) {
  const InterruptWatch interrupts;
  std::string page;
  if (!cli.json && node_runs()) {
    if (const auto opened = call_node("POST", "/api/page")) page = text_of(*opened, "dashboard");
  }
  do {
    LR_ASSIGN(const Json status, call_node("GET", "/api/status"));
    if (cli.json) {
      print_json(status);
    } else {
      if (watch && ::isatty(1) == 1) std::printf("\x1b[H\x1b[2J");
      print_status(status, page);
      std::fflush(stdout);
    }
  } while (watch && !interrupts.wait(std::chrono::seconds(1)));
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

Result<void> show_relays(Cli& cli) {
  LR_ASSIGN(const Json answer, call_node("GET", "/api/relays"));
  if (cli.json) {
    print_json(answer);
    return {};
  }
  if (items_of(answer, "relays").empty())
    std::printf("No relay is known: outside of a party, or its server names none.\n");
  for (const Json& relay : items_of(answer, "relays")) {
    const auto rtt = number_of(relay, "rtt_ms");
    const auto health = number_of(relay, "health");
    const std::string region = text_of(relay, "region"), role = text_of(relay, "role");
    const std::string member = text_of(relay, "member");
    std::printf("%s%s  %s%s%s%s%s%s", text_of(relay, "id").c_str(),
                member.empty() ? "" : format("  of {}", safe(member)).c_str(),
                rtt ? format("{:.1f} ms", *rtt).c_str() : "does not answer",
                health ? format("  health {:.0f}", *health).c_str() : "", region.empty() ? "" : "  ",
                safe(region).c_str(), role.empty() ? "" : "  ", role.c_str());
    for (const Json& address : items_of(relay, "addresses"))
      if (address.if_string() != nullptr) std::printf("  %s", safe(*address.if_string()).c_str());
    std::printf("\n");
  }
  return {};
}

Result<void> ping(Cli& cli, const std::string& name, int count, double interval_s) {
  const InterruptWatch interrupts;
  std::vector<double> times;
  int sent = 0;
  Json last_path;
  const auto interval = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(interval_s));
  for (bool interrupted = false; sent < count && !interrupted;) {
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
    if (sent < count) interrupted = interrupts.wait(begun + interval - std::chrono::steady_clock::now());
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
    if (line.if_string() != nullptr) print_wrapped("", safe(*line.if_string()));
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

  CLI::App* relays = app.add_subcommand("relays", "The relays, and how far away each is");
  relays->callback([&cli] { cli.run = [&cli] { return show_relays(cli); }; });

  CLI::App* ping_command = app.add_subcommand("ping", "Measure the way to a player through the tunnel");
  ping_command->add_option("NICK", options->nick, "the player")->required();
  ping_command->add_option("-c", options->count, "how many")->capture_default_str()->check(CLI::Range(1, 1000000));
  ping_command->add_option("-i", options->interval, "seconds between two")
      ->capture_default_str()
      ->check([](const std::string& text) {
        double seconds = 0;
        const bool number = CLI::detail::lexical_cast(text, seconds);
        return number && seconds >= 0.01 && seconds <= 3600 ? "" : "\"" + text + "\" is not from 0.01 to 3600 seconds";
      });
  ping_command->callback([&cli, options] {
    cli.run = [&cli, options] { return ping(cli, options->nick, options->count, options->interval); };
  });

  CLI::App* netcheck_command =
      app.add_subcommand("netcheck", "What this network lets through, and what would make it better");
  netcheck_command->callback([&cli] { cli.run = [&cli] { return netcheck(cli); }; });
}

}  // namespace lanrage::cli
