#include "control/service.h"

#include <algorithm>
#include <cstdlib>

#include "control/audit.h"
#include "control/proof.h"
#include "wire/relay.h"

namespace lanrage::control {
namespace {

Error limited() { return {Code::kExhausted, "too many requests", "wait a moment and try again"}; }
// The players' business is that it is not done, not the operator's database.
Error kept_nothing() { return {Code::kUnavailable, "the server cannot keep this just now", "try again in a moment"}; }
Error no_party() {
  return {Code::kNotFound, "the server does not know that party", "was the invite made with another server?"};
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

}  // namespace

Service::Service(ServiceOptions options, store::Store& store, Rng& rng, const Logger& log)
    : options_(std::move(options)),
      session_key_(crypto::hkdf_sha256(options_.grant_key.bytes(), {}, as_bytes("lanrage server v1 sessions"), 32)),
      store_(store),
      rng_(rng),
      log_(log.named("control")),
      audit_(log.named("audit")),
      id_(rng.array<sizeof(wire::ServerId)>()) {}

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
  if (!known_addresses_.empty()) session.servers = named_servers().addresses;
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

void Service::find(Now now, const party::PartyId& id, Found found) {
  if (auto cached = parties_.find(id); cached != parties_.end()) return found(cached->second);
  Loading& loading = loading_[id];
  loading.waiting.push_back(std::move(found));
  if (loading.waiting.size() == 1) load(now, id);
}

void Service::load(Now now, const party::PartyId& id) {
  store_.load(id, on_service([this, now, id](Result<std::optional<store::Loaded>> loaded) {
                finish_load(now, id, std::move(loaded));
              }));
}

void Service::finish_load(Now now, const party::PartyId& id, Result<std::optional<store::Loaded>> loaded) {
  Loading& loading = loading_[id];
  if (loaded && *loaded && (*loaded)->revision < loading.at_least) return load(now, id);
  const std::vector<Found> waiting = std::move(loading.waiting);
  loading_.erase(id);
  const auto party = restore(now, id, std::move(loaded));
  for (const Found& found : waiting) found(party);
}

Result<Service::PartyPtr> Service::restore(Now now, const party::PartyId& id,
                                           Result<std::optional<store::Loaded>> loaded) {
  if (!loaded && loaded.error().code == Code::kFailed) return std::move(loaded).error();
  if (!loaded) return kept_nothing();
  unread_.erase(id);
  if (!*loaded) {
    close_streams(id, no_party());
    return no_party();
  }
  LR_ASSIGN(party::ServerParty state, party::ServerParty::restore(std::move((*loaded)->data), (*loaded)->recent));
  evict();
  const auto party = std::make_shared<Party>(Party{std::move(state), (*loaded)->revision});
  parties_[id] = party;
  bring_up_to_date(id, party->state);
  party::Effects effects;
  party->state.expire(now.wall, effects);
  if (!effects.changes.empty()) commit(id, party, std::move(effects), [](Result<void>) {});
  return party;
}

// One after the other, until the store fails.
void Service::read_unread(Now now) {
  if (unread_.empty() || unread_due_ > now.time) return;
  unread_due_ = now.time + kSweep;
  find(now, party::PartyId(*unread_.begin()), [this, now](const Result<PartyPtr>& party) {
    if (!party) return;
    unread_due_ = now.time;
    read_unread(now);
  });
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

// What is in memory is not what the store has.
void Service::forget(const party::PartyId& id, const PartyPtr& party) {
  if (const auto cached = parties_.find(id); cached != parties_.end() && cached->second == party)
    parties_.erase(cached);
  if (streams_of_.contains(id)) unread_.insert(id);
}

// Everything that is answered goes through here, also what changes nothing: it was decided on what the store has.
void Service::decide(Now now, const party::PartyId& id, Decision decision, Respond respond, int attempt) {
  find(now, id,
       [this, now, id, decision = std::move(decision), respond = std::move(respond), attempt](Result<PartyPtr> party) {
         if (!party) return respond(std::move(party).error());
         party::Effects effects;
         auto answer = decision((*party)->state, effects);
         commit(id, *party, std::move(effects),
                [this, now, id, decision, respond, attempt, answer = std::move(answer)](Result<void> stored) {
                  if (stored) return respond(answer);
                  if (stored.error().code != Code::kConflict) return respond(std::move(stored).error());
                  ++stats_.decided_again;
                  if (attempt < kDecisionsMax) return decide(now, id, decision, respond, attempt + 1);
                  respond(Error{Code::kUnavailable, "the party changes too fast", "try again in a moment"});
                });
       });
}

void Service::ask_store(store::Commit commit, Done done) {
  store_.commit(std::move(commit),
                on_service([done = std::move(done)](Result<void> stored) { done(std::move(stored)); }));
}

// kConflict: decide again.
void Service::commit(const party::PartyId& id, const PartyPtr& party, party::Effects effects, Done done) {
  if (effects.changes.empty()) return settle(id, party, std::move(done));
  ++party->pending;
  const auto lines = audit_of(effects);
  store::Commit commit{id, party->revision++, std::move(effects.changes), effects.events};
  ask_store(std::move(commit), [this, id, party, revision = party->revision, events = std::move(effects.events), lines,
                                done = std::move(done)](Result<void> stored) {
    const ContextScope scope("party_id", id.text());
    if (stored) write(lines, audit_);
    finish_commit(id, party, revision, events, std::move(stored), done);
  });
}

void Service::finish_commit(const party::PartyId& id, const PartyPtr& party, std::uint64_t revision,
                            const std::vector<party::PartyEvent>& events, Result<void> result, const Done& done) {
  --party->pending;
  if (result) {
    publish(id, events);
    say(id, wire::PartyChanged{wire_id(id), revision});
    return done({});
  }
  // What was decided in memory did not happen: forget it, and read again what did. Or it did, and only the database's
  // answer was lost.
  forget(id, party);
  const Code code = result.error().code;
  if (code == Code::kExhausted || code == Code::kConflict) return done(std::move(result));
  done(kept_nothing());
}

// Calls `done` once all that was decided so far is on disk, and nobody else has decided anything: an answer must not
// show what may still not happen, nor what is over.
void Service::settle(const party::PartyId& id, const PartyPtr& party, Done done) {
  if (party->pending == 0 && !store_.is_shared()) return done({});
  ask_store({id, party->revision}, [this, id, party, done = std::move(done)](Result<void> stored) {
    if (!stored) forget(id, party);
    done(std::move(stored));
  });
}

void Service::close_streams(const party::PartyId& id, const Error& why) {
  const auto open = streams_of_.find(id);
  if (open == streams_of_.end()) return;
  for (StreamId stream_id : std::vector<StreamId>(open->second.ids)) close_stream(stream_id, why);
}

void Service::close_stream(StreamId stream_id, const Error& why) {
  const auto stream = streams_.find(stream_id);
  if (stream == streams_.end()) return;
  const auto close = stream->second.stream.close;
  close_stream(stream_id);
  close(why);
}

void Service::publish(const party::PartyId& id, const std::vector<party::PartyEvent>& events) {
  const auto open = streams_of_.find(id);
  if (open == streams_of_.end()) return;
  for (const party::PartyEvent& event : events) {
    if (event.number <= open->second.told) continue;
    open->second.told = event.number;
    tell(id, wire_event(event));
  }
  close_strangers(id);
}

// Tells the streams what another server did.
void Service::bring_up_to_date(const party::PartyId& id, const party::ServerParty& party) {
  const auto open = streams_of_.find(id);
  if (open == streams_of_.end()) return;
  if (const auto events = party.events_since(open->second.told)) {
    for (const party::PartyEvent& event : *events) tell(id, wire_event(event));
  } else {
    tell(id, wire_snapshot(id, party.snapshot()));
  }
  open->second.told = party.version();
  close_strangers(id);
}

void Service::close_strangers(const party::PartyId& id) {
  const auto cached = parties_.find(id);
  const auto open = streams_of_.find(id);
  if (cached == parties_.end() || open == streams_of_.end()) return;
  for (StreamId stream_id : std::vector<StreamId>(open->second.ids)) {
    const auto stream = streams_.find(stream_id);
    if (stream == streams_.end()) continue;
    const party::Standing standing = cached->second->state.standing(stream->second.by);
    if (standing == party::Standing::kJoined || standing == party::Standing::kPending) continue;
    close_stream(stream_id, {Code::kRefused, "not a member of this party any more", {}});
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
  const auto make = [this, now, by, request, id, respond, effects, created = *created](const Result<PartyPtr>& known) {
    if (!known && known.error().code != Code::kNotFound) return respond(known.error());
    if (known || parties_.contains(id)) {
      // The same request again has the same answer.
      return decide(
          now, id,
          [genesis = request.genesis](party::ServerParty& party, party::Effects&) -> Result<wire::Response> {
            if (party.data().genesis == genesis) return wire::Response(wire::Done{});
            return Error{Code::kConflict, "a party with that id exists already", {}};
          },
          respond);
    }
    evict();
    const auto party = std::make_shared<Party>(Party{created});
    parties_[id] = party;
    commit(id, party, effects, [this, now, by, request, respond](Result<void> stored) {
      if (stored) return respond(wire::Response(wire::Done{}));
      if (stored.error().code == Code::kConflict) return serve(now, by, request, respond);
      respond(std::move(stored).error());
    });
  };
  find(now, id, make);
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::Join& request, Respond respond) {
  decide(
      now, party::PartyId(request.party),
      [now, by, request](party::ServerParty& party, party::Effects& effects) -> Result<wire::Response> {
        LR_ASSIGN(auto answer, party.join(now.wall, by, {party::InviteToken(request.token), request.name}, effects));
        return wire::Response(wire::Admission{answer.ipv4, std::move(answer.envelope)});
      },
      std::move(respond));
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::PutRecord& request, Respond respond) {
  decide(
      now, party::PartyId(request.party),
      [by, request](party::ServerParty& party, party::Effects& effects) -> Result<wire::Response> {
        LR_TRY(party.put_record(by, request.record, effects));
        return wire::Response(wire::Done{});
      },
      std::move(respond));
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::AddInvite& request, Respond respond) {
  const party::InviteRequest invite{request.token_hash, request.envelope, request.uses,
                                    now.wall + std::chrono::seconds{request.lifetime_s}};
  decide(
      now, party::PartyId(request.party),
      [now, by, invite](party::ServerParty& party, party::Effects& effects) -> Result<wire::Response> {
        LR_ASSIGN(const party::InviteRow row, party.add_invite(now.wall, by, invite, effects));
        return wire::Response(info_of(row));
      },
      std::move(respond));
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::ListInvites& request, Respond respond) {
  decide(
      now, party::PartyId(request.party),
      [now, by](party::ServerParty& party, party::Effects&) -> Result<wire::Response> {
        LR_ASSIGN(const auto rows, party.list_invites(now.wall, by));
        wire::InviteList list;
        for (const party::InviteRow& row : rows) list.invites.push_back(info_of(row));
        return wire::Response(std::move(list));
      },
      std::move(respond));
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::RevokeInvite& request, Respond respond) {
  const auto id = party::InviteId::parse(request.id);
  if (!id)
    return respond(
        Error{Code::kNotFound, "there is no such invite", "`lanrage invite --list` shows those that are valid"});
  decide(
      now, party::PartyId(request.party),
      [by, id](party::ServerParty& party, party::Effects& effects) -> Result<wire::Response> {
        LR_TRY(party.revoke_invite(by, *id, effects));
        return wire::Response(wire::Done{});
      },
      std::move(respond));
}

void Service::serve(Now now, const crypto::PublicKey& by, const wire::PutStatements& request, Respond respond) {
  party::StatementsRequest statements{request.statements, request.bundle, {}, request.seen};
  for (const wire::InviteEnvelope& invite : request.invites) {
    const auto id = party::InviteId::parse(invite.id);
    if (!id) return respond(Error{Code::kInvalid, "an invite's id is malformed", {}});
    statements.invites.push_back({*id, invite.envelope});
  }
  decide(
      now, party::PartyId(request.party),
      [by, statements](party::ServerParty& party, party::Effects& effects) -> Result<wire::Response> {
        LR_TRY(party.put_statements(by, statements, effects));
        return wire::Response(wire::Done{});
      },
      std::move(respond));
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
  open_stream(now, by, follow, stream, opened, 1);
}

void Service::open_stream(Now now, const crypto::PublicKey& by, const wire::Follow& follow, const Stream& stream,
                          const std::function<void(Result<StreamId>)>& opened, int attempt) {
  const party::PartyId id(follow.party);
  const auto begin = [this, now, by, follow, stream, opened, attempt, id](Result<PartyPtr> party) {
    if (!party) return opened(std::move(party).error());
    if (streams_.size() >= kStreamsMax) return opened(limited());
    settle(id, *party, [this, now, by, follow, stream, opened, attempt, id, party = *party](Result<void> settled) {
      if (!settled && (settled.error().code != Code::kConflict || attempt >= kDecisionsMax))
        return opened(std::move(settled).error());
      const auto cached = parties_.find(id);
      const bool is_current = settled && cached != parties_.end() && cached->second == party;
      // A snapshot of now could show what may still not happen.
      if (!is_current || party->pending > 0)
        return open_stream(now, by, follow, stream, opened, attempt + (is_current ? 0 : 1));
      begin_stream(now, by, follow, party, stream, opened);
    });
  };
  find(now, id, begin);
}

void Service::begin_stream(Now now, const crypto::PublicKey& by, const wire::Follow& follow, const PartyPtr& party,
                           const Stream& stream, const std::function<void(Result<StreamId>)>& opened) {
  const party::PartyId id = party->state.id();
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
  std::vector<StreamId> own;
  if (const auto open = streams_of_.find(id); open != streams_of_.end()) {
    std::copy_if(open->second.ids.begin(), open->second.ids.end(), std::back_inserter(own),
                 [&](StreamId s) { return streams_.at(s).by == by; });
  }
  if (own.size() >= kStreamsPerKeyMax)
    close_stream(own.front(), {Code::kConflict, "this device follows the party by newer streams", {}});
  used_.insert(id);
  if (own.empty() && !is_elsewhere(id, by)) tell(id, wire::Presence{by, true});
  streams_[stream_id] = {by, id, stream, now.time + kGrantRenewal};
  const auto [open, is_first] = streams_of_.try_emplace(id);
  open->second.ids.push_back(stream_id);
  if (is_first) {
    open->second.turn = ++last_turn_;
    open->second.told = party->state.version();
    if (options_.bus != nullptr) options_.bus->subscribe(id);
    say_here(id, true);
  } else if (own.empty()) {
    say(id, wire::PresenceNews{follow.party, {by, true}});
  }
  const Stream& placed = streams_[stream_id].stream;
  placed.send(wire::Online{online(id)});
  placed.send(named_relays(id));
  if (!known_addresses_.empty()) placed.send(named_servers());
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
  const auto open = streams_of_.find(id);
  std::erase(open->second.ids, stream_id);
  if (!is_here(id, by)) {
    if (!is_elsewhere(id, by)) tell(id, wire::Presence{by, false});
    say(id, wire::PresenceNews{wire_id(id), {by, false}});
  }
  if (!open->second.ids.empty()) return;
  streams_of_.erase(open);
  unread_.erase(id);
  if (options_.bus != nullptr) options_.bus->unsubscribe(id);
  for (auto& [server, other] : others_) other.members.erase(id);
}

void Service::handle_signal(Now now, StreamId from, const wire::Signal& signal) {
  auto sender = streams_.find(from);
  if (sender == streams_.end() || party::PartyId(signal.party) != sender->second.party) return;
  if (!take(now, "signal " + sender->second.by.base64(), kSignalsPerKey)) return;
  ++stats_.signals;
  const party::PartyId id = sender->second.party;
  const crypto::PublicKey by = sender->second.by;
  deliver(id, by, signal);
  // Not only where we know it to be: what others said of it may be on its way.
  if (is_elsewhere(id, signal.to) || (!is_here(id, signal.to) && !others_.empty()))
    say(id, wire::SignalNews{by, signal});
}

void Service::deliver(const party::PartyId& id, const crypto::PublicKey& from, const wire::Signal& signal) {
  const auto open = streams_of_.find(id);
  if (open == streams_of_.end()) return;
  const wire::Signalled event{from, signal.sealed};
  for (StreamId stream_id : open->second.ids) {
    const OpenStream& stream = streams_.at(stream_id);
    if (stream.by == signal.to) stream.stream.send(event);
  }
}

void Service::tell(const party::PartyId& id, const wire::Event& event, const crypto::PublicKey* except) {
  auto open = streams_of_.find(id);
  if (open == streams_of_.end()) return;
  for (StreamId stream_id : open->second.ids) {
    const OpenStream& stream = streams_.at(stream_id);
    if (except == nullptr || stream.by != *except) stream.stream.send(event);
  }
}

std::vector<crypto::PublicKey> Service::online(const party::PartyId& id) const {
  std::set<crypto::PublicKey> out;
  if (const auto open = streams_of_.find(id); open != streams_of_.end())
    for (StreamId stream_id : open->second.ids) out.insert(streams_.at(stream_id).by);
  for (const auto& [server, other] : others_)
    if (const auto members = other.members.find(id); members != other.members.end())
      out.insert(members->second.begin(), members->second.end());
  return {out.begin(), out.end()};
}

bool Service::is_here(const party::PartyId& id, const crypto::PublicKey& member) const {
  const auto open = streams_of_.find(id);
  return open != streams_of_.end() && std::any_of(open->second.ids.begin(), open->second.ids.end(),
                                                  [&](StreamId s) { return streams_.at(s).by == member; });
}

bool Service::is_elsewhere(const party::PartyId& id, const crypto::PublicKey& member) const {
  return std::any_of(others_.begin(), others_.end(), [&](const auto& entry) {
    const auto members = entry.second.members.find(id);
    return members != entry.second.members.end() && members->second.contains(member);
  });
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

wire::Relays Service::own_relays() const {
  wire::Relays out{options_.relays, options_.stun, 0};
  for (wire::RelayInfo& relay : options_.others.named()) out.relays.push_back(std::move(relay));
  return out;
}

wire::Relays Service::named_relays(const party::PartyId& id) const {
  wire::Relays out = own_relays();
  // All servers must say the same of a party, and do not count together.
  out.turn = options_.bus == nullptr ? streams_of_.at(id).turn : load_be<std::uint32_t>(id.bytes().data()) | 1u;
  for (const auto& [server, other] : others_) {
    for (const wire::RelayInfo& relay : other.said.relays.relays) {
      const bool is_known = std::any_of(out.relays.begin(), out.relays.end(),
                                        [&](const wire::RelayInfo& known) { return known.key == relay.key; });
      if (!is_known && out.relays.size() < wire::kRelaysMax) out.relays.push_back(relay);
    }
    for (const Endpoint& stun : other.said.relays.stun) {
      const bool is_known = std::find(out.stun.begin(), out.stun.end(), stun) != out.stun.end();
      if (!is_known && out.stun.size() < wire::kRelayAddressesMax) out.stun.push_back(stun);
    }
  }
  return out;
}

wire::RelaysHealth Service::own_relays_health() const {
  wire::RelaysHealth out{options_.others.health()};
  if (own_health_) out.relays.push_back(*own_health_);
  return out;
}

void Service::tell_relays() {
  for (const auto& [id, stream] : streams_) stream.stream.send(named_relays(stream.party));
}

void Service::tell_health(Now now) {
  if (now.time < next_health_) return;
  std::vector<wire::RelayHealth> health = own_relays_health().relays;
  for (const auto& [server, other] : others_)
    for (const wire::RelayHealth& relay : other.said.health.relays)
      if (health.size() < wire::kRelaysMax &&
          std::ranges::find(health, relay.key, &wire::RelayHealth::key) == health.end())
        health.push_back(relay);
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
  LR_TRY(keep_relays(std::move(changed)));
  audit_.info("relay allowed", {{"relay", key.base64()}});
  return {};
}

Result<void> Service::remove_relay(const crypto::PublicKey& key) {
  RelayDirectory changed = options_.others;
  LR_TRY(changed.remove(key));
  LR_TRY(keep_relays(std::move(changed)));
  audit_.info("relay removed", {{"relay", key.base64()}});
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
  read_unread(now);
  if (options_.bus != nullptr) keep_in_touch(now);
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
  for (const auto& [id, loading] : loading_) used_.insert(id);
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
  out.servers = others_.size();
  return out;
}

}  // namespace lanrage::control
