#include "relay/server.h"

#include <algorithm>

#include "base/check.h"
#include "wire/demux.h"
#include "wire/endpoint.h"
#include "wire/wireguard.h"

namespace lanrage::relay {
namespace {

namespace wg = wire::wireguard;

constexpr std::int64_t kGrantSlackSeconds = 120;  // between our clock and the control server's
constexpr std::size_t kIndexAt = 4;               // first index of a WireGuard message; of a response, the sender's
constexpr std::size_t kResponseReceiverAt = 8;

std::uint64_t index_key(std::uint32_t party, std::uint32_t index) { return std::uint64_t{party} << 32 | index; }

// Where the receiver index of a bare message stands; nothing when it is none that a relay carries bare.
std::optional<std::size_t> receiver_index_at(ByteView datagram) {
  if (datagram.size() < wg::kDataSizeMin) return std::nullopt;
  switch (load_le<std::uint32_t>(datagram.data())) {
    case 2:
      return datagram.size() == wg::kResponseSize ? std::optional(kResponseReceiverAt) : std::nullopt;
    case 3:
      return datagram.size() == wg::kCookieReplySize ? std::optional(kIndexAt) : std::nullopt;
    case 4:
      return kIndexAt;
    default:
      return std::nullopt;
  }
}

bool erase_one(std::vector<std::uint32_t>& from, std::uint32_t value) {
  const auto found = std::find(from.begin(), from.end(), value);
  if (found == from.end()) return false;
  from.erase(found);
  return true;
}

}  // namespace

Server::Server(ServerOptions options, Rng& rng, Mirror* mirror)
    : options_(std::move(options)), rng_(rng), mirror_(mirror), public_key_(crypto::public_key(options_.key)) {
  set_grant_keys(std::move(options_.grant_keys));
  rng_.fill(cookie_secret_);
  rng_.fill(cookie_secret_before_);
  registrations_.tokens = options_.registrations_per_second;
  hints_.tokens = kHintsPerSecond;
}

void Server::set_grant_keys(std::vector<crypto::VerifyKey> keys) {
  options_.grant_keys = std::move(keys);
  grant_key_ids_.clear();
  for (const crypto::VerifyKey& key : options_.grant_keys) grant_key_ids_.push_back(wire::grant_key_id(key));
}

std::optional<Server::Transmit> Server::handle_packet(const Now& now, const Endpoint& source, MutableBytes datagram,
                                                      const IpAddress& local) {
  local_ = local;
  ++stats_.packets_in;
  stats_.bytes_in += datagram.size();
  switch (wire::protocol_of(datagram)) {
    case wire::Protocol::kWireGuard:
      return handle_wireguard(now.time, source, datagram);
    case wire::Protocol::kRelay:
      break;
    default:
      ++stats_.dropped_unknown_protocol;
      return std::nullopt;
  }
  switch (wire::relay_type(datagram).value_or(wire::RelayType::kChallenge)) {
    case wire::RelayType::kRegister:
      return handle_register(now, source, datagram);
    case wire::RelayType::kRefresh:
      return handle_refresh(now, source, datagram);
    case wire::RelayType::kSend:
      return handle_send(now.time, source, datagram);
    case wire::RelayType::kLeave:
      handle_leave(source, datagram);
      return std::nullopt;
    default:
      ++stats_.dropped_malformed;
      return std::nullopt;
  }
}

// ---- Registration: cheap checks first; keys and signatures only for an address that hears us.

std::optional<Server::Transmit> Server::handle_register(const Now& now, const Endpoint& source, ByteView datagram) {
  const auto message = wire::parse_relay_register(datagram);
  if (!message) {
    ++stats_.dropped_malformed;
    return std::nullopt;
  }
  rotate_cookies(now.time);
  const wire::RelayCookie cookie = cookie_for(source, cookie_secret_);
  if (!crypto::secure_equal(message->cookie, cookie) &&
      !crypto::secure_equal(message->cookie, cookie_for(source, cookie_secret_before_))) {
    if (message->cookie != wire::RelayCookie{}) ++stats_.dropped_bad_cookie;
    ++stats_.challenges;
    return answer(source, wire::write_relay_challenge({message->transaction, cookie}));
  }
  const double per_second = options_.registrations_per_second;
  if (!registrations_.take(now.time, 1, per_second, per_second)) {
    ++stats_.dropped_registration_rate;
    return std::nullopt;
  }
  if (grant_key_ids_.empty()) {  // nobody told us yet whose grants count: the client asks again
    ++stats_.dropped_no_keys;
    return std::nullopt;
  }
  const auto grant = wire::parse_grant(message->grant);
  const auto key_id =
      grant ? std::find(grant_key_ids_.begin(), grant_key_ids_.end(), grant->key_id) : grant_key_ids_.end();
  if (key_id == grant_key_ids_.end() || (options_.party && grant->party != *options_.party)) {
    ++stats_.dropped_bad_grant;
    return refuse(source, message->transaction, wire::RelayRefusal::kBadGrant);
  }
  if (unix_seconds(now.wall) > grant->expires_unix + kGrantSlackSeconds) {
    ++stats_.dropped_expired_grant;
    return refuse(source, message->transaction, wire::RelayRefusal::kExpiredGrant);
  }
  const auto mac_key = wire::relay_mac_key(options_.key, grant->peer, grant->peer, public_key_);
  if (!mac_key || !wire::verify_relay_mac(datagram, *mac_key)) {
    ++stats_.dropped_bad_mac;
    return std::nullopt;
  }
  const auto& grant_key = options_.grant_keys[static_cast<std::size_t>(key_id - grant_key_ids_.begin())];
  if (!wire::verify_grant(message->grant, grant_key)) {
    ++stats_.dropped_bad_grant;
    return refuse(source, message->transaction, wire::RelayRefusal::kBadGrant);
  }
  const auto slot = draining_since_ ? std::nullopt : open_session(source, *grant, *mac_key);
  if (!slot) {
    ++stats_.dropped_full;
    return refuse(source, message->transaction, wire::RelayRefusal::kFull);
  }
  Session& session = slots_[*slot];
  if (session.transaction != message->transaction) {
    drop_indices(session);
    session.nonce = rng_.u32();
    session.transaction = message->transaction;
    ++stats_.registrations;
  }
  session.local = local_;
  if (mirror_) mirror_->set_session(*slot, {session.endpoint, session.local, session.party});
  session.expires = now.time + kSessionLifetime;
  session.grant_expires_unix = grant->expires_unix;
  return answer_registered(source, message->transaction, *slot, add_indices(*slot, message->indices));
}

std::optional<Server::Transmit> Server::handle_refresh(const Now& now, const Endpoint& source, ByteView datagram) {
  const auto message = wire::parse_relay_refresh(datagram);
  if (!message) {
    ++stats_.dropped_malformed;
    return std::nullopt;
  }
  const auto slot = slot_of(message->session, source);
  if (!slot) {
    ++stats_.dropped_unknown_source;
    return refuse(source, message->transaction, wire::RelayRefusal::kUnknownSession);
  }
  Session& session = slots_[*slot];
  if (!wire::verify_relay_mac(datagram, session.mac_key)) {
    ++stats_.dropped_bad_mac;
    return std::nullopt;
  }
  if (!charge(now.time, session, datagram.size())) return std::nullopt;
  ++stats_.refreshes;
  session.expires = now.time + kSessionLifetime;
  forget_last();
  for (std::size_t i = 0; i < message->removed.size(); ++i) {
    const std::uint32_t index = message->removed[i];
    if (erase_one(session.indices, index) || erase_one(session.learned, index)) drop_index(session, index);
  }
  return answer_registered(source, message->transaction, *slot, add_indices(*slot, message->added));
}

void Server::handle_leave(const Endpoint& source, ByteView datagram) {
  const auto message = wire::parse_relay_leave(datagram);
  if (!message) {
    ++stats_.dropped_malformed;
    return;
  }
  const auto slot = slot_of(message->session, source);
  if (!slot) {
    ++stats_.dropped_unknown_source;
  } else if (!wire::verify_relay_mac(datagram, slots_[*slot].mac_key)) {
    ++stats_.dropped_bad_mac;
  } else {
    ++stats_.leaves;
    close_session(*slot);
  }
}

// ---- Forwarding

std::optional<Server::Transmit> Server::handle_send(Time now, const Endpoint& source, MutableBytes datagram) {
  const auto frame = wire::parse_relay_frame(datagram);
  if (!frame) {
    ++stats_.dropped_malformed;
    return std::nullopt;
  }
  const auto from = by_endpoint_.find(source);
  if (from == by_endpoint_.end()) {
    ++stats_.dropped_unknown_source;
    return hint(now, source);
  }
  Session& session = slots_[from->second];
  if (!charge(now, session, datagram.size())) return std::nullopt;
  if (frame->payload.size() == wg::kInitiationSize && load_le<std::uint32_t>(frame->payload.data()) == 1) {
    learn_index(from->second, load_le<std::uint32_t>(frame->payload.data() + kIndexAt));
  }
  const auto to = by_peer_.find({session.party, frame->peer});
  if (to == by_peer_.end() || to->second == from->second) {
    ++stats_.absent;
    return answer(source, wire::write_relay_absent({frame->peer}));
  }
  ++stats_.frames_forwarded;
  stats_.bytes_forwarded += datagram.size();
  forwarded_ = now;
  wire::make_relay_deliver(datagram, wire::relay_peer(session.peer));
  const Session& receiver = slots_[to->second];
  return Transmit{receiver.endpoint, datagram, receiver.local};
}

const Server::Session* Server::receiver_of(Time now, const Endpoint& source, ByteView datagram) {
  const auto index_at = receiver_index_at(datagram);
  if (!index_at) {
    ++stats_.dropped_malformed;
    return nullptr;
  }
  const auto from = slot_at(source);
  if (!from) {
    ++stats_.dropped_unknown_source;
    return nullptr;
  }
  Session& session = slots_[*from];
  if (!charge(now, session, datagram.size())) return nullptr;
  const auto to = owner_of(index_key(session.party, load_le<std::uint32_t>(datagram.data() + *index_at)));
  if (!to || *to == *from) {
    ++stats_.dropped_unknown_index;
    return nullptr;
  }
  if (*index_at == kResponseReceiverAt) {
    learn_index(*from, load_le<std::uint32_t>(datagram.data() + kIndexAt));
  }
  ++stats_.packets_forwarded;
  stats_.bytes_forwarded += datagram.size();
  forwarded_ = now;
  return &slots_[*to];
}

std::optional<std::uint32_t> Server::slot_at(const Endpoint& source) {
  if (last_source_ && last_source_->first == source) return last_source_->second;
  const auto found = by_endpoint_.find(source);
  if (found == by_endpoint_.end()) return std::nullopt;
  last_source_ = {source, found->second};
  return found->second;
}

std::optional<std::uint32_t> Server::owner_of(std::uint64_t index) {
  if (last_index_ && last_index_->first == index) return last_index_->second;
  const auto found = by_index_.find(index);
  if (found == by_index_.end()) return std::nullopt;
  last_index_ = {index, found->second};
  return found->second;
}

void Server::forget_last() {
  last_source_.reset();
  last_index_.reset();
}

std::optional<Endpoint> Server::route(Time now, const Endpoint& source, ByteView datagram) {
  const Session* receiver = receiver_of(now, source, datagram);
  return receiver ? std::optional(receiver->endpoint) : std::nullopt;
}

std::optional<Server::Transmit> Server::handle_wireguard(Time now, const Endpoint& source, ByteView datagram) {
  if (const Session* to = receiver_of(now, source, datagram)) return Transmit{to->endpoint, datagram, to->local};
  const bool is_stranger = receiver_index_at(datagram) && !by_endpoint_.contains(source);
  return is_stranger ? hint(now, source) : std::nullopt;
}

// ---- Answers

std::optional<Server::Transmit> Server::answer(const Endpoint& to, Bytes datagram) {
  out_ = std::move(datagram);
  return Transmit{to, out_, local_};
}

std::optional<Server::Transmit> Server::refuse(const Endpoint& to, std::uint64_t transaction,
                                               wire::RelayRefusal reason) {
  return answer(to, wire::write_relay_refused({transaction, reason}));
}

// Tells a node whose session a restart of ours ended; a few a second, smaller than what they answer.
std::optional<Server::Transmit> Server::hint(Time now, const Endpoint& source) {
  if (!hints_.take(now, 1, kHintsPerSecond, kHintsPerSecond)) return std::nullopt;
  ++stats_.hints;
  return refuse(source, 0, wire::RelayRefusal::kUnknownSession);
}

std::optional<Server::Transmit> Server::answer_registered(const Endpoint& to, std::uint64_t transaction,
                                                          std::uint32_t slot, const std::vector<std::uint32_t>& taken) {
  const Session& session = slots_[slot];
  wire::RelayRegistered message;
  message.transaction = transaction;
  message.session = name_of(slot);
  message.lifetime_seconds =
      static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(kSessionLifetime).count());
  message.observed = to;
  return answer(to, wire::write_relay_registered(message, taken, session.mac_key));
}

