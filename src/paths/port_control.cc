#include "paths/port_control.h"

#include <algorithm>

#include "base/format.h"
#include "crypto/hash.h"

namespace lanrage::paths {
namespace {

constexpr Duration kNatPmpFirstRetry = std::chrono::milliseconds(250);
constexpr int kNatPmpTries = 9;
constexpr Duration kPcpFirstRetry = std::chrono::seconds(3);
constexpr Duration kPcpLastRetry = std::chrono::seconds(1024);
constexpr Duration kGoodbyeRetry = std::chrono::milliseconds(250);
constexpr Duration kRenewalLeast = std::chrono::seconds(1);  // a lifetime of seconds makes no flood
// After a restart all machines of the network ask again; RFC 6887 section 14.1.3 spreads them over five seconds, for
// networks larger than a home.
constexpr Duration kRestartSpread = std::chrono::milliseconds(500);

std::string natpmp_refusal(std::uint16_t result) {
  switch (result) {
    case 2:
      return "the router does not let this machine open ports";
    case wire::NatPmpAnswer::kNetworkFailure:
      return "the router has no public address itself";
    case 4:
      return "the router has no ports left";
    default:
      return format("the router refuses: NAT-PMP result {}", result);
  }
}

std::string pcp_refusal(std::uint8_t result) {
  switch (result) {
    case wire::PcpAnswer::kNotAuthorized:
      return "the router does not let this machine open ports";
    case wire::PcpAnswer::kNetworkFailure:
      return "the router has no public address itself";
    case wire::PcpAnswer::kNoResources:
      return "the router has no ports left, or no public address";
    case wire::PcpAnswer::kAddressMismatch:
      return "another router stands between this machine and the one that answers";
    default:
      return format("the router refuses: PCP result {}", result);
  }
}

}  // namespace

PortControl::PortControl(Kind kind, ByteView secret, Rng& rng, PortOutbox& outbox)
    : kind_(kind), secret_(to_bytes(secret)), rng_(rng), outbox_(outbox) {}

void PortControl::start(Time now, const RouterPlace& place) {
  stop();
  place_ = place;
  state_ = State::kAsking;
  ask_first(now);
}

void PortControl::stop() {
  reset();
  ports_.clear();
  epoch_.reset();
  first_due_ = kNever;
  first_tries_ = 0;
}

void PortControl::set_ports(Time now, const std::vector<PortToMap>& ports) {
  for (Port& port : ports_) {
    const bool is_wanted = std::find(ports.begin(), ports.end(), port.inside) != ports.end();
    if (is_wanted == !port.is_leaving) continue;
    port.is_leaving = !is_wanted;
    port.tries = 0;
    port.due = now;
  }
  // What was never asked for, or refused, has nothing to be given back.
  std::erase_if(ports_, [](const Port& port) { return port.is_leaving && !port.is_asked; });
  for (const PortToMap& wanted : ports) {
    const auto known = [&](const Port& port) { return port.inside == wanted; };
    if (std::any_of(ports_.begin(), ports_.end(), known)) continue;
    ports_.push_back({.inside = wanted, .nonce = nonce_of(wanted), .outside = {{}, wanted.port}, .due = now});
  }
  handle_timeout(now);
}

void PortControl::renew(Time now) {
  if (state_ != State::kUsable) return;
  for (Port& port : ports_) {
    if (port.is_leaving || port.due == kNever) continue;
    port.tries = 0;
    port.due = now + std::chrono::milliseconds(rng_.below(kRestartSpread / std::chrono::milliseconds(1)));
  }
}

// --- time ----------------------------------------------------------------------------------------------------------

// Before try number `tries` + 1; kNever: there is none.
Duration PortControl::retry_after(int tries) {
  if (kind_ == Kind::kNatPmp)
    return tries < kNatPmpTries ? kNatPmpFirstRetry * (1 << (tries - 1)) : Duration(Duration::max());
  const double spread = 0.9 + 0.2 * rng_.unit();
  const Duration base = tries > 9 ? kPcpLastRetry : std::min(kPcpFirstRetry * (1 << (tries - 1)), kPcpLastRetry);
  return std::chrono::duration_cast<Duration>(base * spread);
}

void PortControl::handle_timeout(Time now) {
  if (first_due_ <= now) ask_first(now);
  for (Port& port : ports_) {
    if (port.due <= now) ask(now, port);
  }
  std::erase_if(ports_, [](const Port& port) { return port.is_leaving && port.tries > kGoodbyeTries; });
  // The router is gone, or another: whoever chose us begins anew.
  const bool lost = std::any_of(ports_.begin(), ports_.end(), [&](const Port& port) {
    return !port.is_leaving && port.until != Time::min() && port.until <= now;
  });
  if (!lost) return;
  stop();
  state_ = State::kSilent;
}

Time PortControl::next_timeout() const {
  Time next = first_due_;
  for (const Port& port : ports_) {
    next = std::min(next, port.due);
    if (!port.is_leaving && port.until != Time::min()) next = std::min(next, port.until);
  }
  return next;
}

void PortControl::ask_first(Time now) {
  const Duration wait = retry_after(first_tries_ + 1);
  if (kind_ == Kind::kNatPmp && first_tries_ == kNatPmpTries) {
    first_due_ = kNever;
    state_ = State::kSilent;
    return;
  }
  ++first_tries_;
  first_due_ = now + std::min(wait, Duration(kPcpLastRetry * 2));
  outbox_.datagrams.push_back({{place_.gateway, wire::kPortControlPort},
                               kind_ == Kind::kNatPmp ? write_natpmp(wire::NatPmpRequest{})
                                                      : write_pcp(wire::PcpRequest{.client = place_.self})});
}

void PortControl::ask(Time now, Port& port) {
  if (++port.tries > kGoodbyeTries && port.is_leaving) return;
  port.is_asked = true;
  const auto lease = std::chrono::duration_cast<std::chrono::seconds>(kPortLease).count();
  const std::uint32_t lifetime = port.is_leaving ? 0 : static_cast<std::uint32_t>(lease);
  if (kind_ == Kind::kNatPmp) {
    const std::uint16_t wished = port.is_leaving ? 0 : port.outside.port;  // RFC 6886 section 3.4
    outbox_.datagrams.push_back(
        {{place_.gateway, wire::kPortControlPort},
         write_natpmp(wire::NatPmpRequest{port.inside.transport, port.inside.port, wished, lifetime})});
  } else {
    const wire::PcpMap map{port.nonce, port.inside.transport, port.inside.port, port.outside};
    outbox_.datagrams.push_back(
        {{place_.gateway, wire::kPortControlPort}, write_pcp(wire::PcpRequest{lifetime, place_.self, map})});
  }
  if (port.is_leaving) {
    port.due = now + kGoodbyeRetry;
    return;
  }
  // NAT-PMP gives up after nine tries; what is granted already is asked for until it ends.
  const Duration wait = retry_after(std::min(port.tries, kNatPmpTries - 1));
  port.due = now + wait;
  if (kind_ == Kind::kNatPmp && port.tries >= kNatPmpTries && port.until == Time::min())
    refused(port, "the router does not answer any more", false);
}

// --- answers -------------------------------------------------------------------------------------------------------

void PortControl::handle_packet(Time now, ByteView datagram) {
  if (state_ != State::kAsking && state_ != State::kUsable) return;
  if (kind_ == Kind::kNatPmp) {
    if (const auto answer = wire::parse_natpmp_answer(datagram)) handle_natpmp(now, *answer);
  } else if (const auto answer = wire::parse_pcp_answer(datagram)) {
    handle_pcp(now, *answer);
  }
}

void PortControl::check_epoch(Time now, std::uint32_t router_s) {
  const auto before = std::exchange(epoch_, Epoch{router_s, now});
  if (!before) return;
  const auto ours = static_cast<double>(std::chrono::duration_cast<std::chrono::seconds>(now - before->at).count());
  const double its = static_cast<double>(router_s) - before->router_s;
  const bool fits = its >= -1 && ours + 2 >= its - its / 16 && its + 2 >= ours - ours / 16;
  if (!fits) renew(now);
}

void PortControl::handle_natpmp(Time now, const wire::NatPmpAnswer& answer) {
  if (!answer.transport) {
    if (answer.result != 0) {
      offline_ = answer.result == wire::NatPmpAnswer::kNetworkFailure;
      first_due_ = kNever;
      return refuse(natpmp_refusal(answer.result));
    }
    const bool moved = address_ && *address_ != answer.address;
    address_ = answer.address;
    first_due_ = kNever;
    if (!is_public(answer.address)) {
      offline_ = true;
      ports_.clear();
      return refuse("the router has no public address itself");
    }
    state_ = State::kUsable;
    check_epoch(now, answer.epoch_s);
    if (moved) {
      for (Port& port : ports_) port.outside.address = answer.address;
      renew(now);
    }
    return;
  }
  const auto port = std::find_if(ports_.begin(), ports_.end(), [&](const Port& p) {
    return p.tries > 0 && p.inside.transport == *answer.transport &&
           (answer.result != 0 || p.inside.port == answer.inside);
  });
  if (port == ports_.end()) return;
  if (answer.result != 0)
    return refused(*port, natpmp_refusal(answer.result), answer.result == wire::NatPmpAnswer::kNetworkFailure);
  granted(now, *port, {*address_, answer.outside}, answer.lifetime_s);
  check_epoch(now, answer.epoch_s);
}

void PortControl::handle_pcp(Time now, const wire::PcpAnswer& answer) {
  if (answer.result == wire::PcpAnswer::kUnsupportedVersion || (!answer.map && answer.result != 0)) {
    if (state_ != State::kAsking) return;
    first_due_ = kNever;
    if (answer.result != wire::PcpAnswer::kUnsupportedVersion) return refuse(pcp_refusal(answer.result));
    state_ = State::kSilent;  // it speaks NAT-PMP alone
    return;
  }
  if (!answer.map) {
    first_due_ = kNever;
    state_ = State::kUsable;
    return check_epoch(now, answer.epoch_s);
  }
  const auto port = std::find_if(ports_.begin(), ports_.end(), [&](const Port& p) {
    return p.tries > 0 && p.nonce == answer.map->nonce && p.inside.port == answer.map->inside &&
           p.inside.transport == answer.map->transport;
  });
  if (port == ports_.end()) return;
  if (answer.result != 0) {
    return refused(*port, pcp_refusal(answer.result),
                   answer.result == wire::PcpAnswer::kNetworkFailure ||
                       answer.result == wire::PcpAnswer::kNoResources ||
                       answer.result == wire::PcpAnswer::kAddressMismatch);
  }
  if (!port->is_leaving) {
    address_ = answer.map->outside.address;
    if (!is_public(*address_)) {
      set_ports(now, {});  // it opened something that nobody can reach: back with it
      offline_ = true;
      return refuse("the router has no public address itself");
    }
  }
  granted(now, *port, answer.map->outside, answer.lifetime_s);
  check_epoch(now, answer.epoch_s);
}

void PortControl::granted(Time now, Port& port, const Endpoint& outside, std::uint32_t lifetime_s) {
  if (port.is_leaving) {
    port.tries = kGoodbyeTries + 1;
    return handle_timeout(now);
  }
  const Duration lifetime = std::chrono::seconds(lifetime_s);
  port.outside = outside;
  port.until = now + std::max(lifetime, kRenewalLeast);
  port.tries = 0;
  port.due = now + std::max(lifetime / 2, kRenewalLeast);
}

// Believed: this port is not asked for again before the router restarts or the network changes.
void PortControl::refused(Port& port, std::string why, bool offline) {
  if (port.is_leaving) {
    port.tries = kGoodbyeTries + 1;
    return;
  }
  port.until = Time::min();
  port.due = kNever;
  port.is_asked = false;
  offline_ = offline_ || offline;
  const bool all = std::all_of(ports_.begin(), ports_.end(), [](const Port& p) { return p.due == kNever; });
  if (all) return refuse(std::move(why));
  problem_ = std::move(why);
}

std::vector<PortMapping> PortControl::mappings() const {
  std::vector<PortMapping> out;
  for (const Port& port : ports_) {
    if (!port.is_leaving && port.until != Time::min()) out.push_back({port.inside, port.outside, port.until});
  }
  return out;
}

bool PortControl::is_settled() const {
  return std::all_of(ports_.begin(), ports_.end(), [](const Port& port) {
    return !port.is_leaving && (port.until != Time::min() || port.due == kNever);
  });
}

std::array<std::uint8_t, 12> PortControl::nonce_of(const PortToMap& port) const {
  ByteWriter what;
  what.bytes(place_.gateway.bytes()).u8(static_cast<std::uint8_t>(port.transport)).u16_be(port.port);
  const Bytes salt = what.take();
  const Bytes derived = crypto::hkdf_sha256(secret_, salt, as_bytes("lanrage v1 pcp nonce"), 12);
  std::array<std::uint8_t, 12> nonce{};
  std::copy(derived.begin(), derived.end(), nonce.begin());
  return nonce;
}

}  // namespace lanrage::paths
