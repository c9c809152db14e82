// The first fact about a party: who made it, what it is called, which addresses it has, and a commitment to its first
// secret. Signed by its maker; the party id is a hash over the maker's signing key, so whoever holds the id can check
// everything that follows (statement.h). Format: docs/wire/party.md. Values; any thread.
#pragma once

#include "base/ip.h"
#include "base/result.h"
#include "crypto/hash.h"
#include "party/identity.h"
#include "party/ids.h"

namespace lanrage::party {

inline constexpr std::size_t kGenesisBytesMax = 512;

PartyId party_id(const crypto::VerifyKey& owner, ByteView nonce);

struct Genesis {
  crypto::VerifyKey owner_verify_key;
  crypto::PublicKey owner_public_key;
  std::array<std::uint8_t, 16> nonce{};
  IpPrefix prefix;            // /20 to /24 inside 10.66.0.0/16, so that no party can capture other networks
  crypto::Hash commitment{};  // to the secret of epoch 0 (epoch.h)
  std::string name;

  PartyId id() const { return party_id(owner_verify_key, nonce); }
  // SHA-256 over what is signed: the `previous` of the first statement.
  crypto::Hash hash() const;
  Bytes sign(const Identity& owner) const;  // the encoded, signed form; `owner` holds both owner keys

  // Nothing unless canonical, valid in every field and correctly signed.
  static std::optional<Genesis> parse(ByteView encoded);
  friend bool operator==(const Genesis&, const Genesis&) = default;

 private:
  Bytes body() const;
};

}  // namespace lanrage::party
