#include "control/proof.h"

#include "crypto/hash.h"

namespace lanrage::control {

std::optional<ProofMac> session_proof(const crypto::PrivateKey& mine, const crypto::PublicKey& client,
                                      const wire::Challenge& challenge, ByteView exporter) {
  const bool is_client = crypto::public_key(mine) == client;
  const auto shared = crypto::x25519(mine, is_client ? challenge.server_key : client);
  if (!shared) return std::nullopt;
  Bytes key = crypto::hkdf_sha256(shared->bytes(), exporter, as_bytes("lanrage session v1"), 32);
  const ProofMac mac = crypto::hmac_sha256(key, {challenge.nonce, client.bytes(), challenge.server_key.bytes()});
  crypto::wipe(key);
  return mac;
}

}  // namespace lanrage::control
