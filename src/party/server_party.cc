#include "party/server_party.h"

#include <algorithm>

#include "base/format.h"
#include "party/ipam.h"
#include "party/name.h"

namespace lanrage::party {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

bool is_present(const MemberRow& row) {
  return row.state == MemberState::kPending || row.state == MemberState::kJoined;
}
bool admits(const InviteRow& row) { return row.state == InviteState::kLive && row.uses_left > 0; }

Error not_a_member() { return {Code::kRefused, "this device is not in the party", "join it by an invite"}; }
Error not_the_owner() { return {Code::kRefused, "only the owner of the party may do this", "ask the owner"}; }
Error kicked() {
  return {Code::kRefused, "the owner removed this device from the party", "a removed device cannot come back"};
}
Error damaged(const char* what) { return {Code::kFailed, format("the stored party is damaged: {}", what)}; }

// Whether a route of one claims what the other has.
bool claims_overlap(const MemberRecord& a, const MemberRecord& b) {
  const auto covers = [](const MemberRecord& x, const MemberRecord& y) {
    return std::any_of(x.routes.begin(), x.routes.end(), [&](const IpPrefix& route) {
      return route.contains(y.ipv4) || route.contains(y.ipv6()) ||
             std::any_of(y.routes.begin(), y.routes.end(),
                         [&](const IpPrefix& other) { return route.overlaps(other); });
    });
  };
  return a.ipv4 == b.ipv4 || covers(a, b) || covers(b, a);
}

}  // namespace

void apply_change(PartyData& data, const Change& change) {
  std::visit(Overloaded{[&](const PartyCreated& c) { data.genesis = c.genesis; },
                        [&](const VersionRaised& c) { data.version = c.version; },
                        [&](const StatementAdded& c) { data.statements.push_back(c.statement); },
                        [&](const BundleReplaced& c) { data.bundle = c.bundle; },
                        [&](const MemberPut& c) { data.members[c.row.public_key] = c.row; },
                        [&](const MemberRemoved& c) { data.members.erase(c.public_key); },
                        [&](const InvitePut& c) { data.invites[c.row.id] = c.row; },
                        [&](const InviteRemoved& c) { data.invites.erase(c.id); }},
             change);
}

// Everything that an operation does goes through here, once nothing can refuse it any more: the aggregate, the store's
// changes and the members' events say the same.
class ServerParty::Edit {
 public:
  Edit(ServerParty& party, Effects& effects) : party_(party), effects_(effects) {}

  void change(Change change) {
    apply_change(party_.data_, change);
    effects_.changes.push_back(std::move(change));
  }
  void event(PartyEventBody body) {
    change(VersionRaised{party_.data_.version + 1});
    party_.recent_.push_back({party_.data_.version, std::move(body)});
    if (party_.recent_.size() > kRecentEventsMax) party_.recent_.pop_front();
    effects_.events.push_back(party_.recent_.back());
  }
  void put(MemberRow row) { change(MemberPut{std::move(row)}); }
  void put(const InviteRow& row, bool tell) {
    change(InvitePut{row});
    if (tell) event(InviteChanged{row.id, row.expires, row.state == InviteState::kLive ? row.uses_left : 0});
  }
  void end(InviteRow row, InviteState state) {
    const bool tell = admits(row);
    row.state = state;
    row.envelope.clear();
    put(row, tell);
  }

 private:
  ServerParty& party_;
  Effects& effects_;
};

Result<ServerParty> ServerParty::create(WallTime now, const crypto::PublicKey& by, std::string_view name,
                                        ByteView genesis, Effects& effects) {
  auto parsed = Genesis::parse(genesis);
  if (!parsed) return Error{Code::kInvalid, "the party's genesis is malformed or not signed by its owner"};
  if (parsed->owner_public_key != by) return Error{Code::kRefused, "the party's genesis names another owner"};
  LR_TRY(check_name(name));
  ServerParty party(std::move(*parsed));
  Edit edit(party, effects);
  edit.change(PartyCreated{to_bytes(genesis)});
  MemberRow row;
  row.public_key = by;
  row.ipv4 = member_address(party.genesis().prefix, 1);
  row.name = name;
  row.joined = now;
  edit.put(std::move(row));
  return party;
}

