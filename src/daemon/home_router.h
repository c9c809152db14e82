// The ports that the router of a server or a relay at home leads to it: asked for, kept, given back at the end.
//
// Its owner watches the poller's tag kHomeRouterTag and RouterPorts' own, passes on what is ready and what is due. One
// thread, but for `status`.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "daemon/router_ports.h"

namespace lanrage::daemon {

inline constexpr std::uint64_t kHomeRouterTag = kRouterPortsTag + 10;
inline constexpr Duration kMappingWait = std::chrono::seconds(2);  // before who waits is told without the router's word

class HomeRouter {
 public:
  using Outcome = paths::PortMapper::Outcome;
  // `secret`: see paths::PortMapper. `on_outcome` is called from inside the calls below. The poller must outlive this.
  static Result<std::unique_ptr<HomeRouter>> open(std::vector<paths::PortToMap> ports, ByteView secret,
                                                  net::Poller& poller, Rng& rng, const Logger& log,
                                                  std::function<void(const Outcome&)> on_outcome);

  // What the router did about the first port; null: none was asked, or it is being asked. Any thread.
  wire::Json status() const;
  const std::optional<Outcome>& outcome() const { return outcome_; }

  void look(Time now);                                   // at the way out, once; from then on by itself
  void handle_ready(Time now, const net::Ready& ready);  // any tag; others' are left alone
  void handle_timeout(Time now);
  Time next_timeout() const { return ports_->next_timeout().value_or(kNever); }

 private:
  HomeRouter(std::vector<paths::PortToMap> wanted, net::Netlink netlink, net::NetlinkWatch watch,
             std::unique_ptr<RouterPorts> ports, const Logger& log, std::function<void(const Outcome&)> on_outcome);
  void take();
  void set(Outcome outcome);

  const std::vector<paths::PortToMap> wanted_;
  net::Netlink netlink_;
  net::NetlinkWatch watch_;
  std::unique_ptr<RouterPorts> ports_;
  const Logger log_;
  const std::function<void(const Outcome&)> on_outcome_;
  std::optional<RouterFound> router_;
  mutable std::mutex mutex_;  // for writing `outcome_`, and for reading it on other threads
  std::optional<Outcome> outcome_;
};

}  // namespace lanrage::daemon
