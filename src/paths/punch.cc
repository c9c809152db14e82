#include "paths/punch.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"

namespace lanrage::paths {
namespace {

constexpr std::uint16_t kPortMin = 1024;                     // of what NATs give
constexpr Duration kStale = std::chrono::milliseconds(500);  // pings that are later than this are left out
constexpr std::size_t kTargetsMax = 3;
// Which attempts with fresh sockets give way to many ports, on the suspicion that our mapping depends on the address.
// Further ones would only repeat what failed.
constexpr std::array kHiddenTurns = {3, 5};

bool is_public_v4(const Endpoint& endpoint) {
  const IpAddress& address = endpoint.address;
  return address.is_v4() && endpoint.port != 0 && !address.is_private() && !address.is_loopback() &&
         !address.is_link_local() && !address.is_multicast() && !address.is_unspecified() &&
         !address.is_limited_broadcast();
}

// After so many attempts; the last step is repeated.
template <class Steps>
Duration step_of(const Steps& steps, int attempts) {
  return steps[std::min(static_cast<std::size_t>(attempts), steps.size()) - 1];
}

}  // namespace

// ---- Sockets

std::vector<std::uint16_t> ExtraSockets::take(std::size_t count) {
  std::vector<std::uint16_t> taken;
  if (open_.size() + count > kExtraSocketsMax) return taken;
  while (taken.size() < count) {
    if (++last_ != 0 && open_.insert(last_).second) taken.push_back(last_);
  }
  return taken;
}

void ExtraSockets::keep_only(const std::set<std::uint16_t>& used) {
  std::erase_if(open_, [&](std::uint16_t socket) { return !used.contains(socket); });
}

// ---- What there is to do

Punch::Method Punch::method_of(const End& here, const End& there, bool first) {
  if (!here.seen || !there.seen) return Method::kNone;
  const bool depends = here.mapping == Mapping::kDependent, they_depend = there.mapping == Mapping::kDependent;
  if (!depends && !they_depend) return Method::kFresh;
  const bool counts = depends && here.ports == PortChoice::kSequential;
  const bool they_count = they_depend && there.ports == PortChoice::kSequential;
  if (counts && they_count) return first ? Method::kForesee : Method::kNone;
  if (they_depend) return Method::kNone;  // they lead, or nobody can
  if (counts) return Method::kForesee;
  return here.ports == PortChoice::kRandom ? Method::kMany : Method::kNone;
}

bool Punch::may_be_hidden() const {
  return here_.seen && there_.seen && !here_.is_sure && here_.mapping == Mapping::kEndpointIndependent &&
         there_.mapping != Mapping::kDependent;
}

Punch::Method Punch::method() const {
  const bool turn = std::find(kHiddenTurns.begin(), kHiddenTurns.end(), attempts_) != kHiddenTurns.end();
  return turn && may_be_hidden() ? Method::kMany : method_of(here_, there_, first_);
}

Punch::Punch(bool first, ExtraSockets& sockets, Rng& rng) : first_(first), sockets_(sockets), rng_(rng) {}

void Punch::set_local(const End& here, const std::vector<Endpoint>& stun) {
  here_ = here;
  stun_.clear();
  for (const Endpoint& server : stun) {
    if (!is_public_v4(server)) continue;
    // The second at another address if there is one: some mappings depend on that alone.
    if (stun_.size() < 2)
      stun_.push_back(server);
    else if (stun_[1].address == stun_[0].address && server.address != stun_[0].address)
      stun_[1] = server;
  }
}

void Punch::restart(Time now) {
  stop();
  attempts_ = many_ = 0;
  if (missing_since_) missing_since_ = now;
}

void Punch::set_missing(Time now, bool missing, bool can_tell, std::optional<Duration> relayed_rtt) {
  relayed_rtt_ = relayed_rtt;
  if (can_tell != told_from_.has_value()) told_from_ = can_tell ? std::optional(now) : std::nullopt;
  if (missing == missing_since_.has_value()) return;
  missing_since_ = missing ? std::optional(now) : std::nullopt;
  restart(now);
}

Time Punch::due() const {
  if (phase_ != Phase::kIdle || !missing_since_ || !told_from_ || targets_.empty()) return kNever;
  const Method next = method();
  if (next == Method::kNone || (next != Method::kMany && stun_.empty())) return kNever;
  const bool suspects = next == Method::kMany && here_.mapping != Mapping::kDependent;
  const Duration after = suspects                   ? (first_ ? kHiddenAfter : kHiddenAfterToo)
                         : next == Method::kMany    ? kManyAfter
                         : next == Method::kForesee ? kForeseeAfter
                         : first_                   ? kFreshAfter
                                                    : kFreshAfterToo;
  const Time first = std::max({not_before_, *missing_since_ + after, *told_from_ + after});
  if (attempts_ == 0) return first;
  const Duration again = suspects && attempts_ == kHiddenTurns[0] ? kFreshAgain[0]
                         : suspects || next == Method::kFresh     ? step_of(kFreshAgain, attempts_)
                         : next == Method::kMany                  ? step_of(kManyAgain, attempts_)
                                                                  : step_of(kPunchAgain, attempts_);
  return std::max(first, attempted_ + again);
}

void Punch::begin(Time now) {
  own_ = sockets_.take(method() == Method::kMany ? kManySockets : 1);
  if (own_.empty()) {  // another peer's turn
    not_before_ = now + kManyTime;
    return;
  }
  doing_ = method();
  round_ = rng_.u32();
  attempted_ = now;
  ++attempts_;
  ++stats_.led;
  doing_ == Method::kMany ? begin_many(now) : begin_sample(now);
}

void Punch::begin_sample(Time now) {
  phase_ = Phase::kSampling;
  ends_ = now + (doing_ == Method::kFresh ? kFreshTime : kPortsTime);
  samples_used_ = stun_.size();
  for (std::size_t i = 0; i < stun_.size(); ++i) samples_[i] = {stun_[i], {}, {}};
  sample_tries_ = 0;
  ask(now);
}

void Punch::begin_many(Time now) {
  phase_ = Phase::kTrying;
  ends_ = now + kManyTime;
  const bool late = many_++ % 2 != 0;
  Time at = late ? now + kManyLate : now;
  for (const std::uint16_t socket : own_) {
    plan_.push_back({at, {targets_.front(), false, socket}});
    at += kManySocketGap;
  }
  make_offer(
      {wire::SignalPunch::Method::kMany, round_, {}, std::int16_t{late}, static_cast<std::uint16_t>(own_.size())});
}

// ---- How a fresh socket looks from outside

void Punch::ask(Time now) {
  ++sample_tries_;
  sample_due_ = now + kSampleGap;
  for (std::size_t i = 0; i < samples_used_; ++i) {
    if (samples_[i].mapped) continue;
    rng_.fill(samples_[i].transaction);
    questions_.push_back({own_.front(), samples_[i].server, wire::write_stun_request(samples_[i].transaction)});
  }
}

void Punch::handle_packet(Time now, std::uint16_t socket, const Endpoint& source, ByteView datagram) {
  if (phase_ != Phase::kSampling || own_.front() != socket) return;
  const auto response = wire::parse_stun_response(datagram);
  if (!response || !is_public_v4(response->mapped)) return;
  bool complete = true;
  for (std::size_t i = 0; i < samples_used_; ++i) {
    Sample& sample = samples_[i];
    if (sample.server == source && sample.transaction == response->transaction) sample.mapped = response->mapped;
    complete = complete && sample.mapped;
  }
  if (complete) finish_sample(now);
}

void Punch::finish_sample(Time now) {
  sample_due_ = kNever;
  std::vector<std::uint16_t> ports;
  std::optional<Endpoint> seen;
  for (std::size_t i = 0; i < samples_used_; ++i) {
    if (!samples_[i].mapped) continue;
    seen = samples_[i].mapped;
    ports.push_back(seen->port);
  }
  if (doing_ == Method::kMany) {  // theirs; ours is to be known before they send anything
    if (seen) make_offer({wire::SignalPunch::Method::kPorts, round_, *seen, 0, 1});
    return ping_many(now, targets_.front().address, seen ? own_.front() : 0);
  }
  const PortPattern pattern = port_pattern(ports);
  const bool foresees = doing_ == Method::kForesee;
  if (!seen || (pattern.choice == PortChoice::kSequential) != foresees) return stop();  // no answer, or it lies
  phase_ = Phase::kTrying;
  wire::SignalPunch offer{wire::SignalPunch::Method::kPorts, round_, *seen, 0, 1};
  if (foresees) {
    offer.endpoint.port = port_after(seen->port, pattern.step, 1);
    offer.step = static_cast<std::int16_t>(pattern.step);
    offer.count = kPortsAhead;
  }
  make_offer(offer);
  if (theirs_) {
    ping_ports(now, *theirs_, own_.front());
  } else if (!foresees || there_.ports != PortChoice::kSequential || there_.mapping != Mapping::kDependent) {
    const int half_trips = kHalfTrips[static_cast<std::size_t>(attempts_ - 1) % kHalfTrips.size()];
    ping_targets(now + relayed_rtt_.value_or(Duration::zero()) * half_trips / 2);
  }
}

void Punch::make_offer(const wire::SignalPunch& offer) {
  offer_ = offer;
  offer_due_ = true;
}

// ---- Following

void Punch::handle_signal(Time now, const wire::PeerSignal& signal) {
  const std::optional<Endpoint> before = targets_.empty() ? std::nullopt : std::optional(targets_.front());
  targets_.clear();
  // An address of its own counts as well: a firewall may stand before it.
  for (const auto kind :
       {wire::CandidateKind::kServerReflexive, wire::CandidateKind::kMapped, wire::CandidateKind::kHost}) {
    for (const wire::Candidate& candidate : signal.candidates) {
      if (candidate.kind == kind && is_public_v4(candidate.endpoint) && targets_.size() < kTargetsMax)
        targets_.push_back(candidate.endpoint);
    }
  }
  if (signal.udp_blocked) targets_.clear();
  there_ = {!targets_.empty(), signal.mapping, signal.network.ports};
  if (before && !targets_.empty() && before->address != targets_.front().address) restart(now);
  if (!signal.punch || !missing_since_) return;
  if (phase_ == Phase::kTrying && doing_ == Method::kForesee && signal.punch->round == round_) {
    if (plan_.empty()) ping_ports(now, *signal.punch, own_.front());  // their answer to ours
    return;
  }
  if (phase_ == Phase::kTrying && doing_ == Method::kMany && signal.punch->round == round_ &&
      signal.punch->method == wire::SignalPunch::Method::kPorts && is_public_v4(signal.punch->endpoint)) {
    for (Guess& guess : plan_) guess.path.endpoint = signal.punch->endpoint;  // their fresh socket's
    return;
  }
  if (followed_ != signal.punch->round) follow(now, *signal.punch);
}

void Punch::follow(Time now, const wire::SignalPunch& offer) {
  if (targets_.empty() || now < follow_from_) return;
  const bool depends = here_.mapping == Mapping::kDependent;
  const bool many = offer.method == wire::SignalPunch::Method::kMany;
  if (many ? depends : !is_public_v4(offer.endpoint)) return;
  stop();
  followed_ = offer.round;
  follow_from_ = now + (many ? kFollowManyAgain : kFollowAgain);
  ++stats_.followed;
  if (many) {
    doing_ = Method::kMany;
    if (offer.step != 0 && !stun_.empty()) own_ = sockets_.take(1);
    if (own_.empty()) return ping_many(now, targets_.front().address, 0);
    round_ = offer.round;
    begin_sample(now);
  } else if (depends && here_.ports == PortChoice::kSequential && offer.step != 0 && !stun_.empty()) {
    own_ = sockets_.take(1);
    if (own_.empty()) return;
    doing_ = Method::kForesee;
    round_ = offer.round;
    theirs_ = offer;
    begin_sample(now);
  } else {
    doing_ = Method::kFresh;
    phase_ = Phase::kTrying;
    ends_ = now + (offer.step == 0 ? kRounds * kRoundGap : kPortsTime);  // then it may be our turn
    ping_ports(now, offer, 0);
  }
}

// ---- Pings

void Punch::ping_targets(Time at) {
  for (int round = 0; round < kRounds; ++round, at += kRoundGap) {
    for (const Endpoint& target : targets_) plan_.push_back({at, {target, false, own_.front()}});
  }
}

void Punch::ping_ports(Time at, const wire::SignalPunch& offer, std::uint16_t socket) {
  const int count = std::min<int>(offer.count, kPortsAhead);
  for (int round = 0; round < kRounds; ++round, at += kRoundGap) {
    for (int i = 0; i < count; ++i, at += kPortGap) {
      const Endpoint to{offer.endpoint.address, port_after(offer.endpoint.port, offer.step, i)};
      if (to.port != 0) plan_.push_back({at, {to, false, socket}});
    }
  }
}

void Punch::ping_many(Time at, const IpAddress& address, std::uint16_t socket) {
  phase_ = Phase::kTrying;
  ends_ = at + kManyTime;
  std::vector<std::uint16_t> ports(65536 - kPortMin);
  std::iota(ports.begin(), ports.end(), kPortMin);
  for (std::size_t i = 0; i < kManyPorts; ++i, at += kManyPortGap) {
    std::swap(ports[i], ports[i + rng_.below(ports.size() - i)]);
    plan_.push_back({at, {{address, ports[i]}, false, socket}});
  }
}

void Punch::stop() {
  phase_ = Phase::kIdle;
  doing_ = Method::kNone;
  own_.clear();
  plan_.clear();
  questions_.clear();
  guesses_.clear();
  theirs_.reset();
  offer_.reset();
  offer_due_ = false;
  sample_due_ = ends_ = kNever;
}

// ---- Time

void Punch::handle_timeout(Time now) {
  if (sample_due_ <= now) sample_tries_ < kSampleTries ? ask(now) : finish_sample(now);
  for (; !plan_.empty() && plan_.front().at <= now; plan_.pop_front()) {
    if (now - plan_.front().at > kStale) continue;  // this machine slept
    guesses_.push_back(plan_.front().path);
    ++stats_.guesses;
  }
  if (ends_ <= now) stop();
  if (due() <= now) begin(now);
}

std::optional<Time> Punch::next_timeout() const {
  Time next = std::min({due(), sample_due_, ends_});
  if (!plan_.empty()) next = std::min(next, plan_.front().at);
  return next == kNever ? std::nullopt : std::optional<Time>(next);
}

std::optional<Punch::Question> Punch::poll_question() {
  if (questions_.empty()) return std::nullopt;
  Question question = questions_.front();
  questions_.pop_front();
  return question;
}

std::optional<Path> Punch::poll_guess() {
  if (guesses_.empty()) return std::nullopt;
  const Path path = guesses_.front();
  guesses_.pop_front();
  return path;
}

bool Punch::poll_offer() { return std::exchange(offer_due_, false); }

std::string Punch::why() const {
  if (doing_ != Method::kMany || phase_ != Phase::kTrying) return {};
  return "many ports are being tried for a direct path, which takes some seconds; nothing to do yet";
}

}  // namespace lanrage::paths
