#include "tunnel/cookie.h"

#include <algorithm>

#include "base/check.h"
#include "crypto/aead.h"

namespace lanrage::tunnel {
namespace {

namespace wg = wire::wireguard;

constexpr std::string_view kLabelMac1 = "mac1----";
constexpr std::string_view kLabelCookie = "cookie--";

crypto::Hash label_key(std::string_view label, const crypto::PublicKey& key) {
  return crypto::blake2s({as_bytes(label), key.bytes()});
}

bool has_macs(ByteView datagram) {
  const auto type = wg::parse_type(datagram);
  return type == wg::Type::kInitiation || type == wg::Type::kResponse;
}

// What counts as one source: an address, or a /64 of IPv6, which a home has for itself.
IpAddress source_of(const IpAddress& address) {
  return address.is_v6() ? IpPrefix{address, 64}.network().address : address;
}

std::uint32_t sender_of(ByteView datagram) { return load_le<std::uint32_t>(datagram.data() + wg::kHeaderSize); }

}  // namespace

CookieChecker::CookieChecker(const crypto::PublicKey& ours, Rng& rng)
    : rng_(rng), mac1_key_(label_key(kLabelMac1, ours)), cookie_key_(label_key(kLabelCookie, ours)) {}

CookieChecker::Verdict CookieChecker::check(Time now, const Path& source, ByteView datagram) {
  if (!has_macs(datagram)) return Verdict::kInvalid;
  const std::size_t mac1_at = wg::mac1_offset(datagram.size());
  const std::size_t mac2_at = wg::mac2_offset(datagram.size());
  const crypto::Mac mac1 = crypto::blake2s_mac16(mac1_key_, {datagram.first(mac1_at)});
  if (!crypto::secure_equal(mac1, datagram.subspan(mac1_at, crypto::kMacSize))) return Verdict::kInvalid;

  const ByteView mac2 = datagram.subspan(mac2_at, crypto::kMacSize);
  if (!has_secret_ || std::all_of(mac2.begin(), mac2.end(), [](std::uint8_t b) { return b == 0; }))
    return Verdict::kValidMac1;
  turn_secret(now);
  const auto made_with = [&](const crypto::DerivedKey& secret) {
    const crypto::Mac cookie = cookie_for(source, secret.bytes());
    return crypto::secure_equal(crypto::blake2s_mac16(cookie, {datagram.first(mac2_at)}), mac2);
  };
  return made_with(secret_) || (has_previous_ && made_with(previous_secret_)) ? Verdict::kValidCookie
                                                                              : Verdict::kValidMac1;
}

Bytes CookieChecker::make_reply(Time now, const Path& source, ByteView datagram) {
  LR_CHECK(has_macs(datagram));
  turn_secret(now);
  wg::CookieReply reply;
  reply.receiver = sender_of(datagram);
  rng_.fill(reply.nonce);
  const crypto::Mac cookie = cookie_for(source, secret_.bytes());
  const ByteView mac1 = datagram.subspan(wg::mac1_offset(datagram.size()), crypto::kMacSize);
  const Bytes sealed = crypto::xseal(cookie_key_, reply.nonce, mac1, cookie);
  std::copy(sealed.begin(), sealed.end(), reply.sealed_cookie.begin());
  return wg::write(reply);
}

// A peer behind a relay is told apart from the relay itself: the one's cookie is of no use to the other.
crypto::Mac CookieChecker::cookie_for(const Path& source, ByteView secret) const {
  std::uint8_t tail[3];
  store_be(tail, source.endpoint.port);
  tail[2] = source.relayed ? 1 : 0;
  return crypto::blake2s_mac16(secret, {source.endpoint.address.bytes(), tail});
}

// The secret before stays valid for one more period, so that no cookie lives shorter than its 120 s.
void CookieChecker::turn_secret(Time now) {
  if (has_secret_ && now - turned_ < kCookieLife) return;
  has_previous_ = has_secret_ && now - turned_ < 2 * kCookieLife;
  previous_secret_ = secret_;
  rng_.fill(secret_.mutable_bytes());
  has_secret_ = true;
  turned_ = now;
}

CookieStamp::CookieStamp(const crypto::PublicKey& peer)
    : mac1_key_(label_key(kLabelMac1, peer)), cookie_key_(label_key(kLabelCookie, peer)) {}

CookieStamp::~CookieStamp() {
  if (cookie_) crypto::wipe(*cookie_);
}

void CookieStamp::stamp(Time now, MutableBytes datagram) {
  LR_CHECK(has_macs(datagram));
  const std::size_t mac1_at = wg::mac1_offset(datagram.size());
  const std::size_t mac2_at = wg::mac2_offset(datagram.size());
  last_mac1_ = crypto::blake2s_mac16(mac1_key_, {datagram.first(mac1_at)});
  std::memcpy(datagram.data() + mac1_at, last_mac1_->data(), crypto::kMacSize);
  crypto::Mac mac2{};
  if (cookie_ && now - received_ < kCookieLife) mac2 = crypto::blake2s_mac16(*cookie_, {datagram.first(mac2_at)});
  std::memcpy(datagram.data() + mac2_at, mac2.data(), crypto::kMacSize);
}

bool CookieStamp::consume(Time now, const wg::CookieReply& reply) {
  if (!last_mac1_) return false;
  const auto cookie = crypto::xopen(cookie_key_, reply.nonce, *last_mac1_, reply.sealed_cookie);
  if (!cookie) return false;
  cookie_.emplace();
  std::copy(cookie->begin(), cookie->end(), cookie_->begin());
  received_ = now;
  last_mac1_.reset();
  return true;
}

bool LoadDetector::note(Time now, std::size_t queued) {
  if (now - window_start_ >= std::chrono::seconds{1}) {
    window_start_ = now;
    in_window_ = 0;
  }
  ++in_window_;
  if (queued >= kQueuedMax || in_window_ > kPerSecondMax) until_ = now + kHold;
  return until_ && now < *until_;
}

bool SourceLimiter::allow(Time now, const IpAddress& source) {
  constexpr Duration kCost = Duration{std::chrono::seconds{1}} / kPerSecond;
  constexpr Duration kFull = kCost * kBurst;

  const IpAddress key = source_of(source);
  auto found = buckets_.find(key);
  if (found == buckets_.end()) {
    if (now - swept_ >= kIdle) forget_idle(now);
    if (buckets_.size() >= kSourcesMax) return false;
    found = buckets_.emplace(key, Bucket{kFull, now}).first;
  }
  Bucket& bucket = found->second;
  bucket.credit = std::min(kFull, bucket.credit + (now - bucket.updated));
  bucket.updated = now;
  if (bucket.credit < kCost) return false;
  bucket.credit -= kCost;
  return true;
}

// A bucket that has filled up again says nothing.
void SourceLimiter::forget_idle(Time now) {
  swept_ = now;
  std::erase_if(buckets_, [&](const auto& entry) { return now - entry.second.updated >= kIdle; });
}

bool Newcomers::admit(Time now, const IpAddress& source) {
  if (now - window_start_ >= std::chrono::seconds{1}) {
    window_start_ = now;
    in_window_ = 0;
    std::erase_if(seen_, [&](const auto& entry) { return now - entry.second >= kQuiet; });
  }
  const IpAddress key = source_of(source);
  const auto found = seen_.find(key);
  if (found != seen_.end()) {
    const bool quiet = now - found->second >= kQuiet;
    found->second = now;
    return quiet && in_window_++ < kPerSecondMax;
  }
  if (seen_.size() >= kSourcesMax) return false;
  seen_.emplace(key, now);
  return in_window_++ < kPerSecondMax;
}

}  // namespace lanrage::tunnel
