#include "node/node.h"

#include <algorithm>
#include <utility>

#include "base/format.h"
#include "wire/demux.h"
#include "wire/inner.h"
#include "wire/wireguard.h"

namespace lanrage::node {
namespace {

constexpr Duration kCountersEvery = std::chrono::seconds{1};
constexpr Duration kHostEvery = std::chrono::seconds{5};  // this machine's sockets are looked at, even in silence

tunnel::DeviceOptions device_options(tunnel::Tai64n floor) {
  tunnel::DeviceOptions options;
  options.timestamp_floor = floor;
  options.roaming = false;  // paths/ chooses
  return options;
}

// Relays route initiations and probes by name; every other WireGuard message by its receiver index.
bool travels_by_name(ByteView datagram) {
  const wire::Protocol protocol = wire::protocol_of(datagram);
  return protocol == wire::Protocol::kProbe || (protocol == wire::Protocol::kWireGuard && datagram[0] == 1);
}

}  // namespace

Node::Node(const NodeOptions& options, const party::Identity& identity, tunnel::Tai64n timestamp_floor,
           lan::HostTables& tables, Rng& rng, Logger log)
    : options_(options),
      identity_(identity),
      rng_(rng),
      log_(log.named("node")),
      party_log_(log.named("party")),
      paths_log_(log.named("paths")),
      instance_(rng.u32()),
      tunnel_(device_options(timestamp_floor), rng, log.named("tunnel")),
      stun_(rng),
      discovery_(rng),
      lifetime_meter_(rng),
      relays_(identity.private_key(), rng),
      tables_(tables),
      filter_(std::make_shared<PortFilter>(false, std::span<const FilterRule>())),
      flows_(std::make_shared<Flows>(rng.u64())) {}

Node::~Node() = default;

bool Node::is_open(Now now, const Link& link) { return link.sending && link.sending->usable(now.time); }

void Node::event(NodeEvent event) {
  // Each kind stands in the queue once: all of them mean "look again".
  const bool queued =
      std::any_of(events_.begin(), events_.end(), [&](const NodeEvent& e) { return e.index() == event.index(); });
  if (!queued) events_.push_back(event);
}

Node::Link* Node::link_of(const crypto::PublicKey& key) {
  auto it = links_.find(key);
  return it == links_.end() ? nullptr : it->second.get();
}

void Node::set_filter(Now now, bool strict, std::vector<FilterRule> rules) {
  strict_ = strict;
  rules_ = std::move(rules);
  filter_ = std::make_shared<PortFilter>(strict_, rules_);
  if (lan_) share_filter();
  forwarding_dirty_ = true;
  pump(now);
}

void Node::share_filter() {
  lan_->set_open_ports([filter = filter_](std::uint16_t port) { return filter->is_open(wire::kProtocolUdp, port); });
}

// --- what happens --------------------------------------------------------------------------------------------------

void Node::handle_datagram(Now now, const Endpoint& source, ByteView datagram, std::uint16_t socket) {
  Path path{source, false, socket};
  Link* sender = nullptr;
  if (wire::protocol_of(datagram) == wire::Protocol::kRelay) {
    const auto inbound = relays_.handle_packet(now.time, source, datagram);
    if (!inbound) return pump(now);
    auto name = relay_names_.find(inbound->peer);
    if (name != relay_names_.end()) sender = link_of(name->second);
    path = inbound->path;
    datagram = inbound->payload;
  } else if (relays_.is_relay(source)) {
    path.relayed = true;
  }
  switch (wire::protocol_of(datagram)) {
    case wire::Protocol::kWireGuard:
      tunnel_.handle_packet(now, path, datagram);
      break;
    case wire::Protocol::kProbe: {
      const auto tag = wire::probe_tag_of(datagram);
      auto owner = tag ? tags_.find(*tag) : tags_.end();
      Link* link = owner == tags_.end() ? nullptr : link_of(owner->second);
      if (link != nullptr && (sender == nullptr || sender == link)) handle_probe(now, *link, path, datagram);
      break;
    }
    case wire::Protocol::kStun:
      if (socket == 0) stun_.handle_packet(now.time, source, datagram);
      for (auto& [key, link] : links_)
        if (socket != 0) link->punch->handle_packet(now.time, socket, source, datagram);
      break;
    case wire::Protocol::kRelay:
    case wire::Protocol::kUnknown:
      break;
  }
  pump(now);
}

void Node::handle_unreachable(Now now, const Endpoint& endpoint, std::uint16_t socket) {
  bool any = false;
  for (auto& [key, link] : links_) {
    if (!link->selector->would_ask(now.time, endpoint, socket)) continue;
    note_activity(now, *link);
    link->selector->handle_unreachable(now.time, endpoint, socket);
    any = true;
  }
  if (any) pump(now);
}

void Node::handle_frame(Now now, const crypto::PublicKey& peer, ByteView frame) {
  Link* link = link_of(peer);
  if (link == nullptr) return;
  const auto type = wire::inner_type(frame);
  if (type == wire::InnerType::kEcho) {
    const auto echo = wire::Echo::parse(frame);
    if (!echo) return;
    if (echo->kind == wire::Echo::Kind::kRequest) {
      wire::Echo reply = *echo;
      reply.kind = wire::Echo::Kind::kReply;
      const auto bytes = reply.bytes();
      send_inner(now, *link, to_bytes(bytes), Lane::kGame);
    } else if (auto ping = pings_.find(echo->id); ping != pings_.end() && ping->second.peer == peer) {
      PingAnswer answer{now.time - ping->second.sent, {}};
      if (const auto path = link->selector->selected()) answer.path = status_of(*path);
      const auto done = std::move(ping->second.done);
      pings_.erase(ping);
      done(std::move(answer));
    }
  } else if (type == wire::InnerType::kMember) {
    if (const auto message = wire::MemberMessage::parse(frame)) handle_member_message(now, *link, *message);
  } else if (type == wire::InnerType::kLan) {
    const party::Member* member = roster_ ? roster_->find(peer) : nullptr;
    if (member == nullptr || !lan_) return;
    const party::MemberRecord& record = member->record.record();
    std::vector<IpPrefix> addresses = {IpPrefix::host(record.ipv4), IpPrefix::host(record.ipv6())};
    addresses.insert(addresses.end(), record.routes.begin(), record.routes.end());
    lan_->handle_envelope(now.time, {lan::origin_of(peer.bytes()), addresses}, frame);
  }
  pump(now);
}

void Node::handle_group_packet(Now now, ByteView packet) {
  if (!lan_) return;
  lan_->handle_adapter_packet(now.time, packet);
  pump(now);
}

void Node::handle_captured(Now now, int interface, ByteView packet) {
  if (!lan_) return;
  lan_->handle_captured_packet(now.time, interface, packet);
  pump(now);
}

void Node::handle_join_failed(const IpAddress& group, const std::string& why) {
  if (lan_) lan_->handle_join_failed(group, why);
}

void Node::handle_waiting(Now now, const crypto::PublicKey& peer, ByteView packet) {
  Link* link = link_of(peer);
  if (link == nullptr) return;
  if (is_open(now, *link)) {  // it came up while the packet was on its way here
    inners_.push_back({link->slot, peer, Lane::kBulk, to_bytes(packet)});
    return;
  }
  if (link->waiting.size() >= kWaitingPacketsMax) link->waiting.pop_front();
  link->waiting.push_back({now.time + kSessionless, to_bytes(packet), Lane::kBulk});
  if (link->selector->selected()) tunnel_.handle_outbound(now, peer);
  pump(now);
}

void Node::note_activity(Now now, Link& link) {
  const tunnel::Activity activity = link.state->counters.read();
  tunnel_.handle_activity(now, link.key, activity);
  if (activity.last_received > link.seen.last_received && activity.source)
    link.selector->handle_received(now.time, *activity.source, activity.last_received);
  if (activity.last_data_sent > link.seen.last_data_sent || activity.last_data_received > link.seen.last_data_received)
    link.selector->handle_traffic(now.time);
  link.seen = activity;
}

void Node::note_rate(Now now, Link& link) {
  const Duration span = now.time - link.rate_since;
  if (span < kCountersEvery) return;
  const std::uint64_t bytes = link.seen.received_bytes - std::exchange(link.rate_bytes, link.seen.received_bytes);
  link.rate_since = now.time;
  if (span < 2 * kCountersEvery)  // else it is the mean of more than it should be
    link.selector->handle_rate(now.time, static_cast<double>(bytes) * 8e3 / static_cast<double>(span.count()));
}

void Node::handle_probe(Now now, Link& link, const Path& path, ByteView datagram) {
  paths::Selector& selector = *link.selector;
  const std::uint64_t pongs = selector.stats().pongs_received;
  selector.handle_packet(now.time, path, datagram);
  if (selector.stats().pongs_received == pongs || selector.selected() != path) return;
  const auto rtt = selector.quality() != nullptr ? selector.quality()->rtt_ema() : std::nullopt;
  if (rtt) tunnel_.handle_round_trip(link.key, *rtt);
}

void Node::handle_counters(Now now) {
  for (auto& [key, link] : links_) {
    note_activity(now, *link);
    note_rate(now, *link);
    // The side that should begin may hold a session that we lost by a restart which it did not notice.
    if (!link->met && link->selector->is_valid()) tunnel_.handle_outbound(now, key);
  }
  if (lan_ && now.time >= host_due_) {
    lan_->refresh(now.time);
    host_due_ = now.time + kHostEvery;
  }
  counters_due_ = links_.empty() ? kNever : now.time + kCountersEvery;
  pump(now);
}

void Node::handle_timeout(Now now) {
  if (now.time >= counters_due_) handle_counters(now);
  if (now.time >= search_at_) search_lan(now);
  if (now.time >= contacts_due_) {
    contacts_due_ = kNever;
    event(SaveContacts{});
  }
  if (now.time >= history_due_) {
    history_due_ = kNever;
    event(SaveQuality{});
  }
  tunnel_.handle_timeout(now);
  stun_.handle_timeout(now.time);
  discovery_.handle_timeout(now.time);
  lifetime_meter_.handle_timeout(now.time);
  relays_.handle_timeout(now.time);
  if (now.time >= legs_due_) tell_legs(now);
  if (now.time >= udp_due_) doubt_udp(now.time);
  if (lan_) lan_->handle_timeout(now.time);
  for (auto& [key, link] : links_) {
    if (link->selector->next_timeout() <= now.time) {
      note_activity(now, *link);
      link->selector->handle_timeout(now.time);
    }
    link->punch->handle_timeout(now.time);
    while (!link->waiting.empty() && link->waiting.front().until <= now.time) link->waiting.pop_front();
  }
  for (auto it = pings_.begin(); it != pings_.end();) {
    if (it->second.deadline > now.time) {
      ++it;
      continue;
    }
    const auto done = std::move(it->second.done);
    it = pings_.erase(it);
    done(Error{Code::kTimedOut, "no answer", "`lanrage status` says how the player is reached"});
  }
  pump(now);
}

std::optional<Time> Node::next_timeout() const {
  Time next = std::min(
      {counters_due_, contacts_due_, search_at_, history_due_, quality_due_, legs_due_, udp_due_, early_until_});
  auto consider = [&next](std::optional<Time> time) {
    if (time) next = std::min(next, *time);
  };
  consider(tunnel_.next_timeout());
  consider(stun_.next_timeout());
  consider(discovery_.next_timeout());
  consider(lifetime_meter_.next_timeout());
  consider(relays_.next_timeout());
  if (lan_) consider(lan_->next_timeout());
  for (const auto& [key, link] : links_) {
    consider(link->selector->next_timeout());
    consider(link->punch->next_timeout());
    if (!link->waiting.empty()) consider(link->waiting.front().until);
  }
  for (const auto& [id, ping] : pings_) consider(ping.deadline);
  return next == kNever ? std::nullopt : std::optional<Time>(next);
}

// --- ping ----------------------------------------------------------------------------------------------------------

void Node::ping(Now now, std::string_view name, Duration timeout, Done<PingAnswer> done) {
  auto member = member_named(name);
  if (!member) return done(std::move(member).error());
  Link* link = link_of((*member)->record.record().public_key);
  if (link == nullptr) return done(Error{Code::kNotFound, "that is you", "ping another player"});
  const std::uint16_t id = ++last_ping_;
  pings_[id] = {link->key, now.time, now.time + timeout, std::move(done)};
  const wire::Echo echo{wire::Echo::Kind::kRequest, id, 0, 0};
  const auto bytes = echo.bytes();
  send_inner(now, *link, to_bytes(bytes), Lane::kGame);
  pump(now);
}

void Node::send_inner(Now now, Link& link, Bytes inner, Lane lane) {
  if (is_open(now, link)) {
    inners_.push_back({link.slot, link.key, lane, std::move(inner)});
    return;
  }
  if (link.waiting.size() >= kWaitingPacketsMax) link.waiting.pop_front();
  link.waiting.push_back({now.time + kSessionless, std::move(inner), lane});
  if (link.selector->selected()) tunnel_.handle_outbound(now, link.key);
}

// --- what comes of it ----------------------------------------------------------------------------------------------

void Node::send_to(const Path& path, const crypto::PublicKey& peer, Bytes datagram) {
  if (path.relayed && travels_by_name(datagram)) {
    Bytes framed(datagram.size() + wire::kRelayHeaderBytes);
    paths::RelayClient::frame(wire::relay_peer(peer), datagram, framed);
    datagram = std::move(framed);
  }
  datagrams_.push_back({path.endpoint, std::move(datagram), {}, path.socket});
}

void Node::pump(Now now) {
  pump_stun(now);
  pump_discovery(now);
  // Each part's output may be another's input; they settle within a few rounds.
  while (pump_lan(now) || pump_tunnel(now) || pump_relays(now) || pump_links(now)) {
  }
  settle_sockets(now);
  pump_streams(now);
  pump_quality(now);
  if (forwarding_dirty_) publish();
}

bool Node::pump_tunnel(Now now) {
  bool any = false;
  while (auto happened = tunnel_.poll_event()) {
    any = true;
    if (std::holds_alternative<tunnel::TimestampFloorRaised>(*happened)) {
      event(SaveTimestampFloor{});
      continue;
    }
    const crypto::PublicKey peer = std::visit(
        [](const auto& e) {
          if constexpr (requires { e.peer; }) return e.peer;
          return crypto::PublicKey();
        },
        *happened);
    Link* link = link_of(peer);
    if (link == nullptr) continue;
    if (auto* ready = std::get_if<tunnel::SessionReady>(&*happened)) {
      link->met = true;
      link->sessions.push_back({ready->receive->local_index(), ready->send, ready->receive});
      relays_.add_index(now.time, ready->receive->local_index());
      if (link->initiating == ready->receive->local_index()) link->initiating.reset();
      if (ready->initiator) {
        link->sending = ready->send;
        finished(now.time, op::kConnectToPeer, link->connecting_since);
        announce_summary(now, *link);
        // The responder may send only once it has heard from us.
        if (link->waiting.empty()) inners_.push_back({link->slot, peer, Lane::kGame, {}});
      }
    } else if (auto* confirmed = std::get_if<tunnel::SessionConfirmed>(&*happened)) {
      for (const SessionKeys& session : link->sessions) {
        if (session.local_index == confirmed->local_index) link->sending = session.send;
      }
      finished(now.time, op::kConnectToPeer, link->connecting_since);
      announce_summary(now, *link);
    } else if (auto* retired = std::get_if<tunnel::SessionRetired>(&*happened)) {
      std::erase_if(link->sessions, [&](const SessionKeys& s) { return s.local_index == retired->local_index; });
      if (link->sending && link->sending->local_index() == retired->local_index) link->sending.reset();
      relays_.remove_index(retired->local_index);
    } else if (std::holds_alternative<tunnel::KeepaliveDue>(*happened)) {
      if (link->sending) inners_.push_back({link->slot, peer, Lane::kGame, {}});
      continue;
    } else if (std::holds_alternative<tunnel::HandshakeFailed>(*happened)) {
      link->waiting.clear();
      if (link->initiating) relays_.remove_index(*std::exchange(link->initiating, std::nullopt));
    } else {
      continue;
    }
    if (link->sending) {
      for (Waiting& waiting : link->waiting)
        inners_.push_back({link->slot, peer, waiting.lane, std::move(waiting.packet)});
      link->waiting.clear();
    }
    forwarding_dirty_ = true;
    event(StatusChanged{});
  }
  while (auto transmit = tunnel_.poll_transmit()) {
    any = true;
    std::optional<Path> path = transmit->path;
    if (!path && transmit->peer) {
      if (Link* link = link_of(*transmit->peer)) path = link->selector->selected();
    }
    if (!path) continue;
    const std::uint8_t type = transmit->datagram[0];
    if (type == 1 || type == 2) {  // its sender index is what answers and data will carry
      const auto index = load_le<std::uint32_t>(transmit->datagram.data() + 4);
      if (Link* link = type == 1 ? link_of(*transmit->peer) : nullptr) {
        if (link->initiating) relays_.remove_index(*link->initiating);  // of one that nobody answered
        link->initiating = index;
      }
      relays_.add_index(now.time, index);
      pump_relays(now);
    }
    send_to(*path, transmit->peer.value_or(crypto::PublicKey()), std::move(transmit->datagram));
  }
  return any;
}

bool Node::pump_relays(Now now) {
  bool any = false;
  while (auto transmit = relays_.poll_transmit()) {
    datagrams_.push_back({transmit->to, std::move(transmit->datagram)});
  }
  bool moved = false;
  while (auto happened = relays_.poll_event()) {
    any = true;
    using Kind = paths::RelayClient::Event::Kind;
    switch (happened->kind) {
      case Kind::kRegistered:
        paths_log_.debug("registered with a relay", {{"relay", happened->path.endpoint.text()}});
        finished(now.time, op::kRelayRegister, registering_since_);
        moved = true;
        break;
      case Kind::kLost:
        paths_log_.warn("a relay does not answer");
        registering_since_ = Begun{now.time};
        moved = true;
        break;
      case Kind::kDraining:
        paths_log_.info("a relay goes away: others are used");
        moved = true;
        break;
      case Kind::kLeft:
        moved = true;
        break;
      case Kind::kIndexTaken:
        tunnel_.reject_index(now, happened->index);
        break;
      case Kind::kAbsent: {
        auto name = relay_names_.find(happened->peer);
        if (Link* link = name == relay_names_.end() ? nullptr : link_of(name->second))
          link->selector->handle_relay_absent(now.time, happened->path);
        break;
      }
      case Kind::kGrantWanted:
        follow();
        break;  // a stream begins with a fresh grant
    }
  }
  note_legs(now);
  if (moved) {
    give_relays(now);
    forwarding_dirty_ = true;
  }
  return any;
}

void Node::pump_streams(Now now) {
  auto wanted = relays_.streams_wanted();
  const bool is_named = grant_ && !relay_infos_.empty();
  if (is_named || now.time >= early_until_ || stun_.stats().answered != 0) early_until_ = kNever;
  if (early_until_ != kNever) wanted = {crypto::PublicKey()};
  if (wanted == streams_) return;
  if (streams_.empty()) paths_log_.info("no relay answers over UDP; trying TLS");
  if (wanted.empty()) paths_log_.info("relays are reached over UDP again");
  streams_ = std::move(wanted);
  event(RelayStreamsChanged{});
}

std::vector<wire::RelayInfo> Node::relay_streams() const {
  std::vector<wire::RelayInfo> out;
  if (early_until_ != kNever && server_) {
    wire::RelayInfo& unnamed = out.emplace_back();
    unnamed.stream = server_->key;
    for (const party::ServerAddress& address : server_->addresses)
      if (const auto ip = address.ip()) unnamed.addresses.push_back({*ip, address.port});
  }
  for (const wire::RelayInfo& info : relay_infos_)
    if (std::find(streams_.begin(), streams_.end(), info.key) != streams_.end()) out.push_back(info);
  return out;
}

void Node::handle_relay_stream(Now now, const crypto::PublicKey& relay, const std::optional<Endpoint>& entrance) {
  relays_.set_stream(now.time, relay, entrance);
  pump(now);
}

// One side begins, so that two handshakes do not cross; either begins when packets wait.
void Node::begin_session(Now now, const Link& link) {
  if (is_open(now, link)) return;
  if (identity_.public_key() < link.key || !link.waiting.empty()) tunnel_.start_handshake(now, link.key);
}

// How long the first direct path took, and how long a relay had to do until then.
void Node::time_path(Time now, Link& link, const Path& path) {
  if (path.relayed) {
    if (!link.relayed_since) link.relayed_since = Begun{now, link.punching_since.value_or(Begun{now}).context};
    return;
  }
  finished(now, op::kHolePunch, link.punching_since);
  finished(now, op::kPromotePath, link.relayed_since);
}

void Node::finished(Time now, Operation operation, std::optional<Begun>& begun) {
  if (!begun) return;
  const ContextScope scope(begun->context);
  paths_log_.timed(operation, now - std::exchange(begun, std::nullopt)->at);
}

Context Node::context() const {
  return roster_ ? Context::current().with("party_id", roster_->party().text()) : Context::current();
}

bool Node::pump_links(Now now) {
  bool any = false;
  for (auto& [key, link] : links_) {
    while (auto happened = link->selector->poll_event()) {
      any = true;
      using Kind = paths::Selector::Event::Kind;
      switch (happened->kind) {
        case Kind::kSelected: {
          // Also of the operation that this member was met in, until there is a direct path.
          const ContextScope scope(link->punching_since ? link->punching_since->context : Context::current());
          paths_log_.debug("path chosen", {{"peer_id", key.base64()},
                                           {"path", happened->path.endpoint.text()},
                                           {"relayed", happened->path.relayed},
                                           {"proven", happened->valid}});
          time_path(now.time, *link, happened->path);
          relays_.check_all(now.time);  // what silenced another path may have silenced them
          if (happened->path.relayed && search_at_ == kNever) begin_search(now);
          forwarding_dirty_ = true;
          begin_session(now, *link);
          break;
        }
        case Kind::kLost:
          paths_log_.debug("no path", {{"peer_id", key.base64()}});
          relays_.check_all(now.time);
          link->punching_since = Begun{now.time, Context::current().with("peer_id", key.base64())};
          link->relayed_since.reset();
          if (search_at_ == kNever) begin_search(now);
          forwarding_dirty_ = true;
          break;
        case Kind::kSecondChanged:
          forwarding_dirty_ = true;
          break;
        case Kind::kReviewed:
          paths_log_.debug("the path in use gets slower: the others were looked at", {{"peer_id", key.base64()}});
          if (const auto path = link->selector->selected(); path && path->relayed) relays_.check(now.time, *path);
          break;
        case Kind::kSignal:
          send_signal(*link, happened->call_me_now);
          break;
        case Kind::kPeerRestarted:
          tunnel_.start_handshake(now, key);
          break;
        case Kind::kRelaySilent:
          relays_.check(now.time, happened->path);
          break;
        case Kind::kStateChanged:  // a handshake sent before the other side was there is lost
          if (link->selector->state() == paths::PeerState::kConnected) begin_session(now, *link);
          if (link->own_relay) gather_relays(now);
          break;
      }
      event(StatusChanged{});
    }
    pump_punch(now, *link);
    while (auto transmit = link->selector->poll_transmit()) send_to(transmit->path, key, to_bytes(transmit->datagram));
  }
  return any;
}

bool Node::pump_lan(Now now) {
  if (!lan_) return false;
  bool any = false;
  while (auto envelope = lan_->poll_transmit()) {
    any = true;
    // Who is just being connected hears it in a moment: a game may say only once that it is there.
    for (auto& [key, link] : links_) {
      if (link->sending || link->selector->selected() || online_.contains(key))
        send_inner(now, *link, *envelope, Lane::kGame);
    }
  }
  if (lan_->translation() != forwarding_->translation) forwarding_dirty_ = true;
  return any;
}

void Node::publish() {
  forwarding_dirty_ = false;
  auto snapshot = std::make_shared<Forwarding>();
  if (roster_) {
    snapshot->identity = identity_.public_key();
    snapshot->lan = true;
    snapshot->flows = flows_;
    snapshot->translation = lan_->translation();
    const party::MemberRecord& self = roster_->self();
    snapshot->own = {self.ipv4, self.ipv6()};
    snapshot->broadcasts = {IpPrefix{self.ipv4, roster_->genesis().prefix.length}.broadcast()};
    snapshot->relays = relays_.heard();
    auto routes = std::make_shared<tunnel::AllowedIps<>>();
    snapshot->peers.resize(slots_.size());
    std::vector<SessionTable::Session> sessions;
    for (const auto& [key, link] : links_) {
      const party::Member* member = roster_->find(key);
      if (member == nullptr) continue;
      const party::MemberRecord& record = member->record.record();
      Peer& peer = snapshot->peers[link->slot];
      peer.key = key;
      peer.state = link->state;
      peer.send = link->sending;
      peer.lanrage = true;
      peer.path_mtu = kDatagramInner;
      peer.filter = filter_;
      if (const auto path = link->selector->selected()) {
        peer.paths[peer.path_count++] = *path;
        if (const auto second = link->selector->second()) peer.paths[peer.path_count++] = *second;
      }
      routes->insert(IpPrefix::host(record.ipv4), link->slot);
      routes->insert(IpPrefix::host(record.ipv6()), link->slot);
      for (const IpPrefix& route : record.routes) routes->insert(route, link->slot);
      for (const SessionKeys& session : link->sessions) sessions.push_back({session.receive, link->slot});
    }
    snapshot->routes = std::move(routes);
    snapshot->sessions = SessionTable(std::move(sessions));
  }
  forwarding_ = std::move(snapshot);
  event(ForwardingChanged{});
}

namespace {

template <class T>
std::optional<T> take(std::deque<T>& queue) {
  if (queue.empty()) return std::nullopt;
  T front = std::move(queue.front());
  queue.pop_front();
  return front;
}

}  // namespace

std::optional<NodeEvent> Node::poll_event() { return take(events_); }
std::optional<OutDatagram> Node::poll_datagram() { return take(datagrams_); }
std::optional<OutInner> Node::poll_inner() { return take(inners_); }
std::optional<OutRequest> Node::poll_request() { return take(requests_); }
std::optional<lan::Delivery> Node::poll_delivery() { return lan_ ? lan_->poll_delivery() : std::nullopt; }

}  // namespace lanrage::node
