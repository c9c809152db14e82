// `lanrage relay`: a relay alone on a host, registered with a control server, until it is told to stop. By UDP, and by
// TLS on the same port and 443 where these are free.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/log.h"
#include "party/link.h"
#include "wire/control.h"

namespace lanrage::daemon {

struct RelayOptions {
  // Must exist; holds `relay.seed`, its identity, `relay.tls`, that of its TLS, and `relay.keys`, whose grants counted
  // last.
  std::string folder;
  party::ServerInfo server;
  std::vector<Endpoint> listen;  // UDP and TCP, all on the first one's port; empty: every address, party::kServerPort
  std::vector<Endpoint> public_addresses;  // what members are told; empty: of `listen`, or found on this machine
  std::string region;                      // wire::is_region
  bool offload = true;                     // forward in the kernel what it can
  bool port_mapping = true;                // behind a router, and without addresses given: ask it for ports
};

struct RelayReady {
  crypto::PublicKey key;
  std::vector<Endpoint> addresses;  // as members are told
  bool streams = false;             // TLS works, too
};

// Relays until SIGTERM or SIGINT, whether the control server can be reached or not; before its first word of whose
// grants count, and after its refusal, it takes nobody. `on_ready` is called once, when it listens and a
// router opened its ports or did not, two seconds later at most. kConflict: the port or the folder is in use.
Result<void> run_relay(const RelayOptions& options, const LogOptions& log_options,
                       const std::function<void(const RelayReady&)>& on_ready);

}  // namespace lanrage::daemon
