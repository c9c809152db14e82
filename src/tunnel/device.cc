#include "tunnel/device.h"

#include <algorithm>

#include "base/check.h"
#include "wire/wireguard.h"

namespace lanrage::tunnel {
namespace {

namespace wg = wire::wireguard;

// Keys are wiped this long after the last handshake.
constexpr Duration kZeroKeysAfter = 3 * kRejectAfterTime;
// A receiving initiator renews this long before the end, leaving time for a keepalive and a lost initiation.
constexpr Duration kRekeyOnReceiveAfter = kRejectAfterTime - kKeepaliveTimeout - kRekeyTimeout;
constexpr Duration kNewHandshakeAfter = kKeepaliveTimeout + kRekeyTimeout;
// The first cookie of a series is used at once instead of 5 s later: a server under attack then costs a new member a
// quarter of a second. Once per series, so that answers cannot drive us.
constexpr Duration kCookieRetry = std::chrono::milliseconds{250};
// Between initiations that somebody hurries. The first may go by a relay and the second by a shorter way: they must not
// arrive within the other side's kInitiationIntervalMin, and the first one's answer should be given its time.
constexpr Duration kHurryInterval = 5 * kInitiationIntervalMin;

}  // namespace

struct Device::Session {
  std::uint32_t local_index = 0;
  Time created{};
  bool initiator = false;
  std::shared_ptr<SendKey> send;
  std::shared_ptr<ReceiveKey> receive;

  bool usable(Time now) const { return now < created + kRejectAfterTime; }
};

struct Device::Peer {
  explicit Peer(const crypto::PublicKey& k) : key(k), stamp(k) {}

  const crypto::PublicKey key;
  std::optional<RemoteIdentity> remote;  // with our identity; changes with it
  CookieStamp stamp;
  std::vector<crypto::PresharedKey> psks;
  std::optional<Path> path;
  std::optional<Path> source;   // last seen; differs from `path` only without roaming
  Time path_set = Time::min();  // by configuration or a handshake: data seen before it moves nothing
  Duration keepalive{0};

  Tai64n greatest_timestamp;
  std::optional<Time> initiation_received;

  // A series of initiations of ours, from the first until an answer or the end of its 90 s.
  std::optional<Time> series_began;
  std::optional<Time> initiation_sent;
  std::optional<InitiationInFlight> in_flight;
  bool cookie_used = false;  // in this series

  std::optional<Session> current;   // what we send with
  std::optional<Session> previous;  // still opens what is on its way
  std::optional<Session> older;     // likewise, until the peer is heard under `current`
  std::optional<Session> next;      // made as responder, not confirmed
  std::optional<Now> last_handshake;
  bool renewed_on_receive = false;  // for `current`
  Activity seen;

  Time initiate_at = kNever;
  Time new_handshake_at = kNever;
  Time keepalive_at = kNever;
  Time persistent_at = kNever;
  Time zero_keys_at = kNever;
  Time deadline = kNever;  // the earliest of them, as it stands in deadlines_

