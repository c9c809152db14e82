// The network this machine stands in: its addresses, what STUN and the router say of them, who else is on its LAN.
#include <algorithm>
#include <utility>

#include "node/node.h"

namespace lanrage::node {

void Node::handle_interfaces(Now now, const std::vector<paths::InterfaceAddress>& addresses, std::uint16_t port,
                             bool rerouted) {
  // A party's adapter that comes or goes changes no way to anybody.
  const auto outside = [](const std::vector<paths::InterfaceAddress>& all) {
    std::vector<IpPrefix> out;
    for (const auto& [prefix, is_ours] : all)
      if (!is_ours) out.push_back(prefix);
    return out;
  };
  const bool changed = rerouted || port != port_ || outside(interfaces_) != outside(addresses);
  interfaces_ = addresses;
  port_ = port;
  std::vector<IpAddress> own;
  for (const auto& address : interfaces_) own.push_back(address.prefix.address);
  stun_.set_local(own, port_);
  if (!changed) return;
  use_lifetime(now, {});
  stun_.restart(now.time);
  if (!stun_endpoints_.empty()) discovering_since_ = Begun{now.time};
  relays_.restart(now.time);
  refresh_candidates(now);
  discover(now);
  begin_search(now);
  pump(now);
}

void Node::discover(Now) {
  if (stun_endpoints_.empty()) return;
  discovering_ = true;
  event(OpenDiscovery{});
}

void Node::handle_discovery_sockets(Now now, std::uint16_t first_port, std::uint16_t second_port) {
  discovering_ = first_port != 0 && !stun_endpoints_.empty();
  lifetime_meter_.stop();
  measuring_lifetime_ = false;
  if (!discovering_) return event(CloseDiscovery{});
  paths::NatDiscovery::Local local{{}, first_port, second_port};
  for (const auto& address : interfaces_)
    if (!address.is_ours) local.addresses.push_back(address.prefix.address);
  std::vector<Endpoint> servers = stun_endpoints_;
  for (const Endpoint& relay : second_opinions(local.addresses)) servers.push_back(relay);
  discovery_.start(now.time, servers, std::move(local));
  pump(now);
}

// Relays on other hosts, by which a mapping that depends on the address asked shows where the server has but one. Those
// that do not see us from outside would only cast doubt on what others see.
std::vector<Endpoint> Node::second_opinions(const std::vector<IpAddress>& own) const {
  std::vector<Endpoint> out;
  for (const wire::RelayInfo& info : named_relays_) {
    for (const Endpoint& endpoint : info.addresses) {
      const auto is_at = [&](const Endpoint& server) { return server.address == endpoint.address; };
      if (std::any_of(stun_endpoints_.begin(), stun_endpoints_.end(), is_at)) continue;
      if (std::find(own.begin(), own.end(), endpoint.address) != own.end()) continue;
      if (!endpoint.address.is_private() && !endpoint.address.is_loopback()) out.push_back(endpoint);
    }
  }
  return out;
}

void Node::handle_discovery_packet(Now now, paths::NatDiscovery::Socket socket, const Endpoint& source,
                                   ByteView datagram) {
  discovery_.handle_packet(now.time, socket, source, datagram);
  lifetime_meter_.handle_packet(now.time, socket, source, datagram);
  pump(now);
}

void Node::handle_discovery_expired(Now now, const IpAddress& from, const Endpoint& destination) {
  discovery_.handle_expired(now.time, from, destination);
  pump(now);
}

std::optional<paths::NatDiscovery::Transmit> Node::poll_discovery() {
  auto out = discovery_.poll_transmit();
  return out ? std::move(out) : lifetime_meter_.poll_transmit();
}

// For how long the way back in stays open, once it is known that it closes.
void Node::measure_lifetime(Now now) {
  if (lifetime_ && lifetime_->is_complete()) return;
  for (const auto& report : {discovered_.v4, discovered_.v6}) {
    const bool is_open = report && !report->translated &&
                         (report->filtering == wire::Dependence::kEndpointIndependent ||
                          report->filtering == wire::Dependence::kNotPort);
    if (!report || !report->answered || is_open) continue;
    for (const Endpoint& server : stun_endpoints_) {
      // One in a private network, as of a party hosted at home, was not asked either.
      if (server.address.is_private() || server.address.is_loopback()) continue;
      if (server.address.is_v4() != report->seen.address.is_v4()) continue;
      measuring_lifetime_ = true;
      return lifetime_meter_.start(now.time, server);
    }
  }
}

void Node::use_lifetime(Now now, const std::optional<paths::LifetimeReport>& lifetime) {
  if (lifetime == lifetime_) return;
  lifetime_ = lifetime;
  const Duration keepalive = keepalive_interval();
  paths_log_.debug("silent flows are remembered",
                   {{"at_least_ms", milliseconds(lifetime ? lifetime->at_least : Duration{})},
                    {"keepalive_ms", milliseconds(keepalive)}});
  stun_.set_keepalive(now.time, keepalive);
  relays_.set_keepalive(now.time, keepalive);
  for (auto& [key, link] : links_) link->selector->set_keepalive(keepalive);
}

Duration Node::keepalive_interval() const { return lifetime_ ? lifetime_->keepalive() : paths::kKeepaliveDefault; }

void Node::handle_mapped(Now now, std::vector<Endpoint> mapped, const paths::RouterReport& router) {
  router_ = router;
  refresh_network();
  if (mapped == mapped_) return pump(now);
  mapped_ = std::move(mapped);
  refresh_candidates(now);
  pump(now);
}

// --- who is on this LAN, whatever the server knows -----------------------------------------------------------------

void Node::begin_search(Now now) {
  if (links_.empty()) return;
  search_at_ = now.time;
  search_gap_ = kSearchFirst;
}

void Node::search_lan(Now now) {
  search_at_ = kNever;
  std::vector<IpAddress> cards;
  for (const auto& [prefix, is_ours] : interfaces_)
    if (!is_ours && prefix.address.is_v4() && prefix.address.is_private()) cards.push_back(prefix.address);
  for (auto& [key, link] : links_) {
    if (link->selector->is_direct()) continue;
    search_at_ = now.time + search_gap_;
    const auto ping = link->selector->search_ping();
    if (!ping) continue;
    for (const IpAddress& card : cards) datagrams_.push_back({wire::kLanSearch, to_bytes(*ping), card});
  }
  search_gap_ = std::min(kSearchGapMax, search_gap_ * 2);
}

// --- what servers answered -----------------------------------------------------------------------------------------

void Node::pump_stun(Now now) {
  while (auto report = stun_.poll_event()) {
    const ContextScope scope(discovering_since_ ? discovering_since_->context : Context::current());
    // A report without either is the one that restarts begin with.
    if (!report->public_endpoints.empty() || report->udp_blocked)
      finished(now.time, op::kDiscoverNat, discovering_since_);
    paths_log_.debug("this network",
                     {{"mapping", wire::mapping_name(report->mapping)}, {"udp_blocked", report->udp_blocked}});
    // Behind another public address there may be another router.
    std::set<IpAddress> addresses;
    for (const Endpoint& endpoint : report->public_endpoints) addresses.insert(endpoint.address);
    if (addresses != std::exchange(public_addresses_, addresses)) {
      use_lifetime(now, {});
      if (!discovering_) discover(now);
      for (auto& [key, link] : links_) link->punch->restart(now.time);
    }
    refresh_candidates(now);
    event(StatusChanged{});
  }
  while (auto transmit = stun_.poll_transmit()) datagrams_.push_back({transmit->to, to_bytes(transmit->datagram)});
}

void Node::pump_discovery(Now now) {
  if (const auto lifetime = lifetime_meter_.poll_event()) use_lifetime(now, *lifetime);
  if (measuring_lifetime_ && !lifetime_meter_.is_running()) {
    measuring_lifetime_ = false;
    event(CloseDiscovery{});
  }
  const auto found = discovery_.poll_event();
  if (!found) return;
  discovered_ = *found;
  has_discovered_ = true;
  discovering_ = false;
  for (const auto& [family, report] : {std::pair("IPv4", found->v4), std::pair("IPv6", found->v6)}) {
    if (!report) continue;
    paths_log_.debug("this network's NAT", {{"family", family},
                                            {"answered", report->answered},
                                            {"translated", report->translated},
                                            {"mapping", paths::dependence_name(report->mapping)},
                                            {"filtering", paths::dependence_name(report->filtering)}});
  }
  refresh_network();
  measure_lifetime(now);
  if (!measuring_lifetime_) event(CloseDiscovery{});
  event(StatusChanged{});
}

}  // namespace lanrage::node
