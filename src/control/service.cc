#include "control/service.h"

#include <algorithm>
#include <cstdlib>

#include "control/proof.h"
#include "wire/relay.h"

namespace lanrage::control {
namespace {

constexpr Duration kSweep = std::chrono::seconds{1};
constexpr Duration kUnsureGap = std::chrono::seconds{10};  // a store that is away may take a while to say so

Error limited() { return {Code::kExhausted, "too many requests", "wait a moment and try again"}; }
Error no_party() {
  return {Code::kNotFound, "the server does not know that party", "was the invite made with another server?"};
}

wire::PartyId wire_id(const party::PartyId& id) {
  wire::PartyId out;
  std::copy(id.bytes().begin(), id.bytes().end(), out.begin());
  return out;
}

wire::InviteInfo info_of(const party::InviteRow& row) {
  return {row.id.text(), unix_seconds(row.expires), row.uses_left};
}

wire::Snapshot wire_snapshot(const party::PartyId& id, party::PartySnapshot snapshot) {
  return {wire_id(id),
          snapshot.version,
          std::move(snapshot.genesis),
          std::move(snapshot.statements),
          std::move(snapshot.bundle),
          std::move(snapshot.records)};
}

wire::Event wire_event(const party::PartyEvent& event) {
  struct Visitor {
    std::uint64_t number;
    wire::Event operator()(const party::RecordPut& e) const { return wire::RecordChanged{number, e.record}; }
    wire::Event operator()(const party::StatementPut& e) const {
      return wire::StatementAdded{number, e.statement, e.bundle};
    }
    wire::Event operator()(const party::InviteChanged& e) const {
      return wire::InviteChanged{number, {e.id.text(), unix_seconds(e.expires), e.uses_left}};
    }
  };
  return std::visit(Visitor{event.number}, event.body);
}

// An answer to a request that gives back nothing but success.
std::function<void(Result<void>)> done_or_error(Service::Respond respond) {
  return [respond = std::move(respond)](Result<void> result) {
    if (!result) return respond(std::move(result).error());
    respond(wire::Response(wire::Done{}));
  };
}

}  // namespace

Service::Service(ServiceOptions options, store::Store& store, Rng& rng, const Logger& log)
    : options_(std::move(options)),
      session_key_(crypto::hkdf_sha256(options_.grant_key.bytes(), {}, as_bytes("lanrage server v1 sessions"), 32)),
      store_(store),
      rng_(rng),
      log_(log.named("control")) {}

Service::~Service() = default;

bool Service::take(Now now, const std::string& key, const Rate& rate) {
  if (buckets_.size() >= kBucketsMax) buckets_.clear();  // full again within a second by whoever floods; fair enough
  auto [it, fresh] = buckets_.try_emplace(key, Bucket{rate.burst, now.time});
  Bucket& bucket = it->second;
  bucket.tokens = std::min(
      rate.burst, bucket.tokens + std::chrono::duration<double>(now.time - bucket.filled).count() * rate.per_second);
  bucket.filled = now.time;
  if (bucket.tokens < 1) {
    ++stats_.limited;
    return false;
  }
  bucket.tokens -= 1;
  return true;
}

// --- sessions ------------------------------------------------------------------------------------------------------

Result<wire::Challenge> Service::hello(Now now, const IpAddress& from, const wire::Hello& hello) {
  if (!take(now, "hello " + from.text(), kHellosPerAddress) || challenges_.size() >= kChallengesMax) return limited();
  wire::Challenge challenge;
  challenge.id = rng_.array<16>();
  challenge.nonce = rng_.array<32>();
  const auto server_key = crypto::PrivateKey::generate(rng_);
  challenge.server_key = crypto::public_key(server_key);
  challenges_[challenge.id] = {server_key, hello.key, challenge.nonce, now.time + kChallengeLife};
  return challenge;
}

Result<wire::Session> Service::prove(Now now, const IpAddress& from, ByteView exporter, const wire::Proof& proof) {
  const Error refused{Code::kRefused, "the proof of this device's key is wrong", "is this machine's seed damaged?"};
  auto found = challenges_.find(proof.challenge);
  if (found == challenges_.end() || found->second.expires <= now.time) return refused;
  const Challenge challenge = found->second;
  challenges_.erase(found);
  const auto mac =
      session_proof(challenge.server_key, challenge.client,
                    {proof.challenge, crypto::public_key(challenge.server_key), challenge.nonce}, exporter);
  if (!mac || !crypto::secure_equal(*mac, proof.mac)) {
    take(now, "refused " + from.text(), kRefusalsPerAddress);
    return refused;
  }
  wire::Session session;
  session.expires = unix_seconds(now.wall + kSessionLife);
  session.now = unix_seconds(now.wall);
  session.token.resize(8);
  store_be(session.token.data(), static_cast<std::uint64_t>(session.expires));
  append(session.token, challenge.client.bytes());
  append(session.token, crypto::hmac_sha256(session_key_, {session.token}));
  return session;
}

Result<crypto::PublicKey> Service::authenticate(Now now, ByteView token) const {
  const Error refused{Code::kRefused, "this session is not valid any more", "prove the device's key again"};
  constexpr std::size_t kSaid = 8 + crypto::kKeySize;
  if (token.size() != kSaid + crypto::kHashSize) return refused;
  const ByteView said = token.first(kSaid);
  if (!crypto::secure_equal(crypto::hmac_sha256(session_key_, {said}), token.subspan(kSaid))) return refused;
  if (load_be<std::uint64_t>(said.data()) <= static_cast<std::uint64_t>(unix_seconds(now.wall))) return refused;
  std::array<std::uint8_t, crypto::kKeySize> key{};
  std::copy(said.begin() + 8, said.end(), key.begin());
  return crypto::PublicKey(key);
}

// --- parties -------------------------------------------------------------------------------------------------------

Result<Service::PartyPtr> Service::find(Now now, const party::PartyId& id) {
  if (auto cached = parties_.find(id); cached != parties_.end()) return cached->second;
  LR_ASSIGN(auto data, store_.load(id));
  if (unsure_.erase(id) > 0) close_streams(id, {Code::kUnavailable, "the server has read this party anew", {}});
  if (!data) return no_party();
  LR_ASSIGN(party::ServerParty state, party::ServerParty::restore(std::move(*data)));
  evict();
  auto party = std::make_shared<Party>(Party{std::move(state)});
  parties_[id] = party;
  party::Effects effects;
  party->state.expire(now.wall, effects);
  if (!effects.changes.empty()) commit(id, party, std::move(effects), [](Result<void>) {});
  return party;
}

void Service::evict() {
  if (parties_.size() >= kPartiesCachedMax) drop_idle();
}

// What the store has, too, and nobody follows.
void Service::drop_idle() {
  for (auto it = parties_.begin(); it != parties_.end();) {
    const bool idle = it->second->pending == 0 && !streams_of_.contains(it->first);
    it = idle ? parties_.erase(it) : std::next(it);
  }
}

void Service::commit(const party::PartyId& id, const PartyPtr& party, party::Effects effects,
                     std::function<void(Result<void>)> done) {
  if (effects.changes.empty()) return settled(id, party, std::move(done));
  ++party->pending;
  auto finish = [this, id, party, events = std::move(effects.events), done](Result<void> result) {
    --party->pending;
    if (!result) {
      // What was decided in memory did not happen: forget it, and read again what did. Or it did, and only the
      // database's answer was lost: then who follows the party begins anew, once the store can be asked what it has.
      party->dead = true;
      if (auto cached = parties_.find(id); cached != parties_.end() && cached->second == party) parties_.erase(cached);
      const Code code = result.error().code;
      if (code == Code::kUnavailable || code == Code::kTimedOut) unsure_.insert(id);
      if (result.error().code == Code::kExhausted) return done(std::move(result));
      // The players' business is that it is not done, not the operator's database.
      return done(Error{Code::kUnavailable, "the server cannot keep this just now", "try again in a moment"});
    }
    publish(id, events);
    done({});
  };
  store_.commit(id, std::move(effects.changes),
                [this, alive = std::weak_ptr<int>(alive_), finish](Result<void> result) {
                  options_.post([alive, finish, result = std::move(result)]() mutable {
                    if (alive.lock()) finish(std::move(result));
                  });
                });
}

// Calls `done` once all that was decided so far is on disk: an answer must not show what may still not happen.
void Service::settled(const party::PartyId& id, const PartyPtr& party, std::function<void(Result<void>)> done) {
  if (party->pending == 0) return done(party->dead ? Result<void>(no_party()) : Result<void>());
  store_.commit(id, {}, [this, alive = std::weak_ptr<int>(alive_), done](Result<void> result) {
    options_.post([alive, done, result = std::move(result)]() mutable {
      if (alive.lock()) done(std::move(result));
    });
  });
}

void Service::close_streams(const party::PartyId& id, const Error& why) {
  const auto open = streams_of_.find(id);
  if (open == streams_of_.end()) return;
  for (StreamId stream_id : std::vector<StreamId>(open->second)) {
    const auto stream = streams_.find(stream_id);
    if (stream == streams_.end()) continue;
    const auto close = stream->second.stream.close;
    close_stream(stream_id);
    close(why);
  }
}

void Service::publish(const party::PartyId& id, const std::vector<party::PartyEvent>& events) {
  for (const party::PartyEvent& event : events) tell(id, wire_event(event));
  auto cached = parties_.find(id);
  if (cached == parties_.end()) return;
  auto open = streams_of_.find(id);
  if (open == streams_of_.end()) return;
  for (StreamId stream_id : std::vector<StreamId>(open->second)) {
    auto stream = streams_.find(stream_id);
    if (stream == streams_.end()) continue;
    const party::Standing standing = cached->second->state.standing(stream->second.by);
    if (standing == party::Standing::kJoined || standing == party::Standing::kPending) continue;
    const auto close = stream->second.stream.close;
    close_stream(stream_id);
    close(Error{Code::kRefused, "not a member of this party any more", {}});
  }
}

// --- requests ------------------------------------------------------------------------------------------------------

void Service::handle_request(Now now, const IpAddress& from, const crypto::PublicKey& by, const wire::Request& request,
                             Respond respond) {
  ++stats_.requests;
  if (!take(now, "key " + by.base64(), kRequestsPerKey)) return respond(limited());
  // Wrong guesses use up what an address may guess; right answers cost it nothing.
  const std::string refusals = "refused " + from.text();
  if (auto bucket = buckets_.find(refusals); bucket != buckets_.end() && bucket->second.tokens < 1 &&
                                             now.time - bucket->second.filled < std::chrono::seconds{1}) {
    ++stats_.limited;
    return respond(limited());
  }
  auto counted = [this, now, refusals, respond = std::move(respond)](Result<wire::Response> response) {
    if (!response) {
      ++stats_.refused;
      const Code code = response.error().code;
      if (code == Code::kNotFound || code == Code::kRefused) take(now, refusals, kRefusalsPerAddress);
    }
    respond(std::move(response));
  };
  std::visit([&](const auto& r) { serve(now, by, r, std::move(counted)); }, request);
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::CreateParty& request, Respond respond) {
  party::Effects effects;
  auto created = party::ServerParty::create(now.wall, by, request.name, request.genesis, effects);
  if (!created) return respond(std::move(created).error());
  const party::PartyId id = created->id();
  if (auto known = find(now, id); known || known.error().code != Code::kNotFound) {
    if (!known) return respond(std::move(known).error());
    // The same request again has the same answer.
    if ((*known)->state.data().genesis == request.genesis)
      return settled(id, *known, done_or_error(std::move(respond)));
    return respond(Error{Code::kConflict, "a party with that id exists already", {}});
  }
  evict();
  auto party = std::make_shared<Party>(Party{std::move(*created)});
  parties_[id] = party;
  commit(id, party, std::move(effects), done_or_error(std::move(respond)));
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::Join& request, Respond respond) {
  auto party = find(now, request.party);
  if (!party) return respond(std::move(party).error());
  party::Effects effects;
  auto answer = (*party)->state.join(now.wall, by, {party::InviteToken(request.token), request.name}, effects);
  if (!answer) return respond(std::move(answer).error());
  commit((*party)->state.id(), *party, std::move(effects), [answer = std::move(*answer), respond](Result<void> result) {
    if (!result) return respond(std::move(result).error());
    respond(wire::Response(wire::Admission{answer.ipv4, answer.envelope}));
  });
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::PutRecord& request, Respond respond) {
  auto party = find(now, request.party);
  if (!party) return respond(std::move(party).error());
  party::Effects effects;
  if (auto put = (*party)->state.put_record(by, request.record, effects); !put) return respond(std::move(put).error());
  commit((*party)->state.id(), *party, std::move(effects), done_or_error(std::move(respond)));
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::AddInvite& request, Respond respond) {
  auto party = find(now, request.party);
  if (!party) return respond(std::move(party).error());
  party::Effects effects;
  const party::InviteRequest invite{request.token_hash, request.envelope, request.uses,
                                    now.wall + std::chrono::seconds{request.lifetime_s}};
  auto row = (*party)->state.add_invite(now.wall, by, invite, effects);
  if (!row) return respond(std::move(row).error());
  commit((*party)->state.id(), *party, std::move(effects), [info = info_of(*row), respond](Result<void> result) {
    if (!result) return respond(std::move(result).error());
    respond(wire::Response(info));
  });
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::ListInvites& request, Respond respond) {
  auto party = find(now, request.party);
  if (!party) return respond(std::move(party).error());
  auto rows = (*party)->state.list_invites(now.wall, by);
  if (!rows) return respond(std::move(rows).error());
  wire::InviteList list;
  for (const party::InviteRow& row : *rows) list.invites.push_back(info_of(row));
  settled((*party)->state.id(), *party, [list = std::move(list), respond](Result<void> result) {
    if (!result) return respond(std::move(result).error());
    respond(wire::Response(list));
  });
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::RevokeInvite& request, Respond respond) {
  auto party = find(now, request.party);
  if (!party) return respond(std::move(party).error());
  const auto id = party::InviteId::parse(request.id);
  if (!id)
    return respond(
        Error{Code::kNotFound, "there is no such invite", "`lanrage invite --list` shows those that are valid"});
  party::Effects effects;
  if (auto revoked = (*party)->state.revoke_invite(by, *id, effects); !revoked)
    return respond(std::move(revoked).error());
  commit((*party)->state.id(), *party, std::move(effects), done_or_error(std::move(respond)));
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::PutStatements& request, Respond respond) {
  auto party = find(now, request.party);
  if (!party) return respond(std::move(party).error());
  party::StatementsRequest statements{request.statements, request.bundle, {}, request.seen};
  for (const wire::InviteEnvelope& invite : request.invites) {
    const auto id = party::InviteId::parse(invite.id);
    if (!id) return respond(Error{Code::kInvalid, "an invite's id is malformed", {}});
    statements.invites.push_back({*id, invite.envelope});
  }
  party::Effects effects;
  if (auto put = (*party)->state.put_statements(by, statements, effects); !put) return respond(std::move(put).error());
  commit((*party)->state.id(), *party, std::move(effects), done_or_error(std::move(respond)));
}

void Service::serve(Now, const crypto::PublicKey&, const wire::Signal&, Respond respond) {
  respond(Error{Code::kInvalid, "signals travel over the event stream", {}});
}
void Service::serve(Now, const crypto::PublicKey&, const wire::Follow&, Respond respond) {
  respond(Error{Code::kInvalid, "events are followed over the event stream", {}});
}
void Service::serve(Now, const crypto::PublicKey&, const wire::OfferRelay&, Respond respond) {
  respond(Error{Code::kInvalid, "a relay is offered over a stream of its own", {}});
}
void Service::serve(Now, const crypto::PublicKey& by, const wire::WithdrawRelay&, Respond respond) {
  RelayDirectory changed = options_.others;
  if (changed.withdraw(by)) {
    if (auto kept = keep_relays(std::move(changed)); !kept) return respond(std::move(kept).error());
    log_.info("a relay says goodbye", {{"relay", by.base64()}});
    tell_relays();
  }
  respond(wire::Response(wire::Done{}));
}
void Service::serve(Now, const crypto::PublicKey& by, const wire::ReportRelay& request, Respond respond) {
  if (auto taken = options_.others.report(by, request); !taken) return respond(std::move(taken).error());
  respond(wire::Response(wire::Done{}));
}

// --- streams -------------------------------------------------------------------------------------------------------

void Service::open_stream(Now now, const crypto::PublicKey& by, const wire::Follow& follow, Stream stream,
                          std::function<void(Result<StreamId>)> opened) {
  auto party = find(now, follow.party);
  if (!party) return opened(std::move(party).error());
  if (streams_.size() >= kStreamsMax) return opened(limited());
  begin_stream(now, by, follow, *party, std::move(stream), std::move(opened));
}

void Service::begin_stream(Now now, const crypto::PublicKey& by, const wire::Follow& follow, const PartyPtr& party,
                           Stream stream, std::function<void(Result<StreamId>)> opened) {
  const party::PartyId id = party->state.id();
  if (party->pending > 0) {  // a snapshot of now could show what may still not happen
    return settled(
        id, party,
        [this, now, by, follow, party, stream = std::move(stream), opened = std::move(opened)](Result<void> result) {
          if (!result) return opened(std::move(result).error());
          begin_stream(now, by, follow, party, stream, opened);
        });
  }
  const party::Standing standing = party->state.standing(by);
  if (standing == party::Standing::kStranger || standing == party::Standing::kLeft) {
    return opened(Error{Code::kRefused, "not a member of this party", "join it with an invite"});
  }
  const StreamId stream_id = ++last_stream_;
  opened(stream_id);
  if (standing == party::Standing::kKicked) {
    stream.send(wire_snapshot(id, party->state.removal_of(by)));
    return stream.close(Error{Code::kRefused, "the owner removed this device from the party", {}});
  }
  auto events = follow.from == 0 ? std::nullopt : party->state.events_since(follow.from);
  if (events) {
    for (const party::PartyEvent& event : *events) stream.send(wire_event(event));
  } else {
    stream.send(wire_snapshot(id, party->state.snapshot()));
  }
  std::vector<StreamId>& open = streams_of_[id];
  const auto own = std::count_if(open.begin(), open.end(), [&](StreamId s) { return streams_.at(s).by == by; });
  if (static_cast<std::size_t>(own) >= kStreamsPerKeyMax) {
    const StreamId oldest =
        *std::find_if(open.begin(), open.end(), [&](StreamId s) { return streams_.at(s).by == by; });
    const auto close = streams_.at(oldest).stream.close;
    close_stream(oldest);
    close(Error{Code::kConflict, "this device follows the party by newer streams", {}});
  }
  used_.insert(id);
  if (own == 0) tell(id, wire::Presence{by, true});
  streams_[stream_id] = {by, id, std::move(stream), now.time + kGrantRenewal};
  streams_of_[id].push_back(stream_id);
  if (turns_.try_emplace(id, last_turn_ + 1).second) ++last_turn_;
  const Stream& placed = streams_[stream_id].stream;
  placed.send(wire::Online{online(id)});
  placed.send(named_relays(id));
  if (!told_health_.relays.empty()) placed.send(told_health_);
  placed.send(grant_keys());
  placed.send(grant(now, id, by));
}

void Service::close_stream(StreamId stream_id) {
  if (const auto relay = relay_streams_.find(stream_id); relay != relay_streams_.end()) {
    options_.others.lose(relay->second.key);
    relay_streams_.erase(relay);
    return;
  }
  auto found = streams_.find(stream_id);
  if (found == streams_.end()) return;
  const crypto::PublicKey by = found->second.by;
  const party::PartyId id = found->second.party;
  streams_.erase(found);
  auto open = streams_of_.find(id);
  std::erase(open->second, stream_id);
  const bool gone =
      std::none_of(open->second.begin(), open->second.end(), [&](StreamId s) { return streams_.at(s).by == by; });
  if (open->second.empty()) {
    streams_of_.erase(open);
    turns_.erase(id);
  }
  if (gone) tell(id, wire::Presence{by, false});
}

void Service::handle_signal(Now now, StreamId from, const wire::Signal& signal) {
  auto sender = streams_.find(from);
  if (sender == streams_.end() || party::PartyId(signal.party) != sender->second.party) return;
  if (!take(now, "signal " + sender->second.by.base64(), kSignalsPerKey)) return;
  ++stats_.signals;
  const wire::Signalled event{sender->second.by, signal.sealed};
  for (StreamId stream_id : streams_of_[sender->second.party]) {
    const OpenStream& stream = streams_.at(stream_id);
    if (stream.by == signal.to) stream.stream.send(event);
  }
}

void Service::tell(const party::PartyId& id, const wire::Event& event, const crypto::PublicKey* except) {
  auto open = streams_of_.find(id);
  if (open == streams_of_.end()) return;
  for (StreamId stream_id : open->second) {
    const OpenStream& stream = streams_.at(stream_id);
    if (except == nullptr || stream.by != *except) stream.stream.send(event);
  }
}

std::vector<crypto::PublicKey> Service::online(const party::PartyId& id) const {
  std::vector<crypto::PublicKey> out;
  auto open = streams_of_.find(id);
  if (open == streams_of_.end()) return out;
  for (StreamId stream_id : open->second) {
    const crypto::PublicKey& by = streams_.at(stream_id).by;
    if (std::find(out.begin(), out.end(), by) == out.end()) out.push_back(by);
  }
  return out;
}

wire::Grant Service::grant(Now now, const party::PartyId& id, const crypto::PublicKey& peer) const {
  wire::RelayGrant grant;
  grant.party = wire_id(id);
  grant.peer = peer;
  grant.expires_unix = unix_seconds(now.wall + kGrantLife);
  const auto bytes = wire::sign_grant(grant, options_.grant_key);
  return {to_bytes(bytes), grant.expires_unix};
}

wire::GrantKeys Service::grant_keys() const { return {{crypto::verify_key(options_.grant_key)}}; }

void Service::set_relays(std::vector<wire::RelayInfo> relays, std::vector<Endpoint> stun) {
  options_.relays = std::move(relays);
  options_.stun = std::move(stun);
  tell_relays();
}

// --- relays --------------------------------------------------------------------------------------------------------

wire::Relays Service::named_relays(const party::PartyId& id) const {
  wire::Relays out{options_.relays, options_.stun, turns_.at(id)};
  for (wire::RelayInfo& relay : options_.others.named()) out.relays.push_back(std::move(relay));
  return out;
}

void Service::tell_relays() {
  for (const auto& [id, stream] : streams_) stream.stream.send(named_relays(stream.party));
}

void Service::tell_health(Now now) {
  if (now.time < next_health_) return;
  std::vector<wire::RelayHealth> health = options_.others.health();
  if (own_health_) health.push_back(*own_health_);
  const auto is_known = [](const wire::RelayHealth& is, const wire::RelayHealth& was) {
    return is.key == was.key && std::abs(is.health - was.health) < kHealthNews &&
           std::abs(is.load - was.load) < kHealthNews;
  };
  const auto& told = told_health_.relays;
  if (std::equal(health.begin(), health.end(), told.begin(), told.end(), is_known)) return;
  next_health_ = now.time + kHealthInterval;
  told_health_.relays = std::move(health);
  for (const auto& [id, stream] : streams_) stream.stream.send(told_health_);
}

Result<void> Service::keep_relays(RelayDirectory changed) {
  if (options_.save_relays) LR_TRY(options_.save_relays(changed.text()));
  options_.others = std::move(changed);
  return {};
}

void Service::open_stream(Now, const crypto::PublicKey& by, const wire::OfferRelay& offer, Stream stream,
                          std::function<void(Result<StreamId>)> opened) {
  RelayDirectory changed = options_.others;
  const auto is_news = changed.offer(by, offer);
  if (!is_news) return opened(is_news.error());
  if (*is_news) {
    if (auto kept = keep_relays(std::move(changed)); !kept) return opened(std::move(kept).error());
    log_.info("a relay serves", {{"relay", by.base64()}, {"region", offer.region}});
  } else {
    options_.others = std::move(changed);
  }
  close_relay_stream(by, {Code::kConflict, "this relay has a newer stream", {}});
  const StreamId id = ++last_stream_;
  opened(id);
  relay_streams_[id] = {by, std::move(stream)};
  relay_streams_[id].stream.send(grant_keys());
  if (*is_news) tell_relays();
}

void Service::close_relay_stream(const crypto::PublicKey& key, const Error& why) {
  const auto found = std::find_if(relay_streams_.begin(), relay_streams_.end(),
                                  [&](const auto& entry) { return entry.second.key == key; });
  if (found == relay_streams_.end()) return;
  const Stream closed = std::move(found->second.stream);
  relay_streams_.erase(found);
  closed.close(why);
}

Result<void> Service::allow_relay(const crypto::PublicKey& key) {
  RelayDirectory changed = options_.others;
  LR_TRY(changed.allow(key));
  return keep_relays(std::move(changed));
}

Result<void> Service::remove_relay(const crypto::PublicKey& key) {
  RelayDirectory changed = options_.others;
  LR_TRY(changed.remove(key));
  LR_TRY(keep_relays(std::move(changed)));
  tell_relays();
  close_relay_stream(key, {Code::kRefused, "the server's operator removed this relay", {}});
  return {};
}

// --- time ----------------------------------------------------------------------------------------------------------

void Service::handle_timeout(Now now) {
  if (now.time < next_sweep_) return;
  next_sweep_ = now.time + kSweep;
  if (!next_retirement_) next_retirement_ = now.time + kRetirement;
  if (*next_retirement_ <= now.time) retire(now);
  if (!unsure_.empty() && unsure_due_ <= now.time) {
    unsure_due_ = now.time + kUnsureGap;
    (void)find(now, party::PartyId(*unsure_.begin()));
  }
  std::erase_if(challenges_, [&](const auto& entry) { return entry.second.expires <= now.time; });
  std::erase_if(buckets_, [&](const auto& entry) { return now.time - entry.second.filled > std::chrono::minutes{2}; });
  for (auto& [id, stream] : streams_) {
    if (stream.grant_renewal > now.time) continue;
    stream.grant_renewal = now.time + kGrantRenewal;
    stream.stream.send(grant(now, stream.party, stream.by));
  }
  RelayDirectory relays = options_.others;
  const bool is_gone = relays.expire(now.time);
  if (!is_gone) {
    options_.others = std::move(relays);
  } else if (keep_relays(std::move(relays))) {
    tell_relays();
  }
  tell_health(now);
  const std::map<party::PartyId, PartyPtr> parties = parties_;
  for (const auto& [id, party] : parties) {
    const auto expiry = party->state.next_expiry();
    if (!expiry || *expiry > now.wall) continue;
    party::Effects effects;
    party->state.expire(now.wall, effects);
    commit(id, party, std::move(effects), [](Result<void>) {});
  }
}

void Service::retire(Now now) {
  next_retirement_ = now.time + kRetirement;
  drop_idle();
  for (const auto& [id, party] : parties_) used_.insert(id);
  store_.retire(now.wall, {used_.begin(), used_.end()}, [log = log_](Result<std::size_t> count) {
    if (!count) log.error("unneeded parties could not be forgotten", {{"problem", count.error().message}});
    if (count && *count > 0) log.info("parties that nobody needs were forgotten", {{"count", *count}});
  });
  used_.clear();
}

Service::Stats Service::stats() const {
  Stats out = stats_;
  out.streams = streams_.size();
  out.parties_cached = parties_.size();
  return out;
}

}  // namespace lanrage::control
