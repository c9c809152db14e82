// A party as the server keeps it: who is in it and at which address, which invites live, the owner's statements, each
// member's last record. It opens no seal and makes no claim of its own; it counts, allocates, checks what can be
// checked without the party's secret (signatures, versions, owner), and numbers what happened.
//
// A plain value, driven by the control server's thread (and by the simulator): every operation either answers an
// error and changes nothing, or changes this aggregate and appends to `Effects` the changes for the store and the
// numbered events for the members. Does no I/O and knows no sessions: `by` is a key whose possession the caller has
// verified.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "party/invite.h"
#include "party/record.h"
#include "party/statement.h"

namespace lanrage::party {

inline constexpr std::size_t kInvitesMax = 64;          // that live
inline constexpr std::size_t kInvitesKeptMax = 256;     // with those that are over, kept for a clear answer
inline constexpr std::uint32_t kInviteUsesMax = 10000;  // an invite for so many is never used up
inline constexpr Duration kInviteLifetimeMax = std::chrono::hours{366 * 24};
inline constexpr std::size_t kRecentEventsMax = 256;
inline constexpr Duration kPendingLifetime = std::chrono::hours{1};       // joined and never sent a record
inline constexpr Duration kOverInviteLifetime = std::chrono::hours{168};  // how long a dead invite is remembered

// --- what the store keeps -----------------------------------------------------------------------------------------

enum class MemberState : std::uint8_t { kPending, kJoined, kLeft, kKicked };  // kPending: no record yet

struct MemberRow {
  crypto::PublicKey public_key;
  std::optional<crypto::VerifyKey> verify_key;  // pinned by the first record
  MemberState state = MemberState::kPending;
  IpAddress ipv4;    // for the party's life
  std::string name;  // reserved by the join, then the record's
  InviteId invite;   // the last one it used
  WallTime joined{};
  std::uint64_t record_version = 0;
  std::uint64_t since = 0;  // number of the event that carried its first record since it joined
  Bytes record;             // the last one, also a farewell; empty: none yet
  friend bool operator==(const MemberRow&, const MemberRow&) = default;
};

enum class InviteState : std::uint8_t { kLive, kExpired, kRevoked };

struct InviteRow {
  InviteId id;
  crypto::Hash token_hash{};
  InviteState state = InviteState::kLive;
  std::uint32_t uses = 1;
  std::uint32_t uses_left = 1;
  WallTime created{};
  WallTime expires{};
  Bytes envelope;  // empty once it is not live
  friend bool operator==(const InviteRow&, const InviteRow&) = default;
};

struct PartyData {
  Bytes genesis;
  std::uint64_t version = 0;  // number of the last event
  std::vector<Bytes> statements;
  Bytes bundle;  // of the current epoch; empty in epoch 0
  std::map<crypto::PublicKey, MemberRow> members;
  std::map<InviteId, InviteRow> invites;
  friend bool operator==(const PartyData&, const PartyData&) = default;
};

struct PartyCreated {
  Bytes genesis;
};
struct VersionRaised {
  std::uint64_t version;
};
struct StatementAdded {
  std::uint32_t sequence;  // from 1
  Bytes statement;
};
struct BundleReplaced {
  Bytes bundle;
};
struct MemberPut {
  MemberRow row;
};
struct MemberRemoved {
  crypto::PublicKey public_key;
};
struct InvitePut {
  InviteRow row;
};
struct InviteRemoved {
  InviteId id;
};
using Change = std::variant<PartyCreated, VersionRaised, StatementAdded, BundleReplaced, MemberPut, MemberRemoved,
                            InvitePut, InviteRemoved>;

// What a change does to the data: the whole meaning of the list above, for stores and their tests.
void apply_change(PartyData& data, const Change& change);

// --- what members are told ------------------------------------------------------------------------------------------

// Every number is one above the last, and every member is told every event.
struct RecordPut {
  Bytes record;  // a farewell too
  friend bool operator==(const RecordPut&, const RecordPut&) = default;
};
struct StatementPut {
  Bytes statement;
  Bytes bundle;  // where it begins the current epoch; else empty
  friend bool operator==(const StatementPut&, const StatementPut&) = default;
};
struct InviteChanged {  // added, used, revoked or expired
  InviteId id;
  WallTime expires{};
  std::uint32_t uses_left = 0;  // 0: nobody joins by it any more
  friend bool operator==(const InviteChanged&, const InviteChanged&) = default;
};
using PartyEventBody = std::variant<RecordPut, StatementPut, InviteChanged>;
struct PartyEvent {
  std::uint64_t number = 0;
  PartyEventBody body;
};

struct Effects {
  std::vector<Change> changes;
  std::vector<PartyEvent> events;
};

// --- requests and answers -------------------------------------------------------------------------------------------

struct JoinRequest {
  InviteToken token;
  std::string name;
};
struct JoinAnswer {
  IpAddress ipv4;
  Bytes envelope;  // InviteContents, sealed under the invite's wrap key
};
struct InviteRequest {
  crypto::Hash token_hash{};
  Bytes envelope;
  std::uint32_t uses = 1;
  WallTime expires{};
};
struct RewrappedInvite {
  InviteId id;
  Bytes envelope;
};
// Statements with what belongs to them, made by Roster::kick, rekey and handover.
struct StatementsRequest {
  std::vector<Bytes> statements;
  Bytes bundle;                          // of the last epoch that the statements begin; empty: none begins
  std::vector<RewrappedInvite> invites;  // every live invite that is not here dies with the old epoch
  std::uint64_t seen = 0;                // the party's version that the owner had seen: nobody may have joined since
};
struct PartySnapshot {
  std::uint64_t version = 0;
  Bytes genesis;
  std::vector<Bytes> statements;
  Bytes bundle;
  std::vector<Bytes> records;  // of all who were ever in it: the last of those who left is their farewell
};

// How a device stands to a party, for access to its snapshot and events.
enum class Standing : std::uint8_t { kStranger, kPending, kJoined, kLeft, kKicked };

class ServerParty {
 public:
  // `by` must be the X25519 key in the genesis. The maker gets the first address; its record follows.
  static Result<ServerParty> create(WallTime now, const crypto::PublicKey& by, std::string_view name, ByteView genesis,
                                    Effects& effects);
  // What a store held, and of its last events those that it kept. kFailed when it cannot be: the caller must not serve
  // it.
  static Result<ServerParty> restore(PartyData data, const std::vector<PartyEvent>& recent = {});

