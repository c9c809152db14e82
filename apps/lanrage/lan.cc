// lan: which games' broadcasts and multicasts travel, and what became of them.
#include <CLI/CLI.hpp>

#include <cstdio>

#include "cli.h"
#include "terminal.h"

namespace lanrage::cli {
namespace {

using wire::Json;

Result<void> show(Cli& cli) {
  LR_ASSIGN(const Json answer, call_node("GET", "/api/lan"));
  if (cli.json) {
    print_json(answer);
    return {};
  }
  for (const char* key : {"captured", "sent", "received", "delivered", "duplicates"}) {
    std::printf("%-10s %10.0f\n", key, number_of(answer, key).value_or(0));
  }
  if (const auto* dropped = member_of(answer, "dropped").if_object()) {
    for (const auto& [reason, count] : *dropped)
      std::printf("dropped    %10.0f  %s\n", count.if_number().value_or(0), reason.c_str());
  }
  for (const Json& group : items_of(answer, "groups")) {
    if (group.if_string() != nullptr) print_wrapped("group      ", safe(*group.if_string()));
  }
  for (const Json& rule : items_of(answer, "rules")) {
    if (rule.if_string() != nullptr) print_wrapped("rule       ", safe(*rule.if_string()));
  }
  for (const Json& program : items_of(answer, "programs")) {
    std::printf("program    %-20s to port %.0f: %.0f packets\n", safe(text_of(program, "program")).c_str(),
                number_of(program, "port").value_or(0), number_of(program, "packets").value_or(0));
  }
  return {};
}

}  // namespace

void add_lan(CLI::App& app, Cli& cli) {
  CLI::App* command =
      app.add_subcommand("lan", "LAN traffic of games: what left, what arrived, what was dropped and why");
  command->callback([&cli] { cli.run = [&cli] { return show(cli); }; });
}

}  // namespace lanrage::cli
