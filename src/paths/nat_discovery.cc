#include "paths/nat_discovery.h"

#include <algorithm>
#include <utility>

namespace lanrage::paths {
namespace {

constexpr std::uint16_t kDiscardPort = 9;  // RFC 863; no mapping of ours, and hardly anybody's

int tries_of(bool changed) { return changed ? kDiscoveryChangedTries : kDiscoveryTries; }

}  // namespace

const char* dependence_name(Dependence dependence) {
  switch (dependence) {
    case Dependence::kUnknown:
      return "unknown";
    case Dependence::kEndpointIndependent:
      return "endpoint_independent";
    case Dependence::kNotPort:
      return "port_independent";
    case Dependence::kAddress:
      return "address_dependent";
    case Dependence::kAddressAndPort:
      return "address_and_port_dependent";
  }
  return "unknown";
}

NatDiscovery::NatDiscovery(Rng& rng) : rng_(rng) {}

void NatDiscovery::start(Time now, const std::vector<Endpoint>& servers, Local local) {
  local_ = std::move(local);
  families_.clear();
  transmits_.clear();
  found_.reset();
  running_ = true;
  start_family(now, true, servers);
  start_family(now, false, servers);
  handle_timeout(now);
}

void NatDiscovery::start_family(Time now, bool v4, const std::vector<Endpoint>& servers) {
  const bool has_address = std::any_of(local_.addresses.begin(), local_.addresses.end(), [&](const IpAddress& address) {
    return address.is_v4() == v4 && !address.is_loopback() && !address.is_link_local();
  });
  // A server on this machine, or in this network, does not see it from outside.
  const bool is_here = std::any_of(servers.begin(), servers.end(), [&](const Endpoint& endpoint) {
    return std::find(local_.addresses.begin(), local_.addresses.end(), endpoint.address) != local_.addresses.end();
  });
  Family family{.v4 = v4, .servers = {}, .questions = {}, .began = now};
  for (const Endpoint& endpoint : servers) {
    if (endpoint.address.is_v4() != v4) continue;
    if (endpoint.address.is_private() || endpoint.address.is_loopback()) {
      family.is_near = true;
    } else {
      family.servers.push_back(endpoint);
    }
  }
  if (!has_address || is_here || family.servers.empty()) return;
  const Endpoint& main = family.servers.front();
  ask(now, family, Kind::kFirst, Socket::kFirst, main);
  ask(now, family, Kind::kSame, Socket::kSecond, main);
  for (const Endpoint& other : family.servers) {
    const Kind kind = other.address == main.address ? Kind::kOtherPort : Kind::kOtherAddress;
    if (other != main && find(family, kind) == nullptr) ask(now, family, kind, Socket::kSecond, other);
  }
  families_.push_back(std::move(family));
}

void NatDiscovery::ask(Time now, Family& family, Kind kind, Socket socket, const Endpoint& to) {
  family.questions.push_back({.kind = kind, .socket = socket, .to = to});
  rng_.fill(family.questions.back().transaction);
  send(now, family, family.questions.back());
}

void NatDiscovery::send(Time now, const Family& family, Question& question) {
  const bool both = question.kind == Kind::kChangeBoth;
  transmits_.push_back(
      {question.socket, question.to,
       wire::write_stun_discovery(question.transaction, both, both || question.kind == Kind::kChangePort)});
  question.due = now + family.gap * (1 << question.tries++);
}

void NatDiscovery::send_hairpin(Time now, Family& family) {
  Hairpin& hairpin = *family.hairpin;
  const Endpoint first = *mapped(family, Kind::kFirst), second = *mapped(family, Kind::kSame);
  transmits_.push_back({Socket::kFirst, second, wire::write_stun_discovery(hairpin.transactions[0], false, false)});
  transmits_.push_back({Socket::kSecond, first, wire::write_stun_discovery(hairpin.transactions[1], false, false)});
  hairpin.due = now + family.gap;
  ++hairpin.tries;
}

void NatDiscovery::send_trace(Time now, Family& family) {
  Trace& trace = *family.trace;
  const auto send = [&](const Endpoint& to, std::uint8_t hops) {
    transmits_.push_back({Socket::kSecond, to, wire::write_stun_discovery(trace.transaction, false, false), hops});
  };
  send(trace.outside, 1);
  send(*mapped(family, Kind::kFirst), 2);
  send(family.servers.front(), 2);
  trace.due = now + family.gap;
  ++trace.tries;
}

void NatDiscovery::handle_expired(Time now, const IpAddress& from, const Endpoint& destination) {
  for (Family& family : families_) {
    if (family.done || !family.trace) continue;
    if (destination == family.trace->outside) family.trace->expired = true;
    if (destination != family.servers.front()) continue;
    family.trace->beyond = from;
    if (!from.is_private()) family.trace->due = kNever;  // the internet begins there
  }
  handle_timeout(now);
}

void NatDiscovery::handle_packet(Time now, Socket socket, const Endpoint& source, ByteView datagram) {
  const auto response = wire::parse_stun_response(datagram);
  const auto request = response ? std::nullopt : wire::parse_stun_request(datagram);
  for (Family& family : families_) {
    if (family.done || family.v4 != source.address.is_v4()) continue;
    if (request && family.hairpin && request->transaction == family.hairpin->transactions[socket == Socket::kFirst])
      family.hairpin->works = true;
    if (request && family.trace && socket == Socket::kFirst && request->transaction == family.trace->transaction)
      family.trace->looped = true;
    if (response) {
      const auto question = std::find_if(family.questions.begin(), family.questions.end(), [&](const Question& q) {
        return q.due != kNever && q.socket == socket && q.transaction == response->transaction;
      });
      if (question != family.questions.end()) handle_answer(now, family, *question, source, *response);
    }
  }
  handle_timeout(now);
}

// An answer from where it was not to come from says nothing: a server that ignores what it is asked for, or a forger.
void NatDiscovery::handle_answer(Time now, Family& family, Question& question, const Endpoint& source,
                                 const wire::StunResponse& response) {
  const bool same_address = source.address == question.to.address;
  const bool fits = question.kind == Kind::kChangePort   ? same_address && source.port != question.to.port
                    : question.kind == Kind::kChangeBoth ? !same_address
                                                         : source == question.to;
  if (!fits || response.mapped.address.is_v4() != family.v4) return;
  question.mapped = response.mapped;
  question.due = kNever;
  if (question.kind != Kind::kFirst) return;
  family.gap = std::max(kDiscoveryFirstRetry, 2 * (now - family.began));
  if (!response.other) return;  // it cannot answer from elsewhere
  const Endpoint to = question.to;
  ask(now, family, Kind::kChangePort, Socket::kFirst, to);
  const bool has_two = std::any_of(family.servers.begin(), family.servers.end(), [&](const Endpoint& server) {
    return server.address == response.other->address && server.address != to.address;
  });
  if (has_two) ask(now, family, Kind::kChangeBoth, Socket::kFirst, to);
}

void NatDiscovery::handle_timeout(Time now) {
  if (!running_) return;
  for (Family& family : families_) {
    if (!family.done) advance(now, family);
  }
  if (!std::all_of(families_.begin(), families_.end(), [](const Family& family) { return family.done; })) return;
  running_ = false;
  found_.emplace();
  for (const Family& family : families_) {
    const FamilyReport report = report_of(family);
    if (report.answered || !family.is_near) (family.v4 ? found_->v4 : found_->v6) = report;
  }
}

void NatDiscovery::advance(Time now, Family& family) {
  for (Question& question : family.questions) {
    if (question.due > now) continue;
    const bool changed = question.kind == Kind::kChangePort || question.kind == Kind::kChangeBoth;
    if (question.tries < tries_of(changed)) {
      send(now, family, question);
    } else {
      question.due = kNever;
    }
  }
  if (!family.hairpin && mapped(family, Kind::kFirst) && mapped(family, Kind::kSame) &&
      !is_own(*mapped(family, Kind::kFirst), local_.first_port)) {
    family.hairpin = Hairpin{0, now, {}, {}};
    for (auto& transaction : family.hairpin->transactions) rng_.fill(transaction);
    send_hairpin(now, family);
  }
  if (family.hairpin && !family.hairpin->works && family.hairpin->due <= now) {
    if (family.hairpin->tries < kHairpinTries) {
      send_hairpin(now, family);
    } else {
      family.hairpin->works = false;
    }
  }
  if (family.hairpin && family.v4 && !family.trace) {
    const IpAddress outside = mapped(family, Kind::kFirst)->address;
    family.trace = Trace{.outside = {outside, kDiscardPort}, .tries = 0, .due = now, .transaction = {}};
    rng_.fill(family.trace->transaction);
  }
  if (family.trace && family.trace->due <= now) {
    if (family.trace->tries < kTraceTries && !family.trace->beyond) {
      send_trace(now, family);
    } else {
      family.trace->due = kNever;
    }
  }
  family.done = std::all_of(family.questions.begin(), family.questions.end(),
                            [](const Question& question) { return question.due == kNever; }) &&
                (!family.hairpin || family.hairpin->works) && (!family.trace || family.trace->due == kNever);
}

std::optional<Time> NatDiscovery::next_timeout() const {
  if (!running_) return std::nullopt;
  Time next = kNever;
  for (const Family& family : families_) {
    if (family.done) continue;
    for (const Question& question : family.questions) next = std::min(next, question.due);
    if (family.hairpin && !family.hairpin->works) next = std::min(next, family.hairpin->due);
    if (family.trace) next = std::min(next, family.trace->due);
  }
  return next == kNever ? std::nullopt : std::optional(next);
}

std::optional<NatDiscovery::Transmit> NatDiscovery::poll_transmit() {
  if (transmits_.empty()) return std::nullopt;
  Transmit transmit = std::move(transmits_.front());
  transmits_.pop_front();
  return transmit;
}

std::optional<DiscoveryReport> NatDiscovery::poll_event() { return std::exchange(found_, std::nullopt); }

// --- what it means -------------------------------------------------------------------------------------------------

const NatDiscovery::Question* NatDiscovery::find(const Family& family, Kind kind) const {
  const auto found = std::find_if(family.questions.begin(), family.questions.end(),
                                  [&](const Question& question) { return question.kind == kind; });
  return found == family.questions.end() ? nullptr : &*found;
}

std::optional<Endpoint> NatDiscovery::mapped(const Family& family, Kind kind) const {
  const Question* question = find(family, kind);
  return question == nullptr ? std::nullopt : question->mapped;
}

bool NatDiscovery::is_own(const Endpoint& seen, std::uint16_t port) const {
  return seen.port == port &&
         std::find(local_.addresses.begin(), local_.addresses.end(), seen.address) != local_.addresses.end();
}

FamilyReport NatDiscovery::report_of(const Family& family) const {
  FamilyReport report;
  const auto first = mapped(family, Kind::kFirst), second = mapped(family, Kind::kSame);
  report.answered = first || second;
  if (!report.answered) return report;
  report.seen = first ? *first : *second;
  const std::uint16_t port = first ? local_.first_port : local_.second_port;
  report.translated = !is_own(report.seen, port);
  report.keeps_port = report.seen.port == port;
  report.mapping = mapping_of(family);
  if (report.mapping == Dependence::kAddress || report.mapping == Dependence::kAddressAndPort)
    report.ports = ports_of(family);
  report.filtering = filtering_of(family);
  if (family.hairpin) report.hairpin = family.hairpin->works;
  const auto& trace = family.trace;
  if (trace && trace->expired && !trace->looped && trace->beyond && trace->beyond->is_private())
    report.beyond = trace->beyond;
  return report;
}

// RFC 5780 section 4.3.
Dependence NatDiscovery::mapping_of(const Family& family) const {
  const auto same = mapped(family, Kind::kSame);
  const auto other_port = mapped(family, Kind::kOtherPort), other_address = mapped(family, Kind::kOtherAddress);
  if (!same || (!other_port && !other_address)) return Dependence::kUnknown;
  if (other_port && other_port != same) return Dependence::kAddressAndPort;
  if (!other_address) return Dependence::kNotPort;
  return other_address == same ? Dependence::kEndpointIndependent : Dependence::kAddress;
}

// In the order in which the questions first went out.
PortPattern NatDiscovery::ports_of(const Family& family) const {
  std::vector<std::uint16_t> ports;
  for (const Question& question : family.questions) {
    const bool is_plain = question.kind != Kind::kChangePort && question.kind != Kind::kChangeBoth;
    if (is_plain && question.mapped) ports.push_back(question.mapped->port);
  }
  return port_pattern(ports);
}

// Section 4.4.
Dependence NatDiscovery::filtering_of(const Family& family) const {
  if (mapped(family, Kind::kChangeBoth)) return Dependence::kEndpointIndependent;
  if (find(family, Kind::kChangePort) == nullptr) return Dependence::kUnknown;
  if (!mapped(family, Kind::kChangePort)) return Dependence::kAddressAndPort;
  return find(family, Kind::kChangeBoth) != nullptr ? Dependence::kAddress : Dependence::kNotPort;
}

}  // namespace lanrage::paths
