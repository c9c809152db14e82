// Ways for friends elsewhere into a party hosted here: the router's ports, and the sentence that says so.
#include "base/format.h"
#include "daemon/node_daemon.h"

namespace lanrage::daemon {
namespace {

constexpr Duration kMappingWait = std::chrono::seconds(2);  // how long `host` waits for the router

std::optional<Endpoint> outside_of(const std::vector<net::PortMapping>& mappings, const net::PortToMap& inside) {
  for (const net::PortMapping& mapping : mappings)
    if (mapping.inside == inside) return mapping.outside;
  return std::nullopt;
}

}  // namespace

// While we are in a party (or about to host one) behind a router: the node's port, and those of a server of our own.
net::PortMap::Wanted NodeDaemon::ports_to_map() {
  net::PortMap::Wanted wanted;
  const bool in_party = node_->server().has_value();
  if (!settings_.port_mapping || (!in_party && hosting_.empty())) return wanted;
  const auto routes = netlink_.default_routes();
  const auto interfaces = netlink_.interfaces();
  if (!routes || !interfaces) return wanted;
  const auto gateway =
      std::find_if(routes->begin(), routes->end(), [](const net::Route& r) { return r.gateway && r.gateway->is_v4(); });
  if (gateway == routes->end()) return wanted;
  for (const net::Interface& interface : *interfaces) {
    if (interface.index != gateway->interface) continue;
    for (const IpPrefix& address : interface.addresses) {
      // A public address needs no mapping.
      if (!address.contains(*gateway->gateway) || !address.address.is_private()) continue;
      wanted.gateway = *gateway->gateway;
      wanted.self = address.address;
      wanted.ports = {{net::Transport::kUdp, sockets_->port()}};
      if (server_ && (!hosting_.empty() || node_->server()->key == server_->info().key)) {
        const std::uint16_t port = server_->listening().front().port;
        wanted.ports.push_back({net::Transport::kTcp, port});
        wanted.ports.push_back({net::Transport::kUdp, port});
      }
      return wanted;
    }
  }
  return wanted;
}

void NodeDaemon::update_ports() {
  net::PortMap::Wanted wanted = ports_to_map();
  if (wanted == mapping_.wanted) return;
  if (!port_map_) {
    port_map_ = std::make_unique<net::PortMap>([this](net::PortMap::Outcome outcome) {
      post([this, outcome = std::move(outcome)] { ports_mapped(outcome); });
    });
  }
  mapping_ = {.wanted = wanted};
  mapping_known_ = wanted.ports.empty();
  port_map_->want(std::move(wanted));
  use_mapping();
}

void NodeDaemon::ports_mapped(const net::PortMap::Outcome& outcome) {
  if (outcome.wanted != mapping_.wanted) return;  // others are wanted by now
  if (!mapping_known_ || outcome.mappings != mapping_.mappings) {
    log_.info("ports of the router", {{"mapped", outcome.mappings.size()}, {"problem", outcome.problem}});
  }
  mapping_ = outcome;
  mapping_known_ = true;
  use_mapping();
  answer_hosting();
}

void NodeDaemon::use_mapping() {
  if (!mapping_known_) return;  // what was before stays good while the router is asked again
  std::vector<Endpoint> node_port;
  if (const auto outside = outside_of(mapping_.mappings, {net::Transport::kUdp, sockets_->port()}))
    node_port.push_back(*outside);
  const paths::RouterReport router{.asked = !mapping_.wanted.ports.empty(),
                                   .speaks = mapping_.speaks,
                                   .mapped = !node_port.empty(),
                                   .is_offline = mapping_.offline,
                                   .address = mapping_.address};
  node_->handle_mapped(now_, std::move(node_port), router);
  if (!server_) return;
  const std::uint16_t port = server_->listening().front().port;
  server_->set_mapped(outside_of(mapping_.mappings, {net::Transport::kTcp, port}),
                      outside_of(mapping_.mappings, {net::Transport::kUdp, port}));
  node_->handle_server_addresses(server_->info());
}

void NodeDaemon::hosting_server(const std::string& link, std::function<void(Result<party::ServerInfo>)> done) {
  const std::string& chosen = link.empty() ? settings_.server : link;
  if (!chosen.empty()) {
    auto parsed = party::ServerLink::parse(chosen);
    if (!parsed) return done(std::move(parsed).error());
    return done(parsed->info());
  }
  if (!server_) {
    if (auto started = start_server(); !started) return done(std::move(started).error());
  }
  hosting_.push_back(std::move(done));
  update_ports();
  hosting_until_ = now_.time + kMappingWait;
  if (mapping_known_) answer_hosting();
}

void NodeDaemon::answer_hosting() {
  hosting_until_ = kNever;
  for (const auto& done : std::exchange(hosting_, {})) done(server_->info());
}

std::string NodeDaemon::reach() const {
  if (!server_) return "";
  bool lan = false;
  bool open = false;
  const std::uint16_t port = server_->listening().front().port;
  const auto outside = outside_of(mapping_.mappings, {net::Transport::kTcp, port});
  if (outside) return format("Friends anywhere can join: the router leads {} to this machine.", outside->text());
  for (const party::ServerAddress& address : server_->info().addresses) {
    const auto ip = address.ip();
    if (!ip || ip->is_loopback()) continue;
    (ip->is_private() || ip->is_link_local() ? lan : open) = true;
  }
  if (!lan && !open)
    return "Nobody can reach this machine yet: it has no network address. Make an invite when it has one.";
  if (network_.ways_out.empty()) return "Friends on this LAN can join; this machine has no way to any other network.";
  if (open)
    return "Friends can join from this LAN and, unless a firewall forbids it, over this machine's public address.";
  const std::string why = mapping_.problem.empty() ? "" : format(" ({})", mapping_.problem);
  return format(
      "Friends on this LAN can join. For others{}, forward TCP and UDP port {} to this machine on the router, or give "
      "host the link of a `lanrage server` with --server.",
      why, port);
}

}  // namespace lanrage::daemon
