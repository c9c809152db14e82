#include "lan/address_translation.h"

#include <algorithm>
#include <set>

namespace lanrage::lan {
namespace {

std::optional<SocketKind> kind_of(const wire::IpHeader& ip) {
  if (ip.protocol == wire::kProtocolUdp) return SocketKind::kUdp;
  if (ip.protocol == wire::kProtocolTcp) return SocketKind::kTcpListener;
  return std::nullopt;
}

}  // namespace

void FragmentTrail::note(Time now, const wire::IpHeader& first, const IpAddress& led_to) {
  entries_[next_] = {now, first.source, first.identification, first.protocol, led_to};
  next_ = (next_ + 1) % kEntries;
}

std::optional<IpAddress> FragmentTrail::find(Time now, const wire::IpHeader& part) const {
  for (std::size_t i = 1; i <= kEntries; ++i) {  // the youngest first: numbers come again
    const Entry& entry = entries_[(next_ + kEntries - i) % kEntries];
    if (entry.led_to && entry.since + kWait > now && entry.source == part.source &&
        entry.identification == part.identification && entry.protocol == part.protocol)
      return entry.led_to;
  }
  return std::nullopt;
}

AddressTranslation::AddressTranslation(const HostView& view, int adapter, const IpAddress& v4,
                                       const std::optional<IpAddress>& v6)
    : v4_(v4), v6_(v6) {
  for (const HostInterface& interface : view.interfaces) {
    if (interface.loopback || interface.index == adapter) continue;
    for (const IpPrefix& own : interface.addresses)
      if (!own.address.is_link_local()) local_.push_back(own.address);
  }
  std::sort(local_.begin(), local_.end());
  local_.erase(std::unique(local_.begin(), local_.end()), local_.end());

  // Ports that a program reachable by the party address holds are left to it.
  std::set<Port> reachable;
  for (const LocalSocket& socket : view.sockets) {
    if (socket.device != 0 && socket.device != adapter) continue;
    const bool any = socket.bound.is_unspecified();
    if (socket.bound == v4 || (any && !(socket.v6 && socket.v6_only)))
      reachable.insert({socket.kind, false, socket.port});
    if ((v6 && socket.bound == *v6) || (any && socket.v6)) reachable.insert({socket.kind, true, socket.port});
  }
  for (const LocalSocket& socket : view.sockets) {
    if (holders_.size() >= kPortsMax) break;
    if (socket.device != 0 && socket.device != adapter) continue;
    if (!std::binary_search(local_.begin(), local_.end(), socket.bound)) continue;
    const Port port{socket.kind, socket.bound.is_v6(), socket.port};
    if (!reachable.contains(port)) holders_.emplace(port, socket.bound);
  }
}

std::optional<IpAddress> AddressTranslation::outbound_source(const wire::IpHeader& ip) const {
  const std::optional<IpAddress>& own = ip.v6 ? v6_ : v4_;
  if (!own || ip.source == *own || !kind_of(ip)) return std::nullopt;
  if (!std::binary_search(local_.begin(), local_.end(), ip.source)) return std::nullopt;
  return own;
}

bool AddressTranslation::rewrite_outbound(MutableBytes packet, const wire::IpHeader& ip) const {
  const auto source = outbound_source(ip);
  if (source) wire::rewrite_source(packet, ip, *source);
  return source.has_value();
}

bool AddressTranslation::rewrite_inbound(Time now, MutableBytes packet, const wire::IpHeader& ip,
                                         FragmentTrail& trail) const {
  const std::optional<IpAddress>& own = ip.v6 ? v6_ : v4_;
  if (holders_.empty() || !own || ip.destination != *own) return false;
  if (ip.fragment_offset != 0) {
    const auto led_to = trail.find(now, ip);
    if (led_to) wire::rewrite_destination(packet, ip, *led_to);
    return led_to.has_value();
  }
  const auto kind = kind_of(ip);
  if (!kind || ip.payload_size() < wire::kUdpHeaderSize) return false;
  const auto port = load_be<std::uint16_t>(packet.data() + ip.payload_offset + 2);
  const auto found = holders_.find({*kind, ip.v6, port});
  if (found == holders_.end()) return false;
  wire::rewrite_destination(packet, ip, found->second);
  if (ip.fragment) trail.note(now, ip, found->second);
  return true;
}

std::optional<IpAddress> AddressTranslation::holder(SocketKind kind, bool v6, std::uint16_t port) const {
  const auto found = holders_.find({kind, v6, port});
  if (found == holders_.end()) return std::nullopt;
  return found->second;
}

}  // namespace lanrage::lan
