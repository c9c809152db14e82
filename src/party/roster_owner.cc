// What only the owner of a party does: invite, kick, rekey, hand over.
#include "base/format.h"
#include "party/roster.h"

namespace lanrage::party {

Result<void> Roster::may_speak() const {
  if (!is_owner()) return Error{Code::kRefused, "only the owner of the party may do this", "ask the owner"};
  if (!secrets_.contains(epoch()) || chain_.length() < floor_.length) {
    return Error{Code::kUnavailable, "the party's newest state is not known here yet", "try again once connected"};
  }
  return {};
}

Bytes Roster::sealed_invite(const InviteSecret& secret, const Chain& chain, const PartySecret& party_secret,
                            Rng& rng) const {
  const InviteContents contents{encoded_genesis_, chain.length(), chain.head(), chain.epoch(), party_secret};
  return contents.seal(party(), secret.wrap_key(party()), rng);
}

Result<StatementsRequest> Roster::kick(WallTime now, const crypto::PublicKey& member, Rng& rng) const {
  LR_TRY(may_speak());
  if (member == self_.public_key()) {
    return Error{Code::kInvalid, "the owner cannot be removed", "`lanrage leave`, or hand over first"};
  }
  const SignedRecord* record = known_record(member);
  if (record == nullptr) return Error{Code::kNotFound, "nobody in the party has that key", "see `lanrage peers`"};
  if (chain_.tombstoned(member)) return Error{Code::kConflict, "that member was removed already"};
  const Statement tombstone = chain_.next(Tombstone{member}, self_);
  Chain chain = chain_;
  if (const auto why = chain.append(tombstone)) return Error{Code::kExhausted, why_text(*why), "host a new party"};
  return new_epoch(now, {tombstone}, std::move(chain), record, rng);
}

Result<StatementsRequest> Roster::rekey(WallTime now, Rng& rng) const {
  LR_TRY(may_speak());
  return new_epoch(now, {}, chain_, nullptr, rng);
}

// `chain` already holds `statements`; `without` is the record of whoever was removed, whose invite ends too.
Result<StatementsRequest> Roster::new_epoch(WallTime now, std::vector<Statement> statements, Chain chain,
                                            const SignedRecord* without, Rng& rng) const {
  std::vector<EpochMember> members{{self_.public_key(), self_.verify_key()}};
  for (const auto& [key, member] : members_) {
    if (without == nullptr || key != without->record().public_key) {
      members.push_back({key, member.record.record().verify_key});
    }
  }
  const PartySecret secret = PartySecret::generate(rng);
  const std::uint32_t number = chain.epoch() + 1;
  const EpochBundle bundle = EpochBundle::seal(party(), number, secret, members, rng);
  const EpochStart start{number, bundle.members_hash(), secret.commitment(party(), number)};
  statements.push_back(chain.next(start, self_));
  if (const auto why = chain.append(statements.back())) {
    return Error{Code::kExhausted, format("a statement {}", why_text(*why)), "host a new party"};
  }
  StatementsRequest request;
  for (const Statement& statement : statements) request.statements.push_back(statement.encode());
  request.bundle = bundle.encode();
  request.seen = seen_;
  for (const auto& [id, invite] : invites_) {
    const bool is_known_to_the_removed = without != nullptr && without->record().invite == id;
    if (invite.expires <= now || is_known_to_the_removed) continue;
    request.invites.push_back({id, sealed_invite(invite.secret, chain, secret, rng)});
  }
  return request;
}

Result<StatementsRequest> Roster::handover(const crypto::PublicKey& member) const {
  LR_TRY(may_speak());
  const Member* to = find(member);
  if (to == nullptr) return Error{Code::kNotFound, "nobody in the party has that key", "see `lanrage peers`"};
  Chain chain = chain_;
  const Statement statement = chain.next(Handover{to->record.record().verify_key, member}, self_);
  if (const auto why = chain.append(statement)) return Error{Code::kExhausted, why_text(*why), "host a new party"};
  StatementsRequest request;
  request.statements.push_back(statement.encode());
  request.seen = seen_;
  return request;
}

Result<Roster::NewInvite> Roster::make_invite(WallTime now, std::uint32_t uses, WallTime expires, Rng& rng) {
  LR_TRY(may_speak());
  if (uses < 1 || uses > kInviteUsesMax) {
    return Error{Code::kInvalid, format("an invite has 1 to {} uses", kInviteUsesMax)};
  }
  if (expires <= now) return Error{Code::kInvalid, "the invite would expire at once"};
  if (expires > now + kInviteLifetimeMax) return Error{Code::kInvalid, "an invite lives for a year at most"};
  if (server_.addresses.empty()) return Error{Code::kUnavailable, "no address of the server is known to invite to"};
  std::erase_if(invites_, [&](const auto& entry) { return entry.second.expires <= now; });
  if (invites_.size() >= kInvitesKeptMax) {
    return Error{Code::kExhausted, format("the party has {} invites", invites_.size()), "revoke one first"};
  }
  const Invite invite{server_, party(), InviteSecret::generate(rng)};
  NewInvite out{invite, invite.secret.id(party()), {}};
  out.request.token_hash = invite.secret.token_hash(party());
  out.request.envelope = sealed_invite(invite.secret, chain_, secrets_.at(epoch()), rng);
  out.request.uses = uses;
  out.request.expires = expires;
  invites_.insert_or_assign(out.id, OwnInvite{invite.secret, expires});
  return out;
}

}  // namespace lanrage::party
