#include "sim/network.h"

#include <algorithm>

#include "base/check.h"

namespace lanrage::sim {
namespace {

constexpr std::uint64_t kFnvPrime = 0x100000001b3;  // FNV-1a, 64 bits

}  // namespace

void Scheduler::post(Time at, std::function<void()> action) {
  queue_.push({std::max(at, now_), posted_++, std::move(action)});
}

void Scheduler::run_until(Time end) {
  while (!queue_.empty() && queue_.top().at <= end) {
    Entry entry = queue_.top();
    queue_.pop();
    now_ = entry.at;
    entry.action();
  }
  now_ = end;
}

Nat Nat::cone() {
  Nat nat;
  nat.filtering = Dependence::kEndpointIndependent;
  nat.hairpin = true;
  return nat;
}
Nat Nat::symmetric() {
  Nat nat;
  nat.mapping = Dependence::kAddressAndPort;
  nat.ports = PortChoice::kRandom;
  return nat;
}
Nat Nat::per_address() {
  Nat nat = symmetric();
  nat.mapping = Dependence::kAddress;
  return nat;
}

Nat Nat::sequential() {
  Nat nat = symmetric();
  nat.ports = PortChoice::kSequential;
  return nat;
}
Nat Nat::firewall() {
  Nat nat;
  nat.translate = false;
  return nat;
}
Nat Nat::udp_blocked() {
  Nat nat;
  nat.block_udp = true;
  return nat;
}

Network::Network(Scheduler& scheduler, std::uint64_t seed) : scheduler_(scheduler), rng_(seed) {
  domains_.push_back(Domain{});
}

Network::DomainId Network::add_domain(DomainId outside, const Nat& nat, const IpAddress& address, const Link& uplink) {
  Domain domain{};
  domain.outside = outside;
  domain.nat = nat;
  domain.address = address;
  domain.uplink = uplink;
  domains_.push_back(std::move(domain));
  const DomainId id = domains_.size() - 1;
  if (nat.translate) {
    gateway_at_.emplace(Place{outside, address}, id);
  } else {
    firewalls_in_[outside].push_back(id);
  }
  return id;
}

Network::HostId Network::add_host(DomainId domain, std::vector<IpAddress> addresses, const Link& access,
                                  Receive receive) {
  hosts_.push_back({domain, std::move(addresses), access, std::move(receive), true});
  index_host(hosts_.size() - 1);
  return hosts_.size() - 1;
}

void Network::index_host(HostId host) {
  for (const IpAddress& address : hosts_[host].addresses) host_at_.emplace(Place{hosts_[host].domain, address}, host);
}

void Network::send(HostId from, std::uint16_t source_port, const Endpoint& destination, Bytes datagram) {
  const Host& host = hosts_[from];
  const auto same_family = std::find_if(host.addresses.begin(), host.addresses.end(),
                                        [&](const IpAddress& a) { return a.is_v4() == destination.address.is_v4(); });
  if (same_family == host.addresses.end()) {
    ++dropped_;
    return;
  }
  send_as(from, {*same_family, source_port}, destination, std::move(datagram));
}

void Network::send_as(HostId from, const Endpoint& source, const Endpoint& destination, Bytes datagram) {
  const Host& host = hosts_[from];
  if (!host.up) return;
  Packet packet{source, destination, std::move(datagram), {}};
  packet.crossed.push_back(&host.access);
  route(host.domain, std::move(packet), false);
}

void Network::move_host(HostId host, DomainId domain, std::vector<IpAddress> addresses) {
  std::erase_if(host_at_, [host](const auto& entry) { return entry.second == host; });
  hosts_[host].domain = domain;
  hosts_[host].addresses = std::move(addresses);
  index_host(host);
}
void Network::set_up(HostId host, bool up) { hosts_[host].up = up; }
void Network::forget_mappings(DomainId domain) { domains_[domain].mappings.clear(); }

void Network::set_broken(const IpAddress& from, const IpAddress& to, bool broken) {
  if (broken)
    broken_.insert({from, to});
  else
    broken_.erase({from, to});
}

void Network::set_distance(const IpAddress& a, const IpAddress& b, const Link& link) {
  distances_[{a, b}] = distances_[{b, a}] = link;
}

void Network::route(DomainId domain, Packet packet, bool from_outside) {
  if (domain == kInternet && broken_.contains({packet.source.address, packet.destination.address})) {
    ++dropped_;
    return;
  }
  if (packet.destination.address.is_multicast()) {  // stays on its LAN
    for (HostId host = 0; domain != kInternet && host < hosts_.size(); ++host) {
      const auto& addresses = hosts_[host].addresses;
      const bool is_sender = std::ranges::count(addresses, packet.source.address) != 0;
      if (hosts_[host].domain == domain && !is_sender) deliver(host, packet);
    }
    return;
  }
  if (domain == kInternet && !distances_.empty()) {
    const auto distance = distances_.find({packet.source.address, packet.destination.address});
    if (distance != distances_.end()) packet.crossed.push_back(&distance->second);
  }
  if (const auto host = host_at_.find({domain, packet.destination.address}); host != host_at_.end())
    return deliver(host->second, std::move(packet));
  if (const auto gateway = gateway_at_.find({domain, packet.destination.address}); gateway != gateway_at_.end())
    return enter(gateway->second, std::move(packet));
  if (const auto firewalls = firewalls_in_.find(domain); firewalls != firewalls_in_.end()) {
    for (const DomainId inner : firewalls->second) {  // hides nothing: its hosts' addresses are routed to it
      if (host_at_.contains({inner, packet.destination.address})) return enter(inner, std::move(packet));
    }
  }
  if (domain == kInternet || from_outside) {
    ++dropped_;
    return;
  }
  const Domain& d = domains_[domain];
  const bool to_own_gateway = d.nat.translate && d.address == packet.destination.address;
  if ((to_own_gateway && !d.nat.hairpin) || !leave(domain, packet)) {
    ++dropped_;
    return;
  }
  if (to_own_gateway) return enter(domain, std::move(packet));
  route(d.outside, std::move(packet), false);
}

bool Network::leave(DomainId inner, Packet& packet) {
  Domain& d = domains_[inner];
  if (d.nat.block_udp) return false;
  if (d.nat.translate && d.address.is_v4() != packet.source.address.is_v4()) return false;
  std::erase_if(d.mappings, [this](const Mapping& m) { return m.expires <= scheduler_.now(); });
  auto mapping = std::find_if(d.mappings.begin(), d.mappings.end(), [&](const Mapping& m) {
    return m.inside == packet.source && same_target(d.nat.mapping, m.first_destination, packet.destination);
  });
  if (mapping == d.mappings.end()) {
    Endpoint outside = packet.source;
    if (d.nat.translate) outside = {d.address, choose_port(d, packet.source.port)};
    d.mappings.push_back({packet.source, outside, packet.destination, {}, {}});
    mapping = d.mappings.end() - 1;
  }
  mapping->expires = scheduler_.now() + d.nat.expiry;
  mapping->sent_to.insert(packet.destination);
  packet.source = mapping->outside;
  packet.crossed.push_back(&d.uplink);
  return true;
}

void Network::enter(DomainId inner, Packet packet) {
  Domain& d = domains_[inner];
  const auto mapping = std::find_if(d.mappings.begin(), d.mappings.end(), [&](const Mapping& m) {
    return m.outside == packet.destination && m.expires > scheduler_.now() &&
           std::any_of(m.sent_to.begin(), m.sent_to.end(),
                       [&](const Endpoint& sent) { return same_target(d.nat.filtering, sent, packet.source); });
  });
  if (mapping == d.mappings.end() || d.nat.block_udp) {
    ++dropped_;
    return;
  }
  packet.destination = mapping->inside;
  packet.crossed.push_back(&d.uplink);
  route(inner, std::move(packet), true);
}

bool Network::same_target(Dependence dependence, const Endpoint& a, const Endpoint& b) const {
  switch (dependence) {
    case Dependence::kEndpointIndependent:
      return true;
    case Dependence::kAddress:
      return a.address == b.address;
    case Dependence::kAddressAndPort:
      return a == b;
  }
  return false;
}

std::uint16_t Network::choose_port(Domain& domain, std::uint16_t wanted) {
  auto taken = [&domain](std::uint16_t port) {
    return std::any_of(domain.mappings.begin(), domain.mappings.end(),
                       [port](const Mapping& m) { return m.outside.port == port; });
  };
  if (domain.nat.ports == PortChoice::kPreserve && !taken(wanted)) return wanted;
  for (;;) {
    const std::uint16_t port = domain.nat.ports == PortChoice::kSequential
                                   ? domain.next_port++
                                   : static_cast<std::uint16_t>(1024 + rng_.below(65536 - 1024));
    if (port >= 1024 && !taken(port)) return port;
  }
}

bool Network::is_lost(const Link& link) {
  if (link.burst <= 1) return rng_.unit() < link.loss;
  const double begin = link.loss / (1 - link.loss) / link.burst;
  link.losing = rng_.unit() < (link.losing ? 1 - 1 / link.burst : begin);
  return link.losing;
}

void Network::deliver(HostId host, Packet packet) {
  packet.crossed.push_back(&hosts_[host].access);
  int copies = 1;
  Duration delay{};
  for (const Link* link : packet.crossed) {
    if (is_lost(*link)) {
      ++dropped_;
      return;
    }
    if (rng_.unit() < link->duplicate) ++copies;
    delay += link->delay;
    if (link->jitter > Duration::zero())
      delay += Duration(static_cast<std::int64_t>(rng_.below(static_cast<std::uint64_t>(link->jitter.count()))));
    if (rng_.unit() < link->reorder) delay += link->delay;
  }
  packet.crossed.clear();
  for (; copies > 0; --copies) {
    scheduler_.post(scheduler_.now() + delay, [this, host, packet] { arrive(host, packet); });
  }
}

void Network::arrive(HostId host, const Packet& packet) {
  const Host& h = hosts_[host];
  const bool here =
      packet.destination.address.is_multicast() || std::ranges::count(h.addresses, packet.destination.address) != 0;
  if (!h.up || !here) {  // went down or moved while the packet travelled
    ++dropped_;
    return;
  }
  ++delivered_;
  auto mix = [this](std::uint64_t v) { trace_hash_ = (trace_hash_ ^ v) * kFnvPrime; };
  mix(static_cast<std::uint64_t>(scheduler_.now().time_since_epoch().count()));
  mix(host);
  for (std::uint8_t byte : packet.datagram) mix(byte);
  h.receive(packet.source, packet.destination, packet.datagram);
}

}  // namespace lanrage::sim
