#include "daemon/server_daemon.h"

#include "control/this_host.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "daemon/home_router.h"
#include "daemon/process.h"
#include "daemon/server_api.h"
#include "daemon/stop_signals.h"
#include "net/clock.h"
#include "net/poller.h"

namespace lanrage::daemon {

Result<void> check_server(control::ServerOptions options, const LogOptions& log_options,
                          const std::function<void(const ServerReady&)>& on_ready) {
  harden_process();
  LR_ASSIGN(const auto log, Log::open(log_options));
  LR_ASSIGN(const FolderLock lock, FolderLock::take(options.folder));
  LR_ASSIGN(const auto server, control::Server::start(options, Logger(*log, "server")));
  on_ready({server->link(), server->listening()});
  return {};
}

namespace {

constexpr std::uint64_t kStop = 1;
constexpr Duration kDrainLook = std::chrono::milliseconds(50);
// Who has another relay has moved by then, and has left this one (paths::kRelayLinger).
constexpr Duration kDrainMost = std::chrono::milliseconds(2500);

// Of the newest mapping; empty: there is none.
std::string mapped_link(const control::Server& server, const HomeRouter* router) {
  if (router == nullptr || !router->outcome()) return "";
  const auto outside = mapped_server(server, *router->outcome()).tcp;
  if (!outside) return "";
  return party::ServerLink{party::ServerAddress::of(*outside), server.info().key}.text();
}

}  // namespace

Result<void> run_server(const control::ServerOptions& options, const std::string& socket, bool port_mapping,
                        const LogOptions& log_options, const std::function<void(const ServerReady&)>& on_ready) {
  harden_process();
  LR_ASSIGN(const auto log, Log::open(log_options));
  const Logger logger(*log, "server");
  LR_ASSIGN(const FolderLock lock, FolderLock::take(options.folder));
  LR_TRY(keep_network_privileges());
  LR_TRY(raise_descriptor_limit());
  LR_ASSIGN(auto stop, StopSignals::take());
  LR_ASSIGN(const auto server, control::Server::start(options, logger));
  crypto::SystemRng rng;
  LR_ASSIGN(auto poller, net::Poller::create());
  LR_TRY(poller.add(stop.fd(), kStop));
  std::unique_ptr<HomeRouter> router;
  if (port_mapping && options.public_addresses.empty()) {
    LR_ASSIGN(const party::Identity identity, control::load_seed(options.folder + "/server.seed", rng));
    const Bytes secret =
        crypto::hkdf_sha256(identity.seed().bytes(), {}, as_bytes("lanrage server v1 router ports"), 32);
    const auto on_outcome = [&server](const HomeRouter::Outcome& outcome) {
      server->set_mapped(mapped_server(*server, outcome));
    };
    LR_ASSIGN(router, HomeRouter::open(server_ports(*server), secret, poller, rng, logger, on_outcome));
    router->look(net::now().time);
  }
  LR_ASSIGN(const auto api,
            open_server_api(
                *server, socket, [&router] { return router ? router->status() : wire::Json(); }, rng, logger));
  LR_TRY(server->write_link());
  const auto wait = [&](Time until) {
    const Time due = router ? std::min(until, router->next_timeout()) : until;
    for (const net::Ready& ready : poller.wait(net::now().time, due)) {
      if (ready.tag == kStop) return false;
      if (router) router->handle_ready(net::now().time, ready);
    }
    if (router) router->handle_timeout(net::now().time);
    return true;
  };
  const Time until = net::now().time + kMappingWait;
  while (router && !router->outcome() && net::now().time < until)
    if (!wait(until)) return {};
  on_ready({server->link(), server->listening(), mapped_link(*server, router.get())});
  while (wait(kNever)) {
  }
  logger.info("the server stops: players of its relay are told to use another");
  stop.read();
  server->drain();
  const Time latest = net::now().time + kDrainMost;
  for (Time now = net::now().time; !server->is_drained() && now < latest; now = net::now().time)
    if (!wait(now + kDrainLook)) break;
  return {};
}

}  // namespace lanrage::daemon
