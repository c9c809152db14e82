// quality: how good the way to each player is, and was.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/format.h"
#include "cli.h"

namespace lanrage::cli {
namespace {

using wire::Json;

std::string column(const Json& object, std::string_view key, int decimals) {
  const auto number = number_of(object, key);
  return number ? format("{:.{}f}", *number, decimals) : "-";
}

std::string bandwidth_column(const Json& span) {
  const std::string number = column(span, "bandwidth_mbps", 1);
  return text_of(span, "bandwidth_is") == "at_least" ? ">" + number : number;
}

void print_row(const std::string& when, const Json& span, const char* rtt) {
  std::printf("  %-17s %8s %8s %7s %8s %9s %6s %2s\n", when.c_str(), column(span, rtt, 1).c_str(),
              column(span, "jitter_ms", 1).c_str(), column(span, "loss_percent", 1).c_str(),
              bandwidth_column(span).c_str(), column(span, "stability_percent", 1).c_str(),
              column(span, "score", 0).c_str(), text_of(span, "grade").c_str());
}

void print_peer(const Json& peer, std::size_t hours_shown) {
  std::printf("%s\n", safe(text_of(peer, "name")).c_str());
  std::printf("  %-17s %8s %8s %7s %8s %9s %6s\n", "", "ms", "jitter", "loss %", "Mbit/s", "answered", "score");
  print_row("now", member_of(peer, "quality"), "rtt_ema_ms");
  print_row("last 5 minutes", member_of(peer, "five_minutes"), "rtt_ms");
  const auto& hours = items_of(peer, "hours");
  for (std::size_t i = hours.size() - std::min(hours_shown, hours.size()); i < hours.size(); ++i)
    print_row(text_of(hours[i], "hour").substr(0, 16) + "Z", hours[i], "rtt_ms");
}

Result<void> show_quality(Cli& cli, const std::string& name) {
  LR_ASSIGN(Json answer, call_node("GET", "/api/quality"));
  Json peers = Json::array();
  for (const Json& peer : items_of(answer, "peers"))
    if (name.empty() || text_of(peer, "name") == name) peers.push(peer);
  if (!name.empty() && peers.if_array()->empty())
    return Error{Code::kNotFound, format("no other player is called {}", safe(name)), "`lanrage peers` lists them"};
  if (cli.json) {
    print_json(answer.set("peers", peers));
    return {};
  }
  if (peers.if_array()->empty()) std::printf("Nobody else is here yet.\n");
  constexpr std::size_t kFewHours = 3, kAllHours = 7 * 24;
  for (const Json& peer : *peers.if_array()) print_peer(peer, name.empty() ? kFewHours : kAllHours);
  return {};
}

}  // namespace

void add_quality(CLI::App& app, Cli& cli) {
  auto name = std::make_shared<std::string>();
  CLI::App* quality = app.add_subcommand("quality", "How good the way to each player is, and was in the last days");
  quality->add_option("NICK", *name, "one player, with every hour of the last seven days");
  quality->callback([&cli, name] { cli.run = [&cli, name] { return show_quality(cli, *name); }; });
}

}  // namespace lanrage::cli
