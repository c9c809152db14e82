#include "tun/ethernet.h"

#include <algorithm>
#include <cstring>

#include "wire/ip.h"

namespace lanrage::tun {
namespace {

constexpr std::uint16_t kTypeIpv4 = 0x0800;
constexpr std::uint16_t kTypeArp = 0x0806;
constexpr std::uint16_t kTypeIpv6 = 0x86dd;
constexpr std::size_t kArpSize = 28;
constexpr std::uint16_t kArpRequest = 1;
constexpr std::uint16_t kArpReply = 2;
constexpr std::uint8_t kNeighbourSolicitation = 135;
constexpr std::uint8_t kNeighbourAdvertisement = 136;
constexpr std::size_t kSolicitationSize = 24;     // without options
constexpr std::size_t kAdvertisementSize = 32;    // with the address option
constexpr std::uint8_t kNeighbourHopLimit = 255;  // RFC 4861 section 7.1.1: proves that it was not forwarded

IpAddress v6_at(const std::uint8_t* p) {
  std::array<std::uint8_t, 16> raw;
  std::memcpy(raw.data(), p, raw.size());
  return IpAddress::v6(raw);
}

std::uint8_t* put(std::uint8_t* p, ByteView bytes) { return std::copy(bytes.begin(), bytes.end(), p); }

}  // namespace

Mac mac_from_key(ByteView public_key) {
  // FNV-1a. Only spread is asked of it: who may use an address is decided by keys, never by a MAC.
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::uint8_t byte : public_key) hash = (hash ^ byte) * 0x100000001b3;
  Mac mac;
  for (std::size_t i = 0; i < mac.size(); ++i) mac[i] = static_cast<std::uint8_t>(hash >> (8 * i));
  mac[0] = static_cast<std::uint8_t>((mac[0] & 0xfc) | 0x02);  // locally administered, unicast
  return mac;
}

EthernetLayer::EthernetLayer(Mac own, Neighbourhood neighbourhood) : own_(own) {
  for (const IpPrefix& prefix : neighbourhood.own)
    if (prefix.address.is_v4() && prefix.length < 31) broadcasts_.push_back(prefix.broadcast());
  for (const Neighbourhood::Member& member : neighbourhood.members) members_[member.address] = member.mac;
  for (const IpPrefix& prefix : neighbourhood.own) members_.erase(prefix.address);
}

std::optional<Mac> EthernetLayer::member_mac(const IpAddress& address) const {
  const auto found = members_.find(address);
  if (found == members_.end()) return std::nullopt;
  return found->second;
}

EthernetLayer::Inbound EthernetLayer::handle_frame(ByteView frame) const {
  if (frame.size() <= kEthernetHeaderSize) return {};
  const std::uint8_t* ip = frame.data() + kEthernetHeaderSize;
  switch (load_be<std::uint16_t>(frame.data() + 12)) {
    case kTypeArp:
      return {false, answer_arp(frame)};
    case kTypeIpv4:
      return {ip[0] >> 4 == 4, std::nullopt};
    case kTypeIpv6:
      if (ip[0] >> 4 != 6) return {};
      // Neighbour discovery ends here, whether there is an answer or not.
      if (frame.size() > kEthernetHeaderSize + wire::kIpv6HeaderSize && ip[6] == wire::kProtocolIcmpv6 &&
          (ip[40] == kNeighbourSolicitation || ip[40] == kNeighbourAdvertisement))
        return {false, answer_solicitation(frame)};
      return {true, std::nullopt};
    default:
      return {};
  }
}

// RFC 826: who has this address? The member's card does. Probes for an address of our own (RFC 5227) ask for something
// that is no member's, so they get no answer.
std::optional<Bytes> EthernetLayer::answer_arp(ByteView frame) const {
  const ByteView arp = frame.subspan(kEthernetHeaderSize);
  constexpr std::uint8_t kIpv4OverEthernet[] = {0, 1, 8, 0, 6, 4};
  if (arp.size() < kArpSize || !std::ranges::equal(arp.first(6), kIpv4OverEthernet) ||
      load_be<std::uint16_t>(arp.data() + 6) != kArpRequest)
    return std::nullopt;
  const auto mac = member_mac(IpAddress::v4(load_be<std::uint32_t>(arp.data() + 24)));
  if (!mac) return std::nullopt;
  Bytes answer(kEthernetHeaderSize + kArpSize);
  std::uint8_t* p = put(answer.data(), arp.subspan(8, 6));  // to the asker
  p = put(p, *mac);
  p = put(p, frame.subspan(12, 2));
  p = put(p, kIpv4OverEthernet);
  store_be(p, kArpReply);
  p = put(p + 2, *mac);
  p = put(p, arp.subspan(24, 4));
  put(p, arp.subspan(8, 10));  // the asker's card and address
  return answer;
}

