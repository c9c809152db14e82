#include "sim/node.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/check.h"
#include "wire/demux.h"
#include "wire/probe.h"
#include "wire/wireguard.h"

namespace lanrage::sim {
namespace {

constexpr int kWakesMax = 100;
constexpr std::size_t kBacklogMax = 200;
constexpr int kCard = 2;

LogLevels levels() {
  LogLevels out;
  out.base = Level::kOff;
  if (const char* wanted = std::getenv("LANRAGE_SIM_LOG")) {
    if (auto parsed = LogLevels::parse(wanted)) out = *parsed;
  }
  return out;
}

std::vector<IpAddress> bare(const std::vector<IpPrefix>& prefixes) {
  std::vector<IpAddress> out;
  for (const IpPrefix& prefix : prefixes) out.push_back(prefix.address);
  return out;
}

}  // namespace

void FixedTables::set_adapter(const std::vector<IpPrefix>& addresses) {
  view_.interfaces = {{kCard, "eth0", {{IpAddress::v4(192, 168, 1, 2), 24}}, false, true}};
  if (!addresses.empty()) view_.interfaces.push_back({SimNode::kAdapter, "lanrage", addresses, false, true});
  ++view_.generation;
}

void FixedTables::listen(std::uint16_t port) {
  lan::LocalSocket socket;
  socket.port = port;
  socket.uid = 1000;
  socket.inode = port;
  view_.sockets.push_back(socket);
  ++view_.generation;
}

SimNode::SimNode(Scheduler& scheduler, Network& network, SimServer& server, SimNodeOptions options)
    : scheduler_(scheduler),
      network_(network),
      server_(server),
      options_(std::move(options)),
      rng_(options_.seed),
      log_(LogFormat::kText, levels(),
           [this](std::string_view line) {
             const double at = milliseconds(scheduler_.now().time_since_epoch()) / 1000;
             std::fprintf(stderr, "%10.3f %-8s %.*s\n", at, options_.name.c_str(), static_cast<int>(line.size()),
                          line.data());
           }),
      identity_(party::Identity::generate(rng_)),
      addresses_(options_.addresses) {
  host_ = network_.add_host(options_.domain, bare(addresses_), options_.access,
                            [this](const Endpoint& source, const Endpoint& destination, const Bytes& datagram) {
                              receive(source, destination.port, datagram);
                            });
  tables_.set_adapter({});
  start();
}

SimNode::~SimNode() { kill(); }

Now SimNode::now() const {
  Now now = server_.now();
  now.wall += options_.clock_skew - server_.clock_skew;
  return now;
}

void SimNode::start() {
  if (node_) return;
  ++life_;
  wake_ = kNever;
  forwarding_ = std::make_shared<node::Forwarding>();
  link_ = std::make_unique<ControlLink>(
      scheduler_, server_, identity_.private_key(), options_.seen_as, options_.control_delay, rng_.u64(),
      ControlLink::Handlers{
          [this](const wire::Event& event) { with([&](node::Node& n) { n.handle_event(now(), event); }); },
          [this](control::LinkState state, const std::string& problem) {
            const node::LinkState told = state == control::LinkState::kOnline       ? node::LinkState::kConnected
                                         : state == control::LinkState::kConnecting ? node::LinkState::kConnecting
                                                                                    : node::LinkState::kDown;
            const auto why = problem.empty() ? std::nullopt : std::optional<Error>({Code::kUnavailable, problem});
            with([&](node::Node& n) { n.handle_link(now(), told, why); });
          }});
  node::NodeOptions options;
  options.hostname = options_.name;
  options.adapter_index = kAdapter;
  node_ = std::make_unique<node::Node>(options, identity_, floor_, tables_, rng_, Logger(log_, "node"));
  if (!saved_party.empty()) LR_CHECK(node_->restore(now(), saved_party, saved_contacts));
  tell_interfaces();
}

void SimNode::kill() {
  node_.reset();
  relay_.reset();
  extra_ports_.clear();
  extra_sockets_.clear();
  link_.reset();
  tables_.set_adapter({});
}

void SimNode::tell_interfaces() {
  std::vector<paths::InterfaceAddress> interfaces;
  for (const IpPrefix& address : addresses_) interfaces.push_back({address, false});
  with([&](node::Node& n) { n.handle_interfaces(now(), interfaces, kPort); });
}

void SimNode::roam(Network::DomainId domain, std::vector<IpPrefix> addresses) {
  addresses_ = std::move(addresses);
  network_.move_host(host_, domain, bare(addresses_));
  if (!node_) return;
  link_->network_changed();
  tell_interfaces();
}

void SimNode::cut() {
  network_.set_up(host_, false);
  if (link_) link_->set_reachable(false);
}
void SimNode::plug() {
  network_.set_up(host_, true);
  if (!link_) return;
  link_->set_reachable(true);
  link_->retry_now();
}

void SimNode::suspend() {
  suspended_ = true;
  link_->set_reachable(false);
}
void SimNode::resume() {
  suspended_ = false;
  for (const auto& late : std::exchange(backlog_, {})) late();
  link_->set_reachable(true);
  link_->retry_now();
  if (wake_ <= scheduler_.now()) {
    wake_ = kNever;
    node_->handle_timeout(now());
  }
  drive();
}

std::optional<IpAddress> SimNode::address() const {
  const auto config = node_->adapter();
  if (config.addresses.empty()) return std::nullopt;
  return config.addresses.front().address;
}

std::optional<node::PeerStatus> SimNode::peer(const SimNode& other) const {
  for (const node::PeerStatus& peer : status().peers) {
    if (peer.public_key == other.key().base64()) return peer;
  }
  return std::nullopt;
}

// --- the data plane ------------------------------------------------------------------------------------------------

void SimNode::serve_relay(std::uint8_t health, std::uint8_t load) {
  const Endpoint open{addresses_.front().address, kRelayPort};
  with([&](node::Node& n) { n.set_own_relay(now(), wire::MemberRelay{health, load, {open}}); });
  if (relay_) return;
  relay::ServerOptions options;
  options.key = identity_.private_key();
  options.grant_keys = node_->grant_keys();
  const auto party = *node_->party();
  std::copy(party.bytes().begin(), party.bytes().end(), options.party.emplace().begin());
  relay_.emplace(std::move(options), rng_);
  tick_relay();
}

void SimNode::withdraw_relay() {
  with([&](node::Node& n) { n.set_own_relay(now(), std::nullopt); });
  if (relay_) relay_->begin_drain(scheduler_.now());
}

void SimNode::receive_relayed(const Endpoint& source, const Bytes& datagram) {
  Bytes buffer = datagram;
  if (const auto out = relay_->handle_packet(now(), source, buffer))
    network_.send(host_, kRelayPort, out->to, to_bytes(out->datagram));
}

void SimNode::tick_relay() {
  if (!relay_) return;
  relay_->handle_timeout(now());
  while (const auto notice = relay_->poll_drain(scheduler_.now()))
    network_.send(host_, kRelayPort, notice->to, to_bytes(notice->datagram));
  if (relay_->is_drained(scheduler_.now())) return relay_.reset();
  scheduler_.post(scheduler_.now() + std::chrono::milliseconds{100}, [this, life = life_] {
    if (life == life_) tick_relay();
  });
}

void SimNode::receive(const Endpoint& source, std::uint16_t port, const Bytes& datagram) {
  if (!node_) return;
  if (relay_ && port == kRelayPort && !suspended_) return receive_relayed(source, datagram);
  if (suspended_) {
    if (backlog_.size() < kBacklogMax)
      backlog_.push_back([this, source, port, datagram] { receive(source, port, datagram); });
    return;
  }
  using Socket = paths::NatDiscovery::Socket;
  if (discovery_port_ != 0 && (port == discovery_port_ || port == discovery_port_ + 1)) {
    const Socket socket = port == discovery_port_ ? Socket::kFirst : Socket::kSecond;
    node_->handle_discovery_packet(now(), socket, source, datagram);
    return drive();
  }
  const auto extra = extra_sockets_.find(port);
  if (port != kPort && port != wire::kLanSearch.port && extra == extra_sockets_.end()) return;
  const std::uint16_t socket = extra == extra_sockets_.end() ? 0 : extra->second;
  if (wire::protocol_of(datagram) == wire::Protocol::kWireGuard && datagram[0] == 4)
    handle_data(source, socket, datagram);
  else
    node_->handle_datagram(now(), source, datagram, socket);
  drive();
}

void SimNode::send(const Endpoint& to, std::uint16_t socket, Bytes datagram) {
  const auto extra = extra_ports_.find(socket);
  if (socket == 0 || extra != extra_ports_.end())
    network_.send(host_, socket == 0 ? kPort : extra->second, to, std::move(datagram));
}

void SimNode::open_extra_sockets() {
  const auto& wanted = node_->extra_sockets();
  std::erase_if(extra_ports_, [&](const auto& entry) { return !wanted.contains(entry.first); });
  for (const std::uint16_t socket : wanted) {
    if (!extra_ports_.emplace(socket, next_extra_port_).second) continue;
    next_extra_port_ = next_extra_port_ + 1 == kExtraPortsEnd ? kExtraPorts : next_extra_port_ + 1;
  }
  extra_sockets_.clear();
  for (const auto& [socket, port] : extra_ports_) extra_sockets_[port] = socket;
}

void SimNode::handle_data(const Endpoint& source, std::uint16_t socket, Bytes datagram) {
  using Action = node::InboundVerdict::Action;
  const auto forwarding = forwarding_;
  const auto verdict =
      inbound_.handle_datagram(*forwarding, scheduler_.now(), forwarding->path_from(source, socket), datagram);
  if (verdict.first || verdict.moved) {
    node_->handle_counters(now());
    drive();
  }
  switch (verdict.action) {
    case Action::kNothing:
    case Action::kDrop:
      return;
    case Action::kDeliver:
      received.push_back({scheduler_.now(), to_bytes(verdict.packet)});
      return;
    case Action::kFrame:
      node_->handle_frame(now(), forwarding->peer(verdict.slot)->key, verdict.packet);
      return;
    case Action::kForward:
    case Action::kGroup:
      LR_CHECK(false);  // plain WireGuard guests only
  }
}

void SimNode::send_packet(ByteView sent) {
  if (suspended_) {
    if (backlog_.size() < kBacklogMax) backlog_.push_back([this, packet = to_bytes(sent)] { send_packet(packet); });
    return;
  }
  using Action = node::OutboundVerdict::Action;
  const auto forwarding = forwarding_;
  Bytes packet = to_bytes(sent);
  const auto verdict = outbound_.judge(*forwarding, scheduler_.now(), packet);
  Bytes translated;
  if (verdict.translate) {
    translated = to_bytes(packet);
    node::Outbound::translate(*forwarding, translated);
    packet = translated;
  }
  if (verdict.translate) node::Outbound::translate(*forwarding, packet);
  if (verdict.action == Action::kGroup) node_->handle_group_packet(now(), packet);
  if (verdict.action == Action::kNeedsSession)
    node_->handle_waiting(now(), forwarding->peer(verdict.slot)->key, packet);
  if (verdict.action == Action::kSeal) seal(*forwarding->peer(verdict.slot), verdict.lane, packet);
  if (outbound_.take_begun()) node_->handle_counters(now());
  drive();
}

void SimNode::seal(const node::OutInner& inner) {
  const auto forwarding = forwarding_;
  const node::Peer* peer = forwarding->peer_of(inner.peer, inner.slot);
  if (peer == nullptr || peer->path_count == 0) return outbound_.note_drop(node::OutboundDrop::kNoPath);
  if (peer->send && peer->send->usable(scheduler_.now()))
    seal(*peer, inner.lane, inner.inner);
  else if (!inner.inner.empty())
    node_->handle_waiting(now(), inner.peer, inner.inner);
}

void SimNode::seal(const node::Peer& peer, node::Lane lane, ByteView packet) {
  std::array<Bytes, 2> out = {Bytes(packet.size() + 64), Bytes(packet.size() + 64)};
  std::array<std::size_t, 2> sizes{};
  if (node::Outbound::needs_cut(peer, packet))
    sizes = outbound_.seal_cut(peer, scheduler_.now(), packet, {MutableBytes(out[0]), MutableBytes(out[1])});
  else
    sizes[0] = outbound_.seal(peer, scheduler_.now(), packet, out[0]);
  if (sizes[0] == 0) return node_->handle_waiting(now(), peer.key, packet);
  for (std::size_t i = 0; i < 2 && sizes[i] != 0; ++i) {
    out[i].resize(sizes[i]);
    for (const Path& path : peer.way(lane)) send(path.endpoint, path.socket, out[i]);
  }
}

// --- what comes of it ----------------------------------------------------------------------------------------------

void SimNode::handle(const node::NodeEvent& event) {
  if (std::holds_alternative<node::SaveParty>(event)) {
    saved_party = node_->saved_party();
    ++saves_;
  } else if (std::holds_alternative<node::SaveContacts>(event)) {
    saved_contacts = node_->contacts();
    ++contacts_saves;
  } else if (std::holds_alternative<node::SaveTimestampFloor>(event)) {
    floor_ = node_->timestamp_floor();
  } else if (std::holds_alternative<node::AdapterChanged>(event)) {
    tables_.set_adapter(node_->adapter().addresses);
  } else if (std::holds_alternative<node::ForwardingChanged>(event)) {
    forwarding_ = node_->forwarding();
  } else if (std::holds_alternative<node::ServerChanged>(event)) {
    link_->set_wanted(node_->server().has_value());
  } else if (std::holds_alternative<node::OpenDiscovery>(event)) {
    discovery_port_ = static_cast<std::uint16_t>(kDiscoveryPorts + 2 * (discoveries_++ % 1000));
    node_->handle_discovery_sockets(now(), discovery_port_, static_cast<std::uint16_t>(discovery_port_ + 1));
  } else if (std::holds_alternative<node::CloseDiscovery>(event)) {
    discovery_port_ = 0;
  } else if (std::holds_alternative<node::ExtraSocketsChanged>(event)) {
    open_extra_sockets();
  }
}

void SimNode::drive() {
  if (driving_ || !node_) return;
  driving_ = true;
  for (bool any = true; any;) {
    any = false;
    while (auto event = node_->poll_event()) {
      handle(*event);
      any = true;
    }
    while (auto out = node_->poll_datagram()) {
      send(out->to, out->socket, std::move(out->bytes));
      any = true;
    }
    while (auto out = node_->poll_discovery()) {
      const bool first = out->socket == paths::NatDiscovery::Socket::kFirst;
      const auto port = static_cast<std::uint16_t>(discovery_port_ + (first ? 0 : 1));
      network_.send(host_, port, out->to, std::move(out->datagram));
      any = true;
    }
    while (auto inner = node_->poll_inner()) {
      seal(*inner);
      any = true;
    }
    while (auto request = node_->poll_request()) {
      link_->request(std::move(request->request), [this, id = request->id](Result<wire::Response> response) {
        with([&](node::Node& n) { n.handle_response(now(), id, std::move(response)); });
      });
      any = true;
    }
    while (auto delivery = node_->poll_delivery()) {
      if (delivery->kind == lan::Delivery::Kind::kWrite) {
        received.push_back({scheduler_.now(), delivery->packet});
        ++deliveries;
      }
      any = true;
    }
  }
  driving_ = false;
  if (const auto next = node_->next_timeout()) wake_at(*next);
}

void SimNode::wake_at(Time at) {
  at = std::max(at, scheduler_.now());
  if (at >= wake_) return;
  wake_ = at;
  scheduler_.post(at, [this, at, life = life_] {
    if (life != life_ || wake_ != at || !node_ || suspended_) return;
    wake_ = kNever;
    ++wakeups_;
    wakes_here_ = at == last_wake_ ? wakes_here_ + 1 : 0;
    last_wake_ = at;
    LR_CHECK(wakes_here_ < kWakesMax);  // a timeout that handle_timeout does not clear
    node_->handle_timeout(now());
    drive();
  });
}

}  // namespace lanrage::sim
