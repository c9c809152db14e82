// The two MACs of handshake messages and the cookies behind the second (paper section 5.3 and 5.4.7), and what decides
// when cookies are asked for. A flood costs its victim one keyed hash per datagram, never a Diffie-Hellman.
//
// CookieChecker, LoadDetector, SourceLimiter and Newcomers belong to whichever thread guards the door: RX makes its
// own, control's Device has another for callers without an RX thread. CookieStamp belongs to a peer, on the control
// thread.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "base/bytes.h"
#include "base/ip.h"
#include "base/rng.h"
#include "base/time.h"
#include "crypto/hash.h"
#include "crypto/keys.h"
#include "wire/wireguard.h"

namespace lanrage::tunnel {

inline constexpr Duration kCookieLife = std::chrono::seconds{120};

// Answers for handshake messages that reach us: were they meant for us, and does the sender receive at its address?
class CookieChecker {
 public:
  CookieChecker(const crypto::PublicKey& ours, Rng& rng);  // `rng` outlives it
  CookieChecker(const CookieChecker&) = delete;
  CookieChecker& operator=(const CookieChecker&) = delete;

  enum class Verdict {
    kInvalid,      // mac1 is wrong: drop in silence
    kValidMac1,    // the sender knows our public key
    kValidCookie,  // and gave back a cookie that we sent to this source less than 120 s ago (to 240 s: the secret
                   // turns)
  };
  // `datagram` is an initiation or a response; anything else is kInvalid.
  Verdict check(Time now, const Path& source, ByteView datagram);

  // The 64-byte answer to a kValidMac1 message while under load. Smaller than any question (92 or 148 bytes).
  Bytes make_reply(Time now, const Path& source, ByteView datagram);

 private:
  crypto::Mac cookie_for(const Path& source, ByteView secret) const;
  void turn_secret(Time now);

  Rng& rng_;
  crypto::Hash mac1_key_;
  crypto::Hash cookie_key_;
  crypto::DerivedKey secret_, previous_secret_;
  bool has_secret_ = false, has_previous_ = false;
  Time turned_{};
};

// Writes the MACs of messages to one peer and keeps the cookie it last sent us.
class CookieStamp {
 public:
  explicit CookieStamp(const crypto::PublicKey& peer);
  ~CookieStamp();
  CookieStamp(const CookieStamp&) = default;
  CookieStamp& operator=(const CookieStamp&) = default;

  // Fills mac1, and mac2 while a cookie younger than 120 s is there. `datagram` is an initiation or response.
  void stamp(Time now, MutableBytes datagram);
  // Takes the cookie if it answers the last message stamped. Each message yields at most one.
  bool consume(Time now, const wire::wireguard::CookieReply& reply);

 private:
  crypto::Hash mac1_key_;
  crypto::Hash cookie_key_;
  std::optional<crypto::Mac> last_mac1_;
  std::optional<crypto::Mac> cookie_;
  Time received_{};
};

// Whether handshakes come faster than they can be worked off.
class LoadDetector {
 public:
  static constexpr std::size_t kQueuedMax = 128;       // waiting handshakes: an eighth of a queue of 1024
  static constexpr std::uint32_t kPerSecondMax = 250;  // each costs some 130 us of a core
  static constexpr Duration kHold = std::chrono::seconds{1};

  // Call for each handshake message with a good mac1, before queueing it. True: ask for a cookie. Stays true for a
  // second after the last reason.
  bool note(Time now, std::size_t queued);

 private:
  Time window_start_{};
  std::uint32_t in_window_ = 0;
  std::optional<Time> until_;
};

// Token bucket per source address (IPv6: per /64): 20 handshakes per second, 5 at once. Sources that are new while the
// table is full are refused.
class SourceLimiter {
 public:
  static constexpr std::uint32_t kPerSecond = 20;
  static constexpr std::uint32_t kBurst = 5;
  static constexpr std::size_t kSourcesMax = 8192;

  bool allow(Time now, const IpAddress& source);
  std::size_t size() const { return buckets_.size(); }

 private:
  struct Bucket {
    Duration credit;
    Time updated;
  };
  static constexpr Duration kIdle = std::chrono::seconds{1};  // by then every bucket is full again
  void forget_idle(Time now);

  std::unordered_map<IpAddress, Bucket> buckets_;
  Time swept_{};
};

// Who needs no cookie under load: an address that was quiet for a second, up to 50 of them a second. A flood from few
// addresses then delays no new peer, not even one that would repeat its initiation only after 5 s; a flood from many
// uses up the fifty and leaves everybody else to the cookies.
class Newcomers {
 public:
  static constexpr Duration kQuiet = std::chrono::seconds{1};
  static constexpr std::uint32_t kPerSecondMax = 50;
  static constexpr std::size_t kSourcesMax = 8192;  // beyond them nobody is a newcomer

  // Call for each handshake message without a cookie while under load.
  bool admit(Time now, const IpAddress& source);
  std::size_t size() const { return seen_.size(); }

 private:
  std::unordered_map<IpAddress, Time> seen_;
  Time window_start_{};
  std::uint32_t in_window_ = 0;
};

}  // namespace lanrage::tunnel
