// allow, deny: what other members may reach on this machine.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

#include "cli.h"

namespace lanrage::cli {
namespace {

using wire::Json;

Result<void> change(Cli& cli, const char* action, const std::string& ports, bool remove) {
  Json answer;
  if (ports.empty()) {
    LR_ASSIGN(answer, call_node("GET", "/api/rules"));
  } else {
    LR_ASSIGN(answer, call_node("POST", "/api/rules",
                                Json::object({{"action", action}, {"ports", ports}, {"remove", remove}})));
  }
  if (cli.json) {
    print_json(answer);
    return {};
  }
  for (const Json& rule : items_of(answer, "rules")) {
    std::printf("%-5s  %s\n", text_of(rule, "action").c_str(), text_of(rule, "ports").c_str());
  }
  if (items_of(answer, "rules").empty()) std::printf("no rules of your own\n");
  std::printf("%s\n", text_of(answer, "default").c_str());
  return {};
}

}  // namespace

void add_rules(CLI::App& app, Cli& cli) {
  struct Options {
    std::string ports;
    bool remove = false;
  };
  for (const char* action : {"allow", "deny"}) {
    auto options = std::make_shared<Options>();
    const bool allow = std::string_view(action) == "allow";
    CLI::App* command = app.add_subcommand(action, allow ? "Let other members reach ports of this machine"
                                                         : "Close ports of this machine to other members");
    command->add_option("PORTS", options->ports,
                        "22, udp/27015, tcp/6000-6010 or all; without it the rules are listed");
    command->add_flag("--remove", options->remove, "take such a rule back");
    command->callback([&cli, options, action] {
      cli.run = [&cli, options, action] { return change(cli, action, options->ports, options->remove); };
    });
  }
}

}  // namespace lanrage::cli
