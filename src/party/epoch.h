// A party's secret in one epoch, what is derived from it, and how a new one reaches the members: a bundle with the
// signed member list, in which the secret is sealed to each member's X25519 key. The server carries bundles unread.
// Format and labels: docs/wire/party.md. Values; any thread.
#pragma once

#include <optional>
#include <vector>

#include "crypto/hash.h"
#include "crypto/keys.h"
#include "party/identity.h"
#include "party/ids.h"

namespace lanrage::party {

inline constexpr std::size_t kPartySecretSize = 16;
inline constexpr std::size_t kEpochMembersMax = 1000;
inline constexpr std::size_t kBundleHeaderBytes = 1 + PartyId::kSize + 4 + crypto::kKeySize + 2;
inline constexpr std::size_t kBundleEntryBytes = MemberTag::kSize + kPartySecretSize + 16;
inline constexpr std::size_t kBundleBytesMax = kBundleHeaderBytes + kBundleEntryBytes * kEpochMembersMax;

using RecordKey = crypto::Secret<struct RecordKeyTag>;  // MACs member records
using ProbeKey = crypto::Secret<struct ProbeKeyTag>;    // authenticates probes of one pair
using SignalKey = crypto::Secret<struct SignalKeyTag>;  // seals candidates and the like for one pair

// Known to the members' machines only. Wipes itself.
class PartySecret {
 public:
  PartySecret() = default;
  explicit PartySecret(std::span<const std::uint8_t, kPartySecretSize> bytes) {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
  }
  PartySecret(const PartySecret&) = default;
  PartySecret& operator=(const PartySecret&) = default;
  ~PartySecret() { crypto::wipe(bytes_); }
  static PartySecret generate(Rng& rng) { return PartySecret(rng.array<kPartySecretSize>()); }

  std::span<const std::uint8_t, kPartySecretSize> bytes() const { return bytes_; }
  // Published in the genesis (epoch 0) or signed in the epoch's statement.
  crypto::Hash commitment(const PartyId& party, std::uint32_t epoch) const;
  RecordKey record_key(const PartyId& party) const;
  crypto::PresharedKey preshared_key(const PartyId& party, const crypto::PublicKey& a,
                                     const crypto::PublicKey& b) const;

 private:
  std::array<std::uint8_t, kPartySecretSize> bytes_{};
};

// What two members share in one epoch. `psk` follows from the party's secret; the other two also from the pair's
// Diffie-Hellman, so that no third member can make them.
struct PairKeys {
  std::uint32_t epoch = 0;
  crypto::PresharedKey psk;
  ProbeKey probe;
  SignalKey signal;
};
PairKeys pair_keys(const PartyId& party, std::uint32_t epoch, const PartySecret& secret, const crypto::SharedSecret& dh,
                   const crypto::PublicKey& a, const crypto::PublicKey& b);

MemberTag member_tag(const crypto::PublicKey& public_key, const crypto::VerifyKey& verify_key);

// One device that is to receive a new epoch's secret.
struct EpochMember {
  crypto::PublicKey public_key;
  crypto::VerifyKey verify_key;
};

struct EpochBundle {
  struct Entry {
    MemberTag tag;
    std::array<std::uint8_t, kPartySecretSize + 16> sealed{};
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  PartyId party;
  std::uint32_t epoch = 0;
  crypto::PublicKey ephemeral;
  std::vector<Entry> entries;  // by rising tag; the member list is their tags

  // Seals `secret` to each of `members` (without doubles), none of whom may have a key of low order.
  static EpochBundle seal(const PartyId& party, std::uint32_t epoch, const PartySecret& secret,
                          const std::vector<EpochMember>& members, Rng& rng);
  // The secret for this device; nothing when it is not listed or the seal is broken. Check the commitment.
  std::optional<PartySecret> open(const Identity& self) const;

  bool lists(const MemberTag& tag) const { return find(tag) != nullptr; }
  crypto::Hash members_hash() const;  // what the owner signs
  // In parts of at most `entries_max`, each a bundle in form, and together again. merge() is false, and changes
  // nothing, when the other is of another sealing or it would grow too long.
  std::vector<EpochBundle> split(std::size_t entries_max) const;
  bool merge(const EpochBundle& part);
  Bytes encode() const;
  static std::optional<EpochBundle> parse(ByteView encoded);  // strict: canonical order, bounded
  friend bool operator==(const EpochBundle&, const EpochBundle&) = default;

 private:
  const Entry* find(const MemberTag& tag) const;
};

}  // namespace lanrage::party