// RFC 4861 section 7.2.4.
std::optional<Bytes> EthernetLayer::answer_solicitation(ByteView frame) const {
  const ByteView packet = frame.subspan(kEthernetHeaderSize);
  const auto ip = wire::parse_ip(packet);
  if (!ip || ip->fragment || ip->protocol != wire::kProtocolIcmpv6 || ip->hop_limit != kNeighbourHopLimit ||
      ip->payload_offset != wire::kIpv6HeaderSize || ip->payload_size() < kSolicitationSize)
    return std::nullopt;
  const std::uint8_t* icmp = packet.data() + ip->payload_offset;
  // An unspecified source is the kernel making sure that an address of ours is free.
  if (icmp[0] != kNeighbourSolicitation || ip->source.is_unspecified()) return std::nullopt;
  const IpAddress target = v6_at(icmp + 8);
  const auto mac = member_mac(target);
  if (!mac) return std::nullopt;

  Bytes answer(kEthernetHeaderSize + wire::kIpv6HeaderSize + kAdvertisementSize);
  std::uint8_t* p = put(answer.data(), frame.subspan(6, 6));
  p = put(p, *mac);
  p = put(p, frame.subspan(12, 2));
  const MutableBytes reply = MutableBytes{answer}.subspan(kEthernetHeaderSize);
  p[0] = 0x60;
  store_be<std::uint16_t>(p + 4, kAdvertisementSize);
  p[6] = wire::kProtocolIcmpv6;
  p[7] = kNeighbourHopLimit;
  p = put(p + 8, target.bytes());
  p = put(p, ip->source.bytes());
  p[0] = kNeighbourAdvertisement;
  p[4] = 0x60;  // solicited, overrides
  p = put(p + 8, target.bytes());
  p[0] = 2;  // target link-layer address
  p[1] = 1;  // in units of eight bytes
  put(p + 2, *mac);
  const auto parsed = wire::parse_ip(reply);
  if (!parsed || !wire::store_checksum(reply, *parsed)) return std::nullopt;
  return answer;
}

std::array<std::uint8_t, kEthernetHeaderSize> EthernetLayer::header_for(ByteView packet) const {
  std::array<std::uint8_t, kEthernetHeaderSize> header;
  Mac to = own_;
  IpAddress source;
  const bool v6 = !packet.empty() && packet[0] >> 4 == 6;
  if (v6 && packet.size() >= wire::kIpv6HeaderSize) {
    const std::uint8_t* destination = packet.data() + 24;
    source = v6_at(packet.data() + 8);
    if (destination[0] == 0xff) to = {0x33, 0x33, destination[12], destination[13], destination[14], destination[15]};
  } else if (!v6 && packet.size() >= wire::kIpv4HeaderSize) {
    const IpAddress destination = IpAddress::v4(load_be<std::uint32_t>(packet.data() + 16));
    const ByteView d = destination.bytes();
    source = IpAddress::v4(load_be<std::uint32_t>(packet.data() + 12));
    if (destination.is_multicast())  // RFC 1112 section 6.4
      to = {0x01, 0x00, 0x5e, static_cast<std::uint8_t>(d[1] & 0x7f), d[2], d[3]};
    else if (destination.is_limited_broadcast() || std::ranges::find(broadcasts_, destination) != broadcasts_.end())
      to = kBroadcastMac;
  }
  // A sender that is no member (a routed network behind one) gets an address made in the same way from its own.
  const Mac from = member_mac(source).value_or(mac_from_key(source.bytes()));
  std::uint8_t* p = put(put(header.data(), to), from);
  store_be(p, v6 ? kTypeIpv6 : kTypeIpv4);
  return header;
}

}  // namespace lanrage::tun
