#include "tunnel/cookie.h"

#include <gtest/gtest.h>

#include "crypto/keys.h"

namespace lanrage::tunnel {
namespace {

using namespace std::chrono_literals;
using Verdict = CookieChecker::Verdict;

const Path kSource{{IpAddress::v4(192, 0, 2, 1), 51820}, false};

struct Fixture {
  SeededRng rng{1};
  crypto::PublicKey ours = crypto::public_key(crypto::PrivateKey::generate(rng));
  CookieChecker checker{ours, rng};
  CookieStamp stamp{ours};
  Time now{1000s};

  Bytes message(std::size_t size = wire::wireguard::kInitiationSize) {
    Bytes datagram(size);
    rng.fill(datagram);
    store_le<std::uint32_t>(datagram.data(), size == wire::wireguard::kInitiationSize ? 1 : 2);
    stamp.stamp(now, datagram);
    return datagram;
  }
  bool obtain_cookie(const Path& source = kSource) {
    const Bytes reply = checker.make_reply(now, source, message());
    return stamp.consume(now, wire::wireguard::parse_cookie_reply(reply).value());
  }
};

TEST(CookieChecker, KnowsWhatIsMeantForUs) {
  Fixture f;
  EXPECT_EQ(f.checker.check(f.now, kSource, f.message()), Verdict::kValidMac1);
  EXPECT_EQ(f.checker.check(f.now, kSource, f.message(wire::wireguard::kResponseSize)), Verdict::kValidMac1);
  CookieChecker other(crypto::public_key(crypto::PrivateKey::generate(f.rng)), f.rng);
  EXPECT_EQ(other.check(f.now, kSource, f.message()), Verdict::kInvalid);
}

TEST(CookieChecker, RefusesAnyChangedByteBeforeMac2) {
  Fixture f;
  const Bytes good = f.message();
  for (std::size_t i = 4; i < 132; ++i) {
    Bytes bad = good;
    bad[i] ^= 1;
    EXPECT_EQ(f.checker.check(f.now, kSource, bad), Verdict::kInvalid) << i;
  }
}

TEST(CookieChecker, RefusesOtherMessages) {
  Fixture f;
  EXPECT_EQ(f.checker.check(f.now, kSource, {}), Verdict::kInvalid);
  Bytes data(148, 1);
  store_le<std::uint32_t>(data.data(), 4);
  EXPECT_EQ(f.checker.check(f.now, kSource, data), Verdict::kInvalid);
}

TEST(CookieChecker, AcceptsTheCookieItGave) {
  Fixture f;
  ASSERT_TRUE(f.obtain_cookie());
  EXPECT_EQ(f.checker.check(f.now, kSource, f.message()), Verdict::kValidCookie);
  Bytes guessed = f.message();
  guessed[140] ^= 1;
  EXPECT_EQ(f.checker.check(f.now, kSource, guessed), Verdict::kValidMac1);
}

TEST(CookieChecker, GivesACookieToOneSourceOnly) {
  Fixture f;
  ASSERT_TRUE(f.obtain_cookie());
  const Bytes message = f.message();
  Path other = kSource;
  other.endpoint.port++;
  EXPECT_EQ(f.checker.check(f.now, other, message), Verdict::kValidMac1);
  other = kSource;
  other.relayed = true;
  EXPECT_EQ(f.checker.check(f.now, other, message), Verdict::kValidMac1);
  other = kSource;
  other.endpoint.address = IpAddress::v4(192, 0, 2, 2);
  EXPECT_EQ(f.checker.check(f.now, other, message), Verdict::kValidMac1);
}

TEST(CookieChecker, ACookieLives120To240Seconds) {
  Fixture f;
  ASSERT_TRUE(f.obtain_cookie());
  const Bytes message = f.message();
  f.now += 119s;
  EXPECT_EQ(f.checker.check(f.now, kSource, message), Verdict::kValidCookie);
  f.now += 2s;  // the secret turns, the one before still counts
  EXPECT_EQ(f.checker.check(f.now, kSource, message), Verdict::kValidCookie);
  f.now += 120s;
  EXPECT_EQ(f.checker.check(f.now, kSource, message), Verdict::kValidMac1);
}

TEST(CookieChecker, ForgetsBothSecretsAfterALongSilence) {
  Fixture f;
  ASSERT_TRUE(f.obtain_cookie());
  const Bytes message = f.message();
  f.now += 1h;
  EXPECT_EQ(f.checker.check(f.now, kSource, message), Verdict::kValidMac1);
}

TEST(CookieStamp, StopsUsingACookieAfter120Seconds) {
  Fixture f;
  ASSERT_TRUE(f.obtain_cookie());
  const auto mac2_is_zero = [&] {
    const Bytes message = f.message();
    return std::all_of(message.begin() + 132, message.end(), [](std::uint8_t b) { return b == 0; });
  };
  f.now += 119s;
  EXPECT_FALSE(mac2_is_zero());
  f.now += 2s;
  EXPECT_TRUE(mac2_is_zero());
}

TEST(CookieStamp, TakesOneCookiePerMessageAndOnlyForTheLast) {
  Fixture f;
  const Bytes first = f.message();
  const Bytes second = f.message();
  const auto reply_to = [&](const Bytes& m) {
    return wire::wireguard::parse_cookie_reply(f.checker.make_reply(f.now, kSource, m)).value();
  };
  EXPECT_FALSE(f.stamp.consume(f.now, reply_to(first)));
  EXPECT_TRUE(f.stamp.consume(f.now, reply_to(second)));
  EXPECT_FALSE(f.stamp.consume(f.now, reply_to(second)));
}

TEST(CookieStamp, RefusesAForgedReply) {
  Fixture f;
  auto reply = wire::wireguard::parse_cookie_reply(f.checker.make_reply(f.now, kSource, f.message())).value();
  reply.sealed_cookie[0] ^= 1;
  EXPECT_FALSE(f.stamp.consume(f.now, reply));
}

TEST(LoadDetector, IsUnderLoadByRateOrQueueAndForASecondAfter) {
  LoadDetector detector;
  Time now{1000s};
  EXPECT_FALSE(detector.note(now, 0));
  EXPECT_TRUE(detector.note(now, LoadDetector::kQueuedMax));
  EXPECT_TRUE(detector.note(now + 999ms, 0));
  EXPECT_FALSE(detector.note(now + 1001ms, 0));
  now += 10s;
  bool loaded = false;
  for (std::uint32_t i = 0; i < LoadDetector::kPerSecondMax; ++i) loaded = loaded || detector.note(now, 0);
  EXPECT_FALSE(loaded);
  EXPECT_TRUE(detector.note(now, 0));
}

TEST(SourceLimiter, AllowsTwentyPerSecondAndFiveAtOnce) {
  SourceLimiter limiter;
  Time now{1000s};
  int allowed = 0;
  for (int i = 0; i < 100; ++i) allowed += limiter.allow(now, kSource.endpoint.address);
  EXPECT_EQ(allowed, 5);
  for (int i = 0; i < 1000; ++i) {
    now += 1ms;
    allowed += limiter.allow(now, kSource.endpoint.address);
  }
  EXPECT_EQ(allowed, 25);
  EXPECT_TRUE(limiter.allow(now, IpAddress::v4(192, 0, 2, 99))) << "each source for itself";
}

TEST(SourceLimiter, TakesASlash64ForOneSource) {
  SourceLimiter limiter;
  int allowed = 0;
  for (int i = 0; i < 100; ++i) allowed += limiter.allow(Time{1s}, *IpAddress::parse("2001:db8::" + std::to_string(i)));
  EXPECT_EQ(allowed, 5);
  EXPECT_TRUE(limiter.allow(Time{1s}, *IpAddress::parse("2001:db8:0:1::1")));
}

TEST(SourceLimiter, IsBoundedAndForgets) {
  SourceLimiter limiter;
  Time now{1000s};
  for (std::uint32_t i = 0; i < 2 * SourceLimiter::kSourcesMax; ++i) limiter.allow(now, IpAddress::v4(i));
  EXPECT_EQ(limiter.size(), SourceLimiter::kSourcesMax);
  EXPECT_FALSE(limiter.allow(now, IpAddress::v4(1, 2, 3, 4)));
  EXPECT_TRUE(limiter.allow(now + 2s, IpAddress::v4(1, 2, 3, 4)));
  EXPECT_EQ(limiter.size(), 1u);
}

TEST(Newcomers, AdmitsAnAddressThatWasQuietForASecond) {
  Newcomers newcomers;
  Time now{1000s};
  const IpAddress loud = IpAddress::v4(192, 0, 2, 1), friendly = IpAddress::v4(192, 0, 2, 2);
  EXPECT_TRUE(newcomers.admit(now, loud));
  for (int i = 0; i < 3000; ++i) EXPECT_FALSE(newcomers.admit(now += 1ms, loud));
  EXPECT_TRUE(newcomers.admit(now, friendly));
  EXPECT_FALSE(newcomers.admit(now += 999ms, friendly));
  EXPECT_TRUE(newcomers.admit(now += 1s, friendly));
  EXPECT_TRUE(newcomers.admit(now, loud)) << "a flood that ended is forgotten";
}

TEST(Newcomers, TakesASlash64ForOneSource) {
  Newcomers newcomers;
  EXPECT_TRUE(newcomers.admit(Time{1000s}, *IpAddress::parse("2001:db8::1")));
  EXPECT_FALSE(newcomers.admit(Time{1000s}, *IpAddress::parse("2001:db8::2")));
  EXPECT_TRUE(newcomers.admit(Time{1000s}, *IpAddress::parse("2001:db8:0:1::1")));
}

TEST(Newcomers, AreFiftyASecondAndTheirTableIsBounded) {
  Newcomers newcomers;
  Time now{1000s};
  std::uint32_t admitted = 0;
  for (std::uint32_t i = 0; i < 20000; ++i) admitted += newcomers.admit(now, IpAddress::v4(i)) ? 1 : 0;
  EXPECT_EQ(admitted, Newcomers::kPerSecondMax);
  EXPECT_EQ(newcomers.size(), Newcomers::kSourcesMax);
  now += 1s;
  for (std::uint32_t i = 0; i < 20000; ++i) admitted += newcomers.admit(now, IpAddress::v4(i)) ? 1 : 0;
  EXPECT_EQ(admitted, 2 * Newcomers::kPerSecondMax);
}

}  // namespace
}  // namespace lanrage::tunnel
