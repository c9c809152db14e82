// The timers of section 6 of the paper, each at its second.
#include <gtest/gtest.h>

#include <set>

#include "tunnel/device.h"
#include "tunnel/testing_pair.h"

namespace lanrage::tunnel {
namespace {

using namespace std::chrono_literals;
using testing::Datagram;
using testing::Pair;
using testing::path_of;

// A connected pair, A having begun, at the moment its data arrived.
void connect(Pair& pair) {
  pair.introduce();
  pair.send(pair.a, "hello");
  pair.run_for(30ms);
  ASSERT_TRUE(pair.connected());
}

void lose_everything(Pair& pair) {
  pair.filter = [](Datagram&) { return false; };
}

std::vector<Time> initiations(const Pair& pair) {
  std::vector<Time> times;
  for (const Datagram& d : pair.sent)
    if (wire::wireguard::parse_type(d.bytes) == wire::wireguard::Type::kInitiation)
      times.push_back(d.arrives - pair.latency);
  return times;
}

TEST(Timers, RetryEveryFiveSecondsAndAJitterForNinetySeconds) {
  Pair pair;
  pair.introduce();
  pair.z.device.remove_peer(pair.z.peer);
  pair.send(pair.a, "hello");
  pair.run_for(200s);
  const auto times = initiations(pair);
  ASSERT_GE(times.size(), 17u);
  ASSERT_LE(times.size(), 18u);
  std::set<Duration> gaps;
  for (std::size_t i = 1; i < times.size(); ++i) {
    gaps.insert(times[i] - times[i - 1]);
    EXPECT_GE(times[i] - times[i - 1], kRekeyTimeout);
    EXPECT_LT(times[i] - times[i - 1], kRekeyTimeout + kRekeyJitterMax);
  }
  EXPECT_GT(gaps.size(), 10u) << "jitter differs each time";
  EXPECT_EQ(pair.a.count<HandshakeFailed>(), 1u);
  EXPECT_LT(times.back() - times.front(), kRekeyAttemptTime);
  EXPECT_TRUE(pair.a.staged.empty());
}

TEST(Timers, EachInitiationOfASeriesIsANewOne) {
  Pair pair;
  pair.introduce();
  pair.z.device.remove_peer(pair.z.peer);
  pair.send(pair.a, "hello");
  pair.run_for(60s);
  std::set<Bytes> ephemerals;
  std::set<std::uint32_t> indices;
  for (const Bytes& bytes : pair.a.transmitted) {
    ephemerals.insert(Bytes(bytes.begin() + 8, bytes.begin() + 40));
    indices.insert(load_le<std::uint32_t>(bytes.data() + 4));
  }
  EXPECT_EQ(ephemerals.size(), pair.a.transmitted.size());
  EXPECT_EQ(indices.size(), pair.a.transmitted.size());
}

TEST(Timers, BeginAnewWhenDataWaitsAfterGivingUp) {
  Pair pair;
  pair.introduce();
  lose_everything(pair);
  pair.send(pair.a, "hello");
  pair.run_for(100s);
  ASSERT_EQ(pair.a.count<HandshakeFailed>(), 1u);
  EXPECT_FALSE(pair.a.device.next_timeout());
  pair.filter = [](Datagram&) { return true; };
  pair.send(pair.a, "again");
  pair.run_for(1s);
  EXPECT_TRUE(pair.connected());
}

TEST(Timers, DataThatKeepsComingDoesNotExtendTheNinetySeconds) {
  Pair pair;
  pair.introduce();
  lose_everything(pair);
  for (int i = 0; i < 95; ++i) {
    pair.send(pair.a, "hello");
    pair.run_for(1s);
  }
  EXPECT_EQ(pair.a.count<HandshakeFailed>(), 1u);
}

TEST(Timers, InitiatorRenewsAfter120SecondsOfSending) {
  Pair pair;
  connect(pair);
  for (int i = 0; i < 119; ++i) {
    pair.run_for(1s);
    pair.send(pair.a, "data");
    pair.send(pair.z, "data");
  }
  EXPECT_EQ(pair.a.device.stats().initiations_sent, 1u);
  pair.run_for(1s);
  pair.send(pair.z, "data");
  pair.send(pair.a, "data");
  EXPECT_EQ(pair.a.device.stats().initiations_sent, 2u);
  pair.run_for(1s);
  EXPECT_EQ(pair.a.device.stats().sessions, 2u);
  EXPECT_EQ(pair.z.device.stats().initiations_sent, 0u) << "the responder leaves it to the initiator";
}

TEST(Timers, InitiatorThatOnlyReceivesRenewsAfter165Seconds) {
  Pair pair;
  connect(pair);
  // A keepalive counts as sent, so what A receives comes as keepalives: those it does not answer.
  const auto keepalive = [&] {
    Bytes bytes(kDataOverhead);
    ASSERT_EQ(pair.z.send->seal({}, bytes, testing::kMtu), kDataOverhead);
    pair.a.handle(pair.now(pair.a), {pair.time, pair.z.address, pair.a.address, bytes});
    pair.pump();
  };
  pair.run_for(164s);
  keepalive();
  EXPECT_EQ(pair.a.device.stats().initiations_sent, 1u);
  pair.run_for(2s);
  keepalive();
  EXPECT_EQ(pair.a.device.stats().initiations_sent, 2u);
  pair.run_for(5ms);
  keepalive();
  EXPECT_EQ(pair.a.device.stats().initiations_sent, 2u) << "once";
}

TEST(Timers, KeysAreUnusableAfter180Seconds) {
  Pair pair;
  connect(pair);
  const auto send = pair.z.send;
  const Time created = send->created();
  EXPECT_TRUE(send->usable(created + 180s - 1ns));
  EXPECT_FALSE(send->usable(created + 180s));
  EXPECT_TRUE(pair.a.receive.begin()->second->usable(created + 179s));
  EXPECT_FALSE(pair.a.receive.begin()->second->usable(created + 181s));
  pair.run_for(179s);
  EXPECT_TRUE(pair.connected());
  pair.run_for(1s);
  EXPECT_FALSE(pair.connected());
  pair.send(pair.z, "too late for the old key");
  pair.run_for(1s);
  EXPECT_EQ(pair.a.received, std::vector<std::string>{"too late for the old key"});
  EXPECT_EQ(pair.z.device.stats().initiations_sent, 1u);
}

TEST(Timers, WipeKeys540SecondsAfterTheLastHandshake) {
  Pair pair;
  connect(pair);
  std::weak_ptr<SendKey> key = pair.a.send;
  pair.a.log.clear();  // it holds the keys too
  pair.run_for(539s);
  EXPECT_FALSE(pair.a.receive.empty());
  pair.run_for(2s);
  EXPECT_TRUE(pair.a.receive.empty());
  EXPECT_TRUE(pair.z.receive.empty());
  EXPECT_TRUE(key.expired()) << "nobody holds it: it is wiped";
  EXPECT_FALSE(pair.a.device.next_timeout());
}

TEST(Timers, AnswerDataByAKeepaliveAfterTenSeconds) {
  Pair pair;
  connect(pair);
  const std::size_t before = pair.a.keepalives;
  pair.run_for(9900ms);
  EXPECT_EQ(pair.a.keepalives, before);
  pair.run_for(200ms);
  EXPECT_EQ(pair.a.keepalives, before + 1) << "from Z, which received hello";
  pair.run_for(100s);
  EXPECT_EQ(pair.a.keepalives, before + 1) << "keepalives are not answered";
  EXPECT_EQ(pair.z.keepalives, 0u);
}

TEST(Timers, NoKeepaliveWhereDataAnswers) {
  Pair pair;
  connect(pair);
  for (int i = 0; i < 12; ++i) {
    pair.run_for(5s);
    pair.send(pair.a, "ping");
    pair.run_for(50ms);
    pair.send(pair.z, "pong");
  }
  EXPECT_EQ(pair.a.keepalives + pair.z.keepalives, 0u);
}

TEST(Timers, KeepAnsweringAStreamThatOnlyFlowsOneWay) {
  Pair pair;
  connect(pair);
  for (int i = 0; i < 100; ++i) {
    pair.run_for(1s);
    pair.send(pair.a, "stream");
  }
  EXPECT_GE(pair.a.keepalives, 9u);
  EXPECT_LE(pair.a.keepalives, 10u);
  EXPECT_EQ(pair.a.device.stats().initiations_sent, 1u) << "the keepalives are the answer";
}

TEST(Timers, ANewHandshake15SecondsAfterDataThatNothingAnswered) {
  Pair pair;
  connect(pair);
  pair.run_for(60s);
  lose_everything(pair);
  pair.send(pair.a, "is anybody there");
  pair.run_for(14900ms);
  EXPECT_EQ(pair.a.device.stats().initiations_sent, 1u);
  pair.run_for(500ms);
  EXPECT_EQ(pair.a.device.stats().initiations_sent, 2u);
}

TEST(Timers, RecoverFromARestartOfTheOtherSideWithin16Seconds) {
  Pair pair;
  connect(pair);
  pair.run_for(20s);
  pair.z.device.set_private_key(pair.now(pair.z), pair.z.private_key);  // forgets every session
  pair.pump();
  const Time lost = pair.time;
  const auto took = pair.run_until(
      [&] {
        if ((pair.time - lost) % 100ms == 0ms) pair.send(pair.a, "data");
        return pair.z.received.size() > 1;
      },
      30s);
  ASSERT_TRUE(took);
  EXPECT_LT(*took, 16s);
}

TEST(Timers, PersistentKeepaliveFollowsTheLastPacket) {
  Pair pair;
  PeerOptions options;
  options.keepalive = 25s;
  pair.introduce(options);
  pair.run_for(1s);
  EXPECT_TRUE(pair.connected()) << "it begins with a handshake";
  const auto before = pair.z.keepalives;
  pair.run_for(100s);
  EXPECT_EQ(pair.z.keepalives, before + 4);
  for (int i = 0; i < 10; ++i) {
    pair.send(pair.z, "data");
    pair.run_for(20s);
  }
  // Only the passive answers, ten seconds after each, and one that confirms each new session.
  EXPECT_EQ(pair.z.keepalives - before - 4, 10u + pair.a.device.stats().sessions - 1);
}

TEST(Timers, PersistentKeepaliveKeepsASessionForHours) {
  Pair pair;
  PeerOptions options;
  options.keepalive = 25s;
  pair.introduce(options);
  pair.run_for(1s);
  for (int i = 0; i < 3 * 60; ++i) {
    pair.run_for(60s);
    ASSERT_TRUE(pair.connected()) << i << " minutes";
  }
}

TEST(Timers, PersistentKeepaliveCanBeTurnedOnAndOff) {
  Pair pair;
  connect(pair);
  pair.run_for(30s);
  PeerOptions options;
  options.keepalive = 25s;
  ASSERT_TRUE(pair.a.device.update_peer(pair.now(pair.a), pair.a.peer, options));
  pair.run_for(1s);
  EXPECT_EQ(pair.z.keepalives, 1u) << "at once";
  pair.run_for(25s);
  EXPECT_EQ(pair.z.keepalives, 2u);
  ASSERT_TRUE(pair.a.device.update_peer(pair.now(pair.a), pair.a.peer, {}));
  pair.run_for(100s);
  EXPECT_EQ(pair.z.keepalives, 2u);
}

TEST(Timers, RenewAfterTooManyMessages) {
  Pair pair;
  connect(pair);
  pair.run_for(10s);
  pair.z.send->skip_to(kRekeyAfterMessages - 2);
  pair.send(pair.z, "one before");
  EXPECT_EQ(pair.z.device.stats().initiations_sent, 0u);
  pair.send(pair.z, "the last but not forbidden");
  EXPECT_EQ(pair.z.device.stats().initiations_sent, 1u);
  pair.run_for(1s);
  EXPECT_LT(pair.z.send->counter(), 10u);
}

TEST(Timers, ASessionOutOfCountersIsFollowedByAnother) {
  Pair pair;
  connect(pair);
  pair.run_for(10s);
  pair.z.send->skip_to(kRejectAfterMessages - 1);
  pair.send(pair.z, "the very last");
  pair.run_for(1s);
  EXPECT_EQ(pair.a.received.back(), "the very last");
  pair.send(pair.z, "on the next key");
  pair.run_for(1s);
  EXPECT_EQ(pair.a.received.back(), "on the next key");
}

TEST(Timers, LoseNothingOverManyRenewals) {
  Pair pair;
  connect(pair);
  std::size_t sent = 0;
  for (int i = 0; i < 20 * 60 * 5; ++i) {
    pair.run_for(200ms);
    ++sent;
    pair.send(pair.a, "a");
    pair.send(pair.z, "z");
  }
  pair.run_for(1s);
  EXPECT_EQ(pair.z.received.size(), sent + 1);
  EXPECT_EQ(pair.a.received.size(), sent);
  EXPECT_EQ(pair.a.device.stats().sessions, 10u);
  EXPECT_LE(pair.a.receive.size(), 3u);
}

TEST(Timers, HoldWhenActivityIsReportedOnceASecond) {
  Pair pair;
  connect(pair);
  pair.run_for(1s);
  Device& device = pair.a.device;
  const auto key = pair.a.peer;
  Activity activity = pair.a.activity;
  // Data sent at 0.2 s and received at 0.4 s of this second: something answered, and the answer is unanswered.
  const Time start = pair.time;
  activity.last_sent = activity.last_data_sent = start + 200ms;
  activity.last_received = activity.last_data_received = start + 400ms;
  pair.time = start + 1s;
  device.handle_activity(pair.now(pair.a), key, activity);
  ASSERT_TRUE(device.next_timeout());
  EXPECT_EQ(*device.next_timeout(), start + 400ms + kKeepaliveTimeout);
  // The next second: data sent at 1.5 s, nothing received.
  activity.last_sent = activity.last_data_sent = start + 1500ms;
  pair.time = start + 2s;
  device.handle_activity(pair.now(pair.a), key, activity);
  const auto timeout = device.next_timeout();
  ASSERT_TRUE(timeout);
  EXPECT_GE(*timeout, start + 1500ms + 15s);
  EXPECT_LT(*timeout, start + 1500ms + 15s + kRekeyJitterMax);
  // The same report again changes nothing.
  device.handle_activity(pair.now(pair.a), key, activity);
  EXPECT_EQ(device.next_timeout(), timeout);
}

TEST(Timers, SurviveASleepOfDays) {
  Pair pair;
  connect(pair);
  pair.run_for(10s);
  pair.wire.clear();
  pair.time += 3 * 24h;  // both asleep, no timer ran
  pair.send(pair.a, "good morning");
  const auto took = pair.run_until([&] { return pair.z.received.back() == "good morning"; }, 2s);
  EXPECT_TRUE(took);
}

}  // namespace
}  // namespace lanrage::tunnel
