// Ways for friends elsewhere into a party hosted here: the router's ports, and the sentence that says so.
#include "base/format.h"
#include "daemon/node_daemon.h"

namespace lanrage::daemon {
namespace {

constexpr Duration kMappingWait = std::chrono::seconds(2);  // how long `host` waits for the router

}  // namespace

// While we are in a party (or about to host one): the node's port, that of a relay for the party, which may end a
// little later, and those of a server of our own.
std::vector<paths::PortToMap> NodeDaemon::ports_to_map() const {
  using enum paths::PortTransport;
  const bool in_party = node_->server().has_value();
  if (!settings_.port_mapping || (!in_party && hosting_.empty() && !relay_)) return {};
  std::vector<paths::PortToMap> ports = {{kUdp, sockets_->port()}};
  if (relay_) ports.push_back({kUdp, relay_->port()});
  if (!server_ || (hosting_.empty() && (!in_party || node_->server()->key != server_->info().key))) return ports;
  const std::vector<paths::PortToMap> more = server_ports(*server_);
  ports.insert(ports.end(), more.begin(), more.end());
  return ports;
}

void NodeDaemon::update_ports() {
  std::vector<paths::PortToMap> ports = ports_to_map();
  const auto router = ports.empty() ? std::nullopt : find_router(netlink_);
  if (!router) ports.clear();
  const paths::RouterPlace place = router ? router->place : mapping_.wanted.place;
  if (paths::PortMapper::Wanted{place, ports} == mapping_.wanted) return;
  mapping_.wanted = {place, ports};
  mapping_known_ = ports.empty();
  if (mapping_known_) mapping_ = {.wanted = mapping_.wanted};
  router_ports_->want(now_.time, router.value_or(RouterFound{place, 0}), std::move(ports));
  use_mapping();
}

void NodeDaemon::take_mappings() {
  while (auto outcome = router_ports_->poll_event()) {
    if (outcome->wanted != mapping_.wanted) continue;  // others are wanted by now
    log_.info("ports of the router", {{"mapped", outcome->mappings.size()},
                                      {"by", outcome->by ? paths::port_method_name(*outcome->by) : ""},
                                      {"took_ms", milliseconds(outcome->took)},
                                      {"problem", outcome->problem}});
    mapping_ = std::move(*outcome);
    mapping_known_ = true;
    use_mapping();
    answer_hosting();
  }
}

std::optional<Endpoint> NodeDaemon::outside_of(paths::PortTransport transport, std::uint16_t port) const {
  return mapping_.outside_of({transport, port});
}

void NodeDaemon::use_mapping() {
  if (!mapping_known_) return;  // what was before stays good while the router is asked again
  const paths::RouterReport router{.asked = !mapping_.wanted.ports.empty(),
                                   .speaks = mapping_.speaks,
                                   .outside = outside_of(paths::PortTransport::kUdp, sockets_->port()),
                                   .is_offline = mapping_.offline,
                                   .address = mapping_.address,
                                   .by = mapping_.by,
                                   .problem = mapping_.problem};
  std::vector<Endpoint> node_port;
  if (router.outside) node_port.push_back(*router.outside);
  node_->handle_mapped(now_, std::move(node_port), router);
  update_relay();
  if (!server_) return;
  server_->set_mapped(mapped_server(*server_, mapping_));
  node_->handle_server_addresses(server_->info());
}

wire::Json NodeDaemon::port_mapping_json() const {
  if (!mapping_known_ || mapping_.wanted.ports.empty()) return nullptr;
  return router_json(mapping_, {paths::PortTransport::kUdp, sockets_->port()}, now_.time,
                     paths::port_mapping_in_words(node_->network()));
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
  if (const auto outside = outside_of(paths::PortTransport::kTcp, port))
    return format("Friends anywhere can join: the router leads {} to this machine.", outside->text());
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
