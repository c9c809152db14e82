// completion: a script for the shell, made from the table of subcommands itself.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/format.h"
#include "cli.h"

namespace lanrage::cli {
namespace {

std::string words_of(const CLI::App& command) {
  std::string out;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) out += "--" + name + " ";
  }
  return out;
}

Result<void> print_script(const CLI::App& app, const std::string& shell) {
  std::string commands;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    commands += command->get_name() + " ";
  if (shell == "fish") {
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
      std::printf("complete -c lanrage -n __fish_use_subcommand -f -a %s -d '%s'\n", command->get_name().c_str(),
                  command->get_description().c_str());
      for (const CLI::Option* option : command->get_options()) {
        for (const std::string& name : option->get_lnames()) {
          std::printf("complete -c lanrage -n '__fish_seen_subcommand_from %s' -l %s\n", command->get_name().c_str(),
                      name.c_str());
        }
      }
    }
    return {};
  }
  if (shell == "zsh") std::printf("autoload -U +X bashcompinit && bashcompinit\n");
  std::printf("_lanrage() {\n  local word=${COMP_WORDS[COMP_CWORD]}\n  case ${COMP_WORDS[1]} in\n");
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    std::printf("    %s) [ $COMP_CWORD -gt 1 ] && COMPREPLY=($(compgen -W '%s' -- \"$word\")) && return ;;\n",
                command->get_name().c_str(), words_of(*command).c_str());
  }
  std::printf(
      "  esac\n  [ $COMP_CWORD -eq 1 ] && COMPREPLY=($(compgen -W '%s' -- \"$word\"))\n}\ncomplete -F _lanrage "
      "lanrage\n",
      commands.c_str());
  return {};
}

}  // namespace

void add_completion(CLI::App& app, Cli& cli) {
  auto shell = std::make_shared<std::string>("bash");
  CLI::App* command = app.add_subcommand("completion", "Print a completion script: source <(lanrage completion bash)");
  command->add_option("SHELL", *shell, "bash, zsh or fish")
      ->capture_default_str()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([&cli, &app, shell] { cli.run = [&app, shell] { return print_script(app, *shell); }; });
}

}  // namespace lanrage::cli
