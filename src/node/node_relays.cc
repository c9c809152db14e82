// The relays: which are measured and used, what members are told of them, and their order for every pair.
#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "base/format.h"
#include "node/node.h"
#include "party/ipam.h"

namespace lanrage::node {
namespace {

// What members are told is news when a leg changed by so much; the first of it at once, then at ever longer intervals.
constexpr double kNewsShare = 0.05;
constexpr double kNewsMs = 2, kNewsJitterMs = 5;
constexpr int kNewsLossPercent = 2;
constexpr Duration kNewsGapMax = std::chrono::seconds{10};
constexpr double kNewsHealth = 5;
constexpr std::size_t kLossDoubt = 30;                  // answered probes that are put to the measured ones
constexpr Duration kLinger = std::chrono::seconds{60};  // where no pair needs us any more: others may still send there
constexpr std::size_t kNearest = 2;                     // used beside what the pairs need, when there are many

std::uint32_t short_id(wire::RelayPeer relay) { return static_cast<std::uint32_t>(relay >> 32); }

// As if kLossDoubt more had been answered: one of the first eight lost makes 3 %, none of any number nothing.
double expected_loss_percent(const paths::Quality& quality) {
  return 100 * static_cast<double>(quality.lost()) / static_cast<double>(quality.probes() + kLossDoubt);
}

wire::SignalLeg leg_to_signal(wire::RelayPeer relay, const paths::Quality& quality) {
  wire::SignalLeg leg;
  leg.relay = short_id(relay);
  leg.rtt_tenths_ms = static_cast<std::uint16_t>(std::min(std::lround(milliseconds(*quality.rtt_ema()) * 10), 65535L));
  if (const auto jitter = quality.jitter())
    leg.jitter_ms = static_cast<std::uint8_t>(std::min(std::lround(milliseconds(*jitter)), 254L));
  leg.loss_percent = static_cast<std::uint8_t>(std::lround(expected_loss_percent(quality)));
  return leg;
}

paths::RelayLeg leg_of(const wire::SignalLeg& leg) {
  paths::RelayLeg out;
  out.rtt = std::chrono::microseconds{100} * leg.rtt_tenths_ms;
  if (leg.jitter_ms != wire::kLegJitterUnknown) out.jitter = std::chrono::milliseconds{leg.jitter_ms};
  out.loss_percent = leg.loss_percent;
  return out;
}

std::optional<paths::RelayLeg> find_leg(const std::vector<wire::SignalLeg>& legs, wire::RelayPeer relay) {
  const auto found =
      std::find_if(legs.begin(), legs.end(), [&](const wire::SignalLeg& leg) { return leg.relay == short_id(relay); });
  return found == legs.end() ? std::nullopt : std::optional(leg_of(*found));
}

bool is_news(const wire::SignalLeg& told, const wire::SignalLeg& now) {
  const double before = told.rtt_tenths_ms / 10.0;
  return std::abs(now.rtt_tenths_ms / 10.0 - before) > std::max(kNewsMs, before * kNewsShare) ||
         std::abs(now.jitter_ms - told.jitter_ms) > kNewsJitterMs ||
         std::abs(now.loss_percent - told.loss_percent) >= kNewsLossPercent;
}

bool is_news(const std::vector<wire::SignalLeg>& told, const std::vector<wire::SignalLeg>& now) {
  if (told.size() != now.size()) return true;
  return std::any_of(now.begin(), now.end(), [&](const wire::SignalLeg& leg) {
    const auto before =
        std::find_if(told.begin(), told.end(), [&](const wire::SignalLeg& one) { return one.relay == leg.relay; });
    return before == told.end() || is_news(*before, leg);
  });
}

std::string role_text(paths::RelayRole role) {
  return role == paths::RelayRole::kNone ? "" : paths::relay_role_name(role);
}

}  // namespace

void Node::use_relays(Now now, const wire::Relays& relays) {
  if (relays != wire::Relays{named_relays_, stun_endpoints_, relay_turn_}) contacts_changed(now);
  named_relays_ = relays.relays;
  relay_turn_ = relays.turn;
  apply_relays(now, all_relays());
  refresh_stun_servers(now, relays.stun);
}

void Node::apply_relays(Now now, std::vector<wire::RelayInfo> relays) {
  relay_infos_ = std::move(relays);
  std::vector<paths::RelayAddress> infos;
  for (const wire::RelayInfo& info : relay_infos_)
    infos.push_back({info.key, info.addresses, info.stream.has_value(), relaying_member(info.key) != nullptr});
  if (!infos.empty() && relays_.registered().empty() && !registering_since_) registering_since_ = Begun{now.time};
  relays_.set_relays(now.time, infos);
  if (udp_doubted_ && stun_.stats().answered == 0) relays_.doubt_udp();
  plan_relays(now);
}

// The server's come first: a member cannot speak for one of them.
std::vector<wire::RelayInfo> Node::all_relays() const {
  std::vector<wire::RelayInfo> all = named_relays_;
  const auto is_usable = [&](const Endpoint& endpoint) {
    const bool is_inside = roster_->genesis().prefix.contains(endpoint.address) ||
                           party::ula_prefix(roster_->party()).contains(endpoint.address);
    return !is_inside && paths::is_probeable(endpoint, options_.allow_loopback);
  };
  for (const auto& [key, link] : links_) {
    if (relaying_member(key) == nullptr) continue;
    wire::RelayInfo info{key, {}, {}};
    std::ranges::copy_if(link->own_relay->endpoints, std::back_inserter(info.addresses), is_usable);
    if (!info.addresses.empty()) all.push_back(std::move(info));
  }
  return all;
}

// Whose relay has that key. Of a member who is away, as far as anybody can tell, it is none: where the server and our
// own probes disagree, what broke may be the link to the server alone.
const Node::Link* Node::relaying_member(const crypto::PublicKey& key) const {
  const auto found = links_.find(key);
  if (found == links_.end() || !found->second->own_relay) return nullptr;
  const Link& link = *found->second;
  // By the name that signals have for it: nobody's relay is to be taken for the server's.
  const bool is_named = std::any_of(named_relays_.begin(), named_relays_.end(), [&](const wire::RelayInfo& info) {
    return short_id(wire::relay_peer(info.key)) == short_id(wire::relay_peer(key));
  });
  const bool is_there = online_.contains(key) || link_state_ != LinkState::kConnected ||
                        link.selector->state() == paths::PeerState::kConnected;
  return is_there && !is_named ? &link : nullptr;
}

std::string Node::member_of(const crypto::PublicKey& relay) const {
  const party::Member* member = relaying_member(relay) != nullptr ? roster_->find(relay) : nullptr;
  return member == nullptr ? std::string() : member->name;
}

// Members came, went, or said something of their relays.
void Node::gather_relays(Now now) {
  std::vector<wire::RelayInfo> all = all_relays();
  if (all != relay_infos_) apply_relays(now, std::move(all));
  review_health(now);
}

void Node::set_own_relay(Now now, std::optional<wire::MemberRelay> relay) {
  const bool is_same = relay && own_relay_ && relay->endpoints == own_relay_->endpoints &&
                       std::abs(relay->health - own_relay_->health) < kNewsHealth &&
                       std::abs(relay->load - own_relay_->load) < kNewsHealth;
  if (is_same || relay == own_relay_) return;
  own_relay_ = std::move(relay);
  for (auto& [key, link] : links_) send_signal(*link, false);
  event(StatusChanged{});
  pump(now);
}

// None: nobody knows, or the server is away.
std::optional<wire::RelayHealth> Node::relay_health(const crypto::PublicKey& key) const {
  if (link_state_ != LinkState::kConnected) return std::nullopt;
  if (const Link* link = relaying_member(key))
    return wire::RelayHealth{key, link->own_relay->health, link->own_relay->load};
  const auto found = std::find_if(relays_health_.begin(), relays_health_.end(),
                                  [&](const wire::RelayHealth& health) { return health.key == key; });
  return found == relays_health_.end() ? std::nullopt : std::optional(*found);
}

// What was heard last stays in the plans when the server is away: to forget it would move everybody.
void Node::review_health(Now now) {
  std::map<crypto::PublicKey, double> heard;
  for (const wire::RelayHealth& relay : relays_health_) heard[relay.key] = relay.health;
  for (const auto& [key, link] : links_) {
    if (relaying_member(key) != nullptr) heard[key] = link->own_relay->health;
  }
  bool is_news = false;
  for (const wire::RelayInfo& info : relay_infos_) {
    const auto of = [&](const std::map<crypto::PublicKey, double>& all) {
      const auto found = all.find(info.key);
      return found == all.end() ? paths::kFullHealth : found->second;
    };
    is_news = is_news || std::abs(of(heard) - of(planned_health_)) >= kNewsHealth;
  }
  if (!is_news) return;
  planned_health_ = std::move(heard);
  plan_relays(now);
}

void Node::use_grant(Now now, const wire::Grant& grant) {
  grant_ = grant;
  contacts_changed(now);
  relays_.set_grant(now.time, grant.grant);
}

void Node::use_grant_keys(Now now, const wire::GrantKeys& keys) {
  if (grant_keys_ == keys.keys) return;
  grant_keys_ = keys.keys;
  contacts_changed(now);
  event(StatusChanged{});
}

// ---- What is measured

void Node::note_legs(Now now) {
  const paths::RelayClient::Stats& stats = relays_.stats();
  const std::uint64_t measured = stats.answers + stats.losses + stats.forgotten;
  if (measured == std::exchange(legs_measured_, measured) || legs_due_ != kNever) return;
  if (is_news(legs_, measured_legs())) legs_due_ = now.time + legs_gap_;
}

// Best first: of many not all find room in a signal.
std::vector<wire::SignalLeg> Node::measured_legs() const {
  std::vector<wire::SignalLeg> legs;
  for (const auto& relay : relays_.status()) {
    if (relay.quality.rtt_ema()) legs.push_back(leg_to_signal(wire::relay_peer(relay.key), relay.quality));
  }
  std::stable_sort(legs.begin(), legs.end(), [](const wire::SignalLeg& a, const wire::SignalLeg& b) {
    const double first = leg_of(a).score(), second = leg_of(b).score();
    return first != second ? first > second : a.rtt_tenths_ms < b.rtt_tenths_ms;
  });
  return legs;
}

// Plans are made of what members were told, so that both ends make theirs of the same.
void Node::tell_legs(Now now) {
  legs_due_ = kNever;
  legs_gap_ = std::min(kNewsGapMax, legs_gap_ * 4);
  legs_ = measured_legs();
  plan_relays(now);
  for (auto& [key, link] : links_) send_signal(*link, false);
}

// ---- What is used

// Not by the relay of `peer` itself: whoever reaches that reaches the peer.
std::vector<paths::RelayOption> Node::relay_options(const std::vector<wire::SignalLeg>& theirs,
                                                    const crypto::PublicKey& peer) const {
  std::vector<paths::RelayOption> options;
  for (const wire::RelayInfo& info : relay_infos_) {
    if (info.key == peer) continue;
    paths::RelayOption option;
    option.id = wire::relay_peer(info.key);
    option.region = info.region;
    if (const auto found = planned_health_.find(info.key); found != planned_health_.end())
      option.health = found->second;
    option.ours = find_leg(legs_, option.id);
    option.theirs = find_leg(theirs, option.id);
    options.push_back(std::move(option));
  }
  return options;
}

// Anew for every pair, since what is known of the relays changed.
void Node::plan_relays(Now now) {
  if (!roster_) return;
  paths_log_.debug("choosing relays", {{"peers", links_.size()}, {"relays", relay_infos_.size()}});
  for (auto& [key, link] : links_) plan_relays(*link);
  choose_used_relays(now);
  give_relays(now);
}

// Of the party's turn and of the addresses, which the server gives out one after the other.
std::uint64_t Node::pair_number(const Link& link) const {
  const auto host_of = [&](const IpAddress& address) {
    return address.v4_value() - roster_->genesis().prefix.address.v4_value();
  };
  const std::uint64_t first = relay_turn_ != 0 ? relay_turn_ : load_be<std::uint64_t>(roster_->party().bytes().data());
  const party::Member* member = roster_->find(link.key);
  return paths::pair_of(first, host_of(roster_->self().ipv4), member ? host_of(member->record.record().ipv4) : 0);
}

void Node::plan_relays(Link& link) {
  const auto before = link.relays.empty() ? std::nullopt : std::optional(link.relays.front().id);
  const bool is_planned = before && link.relays.front().score;
  {
    const Timed timed(paths_log_, op::kSelectRelay);
    link.relays =
        paths::rank_relays(relay_options(link.legs, link.key), pair_number(link), is_planned ? before : std::nullopt);
  }
  if (link.relays.empty() || !link.relays.front().score || (is_planned && before == link.relays.front().id)) return;
  const paths::RankedRelay& chosen = link.relays.front();
  const ContextScope scope(Context::current().with("peer_id", link.key.base64()));
  paths_log_.debug("relay chosen", {{"relay", format("{:016x}", chosen.id)},
                                    {"score", *chosen.score},
                                    {"health", chosen.health},
                                    {"expected_rtt_ms", milliseconds(*chosen.expected_rtt)}});
}

// Of many relays few are used: first where packets flow, then one that all of the party's members agree upon without
// having measured anything, then what the pairs need, most needed first, then the nearest.
void Node::choose_used_relays(Now now) {
  if (relay_infos_.size() <= paths::kRelaysMax) return;
  std::vector<wire::RelayPeer> wanted;
  const auto want = [&wanted](wire::RelayPeer relay) {
    if (std::find(wanted.begin(), wanted.end(), relay) == wanted.end()) wanted.push_back(relay);
  };
  for (const auto& [key, link] : links_) {
    const auto path = link->selector->selected();
    if (const auto relay = path ? relays_.id_of(*path) : std::nullopt) want(*relay);
  }
  std::vector<paths::RelayOption> unmeasured;  // of members' own each knows others
  for (const wire::RelayInfo& info : named_relays_)
    unmeasured.push_back({.id = wire::relay_peer(info.key), .region = info.region, .ours = {}, .theirs = {}});
  const auto home = load_be<std::uint64_t>(roster_->party().bytes().data());
  if (!unmeasured.empty()) want(paths::rank_relays(unmeasured, home, std::nullopt).front().id);
  constexpr paths::RelayRole kRoles[] = {paths::RelayRole::kPrimary, paths::RelayRole::kSecondary,
                                         paths::RelayRole::kTertiary};
  for (const paths::RelayRole role : kRoles) {
    for (const bool online : {true, false}) {
      for (const auto& [key, link] : links_) {
        for (const paths::RankedRelay& relay : link->relays) {
          if (relay.role == role && relay.score && online_.contains(key) == online) want(relay.id);
        }
      }
    }
  }
  const auto options = relay_options({});
  for (std::size_t i = 0; i < std::min(kNearest, legs_.size()); ++i) {
    for (const paths::RelayOption& option : options) {
      if (short_id(option.id) == legs_[i].relay) want(option.id);
    }
  }
  for (const wire::RelayPeer relay : wanted) relay_wanted_[relay] = now.time;
  std::erase_if(relay_wanted_, [&](const auto& one) { return now.time - one.second >= kLinger; });
  for (const auto& [relay, at] : relay_wanted_) want(relay);
  relays_.use(now.time, wanted);
}

// Each selector has the relays where we are registered in the order of its pair's plan.
void Node::give_relays(Now now) {
  std::map<wire::RelayPeer, Path> registered;
  for (const Path& path : relays_.registered()) registered[relays_.id_of(path).value_or(0)] = path;
  for (auto& [key, link] : links_) {
    std::vector<Path> order;
    for (const paths::RankedRelay& relay : link->relays) {
      if (const auto found = registered.find(relay.id); found != registered.end()) order.push_back(found->second);
    }
    link->selector->set_relays(now.time, order);
  }
}

// ---- What people see

std::vector<RelayStatus> Node::relays() const {
  std::vector<paths::RelayOption> options = relay_options({});
  const auto measured = relays_.status();
  const auto measured_of = [&](wire::RelayPeer id) {
    return std::find_if(measured.begin(), measured.end(),
                        [&](const auto& relay) { return wire::relay_peer(relay.key) == id; });
  };
  for (paths::RelayOption& option : options) {
    option.ours.reset();
    if (const auto found = measured_of(option.id); found != measured.end() && found->quality.rtt_ema())
      option.ours = option.theirs = leg_of(leg_to_signal(option.id, found->quality));
  }
  std::vector<RelayStatus> out;
  for (const paths::RankedRelay& ranked : paths::rank_relays(options, 0, std::nullopt)) {
    RelayStatus one;
    one.id = format("{:016x}", ranked.id);
    one.role = role_text(ranked.role);
    one.score = ranked.score;
    for (const wire::RelayInfo& info : relay_infos_) {
      if (wire::relay_peer(info.key) != ranked.id) continue;
      one.region = info.region;
      one.addresses = info.addresses;
      one.member = member_of(info.key);
      if (const auto health = relay_health(info.key)) {
        one.health = health->health;
        one.load = health->load;
      }
    }
    if (const auto found = measured_of(ranked.id); found != measured.end()) {
      one.registered = found->path.has_value();
      one.by_stream = found->by_stream;
      one.quality = node::status_of(found->quality);
    }
    out.push_back(std::move(one));
  }
  return out;
}

std::vector<PairRelayStatus> Node::pair_relays(const Link& link) const {
  const auto paths = link.selector->paths();
  std::vector<PairRelayStatus> out;
  for (const paths::RankedRelay& ranked : link.relays) {
    PairRelayStatus one;
    one.id = format("{:016x}", ranked.id);
    one.role = role_text(ranked.role);
    one.our_score = ranked.our_score;
    one.peer_score = ranked.peer_score;
    one.score = ranked.score;
    if (ranked.expected_rtt) one.expected_rtt_ms = milliseconds(*ranked.expected_rtt);
    for (const wire::RelayInfo& info : relay_infos_) {
      if (wire::relay_peer(info.key) != ranked.id) continue;
      one.region = info.region;
      one.member = member_of(info.key);
      if (planned_health_.contains(info.key)) one.health = ranked.health;
    }
    for (const auto& info : paths) {
      if (!info.path.relayed || !info.valid || relays_.id_of(info.path) != ranked.id) continue;
      if (const auto rtt = info.quality.rtt_last()) one.rtt_ms = milliseconds(*rtt);
    }
    out.push_back(std::move(one));
  }
  return out;
}

}  // namespace lanrage::node
