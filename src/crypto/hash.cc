#include "crypto/hash.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <memory>

#include "base/check.h"

namespace lanrage::crypto {
namespace {

struct Free {
  void operator()(EVP_MD_CTX* p) const { EVP_MD_CTX_free(p); }
  void operator()(EVP_MAC_CTX* p) const { EVP_MAC_CTX_free(p); }
};

// Fetching an algorithm costs microseconds and the result is immutable: fetched once, never freed.
const EVP_MD* blake2s_algorithm() {
  static const EVP_MD* const md = EVP_MD_fetch(nullptr, "BLAKE2S-256", nullptr);
  return md;
}
const EVP_MD* sha256_algorithm() {
  static const EVP_MD* const md = EVP_MD_fetch(nullptr, "SHA2-256", nullptr);
  return md;
}
EVP_MAC* blake2s_mac_algorithm() {
  static EVP_MAC* const mac = EVP_MAC_fetch(nullptr, "BLAKE2SMAC", nullptr);
  return mac;
}

Hash digest(const EVP_MD* md, Parts parts) {
  const std::unique_ptr<EVP_MD_CTX, Free> ctx(EVP_MD_CTX_new());
  Hash out;
  LR_CHECK(ctx && EVP_DigestInit_ex2(ctx.get(), md, nullptr) == 1);
  for (ByteView part : parts) LR_CHECK(EVP_DigestUpdate(ctx.get(), part.data(), part.size()) == 1);
  LR_CHECK(EVP_DigestFinal_ex(ctx.get(), out.data(), nullptr) == 1);
  return out;
}

void keyed_blake2s(ByteView key, Parts parts, MutableBytes out) {
  const std::unique_ptr<EVP_MAC_CTX, Free> ctx(EVP_MAC_CTX_new(blake2s_mac_algorithm()));
  std::size_t size = out.size();
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size), OSSL_PARAM_construct_end()};
  LR_CHECK(ctx && EVP_MAC_init(ctx.get(), key.data(), key.size(), params) == 1);
  for (ByteView part : parts) LR_CHECK(EVP_MAC_update(ctx.get(), part.data(), part.size()) == 1);
  LR_CHECK(EVP_MAC_final(ctx.get(), out.data(), &size, out.size()) == 1);
}

// RFC 2104. Both hashes here have blocks of 64 bytes and 32 bytes of output.
Hash hmac(const EVP_MD* md, ByteView key, Parts parts) {
  constexpr std::size_t kBlock = 64;
  std::array<std::uint8_t, kBlock> inner{}, outer{};
  Hash shortened{};
  if (key.size() > kBlock) {
    shortened = digest(md, {key});
    key = shortened;
  }
  if (!key.empty()) std::memcpy(inner.data(), key.data(), key.size());
  outer = inner;
  for (std::uint8_t& b : inner) b ^= 0x36;
  for (std::uint8_t& b : outer) b ^= 0x5c;

  const std::unique_ptr<EVP_MD_CTX, Free> ctx(EVP_MD_CTX_new());
  Hash out;
  LR_CHECK(ctx && EVP_DigestInit_ex2(ctx.get(), md, nullptr) == 1);
  LR_CHECK(EVP_DigestUpdate(ctx.get(), inner.data(), inner.size()) == 1);
  for (ByteView part : parts) LR_CHECK(EVP_DigestUpdate(ctx.get(), part.data(), part.size()) == 1);
  LR_CHECK(EVP_DigestFinal_ex(ctx.get(), out.data(), nullptr) == 1);
  out = digest(md, {outer, out});
  wipe(inner);
  wipe(outer);
  wipe(shortened);
  return out;
}

template <std::size_t N>
std::array<DerivedKey, N> kdf(ByteView key, ByteView input) {
  std::array<DerivedKey, N> out;
  Hash extracted = hmac_blake2s(key, {input});
  Hash previous{};
  for (std::size_t i = 0; i < N; ++i) {
    const std::uint8_t number[1] = {static_cast<std::uint8_t>(i + 1)};
    previous = i == 0 ? hmac_blake2s(extracted, {number}) : hmac_blake2s(extracted, {previous, number});
    out[i] = DerivedKey(previous);
  }
  wipe(extracted);
  wipe(previous);
  return out;
}

}  // namespace

Hash blake2s(Parts parts) { return digest(blake2s_algorithm(), parts); }

Mac blake2s_mac16(ByteView key, Parts parts) {
  Mac out;
  keyed_blake2s(key, parts, out);
  return out;
}

std::array<std::uint8_t, 32> blake2s_mac32(ByteView key, Parts parts) {
  std::array<std::uint8_t, 32> out;
  keyed_blake2s(key, parts, out);
  return out;
}

Hash hmac_blake2s(ByteView key, Parts parts) { return hmac(blake2s_algorithm(), key, parts); }

DerivedKey kdf1(ByteView key, ByteView input) { return kdf<1>(key, input)[0]; }
std::array<DerivedKey, 2> kdf2(ByteView key, ByteView input) { return kdf<2>(key, input); }
std::array<DerivedKey, 3> kdf3(ByteView key, ByteView input) { return kdf<3>(key, input); }

Hash sha256(Parts parts) { return digest(sha256_algorithm(), parts); }
Hash hmac_sha256(ByteView key, Parts parts) { return hmac(sha256_algorithm(), key, parts); }

Bytes hkdf_sha256(ByteView secret, ByteView salt, ByteView info, std::size_t length) {
  LR_CHECK(length <= 255 * kHashSize);
  Hash extracted = hmac_sha256(salt, {secret});
  Hash block{};
  Bytes out;
  out.reserve(length);
  for (std::uint8_t number = 1; out.size() < length; ++number) {
    const std::uint8_t counter[1] = {number};
    block = number == 1 ? hmac_sha256(extracted, {info, counter}) : hmac_sha256(extracted, {block, info, counter});
    append(out, ByteView(block).first(std::min(kHashSize, length - out.size())));
  }
  wipe(extracted);
  wipe(block);
  return out;
}

}  // namespace lanrage::crypto
