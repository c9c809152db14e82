#include "daemon/server_daemon.h"

#include <algorithm>
#include <mutex>

#include "control/this_host.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "daemon/process.h"
#include "daemon/router_ports.h"
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

namespace {

enum Tag : std::uint64_t { kStop = 1, kNetlink };
constexpr Duration kMappingWait = std::chrono::seconds(2);

// The ports that the router of a server at home leads to it. One thread, but for `status`.
class HomeRouter {
 public:
  static Result<std::unique_ptr<HomeRouter>> open(control::Server& server, ByteView secret, net::Poller& poller,
                                                  Rng& rng, const Logger& log) {
    LR_ASSIGN(auto netlink, net::Netlink::open());
    LR_ASSIGN(auto watch, net::NetlinkWatch::open());
    LR_TRY(poller.add(watch.fd(), kNetlink));
    LR_ASSIGN(auto ports, RouterPorts::create(poller, secret, rng, log));
    return std::unique_ptr<HomeRouter>(
        new HomeRouter(server, std::move(netlink), std::move(watch), std::move(ports), log));
  }

  // What the router did; null: none was asked, or it is being asked. Any thread.
  wire::Json status() const {
    const std::lock_guard lock(mutex_);
    if (!outcome_ || outcome_->wanted.ports.empty()) return nullptr;
    return router_json(*outcome_, outcome_->wanted.ports.front(), net::now().time, {});
  }
  // Of the newest mapping; empty: there is none.
  std::string link() const {
    const auto outside = outcome_ ? mapped_server(server_, *outcome_).tcp : std::nullopt;
    if (!outside) return "";
    return party::ServerLink{party::ServerAddress::of(*outside), server_.info().key}.text();
  }
  bool is_known() const { return outcome_.has_value(); }

  void look(Time now) {
    const auto router = find_router(netlink_);
    if (router == router_ && outcome_) return;
    if (router) {
      ports_->want(now, *router, server_ports(server_));
    } else if (router_) {
      ports_->want(now, *router_, {});
    }
    router_ = router;
    if (!router) set({});
  }
  void handle_ready(Time now, const net::Ready& ready) {
    if (ready.tag == kNetlink) {
      if (watch_.take_changes()) look(now);
      return;
    }
    ports_->handle_ready(now, ready);
    take();
  }
  void handle_timeout(Time now) {
    ports_->handle_timeout(now);
    take();
  }
  Time next_timeout() const { return ports_->next_timeout().value_or(kNever); }

 private:
  HomeRouter(control::Server& server, net::Netlink netlink, net::NetlinkWatch watch, std::unique_ptr<RouterPorts> ports,
             const Logger& log)
      : server_(server), netlink_(std::move(netlink)), watch_(std::move(watch)), ports_(std::move(ports)), log_(log) {}

  void take() {
    while (auto outcome = ports_->poll_event()) {
      log_.info("ports of the router", {{"mapped", outcome->mappings.size()},
                                        {"by", outcome->by ? paths::port_method_name(*outcome->by) : ""},
                                        {"took_ms", milliseconds(outcome->took)},
                                        {"problem", outcome->problem}});
      set(std::move(*outcome));
    }
  }
  void set(paths::PortMapper::Outcome outcome) {
    {
      const std::lock_guard lock(mutex_);
      outcome_ = std::move(outcome);
    }
    server_.set_mapped(mapped_server(server_, *outcome_));
  }

  control::Server& server_;
  net::Netlink netlink_;
  net::NetlinkWatch watch_;
  std::unique_ptr<RouterPorts> ports_;
  const Logger log_;
  std::optional<RouterFound> router_;
  mutable std::mutex mutex_;  // for writing `outcome_`, and for reading it on other threads
  std::optional<paths::PortMapper::Outcome> outcome_;
};

}  // namespace

Result<void> run_server(const control::ServerOptions& options, const std::string& socket, bool port_mapping,
                        const LogOptions& log_options, const std::function<void(const ServerReady&)>& on_ready) {
  harden_process();
  LR_ASSIGN(const auto log, Log::open(log_options));
  const Logger logger(*log, "server");
  LR_ASSIGN(const FolderLock lock, FolderLock::take(options.folder));
  LR_TRY(keep_network_privileges());
  LR_TRY(raise_descriptor_limit());
  LR_ASSIGN(const auto stop, StopSignals::take());
  LR_ASSIGN(const auto server, control::Server::start(options, logger));
  crypto::SystemRng rng;
  LR_ASSIGN(auto poller, net::Poller::create());
  LR_TRY(poller.add(stop.fd(), kStop));
  std::unique_ptr<HomeRouter> router;
  if (port_mapping && options.public_addresses.empty()) {
    LR_ASSIGN(const party::Identity identity, control::load_seed(options.folder + "/server.seed", rng));
    const Bytes secret =
        crypto::hkdf_sha256(identity.seed().bytes(), {}, as_bytes("lanrage server v1 router ports"), 32);
    LR_ASSIGN(router, HomeRouter::open(*server, secret, poller, rng, logger));
    router->look(net::now().time);
  }
  LR_ASSIGN(const auto api,
            open_server_api(
                *server, socket, [&router] { return router ? router->status() : wire::Json(); }, rng, logger));
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
  while (router && !router->is_known() && net::now().time < until)
    if (!wait(until)) return {};
  on_ready({server->link(), server->listening(), router ? router->link() : ""});
  while (wait(kNever)) {
  }
  logger.info("the server stops");
  return {};
}

}  // namespace lanrage::daemon
