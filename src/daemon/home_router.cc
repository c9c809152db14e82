#include "daemon/home_router.h"

#include "net/clock.h"

namespace lanrage::daemon {

Result<std::unique_ptr<HomeRouter>> HomeRouter::open(std::vector<paths::PortToMap> ports, ByteView secret,
                                                     net::Poller& poller, Rng& rng, const Logger& log,
                                                     std::function<void(const Outcome&)> on_outcome) {
  LR_ASSIGN(auto netlink, net::Netlink::open());
  LR_ASSIGN(auto watch, net::NetlinkWatch::open());
  LR_TRY(poller.add(watch.fd(), kHomeRouterTag));
  LR_ASSIGN(auto asking, RouterPorts::create(poller, secret, rng, log));
  return std::unique_ptr<HomeRouter>(new HomeRouter(std::move(ports), std::move(netlink), std::move(watch),
                                                    std::move(asking), log, std::move(on_outcome)));
}

HomeRouter::HomeRouter(std::vector<paths::PortToMap> wanted, net::Netlink netlink, net::NetlinkWatch watch,
                       std::unique_ptr<RouterPorts> ports, const Logger& log,
                       std::function<void(const Outcome&)> on_outcome)
    : wanted_(std::move(wanted)),
      netlink_(std::move(netlink)),
      watch_(std::move(watch)),
      ports_(std::move(ports)),
      log_(log),
      on_outcome_(std::move(on_outcome)) {}

wire::Json HomeRouter::status() const {
  const std::lock_guard lock(mutex_);
  if (!outcome_ || outcome_->wanted.ports.empty()) return nullptr;
  return router_json(*outcome_, outcome_->wanted.ports.front(), net::now().time, {});
}

void HomeRouter::look(Time now) {
  const auto router = find_router(netlink_);
  if (router == router_ && outcome_) return;
  if (router) {
    ports_->want(now, *router, wanted_);
  } else if (router_) {
    ports_->want(now, *router_, {});
  }
  router_ = router;
  if (!router) set({});
}

void HomeRouter::handle_ready(Time now, const net::Ready& ready) {
  if (ready.tag == kHomeRouterTag) {
    if (watch_.take_changes()) look(now);
    return;
  }
  ports_->handle_ready(now, ready);
  take();
}

void HomeRouter::handle_timeout(Time now) {
  ports_->handle_timeout(now);
  take();
}

void HomeRouter::take() {
  while (auto outcome = ports_->poll_event()) {
    log_.info("ports of the router", {{"mapped", outcome->mappings.size()},
                                      {"by", outcome->by ? paths::port_method_name(*outcome->by) : ""},
                                      {"took_ms", milliseconds(outcome->took)},
                                      {"problem", outcome->problem}});
    set(std::move(*outcome));
  }
}

void HomeRouter::set(Outcome outcome) {
  {
    const std::lock_guard lock(mutex_);
    outcome_ = std::move(outcome);
  }
  on_outcome_(*outcome_);
}

}  // namespace lanrage::daemon
