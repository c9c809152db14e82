// The two halves of a session: what seals and what opens.
//
// The Device (control thread) makes both and hands them over by shared_ptr: the SendKey to the TX thread, the
// ReceiveKey to the RX thread. From then on each half is used by that thread alone and control only holds the pointer,
// so nothing here locks. Neither half reads a clock: `usable(now)` is asked once per batch with the batch's time.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/time.h"
#include "crypto/aead.h"
#include "tunnel/replay_window.h"

namespace lanrage::tunnel {

// The paper, section 6.1.
inline constexpr Duration kRejectAfterTime = std::chrono::seconds{180};
inline constexpr std::uint64_t kRekeyAfterMessages = std::uint64_t{1} << 60;
inline constexpr std::uint64_t kRejectAfterMessages = ~std::uint64_t{0} - ReplayWindow::kSize;  // 2^64 - 2^13 - 1

inline constexpr std::size_t kDataOverhead = 32;  // header and tag

// Owned by the TX thread once handed over.
class SendKey {
 public:
  SendKey(crypto::AeadKey key, std::uint32_t receiver_index, std::uint32_t local_index, Time created);

  // Writes a data message for `plain` (a packet, or nothing for a keepalive) into `out` and answers its size: 32 bytes
  // more than the packet padded to 16, but not beyond `mtu` (wire::wireguard::padded_size). `out` must have that room.
  // `plain` lies at out + 16 (sealed in place) or does not overlap `out`. 0: this key's counters are used up.
  std::size_t seal(ByteView plain, MutableBytes out, std::size_t mtu);

  bool usable(Time now) const { return now < created_ + kRejectAfterTime && counter_ < kRejectAfterMessages; }
  Time created() const { return created_; }
  std::uint32_t receiver_index() const { return receiver_index_; }
  std::uint32_t local_index() const { return local_index_; }  // names the session on our side
  std::uint64_t counter() const { return counter_; }          // messages sealed so far; TX tells control by Activity

  // As if `counter` messages had been sealed: what a test of the limits needs and a crash-safe caller may use to skip.
  void skip_to(std::uint64_t counter) { counter_ = counter > counter_ ? counter : counter_; }

 private:
  crypto::AeadKey key_;
  const std::uint32_t receiver_index_;
  const std::uint32_t local_index_;
  const Time created_;
  std::uint64_t counter_ = 0;
};

// Owned by the RX thread once handed over.
class ReceiveKey {
 public:
  ReceiveKey(crypto::AeadKey key, std::uint32_t local_index, Time created);

  struct Opened {
    MutableBytes plain;   // inside the datagram; empty for a keepalive; the padding is still on it
    bool newest = false;  // greater than every counter before: its source may become the peer's path
    bool first = false;   // the first one under this key: tell control at once, a responder waits for it
  };

  // Opens a data message in place. Nothing for a counter seen before, too old or past the limit, and for a forgery
  // (whose bytes are then zeroed); those leave the window as it was. `datagram` must be a data message for
  // `local_index()`; how the caller found this key is not checked again.
  std::optional<Opened> open(MutableBytes datagram);

  bool usable(Time now) const { return now < created_ + kRejectAfterTime; }
  Time created() const { return created_; }
  std::uint32_t local_index() const { return local_index_; }

 private:
  crypto::AeadKey key_;
  const std::uint32_t local_index_;
  const Time created_;
  ReplayWindow window_;
};

}  // namespace lanrage::tunnel
