#include "crypto/aead_ipsec_mb.h"

#include <intel-ipsec-mb.h>

#include <memory>

#include "base/check.h"

namespace lanrage::crypto::ipsec_mb {
namespace {

struct FreeManager {
  void operator()(IMB_MGR* manager) const { free_mb_mgr(manager); }
};
using Manager = std::unique_ptr<IMB_MGR, FreeManager>;

Manager make_manager() {
  Manager manager(alloc_mb_mgr(0));
  if (!manager) return nullptr;
  init_mb_mgr_auto(manager.get(), nullptr);
  if (imb_get_errno(manager.get()) != 0) return nullptr;
  return manager;
}

// A manager is not thread-safe and costs tens of kilobytes: one per thread, made at its first packet.
IMB_MGR* thread_manager() {
  thread_local const Manager manager = make_manager();
  return manager.get();
}

}  // namespace

bool available() { return thread_manager() != nullptr; }

void run(bool open, std::span<const std::uint8_t, kKeySize> key, const AeadKey::Nonce& nonce, ByteView aad, ByteView in,
         std::uint8_t* out, std::span<std::uint8_t, kTagSize> tag) {
  IMB_MGR* const manager = thread_manager();
  LR_CHECK(manager != nullptr);
  IMB_JOB* job = IMB_GET_NEXT_JOB(manager);
  job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
  job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
  job->cipher_direction = open ? IMB_DIR_DECRYPT : IMB_DIR_ENCRYPT;
  job->chain_order = open ? IMB_ORDER_HASH_CIPHER : IMB_ORDER_CIPHER_HASH;
  job->enc_keys = key.data();
  job->dec_keys = key.data();
  job->key_len_in_bytes = kKeySize;
  job->iv = nonce.data();
  job->iv_len_in_bytes = kNonceSize;
  job->src = in.data();
  job->dst = out;
  job->cipher_start_src_offset_in_bytes = 0;
  job->hash_start_src_offset_in_bytes = 0;
  job->msg_len_to_cipher_in_bytes = in.size();
  job->msg_len_to_hash_in_bytes = in.size();
  job->u.CHACHA20_POLY1305.aad = aad.data();
  job->u.CHACHA20_POLY1305.aad_len_in_bytes = aad.size();
  job->auth_tag_output = tag.data();
  job->auth_tag_output_len_in_bytes = kTagSize;
  // Every argument above is checked by type or by AeadKey, so the library's own checks would find nothing. This
  // cipher is single-buffer: a job is complete when submit returns.
  job = IMB_SUBMIT_JOB_NOCHECK(manager);
  LR_CHECK(job != nullptr && job->status == IMB_STATUS_COMPLETED);
}

}  // namespace lanrage::crypto::ipsec_mb
