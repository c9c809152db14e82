#include "paths/relay_client.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace lanrage::paths {
namespace {

constexpr Duration kBackoffFirst = std::chrono::seconds(1);
constexpr Duration kCheckGap = std::chrono::seconds(1);  // between two refreshes that others' hints cause

Duration times(Duration d, double factor) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(d.count()) * factor));
}

}  // namespace

RelayClient::RelayClient(const crypto::PrivateKey& device_key, Rng& rng)
    : device_key_(device_key), self_(crypto::public_key(device_key)), rng_(rng) {}

void RelayClient::set_grant(Time now, ByteView grant) {
  grant_ = grant.size() == wire::kGrantBytes ? to_bytes(grant) : Bytes{};
  for (Relay& relay : relays_) {
    if (grant_.empty()) {
      leave(relay);
    } else {
      begin(now, relay);
    }
  }
}

void RelayClient::set_relays(Time now, const std::vector<RelayAddress>& relays) {
  std::vector<Relay> next;
  for (RelayAddress address : relays) {
    if (next.size() == kRelaysKnownMax) break;
    if (address.endpoints.size() > kRelayEndpointsMax) address.endpoints.resize(kRelayEndpointsMax);
    const auto known = std::find_if(relays_.begin(), relays_.end(),
                                    [&](const Relay& relay) { return relay.address.key == address.key; });
    if (known != relays_.end()) {
      next.push_back(std::move(*known));
      relays_.erase(known);
      Relay& relay = next.back();
      if (!std::exchange(relay.named, true)) begin(now, relay);
      const bool changed = relay.address != address;
      relay.address = address;
      const bool in_use =
          relay.endpoint && std::count(address.endpoints.begin(), address.endpoints.end(), *relay.endpoint) != 0;
      if (changed && !in_use && !is_by_stream(relay)) begin(now, relay);
      continue;
    }
    Relay& relay = next.emplace_back();
    relay.address = address;
    relay.mac_key = wire::relay_mac_key(device_key_, address.key, self_, address.key);
    relay.used = relays.size() <= kRelaysMax;
    begin(now, relay);
  }
  for (Relay& gone : relays_) {
    if (gone.named) ++stats_.forgotten;
    gone.named = false;
    if (!gone.going) linger(now, gone, kRelayLinger);
    if (next.size() < kRelaysKnownMax + kRelaysMax && gone.announced) {
      next.push_back(std::move(gone));
    } else {
      leave(gone);
    }
  }
  relays_ = std::move(next);
  for (Relay& relay : relays_) set_used(now, relay);
}

void RelayClient::use(Time now, std::span<const wire::RelayPeer> relays) {
  const auto wanted = relays.first(std::min(relays.size(), kRelaysMax));
  wanted_.assign(wanted.begin(), wanted.end());
  for (Relay& relay : relays_) set_used(now, relay);
}

void RelayClient::set_used(Time now, Relay& relay) {
  const bool used = named() <= kRelaysMax ||
                    std::find(wanted_.begin(), wanted_.end(), wire::relay_peer(relay.address.key)) != wanted_.end();
  if (!relay.named || used == std::exchange(relay.used, used)) return;
  if (used || !relay.announced) return begin(now, relay);
  linger(now, relay, kRelayLinger);
}

void RelayClient::add_index(Time now, std::uint32_t index) {
  if (std::find(indices_.begin(), indices_.end(), index) != indices_.end()) return;
  if (indices_.size() == kIndicesMax) remove_index(indices_.front());
  indices_.push_back(index);
  for (Relay& relay : relays_) {
    std::erase(relay.removed, index);
    if (relay.state == State::kRegistered) send_refresh(now, relay);
  }
}

