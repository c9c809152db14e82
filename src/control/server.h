// A control server as a whole: HTTPS and WebSocket over Service, its store, and STUN and the relay on the same port.
//
// Three threads of its own (HTTPS, service, UDP) and the store's. What it is stays in its folder: `server.key` (TLS,
// the key in every link), `server.seed` (sessions, grants and the relay's identity), `server.db`, `server.relays`
// (which other relays it trusts, and where they are), and `server.link`, which is there only while it serves. Servers
// that share a store are one to their players, and have the same `server.key` and `server.seed`; each has a
// `server.relay`, its relay's own identity. It does not parse arguments, drop privileges or wait: whoever constructs it
// does.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "control/service.h"
#include "control/udp_service.h"
#include "net/http.h"
#include "party/link.h"
#include "store/store.h"

namespace lanrage::control {

struct ServerOptions {
  std::string folder;  // must exist
  // TCP; empty: all addresses of both families at party::kServerPort, and at party::kHttpsPort where it may
  std::vector<Endpoint> listen;
  // What links, invites and the relay directory name. Empty: the addresses that this machine reaches others from.
  std::vector<party::ServerAddress> public_addresses;
  bool relay = true;  // STUN is answered in any case
  std::string store;  // postgres://..., which servers may share; empty: SQLite in the folder
  // nats://..., how servers that share a store hear of each other; empty, and while NATS is away: by the store's
  // database
  std::string bus;
  Duration write_window = store::kCommitWindow;
  bool offload = true;  // of the relay, into the kernel
  std::string region;
  net::HttpLimits limits = default_limits();

  static net::HttpLimits default_limits();
};

class Server {
 public:
  static constexpr std::size_t kRequestsUnderWayMax = 4096;

  // Serves once it returns. kConflict: a port is in use; kIo, kInvalid: the folder's files.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, const Logger& log);
  // Answers what is under way (about a second at most), then stops. Everything acknowledged is on disk.
  virtual ~Server() = default;

  virtual const party::ServerInfo& info() const = 0;  // key and public addresses
  // Further public addresses, of ports that a router leads here: they come last in info() and in the relay directory,
  // and replace those of the call before. Looks at this machine's own addresses anew, where none were given, so call it
  // when they changed, too. On the thread that calls info().
  struct Mapped {
    std::optional<Endpoint> tcp{}, udp{};
    std::optional<Endpoint> second_udp{};  // of second_udp_port()
  };
  virtual void set_mapped(const Mapped& mapped) = 0;
  virtual std::string link() const = 0;  // https://HOST:PORT#KEY by the first public address; any thread
  // Puts it into server.link, which says that everything is open and goes with this object.
  virtual Result<void> write_link() = 0;
  virtual const std::vector<Endpoint>& listening() const = 0;
  virtual std::uint16_t second_udp_port() const = 0;  // of address discovery; 0: none

  struct Stats {
    net::HttpServer::Stats http;
    Service::Stats service;
    UdpService::Stats udp;
    std::optional<wire::ReportRelay> report;  // of its own relay, a few seconds old
    store::StoreSize store;
    store::StoreStats writing;
    const char* store_kind = "";
    const char* bus_kind = nullptr;  // none: the store is not shared
    std::string bus_problem;
  };
  virtual bool relays() const = 0;
  // Other relays, and what the operator says about them (Service). These wait for the service's thread, too.
  virtual std::vector<RelayDirectory::Relay> relay_directory() const = 0;
  virtual Result<void> allow_relay(const crypto::PublicKey& key) = 0;
  virtual Result<void> remove_relay(const crypto::PublicKey& key) = 0;
  // Its relay is to stop, as UdpService::drain has it; without one there is nothing to wait for.
  virtual void drain() = 0;
  virtual bool is_drained() const = 0;
  virtual Stats stats() const = 0;  // waits for the service's thread; any other thread
};

}  // namespace lanrage::control
