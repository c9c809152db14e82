// What a server answers to its operator on this machine, on a Unix socket: GET /api/server for `lanrage server status`,
// GET and POST /api/relays for `lanrage server relays`, GET /metrics for Prometheus.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "api/api.h"
#include "control/server.h"

namespace lanrage::daemon {

// Serves until destroyed; `server` and `rng` outlive it. `port_mapping` says what the router of this server did, on
// another thread. kConflict: the socket is served by another.
Result<std::unique_ptr<api::Api>> open_server_api(control::Server& server, const std::string& socket,
                                                  std::function<wire::Json()> port_mapping, Rng& rng,
                                                  const Logger& log);

}  // namespace lanrage::daemon