void RelayClient::remove_index(std::uint32_t index) {
  const auto found = std::find(indices_.begin(), indices_.end(), index);
  if (found == indices_.end()) return;
  const auto position = static_cast<std::size_t>(found - indices_.begin());
  indices_.erase(found);
  for (Relay& relay : relays_) {
    if (position < std::max(relay.indices_told, relay.indices_asked)) relay.removed.push_back(index);
    if (position < relay.indices_told) --relay.indices_told;
    if (position < relay.indices_asked) --relay.indices_asked;
    if (relay.removed.size() > kIndicesMax) relay.removed.erase(relay.removed.begin());
  }
}

void RelayClient::restart(Time now) {
  for (Relay& relay : relays_) {
    relay.backoff = {};
    begin(now, relay);
  }
}

void RelayClient::check(Time now, const Path& path) {
  Relay* relay = relay_at(path.endpoint);
  if (relay == nullptr || relay->state != State::kRegistered || relay->transaction != 0) return;
  if (now - relay->asked >= kCheckGap) send_refresh(now, *relay);
}

void RelayClient::check_all(Time now) {
  for (const Relay& relay : relays_)
    if (relay.endpoint) check(now, Path{*relay.endpoint, true});
}

void RelayClient::doubt_udp() {
  for (Relay& relay : relays_)
    if (!relay.announced) relay.udp_silent = true;
}

void RelayClient::set_stream(Time now, const crypto::PublicKey& key, const std::optional<Endpoint>& entrance) {
  const auto relay = std::find_if(relays_.begin(), relays_.end(), [&](const Relay& r) { return r.address.key == key; });
  if (relay == relays_.end() || relay->stream == entrance) return;
  const bool in_use = is_by_stream(*relay);
  if (in_use) announce_loss(*relay);
  relay->stream = entrance;
  relay->udp_again_due = kNever;
  const bool on_udp = relay->state == State::kRegistered && !in_use && !relay->udp_silent;
  if (!on_udp && (entrance || in_use)) begin(now, *relay);
}

void RelayClient::stop() {
  for (Relay& relay : relays_) leave(relay);
  relays_.clear();
}

// ---- Asking

// Asks every endpoint at once for a challenge, and goes on from there if the relay is to be used. What is registered
// stays in use meanwhile.
void RelayClient::begin(Time now, Relay& relay) {
  relay.state = State::kIdle;
  relay.endpoint.reset();
  relay.transaction = 0;
  relay.tries = 0;
  relay.due = kNever;
  relay.indices_told = relay.indices_asked = 0;
  relay.removed.clear();
  relay.going.reset();
  relay.leave_at = kNever;
  if (grant_.empty() || !relay.mac_key || relay.address.endpoints.empty()) return;
  relay.state = relay.used ? State::kRegistering : State::kMeasuring;
  send_register(now, relay);
}

void RelayClient::send_register(Time now, Relay& relay) {
  if (relay.transaction == 0) relay.transaction = rng_.u64() | 1;
  if (relay.tries == 0) {
    relay.first_asked = now;
    relay.copies = 0;
  }
  relay.asked = now;
  relay.due = now + relay.patience * (1 << relay.tries);
  ++relay.tries;
  ++relay.copies;
  wire::Indices indices;
  if (relay.endpoint) {
    indices = wire::Indices(indices_).first(std::min(indices_.size(), wire::kRelayIndicesMax));
    relay.indices_asked = indices.size();
    relay.removed_asked = 0;
  }
  const wire::RelayCookie cookie = relay.endpoint ? relay.cookie : wire::RelayCookie{};
  const Bytes datagram = wire::write_relay_register(relay.transaction, cookie, grant_, indices, *relay.mac_key);
  std::vector<Endpoint> all = relay.endpoint ? std::vector<Endpoint>{*relay.endpoint} : relay.address.endpoints;
  if (!relay.endpoint && relay.stream && relay.used) all.push_back(*relay.stream);
  for (const Endpoint& endpoint : all) {
    send(endpoint, datagram);
    ++stats_.registers_sent;
  }
}