wire::RelayCookie Server::cookie_for(const Endpoint& source, const std::array<std::uint8_t, 32>& secret) const {
  std::array<std::uint8_t, wire::kEndpointBytes> endpoint;
  wire::write_endpoint(endpoint.data(), source);
  return crypto::blake2s_mac16(secret, {endpoint});
}

void Server::rotate_cookies(Time now) {
  if (now - cookie_secret_since_ < kCookieLifetime) return;
  cookie_secret_before_ = cookie_secret_;
  rng_.fill(cookie_secret_);
  if (now - cookie_secret_since_ >= 2 * kCookieLifetime) rng_.fill(cookie_secret_before_);  // nobody asked for long
  cookie_secret_since_ = now;
}

// ---- Sessions

// The session of this member at this address: the one it has, moved if it comes from elsewhere, or a new one.
std::optional<std::uint32_t> Server::open_session(const Endpoint& source, const wire::RelayGrant& grant,
                                                  const wire::RelayMacKey& mac_key) {
  forget_last();
  const auto party = parties_.find(grant.party);
  if (party != parties_.end()) {
    const auto known = by_peer_.find({party->second.number, wire::relay_peer(grant.peer)});
    if (known != by_peer_.end()) {
      Session& session = slots_[known->second];
      if (session.peer != grant.peer) return std::nullopt;  // another key with the same short name
      if (session.endpoint == source) return known->second;
      const std::uint32_t slot = known->second;
      if (const auto other = by_endpoint_.find(source); other != by_endpoint_.end()) {
        ++stats_.sessions_replaced;
        close_session(other->second);
      }
      by_endpoint_.erase(session.endpoint);
      session.endpoint = source;
      by_endpoint_[source] = slot;
      return slot;
    }
  }
  // Somebody else was at this address: whoever hears us there is there.
  if (const auto other = by_endpoint_.find(source); other != by_endpoint_.end()) {
    ++stats_.sessions_replaced;
    close_session(other->second);
  }
  if (by_endpoint_.size() >= options_.sessions_max) return std::nullopt;
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const std::uint32_t slot = free_.back();
  free_.pop_back();
  Party& members = parties_[grant.party];
  if (members.sessions++ == 0) members.number = next_party_++;
  Session& session = slots_[slot];
  session = {};
  session.live = true;
  session.endpoint = source;
  session.peer = grant.peer;
  session.party_id = grant.party;
  session.party = members.number;
  session.mac_key = mac_key;
  session.bucket.tokens = static_cast<double>(options_.burst_bytes);
  by_endpoint_[source] = slot;
  by_peer_[{session.party, wire::relay_peer(session.peer)}] = slot;
  return slot;
}

