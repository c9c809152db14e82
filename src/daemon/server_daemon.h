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
  std::string mapped_link{};  // for players elsewhere, where the router leads a port here; may be empty
};

// Starts all of it, tells `on_ready` and ends: whether it could serve. Writes no server.link.
Result<void> check_server(control::ServerOptions options, const LogOptions& log_options,
                          const std::function<void(const ServerReady&)>& on_ready);

// Serves until SIGTERM or SIGINT, and then until nobody uses its relay, 2.5 s at most or until the next signal; answers
// `server status` on `socket`. `on_ready` is called once, when the link works; with `port_mapping`, behind a router and
// without public addresses given, once that opened ports or did not, two seconds later at most. Runs without privileges
// where its ports need none.
Result<void> run_server(const control::ServerOptions& options, const std::string& socket, bool port_mapping,
                        const LogOptions& log_options, const std::function<void(const ServerReady&)>& on_ready);

}  // namespace lanrage::daemon
