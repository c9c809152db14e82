#include "paths/port_mapper.h"

#include <algorithm>
#include <utility>

namespace lanrage::paths {
namespace {

constexpr std::array<PortMethod, kPortMethods> kMethods = {PortMethod::kPcp, PortMethod::kNatPmp, PortMethod::kUpnp};
using State = PortProtocol::State;

}  // namespace

const char* port_method_name(PortMethod method) {
  switch (method) {
    case PortMethod::kPcp:
      return "pcp";
    case PortMethod::kNatPmp:
      return "natpmp";
    case PortMethod::kUpnp:
      return "upnp";
  }
  return "";
}

const char* port_state_name(PortProtocol::State state) {
  switch (state) {
    case State::kIdle:
      return "idle";
    case State::kAsking:
      return "asking";
    case State::kUsable:
      return "usable";
    case State::kRefused:
      return "refused";
    case State::kSilent:
      return "silent";
  }
  return "";
}

bool is_public(const IpAddress& address) {
  static const IpPrefix kSpecial[] = {
      {IpAddress::v4(0, 0, 0, 0), 8},     {IpAddress::v4(192, 0, 0, 0), 24},    {IpAddress::v4(192, 0, 2, 0), 24},
      {IpAddress::v4(198, 18, 0, 0), 15}, {IpAddress::v4(198, 51, 100, 0), 24}, {IpAddress::v4(203, 0, 113, 0), 24},
      {IpAddress::v4(240, 0, 0, 0), 4},
  };
  return address.is_v4() && !address.is_loopback() && !address.is_multicast() && !address.is_link_local() &&
         !address.is_private() && std::none_of(std::begin(kSpecial), std::end(kSpecial), [&](const IpPrefix& special) {
           return special.contains(address);
         });
}

PortMapper::PortMapper(ByteView secret, Rng& rng)
    : pcp_(PortControl::Kind::kPcp, secret, rng, outbox_),
      natpmp_(PortControl::Kind::kNatPmp, secret, rng, outbox_),
      igd_(rng, outbox_) {}

PortProtocol& PortMapper::of(PortMethod method) { return const_cast<PortProtocol&>(std::as_const(*this).of(method)); }
const PortProtocol& PortMapper::of(PortMethod method) const {
  switch (method) {
    case PortMethod::kPcp:
      return pcp_;
    case PortMethod::kNatPmp:
      return natpmp_;
    case PortMethod::kUpnp:
      break;
  }
  return igd_;
}

std::optional<Endpoint> PortMapper::Outcome::outside_of(const PortToMap& port) const {
  for (const PortMapping& mapping : mappings)
    if (mapping.inside == port) return mapping.outside;
  return std::nullopt;
}

void PortMapper::want(Time now, Wanted wanted) {
  wanted.ports.resize(std::min(wanted.ports.size(), kMappedPortsMax));
  if (wanted == wanted_) return;
  const bool same_place = wanted.ports.empty() || wanted.place == wanted_.place;
  const RouterPlace place = wanted.ports.empty() ? wanted_.place : wanted.place;
  wanted_ = std::move(wanted);
  wanted_.place = place;
  since_ = now;
  is_waiting_ = !wanted_.ports.empty();
  told_.reset();
  if (same_place && chosen_) {
    of(*chosen_).set_ports(now, wanted_.ports);
  } else if (!wanted_.ports.empty()) {
    start(now);
  } else {
    for (const PortMethod method : kMethods) of(method).stop();
  }
  advance(now);
}

void PortMapper::start(Time now) {
  chosen_.reset();
  for (const PortMethod method : kMethods) of(method).start(now, wanted_.place);
}

void PortMapper::handle_packet(Time now, const Endpoint& source, ByteView datagram) {
  if (source.address != wanted_.place.gateway) return;
  if (const auto message = wire::parse_ssdp(datagram)) {
    igd_.handle_ssdp(now, *message);
  } else if (source.port == wire::kPortControlPort) {
    for (PortControl* control : {&pcp_, &natpmp_}) control->handle_packet(now, datagram);
  }
  advance(now);
}

// A router that refused, or that nobody heard, is asked again when it restarts or gets an address; one that speaks
// several protocols announces that by one of them. UPnP's notices come every minute or so and mean nothing of the kind
// by themselves.
void PortMapper::handle_announcement(Time now, const Endpoint& source, ByteView datagram) {
  if (source.address != wanted_.place.gateway || wanted_.ports.empty()) return;
  const bool is_pcp = wire::parse_pcp_answer(datagram).has_value();
  const bool is_natpmp = wire::parse_natpmp_answer(datagram).has_value();
  if (!chosen_ && (is_pcp || is_natpmp)) {
    for (const PortMethod method : kMethods)
      if (of(method).state() != State::kAsking) of(method).start(now, wanted_.place);
  } else if ((is_pcp && chosen_ != PortMethod::kPcp) || (is_natpmp && chosen_ != PortMethod::kNatPmp)) {
    of(*chosen_).renew(now);
  }
  handle_packet(now, source, datagram);
}

void PortMapper::handle_http(Time now, std::uint64_t id, const std::optional<HttpAnswer>& answer) {
  igd_.handle_http(now, id, answer);
  advance(now);
}

void PortMapper::handle_timeout(Time now) {
  if (chosen_) {
    of(*chosen_).handle_timeout(now);
  } else if (!wanted_.ports.empty()) {
    for (const PortMethod method : kMethods) of(method).handle_timeout(now);
  }
  advance(now);
}

std::optional<Time> PortMapper::next_timeout() const {
  Time next = is_waiting_ ? since_ + kRouterPatience : kNever;
  if (chosen_) {
    next = std::min(next, of(*chosen_).next_timeout());
  } else if (!wanted_.ports.empty()) {
    for (const PortMethod method : kMethods) next = std::min(next, of(method).next_timeout());
  }
  return next == kNever ? std::nullopt : std::optional(next);
}

void PortMapper::advance(Time now) {
  if (chosen_ && wanted_.ports.empty() && of(*chosen_).is_settled()) {
    chosen_.reset();
    for (const PortMethod method : kMethods) of(method).stop();
  }
  // Its mappings ran out unanswered: another router, or none.
  if (chosen_ && of(*chosen_).state() == State::kSilent && !wanted_.ports.empty()) start(now);
  if (chosen_ && of(*chosen_).state() != State::kUsable) chosen_.reset();
  for (const PortMethod method : kMethods) {
    if (chosen_ || wanted_.ports.empty()) break;
    if (of(method).state() != State::kUsable) continue;
    chosen_ = method;
    of(method).set_ports(now, wanted_.ports);
    if (of(method).state() != State::kUsable) chosen_.reset();
  }
  if (wanted_.ports.empty() || !is_known(now)) return;
  is_waiting_ = false;
  Outcome fresh = outcome(now);
  const bool changed = !told_ || fresh.by != told_->by || fresh.mappings != told_->mappings ||
                       fresh.methods != told_->methods || fresh.problem != told_->problem ||
                       fresh.address != told_->address;
  if (!changed) return;
  told_ = fresh;
  event_ = std::move(fresh);
}

// An outcome is told when all ports are open or refused, when nobody is left to answer, or when it took too long.
bool PortMapper::is_known(Time now) const {
  if (!is_waiting_) return true;
  if (now >= since_ + kRouterPatience) return true;
  if (chosen_) return of(*chosen_).is_settled();
  return std::none_of(kMethods.begin(), kMethods.end(),
                      [&](PortMethod method) { return of(method).state() == State::kAsking; });
}

PortMapper::Outcome PortMapper::outcome(Time now) const {
  Outcome out{.wanted = wanted_, .took = now - since_};
  for (const PortMethod method : kMethods) {
    const PortProtocol& protocol = of(method);
    out.methods[static_cast<std::size_t>(method)] = {protocol.state(), protocol.problem()};
    out.speaks = out.speaks || protocol.state() == State::kUsable || protocol.state() == State::kRefused;
    if (!out.address) out.address = protocol.address();
  }
  if (chosen_) {
    out.by = chosen_;
    out.mappings = of(*chosen_).mappings();
    out.address = of(*chosen_).address();
    out.problem = of(*chosen_).problem();
    return out;
  }
  for (const PortMethod method : kMethods) {
    const PortProtocol& protocol = of(method);
    if (protocol.state() != State::kRefused || (!out.problem.empty() && (out.offline || !protocol.is_offline())))
      continue;
    out.offline = protocol.is_offline();
    out.problem = protocol.problem();
  }
  if (out.problem.empty()) out.problem = "the router does not answer by UPnP, NAT-PMP or PCP";
  return out;
}

std::optional<PortOutbox::Datagram> PortMapper::poll_datagram() {
  if (outbox_.datagrams.empty()) return std::nullopt;
  PortOutbox::Datagram datagram = std::move(outbox_.datagrams.front());
  outbox_.datagrams.pop_front();
  return datagram;
}

std::optional<PortOutbox::Http> PortMapper::poll_http() {
  if (outbox_.https.empty()) return std::nullopt;
  PortOutbox::Http http = std::move(outbox_.https.front());
  outbox_.https.pop_front();
  return http;
}

std::optional<PortMapper::Outcome> PortMapper::poll_event() { return std::exchange(event_, std::nullopt); }

bool PortMapper::is_idle() const { return !chosen_; }

}  // namespace lanrage::paths