void Server::close_session(std::uint32_t slot) {
  forget_last();
  Session& session = slots_[slot];
  drop_indices(session);
  if (mirror_) mirror_->drop_session(slot);
  by_endpoint_.erase(session.endpoint);
  by_peer_.erase({session.party, wire::relay_peer(session.peer)});
  const auto party = parties_.find(session.party_id);
  if (--party->second.sessions == 0) parties_.erase(party);
  session = {};
  free_.push_back(slot);
}

std::optional<std::uint32_t> Server::slot_of(wire::RelaySession name, const Endpoint& source) const {
  const auto slot = static_cast<std::uint32_t>(name);
  if (slot >= slots_.size()) return std::nullopt;
  const Session& session = slots_[slot];
  if (!session.live || session.nonce != static_cast<std::uint32_t>(name >> 32)) return std::nullopt;
  return session.endpoint == source ? std::optional(slot) : std::nullopt;
}

std::optional<std::uint32_t> Server::party_of(const Endpoint& source) const {
  const auto from = by_endpoint_.find(source);
  return from == by_endpoint_.end() ? std::nullopt : std::optional(slots_[from->second].party);
}

void Server::set_index(const Session& session, std::uint32_t index, std::uint32_t slot) {
  by_index_[index_key(session.party, index)] = slot;
  if (mirror_) mirror_->set_index(session.party, index, slot);
}

