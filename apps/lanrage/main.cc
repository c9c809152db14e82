// The one program: a table of subcommands, each in a file of its own.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <filesystem>

#include "api/api.h"
#include "base/format.h"
#include "cli.h"
#include "daemon/process.h"
#include "wire/json.h"
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
    std::string what = error.what();
    const std::vector<std::string> extras = app.remaining(true);
    if (!extras.empty()) what = lanrage::format("\"{}\" is not expected here", extras.front());
    if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr)
      what = lanrage::format("{} takes one value", what.substr(0, what.find(':')));
    return Error{lanrage::Code::kInvalid, what, lanrage::format("`lanrage {} --help` shows how", chosen->get_name())};
  }
  const std::vector<std::string> unknown = app.remaining();
  if (!unknown.empty())
    return Error{lanrage::Code::kInvalid, lanrage::format("there is no command \"{}\"", unknown.front()),
                 "`lanrage --help` lists them"};
  return Error{lanrage::Code::kInvalid, "no command is given", "`lanrage --help` lists them"};
}

// What cannot be a JSON text cannot reach the node: better said here, in words.
bool is_text(std::string_view argument) {
  return lanrage::wire::Json::parse(lanrage::wire::Json::object({{"argument", argument}}).text()).has_value();
}

// A library throws where this process can have no more memory or threads.
Result<void> run(const cli::Cli& state) {
  try {
    return state.run();
  } catch (const std::exception& exception) {
    return Error{lanrage::Code::kFailed, lanrage::format("this machine gives too little: {}", exception.what()),
                 "raise the limits of memory and threads (`ulimit -a`)"};
  }
}

// Runs the command; on success its output must have arrived, too.
int finish(const cli::Cli& state) {
  Result<void> result = run(state);
  if (result && (std::fflush(stdout) != 0 || std::ferror(stdout) != 0))
    result = Error{lanrage::Code::kIo, "cannot write to standard output", "is the disk full?"};
  return result ? 0 : fail(state, result.error());
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
  return finish(state);
}

}  // namespace

int main(int argc, char** argv) {
  lanrage::daemon::open_standard_streams();
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
  cli::add_quality(app, state);
  cli::add_lan(app, state);
  cli::add_tasks(app, state);
  cli::add_rules(app, state);
  cli::add_up(app, state);
  cli::add_server(app, state);
  cli::add_relay(app, state);
  cli::add_settings_commands(app, state);
  cli::add_wireguard(app, state.run);
  cli::add_demo(app, state);
  cli::add_completion(app, state);
  for (const char* argument : state.arguments) {
    if (!is_text(argument))
      return fail(state, {lanrage::Code::kInvalid, "an argument is not UTF-8 text", "check the terminal's encoding"});
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version) {
    return app.exit(version);
  } catch (const CLI::ParseError& error) {
    return fail(state, usage_error(app, error));
  }
  return finish(state);
}