Result<ServerParty> ServerParty::restore(PartyData data, const std::vector<PartyEvent>& recent) {
  auto genesis = Genesis::parse(data.genesis);
  if (!genesis) return damaged("genesis");
  ServerParty party(std::move(*genesis));
  for (const Bytes& encoded : data.statements) {
    const auto statement = Statement::parse(encoded);
    if (!statement || party.chain_.append(*statement)) return damaged("statements");
  }
  if (party.chain_.epoch() > 0) {
    const auto bundle = EpochBundle::parse(data.bundle);
    if (!bundle || bundle->members_hash() != party.chain_.members_hash()) return damaged("epoch");
  }
  std::set<IpAddress> addresses;
  for (const auto& [key, row] : data.members) {
    if (row.public_key != key || !is_member_address(party.genesis().prefix, row.ipv4)) return damaged("member");
    if (!addresses.insert(row.ipv4).second) return damaged("two members with one address");
  }
  // A row without gaps that ends at the version, or none.
  std::uint64_t number = data.version + 1;
  for (auto event = recent.rbegin(); event != recent.rend() && event->number == number - 1; ++event, --number)
    party.recent_.push_front(*event);
  party.data_ = std::move(data);
  return party;
}

Result<IpAddress> ServerParty::free_address() const {
  const IpPrefix& prefix = genesis().prefix;
  std::set<IpAddress> taken;
  for (const auto& [key, row] : data_.members) taken.insert(row.ipv4);
  for (std::uint32_t number = 1;; ++number) {
    const IpAddress address = IpAddress::v4(prefix.address.v4_value() + number);
    if (!is_member_address(prefix, address)) break;
    if (!taken.contains(address)) return address;
  }
  return Error{Code::kExhausted, "the party has no address left", "host a new party"};
}

bool ServerParty::name_taken(std::string_view name, const crypto::PublicKey& by) const {
  const std::string folded = fold_name(name);
  return std::any_of(data_.members.begin(), data_.members.end(), [&](const auto& entry) {
    return entry.first != by && is_present(entry.second) && fold_name(entry.second.name) == folded;
  });
}

Result<const InviteRow*> ServerParty::usable_invite(WallTime now, const InviteToken& token) const {
  const crypto::Hash hash = crypto::sha256({token.bytes()});
  const auto it = data_.invites.find(invite_id(hash));
  if (it == data_.invites.end() || !crypto::secure_equal(it->second.token_hash, hash)) {
    return Error{Code::kNotFound, "this server does not know the invite", "ask for a new one"};
  }
  const InviteRow& row = it->second;
  if (row.state == InviteState::kRevoked) {
    return Error{Code::kRefused, "the invite was revoked", "ask for a new one"};
  }
  if (row.state == InviteState::kExpired || row.expires <= now) {
    return Error{Code::kExpired, "the invite has expired", "ask for a new one"};
  }
  return &row;
}

Result<JoinAnswer> ServerParty::join(WallTime now, const crypto::PublicKey& by, const JoinRequest& request,
                                     Effects& effects) {
  LR_TRY(check_name(request.name));
  if (chain_.tombstoned(by)) return kicked();
  LR_ASSIGN(const InviteRow* const found, usable_invite(now, request.token));
  InviteRow invite = *found;
  const auto it = data_.members.find(by);
  const bool known = it != data_.members.end();
  const bool present = known && is_present(it->second);
  const bool repeated = present && it->second.invite == invite.id;
  if (!repeated && invite.uses_left == 0) {
    return Error{Code::kExhausted, "the invite has been used up", "ask for a new one"};
  }
  if (repeated && it->second.state == MemberState::kJoined) return JoinAnswer{it->second.ipv4, invite.envelope};
  const auto count = std::count_if(data_.members.begin(), data_.members.end(),
                                   [](const auto& entry) { return is_present(entry.second); });
  if (!present && static_cast<std::size_t>(count) >= members_max(genesis().prefix)) {
    return Error{Code::kExhausted, format("the party is full ({} members)", count), "somebody has to leave first"};
  }
  if (name_taken(request.name, by)) {
    return Error{Code::kConflict, "somebody in the party has that name", "choose another with --as NAME"};
  }
  MemberRow row;
  if (known) {
    row = it->second;
  } else {
    row.public_key = by;
    LR_ASSIGN(row.ipv4, free_address());
  }
  JoinAnswer answer{row.ipv4, invite.envelope};

  Edit edit(*this, effects);
  if (!present) {
    row.state = MemberState::kPending;
    row.joined = now;
  }
  if (row.state == MemberState::kPending) row.name = request.name;
  row.invite = invite.id;
  edit.put(std::move(row));
  if (!repeated) {
    if (invite.uses < kInviteUsesMax) --invite.uses_left;
    edit.put(invite, true);
  }
  return answer;
}

