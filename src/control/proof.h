// How a device proves its key to a control server: both ends compute the same value (wire/control.h says which). Free
// of state; any thread.
#pragma once

#include <array>
#include <optional>

#include "crypto/keys.h"
#include "wire/control.h"

namespace lanrage::control {

using ProofMac = std::array<std::uint8_t, 32>;

// `mine` is one's own private key, the client's or the server's for this challenge; `client` is the key to be proven.
// `exporter` is the TLS session's, so that a proof is worth nothing on any other. Nothing: the other key is of low
// order.
std::optional<ProofMac> session_proof(const crypto::PrivateKey& mine, const crypto::PublicKey& client,
                                      const wire::Challenge& challenge, ByteView exporter);

}  // namespace lanrage::control
