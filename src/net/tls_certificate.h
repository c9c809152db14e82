// Inside src/net: the one place that hashes a certificate's key, for both ends of a TLS session.
#pragma once

#include <openssl/x509.h>

#include <optional>

#include "net/tls.h"

namespace lanrage::net {

// SHA-256 of the DER SubjectPublicKeyInfo.
std::optional<SpkiHash> spki_hash(X509* certificate);

}  // namespace lanrage::net
