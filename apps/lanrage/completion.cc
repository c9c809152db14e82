// completion: a script for the shell, made from the table of subcommands itself.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "cli.h"

namespace lanrage::cli {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// What may follow it: its own subcommands and its flags.
std::string words_of(const CLI::App& command) {
  std::string out;
  for (const CLI::App* sub : commands_of(command)) out += (out.empty() ? "" : " ") + sub->get_name();
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) out += (out.empty() ? "--" : " --") + name;
  }
  return out;
}

// In single quotes, for any of the shells.
std::string in_quotes(const std::string& text) {
  std::string out = "'";
  for (char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

void print_bash(const CLI::App& app) {
  std::string names;
  std::printf("_lanrage() {\n  local word=${COMP_WORDS[COMP_CWORD]}\n  if [ $COMP_CWORD -gt 1 ]; then\n");
  std::printf("    case ${COMP_WORDS[1]} in\n");
  for (const CLI::App* command : commands_of(app)) {
    names += command->get_name() + " ";
    std::printf("      %s) COMPREPLY=($(compgen -W %s -- \"$word\")) ;;\n", command->get_name().c_str(),
                in_quotes(words_of(*command)).c_str());
  }
  std::printf("    esac\n  else\n    COMPREPLY=($(compgen -W %s -- \"$word\"))\n  fi\n}\n", in_quotes(names).c_str());
  std::printf("complete -F _lanrage lanrage\n");
}

// A file of a folder in fpath, which is the body of _lanrage, or sourced.
void print_zsh(const CLI::App& app) {
  std::printf("#compdef lanrage\n_lanrage() {\n  local -a commands=(\n");
  for (const CLI::App* command : commands_of(app))
    std::printf("    %s\n", in_quotes(command->get_name() + ":" + command->get_description()).c_str());
  std::printf("  )\n  if (( CURRENT == 2 )); then\n    _describe command commands\n    return\n  fi\n");
  std::printf("  case $words[2] in\n");
  for (const CLI::App* command : commands_of(app))
    std::printf("    %s) compadd -- %s ;;\n", command->get_name().c_str(), words_of(*command).c_str());
  std::printf(
      "  esac\n}\nif [[ $funcstack[1] == _lanrage ]]; then _lanrage \"$@\"; else compdef _lanrage lanrage; fi\n");
}

void print_fish(const CLI::App& app) {
  for (const CLI::App* command : commands_of(app)) {
    const char* name = command->get_name().c_str();
    std::printf("complete -c lanrage -n __fish_use_subcommand -f -a %s -d %s\n", name,
                in_quotes(command->get_description()).c_str());
    for (const CLI::App* sub : commands_of(*command))
      std::printf("complete -c lanrage -n '__fish_seen_subcommand_from %s' -f -a %s -d %s\n", name,
                  sub->get_name().c_str(), in_quotes(sub->get_description()).c_str());
    for (const CLI::Option* option : command->get_options()) {
      for (const std::string& flag : option->get_lnames())
        std::printf("complete -c lanrage -n '__fish_seen_subcommand_from %s' -l %s\n", name, flag.c_str());
    }
  }
}

Result<void> print_script(const CLI::App& app, const std::string& shell) {
  if (shell == "bash") print_bash(app);
  if (shell == "zsh") print_zsh(app);
  if (shell == "fish") print_fish(app);
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