Result<void> ServerParty::judge_claims(const MemberRow& row, const MemberRecord& record) const {
  if (record.ipv4 != row.ipv4) return Error{Code::kConflict, "the record names an address that was not given"};
  if (record.left) return {};
  if (name_taken(record.name, row.public_key)) {
    return Error{Code::kConflict, "somebody in the party has that name", "choose another with --as NAME"};
  }
  for (const auto& [key, other] : data_.members) {
    if (key == row.public_key || other.record.empty()) continue;
    const auto theirs = SignedRecord::parse(other.record);
    if (!theirs) continue;
    if (theirs->record().verify_key == record.verify_key) {
      return Error{Code::kRefused, "the record names another member's signing key"};
    }
    if (claims_overlap(record, theirs->record())) {
      return Error{Code::kConflict, "the record names an address that another member has"};
    }
  }
  return {};
}

Result<void> ServerParty::judge_record(const MemberRow& row, const SignedRecord& record) const {
  const MemberRecord& r = record.record();
  if (const auto why = r.check(genesis())) return Error{Code::kRefused, format("the record {}", why_text(*why))};
  if (r.public_key != row.public_key) return Error{Code::kRefused, "the record is another device's"};
  if (row.verify_key && *row.verify_key != r.verify_key) {
    return Error{Code::kRefused, "the record names another signing key than before"};
  }
  if (!record.signature_valid()) return Error{Code::kRefused, "the record's signature is not valid"};
  if (r.version <= row.record_version) {
    return Error{Code::kConflict, format("version {} of the record is known", row.record_version), "make a newer one"};
  }
  if (!r.left && r.epoch != epoch()) {
    return Error{Code::kConflict, format("the party is in epoch {}", epoch()), "join again by the same invite"};
  }
  return judge_claims(row, r);
}

Result<void> ServerParty::put_record(const crypto::PublicKey& by, ByteView record, Effects& effects) {
  if (chain_.tombstoned(by)) return kicked();
  const auto it = data_.members.find(by);
  if (it == data_.members.end()) return not_a_member();
  MemberRow row = it->second;
  if (std::equal(record.begin(), record.end(), row.record.begin(), row.record.end()) && !row.record.empty()) return {};
  if (!is_present(row)) return not_a_member();
  const auto parsed = SignedRecord::parse(record);
  if (!parsed) return Error{Code::kInvalid, "the record is malformed"};
  LR_TRY(judge_record(row, *parsed));

  const MemberRecord& r = parsed->record();
  Edit edit(*this, effects);
  edit.event(RecordPut{parsed->encoded()});
  if (row.state == MemberState::kPending) row.since = data_.version;
  row.state = r.left ? MemberState::kLeft : MemberState::kJoined;
  row.verify_key = r.verify_key;
  row.name = r.name;
  row.record_version = r.version;
  row.record = parsed->encoded();
  edit.put(std::move(row));
  return {};
}

Result<InviteRow> ServerParty::add_invite(WallTime now, const crypto::PublicKey& by, const InviteRequest& request,
                                          Effects& effects) {
  if (by != owner()) return not_the_owner();
  if (request.uses < 1 || request.uses > kInviteUsesMax) {
    return Error{Code::kInvalid, format("an invite has 1 to {} uses", kInviteUsesMax)};
  }
  if (request.expires <= now) return Error{Code::kInvalid, "the invite would expire at once"};
  if (request.expires > now + kInviteLifetimeMax) return Error{Code::kInvalid, "an invite lives for a year at most"};
  if (request.envelope.empty() || request.envelope.size() > kInviteEnvelopeBytesMax) {
    return Error{Code::kInvalid, "the invite's envelope is empty or too large"};
  }
  const InviteId id = invite_id(request.token_hash);
  if (const auto it = data_.invites.find(id); it != data_.invites.end()) {
    if (it->second.token_hash == request.token_hash) return it->second;
    return Error{Code::kConflict, "another invite has this id", "make a new one"};
  }
  const auto live =
      std::count_if(data_.invites.begin(), data_.invites.end(), [](const auto& entry) { return admits(entry.second); });
  if (static_cast<std::size_t>(live) >= kInvitesMax) {
    return Error{Code::kExhausted, format("the party has {} invites", live), "revoke one first"};
  }
  Edit edit(*this, effects);
  if (data_.invites.size() >= kInvitesKeptMax) {
    const auto oldest = std::min_element(data_.invites.begin(), data_.invites.end(), [](const auto& a, const auto& b) {
      return std::pair(admits(a.second), a.second.created) < std::pair(admits(b.second), b.second.created);
    });
    edit.change(InviteRemoved{oldest->first});
  }
  const InviteRow row{id,  request.token_hash, InviteState::kLive, request.uses, request.uses,
                      now, request.expires,    request.envelope};
  edit.put(row, true);
  return row;
}

