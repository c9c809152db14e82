// The one program: a table of subcommands, each in a file of its own.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <filesystem>

#include "api/api.h"
#include "base/format.h"
#include "cli.h"
#include "wireguard.h"

namespace {

using lanrage::Error;
using lanrage::Result;
namespace cli = lanrage::cli;

// One line that says what to do next.
int fail(const cli::Cli& state, const Error& error) {
  if (state.json) {
    std::fprintf(stderr, "%s\n", lanrage::api::error_json(error).text().c_str());
  } else {
    std::fprintf(stderr, "lanrage: %s%s%s\n", cli::safe(error.message).c_str(), error.hint.empty() ? "" : ": ",
                 cli::safe(error.hint).c_str());
  }
  return lanrage::exit_code(error.code);
}

// In our words: what was wrong with the command that was typed, and where it is described.
Error usage_error(const CLI::App& app, const CLI::ParseError& error) {
  for (const CLI::App* chosen : app.get_subcommands()) {
    return Error{lanrage::Code::kInvalid, error.what(),
                 lanrage::format("`lanrage {} --help` shows how", chosen->get_name())};
  }
  const std::vector<std::string> unknown = app.remaining();
  if (!unknown.empty())
    return Error{lanrage::Code::kInvalid, lanrage::format("there is no command \"{}\"", unknown.front()),
                 "`lanrage --help` lists them"};
  return Error{lanrage::Code::kInvalid, "no command is given", "`lanrage --help` lists them"};
}

int run_wireguard(int argc, char** argv, cli::Cli& state) {
  CLI::App app("LANrage's data plane as a stock WireGuard device", "lanrage-wireguard");
  cli::add_wireguard(app, state.run, true);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    constexpr int kUsage = 2;
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  const Result<void> result = state.run();
  return result ? 0 : fail(state, result.error());
}

}  // namespace

int main(int argc, char** argv) {
  cli::Cli state;
  state.arguments.assign(argv, argv + argc);
  if (argc > 0 && std::filesystem::path(argv[0]).filename() == "lanrage-wireguard")
    return run_wireguard(argc, argv, state);

  CLI::App app("LANrage: if it runs on LAN, it runs on LANrage", "lanrage");
  app.set_version_flag("--version", "lanrage " LANRAGE_VERSION);
  app.add_flag("--json", state.json, "one JSON object on standard output; errors as JSON on standard error");
  app.fallthrough();  // --json may stand after the subcommand
  app.require_subcommand(1);
  cli::add_party(app, state);
  cli::add_status(app, state);
  cli::add_lan(app, state);
  cli::add_rules(app, state);
  cli::add_up(app, state);
  cli::add_server(app, state);
  cli::add_settings_commands(app, state);
  cli::add_wireguard(app, state.run);
  cli::add_demo(app, state);
  cli::add_completion(app, state);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    return fail(state, usage_error(app, error));
  }
  const Result<void> result = state.run();
  return result ? 0 : fail(state, result.error());
}