void Server::drop_index(const Session& session, std::uint32_t index) {
  by_index_.erase(index_key(session.party, index));
  if (mirror_) mirror_->drop_index(session.party, index);
}

void Server::drop_indices(Session& session) {
  forget_last();
  for (const auto* list : {&session.indices, &session.learned}) {
    for (const std::uint32_t index : *list) drop_index(session, index);
  }
  session.indices.clear();
  session.learned.clear();
}

// Those that belong to another member already.
std::vector<std::uint32_t> Server::add_indices(std::uint32_t slot, const wire::IndexList& indices) {
  forget_last();
  Session& session = slots_[slot];
  std::vector<std::uint32_t> taken;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const std::uint32_t index = indices[i];
    const auto owner = by_index_.find(index_key(session.party, index));
    if (owner != by_index_.end() && owner->second != slot) {
      ++stats_.indices_taken;
      taken.push_back(index);
      continue;
    }
    if (owner != by_index_.end() && !erase_one(session.learned, index)) continue;  // registered before
    if (session.indices.size() == kIndicesPerSession) {
      drop_index(session, session.indices.front());
      session.indices.erase(session.indices.begin());
    }
    session.indices.push_back(index);
    set_index(session, index, slot);
  }
  return taken;
}

void Server::learn_index(std::uint32_t slot, std::uint32_t index) {
  Session& session = slots_[slot];
  if (by_index_.contains(index_key(session.party, index))) return;
  forget_last();
  set_index(session, index, slot);
  if (session.learned.size() == kLearnedPerSession) {
    drop_index(session, session.learned.front());
    session.learned.erase(session.learned.begin());
  }
  session.learned.push_back(index);
}