  bool can_send(Time now) const { return current && current->usable(now) && seen.send_counter < kRejectAfterMessages; }
};

const char* drop_name(Drop reason) {
  switch (reason) {
    case Drop::kMalformed:
      return "malformed";
    case Drop::kNoIdentity:
      return "no_identity";
    case Drop::kBadMac1:
      return "bad_mac1";
    case Drop::kUnderLoad:
      return "under_load";
    case Drop::kRateLimited:
      return "rate_limited";
    case Drop::kForged:
      return "forged";
    case Drop::kUnknownPeer:
      return "unknown_peer";
    case Drop::kReplayed:
      return "replayed";
    case Drop::kFlood:
      return "flood";
    case Drop::kUnknownIndex:
      return "unknown_index";
    case Drop::kTransmitsFull:
      return "transmits_full";
    case Drop::kCount:
      break;
  }
  return "unknown";
}

Device::Device(const DeviceOptions& options, Rng& rng, Logger log)
    : options_(options),
      rng_(rng),
      log_(std::move(log)),
      last_timestamp_(options.timestamp_floor),
      reserved_(options.timestamp_floor) {}
Device::~Device() = default;

// ---- identity and peers

void Device::set_private_key(Now now, const std::optional<crypto::PrivateKey>& key) {
  identity_.reset();
  cookie_checker_.reset();
  if (key) {
    identity_.emplace(*key);
    cookie_checker_.emplace(identity_->public_key, rng_);
    remove_peer(identity_->public_key);
  }
  for (auto& entry : peers_) {
    Peer& peer = *entry.second;
    end_series(peer);
    retire_sessions(peer);
    peer.remote = identity_ ? RemoteIdentity::make(*identity_, peer.key) : std::nullopt;
    if (peer.keepalive > Duration::zero()) request_handshake(now, peer);
    reschedule(peer);
  }
}

std::optional<crypto::PublicKey> Device::public_key() const {
  return identity_ ? std::optional(identity_->public_key) : std::nullopt;
}

Result<void> Device::add_peer(Now now, const crypto::PublicKey& key, const PeerOptions& options) {
  if (identity_ && identity_->public_key == key) return Error{Code::kInvalid, "a peer cannot be this device itself"};
  if (!crypto::x25519(crypto::PrivateKey{}, key)) return Error{Code::kInvalid, "this public key is no usable point"};
  if (peers_.contains(key)) return Error{Code::kConflict, "this peer is known already"};
  if (peers_.size() >= kPeersMax) return Error{Code::kExhausted, "too many peers"};
  Peer& peer = *peers_.emplace(key, std::make_unique<Peer>(key)).first->second;
  if (identity_) peer.remote = RemoteIdentity::make(*identity_, key);
  apply(now, peer, options);
  reschedule(peer);
  return {};
}

Result<void> Device::update_peer(Now now, const crypto::PublicKey& key, const PeerOptions& options) {
  Peer* const peer = find(key);
  if (!peer) return Error{Code::kNotFound, "no such peer"};
  apply(now, *peer, options);
  reschedule(*peer);
  return {};
}

void Device::apply(Now now, Peer& peer, const PeerOptions& options) {
  peer.psks = options.preshared_keys;
  if (options.path) {
    peer.path = options.path;
    peer.path_set = now.time;
  }
  peer.greatest_timestamp = std::max(peer.greatest_timestamp, options.greatest_timestamp);
  const bool begins = options.keepalive > Duration::zero() && peer.keepalive == Duration::zero();
  peer.keepalive = std::max(options.keepalive, Duration::zero());
  if (peer.keepalive == Duration::zero()) peer.persistent_at = kNever;
  if (begins) send_persistent_keepalive(now, peer);
}

void Device::remove_peer(const crypto::PublicKey& key) {
  Peer* const peer = find(key);
  if (!peer) return;
  end_series(*peer);
  retire_sessions(*peer);
  deadlines_.erase({peer->deadline, key});
  peers_.erase(key);
}

Device::Peer* Device::find(const crypto::PublicKey& key) const {
  const auto found = peers_.find(key);
  return found == peers_.end() ? nullptr : found->second.get();
}

// ---- datagrams

void Device::handle_packet(Now now, const Path& from, ByteView datagram, bool under_load) {
  if (!identity_) return drop(Drop::kNoIdentity);
  const auto type = wg::parse_type(datagram);
  if (type == wg::Type::kCookieReply) return handle_cookie_reply(now, datagram);
  if (type != wg::Type::kInitiation && type != wg::Type::kResponse) return drop(Drop::kMalformed);

  const auto verdict = cookie_checker_->check(now.time, from, datagram);
  if (verdict == CookieChecker::Verdict::kInvalid) return drop(Drop::kBadMac1);
  if (under_load) {
    if (verdict == CookieChecker::Verdict::kValidMac1) {
      ++stats_.cookies_sent;
      send({std::nullopt, from, cookie_checker_->make_reply(now.time, from, datagram)});
      return drop(Drop::kUnderLoad);
    }
    if (!source_limiter_.allow(now.time, from.endpoint.address)) return drop(Drop::kRateLimited);
  }
  if (type == wg::Type::kInitiation)
    handle_initiation(now, from, datagram);
  else
    handle_response(now, from, datagram);
}

void Device::handle_initiation(Now now, const Path& from, ByteView datagram) {
  const auto message = wg::parse_initiation(datagram);
  if (!message) return drop(Drop::kMalformed);
  const auto opened = open_initiation(*identity_, *message);
  if (!opened) return drop(Drop::kForged);
  Peer* const peer = find(opened->initiator);
  if (!peer || !peer->remote) return drop(Drop::kUnknownPeer);
  const auto proven = prove_initiation(*opened, *peer->remote, *message);
  if (!proven) return drop(Drop::kForged);
  if (proven->timestamp <= peer->greatest_timestamp) return drop(Drop::kReplayed);
  if (peer->initiation_received && now.time - *peer->initiation_received < kInitiationIntervalMin)
    return drop(Drop::kFlood);

  const std::uint32_t index = claim_index(peer->key, false);
  auto response =
      create_response(*proven, peer->psks.empty() ? crypto::PresharedKey{} : peer->psks.front(), index, rng_);
  if (!response) {
    indices_.erase(index);
    return drop(Drop::kForged);
  }
  peer->greatest_timestamp = proven->timestamp;
  peer->initiation_received = now.time;
  ++stats_.initiations_received;
  move_path(now, *peer, from);
  note_received(now, *peer);
  begin_session(now, *peer, index, response->keys, false);

  Bytes answer = wg::write(response->message);
  peer->stamp.stamp(now.time, answer);
  ++stats_.responses_sent;
  send({peer->key, from, std::move(answer)});
  note_sent(now, *peer);
  reschedule(*peer);
}

void Device::handle_response(Now now, const Path& from, ByteView datagram) {
  const auto message = wg::parse_response(datagram);
  if (!message) return drop(Drop::kMalformed);
  const auto owner = indices_.find(message->receiver);
  if (owner == indices_.end() || !owner->second.handshake) return drop(Drop::kUnknownIndex);
  Peer* const peer = find(owner->second.peer);
  LR_CHECK(peer && peer->in_flight);
  auto keys = consume_response(*identity_, *peer->in_flight, peer->psks, *message);
  if (!keys) return drop(Drop::kForged);

  ++stats_.responses_received;
  log_.timed(op::kHandshake, now.time - peer->series_began.value_or(now.time));
  owner->second.handshake = false;
  peer->in_flight.reset();  // its index is the session's from here on
  end_series(*peer);
  move_path(now, *peer, from);
  note_received(now, *peer);
  begin_session(now, *peer, message->receiver, *keys, true);
  // The responder may not send before it has heard us.
  events_.push_back(KeepaliveDue{peer->key});
  reschedule(*peer);
}

void Device::handle_cookie_reply(Now now, ByteView datagram) {
  const auto message = wg::parse_cookie_reply(datagram);
  if (!message) return drop(Drop::kMalformed);
  const auto owner = indices_.find(message->receiver);
  if (owner == indices_.end()) return drop(Drop::kUnknownIndex);
  Peer* const peer = find(owner->second.peer);
  LR_CHECK(peer);
  if (!peer->stamp.consume(now.time, *message)) return drop(Drop::kForged);
  ++stats_.cookies_received;
  if (peer->in_flight && !peer->cookie_used) {
    peer->cookie_used = true;
    peer->initiate_at = std::min(peer->initiate_at, now.time + kCookieRetry);
    reschedule(*peer);
  }
}

void Device::drop(Drop reason) { ++stats_.dropped[static_cast<std::size_t>(reason)]; }

void Device::send(Transmit transmit) {
  if (transmits_.size() >= kTransmitsMax) {
    transmits_.pop_front();
    drop(Drop::kTransmitsFull);
  }
  transmits_.push_back(std::move(transmit));
}

// ---- handshakes

void Device::handle_outbound(Now now, const crypto::PublicKey& key) {
  Peer* const peer = find(key);
  if (!peer || peer->can_send(now.time)) return;
  request_handshake(now, *peer);
  reschedule(*peer);
}

void Device::start_handshake(Now now, const crypto::PublicKey& key) {
  if (Peer* const peer = find(key)) {
    hurry(now, *peer);
    reschedule(*peer);
  }
}

void Device::handle_round_trip(const crypto::PublicKey& key, Duration rtt) {
  Peer* const peer = find(key);
  if (!peer || !peer->in_flight || !peer->initiation_sent) return;
  peer->initiate_at = std::min(peer->initiate_at, *peer->initiation_sent + std::max(kHurryInterval, 2 * rtt));
  reschedule(*peer);
}

void Device::reject_index(Now now, std::uint32_t index) {
  const auto owner = indices_.find(index);
  if (owner == indices_.end()) return;
  Peer* const peer = find(owner->second.peer);
  LR_CHECK(peer);
  hurry(now, *peer);
  reschedule(*peer);
}

std::optional<crypto::PublicKey> Device::owner_of_index(std::uint32_t index) const {
  const auto owner = indices_.find(index);
  return owner == indices_.end() ? std::nullopt : std::optional(owner->second.peer);
}

// Begins a series unless one runs. Not sooner than 5 s after the initiation before, and not while the initiator of a
// session that waits for its first packet is about to send it.
void Device::request_handshake(Now now, Peer& peer) {
  if (peer.series_began || peer.initiate_at != kNever) return;
  Time at = now.time;
  if (peer.initiation_sent) at = std::max(at, *peer.initiation_sent + kRekeyTimeout);
  if (peer.next) at = std::max(at, peer.next->created + kRekeyTimeout);
  if (at > now.time)
    peer.initiate_at = at;
  else
    initiate(now, peer);
}

void Device::hurry(Now now, Peer& peer) {
  const Time at = peer.initiation_sent ? *peer.initiation_sent + kHurryInterval : now.time;
  if (at > now.time)
    peer.initiate_at = std::min(peer.initiate_at, at);
  else
    initiate(now, peer);
}

void Device::initiate(Now now, Peer& peer) {
  peer.initiate_at = kNever;
  if (!peer.remote) return;
  if (peer.in_flight) indices_.erase(peer.in_flight->local_index);
  peer.in_flight.reset();

  const std::uint32_t index = claim_index(peer.key, true);
  auto created = create_initiation(*identity_, *peer.remote, next_timestamp(now), index, rng_);
  LR_CHECK(created);  // RemoteIdentity::make refused what could fail here
  Bytes datagram = wg::write(created->message);
  peer.stamp.stamp(now.time, datagram);
  peer.in_flight = std::move(created->in_flight);
  peer.initiation_sent = now.time;
  if (!peer.series_began) {
    peer.series_began = now.time;
    peer.cookie_used = false;
  }
  peer.initiate_at = now.time + kRekeyTimeout + jitter();
  ++stats_.initiations_sent;
  send({peer.key, std::nullopt, std::move(datagram)});
  note_sent(now, peer);
}

// The end of a series, however it ended.
void Device::end_series(Peer& peer) {
  if (peer.in_flight) indices_.erase(peer.in_flight->local_index);
  peer.in_flight.reset();
  peer.series_began.reset();
  peer.initiate_at = kNever;
}

// Later than every one before, in this run and the earlier ones. Rounded down to 2^24 ns, so that our clock's fine
// drift is nobody's business.
Tai64n Device::next_timestamp(Now now) {
  Tai64n stamp = Tai64n::of(now.wall);
  store_be(stamp.bytes.data() + 8, load_be<std::uint32_t>(stamp.bytes.data() + 8) & 0xff000000u);
  if (stamp <= last_timestamp_) stamp = last_timestamp_.plus(Duration{1});
  last_timestamp_ = stamp;
  if (stamp > reserved_) {
    reserved_ = stamp.plus(options_.timestamp_reserve);
    events_.push_back(TimestampFloorRaised{reserved_});
  }
  return stamp;
}

Duration Device::jitter() { return Duration{static_cast<Duration::rep>(rng_.below(kRekeyJitterMax.count()))}; }

std::uint32_t Device::claim_index(const crypto::PublicKey& peer, bool handshake) {
  for (;;) {
    const std::uint32_t index = rng_.u32();
    if (indices_.emplace(index, IndexOwner{peer, handshake}).second) return index;
  }
}

// ---- sessions

void Device::begin_session(Now now, Peer& peer, std::uint32_t local_index, const TransportKeys& keys, bool initiator) {
  Session session;
  session.local_index = local_index;
  session.created = now.time;
  session.initiator = initiator;
  session.send =
      std::make_shared<SendKey>(crypto::AeadKey(keys.send.bytes()), keys.remote_index, local_index, now.time);
  session.receive = std::make_shared<ReceiveKey>(crypto::AeadKey(keys.receive.bytes()), local_index, now.time);
  SessionReady ready{peer.key, session.send, session.receive, initiator};

  if (initiator) {
    // The other side sends with one of the two youngest until it has heard us: after handshakes that crossed, not with
    // the one that we sent with.
    retire(peer, peer.older);
    if (peer.next) {
      retire(peer, peer.previous);
      peer.older = std::exchange(peer.current, std::nullopt);
      peer.previous = std::exchange(peer.next, std::nullopt);
    } else {
      peer.older = std::exchange(peer.previous, std::nullopt);
      peer.previous = std::exchange(peer.current, std::nullopt);
    }
    make_current(peer, std::move(session));
  } else {
    retire(peer, peer.next);
    peer.next = std::move(session);
  }
  peer.last_handshake = now;
  peer.zero_keys_at = now.time + kZeroKeysAfter;
  ++stats_.sessions;
  log_.debug("session made", {{"peer_id", peer.key.base64()}, {"initiator", initiator}});
  events_.push_back(std::move(ready));
}

void Device::make_current(Peer& peer, Session session) {
  peer.current = std::move(session);
  peer.renewed_on_receive = false;
  peer.seen.send_counter = 0;
}

// The first packet under `next` has come: the initiator holds the keys.
void Device::confirm(Peer& peer) {
  retire(peer, peer.older);
  retire(peer, peer.previous);
  peer.previous = std::exchange(peer.current, std::nullopt);
  make_current(peer, *std::exchange(peer.next, std::nullopt));
  end_series(peer);
  events_.push_back(SessionConfirmed{peer.key, peer.current->local_index});
}

void Device::retire(Peer& peer, std::optional<Session>& session) {
  if (!session) return;
  indices_.erase(session->local_index);
  events_.push_back(SessionRetired{peer.key, session->local_index});
  session.reset();
}

void Device::retire_sessions(Peer& peer) {
  retire(peer, peer.older);
  retire(peer, peer.previous);
  retire(peer, peer.current);
  retire(peer, peer.next);
  peer.zero_keys_at = kNever;
}

// ---- what the data threads saw

void Device::handle_activity(Now now, const crypto::PublicKey& key, const Activity& activity) {
  Peer* const found = find(key);
  if (!found) return;
  Peer& peer = *found;
  const Activity before = std::exchange(peer.seen, activity);
  if (peer.next && activity.receive_index == peer.next->local_index) confirm(peer);
  if (peer.current && activity.receive_index == peer.current->local_index) retire(peer, peer.older);

  const bool sent = activity.last_sent > before.last_sent || activity.send_counter > before.send_counter;
  const bool received = activity.last_received > before.last_received;
  const bool data_sent = activity.last_data_sent > before.last_data_sent;
  const bool data_received = activity.last_data_received > before.last_data_received;

  if (received) peer.new_handshake_at = kNever;
  if (sent) peer.keepalive_at = kNever;
  if (data_sent && activity.last_data_sent > activity.last_received && peer.new_handshake_at == kNever)
    peer.new_handshake_at = activity.last_data_sent + kNewHandshakeAfter + jitter();
  if (data_received && activity.last_data_received > activity.last_sent && peer.keepalive_at == kNever)
    peer.keepalive_at = activity.last_data_received + kKeepaliveTimeout;
  if ((sent || received) && peer.keepalive > Duration::zero())
    peer.persistent_at = std::max(activity.last_sent, activity.last_received) + peer.keepalive;

  if (received && activity.source && activity.last_received > peer.path_set) move_path(now, peer, *activity.source);
  renew(now, peer, sent, received);
  reschedule(peer);
}

// A session that is used is followed by the next before it ends.
void Device::renew(Now now, Peer& peer, bool sent, bool received) {
  if (!peer.current) return;
  const Session& session = *peer.current;
  if (sent && (peer.seen.send_counter >= kRekeyAfterMessages ||
               (session.initiator && peer.seen.last_sent >= session.created + kRekeyAfterTime)))
    request_handshake(now, peer);
  if (received && session.initiator && !peer.renewed_on_receive &&
      peer.seen.last_received >= session.created + kRekeyOnReceiveAfter) {
    peer.renewed_on_receive = true;
    request_handshake(now, peer);
  }
}

void Device::move_path(Now now, Peer& peer, const Path& path) {
  const std::optional<Path>& known = options_.roaming ? peer.path : peer.source;
  if (known == path) return;
  peer.source = path;
  if (options_.roaming) {
    peer.path = path;
    peer.path_set = now.time;
  }
  ++stats_.roamed;
  events_.push_back(PathChanged{peer.key, path});
}

void Device::note_sent(Now now, Peer& peer) {
  peer.keepalive_at = kNever;
  if (peer.keepalive > Duration::zero()) peer.persistent_at = now.time + peer.keepalive;
}

void Device::note_received(Now now, Peer& peer) {
  peer.new_handshake_at = kNever;
  if (peer.keepalive > Duration::zero()) peer.persistent_at = now.time + peer.keepalive;
}

// ---- timers

std::optional<Time> Device::next_timeout() const {
  return deadlines_.empty() ? std::nullopt : std::optional(deadlines_.begin()->first);
}

void Device::handle_timeout(Now now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now.time) {
    Peer* const peer = find(deadlines_.begin()->second);
    LR_CHECK(peer);
    run_timers(now, *peer);
    reschedule(*peer);
  }
}

