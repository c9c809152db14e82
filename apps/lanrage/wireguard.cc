// lanrage wireguard IFNAME, and lanrage-wireguard IFNAME for wg-quick.
#include "wireguard.h"

#include <CLI/CLI.hpp>

#include <memory>
#include <string>

#include "base/log.h"
#include "config/folders.h"
#include "daemon/process.h"
#include "daemon/stop_signals.h"
#include "daemon/wireguard_device.h"

namespace lanrage::cli {
namespace {

struct Options {
  std::string interface;
  std::string log_level;
  bool foreground = false;
  bool offload = true;
};

// Opens the device, says so to whoever waits, and runs it. Everything that starts a thread is in here.
Result<void> serve(const Options& options, Log& log, daemon::Readiness& readiness) {
  LR_ASSIGN(const auto stop, daemon::StopSignals::take());
  daemon::WireguardOptions device_options;
  device_options.interface = options.interface;
  device_options.folder = config::environment("LANRAGE_DIR").value_or("");
  device_options.offload = options.offload;
  if (!device_options.folder.empty()) LR_TRY((config::Folders{device_options.folder, device_options.folder}.create()));
  LR_ASSIGN(const auto device, daemon::WireguardDevice::open(device_options, Logger(log, "lanrage")));
  daemon::permit_raised_priority();
  LR_TRY(daemon::keep_network_privileges());
  readiness.ready();
  device->run(stop.fd());
  return {};
}

Result<void> wireguard(const Options& options) {
  daemon::harden_process();
  LR_TRY(daemon::require_network_privileges());
  LogOptions log_options;
  LR_ASSIGN(log_options.levels, LogLevels::parse(options.log_level));
  daemon::Readiness readiness;
  if (!options.foreground) {
    LR_ASSIGN(const bool child, daemon::fork_into_background(readiness));
    if (!child) return {};
  }
  LR_ASSIGN(const auto log, Log::open(log_options));
  auto served = serve(options, *log, readiness);
  if (!served) readiness.failed(served.error());
  return served;
}

}  // namespace

void add_wireguard(CLI::App& app, std::function<Result<void>()>& run, bool second_name) {
  auto options = std::make_shared<Options>();
  options->log_level = config::environment("LANRAGE_LOG_LEVEL").value_or("info");
  CLI::App* command =
      second_name ? &app : app.add_subcommand("wireguard", "Be a stock WireGuard device, set up by wg and wg-quick");
  command->add_option("interface", options->interface, "its name, like wg0")->required();
  command->add_flag("-f,--foreground", options->foreground, "stay, and log to standard error");
  command->add_option("--log-level", options->log_level, "error, warn, info, debug; also LANRAGE_LOG_LEVEL");
  command->add_flag("!--no-offload", options->offload, "without segmentation offloads of adapter and sockets");
  command->callback([&run, options] { run = [options] { return wireguard(*options); }; });
}

}  // namespace lanrage::cli
