// `lanrage wireguard`: our data plane alone, as a stock WireGuard device.
#pragma once

#include <functional>

#include "base/result.h"

namespace CLI {
class App;
}

namespace lanrage::cli {

// Declares the subcommand on `app` (`name` "wireguard"), or on the program itself when it was called by its second name
// (`name` empty). When chosen it sets `run`.
void add_wireguard(CLI::App& app, std::function<Result<void>()>& run, bool second_name = false);

}  // namespace lanrage::cli