void Device::run_timers(Now now, Peer& peer) {
  const auto due = [&](Time& timer) {
    if (timer > now.time) return false;
    timer = kNever;
    return true;
  };
  if (due(peer.zero_keys_at)) {
    retire_sessions(peer);
    log_.debug("keys wiped", {{"peer_id", peer.key.base64()}});
  }
  if (due(peer.initiate_at)) {
    if (peer.series_began && now.time - *peer.series_began >= kRekeyAttemptTime)
      give_up(now, peer);
    else
      initiate(now, peer);
  }
  if (due(peer.new_handshake_at)) request_handshake(now, peer);
  if (due(peer.keepalive_at) && peer.can_send(now.time)) events_.push_back(KeepaliveDue{peer.key});
  if (due(peer.persistent_at)) send_persistent_keepalive(now, peer);
}

void Device::give_up(Now now, Peer& peer) {
  end_series(peer);
  peer.keepalive_at = kNever;
  if (peer.zero_keys_at == kNever && (peer.current || peer.previous || peer.next))
    peer.zero_keys_at = now.time + kZeroKeysAfter;
  ++stats_.handshakes_failed;
  log_.debug("handshake failed", {{"peer_id", peer.key.base64()}});
  events_.push_back(HandshakeFailed{peer.key});
}