  // An address and the envelope, for a token that lives. Consumes one use per device and invite: a repeated join gives
  // the same answer. kNotFound unknown token, kExpired, kRefused revoked or kicked, kExhausted used up or full,
  // kConflict name taken, kInvalid name.
  Result<JoinAnswer> join(WallTime now, const crypto::PublicKey& by, const JoinRequest& request, Effects& effects);
  // The device's own record; a farewell (`left`) ends its membership. A record already held: no effects. kRefused bad
  // signature or not a member; kConflict older version, taken name or address, or an epoch that is over: join again.
  Result<void> put_record(const crypto::PublicKey& by, ByteView record, Effects& effects);
  // Owner only, all three. Adding the same token again changes nothing.
  Result<InviteRow> add_invite(WallTime now, const crypto::PublicKey& by, const InviteRequest& request,
                               Effects& effects);
  // Those by which somebody could still join.
  Result<std::vector<InviteRow>> list_invites(WallTime now, const crypto::PublicKey& by) const;
  Result<void> revoke_invite(const crypto::PublicKey& by, const InviteId& id, Effects& effects);
  // Verifies every statement against the chain, so that only the owner removes, rekeys and hands over; any member may
  // carry them here. Those already held are skipped. kConflict: somebody joined meanwhile, or the chain moved on.
  Result<void> put_statements(const crypto::PublicKey& by, const StatementsRequest& request, Effects& effects);
  // Ends invites and pending joins whose time has come. next_expiry: when to call it next.
  void expire(WallTime now, Effects& effects);
  std::optional<WallTime> next_expiry() const;

  const PartyId& id() const { return chain_.party(); }
  const Genesis& genesis() const { return chain_.genesis(); }
  std::uint64_t version() const { return data_.version; }
  std::uint32_t epoch() const { return chain_.epoch(); }
  const crypto::PublicKey& owner() const { return chain_.owner_public_key(); }
  Standing standing(const crypto::PublicKey& key) const;
  std::size_t joined_count() const;
  PartySnapshot snapshot() const;
  // What a removed device is owed: the owner's statements up to the one that says so, and nothing of the members.
  PartySnapshot removal_of(const crypto::PublicKey& key) const;
  // The events after number `version`, oldest first; nothing when they are not kept any more: send a snapshot.
  std::optional<std::vector<PartyEvent>> events_since(std::uint64_t version) const;
  const PartyData& data() const { return data_; }

 private:
  class Edit;
  explicit ServerParty(Genesis genesis) : chain_(std::move(genesis)) {}
  Result<IpAddress> free_address() const;
  bool name_taken(std::string_view name, const crypto::PublicKey& by) const;
  Result<const InviteRow*> usable_invite(WallTime now, const InviteToken& token) const;
  Result<void> judge_record(const MemberRow& row, const SignedRecord& record) const;
  Result<void> judge_claims(const MemberRow& row, const MemberRecord& record) const;
  Result<EpochBundle> judge_bundle(const StatementsRequest& request, const Chain& chain) const;
  void end_memberships(const std::optional<EpochBundle>& bundle, Edit& edit);
  void renew_invites(const std::vector<RewrappedInvite>& rewrapped, Edit& edit);

  PartyData data_;
  Chain chain_;
  std::deque<PartyEvent> recent_;
};

}  // namespace lanrage::party