void RelayClient::send_refresh(Time now, Relay& relay) {
  const bool is_first = relay.transaction == 0;
  if (is_first) {
    relay.tries = 0;
    relay.first_asked = now;
  }
  // A repeated question keeps its name unless it has something new to say, so that a late answer still counts.
  const std::size_t told = relay.indices_told;
  const std::size_t removed = std::min(relay.removed.size(), wire::kRelayIndicesMax / 2);
  const std::size_t added = std::min(indices_.size() - told, wire::kRelayIndicesMax - removed);
  if (is_first || relay.indices_asked != told + added || relay.removed_asked != removed) {
    relay.transaction = rng_.u64() | 1;
    relay.copies = 0;
  }
  relay.indices_asked = told + added;
  relay.removed_asked = removed;
  relay.asked = now;
  ++relay.copies;
  // However often there is something new to say, a relay that is silent is lost as long after its silence began.
  if (is_first || relay.due <= now) {
    relay.due = now + relay.patience * (1 << relay.tries);
    ++relay.tries;
  }
  send(*relay.endpoint,
       wire::write_relay_refresh(relay.transaction, relay.session, wire::Indices(indices_).subspan(told, added),
                                 wire::Indices(relay.removed).first(removed), *relay.mac_key));
  ++stats_.refreshes_sent;
}

// From an answer to the next question. Closely at first where there is something to choose: a relay that loses 5 % is
// told from a clean one by 40 questions in seven cases of eight, by 8 in one of three.
Duration RelayClient::pause(const Relay& relay) const {
  const std::size_t probes = relay.quality.probes();
  if (relay.state != State::kRegistered) return probes < kRelayFirstProbes ? kRelayFirstGap : kRelayMeasure;
  if (is_by_stream(relay)) return kRelayRefresh;
  const Duration kept = std::min(kRelayRefresh, keepalive_);
  if (named() > 1) return probes < kRelayChoiceProbes ? std::min(kRelayChoiceGap, kept) : kept;
  return probes < kRelayFirstProbes ? std::min(kRelayFirstGap, kept) : kept;
}

void RelayClient::set_keepalive(Time now, Duration keepalive) {
  const bool is_sooner = keepalive < std::exchange(keepalive_, keepalive);
  for (Relay& relay : relays_)
    if (is_sooner && relay.state == State::kRegistered && relay.transaction == 0) relay.due = std::min(relay.due, now);
}

std::size_t RelayClient::named() const {
  const auto is_named = [](const Relay& relay) { return relay.named; };
  return static_cast<std::size_t>(std::count_if(relays_.begin(), relays_.end(), is_named));
}

// Without a cookie: nothing moves before the relay has answered from there.
void RelayClient::ask_udp_again(Time now, Relay& relay) {
  relay.udp_again = rng_.u64() | 1;
  relay.udp_again_due = now + kRelayUdpAgain;
  const Bytes datagram = wire::write_relay_register(relay.udp_again, {}, grant_, {}, *relay.mac_key);
  for (const Endpoint& endpoint : relay.address.endpoints) send(endpoint, datagram);
  stats_.registers_sent += relay.address.endpoints.size();
}

// When the answer that is owed over UDP is overdue.
std::optional<Time> RelayClient::patience_ends(const Relay& relay) const {
  const bool asked = relay.transaction != 0 && relay.state != State::kIdle;
  if (!asked || relay.udp_silent || is_by_stream(relay)) return std::nullopt;
  const Duration least = relay.announced ? kRelayPatience : kRelayFirstPatience;
  return relay.first_asked + std::max<Duration>(least, 2 * relay.quality.rtt_ema().value_or(Duration{}));
}

void RelayClient::send(const Endpoint& to, Bytes datagram) {
  if (transmits_.size() == kRelayTransmitsMax) transmits_.pop_front();
  transmits_.push_back({to, std::move(datagram)});
}

