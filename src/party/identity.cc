#include "party/identity.h"

#include "party/derive.h"

namespace lanrage::party {

Identity::Identity(const IdentitySeed& seed)
    : seed_(seed),
      private_key_(derive<crypto::PrivateKey>(seed.bytes(), {}, as_bytes("lanrage device v1 x25519"))),
      public_key_(crypto::public_key(private_key_)),
      signing_key_(derive<crypto::SigningKey>(seed.bytes(), {}, as_bytes("lanrage device v1 ed25519"))),
      verify_key_(crypto::verify_key(signing_key_)) {}

}  // namespace lanrage::party
