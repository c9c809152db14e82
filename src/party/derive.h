// 32 bytes by HKDF-SHA256 as a wiped secret type; private to this module.
#pragma once

#include "crypto/hash.h"

namespace lanrage::party {

template <class SecretType>
SecretType derive(ByteView secret, ByteView salt, ByteView info) {
  Bytes raw = crypto::hkdf_sha256(secret, salt, info, crypto::kKeySize);
  SecretType out(ByteView(raw).first<crypto::kKeySize>());
  crypto::wipe(raw);
  return out;
}

}  // namespace lanrage::party
