// The machine's network as the node follows and sets it: interfaces, addresses, routes and rules.
#include <charconv>
#include <sstream>

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

// lanrage3 -> 3; another name: some number above those, that stays the same (FNV-1a).
std::uint32_t table_of(std::string_view interface) {
  constexpr std::string_view kUsual = "lanrage";
  constexpr std::uint32_t kNumbers = 0x8000;
  std::uint32_t number = 0;
  if (interface.starts_with(kUsual)) {
    const char* const end = interface.data() + interface.size();
    const auto [stopped, problem] = std::from_chars(interface.data() + kUsual.size(), end, number);
    if (problem == std::errc() && stopped == end && number < kNumbers) return kTableBase + number;
  }
  std::uint32_t hash = 2166136261U;
  for (const char c : interface) hash = (hash ^ static_cast<std::uint8_t>(c)) * 16777619U;
  return kTableBase + kNumbers + hash % (kNumbers - 1);
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
std::vector<net::Rule> NodeDaemon::rules_of(std::uint32_t table, const IpPrefix& address) {
  std::vector<net::Rule> rules = {{table, kRulePriority, address.network()},
                                  {table, kSourceRulePriority, address.network(), IpPrefix::host(address.address)}};
  if (address.address.is_v6()) return rules;
  for (const IpPrefix& destination : kGroupDestinations) rules.push_back({table, kGroupRulePriority, destination});
  return rules;
}

Result<void> NodeDaemon::add_rules(const IpPrefix& address) {
  const unsigned index = adapter_->info().index;
  const std::uint32_t table = table_of(adapter_->info().name);
  LR_TRY(netlink_.add_route({address.network(), index, {}, address.address, 0, table}));
  if (address.address.is_v4()) {
    for (const IpPrefix& destination : kGroupDestinations)
      LR_TRY(netlink_.add_route({destination, index, {}, address.address, 0, table}));
  }
  for (const net::Rule& rule : rules_of(table, address)) LR_TRY(netlink_.add_rule(rule));
  return {};
}

// All of them, and the first trouble.
Result<void> NodeDaemon::remove_rules(const IpPrefix& address) {
  Result<void> out;
  for (const net::Rule& rule : rules_of(table_of(adapter_->info().name), address)) {
    auto removed = netlink_.remove_rule(rule);
    if (out && !removed) out = std::move(removed);
  }
  return out;
}

// Before rules of ours are in the kernel, where they outlive this process, it is on disk which ones. A disk that takes
// nothing is no reason not to play.
void NodeDaemon::note_network(const std::vector<IpPrefix>& addresses) {
  std::string text;
  for (const IpPrefix& address : addresses) text += format("{} {}\n", adapter_->info().name, address.text());
  if (auto noted = write_state("network.undo", text); !noted)
    log_.warn("routing rules would stay behind if the node were killed", {{"problem", noted.error().message}});
}

// What a node that was killed has left in the kernel; not what is another node's by now, which has its interface's
// name.
void NodeDaemon::take_back_network() {
  const auto noted = config::read_file(folders_.state + "/network.undo");
  const auto interfaces = netlink_.interfaces();
  if (!noted || !*noted || !interfaces) return;
  std::istringstream lines(**noted);
  std::string interface, text;
  while (lines >> interface >> text) {
    const auto address = IpPrefix::parse(text);
    const bool in_use = interface != adapter_->info().name &&
                        std::any_of(interfaces->begin(), interfaces->end(),
                                    [&](const net::Interface& one) { return one.name == interface; });
    if (!address) continue;
    for (const net::Rule& rule : rules_of(table_of(interface), *address)) {
      if (in_use && rule.priority != kSourceRulePriority) continue;  // of our address alone is that one
      if (auto removed = netlink_.remove_rule(rule); !removed)
        log_.warn("a routing rule of a node that was killed stays behind", {{"problem", removed.error().message}});
    }
    log_.debug("routing rules of a node that was killed are taken back", {{"interface", interface}});
  }
  note_network({});
}

// Takes all of the party's network off this machine.
void NodeDaemon::clear_adapter() {
  const unsigned index = adapter_->info().index;
  for (const IpPrefix& address : configured_.addresses) {
    for (const Result<void>& removed : {remove_rules(address), netlink_.remove_address(index, address)})
      if (!removed) log_.debug("something of the network was gone", {{"problem", removed.error().message}});
  }
  for (const auto& neighbour : configured_.neighbours) (void)netlink_.remove_neighbour(index, neighbour.address);
  configured_ = {};
  note_network({});
}

// Groups that games here wait for are joined on the adapter again where its addresses are others.
Result<void> NodeDaemon::open_games() {
  if (!games_stale_) return {};
  LR_TRY(open_inject());
  games_stale_ = false;
  return {};
}

// Addresses, neighbours, and a rule that lets the party's network win where another card has the same. IPv4 is set up
// whole or not at all; a machine without IPv6 plays by IPv4.
Result<void> NodeDaemon::configure_adapter() {
  const node::AdapterConfig wanted = node_->adapter();
  const unsigned index = adapter_->info().index;
  auto complain = [this](const Result<void>& result) {
    if (!result) log_.warn("the adapter cannot be set up", {{"problem", result.error().message}});
  };
  auto has_address = [](const node::AdapterConfig& config, const IpPrefix& address) {
    return std::find(config.addresses.begin(), config.addresses.end(), address) != config.addresses.end();
  };
  const bool other_addresses = configured_.addresses != wanted.addresses;
  if (other_addresses) {
    games_stale_ = true;
    std::vector<IpPrefix> both = wanted.addresses;
    both.insert(both.end(), configured_.addresses.begin(), configured_.addresses.end());
    note_network(both);
  }
  for (const IpPrefix& old : configured_.addresses) {
    if (has_address(wanted, old)) continue;
    complain(remove_rules(old));
    complain(netlink_.remove_address(index, old));
  }
  std::erase_if(configured_.addresses, [&](const IpPrefix& old) { return !has_address(wanted, old); });
  for (const IpPrefix& address : wanted.addresses) {
    if (has_address(configured_, address)) continue;
    Result<void> added = netlink_.add_address(index, address);
    if (added) added = add_rules(address);
    if (!added && address.address.is_v4()) {
      (void)remove_rules(address);
      (void)netlink_.remove_address(index, address);
      return added;
    }
    complain(added);
    configured_.addresses.push_back(address);
  }
  if (other_addresses) note_network(wanted.addresses);
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
  return {};
}

}  // namespace lanrage::daemon
