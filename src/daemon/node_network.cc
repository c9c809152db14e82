// The machine's network as the node follows and sets it: interfaces, addresses, routes and rules.
#include <charconv>

#include "base/format.h"
#include "daemon/node_daemon.h"

namespace lanrage::daemon {
namespace {

constexpr std::uint32_t kTableBase = 0x4C520000;  // our routing tables: one for each adapter
// First what comes from our address: of two nodes of one party on one machine each answers by its own adapter.
constexpr std::uint32_t kSourceRulePriority = 4999;
constexpr std::uint32_t kRulePriority =
    5000;  // before the main table's 32766, so that ours win where both have a route
// After the main table and the default one: where another card has the default route, that card goes on taking these.
constexpr std::uint32_t kGroupRulePriority = 32900;
const IpPrefix kGroupDestinations[] = {IpPrefix::host(IpAddress::v4(255, 255, 255, 255)),
                                       {IpAddress::v4(224, 0, 0, 0), 4}};

// lanrage3 -> 3; another name: some number that stays the same.
std::uint32_t table_of(const std::string& interface) {
  const std::size_t digits = interface.find_first_of("0123456789");
  std::uint32_t number = 0;
  if (digits != std::string::npos)
    std::from_chars(interface.data() + digits, interface.data() + interface.size(), number);
  return kTableBase + number % 0xffff;
}

}  // namespace

void NodeDaemon::read_interfaces() {
  auto interfaces = netlink_.interfaces();
  if (!interfaces) return log_.warn("the interfaces cannot be read", {{"problem", interfaces.error().message}});
  std::vector<paths::InterfaceAddress> addresses;
  std::vector<unsigned> cards;
  for (const net::Interface& interface : *interfaces) {
    if (!interface.up) continue;
    const bool ours = interface.index == adapter_->info().index || interface.name.rfind("lanrage", 0) == 0;
    for (const IpPrefix& address : interface.addresses) addresses.push_back({address, ours});
    if (!ours && !interface.addresses.empty()) cards.push_back(interface.index);
  }
  Network network;
  for (const paths::InterfaceAddress& address : addresses)
    if (!address.is_ours) network.addresses.push_back(address.prefix);
  if (const auto routes = netlink_.default_routes())
    for (const net::Route& route : *routes) network.ways_out.emplace_back(route.interface, route.gateway);
  const bool changed = network != network_;
  const bool rerouted = network.ways_out != network_.ways_out;
  if (client_ && changed) client_->network_changed();
  if (changed) reopen_streams();
  network_ = std::move(network);
  if (search_) search_->follow(cards);
  node_->handle_interfaces(now_, addresses, sockets_->port(), rerouted);
  update_ports();
  if (server_ && changed) use_mapping();  // its own addresses are others now
}

// The party's network by the adapter, wherever else it may lead; and broadcasts and groups of programs that chose no
// card, which the kernel refuses on a machine without a default route.
Result<void> NodeDaemon::add_rules(const IpPrefix& address) {
  const unsigned index = adapter_->info().index;
  const std::uint32_t table = table_of(adapter_->info().name);
  LR_TRY(netlink_.add_route({address.network(), index, {}, address.address, 0, table}));
  LR_TRY(netlink_.add_rule({table, kRulePriority, address.network()}));
  LR_TRY(netlink_.add_rule({table, kSourceRulePriority, address.network(), IpPrefix::host(address.address)}));
  if (address.address.is_v6()) return {};
  for (const IpPrefix& destination : kGroupDestinations) {
    LR_TRY(netlink_.add_route({destination, index, {}, address.address, 0, table}));
    LR_TRY(netlink_.add_rule({table, kGroupRulePriority, destination}));
  }
  return {};
}

Result<void> NodeDaemon::remove_rules(const IpPrefix& address) {
  const std::uint32_t table = table_of(adapter_->info().name);
  if (address.address.is_v4()) {
    for (const IpPrefix& destination : kGroupDestinations)
      LR_TRY(netlink_.remove_rule({table, kGroupRulePriority, destination}));
  }
  LR_TRY(netlink_.remove_rule({table, kSourceRulePriority, address.network(), IpPrefix::host(address.address)}));
  return netlink_.remove_rule({table, kRulePriority, address.network()});
}

// Addresses, neighbours, and a rule that lets the party's network win where another card has the same.
void NodeDaemon::configure_adapter() {
  const node::AdapterConfig wanted = node_->adapter();
  const unsigned index = adapter_->info().index;
  auto complain = [this](const Result<void>& result) {
    if (!result) log_.warn("the adapter cannot be set up", {{"problem", result.error().message}});
  };
  for (const IpPrefix& old : configured_.addresses) {
    if (std::find(wanted.addresses.begin(), wanted.addresses.end(), old) != wanted.addresses.end()) continue;
    complain(remove_rules(old));
    complain(netlink_.remove_address(index, old));
  }
  for (const IpPrefix& address : wanted.addresses) {
    if (std::find(configured_.addresses.begin(), configured_.addresses.end(), address) != configured_.addresses.end())
      continue;
    complain(netlink_.add_address(index, address));
    complain(add_rules(address));
  }
  // The groups that were joined for another party are none of this one's.
  if (configured_.addresses != wanted.addresses) complain(open_inject());
  tun::Neighbourhood neighbourhood;
  neighbourhood.own = wanted.addresses;
  for (const auto& neighbour : wanted.neighbours) {
    neighbourhood.members.push_back({neighbour.address, tun::mac_from_key(neighbour.key.bytes())});
  }
  adapter_->set_neighbourhood(neighbourhood);
  auto has = [](const node::AdapterConfig& config, const IpAddress& address) {
    return std::any_of(config.neighbours.begin(), config.neighbours.end(),
                       [&](const auto& n) { return n.address == address; });
  };
  for (const auto& neighbour : configured_.neighbours) {
    if (has(wanted, neighbour.address)) continue;
    const Timed timed(log_, op::kRemovePeer);
    complain(netlink_.remove_neighbour(index, neighbour.address));
  }
  for (const auto& neighbour : wanted.neighbours) {
    if (has(configured_, neighbour.address)) continue;
    const Timed timed(log_, op::kAddPeer);
    complain(netlink_.add_neighbour(index, neighbour.address, tun::mac_from_key(neighbour.key.bytes())));
  }
  configured_ = wanted;
  update_names();
}

}  // namespace lanrage::daemon
