// The links to the other members: keys, candidates, signals.
#include <algorithm>
#include <utility>

#include "node/node.h"

namespace lanrage::node {
void Node::sync_links(Now now) {
  std::vector<crypto::PublicKey> gone;
  for (const auto& [key, link] : links_) {
    if (roster_->find(key) == nullptr) gone.push_back(key);
  }
  for (const crypto::PublicKey& key : gone) remove_link(now, key);
  for (const auto& [key, member] : roster_->members()) {
    if (link_of(key) == nullptr) add_link(now, member);
  }
}

void Node::add_link(Now now, const party::Member& member) {
  const crypto::PublicKey key = member.record.record().public_key;
  auto free = std::find(slots_.begin(), slots_.end(), crypto::PublicKey());
  if (free == slots_.end()) free = slots_.insert(slots_.end(), crypto::PublicKey());
  *free = key;

  auto link = std::make_unique<Link>();
  link->key = key;
  link->slot = static_cast<std::uint32_t>(free - slots_.begin());
  link->connecting_since = link->punching_since = Begun{now.time, Context::current().with("peer_id", key.base64())};
  paths::SelectorOptions options;
  options.self = identity_.public_key();
  options.peer = key;
  options.instance = instance_;
  options.local_port = port_;
  options.allow_loopback = options_.allow_loopback;
  options.redundancy = options_.redundancy;
  link->selector = std::make_unique<paths::Selector>(options, rng_);
  link->selector->set_local(nat_report(), candidates_);
  link->selector->set_network(network_signal_);
  link->selector->set_keepalive(keepalive_interval());
  link->punch = std::make_unique<paths::Punch>(identity_.public_key() < key, extra_sockets_, rng_);
  if (auto added = tunnel_.add_peer(now, key, {}); !added) {
    paths_log_.warn("a member cannot be a peer", {{"problem", added.error().message}});
    *free = crypto::PublicKey();
    return;
  }
  relay_names_[wire::relay_peer(key)] = key;
  Link& placed = *(links_[key] = std::move(link));
  update_keys(now, placed);
  plan_relays(placed);
  choose_used_relays(now);
  give_relays(now);
  refresh_punch();
  placed.selector->start(now.time);
  if (search_at_ == kNever) begin_search(now);
  if (counters_due_ == kNever) counters_due_ = now.time + std::chrono::seconds{1};
}

void Node::remove_link(Now, const crypto::PublicKey& key) {
  auto found = links_.find(key);
  if (found == links_.end()) return;
  Link& link = *found->second;
  for (const SessionKeys& session : link.sessions) relays_.remove_index(session.local_index);
  if (link.initiating) relays_.remove_index(*link.initiating);
  for (std::uint64_t tag : link.tags) tags_.erase(tag);
  relay_names_.erase(wire::relay_peer(key));
  slots_[link.slot] = crypto::PublicKey();
  std::erase_if(inners_, [&](const OutInner& inner) { return inner.peer == key; });
  links_.erase(found);
  tunnel_.remove_peer(key);
  forwarding_dirty_ = true;
}

void Node::update_keys(Now now, Link& link) {
  tunnel::PeerOptions options;
  std::vector<paths::ProbeKey> probe_keys;
  for (const party::PairKeys& keys : roster_->pair_keys(link.key)) {
    options.preshared_keys.push_back(keys.psk);
    probe_keys.emplace_back(keys.probe.bytes());
  }
  if (probe_keys.size() > paths::kProbeKeysMax) probe_keys.resize(paths::kProbeKeysMax);
  if (auto updated = tunnel_.update_peer(now, link.key, options); !updated) {
    paths_log_.warn("a member's keys cannot be used", {{"problem", updated.error().message}});
  }
  link.selector->set_keys(probe_keys);
  for (std::uint64_t tag : link.tags) tags_.erase(tag);
  link.tags = link.selector->receive_tags();
  for (std::uint64_t tag : link.tags) tags_[tag] = link.key;
}

// --- candidates and signals ----------------------------------------------------------------------------------------

void Node::refresh_candidates(Now now) {
  paths::CandidateSources sources;
  sources.interfaces = interfaces_;
  if (roster_) sources.party_prefixes = {roster_->genesis().prefix, IpPrefix{roster_->self().ipv6(), 64}};
  sources.server_reflexive = stun_.report().public_endpoints;
  sources.mapped = mapped_;
  sources.port = port_;
  sources.allow_loopback = options_.allow_loopback;
  std::vector<paths::Candidate> fresh = paths::gather_candidates(sources);
  const bool changed = fresh != candidates_;
  candidates_ = std::move(fresh);
  if (changed) ++generation_;
  for (auto& [key, link] : links_) {
    link->selector->set_local(nat_report(), candidates_);
    if (changed) link->selector->restart(now.time);
  }
  refresh_punch();
}

// What is found out later than the candidates goes to the members by itself: it starts no probes.
void Node::refresh_network() {
  const paths::NetworkView view = network();
  const auto& judged = view.discovery.v4 && view.discovery.v4->answered ? view.discovery.v4 : view.discovery.v6;
  wire::SignalNetwork fresh;
  if (judged && judged->answered) {
    fresh.filtering = judged->filtering;
    fresh.ports = judged->ports.choice;
  }
  const paths::Upstream upstream = paths::upstream_of(view);
  fresh.is_behind_nat = upstream != paths::Upstream::kUnknown && upstream != paths::Upstream::kNothing;
  fresh.is_mapping_refused = router_.asked && !router_.outside;
  if (fresh == std::exchange(network_signal_, fresh)) return;
  refresh_punch();
  for (auto& [key, link] : links_) {
    link->selector->set_local(nat_report(), candidates_);
    link->selector->set_network(network_signal_);
    send_signal(*link, false);
  }
}

// A server answers STUN at its own port: by the time it has told of its relays, we know whether UDP gets out.
void Node::ask_over_udp(Time now) {
  udp_asked_.reset();
  udp_due_ = early_until_ = kNever;
  udp_doubted_ = false;
  std::vector<Endpoint> servers;
  if (server_ && link_state_ == LinkState::kDown)
    for (const party::ServerAddress& address : server_->addresses)
      if (const auto ip = address.ip()) servers.push_back({*ip, address.port});
  if (servers.empty() || stun_.stats().answered != 0) return;
  stun_.set_servers(now, servers);
  udp_asked_ = now;
}

// What STUN servers say, but for a mapping that depends on the address alone: one server's does not show it, a relay's
// beside it does.
paths::NatReport Node::nat_report() const {
  paths::NatReport report = stun_.report();
  const bool depends = discovered_.v4 && discovered_.v4->mapping == paths::Dependence::kAddress;
  if (depends && report.mapping == wire::Mapping::kEndpointIndependent) report.mapping = wire::Mapping::kDependent;
  return report;
}

void Node::handle_server_reached(Now now) {
  if (udp_asked_) udp_due_ = std::max(now.time, *udp_asked_ + kUdpPatience);
  if (udp_due_ <= now.time) doubt_udp(now.time);
  if (entry_ && !entry_->met && entry_->waits) std::exchange(entry_->waits, nullptr)(now, {});
  pump(now);
}

// A stream costs three round trips: where it will be wanted it is begun before it is known which relay to use.
void Node::doubt_udp(Time now) {
  udp_due_ = kNever;
  if (udp_doubted_ || stun_.stats().answered != 0) return;
  udp_doubted_ = true;
  if (relay_infos_.empty()) early_until_ = now + kEarlyStream;
  relays_.doubt_udp();
}

void Node::refresh_punch() {
  const auto& v4 = discovered_.v4;
  paths::Punch::End here{false, nat_report().mapping, network_signal_.ports,
                         v4 && v4->mapping == paths::Dependence::kEndpointIndependent};
  for (const Endpoint& seen : stun_.report().public_endpoints)
    here.seen = here.seen || (seen.address.is_v4() && !seen.address.is_private());
  for (auto& [key, link] : links_) link->punch->set_local(here, stun_endpoints_);
}

void Node::refresh_stun_servers(Now now, std::vector<Endpoint> servers) {
  const bool changed = servers != stun_endpoints_;
  stun_endpoints_ = servers;
  if (changed) discover(now);
  if (servers.size() > paths::kStunServersMax) servers.resize(paths::kStunServersMax);
  stun_.set_servers(now.time, servers);
  if (!servers.empty() && !stun_.is_complete()) discovering_since_ = Begun{now.time};
}

void Node::send_signal(Link& link, bool call_me_now) {
  if (!online_.contains(link.key) || link_state_ != LinkState::kConnected) {
    link.owed_signal = link.owed_signal.value_or(false) || call_me_now;
    return;
  }
  link.owed_signal.reset();
  const auto keys = roster_->pair_keys(link.key);
  if (keys.empty()) return;
  wire::PeerSignal signal;
  signal.call_me_now = call_me_now;
  signal.udp_blocked = stun_.report().udp_blocked;
  signal.mapping = nat_report().mapping;
  signal.instance = instance_;
  signal.generation = generation_;
  signal.candidates = candidates_;
  signal.network = network_signal_;
  signal.legs = legs_;
  signal.punch = link.punch->offer();
  signal.own_relay = own_relay_;
  for (const auto& relay : relays_.status()) {
    if (!relay.path || signal.relays.size() >= wire::kSignalRelaysMax) continue;
    wire::SignalRelay entry{wire::relay_peer(relay.key), wire::kRelayRttUnknown};
    if (const auto rtt = relay.quality.rtt_ema())
      entry.rtt_ms = static_cast<std::uint16_t>(std::min(milliseconds(*rtt), 65534.0));
    signal.relays.push_back(entry);
  }
  wire::PartyId id;
  std::copy(roster_->party().bytes().begin(), roster_->party().bytes().end(), id.begin());
  Bytes sealed = wire::seal_signal(signal, keys.front().signal.bytes(), identity_.public_key(), link.key, rng_);
  requests_.push_back({0, wire::Signal{id, link.key, std::move(sealed)}, context()});  // no answer is waited for
}

// The server tells who is online before it tells who joined: the newcomer opens its stream first.
void Node::set_online(Now now, const crypto::PublicKey& key, bool online) {
  const bool fresh = online ? online_.insert(key).second : online_.erase(key) > 0;
  Link* link = link_of(key);
  if (!fresh || link == nullptr || !online) return;
  if (link->owed_signal) {
    send_signal(*link, *link->owed_signal);
  } else {
    link->selector->restart(now.time);
  }
}

bool Node::handle_signalled(Now now, const wire::Signalled& signalled, bool is_fresh) {
  Link* link = link_of(signalled.from);
  if (link == nullptr) return false;
  for (const party::PairKeys& keys : roster_->pair_keys(link->key)) {
    const auto signal = wire::open_signal(signalled.sealed, keys.signal.bytes(), link->key, identity_.public_key());
    if (!signal) continue;
    link->signal = signalled.sealed;
    if (link->candidates != signal->candidates) contacts_changed(now);
    link->candidates = signal->candidates;
    link->selector->handle_signal(now.time, *signal);
    if (signal->own_relay != std::exchange(link->own_relay, signal->own_relay)) {
      contacts_changed(now);
      gather_relays(now);
    }
    if (signal->legs != std::exchange(link->legs, signal->legs)) {
      plan_relays(*link);
      choose_used_relays(now);
      give_relays(now);
    }
    if (is_fresh) link->punch->handle_signal(now.time, *signal);
    return true;
  }
  paths_log_.warn("refused a signal that the member it names did not seal");
  return false;
}

// --- punching ------------------------------------------------------------------------------------------------------

void Node::pump_punch(Now now, Link& link) {
  paths::Punch& punch = *link.punch;
  const bool can_tell = online_.contains(link.key) && link_state_ == LinkState::kConnected;
  const paths::Quality* quality = link.selector->quality();
  punch.set_missing(now.time, !link.selector->is_direct(), can_tell,
                    quality != nullptr ? quality->rtt_ema() : std::nullopt);
  if (punch.poll_offer()) send_signal(link, false);
  while (auto question = punch.poll_question())
    datagrams_.push_back({question->to, to_bytes(question->datagram), {}, question->socket});
  while (auto guess = punch.poll_guess()) link.selector->guess(*guess);
}

// Extra sockets that neither an attempt nor a path uses are closed.
void Node::settle_sockets(Now now) {
  if (extra_sockets_.open().empty() && told_sockets_.empty()) return;
  std::set<std::uint16_t> used;
  for (auto& [key, link] : links_) {
    const auto& punching = link->punch->sockets();
    used.insert(punching.begin(), punching.end());
    const auto kept = link->selector->sockets(now.time);
    used.insert(kept.begin(), kept.end());
  }
  extra_sockets_.keep_only(used);
  if (extra_sockets_.open() == told_sockets_) return;
  told_sockets_ = extra_sockets_.open();
  for (auto& [key, link] : links_) link->selector->close_sockets(told_sockets_);
  event(ExtraSocketsChanged{});
}

// --- what is known of a party whose server is gone -----------------------------------------------------------------

// Many changes are one write.
void Node::contacts_changed(Now now) { contacts_due_ = std::min(contacts_due_, now.time + kContactsSaved); }

std::string Node::contacts() const {
  if (!roster_) return {};
  std::string lines = wire::encode(wire::Event(wire::Relays{named_relays_, stun_endpoints_, relay_turn_})) + '\n';
  if (!grant_keys_.empty()) lines += wire::encode(wire::Event(wire::GrantKeys{grant_keys_})) + '\n';
  if (grant_) lines += wire::encode(wire::Event(*grant_)) + '\n';
  for (const auto& [key, link] : links_) {
    if (!link->signal.empty()) lines += wire::encode(wire::Event(wire::Signalled{key, link->signal})) + '\n';
  }
  return lines;
}

void Node::recall(Now now, std::string_view contacts) {
  while (!contacts.empty()) {
    const std::size_t end = std::min(contacts.find('\n'), contacts.size());
    const auto event = wire::decode_event(contacts.substr(0, end));
    contacts.remove_prefix(std::min(end + 1, contacts.size()));
    if (!event || !*event) continue;
    if (const auto* relays = std::get_if<wire::Relays>(&**event)) use_relays(now, *relays);
    if (const auto* signalled = std::get_if<wire::Signalled>(&**event)) handle_signalled(now, *signalled, false);
    if (const auto* keys = std::get_if<wire::GrantKeys>(&**event)) use_grant_keys(now, *keys);
    const auto* grant = std::get_if<wire::Grant>(&**event);
    if (grant != nullptr && grant->expires > unix_seconds(now.wall)) use_grant(now, *grant);
  }
  contacts_due_ = kNever;  // as they are on disk
}

AdapterConfig Node::adapter() const {
  AdapterConfig config;
  if (!roster_) return config;
  const party::MemberRecord& self = roster_->self();
  config.addresses = {IpPrefix{self.ipv4, roster_->genesis().prefix.length}, IpPrefix{self.ipv6(), 64}};
  for (const auto& [key, member] : roster_->members()) {
    config.neighbours.push_back({member.record.record().ipv4, key});
    config.neighbours.push_back({member.record.record().ipv6(), key});
  }
  return config;
}

}  // namespace lanrage::node