void RelayClient::leave(Relay& relay) {
  if (relay.state == State::kRegistered) {
    send(*relay.endpoint, wire::write_relay_leave({rng_.u64() | 1, relay.session}, *relay.mac_key));
  }
  announce_loss(relay);
  relay.state = State::kIdle;
  relay.due = relay.leave_at = relay.udp_again_due = kNever;
  relay.going.reset();
}

// The others are used from now on, and this one is left once they surely send by others, too.
void RelayClient::linger(Time now, Relay& relay, Duration forwarding) {
  if (!relay.announced) return;
  relay.going = now + forwarding;
  relay.leave_at = now + std::min(forwarding, kRelayLinger);
  if (relay.transaction == 0) relay.due = now + kRelayRefresh;
  push_event({relay.used ? Event::Kind::kDraining : Event::Kind::kLeft, Path{*relay.announced, true}});
}

// A member's own does not count: not everybody may be reached by it.
bool RelayClient::has_other() const {
  return std::any_of(relays_.begin(), relays_.end(),
                     [](const Relay& relay) { return relay.announced && !relay.going && !relay.address.is_members; });
}

// The path is gone as far as the node knows.
void RelayClient::announce_loss(Relay& relay) {
  if (!relay.announced) return;
  if (relay.going) {
    push_event({relay.used ? Event::Kind::kDraining : Event::Kind::kLeft, Path{*relay.announced, true}});
    relay.announced.reset();
    return;
  }
  ++stats_.losses;
  push_event({Event::Kind::kLost, Path{*relay.announced, true}});
  relay.announced.reset();
}

void RelayClient::forget_quality(Relay& relay) {
  if (relay.quality.probes() != 0) ++stats_.forgotten;
  relay.quality = {};
}

void RelayClient::back_off(Time now, Relay& relay, Duration least) {
  announce_loss(relay);
  relay.backoff = std::max(std::clamp(relay.backoff * 2, kBackoffFirst, kRelayBackoffMax), least);
  forget_quality(relay);
  relay.state = State::kIdle;
  relay.transaction = 0;
  relay.due = now + times(relay.backoff, 0.9 + 0.2 * rng_.unit());
}

void RelayClient::push_event(Event event) {
  if (events_.size() == kRelayEventsMax) events_.pop_front();
  events_.push_back(event);
}

// ---- Answers

std::optional<RelayClient::Inbound> RelayClient::handle_packet(Time now, const Endpoint& source, ByteView datagram) {
  Relay* relay = relay_at(source);
  if (relay == nullptr) {
    ++stats_.dropped_unknown_source;
    return std::nullopt;
  }
  switch (wire::relay_type(datagram).value_or(wire::RelayType::kRegister)) {
    case wire::RelayType::kChallenge:
      handle_challenge(now, *relay, source, datagram);
      return std::nullopt;
    case wire::RelayType::kRegistered:
      handle_registered(now, *relay, datagram);
      return std::nullopt;
    case wire::RelayType::kRefused:
      handle_refused(now, *relay, source, datagram);
      return std::nullopt;
    case wire::RelayType::kAbsent: {
      const auto message = wire::parse_relay_absent(datagram);
      if (message) push_event({Event::Kind::kAbsent, Path{source, true}, 0, message->peer});
      stats_.dropped_malformed += message ? 0 : 1;
      return std::nullopt;
    }
    case wire::RelayType::kDrain:
      handle_drain(now, *relay, datagram);
      return std::nullopt;
    case wire::RelayType::kDeliver: {
      const auto frame = wire::parse_relay_frame(datagram);
      if (!frame) break;
      ++stats_.frames_received;
      return Inbound{frame->peer, Path{source, true}, frame->payload};
    }
    default:
      break;
  }
  ++stats_.dropped_malformed;
  return std::nullopt;
}

void RelayClient::note_answer(Time now, Relay& relay) {
  if (relay.copies != 1) {  // nobody knows which of them was answered: wait longer the next time
    relay.patience = std::min(kRelayRetryMax, relay.patience * 2);
    return;
  }
  ++stats_.answers;
  relay.quality.record_answer(relay.asked, now - relay.asked);
  measured_ = true;
  relay.patience = std::clamp(*relay.quality.rtt_ema() * 2, kRelayRetry, kRelayRetryMax);
}

