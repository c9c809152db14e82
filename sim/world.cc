#include "sim/world.h"

#include "base/format.h"
#include "wire/ip.h"

namespace lanrage::sim {

using std::chrono::milliseconds;
using std::chrono::seconds;

const char* place_name(Place place) {
  switch (place) {
    case Place::kPublic:
      return "public";
    case Place::kEasy:
      return "easy";
    case Place::kCone:
      return "cone";
    case Place::kSymmetric:
      return "sym";
    case Place::kSequential:
      return "sym-sequential";
    case Place::kCarrier:
      return "cgn-easy";
    case Place::kFirewall6:
      return "fw6";
    case Place::kUdpBlocked:
      return "udpblock";
    case Place::kPerAddress:
      return "sym-address";
  }
  return "unknown";
}

IpPrefix Site::next() {
  ++hosts;
  const auto high = static_cast<std::uint8_t>(number >> 8), low = static_cast<std::uint8_t>(number);
  if (v6) {
    std::array<std::uint8_t, 16> bytes = {0x2a, 0x02, 0x09, 0x08};
    bytes[6] = high;
    bytes[7] = low;
    bytes[15] = hosts;
    return {IpAddress::v6(bytes), 64};
  }
  if (domain == Network::kInternet) return {IpAddress::v4(45, static_cast<std::uint8_t>(100 + high), low, hosts), 24};
  return {IpAddress::v4(192, 168, low, static_cast<std::uint8_t>(1 + hosts)), 24};
}

World::World(std::uint64_t s, Duration rtt)
    : seed(s),
      network(scheduler, s),
      server(scheduler, network, s ^ 0x5e, Link{.delay = rtt / 4}),
      trace_(__FILE__, __LINE__, "seed " + std::to_string(s)),
      leg_(rtt / 4) {}

Site World::make_site(Place place) {
  Site site;
  site.number = ++sites_;
  const auto high = static_cast<std::uint8_t>(site.number >> 8), low = static_cast<std::uint8_t>(site.number);
  const IpAddress address = IpAddress::v4(45, 20, high, low);
  switch (place) {
    case Place::kPublic:
      break;
    case Place::kEasy:
      site.domain = network.add_domain(Network::kInternet, Nat::easy(), address, {});
      break;
    case Place::kCone:
      site.domain = network.add_domain(Network::kInternet, Nat::cone(), address, {});
      break;
    case Place::kSymmetric:
      site.domain = network.add_domain(Network::kInternet, Nat::symmetric(), address, {});
      break;
    case Place::kSequential:
      site.domain = network.add_domain(Network::kInternet, Nat::sequential(), address, {});
      break;
    case Place::kCarrier: {
      const auto carrier = network.add_domain(Network::kInternet, Nat::easy(), address, {});
      site.domain = network.add_domain(carrier, Nat::easy(), IpAddress::v4(100, 64, high, low), {});
      break;
    }
    case Place::kFirewall6:
      site.domain = network.add_domain(Network::kInternet, Nat::firewall(), {}, {});
      site.v6 = true;
      break;
    case Place::kUdpBlocked:
      site.domain = network.add_domain(Network::kInternet, Nat::udp_blocked(), address, {});
      break;
    case Place::kPerAddress:
      site.domain = network.add_domain(Network::kInternet, Nat::per_address(), address, {});
      break;
  }
  return site;
}

SimNode& World::add(const std::string& name, Site& site, Duration clock_skew) {
  SimNodeOptions options;
  options.name = name;
  options.domain = site.domain;
  options.addresses = {site.next()};
  options.access = Link{.delay = leg_};
  options.control_delay = 2 * leg_;
  options.seen_as = IpAddress::v4(45, 30, static_cast<std::uint8_t>(nodes.size() / 250),
                                  static_cast<std::uint8_t>(1 + nodes.size() % 250));
  options.clock_skew = clock_skew;
  options.seed = seed * 1000003 + nodes.size() + 1;
  nodes.push_back(std::make_unique<SimNode>(scheduler, network, server, std::move(options)));
  return *nodes.back();
}

SimNode& World::add(const std::string& name, Place place, Duration clock_skew) {
  Site site = make_site(place);
  return add(name, site, clock_skew);
}

bool World::run_until(const std::function<bool()>& condition, Duration limit) {
  const Time end = now() + limit;
  while (!condition()) {
    if (now() >= end) return false;
    run(milliseconds{1});
  }
  return true;
}

template <class T>
Result<T> World::wait(const std::function<void(std::function<void(Result<T>)>)>& begin, Duration limit) {
  const auto answer = std::make_shared<std::optional<Result<T>>>();
  begin([answer](Result<T> result) { answer->emplace(std::move(result)); });
  run_until([&] { return answer->has_value(); }, limit);
  if (!answer->has_value()) return Error{Code::kTimedOut, "the operation was never answered"};
  return std::move(**answer);
}

Result<node::InviteAnswer> World::host(SimNode& node, const std::string& party) {
  return wait<node::InviteAnswer>(
      [&](auto done) {
        node.with([&](node::Node& n) { n.host(node.now(), {party, node.name(), server.info()}, done); });
      },
      seconds{30});
}

Result<void> World::join(SimNode& node, const std::string& invite, Duration limit) {
  LR_ASSIGN(const party::Invite parsed, party::Invite::parse(invite));
  return wait<void>(
      [&](auto done) { node.with([&](node::Node& n) { n.join(node.now(), parsed, node.name(), done); }); }, limit);
}

Result<void> World::leave(SimNode& node) {
  return wait<void>([&](auto done) { node.with([&](node::Node& n) { n.leave(node.now(), done); }); }, seconds{30});
}

Result<node::InviteAnswer> World::invite(SimNode& node, Duration lifetime, std::uint32_t uses) {
  return wait<node::InviteAnswer>(
      [&](auto done) { node.with([&](node::Node& n) { n.invite(node.now(), lifetime, uses, done); }); }, seconds{30});
}

Result<void> World::kick(SimNode& owner, const std::string& name) {
  return wait<void>([&](auto done) { owner.with([&](node::Node& n) { n.kick(owner.now(), name, done); }); },
                    seconds{30});
}

Result<void> World::rekey(SimNode& owner) {
  return wait<void>([&](auto done) { owner.with([&](node::Node& n) { n.rekey(owner.now(), done); }); }, seconds{30});
}

Result<void> World::handover(SimNode& owner, const std::string& name) {
  return wait<void>([&](auto done) { owner.with([&](node::Node& n) { n.handover(owner.now(), name, done); }); },
                    seconds{30});
}

Result<node::PingAnswer> World::ping(SimNode& from, const SimNode& to, Duration limit) {
  return wait<node::PingAnswer>(
      [&](auto done) { from.with([&](node::Node& n) { n.ping(from.now(), to.name(), limit, done); }); },
      limit + seconds{1});
}

bool World::reaches(SimNode& from, SimNode& to, Duration limit) {
  const auto source = from.address(), destination = to.address();
  if (!source || !destination) return false;
  const std::uint16_t number = ++packets_;
  const Bytes packet = wire::build_udp({*source, number}, {*destination, 27015}, as_bytes("hello"));
  to.received.clear();
  from.send_packet(packet);
  return run_until(
      [&] {
        for (const SimNode::Received& received : to.received) {
          const auto udp = wire::parse_udp_packet(received.packet);
          if (udp && udp->source == Endpoint{*source, number}) return true;
        }
        return false;
      },
      limit);
}

Duration World::silence(SimNode& from, SimNode& to, Duration limit) {
  const Time began = now();
  to.received.clear();
  while (to.received.empty() && now() < began + limit) {
    const auto source = from.address(), destination = to.address();
    if (source && destination)
      from.send_packet(wire::build_udp({*source, 27015}, {*destination, 27015}, as_bytes("tick")));
    run(milliseconds{20});
  }
  return now() - began;
}

}  // namespace lanrage::sim
