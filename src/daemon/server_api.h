// What a server answers to its operator on this machine, on a Unix socket: GET /api/server for `lanrage server status`,
// GET and POST /api/relays for `lanrage server relays`.
#pragma once

#include <memory>
#include <string>

#include "api/api.h"
#include "control/server.h"

namespace lanrage::daemon {

// Serves until destroyed; `server` and `rng` outlive it. kConflict: the socket is served by another.
Result<std::unique_ptr<api::Api>> open_server_api(control::Server& server, const std::string& socket, Rng& rng,
                                                  const Logger& log);

}  // namespace lanrage::daemon