// The question in flight stays without an answer, so far.
void RelayClient::note_silence(Time now, Relay& relay) {
  const auto rtt = relay.quality.rtt_ema();
  if (relay.transaction == 0 || !rtt || now - relay.asked < *rtt * 2) return;
  relay.quality.record_loss(relay.asked);
  measured_ = true;
}

void RelayClient::handle_challenge(Time now, Relay& relay, const Endpoint& source, ByteView datagram) {
  const auto message = wire::parse_relay_challenge(datagram);
  if (!message) {
    ++stats_.dropped_malformed;
    return;
  }
  if (message->transaction == relay.udp_again && relay.udp_again != 0 && source != relay.stream) {
    relay.state = State::kRegistering;
    relay.endpoint.reset();
    relay.transaction = std::exchange(relay.udp_again, 0);
    relay.asked = relay.udp_again_due - kRelayUdpAgain;
    relay.copies = 1;
    relay.indices_told = relay.indices_asked = 0;
    relay.removed.clear();
    relay.udp_again_due = kNever;
  }
  const bool is_repeated = relay.endpoint && (*relay.endpoint != source || relay.cookie == message->cookie);
  const bool is_expected = relay.state == State::kRegistering || relay.state == State::kMeasuring;
  if (!is_expected || relay.transaction == 0 || message->transaction != relay.transaction || is_repeated) {
    ++stats_.dropped_stale;
    return;
  }
  note_answer(now, relay);
  if (relay.state == State::kMeasuring) {
    relay.udp_silent = false;
    relay.state = State::kIdle;
    relay.transaction = 0;
    relay.backoff = {};
    relay.due = now + pause(relay);
    return;
  }
  relay.endpoint = source;
  relay.cookie = message->cookie;
  relay.tries = 0;
  send_register(now, relay);
}

void RelayClient::handle_registered(Time now, Relay& relay, ByteView datagram) {
  const auto message = wire::parse_relay_registered(datagram);
  if (!message) {
    ++stats_.dropped_malformed;
    return;
  }
  if (relay.transaction == 0 || message->transaction != relay.transaction || !relay.endpoint) {
    ++stats_.dropped_stale;
    return;
  }
  if (!wire::verify_relay_mac(datagram, *relay.mac_key)) {
    ++stats_.dropped_forged;
    return;
  }
  note_answer(now, relay);
  relay.transaction = 0;
  relay.tries = 0;
  relay.backoff = {};
  relay.refusal.reset();
  relay.session = message->session;
  if (is_by_stream(relay)) {
    relay.observed.reset();
  } else {
    relay.observed = message->observed;
    relay.udp_silent = false;
  }
  relay.indices_told = relay.indices_asked;
  relay.removed.erase(relay.removed.begin(), relay.removed.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                                         relay.removed_asked, relay.removed.size())));
  relay.removed_asked = 0;
  const bool is_new = std::exchange(relay.state, State::kRegistered) == State::kRegistering;
  const Duration lifetime = std::chrono::seconds(message->lifetime_seconds);
  relay.due = now + std::min(std::max<Duration>(lifetime / 3, std::chrono::seconds(1)), pause(relay));
  if (is_new) {
    relay.udp_again_due = is_by_stream(relay) ? now + kRelayUdpAgain : kNever;
    ++stats_.registrations;
    if (relay.announced != relay.endpoint) {
      announce_loss(relay);
      push_event({Event::Kind::kRegistered, Path{*relay.endpoint, true}});
      relay.announced = relay.endpoint;
    }
  }
  std::vector<std::uint32_t> taken;
  for (std::size_t i = 0; i < message->taken.size(); ++i) taken.push_back(message->taken[i]);
  for (const std::uint32_t index : taken) {
    if (std::find(indices_.begin(), indices_.end(), index) == indices_.end()) continue;
    remove_index(index);
    push_event({Event::Kind::kIndexTaken, Path{*relay.endpoint, true}, index});
  }
  if (relay.indices_told < indices_.size()) send_refresh(now, relay);  // more than one message holds
}

