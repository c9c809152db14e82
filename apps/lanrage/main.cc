// The one program: a table of subcommands, each in a file of its own.
#include <CLI/CLI.hpp>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>

#include "base/result.h"
#include "wireguard.h"

namespace {

using lanrage::Error;
using lanrage::Result;

// One line that says what to do next.
int fail(const Error& error) {
  std::fprintf(stderr, "lanrage: %s%s%s\n", error.message.c_str(), error.hint.empty() ? "" : ": ", error.hint.c_str());
  return lanrage::exit_code(error.code);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("LANrage: if it runs on LAN, it runs on LANrage", "lanrage");
  app.set_version_flag("--version", "lanrage " LANRAGE_VERSION);
  std::function<Result<void>()> run;
  const bool is_wireguard = argc > 0 && std::filesystem::path(argv[0]).filename() == "lanrage-wireguard";
  if (is_wireguard) {
    lanrage::cli::add_wireguard(app, run, true);
  } else {
    app.require_subcommand(1);
    lanrage::cli::add_wireguard(app, run);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    constexpr int kUsage = 2;
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  const Result<void> result = run();
  return result ? 0 : fail(result.error());
}
