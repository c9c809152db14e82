#include "lan/forwarder.h"

#include <algorithm>
#include <utility>

#include "crypto/hash.h"
#include "lan/mdns_rewriter.h"
#include "lan/rules.h"

namespace lanrage::lan {
namespace {

// Whether the interface has an address of the same IP version.
bool has_family(const HostInterface& interface, const IpAddress& address) {
  return std::any_of(interface.addresses.begin(), interface.addresses.end(),
                     [&](const IpPrefix& own) { return own.address.is_v6() == address.is_v6(); });
}

Bytes endpoint_bytes(const Endpoint& endpoint) {
  ByteWriter writer;
  writer.bytes(endpoint.address.bytes()).u16_be(endpoint.port);
  return writer.take();
}

// 0 for a fragment that does not begin with it.
std::uint16_t destination_port(ByteView packet, const wire::IpHeader& ip) {
  if (ip.fragment_offset != 0 || ip.payload_size() < wire::kUdpHeaderSize) return 0;
  return load_be<std::uint16_t>(packet.data() + ip.payload_offset + 2);
}

void set_hop_limit_zero(MutableBytes packet, const wire::IpHeader& ip) {
  packet[ip.v6 ? 7 : 8] = 0;
  if (!ip.v6) wire::store_ipv4_header_sum(packet);
}

}  // namespace

wire::LanOrigin origin_of(ByteView public_key) {
  const crypto::Hash hash = crypto::sha256({public_key});
  wire::LanOrigin origin;
  std::copy_n(hash.begin(), origin.size(), origin.begin());
  return origin;
}

bool Forwarder::RefreshBudget::take(Time now) {
  tokens = std::min(kBurst, tokens + std::chrono::duration<double>(now - filled).count() * kPerSecond);
  filled = now;
  if (tokens < 1) return false;
  tokens -= 1;
  return true;
}

Forwarder::Forwarder(const ForwarderOptions& options, const Self& self, HostTables& tables, Rng& rng, const Logger& log)
    : options_(options),
      self_(self),
      tables_(tables),
      log_(log),
      // Half of the numbers are left to count; a node that starts again begins far from where it was.
      sequence_(rng.u64() >> 1),
      said_(options.content_window),
      delivered_(options.content_window),
      rates_(options.rates),
      translation_(std::make_shared<const AddressTranslation>()) {}

const HostView& Forwarder::view(Time now, Freshness freshness) {
  const HostView& view = tables_.view(now, freshness);
  if (view.generation != translated_generation_) {
    translated_generation_ = view.generation;
    std::optional<IpAddress> v6;
    if (self_.v6) v6 = self_.v6->address;
    AddressTranslation fresh(view, self_.adapter, self_.v4.address, v6);
    if (fresh != *translation_) translation_ = std::make_shared<const AddressTranslation>(std::move(fresh));
    interface_names_.clear();
    for (const HostInterface& interface : view.interfaces) interface_names_[interface.index] = interface.name;
  }
  return view;
}

const HostView* Forwarder::view_again(Time now) { return refresh_.take(now) ? &view(now, Freshness::kNow) : nullptr; }

// Nothing for what is no UDP, and for a fragment until the last part of its datagram is here; then `packet` is the
// whole.
std::optional<wire::UdpPacket> Forwarder::parse(Time now, int way, ByteView& packet) {
  auto ip = wire::parse_ip(packet);
  if (ip && ip->fragment && ip->protocol == wire::kProtocolUdp) {
    auto whole = fragments_.handle_fragment(now, way, packet.first(ip->size), *ip);
    status_.dropped[static_cast<std::size_t>(Drop::kFragment)] = fragments_.given_up();
    if (!whole) return std::nullopt;
    whole_ = std::move(*whole);
    packet = whole_;
    ip = wire::parse_ip(packet);
  }
  if (!ip) {
    drop(Drop::kMalformed);
  } else if (ip->protocol != wire::kProtocolUdp) {
    drop(Drop::kNotUdp);
  } else if (auto udp = wire::parse_udp_packet(packet.first(ip->size))) {
    return udp;
  } else {
    drop(Drop::kMalformed);
  }
  return std::nullopt;
}

// --- What local programs say -----------------------------------------------------------------------------------------

void Forwarder::handle_adapter_packet(Time now, ByteView packet) {
  const auto udp = parse(now, self_.adapter, packet);
  if (!udp) return;
  const IpAddress& source = udp->source.address;
  const bool own = source == self_.v4.address || (self_.v6 && source == self_.v6->address);
  if (!own && !view(now, Freshness::kCached).is_local(source)) {
    const HostView* again = view_again(now);
    if (again == nullptr || !again->is_local(source)) return drop(Drop::kForeignSource);
  }
  take_up(now, self_.adapter, *udp, packet);
}

void Forwarder::handle_captured_packet(Time now, int interface, ByteView packet) {
  const auto udp = parse(now, interface, packet);
  if (!udp) return;
  const IpAddress& source = udp->source.address;
  // A program may send on one card from the address of another; the port of a bridge has no address at all.
  const auto from_here = [&](const HostView& view) {
    const HostInterface* card = view.interface(interface);
    return card != nullptr && !card->loopback && has_family(*card, source) && view.is_local(source);
  };
  if (!from_here(view(now, Freshness::kCached))) {
    // What we handed over ourselves, coming back through a bridge or a repeater, is known by its content.
    const ContentHash hash = content_hash(endpoint_bytes(udp->source), endpoint_bytes(udp->destination), udp->payload);
    if (delivered_.find(now, hash)) return drop(Drop::kEcho);
    const HostView* again = view_again(now);
    if (again == nullptr || !from_here(*again))
      return drop(again != nullptr && again->is_local(source) ? Drop::kOtherInterface : Drop::kForeignSource);
  }
  take_up(now, interface, *udp, packet);
}

// Which destination the party sees: none where this is no LAN packet.
std::optional<IpAddress> Forwarder::party_destination(const HostView& view, const IpAddress& destination) const {
  if (is_lan_destination(destination, self_.v4)) return destination;
  if (destination.is_v6()) return std::nullopt;
  // Another card's subnet broadcast is heard only where the receiver has that very subnet, so it becomes the party's.
  if (is_wide_guess(destination, self_.v4)) return self_.v4.broadcast();
  for (const HostInterface& interface : view.interfaces)
    for (const IpPrefix& own : interface.addresses)
      if (own.address.is_v4() && own.length < 31 && own.broadcast() == destination) return self_.v4.broadcast();
  return std::nullopt;
}

// mDNS and SSDP leave where a program asks for itself; a daemon's account says that nobody here did. Several programs
// may hold the port: then which of them spoke cannot be told, and the packet passes.
bool Forwarder::is_services_chatter(const HostView& view, const wire::UdpPacket& udp) const {
  if (!is_service_discovery(udp.destination.port)) return false;
  bool found = false;
  for (const LocalSocket& socket : view.sockets) {
    if (socket.kind != SocketKind::kUdp || socket.port != udp.source.port) continue;
    if (!is_service_account(socket.uid)) return false;
    found = true;
  }
  return found;
}

// Programs that announce on every card do so every time; the card that was first keeps the say, so each announcement
// passes once and every repeat of it passes too. Said only elsewhere for a whole window, another card takes over.
bool Forwarder::is_card_in_turn(Time now, int way, const wire::UdpPacket& udp, const IpAddress& destination) {
  if (!options_.deduplicate) return false;
  ByteWriter source;
  source.bytes(self_.origin).u16_be(udp.source.port);
  const ContentHash hash =
      content_hash(source.view(), endpoint_bytes({destination, udp.destination.port}), udp.payload);
  const auto first_way = said_.find(now, hash);
  if (first_way && *first_way != way) {
    log_.debug(
        "duplicate dropped",
        {{"hash", to_hex(ByteView(hash).first(8))}, {"origin", to_hex(self_.origin)}, {"port", udp.destination.port}});
    return true;
  }
  said_.remember(now, hash, way);
  return false;
}

Bytes Forwarder::rewritten(const HostView& view, const wire::UdpPacket& udp, ByteView packet, const IpAddress& source,
                           const IpAddress& destination) const {
  Bytes out = to_bytes(packet.first(udp.ip.size));
  wire::rewrite_source(out, udp.ip, source);
  wire::rewrite_destination(out, udp.ip, destination);
  if (udp.destination.port == kMdnsPort) {
    std::optional<IpAddress> v6;
    if (self_.v6) v6 = self_.v6->address;
    const MutableBytes message = MutableBytes(out).subspan(udp.ip.payload_offset + wire::kUdpHeaderSize);
    rewrite_mdns(
        message, [&](const IpAddress& address) { return view.is_local(address); }, self_.v4.address, v6);
  }
  // The sum of a captured packet may be the card's to finish, and the payload may have changed: always anew.
  if (const auto ip = wire::parse_ip(out)) {
    if (!ip->v6) wire::store_ipv4_header_sum(out);
    wire::store_checksum(out, *ip);
  }
  return out;
}

void Forwarder::take_up(Time now, int way, const wire::UdpPacket& udp, ByteView packet) {
  const HostView& host = view(now, Freshness::kCached);
  const auto destination = party_destination(host, udp.destination.address);
  if (!destination) return drop(Drop::kNotLan);
  ++status_.captured;
  if (never_forwarded(udp.destination.port) != nullptr) return drop(Drop::kNeverForwarded);
  const bool v6 = udp.ip.v6;
  if (v6 && !self_.v6) return drop(Drop::kNoAddress);
  count_program(now, udp.source.port, udp.destination.port);
  // `count_program` may have read the tables again.
  const HostView& current = view(now, Freshness::kCached);
  if (is_services_chatter(current, udp)) return drop(Drop::kServiceAccount);
  if (is_card_in_turn(now, way, udp, *destination)) {
    ++status_.duplicates;
    return drop(Drop::kCardInTurn);
  }
  if (!rates_.allow(now, self_.origin, udp.destination.port)) return drop(Drop::kRateLimited);

  const Bytes ours = rewritten(current, udp, packet, v6 ? self_.v6->address : self_.v4.address, *destination);
  // The kernel's own number is none where it had no need to cut: ours tells this datagram's parts from another's.
  const auto pieces = pieces_of(ours, static_cast<std::uint32_t>(sequence_));
  if (pieces.empty()) return drop(Drop::kMalformed);
  if (transmissions_.size() + pieces.size() > kQueueMax) return drop(Drop::kQueueFull);
  for (const Bytes& piece : pieces) {
    wire::LanEnvelope envelope;
    envelope.origin = self_.origin;
    envelope.sequence = sequence_++;
    envelope.packet = piece;
    transmissions_.push_back(envelope.bytes());
  }
  ++status_.sent;
}

void Forwarder::count_program(Time now, std::uint16_t source_port, std::uint16_t port) {
  const auto socket_on = [&](const HostView& host) -> const LocalSocket* {
    for (const LocalSocket& socket : host.sockets)
      if (socket.kind == SocketKind::kUdp && socket.port == source_port) return &socket;
    return nullptr;
  };
  const LocalSocket* socket = socket_on(view(now, Freshness::kCached));
  if (socket == nullptr) {
    if (const HostView* again = view_again(now)) socket = socket_on(*again);
  }
  std::pair<std::string, std::uint16_t> key{socket != nullptr ? tables_.program(*socket) : std::string(), port};
  if (programs_.size() >= kProgramsMax && !programs_.contains(key)) key = {"others", 0};
  ++programs_[std::move(key)];
}

std::optional<Bytes> Forwarder::poll_transmit() {
  if (transmissions_.empty()) return std::nullopt;
  Bytes out = std::move(transmissions_.front());
  transmissions_.pop_front();
  return out;
}

// --- What members said -----------------------------------------------------------------------------------------------

void Forwarder::handle_envelope(Time now, const Sender& sender, ByteView inner) {
  ++status_.received;
  const auto envelope = wire::LanEnvelope::parse(inner);
  if (!envelope) return drop(Drop::kMalformed);
  if (envelope->origin == self_.origin) return drop(Drop::kEcho);
  if (envelope->origin != sender.origin) return drop(Drop::kForgedOrigin);
  ByteView packet = envelope->packet;
  const auto ip = wire::parse_ip(packet);
  if (!ip) return drop(Drop::kMalformed);
  const bool allowed = std::any_of(sender.addresses.begin(), sender.addresses.end(),
                                   [&](const IpPrefix& prefix) { return prefix.contains(ip->source); });
  if (!allowed || ip->source.is_multicast()) return drop(Drop::kForeignSource);
  if (!is_lan_destination(ip->destination, self_.v4)) return drop(Drop::kNotLan);
  if (options_.deduplicate &&
      windows_.check(now, envelope->origin, envelope->sequence) != OriginWindows::Verdict::kNew) {
    ++status_.duplicates;
    log_.debug("duplicate dropped", {{"hash", to_hex(ByteView(crypto::sha256({packet})).first(8))},
                                     {"origin", to_hex(envelope->origin)},
                                     {"port", destination_port(packet, *ip)}});
    return;
  }
  // Fragments count for themselves, by no port, and their datagram again once it is whole.
  if (ip->fragment && !rates_.allow(now, envelope->origin, 0)) return drop(Drop::kRateLimited);
  const auto udp = parse(now, 0, packet);
  if (!udp) return;
  if (never_forwarded(udp->destination.port) != nullptr) return drop(Drop::kNeverForwarded);
  const bool discovery = is_service_discovery(udp->destination.port) && udp->destination.address.is_multicast();
  if (!discovery && !is_open_(udp->destination.port)) return drop(Drop::kClosedPort);
  if (!rates_.allow(now, envelope->origin, udp->destination.port)) return drop(Drop::kRateLimited);
  deliver(now, *udp, packet);
}

void Forwarder::deliver(Time now, const wire::UdpPacket& udp, ByteView packet) {
  const IpAddress& destination = udp.destination.address;
  const auto joined = joined_.find(destination);
  const DeliveryTarget target{udp.destination, self_.adapter, joined != joined_.end()};
  DeliveryPlan plan = plan_delivery(view(now, Freshness::kCached), target);
  if (!plan.heard) {
    // A game that joined a group or opened its port a moment ago hears the answer to what it asked.
    if (const HostView* again = view_again(now)) plan = plan_delivery(*again, target);
  }

  const ContentHash hash = content_hash(endpoint_bytes(udp.source), endpoint_bytes(udp.destination), udp.payload);
  delivered_.remember(now, hash, self_.adapter);

  if (plan.join) {
    if (joined_.size() >= kGroupsMax) {
      note("more groups are in use than can be joined on the adapter at once");
    } else if (push({Delivery::Kind::kJoin, self_.adapter, destination, {}})) {
      joined_[destination] = {now};
    }
  } else if (joined != joined_.end() && plan.write) {
    joined->second.used = now;
  }
  bool handed_over = false;
  if (plan.inject != 0) {
    Bytes copy = to_bytes(packet);
    set_hop_limit_zero(copy, udp.ip);
    handed_over |= push({Delivery::Kind::kInject, plan.inject, destination, std::move(copy)});
    note_group(destination, plan.inject, GroupWay::kInjected);
  }
  if (plan.write) {
    handed_over |= push({Delivery::Kind::kWrite, self_.adapter, {}, to_bytes(packet)});
    if (destination.is_multicast() && plan.heard)
      note_group(destination, self_.adapter, joined_.contains(destination) ? GroupWay::kJoined : GroupWay::kProgram);
  }
  for (const IpAddress& address : plan.copies) {
    Bytes copy = to_bytes(packet);
    wire::rewrite_destination(copy, udp.ip, address);
    handed_over |= push({Delivery::Kind::kWrite, self_.adapter, {}, std::move(copy)});
  }
  for (const LocalSocket& socket : plan.deaf) note_deaf(socket);

  if (handed_over) ++status_.delivered;
  Endpoint key = udp.destination;
  if (heard_.size() >= kHeardMax && !heard_.contains(key)) key = {};
  Heard& heard = heard_[key];
  ++heard.packets;
  if (!plan.heard) ++heard.unheard;
}

// A packet too large for an adapter or card goes over in fragments, which the kernel puts together.
bool Forwarder::push(Delivery delivery) {
  std::vector<Bytes> pieces{{}};
  if (!delivery.packet.empty()) pieces = pieces_of(delivery.packet, ++identification_);
  if (pieces.empty() || deliveries_.size() + pieces.size() > kQueueMax) {
    drop(pieces.empty() ? Drop::kMalformed : Drop::kQueueFull);
    return false;
  }
  for (Bytes& piece : pieces)
    deliveries_.push_back({delivery.kind, delivery.interface, delivery.group, std::move(piece)});
  return true;
}

std::optional<Delivery> Forwarder::poll_delivery() {
  if (deliveries_.empty()) return std::nullopt;
  Delivery out = std::move(deliveries_.front());
  deliveries_.pop_front();
  return out;
}

void Forwarder::handle_join_failed(const IpAddress& group, const std::string& why) {
  joined_.erase(group);
  groups_.erase(group);
  note("a group could not be joined on the adapter: " + why);
}

// --- Time and status -------------------------------------------------------------------------------------------------

void Forwarder::handle_timeout(Time now) {
  said_.expire(now);
  delivered_.expire(now);
  for (auto it = joined_.begin(); it != joined_.end();) {
    if (it->second.used + kGroupIdle > now || !push({Delivery::Kind::kLeave, self_.adapter, it->first, {}})) {
      ++it;
      continue;
    }
    groups_.erase(it->first);
    it = joined_.erase(it);
  }
}

Time Forwarder::next_timeout() const {
  Time next = std::min(said_.next_expiry(), delivered_.next_expiry());
  for (const auto& [group, joined] : joined_) next = std::min(next, joined.used + kGroupIdle);
  return next;
}

void Forwarder::note_group(const IpAddress& group, int interface, GroupWay way) {
  if (groups_.size() >= kGroupsMax && !groups_.contains(group)) return;
  const auto name = interface_names_.find(interface);
  groups_[group] = {group, name != interface_names_.end() ? name->second : std::string(), way};
}

void Forwarder::note_deaf(const LocalSocket& socket) {
  const auto name = interface_names_.find(socket.device);
  std::string program = tables_.program(socket);
  if (program.empty()) program = "a program";
  note(program + " on port " + std::to_string(socket.port) + " is bound to the device " +
       (name != interface_names_.end() ? name->second : std::to_string(socket.device)) +
       " and hears nothing of the party");
}

void Forwarder::note(const std::string& sentence) {
  if (notes_.size() < kNotesMax) notes_.insert(sentence);
}

LanStatus Forwarder::status() const {
  LanStatus out = status_;
  out.tracked_contents = said_.size() + delivered_.size();
  for (const auto& [group, status] : groups_) out.groups.push_back(status);
  std::string never = "never forwarded:";
  const char* before = "";
  for (const PortRule& rule : never_forwarded()) {
    const bool same = std::string_view(before) == rule.what;
    if (!same) never += std::string(*before != '\0' ? ";" : "") + " " + rule.what;
    never += (same ? ", " : " ") + std::to_string(rule.port);
    before = rule.what;
  }
  out.rules.push_back(
      "UDP to broadcast and group addresses goes to every member, from the adapter and every other card");
  out.rules.push_back(std::move(never));
  out.rules.push_back("mDNS and SSDP are forwarded unless a system service sent them");
  out.rules.insert(out.rules.end(), notes_.begin(), notes_.end());
  for (const auto& [key, packets] : programs_) out.programs.push_back({key.first, key.second, packets});
  for (const auto& [destination, heard] : heard_) out.heard.push_back({destination, heard.packets, heard.unheard});
  return out;
}

}  // namespace lanrage::lan