void RelayClient::handle_refused(Time now, Relay& relay, const Endpoint& source, ByteView datagram) {
  const auto message = wire::parse_relay_refused(datagram);
  if (!message) {
    ++stats_.dropped_malformed;
    return;
  }
  if (message->transaction == 0) {  // it could not place a packet of ours; nobody vouches for that, so ask
    check(now, Path{source, true});
    return;
  }
  if (message->transaction != relay.transaction) {
    ++stats_.dropped_stale;
    return;
  }
  relay.refusal = message->reason;
  switch (message->reason) {
    case wire::RelayRefusal::kUnknownSession:
      begin(now, relay);
      return;
    case wire::RelayRefusal::kBadGrant:
    case wire::RelayRefusal::kExpiredGrant:
      push_event({Event::Kind::kGrantWanted, Path{source, true}});
      back_off(now, relay, kRelayRefusedFor);
      return;
    case wire::RelayRefusal::kFull:
      back_off(now, relay, kRelayRefusedFor);
      return;
  }
}

void RelayClient::handle_drain(Time now, Relay& relay, ByteView datagram) {
  const auto message = wire::parse_relay_drain(datagram);
  if (!message) {
    ++stats_.dropped_malformed;
  } else if (relay.state != State::kRegistered || message->session != relay.session) {
    ++stats_.dropped_stale;
  } else if (!wire::verify_relay_mac(datagram, *relay.mac_key)) {
    ++stats_.dropped_forged;
  } else if (relay.going) {
    relay.going = std::max(*relay.going, now + std::chrono::seconds(message->seconds));
  } else {
    linger(now, relay, std::chrono::seconds(message->seconds));
  }
}

// ---- Time

void RelayClient::handle_timeout(Time now) {
  for (Relay& relay : relays_) {
    if (relay.leave_at > now) continue;
    if (*relay.going > now && !has_other()) {
      relay.leave_at = std::min(*relay.going, now + kRelayLinger);
      continue;
    }
    leave(relay);
    if (relay.named) relay.due = now + (relay.used ? kRelayBackoffMax : kRelayFirstGap);  // it may start again
  }
  std::erase_if(relays_, [](const Relay& relay) { return !relay.named && !relay.announced; });
  for (Relay& relay : relays_) {
    if (patience_ends(relay).value_or(kNever) <= now) relay.udp_silent = true;
    if (relay.udp_again_due <= now) ask_udp_again(now, relay);
    if (relay.due > now) continue;
    if (relay.state == State::kIdle) {
      begin(now, relay);
      continue;
    }
    note_silence(now, relay);
    if (relay.state != State::kRegistered) {
      if (relay.tries < kRelayTries) {
        send_register(now, relay);
      } else {
        back_off(now, relay, relay.used ? Duration{} : kRelayMeasure);
      }
    } else if (relay.transaction == 0 || relay.tries < kRelayTries) {
      send_refresh(now, relay);
    } else {
      announce_loss(relay);
      forget_quality(relay);
      begin(now, relay);
    }
  }
}

std::optional<Time> RelayClient::next_timeout() const {
  Time next = kNever;
  for (const Relay& relay : relays_) {
    const Time silent = patience_ends(relay).value_or(kNever);
    next = std::min({next, relay.due, relay.leave_at, relay.udp_again_due, silent});
  }
  if (next == kNever) return std::nullopt;
  return next;
}

std::optional<RelayClient::Transmit> RelayClient::poll_transmit() {
  if (transmits_.empty()) return std::nullopt;
  Transmit transmit = std::move(transmits_.front());
  transmits_.pop_front();
  return transmit;
}

