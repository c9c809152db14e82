// Hashes, MACs and key derivation: BLAKE2s as WireGuard uses it, SHA-256 for everything of our own.
//
// Inputs are lists of parts, hashed as if concatenated, so that protocol code reads like its paper and copies nothing.
// Functions of their arguments; any thread.
#pragma once

#include <array>
#include <initializer_list>

#include "base/bytes.h"
#include "crypto/keys.h"

namespace lanrage::crypto {

inline constexpr std::size_t kHashSize = 32;
inline constexpr std::size_t kMacSize = 16;

using Hash = std::array<std::uint8_t, kHashSize>;
using Mac = std::array<std::uint8_t, kMacSize>;
using Parts = std::initializer_list<ByteView>;

Hash blake2s(Parts parts);                     // RFC 7693, 32 bytes, unkeyed
Mac blake2s_mac16(ByteView key, Parts parts);  // RFC 7693 keyed, 16 bytes: WireGuard's MAC; key 1..32
std::array<std::uint8_t, 32> blake2s_mac32(ByteView key, Parts parts);  // the same, 32 bytes
Hash hmac_blake2s(ByteView key, Parts parts);                           // RFC 2104 over blake2s: WireGuard's HMAC

// WireGuard's KDFn (paper section 5.4): the first n outputs of HKDF over hmac_blake2s.
using DerivedKey = Secret<struct DerivedKeyTag>;
DerivedKey kdf1(ByteView key, ByteView input);
std::array<DerivedKey, 2> kdf2(ByteView key, ByteView input);
std::array<DerivedKey, 3> kdf3(ByteView key, ByteView input);

Hash sha256(Parts parts);
Hash hmac_sha256(ByteView key, Parts parts);

// RFC 5869, extract then expand. `length` at most 255 * 32.
Bytes hkdf_sha256(ByteView secret, ByteView salt, ByteView info, std::size_t length);

}  // namespace lanrage::crypto