bool Server::charge(Time now, Session& session, std::size_t bytes) {
  const bool paid = session.bucket.take(now, static_cast<double>(bytes), static_cast<double>(options_.bytes_per_second),
                                        static_cast<double>(options_.burst_bytes));
  if (!paid) ++stats_.dropped_rate;
  return paid;
}

bool Server::Bucket::take(Time now, double amount, double per_second, double burst) {
  const double seconds = std::chrono::duration<double>(now - filled).count();
  tokens = std::min(burst, tokens + std::max(0.0, seconds) * per_second);
  filled = now;
  if (tokens < amount) return false;
  tokens -= amount;
  return true;
}

// ---- The end

void Server::begin_drain(Time now) {
  if (draining_since_) return;
  draining_since_ = now;
  drain_round_ = now;
}

std::optional<Server::Transmit> Server::poll_drain(Time now) {
  if (!draining_since_ || now < drain_round_) return std::nullopt;
  for (; drain_slot_ < slots_.size(); ++drain_slot_) {
    const Session& session = slots_[drain_slot_];
    if (!session.live) continue;
    const Duration left = std::max<Duration>(*draining_since_ + kDrainTime - now, Duration{});
    const auto seconds = static_cast<std::uint16_t>(std::chrono::duration_cast<std::chrono::seconds>(left).count());
    ++stats_.drains;
    out_ = wire::write_relay_drain({name_of(drain_slot_++), seconds}, session.mac_key);
    return Transmit{session.endpoint, out_, session.local};
  }
  drain_slot_ = 0;
  drain_round_ = now + kDrainAgain;
  return std::nullopt;
}