std::optional<RelayClient::Event> RelayClient::poll_event() {
  if (events_.empty()) return std::nullopt;
  Event event = events_.front();
  events_.pop_front();
  return event;
}

// ---- What is so

std::vector<Path> RelayClient::registered() const {
  const bool others = has_other();
  std::vector<const Relay*> usable;
  for (const Relay& relay : relays_) {
    if (relay.announced && !(relay.going && others)) usable.push_back(&relay);
  }
  std::stable_sort(usable.begin(), usable.end(), [](const Relay* a, const Relay* b) {
    return a->quality.rtt_ema().value_or(Duration::max()) < b->quality.rtt_ema().value_or(Duration::max());
  });
  std::vector<Path> paths;
  for (const Relay* relay : usable) paths.push_back(Path{*relay->announced, true});
  return paths;
}

std::vector<Endpoint> RelayClient::heard() const {
  std::vector<Endpoint> out;
  for (const Relay& relay : relays_) {
    if (relay.announced) out.push_back(*relay.announced);
  }
  return out;
}

RelayClient::Relay* RelayClient::relay_at(const Endpoint& endpoint) {
  for (Relay& relay : relays_) {
    // Where it was registered stays in use until it is elsewhere, also when it is no longer one of its addresses.
    if (relay.announced == endpoint || relay.stream == endpoint) return &relay;
    const auto& all = relay.address.endpoints;
    if (std::find(all.begin(), all.end(), endpoint) != all.end()) return &relay;
  }
  return nullptr;
}

bool RelayClient::is_relay(const Endpoint& source) const {
  return const_cast<RelayClient*>(this)->relay_at(source) != nullptr;
}

std::vector<crypto::PublicKey> RelayClient::streams_wanted() const {
  std::vector<crypto::PublicKey> out;
  if (grant_.empty()) return out;
  for (const Relay& relay : relays_) {
    if (relay.address.is_members) continue;  // it may stand on this very LAN
    const bool is_asked = relay.named && !relay.going && (relay.state != State::kIdle || relay.udp_silent);
    if (!relay.mac_key || relay.address.endpoints.empty() || !is_asked) continue;
    if (!relay.udp_silent) return {};
    if (relay.used && relay.address.takes_streams && out.size() < kRelayStreamsMax) out.push_back(relay.address.key);
  }
  return out;
}

bool RelayClient::is_stream(const Path& path) const {
  return std::any_of(relays_.begin(), relays_.end(),
                     [&](const Relay& relay) { return path.relayed && relay.stream == path.endpoint; });
}

std::optional<Endpoint> RelayClient::address_of(const Path& path) const {
  const Relay* relay = const_cast<RelayClient*>(this)->relay_at(path.endpoint);
  if (relay == nullptr || relay->address.endpoints.empty()) return std::nullopt;
  return relay->address.endpoints.front();
}

std::optional<wire::RelayPeer> RelayClient::id_of(const Path& path) const {
  const Relay* relay = const_cast<RelayClient*>(this)->relay_at(path.endpoint);
  if (relay == nullptr || !path.relayed) return std::nullopt;
  return wire::relay_peer(relay->address.key);
}

std::vector<RelayClient::Status> RelayClient::status() const {
  std::vector<Status> all;
  for (const Relay& relay : relays_) {
    if (!relay.named) continue;
    Status one;
    one.key = relay.address.key;
    one.endpoints = relay.address.endpoints;
    if (relay.announced) one.path = Path{*relay.announced, true};
    one.by_stream = relay.announced && relay.announced == relay.stream;
    one.observed = relay.observed;
    one.quality = relay.quality;
    one.refusal = relay.refusal;
    all.push_back(std::move(one));
  }
  return all;
}

void RelayClient::frame(wire::RelayPeer peer, ByteView payload, MutableBytes out) {
  wire::write_relay_send(peer, payload, out);
}

}  // namespace lanrage::paths