void Device::send_persistent_keepalive(Now now, Peer& peer) {
  peer.persistent_at = now.time + peer.keepalive;
  if (peer.can_send(now.time))
    events_.push_back(KeepaliveDue{peer.key});
  else
    request_handshake(now, peer);
}

void Device::reschedule(Peer& peer) {
  const Time deadline =
      std::min({peer.initiate_at, peer.new_handshake_at, peer.keepalive_at, peer.persistent_at, peer.zero_keys_at});
  if (deadline == peer.deadline) return;
  deadlines_.erase({peer.deadline, peer.key});
  peer.deadline = deadline;
  if (deadline != kNever) deadlines_.emplace(deadline, peer.key);
}

// ---- outputs

std::optional<Transmit> Device::poll_transmit() {
  if (transmits_.empty()) return std::nullopt;
  Transmit transmit = std::move(transmits_.front());
  transmits_.pop_front();
  return transmit;
}

std::optional<Event> Device::poll_event() {
  if (events_.empty()) return std::nullopt;
  Event event = std::move(events_.front());
  events_.pop_front();
  return event;
}

std::optional<PeerStatus> Device::status(Now now, const crypto::PublicKey& key) const {
  const Peer* const peer = find(key);
  if (!peer) return std::nullopt;
  PeerStatus status;
  status.path = peer->path;
  status.last_handshake = peer->last_handshake;
  status.connected = peer->can_send(now.time);
  status.handshaking = peer->series_began.has_value();
  status.keepalive = peer->keepalive;
  status.greatest_timestamp = peer->greatest_timestamp;
  status.activity = peer->seen;
  return status;
}

