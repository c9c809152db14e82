#include "party/roster.h"

#include <utility>

#include "base/format.h"
#include "party/ipam.h"
#include "party/name.h"

namespace lanrage::party {
namespace {

Result<SelfSettings> checked(const SelfSettings& settings) {
  LR_TRY(check_name(settings.name));
  if (!is_valid_hostname(settings.hostname)) return Error{Code::kInvalid, "the host name holds other characters"};
  if (settings.routes.size() > kRoutesMax) return Error{Code::kExhausted, format("more than {} routes", kRoutesMax)};
  SelfSettings out = settings;
  for (IpPrefix& route : out.routes) route = route.network();
  std::sort(out.routes.begin(), out.routes.end());
  out.routes.erase(std::unique(out.routes.begin(), out.routes.end()), out.routes.end());
  return out;
}

std::string record_of(const MemberRecord& record) { return format("record of {}", record.ipv4.text()); }

bool claims(const MemberRecord& record, const MemberRecord& other) {
  return std::any_of(record.routes.begin(), record.routes.end(), [&](const IpPrefix& route) {
    return route.contains(other.ipv4) || route.contains(other.ipv6()) ||
           std::any_of(other.routes.begin(), other.routes.end(), [&](const IpPrefix& o) { return route.overlaps(o); });
  });
}

}  // namespace

Roster::Roster(Identity self, Genesis genesis, Bytes encoded_genesis)
    : self_(std::move(self)), encoded_genesis_(std::move(encoded_genesis)), chain_(std::move(genesis)) {}

// --- becoming a member ----------------------------------------------------------------------------------------------

Result<Roster> Roster::create(const Identity& self, std::string_view party_name, const IpPrefix& prefix,
                              const SelfSettings& settings, const ServerInfo& server, Rng& rng) {
  LR_TRY(check_party_name(party_name));
  LR_ASSIGN(const SelfSettings mine, checked(settings));
  if (!is_party_prefix(prefix)) {
    return Error{Code::kInvalid, format("{} is no party's network", prefix.text()), "use a /24 inside 10.66.0.0/16"};
  }
  const PartySecret secret = PartySecret::generate(rng);
  Genesis genesis;
  genesis.owner_verify_key = self.verify_key();
  genesis.owner_public_key = self.public_key();
  genesis.nonce = rng.array<16>();
  genesis.prefix = prefix;
  genesis.name = party_name;
  genesis.commitment = secret.commitment(genesis.id(), 0);
  Roster roster(self, genesis, genesis.sign(self));
  roster.server_ = server;
  roster.hold_secret(0, secret);
  MemberRecord own;
  own.ipv4 = member_address(prefix, 1);
  roster.own_ = SignedRecord::unsigned_draft(own);
  roster.make_own_record(mine, false, 0);
  return roster;
}

Result<InviteContents> Roster::open_envelope(const InviteSecret& secret, ByteView envelope) const {
  auto contents = InviteContents::open(party(), secret.wrap_key(party()), envelope);
  if (!contents || contents->genesis != encoded_genesis_) {
    return Error{Code::kRefused, "the server's answer does not belong to this invite", "ask for a new invite"};
  }
  const auto commitment = chain_.commitment_of(contents->epoch);
  if (commitment && *commitment != contents->secret.commitment(party(), contents->epoch)) {
    return Error{Code::kRefused, "the invite's secret is not the one that the owner signed", "ask for a new invite"};
  }
  return std::move(*contents);
}

Result<Roster> Roster::join(const Identity& self, const Invite& invite, const JoinAnswer& answer,
                            const SelfSettings& settings) {
  LR_ASSIGN(const SelfSettings mine, checked(settings));
  const auto sealed = InviteContents::open(invite.party, invite.secret.wrap_key(invite.party), answer.envelope);
  auto genesis = sealed ? Genesis::parse(sealed->genesis) : std::nullopt;
  if (!genesis || genesis->id() != invite.party) {
    return Error{Code::kRefused, "the server's answer does not belong to this invite", "ask for a new invite"};
  }
  if (!is_member_address(genesis->prefix, answer.ipv4)) {
    return Error{Code::kRefused, "the server gave an address outside the party", "tell whoever runs the server"};
  }
  Roster roster(self, std::move(*genesis), sealed->genesis);
  LR_ASSIGN(const InviteContents contents, roster.open_envelope(invite.secret, answer.envelope));
  roster.server_ = invite.server;
  roster.joined_by_ = invite.secret;
  roster.floor_ = {contents.chain_length, contents.chain_head, contents.epoch};
  roster.hold_secret(contents.epoch, contents.secret);
  MemberRecord own;
  own.ipv4 = answer.ipv4;
  own.invite = invite.secret.id(invite.party);
  roster.own_ = SignedRecord::unsigned_draft(own);
  roster.make_own_record(mine, false, 0);
  return roster;
}

Result<RosterEvents> Roster::rejoin(const JoinAnswer& answer) {
  if (!joined_by_) return Error{Code::kRefused, "the invite is no longer kept", "ask for a new invite"};
  LR_ASSIGN(const InviteContents contents, open_envelope(*joined_by_, answer.envelope));
  if (answer.ipv4 != self().ipv4) {
    return Error{Code::kRefused, "the server gave another address than before", "tell whoever runs the server"};
  }
  if (contents.chain_length > floor_.length) floor_ = {contents.chain_length, contents.chain_head, contents.epoch};
  hold_secret(contents.epoch, contents.secret);
  RosterEvents events;
  settle(events);
  return events;
}

std::optional<Invite> Roster::invite() const {
  if (!joined_by_) return std::nullopt;
  return Invite{server_, party(), *joined_by_};
}

void Roster::hold_secret(std::uint32_t epoch, const PartySecret& secret) {
  secrets_.insert_or_assign(epoch, secret);
  while (secrets_.size() > kEpochsHeldMax) secrets_.erase(std::prev(secrets_.end()));
}

// --- this device's own record ---------------------------------------------------------------------------------------

SelfSettings Roster::settings() const { return {self().name, self().hostname, self().routes, self().capabilities}; }

// Signs own_ anew, with a version above all that we know of, under the newest secret.
void Roster::make_own_record(const SelfSettings& settings, bool left, std::uint64_t above) {
  MemberRecord record = own_.record();
  record.party = party();
  record.public_key = self_.public_key();
  record.verify_key = self_.verify_key();
  record.version = std::max(record.version, above) + 1;
  record.epoch = secrets_.begin()->first;
  record.capabilities = settings.capabilities;
  record.left = left;
  record.name = settings.name;
  record.hostname = settings.hostname;
  record.routes = settings.routes;
  own_ = SignedRecord::make(record, self_, secrets_.begin()->second.record_key(party()));
  published_ = false;
}

std::optional<Bytes> Roster::unpublished_record() const {
  if (published_ || removed_ || (missing_secret() && !self().left)) return std::nullopt;
  return own_.encoded();
}

void Roster::mark_published(ByteView record) {
  if (!std::equal(record.begin(), record.end(), own_.encoded().begin(), own_.encoded().end())) return;
  published_ = true;
  joined_by_.reset();
}

Result<RosterEvents> Roster::change_self(const SelfSettings& settings) {
  LR_ASSIGN(const SelfSettings mine, checked(settings));
  make_own_record(mine, self().left, 0);
  return RosterEvents{MemberChanged{self_.public_key()}};
}

Bytes Roster::make_farewell() {
  if (!self().left) make_own_record(settings(), true, 0);
  return own_.encoded();
}

// --- what arrives ---------------------------------------------------------------------------------------------------

RosterEvents Roster::apply_snapshot(const PartySnapshot& snapshot) {
  RosterEvents events;
  if (snapshot.genesis != encoded_genesis_) {
    events.push_back(Refused{Why::kWrongParty, "snapshot", std::nullopt});
    return events;
  }
  const std::uint32_t before = chain_.length();
  take_statements(snapshot.statements, events);
  take_bundle(snapshot.bundle, false, events);
  settle(events);
  if (snapshot.statements.size() < before) events.push_back(Refused{Why::kOldSnapshot, "snapshot", std::nullopt});
  take_records(snapshot.records, events);
  seen_ = snapshot.version;
  return events;
}

RosterEvents Roster::apply_record(ByteView record) {
  RosterEvents events;
  take_records({to_bytes(record)}, events);
  return events;
}

RosterEvents Roster::apply_statements(const std::vector<Bytes>& statements, ByteView bundle) {
  RosterEvents events;
  take_statements(statements, events);
  take_bundle(bundle, false, events);
  settle(events);
  return events;
}

RosterEvents Roster::apply_event(const PartyEvent& event) {
  seen_ = event.number;
  if (const auto* put = std::get_if<RecordPut>(&event.body)) return apply_record(put->record);
  if (const auto* put = std::get_if<StatementPut>(&event.body)) return apply_statements({put->statement}, put->bundle);
  return {};
}

void Roster::take_statements(const std::vector<Bytes>& statements, RosterEvents& events) {
  for (const Bytes& statement : statements) {
    if (!take_statement(statement, events)) return;
  }
}

bool Roster::take_statement(ByteView encoded, RosterEvents& events) {
  const auto statement = Statement::parse(encoded);
  if (!statement) {
    events.push_back(Refused{Why::kMalformed, "statement", std::nullopt});
    return false;
  }
  if (chain_.contains(*statement)) return true;
  if (const auto why = chain_.append(*statement)) {
    events.push_back(Refused{*why, format("statement {}", statement->sequence), std::nullopt});
    return false;
  }
  if (chain_.length() == floor_.length && chain_.head() != floor_.head) {
    events.push_back(Refused{Why::kOutOfChain, "the statements that the invite speaks of", std::nullopt});
  }
  if (const auto* tombstone = std::get_if<Tombstone>(&statement->body)) {
    if (tombstone->public_key != self_.public_key()) {
      depart(tombstone->public_key, Departure::kKicked, events);
    } else if (!removed_) {
      removed_ = Departure::kKicked;
      events.push_back(RemovedSelf{Departure::kKicked});
    }
  } else if (std::holds_alternative<EpochStart>(statement->body)) {
    bundle_.reset();
    parts_.reset();
  } else {
    if (!is_owner()) invites_.clear();
    events.push_back(OwnerChanged{owner()});
  }
  return true;
}

void Roster::take_bundle(ByteView encoded, bool in_parts, RosterEvents& events) {
  if (encoded.empty()) return;
  const auto refuse = [&](Why why, std::uint32_t epoch) {
    events.push_back(Refused{why, format("secret of epoch {}", epoch), std::nullopt});
  };
  const auto bundle = EpochBundle::parse(encoded);
  if (!bundle) return refuse(Why::kMalformed, chain_.epoch());
  if (bundle->party != party()) return refuse(Why::kWrongParty, bundle->epoch);
  if (bundle->epoch < chain_.epoch()) return;
  if (bundle->epoch > chain_.epoch() || bundle->epoch == 0) return refuse(Why::kUnknownEpoch, bundle->epoch);
  if (!secrets_.contains(bundle->epoch) && bundle->lists(self().tag())) {
    const auto secret = bundle->open(self_);
    if (!secret || secret->commitment(party(), bundle->epoch) != chain_.commitment()) {
      return refuse(Why::kForgedEpoch, bundle->epoch);
    }
    hold_secret(bundle->epoch, *secret);
  }
  take_list(*bundle, in_parts, events);
}

void Roster::take_list(const EpochBundle& bundle, bool in_parts, RosterEvents& events) {
  if (bundle.members_hash() == chain_.members_hash()) {
    bundle_ = bundle;
    parts_.reset();
  } else if (!in_parts) {
    events.push_back(Refused{Why::kForgedEpoch, format("member list of epoch {}", bundle.epoch), std::nullopt});
  } else if (!bundle_) {
    if (!parts_ || !parts_->merge(bundle)) parts_ = bundle;
    if (parts_->members_hash() == chain_.members_hash()) bundle_ = std::exchange(parts_, std::nullopt);
  }
}

// What follows from statements and secrets taken together, however they arrived.
void Roster::settle(RosterEvents& events) {
  check_secrets(events);
  apply_member_list(events);
  if (!secrets_.empty() && secrets_.begin()->first > self().epoch) {
    make_own_record(settings(), self().left, 0);
    events.push_back(EpochChanged{self().epoch});
  }
}

// An invite's secret comes before the statement that commits to it.
void Roster::check_secrets(RosterEvents& events) {
  for (auto it = secrets_.begin(); it != secrets_.end();) {
    const auto commitment = chain_.commitment_of(it->first);
    if (commitment && *commitment != it->second.commitment(party(), it->first)) {
      events.push_back(Refused{Why::kForgedEpoch, format("secret of epoch {}", it->first), std::nullopt});
      it = secrets_.erase(it);
    } else {
      ++it;
    }
  }
}

void Roster::apply_member_list(RosterEvents& events) {
  if (!bundle_) return;
  std::vector<crypto::PublicKey> excluded;
  for (const auto& [key, member] : members_) {
    const MemberRecord& record = member.record.record();
    if (record.epoch < bundle_->epoch && !bundle_->lists(record.tag())) excluded.push_back(key);
  }
  for (const crypto::PublicKey& key : excluded) depart(key, Departure::kExcluded, events);
  // Somebody who came by an invite in that moment gets the new secret by the same invite.
  if (!secrets_.contains(bundle_->epoch) && !bundle_->lists(self().tag()) && !joined_by_ && !removed_) {
    removed_ = Departure::kExcluded;
    events.push_back(RemovedSelf{Departure::kExcluded});
  }
}

void Roster::depart(const crypto::PublicKey& key, Departure how, RosterEvents& events) {
  const auto it = members_.find(key);
  if (it == members_.end()) return;
  events.push_back(MemberLeft{key, it->second.name, how});
  departed_.insert_or_assign(key, std::move(it->second.record));
  members_.erase(it);
}

void Roster::take_records(const std::vector<Bytes>& records, RosterEvents& events) {
  if (chain_.length() < floor_.length) {
    if (!records.empty()) events.push_back(Refused{Why::kOldSnapshot, "records", std::nullopt});
    return;
  }
  std::vector<const Bytes*> again;
  for (const Bytes& record : records) {
    if (!take_record(record, records.size() == 1, events)) again.push_back(&record);
  }
  for (const Bytes* record : again) take_record(*record, true, events);
}

bool Roster::take_record(ByteView encoded, bool last_try, RosterEvents& events) {
  auto record = SignedRecord::parse(encoded);
  if (!record) {
    events.push_back(Refused{Why::kMalformed, "record", std::nullopt});
    return true;
  }
  const MemberRecord& r = record->record();
  if (r.public_key == self_.public_key()) {
    take_own_record(*record, events);
    return true;
  }
  const SignedRecord* known = known_record(r.public_key);
  if (known != nullptr && known->encoded() == record->encoded()) return true;
  auto why = judge(*record);
  if (why == Why::kAddressTaken && !last_try) return false;
  // Who left before we came, under a secret that we never had, concerns nobody.
  const bool is_old_farewell = r.left && known == nullptr && (why == Why::kSuperseded || why == Why::kUnknownEpoch);
  if (is_old_farewell) return true;
  const auto dh = why ? std::nullopt : crypto::x25519(self_.private_key(), r.public_key);
  if (!why && !dh) why = Why::kMalformed;
  if (why) {
    events.push_back(Refused{*why, record_of(r), r.public_key});
  } else {
    store(std::move(*record), *dh, events);
  }
  return true;
}

void Roster::store(SignedRecord record, const crypto::SharedSecret& dh, RosterEvents& events) {
  const crypto::PublicKey key = record.record().public_key;
  if (record.record().left) {
    depart(key, Departure::kLeft, events);
    departed_.insert_or_assign(key, std::move(record));
    return;
  }
  departed_.erase(key);
  std::string name = shown_name(record.record());
  const bool is_new = members_.insert_or_assign(key, Member{std::move(record), std::move(name), dh}).second;
  events.push_back(is_new ? RosterEvent(MemberJoined{key}) : RosterEvent(MemberChanged{key}));
}

void Roster::take_own_record(const SignedRecord& record, RosterEvents& events) {
  const MemberRecord& r = record.record();
  const auto refuse = [&](Why why) { events.push_back(Refused{why, "record of this device", r.public_key}); };
  if (r.party != party()) return refuse(Why::kWrongParty);
  if (r.verify_key != self_.verify_key()) return refuse(Why::kKeyReplaced);
  if (!record.signature_valid()) return refuse(Why::kBadSignature);
  if (record.encoded() == own_.encoded()) return mark_published(record.encoded());
  if (r.version < self().version) {
    published_ = false;  // the server has an older one
  } else {
    make_own_record(settings(), self().left, r.version);  // from before our state was lost
  }
}

const SignedRecord* Roster::known_record(const crypto::PublicKey& key) const {
  if (const auto it = members_.find(key); it != members_.end()) return &it->second.record;
  if (const auto it = departed_.find(key); it != departed_.end()) return &it->second;
  return nullptr;
}

std::optional<Why> Roster::judge(const SignedRecord& record) const {
  const MemberRecord& r = record.record();
  if (const auto why = r.check(genesis())) return why;
  if (chain_.tombstoned(r.public_key)) return Why::kTombstoned;
  if (!record.signature_valid()) return Why::kBadSignature;
  if (const SignedRecord* known = known_record(r.public_key)) {
    const MemberRecord& k = known->record();
    if (k.verify_key != r.verify_key) return Why::kKeyReplaced;
    if (r.version <= k.version) return Why::kReplayed;
    if (r.ipv4 != k.ipv4) return Why::kAddressChanged;
  }
  if (const auto why = judge_epoch(record)) return why;
  return judge_pins(r);
}

// Who may speak at all: whoever knows the newest secret; and with an older one those whom the owner listed or whom we
// know.
std::optional<Why> Roster::judge_epoch(const SignedRecord& record) const {
  const MemberRecord& r = record.record();
  if (r.epoch > epoch()) return Why::kUnknownEpoch;
  const auto secret = secrets_.find(r.epoch);
  if (secret != secrets_.end() && !record.mac_valid(secret->second.record_key(party()))) return Why::kBadMac;
  if (bundle_ && bundle_->lists(r.tag())) return std::nullopt;
  if (r.epoch == epoch()) return secret == secrets_.end() ? std::optional(Why::kUnknownEpoch) : std::nullopt;
  return members_.contains(r.public_key) ? std::nullopt : std::optional(Why::kSuperseded);
}

std::optional<Why> Roster::judge_pins(const MemberRecord& r) const {
  const auto conflicts = [&](const MemberRecord& other, bool present) -> std::optional<Why> {
    if (other.public_key == r.public_key) return std::nullopt;
    if (other.verify_key == r.verify_key) return Why::kKeyReplaced;
    if (other.ipv4 == r.ipv4) return Why::kAddressTaken;
    if (present && !r.left && (claims(r, other) || claims(other, r))) return Why::kAddressTaken;
    return std::nullopt;
  };
  if (const auto why = conflicts(self(), true)) return why;
  for (const auto& [key, member] : members_) {
    if (const auto why = conflicts(member.record.record(), true)) return why;
  }
  for (const auto& [key, record] : departed_) {
    if (const auto why = conflicts(record.record(), false)) return why;
  }
  return std::nullopt;
}

// --- who is here ----------------------------------------------------------------------------------------------------

// The server keeps names apart; should it not, the later one is shown with its address.
std::string Roster::shown_name(const MemberRecord& record) const {
  const std::string folded = fold_name(record.name);
  const bool taken =
      fold_name(self().name) == folded || std::any_of(members_.begin(), members_.end(), [&](const auto& entry) {
        return entry.first != record.public_key && fold_name(entry.second.name) == folded;
      });
  return taken ? format("{} ({})", record.name, record.ipv4.text()) : record.name;
}

const Member* Roster::find(const crypto::PublicKey& key) const {
  const auto it = members_.find(key);
  return it == members_.end() ? nullptr : &it->second;
}

const Member* Roster::find(std::string_view name) const {
  const std::string folded = fold_name(name);
  for (const auto& [key, member] : members_) {
    if (fold_name(member.name) == folded) return &member;
  }
  return nullptr;
}

std::vector<PairKeys> Roster::pair_keys(const crypto::PublicKey& peer) const {
  std::vector<PairKeys> out;
  const Member* member = find(peer);
  if (member == nullptr) return out;
  for (const auto& [epoch, secret] : secrets_) {
    out.push_back(party::pair_keys(party(), epoch, secret, member->dh, self_.public_key(), peer));
  }
  return out;
}

}  // namespace lanrage::party
