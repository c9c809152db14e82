// What a person sees of the node.
#include "base/format.h"
#include "node/node.h"
#include "paths/why.h"
#include "wire/signal.h"

namespace lanrage::node {
namespace {}  // namespace

paths::NetworkView Node::network() const {
  paths::NetworkView view{discovered_, stun_.report().udp_blocked, {}, router_, port_, lifetime_};
  for (const auto& address : interfaces_)
    if (!address.is_ours) view.own.push_back(address.prefix.address);
  return view;
}

PathStatus Node::status_of(const Path& path) const {
  PathStatus status;
  status.relayed = path.relayed;
  status.endpoint = path.endpoint;
  if (const auto relay = path.relayed ? relays_.id_of(path) : std::nullopt) {
    status.relay = format("{:016x}", *relay);
    for (const wire::RelayInfo& info : relay_infos_)
      if (wire::relay_peer(info.key) == *relay) status.relay_member = member_of(info.key);
  }
  status.tls = relays_.is_stream(path);
  if (const auto address = status.tls ? relays_.address_of(path) : std::nullopt) status.endpoint = *address;
  return status;
}

NodeStatus Node::status(Now now) const {
  NodeStatus out;
  out.public_key = identity_.public_key().base64();
  out.notices = notices_;
  if (const paths::NetworkView view = network(); view.udp_blocked || view.discovery.v4 || view.discovery.v6) {
    out.nat = NatStatus{paths::nat_type(view), paths::mapping_name_of(view), paths::type_in_words(view), {}};
    for (const Endpoint& endpoint : stun_.report().public_endpoints)
      out.nat->public_endpoints.push_back(endpoint.text());
  }
  if (server_) {
    const char* state = link_state_ == LinkState::kConnected ? "connected"
                        : link_problem_.empty()              ? "connecting"
                                                             : "unreachable";
    out.server = NodeStatus::Server{"https://" + server_->addresses.front().text(), state, link_problem_,
                                    node::status_of(server_quality_)};
  }
  if (!roster_) {
    out.state = entering_ ? NodeState::kConnecting : NodeState::kIdle;
    return out;
  }
  const party::MemberRecord& self = roster_->self();
  out.state = link_state_ == LinkState::kConnected ? NodeState::kInParty
              : link_problem_.empty()              ? NodeState::kConnecting
                                                   : NodeState::kDegraded;
  out.name = self.name;
  out.addresses = {self.ipv4.text(), self.ipv6().text()};
  out.party =
      NodeStatus::Party{roster_->party().text(), roster_->genesis().name, roster_->is_owner() ? "owner" : "member",
                        roster_->epoch(), roster_->genesis().prefix.text()};
  for (const auto& [key, link] : links_) {
    const party::Member* member = roster_->find(key);
    if (member == nullptr) continue;
    PeerStatus peer;
    peer.name = member->name;
    peer.public_key = key.base64();
    peer.addresses = {member->record.record().ipv4.text(), member->record.record().ipv6().text()};
    peer.online = online_.contains(key);
    const auto tunnel_status = tunnel_.status(now, key);
    // A session that ended by idleness is made anew in one round trip: what counts is that the path answers.
    const bool connected = link->selector->state() == paths::PeerState::kConnected && tunnel_status &&
                           tunnel_status->last_handshake.has_value();
    peer.state = connected                                                   ? Reach::kConnected
                 : link->selector->state() == paths::PeerState::kUnreachable ? Reach::kUnreachable
                                                                             : Reach::kConnecting;
    if (const auto path = link->selector->selected()) peer.path = status_of(*path);
    if (const auto path = link->selector->second()) peer.second_path = status_of(*path);
    peer.why = peer.online || connected ? link->selector->why(now.time) : "not online";
    peer.relays = pair_relays(*link);
    if (const auto help = link->selector->relay_help(now.time))
      peer.relay_help = RelayHelp{milliseconds(help->direct), milliseconds(help->relayed)};
    if (std::string doing = link->punch->why(); connected && !doing.empty()) peer.why = std::move(doing);
    if (connected && peer.path && peer.path->tls) peer.why = paths::kWhyOverTls;
    peer.quality = quality_of(*link);
    const tunnel::Activity activity = link->state->counters.read();
    peer.rx_bytes = activity.received_bytes;
    peer.tx_bytes = activity.sent_bytes;
    const PeerCounters::Copies copies = link->state->counters.copies();
    peer.copied_packets = copies.packets;
    peer.copied_bytes = copies.bytes;
    if (tunnel_status && tunnel_status->last_handshake) {
      peer.last_handshake_s = std::chrono::duration<double>(now.time - tunnel_status->last_handshake->time).count();
    }
    out.peers.push_back(std::move(peer));
  }
  return out;
}

std::vector<NamedMember> Node::named_members() const {
  std::vector<NamedMember> out;
  if (!roster_) return out;
  const auto add = [&out](const party::MemberRecord& record) {
    out.push_back({record.name, record.hostname, {record.ipv4, record.ipv6()}});
  };
  add(roster_->self());
  for (const auto& [key, link] : links_) {
    if (const party::Member* member = roster_->find(key)) add(member->record.record());
  }
  return out;
}

}  // namespace lanrage::node
