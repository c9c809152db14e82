#include "node/inbound.h"

#include <algorithm>

#include "wire/wireguard.h"

namespace lanrage::node {

using Action = InboundVerdict::Action;

const char* drop_name(InboundDrop reason) {
  switch (reason) {
    case InboundDrop::kMalformed:
      return "malformed";
    case InboundDrop::kUnknownSession:
      return "unknown_session";
    case InboundDrop::kExpired:
      return "expired";
    case InboundDrop::kRefused:
      return "refused";
    case InboundDrop::kWrongSource:
      return "wrong_source";
    case InboundDrop::kNotForUs:
      return "not_for_us";
    case InboundDrop::kFiltered:
      return "filtered";
    case InboundDrop::kUnexpectedFrame:
      return "unexpected_frame";
    case InboundDrop::kQueueFull:
      return "queue_full";
    case InboundDrop::kCount:
      break;
  }
  return "unknown";
}

InboundVerdict Inbound::drop(InboundVerdict verdict, InboundDrop reason) {
  note_drop(reason);
  verdict.action = Action::kDrop;
  verdict.reason = reason;
  verdict.packet = {};
  return verdict;
}

InboundVerdict Inbound::handle_datagram(const Forwarding& forwarding, Time now, const Path& from,
                                        MutableBytes datagram) {
  InboundVerdict verdict;
  const auto message = wire::wireguard::parse_data(datagram);
  if (!message) return drop(verdict, InboundDrop::kMalformed);
  const SessionTable::Session* session = forwarding.sessions.find(message->receiver);
  const Peer* peer = session != nullptr ? forwarding.peer(session->slot) : nullptr;
  if (peer == nullptr) return drop(verdict, InboundDrop::kUnknownSession);
  if (!session->key->usable(now)) return drop(verdict, InboundDrop::kExpired);
  const auto opened = session->key->open(datagram);
  if (!opened) return drop(verdict, InboundDrop::kRefused);
  verdict.slot = session->slot;
  verdict.first = opened->first;
  verdict.packet = opened->plain;

  PeerState& state = *peer->state;
  // A packet that was late on its way, under an older key, does not unsay the younger one.
  state.rx.newest_key = std::max(state.rx.newest_key, session->key->created());
  const bool youngest = session->key->created() == state.rx.newest_key;
  state.counters.note_received(now, datagram.size(), youngest ? session->key->local_index() : state.rx.newest_index,
                               opened->plain.empty());
  if (youngest) state.rx.newest_index = session->key->local_index();
  if (opened->newest && youngest) {
    const bool is_first = !state.rx.source;
    if (state.rx.follow(now, from)) {
      verdict.moved = !is_first;
      state.counters.note_source(from);
    }
  }
  if (verdict.packet.empty()) {
    verdict.action = Action::kNothing;
    return verdict;
  }
  return wire::is_ip_packet(verdict.packet) ? handle_packet(forwarding, now, *peer, verdict)
                                            : handle_frame(forwarding, now, *peer, verdict);
}

InboundVerdict Inbound::handle_packet(const Forwarding& forwarding, Time now, const Peer& peer,
                                      InboundVerdict verdict) {
  const auto ip = wire::parse_ip(verdict.packet);
  if (!ip) return drop(verdict, InboundDrop::kMalformed);
  verdict.packet = verdict.packet.first(ip->size);
  verdict.lane = lane_of(verdict.packet, *ip);
  if (forwarding.routes->find(ip->source) != verdict.slot) return drop(verdict, InboundDrop::kWrongSource);
  if (forwarding.lan) {
    if (forwarding.is_group(ip->destination)) {
      // Members wrap these (LAN envelope); only a guest sends them bare.
      if (peer.lanrage) return drop(verdict, InboundDrop::kUnexpectedFrame);
      verdict.action = Action::kGroup;
      return verdict;
    }
    if (!forwarding.is_own(ip->destination)) {
      const auto target = forwarding.routes->find(ip->destination);
      const Peer* to = target ? forwarding.peer(*target) : nullptr;
      if (to == nullptr || *target == verdict.slot || (peer.lanrage && to->lanrage))
        return drop(verdict, InboundDrop::kNotForUs);
      verdict.action = Action::kForward;
      verdict.forward_slot = *target;
      return verdict;
    }
  }
  if (peer.filter && !(forwarding.flows && peer.filter->admits(now, verdict.packet, *ip, *forwarding.flows)))
    return drop(verdict, InboundDrop::kFiltered);
  if (forwarding.translation) forwarding.translation->rewrite_inbound(now, verdict.packet, *ip, trail_);
  verdict.action = Action::kDeliver;
  return verdict;
}

InboundVerdict Inbound::handle_frame(const Forwarding& forwarding, Time now, const Peer& peer, InboundVerdict verdict) {
  const auto type = wire::inner_type(verdict.packet);
  if (!type) return drop(verdict, InboundDrop::kMalformed);
  if (!peer.lanrage) return drop(verdict, InboundDrop::kUnexpectedFrame);
  if (*type != wire::InnerType::kFragment) {
    verdict.action = Action::kFrame;
    return verdict;
  }
  const auto fragment = wire::Fragment::parse(verdict.packet);
  if (!fragment) return drop(verdict, InboundDrop::kMalformed);
  const auto whole = peer.state->rx.fragments.handle_fragment(now, *fragment);
  if (!whole) {
    verdict.action = Action::kNothing;
    return verdict;
  }
  verdict.packet = *whole;
  verdict.reassembled = true;
  if (wire::is_ip_packet(*whole)) return handle_packet(forwarding, now, peer, verdict);
  const auto inside = wire::inner_type(*whole);
  if (!inside || *inside == wire::InnerType::kFragment) return drop(verdict, InboundDrop::kMalformed);
  verdict.action = Action::kFrame;
  return verdict;
}

}  // namespace lanrage::node
