// `lanrage server`: a control server, address discovery and relay, until it is told to stop.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/log.h"
#include "control/server.h"

namespace lanrage::daemon {

struct ServerReady {
  std::string link;
  std::vector<Endpoint> listening;
};

// Serves until SIGTERM or SIGINT, and answers `server status` on `socket`. `on_ready` is called once, when the link
// works. Runs without privileges where its ports need none.
Result<void> run_server(const control::ServerOptions& options, const std::string& socket, const LogOptions& log_options,
                        const std::function<void(const ServerReady&)>& on_ready);

}  // namespace lanrage::daemon
