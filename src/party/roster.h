// A party as one of its members sees it: who is in it, verified, whatever the server says. It takes records, statements
// and epoch bundles from the server or from other members, believes what is signed and MACed, and refuses the rest with
// the reason. It holds the party's secrets and hands out the keys of each pair. The owner's operations are here too.
//
// Pure; owned by a node's control thread. It neither sends nor stores: the node carries its requests to the server, its
// updates to other members, and encode() to the state file (mode 0600: it holds secrets).
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "party/invite.h"
#include "party/record.h"
#include "party/server_party.h"
#include "party/statement.h"

namespace lanrage::party {

inline constexpr std::size_t kEpochsHeldMax = 4;      // secrets kept, for members who were away
inline constexpr std::size_t kUpdateBytesMax = 1200;  // of one piece of an update between members

// What this device says about itself in its record.
struct SelfSettings {
  std::string name;
  std::string hostname{};
  std::vector<IpPrefix> routes{};
  std::uint32_t capabilities = 0;
};

enum class Departure : std::uint8_t { kLeft, kKicked, kExcluded };  // kExcluded: not in a new epoch's signed list

struct MemberJoined {
  crypto::PublicKey key;
};
struct MemberChanged {
  crypto::PublicKey key;
};
struct MemberLeft {
  crypto::PublicKey key;
  std::string name;
  Departure how;
};
struct RemovedSelf {
  Departure how;  // kKicked or kExcluded
};
struct EpochChanged {
  std::uint32_t epoch;
};
struct OwnerChanged {
  crypto::PublicKey owner;
};
struct Refused {
  Why why;
  std::string what;                      // "record of 10.66.7.3", "statement 4": no name, no secret
  std::optional<crypto::PublicKey> who;  // whom it claims to be about
};
using RosterEvent =
    std::variant<MemberJoined, MemberChanged, MemberLeft, RemovedSelf, EpochChanged, OwnerChanged, Refused>;
using RosterEvents = std::vector<RosterEvent>;

struct Member {
  SignedRecord record;
  std::string name;  // the record's; with the address appended where an earlier member has the same name
  crypto::SharedSecret dh;
};

class Roster {
 public:
  // --- becoming a member ---
  // A new party: `request` for the server is genesis(), then own_record().
  static Result<Roster> create(const Identity& self, std::string_view party_name, const IpPrefix& prefix,
                               const SelfSettings& settings, const ServerInfo& server, Rng& rng);
  // Opens the envelope and checks it against the invite; what the server says next must reach at least the chain that
  // the envelope names. kRefused: the envelope is not of this invite or party.
  static Result<Roster> join(const Identity& self, const Invite& invite, const JoinAnswer& answer,
                             const SelfSettings& settings);
  // A fresh answer to the same join, after missing_secret().
  Result<RosterEvents> rejoin(const JoinAnswer& answer);
  // From encode(). kInvalid when damaged, of a newer version, or another device's.
  static Result<Roster> parse(ByteView state, const Identity& self);
  Bytes encode() const;

  // --- what arrives ---
  RosterEvents apply_snapshot(const PartySnapshot& snapshot);
  RosterEvents apply_record(ByteView record);
  RosterEvents apply_statements(const std::vector<Bytes>& statements, ByteView bundle);
  RosterEvents apply_event(const PartyEvent& event);
  // The number of the last event that was applied piecewise; apply_snapshot and apply_event do this themselves. The
  // owner's requests carry it, so that nobody who joined meanwhile is shut out.
  void saw(std::uint64_t number) { seen_ = number; }
  RosterEvents apply_update(ByteView piece);  // from another member; any order, any repetition

  // --- between members ---
  // What this roster holds, in a few bytes; two members exchange it, and each answers with export_for().
  Bytes summary() const;
  // What `peer`, whose summary that is, lacks: pieces of at most kUpdateBytesMax; none when it lacks nothing.
  std::vector<Bytes> export_for(const crypto::PublicKey& peer, ByteView summary) const;

  // --- who is here ---
  const PartyId& party() const { return chain_.party(); }
  const Genesis& genesis() const { return chain_.genesis(); }
  const Bytes& encoded_genesis() const { return encoded_genesis_; }
  const crypto::PublicKey& owner() const { return chain_.owner_public_key(); }
  bool is_owner() const { return owner() == self_.public_key() && chain_.owner_verify_key() == self_.verify_key(); }
  const ServerInfo& server() const { return server_; }
  void set_server(ServerInfo server) { server_ = std::move(server); }
  // The others who are in the party.
  const std::map<crypto::PublicKey, Member>& members() const { return members_; }
  const Member* find(const crypto::PublicKey& key) const;
  const Member* find(std::string_view name) const;  // as shown, without regard to case
  // Newest epoch first; empty for a stranger.
  std::vector<PairKeys> pair_keys(const crypto::PublicKey& peer) const;
  std::uint32_t epoch() const { return std::max(chain_.epoch(), floor_.epoch); }  // the newest one announced
  // An epoch began whose secret we were not given: rejoin() where invite() still gives a way, else ask again later.
  bool missing_secret() const { return !secrets_.contains(epoch()) && !removed_; }
  std::optional<Invite> invite() const;  // the one we came by, until our first record was published
  std::optional<Departure> removed() const { return removed_; }