bool Server::is_drained(Time now) const {
  if (!draining_since_) return false;
  const bool is_told = drain_round_ > *draining_since_;
  return by_endpoint_.empty() || now - *draining_since_ >= kDrainTime || (is_told && now - forwarded_ >= kDrainQuiet);
}

// ---- Time

void Server::handle_timeout(const Now& now) {
  if (now.time < sweep_at_) return;
  sweep_at_ = now.time + kSweep;
  const std::int64_t wall = unix_seconds(now.wall);
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    const Session& session = slots_[slot];
    if (!session.live) continue;
    if (session.expires > now.time && wall <= session.grant_expires_unix + kGrantSlackSeconds) continue;
    ++stats_.sessions_expired;
    close_session(slot);
  }
  LR_DCHECK(is_consistent());
}

std::optional<Time> Server::next_timeout() const {
  if (by_endpoint_.empty()) return std::nullopt;
  return draining_since_ ? std::min(drain_round_, sweep_at_) : sweep_at_;
}

bool Server::is_consistent() const {
  std::size_t live = 0;
  std::size_t indices = 0;
  for (std::uint32_t slot = 0; slot < slots_.size(); ++slot) {
    const Session& session = slots_[slot];
    if (!session.live) continue;
    ++live;
    indices += session.indices.size() + session.learned.size();
    if (session.indices.size() > kIndicesPerSession || session.learned.size() > kLearnedPerSession) return false;
    const auto by_endpoint = by_endpoint_.find(session.endpoint);
    if (by_endpoint == by_endpoint_.end() || by_endpoint->second != slot) return false;
    const auto by_peer = by_peer_.find({session.party, wire::relay_peer(session.peer)});
    if (by_peer == by_peer_.end() || by_peer->second != slot) return false;
    for (const auto* list : {&session.indices, &session.learned}) {
      for (const std::uint32_t index : *list) {
        const auto owner = by_index_.find(index_key(session.party, index));
        if (owner == by_index_.end() || owner->second != slot) return false;
      }
    }
  }
  if (last_source_) {
    const auto found = by_endpoint_.find(last_source_->first);
    if (found == by_endpoint_.end() || found->second != last_source_->second) return false;
  }
  if (last_index_) {
    const auto found = by_index_.find(last_index_->first);
    if (found == by_index_.end() || found->second != last_index_->second) return false;
  }
  return live == by_endpoint_.size() && live == by_peer_.size() && indices == by_index_.size() &&
         live + free_.size() == slots_.size() && parties_.size() <= live;
}

std::size_t Server::PartyHash::operator()(const wire::PartyIdBytes& id) const {
  return static_cast<std::size_t>(load_le<std::uint64_t>(id.data()));
}
std::size_t Server::PeerNameHash::operator()(const PeerName& name) const {
  return static_cast<std::size_t>(name.peer ^ (std::uint64_t{name.party} * 0x9e3779b97f4a7c15));
}

}  // namespace lanrage::relay
