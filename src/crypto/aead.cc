#include "crypto/aead.h"

#include <openssl/evp.h>

#include "base/check.h"
#include "crypto/aead_ipsec_mb.h"

namespace lanrage::crypto {
namespace {

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* p) const { EVP_CIPHER_CTX_free(p); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

const EVP_CIPHER* chacha20_poly1305() {
  static const EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
  return cipher;
}

}  // namespace

// A context per direction, keyed once: resetting only the nonce is what makes EVP affordable per packet.
struct AeadKey::OpenSsl {
  CipherContext sealing, opening;

  static CipherContext keyed(const std::uint8_t* key, bool encrypt) {
    CipherContext ctx(EVP_CIPHER_CTX_new());
    LR_CHECK(ctx && EVP_CipherInit_ex2(ctx.get(), chacha20_poly1305(), key, nullptr, encrypt ? 1 : 0, nullptr) == 1);
    return ctx;
  }
  explicit OpenSsl(const std::uint8_t* key) : sealing(keyed(key, true)), opening(keyed(key, false)) {}

  static void begin(EVP_CIPHER_CTX* ctx, const Nonce& nonce, ByteView aad, ByteView in, std::uint8_t* out) {
    int written = 0;
    LR_CHECK(EVP_CipherInit_ex2(ctx, nullptr, nullptr, nonce.data(), -1, nullptr) == 1);
    if (!aad.empty()) LR_CHECK(EVP_CipherUpdate(ctx, nullptr, &written, aad.data(), static_cast<int>(aad.size())) == 1);
    if (!in.empty()) LR_CHECK(EVP_CipherUpdate(ctx, out, &written, in.data(), static_cast<int>(in.size())) == 1);
  }
};

AeadBackend fastest_aead() {
  static const AeadBackend backend = ipsec_mb::available() ? AeadBackend::kIpsecMb : AeadBackend::kOpenSsl;
  return backend;
}

AeadKey::AeadKey(std::span<const std::uint8_t, kKeySize> key, AeadBackend backend) : key_(key) {
  if (backend == AeadBackend::kOpenSsl) openssl_ = std::make_unique<OpenSsl>(key_.bytes().data());
}
AeadKey::AeadKey(AeadKey&&) noexcept = default;
AeadKey& AeadKey::operator=(AeadKey&&) noexcept = default;
AeadKey::~AeadKey() = default;

AeadKey::Nonce AeadKey::counter_nonce(std::uint64_t counter) {
  Nonce nonce{};
  store_le(nonce.data() + 4, counter);
  return nonce;
}

void AeadKey::seal(const Nonce& nonce, ByteView aad, ByteView plaintext, MutableBytes out) {
  LR_CHECK(out.size() == plaintext.size() + kTagSize);
  const auto tag = out.last<kTagSize>();
  if (!openssl_) {
    ipsec_mb::run(false, key_.bytes(), nonce, aad, plaintext, out.data(), tag);
    return;
  }
  EVP_CIPHER_CTX* const ctx = openssl_->sealing.get();
  int written = 0;
  OpenSsl::begin(ctx, nonce, aad, plaintext, out.data());
  LR_CHECK(EVP_CipherFinal_ex(ctx, tag.data(), &written) == 1);
  LR_CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, kTagSize, tag.data()) == 1);
}

bool AeadKey::open(const Nonce& nonce, ByteView aad, ByteView sealed, MutableBytes out) {
  if (sealed.size() < kTagSize) return false;
  LR_CHECK(out.size() == sealed.size() - kTagSize);
  const ByteView ciphertext = sealed.first(out.size());
  std::array<std::uint8_t, kTagSize> tag;
  std::memcpy(tag.data(), sealed.data() + out.size(), kTagSize);

  bool genuine = false;
  if (!openssl_) {
    std::array<std::uint8_t, kTagSize> expected;
    ipsec_mb::run(true, key_.bytes(), nonce, aad, ciphertext, out.data(), expected);
    genuine = secure_equal(tag, expected);
  } else {
    EVP_CIPHER_CTX* const ctx = openssl_->opening.get();
    int written = 0;
    OpenSsl::begin(ctx, nonce, aad, ciphertext, out.data());
    LR_CHECK(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, kTagSize, tag.data()) == 1);
    genuine = EVP_CipherFinal_ex(ctx, out.data(), &written) == 1;
  }
  if (!genuine) wipe(out);
  return genuine;
}

}  // namespace lanrage::crypto