Result<std::vector<InviteRow>> ServerParty::list_invites(WallTime now, const crypto::PublicKey& by) const {
  if (by != owner()) return not_the_owner();
  std::vector<InviteRow> out;
  for (const auto& [id, row] : data_.invites) {
    if (admits(row) && row.expires > now) out.push_back(row);
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const InviteRow& a, const InviteRow& b) { return a.created < b.created; });
  return out;
}

Result<void> ServerParty::revoke_invite(const crypto::PublicKey& by, const InviteId& id, Effects& effects) {
  if (by != owner()) return not_the_owner();
  const auto it = data_.invites.find(id);
  if (it == data_.invites.end()) {
    return Error{Code::kNotFound, format("there is no invite {}", id.text()), "see `lanrage invite --list`"};
  }
  if (it->second.state == InviteState::kLive) Edit(*this, effects).end(it->second, InviteState::kRevoked);
  return {};
}

Result<EpochBundle> ServerParty::judge_bundle(const StatementsRequest& request, const Chain& chain) const {
  auto bundle = EpochBundle::parse(request.bundle);
  if (!bundle || bundle->party != id() || bundle->epoch != chain.epoch()) {
    return Error{Code::kInvalid, "the new epoch comes without its bundle"};
  }
  if (bundle->members_hash() != chain.members_hash()) {
    return Error{Code::kRefused, "the bundle is not the one that the owner signed"};
  }
  // Whoever joined after the owner last looked would be shut out by accident.
  for (const auto& [key, row] : data_.members) {
    if (row.state == MemberState::kJoined && row.since > request.seen) {
      return Error{Code::kConflict, "somebody joined the party meanwhile", "try again"};
    }
  }
  return std::move(*bundle);
}

Result<void> ServerParty::put_statements(const crypto::PublicKey& by, const StatementsRequest& request,
                                         Effects& effects) {
  const auto it = data_.members.find(by);
  if (by != owner() && (it == data_.members.end() || !is_present(it->second))) return not_a_member();
  Chain chain = chain_;
  std::vector<Statement> fresh;
  for (const Bytes& encoded : request.statements) {
    auto statement = Statement::parse(encoded);
    if (!statement) return Error{Code::kInvalid, "a statement is malformed"};
    if (chain.contains(*statement)) continue;
    if (const auto why = chain.append(*statement)) {
      const bool moved_on = *why == Why::kGap || *why == Why::kOutOfChain;
      return Error{moved_on ? Code::kConflict : Code::kRefused, format("a statement {}", why_text(*why)),
                   moved_on ? "try again with the party's newest state" : ""};
    }
    fresh.push_back(std::move(*statement));
  }
  if (fresh.empty()) return {};
  std::optional<EpochBundle> bundle;
  if (chain.epoch() != chain_.epoch()) {
    LR_ASSIGN(bundle, judge_bundle(request, chain));
  }

  chain_ = std::move(chain);
  Edit edit(*this, effects);
  if (bundle) edit.change(BundleReplaced{request.bundle});
  for (const Statement& statement : fresh) {
    const auto* start = std::get_if<EpochStart>(&statement.body);
    const bool current = start != nullptr && start->number == chain_.epoch();
    edit.change(StatementAdded{statement.sequence, statement.encode()});
    edit.event(StatementPut{statement.encode(), current ? request.bundle : Bytes()});
  }
  end_memberships(bundle, edit);
  if (bundle) renew_invites(request.invites, edit);
  return {};
}

// The owner's word on who is no longer in the party, and the invites that those people hold.
void ServerParty::end_memberships(const std::optional<EpochBundle>& bundle, Edit& edit) {
  std::vector<MemberRow> ended;
  for (const auto& [key, row] : data_.members) {
    if (chain_.tombstoned(key)) {
      if (row.state != MemberState::kKicked) ended.push_back(row);
    } else if (bundle && row.state == MemberState::kJoined && !bundle->lists(member_tag(key, *row.verify_key))) {
      ended.push_back(row);
    }
  }
  for (MemberRow& row : ended) {
    const bool is_kicked = chain_.tombstoned(row.public_key);
    row.state = is_kicked ? MemberState::kKicked : MemberState::kLeft;
    row.record.clear();
    const auto invite = data_.invites.find(row.invite);
    if (is_kicked && invite != data_.invites.end() && invite->second.state == InviteState::kLive) {
      edit.end(invite->second, InviteState::kRevoked);
    }
    edit.put(std::move(row));
  }
}