std::vector<crypto::PublicKey> Device::peers() const {
  std::vector<crypto::PublicKey> keys;
  keys.reserve(peers_.size());
  for (const auto& entry : peers_) keys.push_back(entry.first);
  return keys;
}

std::optional<Path> Device::path(const crypto::PublicKey& key) const {
  const Peer* const peer = find(key);
  return peer ? peer->path : std::nullopt;
}

bool Device::is_consistent() const {
  std::size_t owned = 0, timed = 0;
  const auto holds = [&](const Peer& peer, std::uint32_t index, bool handshake) {
    ++owned;
    const auto owner = indices_.find(index);
    return owner != indices_.end() && owner->second.peer == peer.key && owner->second.handshake == handshake;
  };
  for (const auto& entry : peers_) {
    const Peer& peer = *entry.second;
    if (peer.in_flight && !holds(peer, peer.in_flight->local_index, true)) return false;
    if (peer.in_flight && !peer.series_began) return false;
    for (const auto* session : {&peer.current, &peer.previous, &peer.older, &peer.next})
      if (*session && !holds(peer, (*session)->local_index, false)) return false;
    if (peer.deadline != kNever) {
      ++timed;
      if (!deadlines_.contains({peer.deadline, peer.key})) return false;
    }
  }
  return owned == indices_.size() && timed == deadlines_.size();
}

}  // namespace lanrage::tunnel
