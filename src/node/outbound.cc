#include "node/outbound.h"

#include <algorithm>

namespace lanrage::node {

namespace {

// RFC 4594: EF 46; CS4, CS5, CS6 = 32, 40, 48; AF41, AF42, AF43 = 34, 36, 38.
bool is_urgent(std::uint8_t traffic_class) {
  switch (traffic_class >> 2) {
    case 32:
    case 34:
    case 36:
    case 38:
    case 40:
    case 46:
    case 48:
      return true;
    default:
      return false;
  }
}

}  // namespace

Lane lane_of(ByteView packet, const wire::IpHeader& ip) {
  if (is_urgent(ip.traffic_class)) return Lane::kGame;
  if (ip.protocol == wire::kProtocolUdp && ip.size <= kGameUdpBytesMax) return Lane::kGame;
  if (ip.fragment || ip.payload_size() == 0) return Lane::kBulk;
  const std::uint8_t type = packet[ip.payload_offset];
  if (ip.protocol == wire::kProtocolIcmp) return type == 0 || type == 8 ? Lane::kGame : Lane::kBulk;
  if (ip.protocol == wire::kProtocolIcmpv6) return type == 128 || type == 129 ? Lane::kGame : Lane::kBulk;
  return Lane::kBulk;
}

const char* drop_name(OutboundDrop reason) {
  switch (reason) {
    case OutboundDrop::kMalformed:
      return "malformed";
    case OutboundDrop::kNoRoute:
      return "no_route";
    case OutboundDrop::kNoPath:
      return "no_path";
    case OutboundDrop::kTooBig:
      return "too_big";
    case OutboundDrop::kQueueFull:
      return "queue_full";
    case OutboundDrop::kCount:
      break;
  }
  return "unknown";
}

OutboundVerdict Outbound::drop(OutboundDrop reason) {
  note_drop(reason);
  return {OutboundVerdict::Action::kDrop, reason, Lane::kBulk, 0};
}

OutboundVerdict Outbound::judge(const Forwarding& forwarding, Time now, ByteView packet) {
  auto ip = wire::parse_ip(packet);
  if (!ip) return drop(OutboundDrop::kMalformed);
  OutboundVerdict verdict;
  verdict.lane = lane_of(packet, *ip);
  if (forwarding.lan && forwarding.is_group(ip->destination)) {
    verdict.action = OutboundVerdict::Action::kGroup;
    return verdict;
  }
  const auto slot = forwarding.routes->find(ip->destination);
  const Peer* peer = slot ? forwarding.peer(*slot) : nullptr;
  if (peer == nullptr) return drop(OutboundDrop::kNoRoute);
  if (const auto source = forwarding.translation ? forwarding.translation->outbound_source(*ip) : std::nullopt) {
    verdict.translate = true;
    ip->source = *source;  // the address that an answer will come to
  }
  if (peer->filter && forwarding.flows) peer->filter->note_sent(now, packet, *ip, *forwarding.flows);
  verdict.slot = *slot;
  verdict.action =
      peer->send && peer->send->usable(now) ? OutboundVerdict::Action::kSeal : OutboundVerdict::Action::kNeedsSession;
  if (verdict.action == OutboundVerdict::Action::kSeal && peer->path_count == 0) return drop(OutboundDrop::kNoPath);
  return verdict;
}

void Outbound::translate(const Forwarding& forwarding, MutableBytes packet) {
  const auto ip = wire::parse_ip(packet);
  if (ip && forwarding.translation) forwarding.translation->rewrite_outbound(packet, *ip);
}

std::size_t Outbound::seal(const Peer& peer, Time now, ByteView plain, MutableBytes out) {
  if (!peer.send || !peer.send->usable(now)) return 0;
  const std::size_t size = peer.send->seal(plain, out, peer.path_mtu);
  if (size == 0) return 0;
  peer.state->counters.note_sent(now, size, peer.send->counter(), plain.empty());
  if (!plain.empty() && now - std::exchange(peer.state->tx.last_packet, now) > kQuiet) begun_ = true;
  return size;
}

std::array<std::size_t, 2> Outbound::seal_cut(const Peer& peer, Time now, ByteView packet,
                                              std::array<MutableBytes, 2> out) {
  const auto cut = wire::fragment_cut(packet.size(), peer.path_mtu);
  if (!cut) {
    note_drop(OutboundDrop::kTooBig);
    return {0, 0};
  }
  const std::uint16_t id = peer.state->tx.fragment_id++;
  const std::array halves{packet.first(*cut), packet.subspan(*cut)};
  std::array<std::size_t, 2> sizes{};
  for (std::uint8_t part = 0; part < 2; ++part) {
    wire::Fragment::write_header(half_.data(), part, id, halves[part].size());
    std::copy(halves[part].begin(), halves[part].end(), half_.begin() + wire::Fragment::kHeaderBytes);
    sizes[part] = seal(peer, now, ByteView(half_).first(wire::Fragment::kHeaderBytes + halves[part].size()), out[part]);
    if (sizes[part] == 0) return {0, 0};
  }
  return sizes;
}

}  // namespace lanrage::node
