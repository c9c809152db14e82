#include "daemon/server_daemon.h"

#include "crypto/random.h"
#include "daemon/process.h"
#include "daemon/server_api.h"
#include "daemon/stop_signals.h"
#include "net/clock.h"
#include "net/poller.h"

namespace lanrage::daemon {

Result<void> check_server(control::ServerOptions options, const LogOptions& log_options,
                          const std::function<void(const ServerReady&)>& on_ready) {
  options.write_link = false;
  harden_process();
  LR_ASSIGN(const auto log, Log::open(log_options));
  LR_ASSIGN(const FolderLock lock, FolderLock::take(options.folder));
  LR_ASSIGN(const auto server, control::Server::start(options, Logger(*log, "server")));
  on_ready({server->link(), server->listening()});
  return {};
}

Result<void> run_server(const control::ServerOptions& options, const std::string& socket, const LogOptions& log_options,
                        const std::function<void(const ServerReady&)>& on_ready) {
  harden_process();
  LR_ASSIGN(const auto log, Log::open(log_options));
  const Logger logger(*log, "server");
  LR_ASSIGN(const FolderLock lock, FolderLock::take(options.folder));
  LR_TRY(keep_network_privileges());
  LR_TRY(raise_descriptor_limit());
  LR_ASSIGN(const auto stop, StopSignals::take());
  LR_ASSIGN(const auto server, control::Server::start(options, logger));
  crypto::SystemRng rng;
  LR_ASSIGN(const auto api, open_server_api(*server, socket, rng, logger));
  on_ready({server->link(), server->listening()});
  LR_ASSIGN(auto poller, net::Poller::create());
  LR_TRY(poller.add(stop.fd(), 1));
  while (poller.wait(net::now().time, kNever).empty()) {
  }
  logger.info("the server stops");
  return {};
}

}  // namespace lanrage::daemon
