// What only the owner can say, one after the other: a device is removed for good (tombstone), a new epoch begins,
// somebody else is the owner now. Each statement names its predecessor's hash and is signed by whoever owned the party
// then, so a server can withhold the end of the chain but neither change, reorder nor leave out anything in it. Format:
// docs/wire/party.md. Values; any thread.
#pragma once

#include <optional>
#include <set>
#include <variant>
#include <vector>

#include "party/genesis.h"
#include "party/why.h"

namespace lanrage::party {

inline constexpr std::size_t kStatementBytesMax = 256;
inline constexpr std::size_t kStatementsMax = 1000;

struct Tombstone {
  crypto::PublicKey public_key;
  friend bool operator==(const Tombstone&, const Tombstone&) = default;
};
struct EpochStart {
  std::uint32_t number = 0;   // one more than the last
  crypto::Hash members{};     // EpochBundle::members_hash
  crypto::Hash commitment{};  // PartySecret::commitment
  friend bool operator==(const EpochStart&, const EpochStart&) = default;
};
struct Handover {
  crypto::VerifyKey verify_key;
  crypto::PublicKey public_key;
  friend bool operator==(const Handover&, const Handover&) = default;
};
using StatementBody = std::variant<Tombstone, EpochStart, Handover>;

struct Statement {
  PartyId party;
  std::uint32_t sequence = 0;  // from 1
  crypto::Hash previous{};     // hash() of the one before, or of the genesis
  StatementBody body;
  crypto::Signature signature{};

  crypto::Hash hash() const;  // over what is signed, without the signature
  void sign(const Identity& owner);
  bool signed_by(const crypto::VerifyKey& owner) const;
  Bytes encode() const;
  static std::optional<Statement> parse(ByteView encoded);  // form only
  friend bool operator==(const Statement&, const Statement&) = default;
};

// A verified chain and what follows from it. Members and the server hold the same thing.
class Chain {
 public:
  explicit Chain(Genesis genesis);

  // Verifies and takes the next statement, or says why not; then nothing has changed.
  std::optional<Why> append(const Statement& statement);
  // True when exactly this statement is already in the chain.
  bool contains(const Statement& statement) const;
  // A statement that would come next, signed by `owner`.
  Statement next(StatementBody body, const Identity& owner) const;

  const Genesis& genesis() const { return genesis_; }
  const PartyId& party() const { return party_; }
  std::uint32_t length() const { return static_cast<std::uint32_t>(statements_.size()); }
  const std::vector<Statement>& statements() const { return statements_; }
  const crypto::Hash& head() const { return hashes_.back(); }
  // Hash after `length` statements; nothing when the chain is shorter.
  std::optional<crypto::Hash> hash_at(std::uint32_t length) const;

  const crypto::VerifyKey& owner_verify_key() const { return owner_.verify_key; }
  const crypto::PublicKey& owner_public_key() const { return owner_.public_key; }
  bool tombstoned(const crypto::PublicKey& key) const { return tombstones_.contains(key); }
  std::uint32_t epoch() const { return epoch_.number; }
  const crypto::Hash& commitment() const { return epoch_.commitment; }  // to the current epoch's secret
  const crypto::Hash& members_hash() const { return epoch_.members; }   // of the current epoch; all zero in epoch 0
  // The commitment to an earlier epoch's secret.
  std::optional<crypto::Hash> commitment_of(std::uint32_t epoch) const;

 private:
  std::optional<Why> judge(const Statement& statement) const;
  Genesis genesis_;
  PartyId party_;
  std::vector<Statement> statements_;
  std::vector<crypto::Hash> hashes_;       // of the genesis, then of each statement
  std::vector<crypto::Hash> commitments_;  // by epoch
  Handover owner_;
  EpochStart epoch_;
  std::set<crypto::PublicKey> tombstones_;
};

}  // namespace lanrage::party