void ServerParty::renew_invites(const std::vector<RewrappedInvite>& rewrapped, Edit& edit) {
  std::vector<InviteRow> live;
  for (const auto& [id, row] : data_.invites) {
    if (row.state == InviteState::kLive) live.push_back(row);
  }
  for (InviteRow& row : live) {
    const auto it = std::find_if(rewrapped.begin(), rewrapped.end(),
                                 [&](const RewrappedInvite& renewed) { return renewed.id == row.id; });
    if (it == rewrapped.end() || it->envelope.empty() || it->envelope.size() > kInviteEnvelopeBytesMax) {
      edit.end(std::move(row), InviteState::kRevoked);
    } else {
      row.envelope = it->envelope;
      edit.put(row, false);
    }
  }
}

void ServerParty::expire(WallTime now, Effects& effects) {
  Edit edit(*this, effects);
  std::vector<InviteRow> invites;
  for (const auto& [id, row] : data_.invites) {
    if (row.expires <= now) invites.push_back(row);
  }
  for (InviteRow& row : invites) {
    if (row.expires + kOverInviteLifetime <= now) {
      edit.change(InviteRemoved{row.id});
    } else if (row.state == InviteState::kLive) {
      edit.end(std::move(row), InviteState::kExpired);
    }
  }
  std::vector<MemberRow> pending;
  for (const auto& [key, row] : data_.members) {
    const bool over = row.state == MemberState::kPending && row.joined + kPendingLifetime <= now;
    if (over && key != owner()) pending.push_back(row);
  }
  for (MemberRow& row : pending) {
    if (row.record_version == 0) {
      edit.change(MemberRemoved{row.public_key});
    } else {
      row.state = MemberState::kLeft;
      edit.put(std::move(row));
    }
  }
}

std::optional<WallTime> ServerParty::next_expiry() const {
  std::optional<WallTime> next;
  const auto consider = [&](WallTime at) { next = next ? std::min(*next, at) : at; };
  for (const auto& [id, row] : data_.invites) {
    consider(row.state == InviteState::kLive ? row.expires : row.expires + kOverInviteLifetime);
  }
  for (const auto& [key, row] : data_.members) {
    if (row.state == MemberState::kPending && key != owner()) consider(row.joined + kPendingLifetime);
  }
  return next;
}

Standing ServerParty::standing(const crypto::PublicKey& key) const {
  if (chain_.tombstoned(key)) return Standing::kKicked;
  const auto it = data_.members.find(key);
  if (it == data_.members.end()) return Standing::kStranger;
  switch (it->second.state) {
    case MemberState::kPending:
      return Standing::kPending;
    case MemberState::kJoined:
      return Standing::kJoined;
    case MemberState::kLeft:
      return Standing::kLeft;
    case MemberState::kKicked:
      return Standing::kKicked;
  }
  return Standing::kStranger;
}

std::size_t ServerParty::joined_count() const {
  return static_cast<std::size_t>(std::count_if(data_.members.begin(), data_.members.end(), [](const auto& entry) {
    return entry.second.state == MemberState::kJoined;
  }));
}

PartySnapshot ServerParty::snapshot() const {
  PartySnapshot out{data_.version, data_.genesis, data_.statements, data_.bundle, {}};
  for (const auto& [key, row] : data_.members) {
    if (!row.record.empty()) out.records.push_back(row.record);
  }
  return out;
}

PartySnapshot ServerParty::removal_of(const crypto::PublicKey& key) const {
  PartySnapshot out{data_.version, data_.genesis, {}, {}, {}};
  for (const Statement& statement : chain_.statements()) {
    out.statements.push_back(statement.encode());
    const auto* tombstone = std::get_if<Tombstone>(&statement.body);
    if (tombstone != nullptr && tombstone->public_key == key) break;
  }
  return out;
}

std::optional<std::vector<PartyEvent>> ServerParty::events_since(std::uint64_t version) const {
  if (version > data_.version) return std::nullopt;
  if (version == data_.version) return std::vector<PartyEvent>();
  if (recent_.empty() || recent_.front().number > version + 1) return std::nullopt;
  return std::vector<PartyEvent>(recent_.begin() + static_cast<std::ptrdiff_t>(version + 1 - recent_.front().number),
                                 recent_.end());
}

}  // namespace lanrage::party
