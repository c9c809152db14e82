// Takes the place of aead_ipsec_mb.cc where the library does not exist.
#include "base/check.h"
#include "crypto/aead_ipsec_mb.h"

namespace lanrage::crypto::ipsec_mb {

bool available() { return false; }

void run(bool, std::span<const std::uint8_t, kKeySize>, const AeadKey::Nonce&, ByteView, ByteView, std::uint8_t*,
         std::span<std::uint8_t, kTagSize>) {
  check_failed("libipsec-mb is not part of this build", __FILE__, __LINE__);
}

}  // namespace lanrage::crypto::ipsec_mb