  // --- this device's own record ---
  const MemberRecord& self() const { return own_.record(); }
  const Bytes& own_record() const { return own_.encoded(); }
  // What the server does not have yet; ask after every apply. Nothing while the epoch's secret is missing.
  std::optional<Bytes> unpublished_record() const;
  void mark_published(ByteView record);
  Result<RosterEvents> change_self(const SelfSettings& settings);  // kInvalid names
  Bytes make_farewell();  // own record with `left`; publish it, then forget the party

  // --- the owner ---
  // Each makes what the server is to be asked; nothing changes here until it comes back by apply_statements (do that
  // with the request itself once the server said yes). kRefused when we are not the owner, kNotFound.
  Result<StatementsRequest> kick(WallTime now, const crypto::PublicKey& member, Rng& rng) const;
  Result<StatementsRequest> rekey(WallTime now, Rng& rng) const;
  Result<StatementsRequest> handover(const crypto::PublicKey& member) const;
  struct NewInvite {
    Invite invite;
    InviteId id;
    InviteRequest request;
  };
  // Remembered, to be wrapped anew when the epoch changes. kRefused, kExhausted.
  Result<NewInvite> make_invite(WallTime now, std::uint32_t uses, WallTime expires, Rng& rng);
  void forget_invite(const InviteId& id) { invites_.erase(id); }  // revoked

 private:
  struct OwnInvite {
    InviteSecret secret;
    WallTime expires{};
  };
  // What the invite's envelope said of the chain: less than that is an old state, or a tombstone kept from us.
  struct Floor {
    std::uint32_t length = 0;
    crypto::Hash head{};
    std::uint32_t epoch = 0;
  };

  Roster(Identity self, Genesis genesis, Bytes encoded_genesis);
  Result<void> read_chain(ByteReader& in);
  Result<void> read_records(ByteReader& in);
  Result<void> read_invites(ByteReader& in);
  Result<InviteContents> open_envelope(const InviteSecret& secret, ByteView envelope) const;
  void hold_secret(std::uint32_t epoch, const PartySecret& secret);
  void make_own_record(const SelfSettings& settings, bool left, std::uint64_t above);
  SelfSettings settings() const;

  // Up to the first that is refused: nothing after it could follow.
  void take_statements(const std::vector<Bytes>& statements, RosterEvents& events);
  bool take_statement(ByteView encoded, RosterEvents& events);
  // Whole from the server, in parts from members: a long list does not fit into one piece of an update.
  void take_bundle(ByteView encoded, bool in_parts, RosterEvents& events);
  void take_list(const EpochBundle& bundle, bool in_parts, RosterEvents& events);
  // False when it was refused for an address that another record, still to come, may set free.
  bool take_record(ByteView encoded, bool last_try, RosterEvents& events);
  void take_records(const std::vector<Bytes>& records, RosterEvents& events);
  void take_own_record(const SignedRecord& record, RosterEvents& events);
  void store(SignedRecord record, const crypto::SharedSecret& dh, RosterEvents& events);
  void settle(RosterEvents& events);
  void check_secrets(RosterEvents& events);
  void apply_member_list(RosterEvents& events);
  void depart(const crypto::PublicKey& key, Departure how, RosterEvents& events);
  std::optional<Why> judge(const SignedRecord& record) const;
  std::optional<Why> judge_pins(const MemberRecord& record) const;
  std::optional<Why> judge_epoch(const SignedRecord& record) const;
  const SignedRecord* known_record(const crypto::PublicKey& key) const;
  std::string shown_name(const MemberRecord& record) const;
  std::vector<const Bytes*> shareable_records() const;
  crypto::Mac records_digest() const;
  Result<void> may_speak() const;
  Bytes sealed_invite(const InviteSecret& secret, const Chain& chain, const PartySecret& party_secret, Rng& rng) const;
  Result<StatementsRequest> new_epoch(WallTime now, std::vector<Statement> statements, Chain chain,
                                      const SignedRecord* without, Rng& rng) const;

  Identity self_;
  Bytes encoded_genesis_;
  Chain chain_;
  Floor floor_;
  ServerInfo server_;
  std::map<std::uint32_t, PartySecret, std::greater<>> secrets_;  // by epoch, newest first
  std::optional<EpochBundle> bundle_;                             // of the chain's epoch, with the signed list
  std::optional<EpochBundle> parts_;                              // what other members sent of it so far
  SignedRecord own_;
  bool published_ = false;
  std::map<crypto::PublicKey, Member> members_;
  std::map<crypto::PublicKey, SignedRecord> departed_;  // their keys, addresses and versions stay pinned
  std::optional<InviteSecret> joined_by_;
  std::map<InviteId, OwnInvite> invites_;
  std::optional<Departure> removed_;
  std::uint64_t seen_ = 0;
};

}  // namespace lanrage::party
