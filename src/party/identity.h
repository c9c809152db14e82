// A device: one 32-byte seed, made on first start and kept in a file of mode 0600, from which both of its keys come:
// the X25519 key (the WireGuard key; its public half is the peer id) and the Ed25519 key that signs.
//
// A value; any thread. Wipes its secrets when it dies. Does not read or write the file.
#pragma once

#include "crypto/keys.h"
#include "crypto/signature.h"

namespace lanrage::party {

using IdentitySeed = crypto::Secret<struct IdentitySeedTag>;

class Identity {
 public:
  static Identity generate(Rng& rng) { return Identity(IdentitySeed(rng.array<crypto::kKeySize>())); }
  // HKDF-SHA256(seed, info "lanrage device v1 x25519") and "... ed25519".
  explicit Identity(const IdentitySeed& seed);

  const IdentitySeed& seed() const { return seed_; }  // for the state file
  const crypto::PrivateKey& private_key() const { return private_key_; }
  const crypto::PublicKey& public_key() const { return public_key_; }
  const crypto::VerifyKey& verify_key() const { return verify_key_; }
  crypto::Signature sign(ByteView message) const { return crypto::sign(signing_key_, message); }

 private:
  IdentitySeed seed_;
  crypto::PrivateKey private_key_;
  crypto::PublicKey public_key_;
  crypto::SigningKey signing_key_;
  crypto::VerifyKey verify_key_;
};

}  // namespace lanrage::party
