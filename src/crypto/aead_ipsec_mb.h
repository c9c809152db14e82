// The seam to libipsec-mb, private to this module: one job, run to completion on the calling thread's manager.
#pragma once

#include "crypto/aead.h"

namespace lanrage::crypto::ipsec_mb {

// This build has it and the processor has what it needs.
bool available();

// Ciphers `in` into `out` (same size) and writes the tag over `aad` and the ciphertext; with `open` the direction is
// the other one and the tag is that of `in`, for the caller to compare.
void run(bool open, std::span<const std::uint8_t, kKeySize> key, const AeadKey::Nonce& nonce, ByteView aad, ByteView in,
         std::uint8_t* out, std::span<std::uint8_t, kTagSize> tag);

}  // namespace lanrage::crypto::ipsec_mb
