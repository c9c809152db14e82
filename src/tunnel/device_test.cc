// Handshakes, sessions, who gets an answer. The timers have their own file.
#include "tunnel/device.h"

#include <gtest/gtest.h>

#include <set>

#include "tunnel/testing_pair.h"

namespace lanrage::tunnel {
namespace {

using namespace std::chrono_literals;
using testing::Datagram;
using testing::Node;
using testing::Pair;
using testing::path_of;
using testing::psk_of;
using ::testing::Test;

wire::wireguard::Type type_of(const Bytes& bytes) { return wire::wireguard::parse_type(bytes).value(); }

PeerOptions with_psks(std::vector<crypto::PresharedKey> psks) {
  PeerOptions options;
  options.preshared_keys = std::move(psks);
  return options;
}

TEST(Device, CarriesWhatWaitedAndAnswersInOneRoundTripMore) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "hello");
  pair.run_for(30ms);  // initiation, response, data
  EXPECT_EQ(pair.z.received, std::vector<std::string>{"hello"});
  EXPECT_TRUE(pair.connected());
  pair.send(pair.z, "welcome");
  pair.run_for(10ms);
  EXPECT_EQ(pair.a.received, std::vector<std::string>{"welcome"});
  EXPECT_EQ(pair.a.device.stats().initiations_sent, 1u);
  EXPECT_EQ(pair.z.device.stats().responses_sent, 1u);
}

TEST(Device, InitiatorConfirmsByAKeepaliveWhenNothingWaits) {
  Pair pair;
  pair.introduce();
  pair.a.device.start_handshake(pair.now(pair.a), pair.a.peer);
  pair.run_for(20ms);
  EXPECT_EQ(pair.z.count<SessionConfirmed>(), 0u);
  EXPECT_FALSE(pair.z.device.status(pair.now(pair.z), pair.z.peer)->connected);
  pair.run_for(10ms);
  EXPECT_EQ(pair.z.keepalives, 1u);
  EXPECT_EQ(pair.z.count<SessionConfirmed>(), 1u);
  EXPECT_TRUE(pair.connected());
}

TEST(Device, AHurriedHandshakeIsAnsweredWhenAShorterPathComesUpMeanwhile) {
  // By a relay 60 ms each way; 90 ms later by a path so short that a second initiation at once would come as a flood.
  Pair pair;
  pair.introduce();
  pair.latency = 60ms;
  pair.a.device.start_handshake(pair.now(pair.a), pair.a.peer);
  pair.run_for(90ms);
  pair.a.device.start_handshake(pair.now(pair.a), pair.a.peer);
  pair.run_for(100ms);
  EXPECT_TRUE(pair.connected());
  EXPECT_EQ(pair.a.device.stats().initiations_sent, 1u);
  EXPECT_EQ(pair.z.dropped(Drop::kFlood), 0u);
}

TEST(Device, AnInitiationIsTakenForLostWhenThePathAnswersSomethingElse) {
  Pair pair;
  pair.introduce();
  bool loses = true;
  pair.filter = [&](Datagram&) { return !loses; };
  pair.a.device.start_handshake(pair.now(pair.a), pair.a.peer);
  pair.run_for(10ms);
  loses = false;
  pair.a.device.handle_round_trip(pair.a.peer, 200ms);
  pair.run_for(380ms);
  EXPECT_EQ(pair.a.device.stats().initiations_sent, 1u) << "its answer may be on the way";
  pair.a.device.handle_round_trip(pair.a.peer, 20ms);
  pair.run_for(100ms);
  EXPECT_TRUE(pair.connected());
  pair.a.device.handle_round_trip(pair.a.peer, 20ms);
  pair.run_for(1s);
  EXPECT_EQ(pair.a.device.stats().initiations_sent, 2u) << "nothing waits for an answer";
}

TEST(Device, ResponderHoldsItsDataUntilTheInitiatorProvedItself) {
  Pair pair;
  pair.introduce();
  pair.a.device.start_handshake(pair.now(pair.a), pair.a.peer);
  pair.run_for(10ms);
  ASSERT_EQ(pair.z.count<SessionReady>(), 1u);
  pair.send(pair.z, "early");
  pair.run_for(9ms);
  EXPECT_EQ(pair.z.device.stats().initiations_sent, 0u) << "the initiator is about to speak";
  pair.run_for(30ms);
  EXPECT_EQ(pair.a.received, std::vector<std::string>{"early"});
}

TEST(Device, MeetsInTheMiddleWhenBothBegin) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "from a");
  pair.send(pair.z, "from z");
  pair.run_for(100ms);
  EXPECT_EQ(pair.z.received, std::vector<std::string>{"from a"});
  EXPECT_EQ(pair.a.received, std::vector<std::string>{"from z"});
  for (int i = 0; i < 20; ++i) {
    pair.send(pair.a, "x");
    pair.send(pair.z, "y");
    pair.run_for(10ms);
  }
  EXPECT_EQ(pair.z.received.size(), 21u);
  EXPECT_EQ(pair.a.received.size(), 21u);
}

// Each side may then send under a session of its own.
TEST(Device, LosesNothingWhileASessionIsRenewedAfterHandshakesCrossed) {
  for (const bool a_renews : {true, false}) {
    Pair pair;
    pair.introduce();
    pair.a.device.start_handshake(pair.now(pair.a), pair.a.peer);
    pair.z.device.start_handshake(pair.now(pair.z), pair.z.peer);
    pair.run_for(1s);
    ASSERT_TRUE(pair.connected());
    Node& renewing = a_renews ? pair.a : pair.z;
    renewing.device.start_handshake(pair.now(renewing), renewing.peer);
    constexpr std::size_t kPackets = 100;
    for (std::size_t i = 0; i < kPackets; ++i) {
      pair.send(pair.a, "from a");
      pair.send(pair.z, "from z");
      pair.run_for(1ms);
    }
    pair.run_for(1s);
    EXPECT_EQ(pair.z.received.size(), kPackets);
    EXPECT_EQ(pair.a.received.size(), kPackets);
    EXPECT_EQ(pair.a.device.stats().sessions, 3u);
    EXPECT_LE(pair.a.receive.size(), 2u);
    EXPECT_LE(pair.z.receive.size(), 2u);
  }
}

TEST(Device, ConnectsThroughLoss) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SeededRng rng(seed);
    Pair pair;
    pair.introduce();
    pair.filter = [&](Datagram&) { return rng.below(10) >= 3; };
    for (int i = 0; i < 60 && pair.z.received.empty(); ++i) {
      pair.send(pair.a, "hello");
      pair.run_for(1s);
    }
    EXPECT_TRUE(pair.connected()) << "--seed=" << seed;
  }
}

// ---- preshared keys

TEST(Device, ConnectsWithTheSamePresharedKey) {
  Pair pair;
  pair.introduce(with_psks({psk_of(1)}), with_psks({psk_of(1)}));
  pair.send(pair.a, "hello");
  pair.run_for(50ms);
  EXPECT_TRUE(pair.connected());
}

TEST(Device, NeverConnectsWithAWrongPresharedKey) {
  Pair pair;
  pair.introduce(with_psks({psk_of(1)}), with_psks({psk_of(2)}));
  pair.send(pair.a, "hello");
  pair.send(pair.z, "hello");
  pair.run_for(100s);
  EXPECT_FALSE(pair.connected());
  EXPECT_TRUE(pair.z.received.empty() && pair.a.received.empty());
  EXPECT_GT(pair.a.dropped(Drop::kForged), 0u);
  EXPECT_EQ(pair.a.count<SessionConfirmed>() + pair.z.count<SessionConfirmed>(), 0u);
}

TEST(Device, NeverConnectsWithoutThePresharedKeyOfTheOther) {
  Pair pair;
  pair.introduce({}, with_psks({psk_of(2)}));
  pair.send(pair.a, "hello");
  pair.run_for(100s);
  EXPECT_FALSE(pair.connected());
}

TEST(Device, InitiatorTriesItsOlderKeysOnTheResponse) {
  Pair pair;  // A has heard of the new epoch, Z has not
  pair.introduce(with_psks({psk_of(3), psk_of(2), psk_of(1)}), with_psks({psk_of(1)}));
  pair.send(pair.a, "hello");
  pair.run_for(50ms);
  EXPECT_EQ(pair.z.received, std::vector<std::string>{"hello"});
}

TEST(Device, ResponderUsesItsNewestKeyOnly) {
  Pair pair;
  pair.introduce(with_psks({psk_of(1)}), with_psks({psk_of(2), psk_of(1)}));
  pair.send(pair.a, "hello");
  pair.run_for(50ms);
  EXPECT_FALSE(pair.connected());
  // The other way round it works: whoever knows more begins.
  pair.send(pair.z, "hello");
  EXPECT_TRUE(pair.run_until([&] { return pair.connected(); }, 10s));
}

TEST(Device, AnUpdatedKeyServesTheNextHandshake) {
  Pair pair;
  pair.introduce(with_psks({psk_of(1)}), with_psks({psk_of(2)}));
  ASSERT_TRUE(pair.a.device.update_peer(pair.now(pair.a), pair.a.peer, with_psks({psk_of(2)})));
  EXPECT_EQ(pair.a.device.path(pair.a.peer), pair.z.address) << "an update without a path keeps the path";
  pair.send(pair.a, "hello");
  pair.run_for(50ms);
  EXPECT_TRUE(pair.connected());
}

// ---- replays and clocks

TEST(Device, RefusesAReplayedInitiation) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "hello");
  pair.run_for(1s);
  const Bytes initiation = pair.sent.front().bytes;
  ASSERT_EQ(type_of(initiation), wire::wireguard::Type::kInitiation);
  const auto sessions = pair.z.device.stats().sessions;
  const auto answers = pair.z.transmitted.size();
  pair.z.device.handle_packet(pair.now(pair.z), path_of(66), initiation);
  pair.pump();
  EXPECT_EQ(pair.z.dropped(Drop::kReplayed), 1u);
  EXPECT_EQ(pair.z.device.stats().sessions, sessions);
  EXPECT_EQ(pair.z.transmitted.size(), answers);
  EXPECT_EQ(pair.z.device.path(pair.z.peer), pair.a.address) << "a replay moves nothing";
}

TEST(Device, RefusesAReplayAfterARestartWhenTimestampsWereKept) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "hello");
  pair.run_for(1s);
  const Bytes initiation = pair.sent.front().bytes;
  PeerOptions kept;
  kept.greatest_timestamp = pair.z.device.status(pair.now(pair.z), pair.z.peer)->greatest_timestamp;

  Node restarted(2, path_of(2));
  restarted.device.set_private_key(pair.now(pair.z), restarted.private_key);
  ASSERT_TRUE(restarted.device.add_peer(pair.now(pair.z), pair.a.public_key, kept));
  restarted.device.handle_packet(pair.now(pair.z), path_of(1), initiation);
  EXPECT_EQ(restarted.dropped(Drop::kReplayed), 1u);
}

TEST(Device, RefusesAReplayedResponse) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "hello");
  pair.run_for(1s);
  const Bytes response = pair.sent[1].bytes;
  ASSERT_EQ(type_of(response), wire::wireguard::Type::kResponse);
  const auto sessions = pair.a.device.stats().sessions;
  pair.a.device.handle_packet(pair.now(pair.a), path_of(2), response);
  EXPECT_EQ(pair.a.dropped(Drop::kUnknownIndex), 1u);
  EXPECT_EQ(pair.a.device.stats().sessions, sessions);
}

TEST(Device, StampsNeverGoBackWhateverTheClockDoes) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "hello");
  pair.run_for(1s);
  for (const Duration jump : {Duration{1h}, Duration{-1h}, Duration{10 * 365 * 24h}, Duration{-10 * 365 * 24h}}) {
    pair.a.wall_offset += jump;
    pair.run_for(600s);  // every key is wiped
    ASSERT_FALSE(pair.connected());
    pair.send(pair.a, "hello again");
    pair.run_for(1s);
    EXPECT_TRUE(pair.connected());
  }
  EXPECT_EQ(pair.z.dropped(Drop::kReplayed), 0u);
}

TEST(Device, AClockThatJumpedBackLocksNobodyOutAfterARestart) {
  Pair first;
  first.introduce();
  first.send(first.a, "hello");
  first.run_for(1s);
  const Tai64n floor = first.a.device.timestamp_floor();
  const Tai64n seen = first.z.device.status(first.now(first.z), first.z.peer)->greatest_timestamp;
  EXPECT_LT(seen, floor) << "reserved ahead";

  const auto connects = [&](Tai64n kept_floor) {
    DeviceOptions options;
    options.timestamp_floor = kept_floor;
    Pair second(options);
    second.a.wall_offset = -10 * 365 * 24h;
    PeerOptions remembered;  // Z still knows what A once sent
    remembered.greatest_timestamp = seen;
    second.introduce({}, remembered);
    second.send(second.a, "hello");
    second.run_for(1s);
    return second.connected();
  };
  EXPECT_TRUE(connects(floor));
  EXPECT_FALSE(connects({})) << "this is what the floor is for";
}

TEST(Device, ReservesTimestampsAheadSoThatTheFloorIsRarelySaved) {
  DeviceOptions options;
  options.timestamp_reserve = 10s;
  Pair pair(options);
  pair.introduce();
  Tai64n reserved = pair.a.device.timestamp_floor();
  EXPECT_EQ(reserved, Tai64n{});
  for (int i = 0; i < 100; ++i) {
    pair.a.device.start_handshake(pair.now(pair.a), pair.a.peer);
    pair.run_for(200ms);
    EXPECT_GE(pair.a.device.timestamp_floor(), pair.z.device.status(pair.now(pair.z), pair.z.peer)->greatest_timestamp);
  }
  EXPECT_GE(pair.a.count<TimestampFloorRaised>(), 2u);
  EXPECT_LE(pair.a.count<TimestampFloorRaised>(), 3u);
}

TEST(Device, TellsTheFloorBeforeTheInitiationCanBeSent) {
  Pair pair;
  pair.introduce();
  pair.a.device.handle_outbound(pair.now(pair.a), pair.a.peer);
  const auto event = pair.a.device.poll_event();
  ASSERT_TRUE(event);
  EXPECT_EQ(std::get<TimestampFloorRaised>(*event).floor, pair.a.device.timestamp_floor());
}

TEST(Device, ReadsTwentyInitiationsPerSecondOfAPeer) {
  Pair pair;
  pair.introduce();
  const LocalIdentity a(pair.a.private_key);
  const auto z = RemoteIdentity::make(a, pair.z.public_key);
  CookieStamp stamp(pair.z.public_key);
  for (std::uint32_t i = 0; i < 1000; ++i) {  // a thousand, all genuine, in one second
    const auto stamped_at = Tai64n::of(pair.now(pair.a).wall);
    const auto created = create_initiation(a, *z, stamped_at, i, pair.a.rng);
    Bytes datagram = wire::wireguard::write(created->message);
    stamp.stamp(pair.time, datagram);
    pair.z.device.handle_packet(pair.now(pair.z), pair.a.address, datagram);
    pair.time += 1ms;
  }
  EXPECT_EQ(pair.z.device.stats().initiations_received, 20u);
  EXPECT_EQ(pair.z.dropped(Drop::kFlood), 980u);
  EXPECT_TRUE(pair.z.device.is_consistent());
}

// ---- who gets an answer

TEST(Device, IsSilentToStrangers) {
  Pair pair;
  ASSERT_TRUE(pair.a.device.add_peer(pair.now(pair.a), pair.a.peer, {{}, pair.z.address, 0s, {}}));
  pair.send(pair.a, "hello");  // Z does not know A
  pair.run_for(1s);
  EXPECT_EQ(pair.z.dropped(Drop::kUnknownPeer), 1u);
  EXPECT_TRUE(pair.z.transmitted.empty());
  EXPECT_TRUE(pair.z.log.empty());
}

TEST(Device, IsSilentToNoiseOfEveryTypeAndLength) {
  Pair pair;
  pair.introduce();
  SeededRng rng(5);
  for (int type = 0; type < 256; ++type) {
    for (std::size_t size : {0, 1, 3, 4, 16, 31, 32, 63, 64, 65, 91, 92, 93, 147, 148, 149, 1500}) {
      Bytes datagram(size);
      rng.fill(datagram);
      if (size >= 4) store_le(datagram.data(), static_cast<std::uint32_t>(type));
      pair.z.device.handle_packet(pair.now(pair.z), path_of(9), datagram, type % 2 == 0);
    }
  }
  EXPECT_FALSE(pair.z.device.poll_transmit());
  EXPECT_FALSE(pair.z.device.poll_event());
  EXPECT_EQ(pair.z.dropped(Drop::kBadMac1), 2u);
  EXPECT_EQ(pair.z.dropped(Drop::kUnknownIndex), 1u);
  EXPECT_EQ(pair.z.dropped(Drop::kMalformed), 256u * 17 - 3);
}

TEST(Device, WithoutAnIdentityIsSilent) {
  Pair pair;
  pair.introduce();
  pair.z.device.set_private_key(pair.now(pair.z), std::nullopt);
  EXPECT_FALSE(pair.z.device.public_key());
  pair.send(pair.a, "hello");
  pair.send(pair.z, "hello");
  pair.run_for(1s);
  EXPECT_TRUE(pair.z.transmitted.empty());
  EXPECT_EQ(pair.z.dropped(Drop::kNoIdentity), 1u);
}

TEST(Device, AForgedBitAnywhereMakesNoSession) {
  Pair pair;
  pair.introduce();
  Bytes initiation;
  pair.filter = [&](Datagram& d) {
    initiation = d.bytes;
    return false;
  };
  pair.send(pair.a, "hello");
  for (std::size_t bit = 0; bit < 132 * 8; bit += 5) {
    for (const bool right_mac : {false, true}) {
      Bytes forged = initiation;
      forged[bit / 8] ^= static_cast<std::uint8_t>(1 << (bit % 8));
      CookieStamp stamp(pair.z.public_key);
      if (right_mac && wire::wireguard::parse_type(forged)) stamp.stamp(pair.time, forged);
      // The sender index and a mac1 that is then put right again are not forgeries: the index is authenticated by use.
      if (right_mac && ((bit / 8 >= 4 && bit / 8 < 8) || bit / 8 >= 116)) continue;
      pair.z.device.handle_packet(pair.now(pair.z), pair.a.address, forged);
    }
  }
  EXPECT_EQ(pair.z.device.stats().sessions, 0u);
  EXPECT_FALSE(pair.z.device.poll_transmit());
  pair.z.device.handle_packet(pair.now(pair.z), pair.a.address, initiation);
  EXPECT_EQ(pair.z.device.stats().sessions, 1u) << "none of the forgeries spent the timestamp";
}

// ---- load

TEST(Device, UnderLoadAsksForACookieAndConnectsWithinASecond) {
  Pair pair;
  pair.introduce();
  pair.z.under_load = true;
  pair.send(pair.a, "hello");
  const auto took = pair.run_until([&] { return pair.connected(); }, 10s);
  ASSERT_TRUE(took);
  EXPECT_LT(*took, 1s);
  EXPECT_EQ(pair.z.device.stats().cookies_sent, 1u);
  EXPECT_EQ(pair.a.device.stats().cookies_received, 1u);
  ASSERT_EQ(type_of(pair.sent[1].bytes), wire::wireguard::Type::kCookieReply);
  EXPECT_LT(pair.sent[1].bytes.size(), pair.sent[0].bytes.size()) << "no amplification";
}

TEST(Device, UnderLoadWantsTheCookieForEachSource) {
  Pair pair;
  pair.introduce();
  pair.z.under_load = true;
  pair.send(pair.a, "hello");
  ASSERT_TRUE(pair.run_until([&] { return pair.z.device.stats().initiations_received == 1; }, 10s));
  Bytes with_cookie;
  for (const Datagram& d : pair.sent)
    if (type_of(d.bytes) == wire::wireguard::Type::kInitiation) with_cookie = d.bytes;
  const auto cookies = pair.z.device.stats().cookies_sent;
  pair.z.device.handle_packet(pair.now(pair.z), path_of(77), with_cookie, true);
  EXPECT_EQ(pair.z.device.stats().cookies_sent, cookies + 1);
  EXPECT_EQ(pair.z.dropped(Drop::kReplayed), 0u) << "it did not get so far as a Diffie-Hellman";
}

TEST(Device, UnderLoadLimitsWhoHasACookie) {
  Pair pair;
  pair.introduce();
  CookieStamp stamp(pair.z.public_key);
  const LocalIdentity a(pair.a.private_key);
  const auto z = RemoteIdentity::make(a, pair.z.public_key);
  const auto offer = [&](std::uint32_t i) {
    const auto created = create_initiation(a, *z, Tai64n::of(pair.now(pair.a).wall).plus(Duration{i}), i, pair.a.rng);
    Bytes datagram = wire::wireguard::write(created->message);
    stamp.stamp(pair.time, datagram);
    pair.z.device.handle_packet(pair.now(pair.z), path_of(50), datagram, true);
  };
  offer(0);
  ASSERT_TRUE(
      stamp.consume(pair.time, wire::wireguard::parse_cookie_reply(pair.z.device.poll_transmit()->datagram).value()));
  for (std::uint32_t i = 1; i <= 100; ++i) offer(i);
  EXPECT_EQ(pair.z.dropped(Drop::kRateLimited), 100u - SourceLimiter::kBurst);
}

TEST(Device, IgnoresACookieItDidNotAskFor) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "hello");
  const auto index = load_le<std::uint32_t>(pair.a.transmitted.front().data() + 4);
  wire::wireguard::CookieReply reply;
  reply.receiver = index;
  pair.a.device.handle_packet(pair.now(pair.a), pair.z.address, wire::wireguard::write(reply));
  EXPECT_EQ(pair.a.dropped(Drop::kForged), 1u);
  reply.receiver = index + 1;
  pair.a.device.handle_packet(pair.now(pair.a), pair.z.address, wire::wireguard::write(reply));
  EXPECT_EQ(pair.a.dropped(Drop::kUnknownIndex), 1u);
  EXPECT_EQ(pair.a.device.stats().cookies_received, 0u);
}

// ---- indices

TEST(Device, PicksAnotherIndexWhenTheRelayRefusesOne) {
  Pair pair;
  pair.introduce();
  pair.filter = [](Datagram&) { return false; };
  pair.send(pair.a, "hello");
  const auto refused = load_le<std::uint32_t>(pair.a.transmitted.front().data() + 4);
  ASSERT_EQ(pair.a.device.owner_of_index(refused), pair.a.peer);
  pair.filter = [](Datagram&) { return true; };
  pair.a.device.reject_index(pair.now(pair.a), refused);
  pair.run_for(300ms);
  ASSERT_GE(pair.a.transmitted.size(), 2u);
  EXPECT_NE(load_le<std::uint32_t>(pair.a.transmitted[1].data() + 4), refused);
  EXPECT_FALSE(pair.a.device.owner_of_index(refused));
  EXPECT_TRUE(pair.connected());
}

TEST(Device, ReplacesASessionWhoseIndexIsRefused) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "hello");
  pair.run_for(1s);
  const auto refused = pair.z.receive.begin()->first;
  pair.z.device.reject_index(pair.now(pair.z), refused);
  pair.run_for(1s);
  EXPECT_EQ(pair.z.device.stats().initiations_sent, 1u);
  EXPECT_NE(pair.z.send->local_index(), refused);
  pair.send(pair.a, "again");
  pair.run_for(20ms);
  EXPECT_EQ(pair.z.received.back(), "again");
}

TEST(Device, IgnoresTheRefusalOfAnIndexThatIsNotIts) {
  Pair pair;
  pair.introduce();
  pair.a.device.reject_index(pair.now(pair.a), 12345);
  EXPECT_FALSE(pair.a.device.poll_transmit());
}

TEST(Device, NeverUsesAnIndexTwiceAtATime) {
  // A generator that repeats itself: indices collide unless they are looked up.
  class Repeating final : public Rng {
   public:
    void fill(MutableBytes out) override {
      if (out.size() == 4) {
        store_le(out.data(), (drawn_++ / 3) % 7);
        return;
      }
      real_.fill(out);
    }

   private:
    SeededRng real_{1};
    std::uint32_t drawn_ = 0;
  } rng;
  Device device({}, rng, silent_logger());
  const Now now{Time{1s}, WallTime{1s}};
  device.set_private_key(now, testing::key_of(1));
  std::set<std::uint32_t> seen;
  for (std::uint8_t i = 2; i < 8; ++i) {
    const auto peer = crypto::public_key(testing::key_of(i));
    ASSERT_TRUE(device.add_peer(now, peer, {}));
    device.handle_outbound(now, peer);
    EXPECT_TRUE(seen.insert(load_le<std::uint32_t>(device.poll_transmit()->datagram.data() + 4)).second);
  }
  EXPECT_TRUE(device.is_consistent());
}

// ---- roaming

TEST(Device, FollowsTheSourceOfGenuineNewerPackets) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "hello");
  pair.run_for(1s);
  pair.a.address = path_of(101, 4242);
  pair.send(pair.a, "moved");
  pair.run_for(10ms);
  EXPECT_EQ(pair.z.device.path(pair.z.peer), pair.a.address);
  ASSERT_EQ(pair.z.count<PathChanged>(), 1u);
  pair.send(pair.z, "follow");
  pair.run_for(10ms);
  EXPECT_EQ(pair.a.received, std::vector<std::string>{"follow"});
  EXPECT_EQ(pair.z.device.stats().roamed, 1u);
}

TEST(Device, DoesNotFollowOldOrRepeatedPackets) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "hello");
  pair.run_for(1s);
  Datagram late;
  pair.filter = [&](Datagram& d) {
    late = d;
    return false;
  };
  pair.send(pair.a, "held back");
  pair.filter = [](Datagram&) { return true; };
  pair.send(pair.a, "newer");
  pair.run_for(10ms);
  const Datagram newer = pair.sent.back();

  late.from = path_of(66);
  pair.z.handle(pair.now(pair.z), late);
  EXPECT_EQ(pair.z.received.back(), "held back") << "genuine, so it is delivered";
  Datagram replay = newer;
  replay.from = path_of(66);
  pair.z.handle(pair.now(pair.z), replay);
  EXPECT_EQ(pair.z.device.path(pair.z.peer), pair.a.address);
  EXPECT_EQ(pair.z.count<PathChanged>(), 0u);
}

TEST(Device, AHandshakeMovesThePathAndIsAnsweredWhereItCameFrom) {
  Pair pair;
  pair.introduce();
  pair.a.address = {{IpAddress::v4(198, 51, 100, 7), 41820}, true};
  pair.send(pair.a, "hello");
  pair.run_for(50ms);
  EXPECT_EQ(pair.z.device.path(pair.z.peer), pair.a.address);
  EXPECT_TRUE(pair.connected());
}

TEST(Device, WithoutRoamingReportsTheSourceOnceAndStays) {
  DeviceOptions options;
  options.roaming = false;
  Pair pair({}, options);
  pair.introduce();
  const Path configured = pair.a.address;
  pair.a.address = path_of(101);
  for (int i = 0; i < 5; ++i) {
    pair.send(pair.a, "hello");
    pair.run_for(20ms);
  }
  EXPECT_EQ(pair.z.device.path(pair.z.peer), configured);
  ASSERT_EQ(pair.z.count<PathChanged>(), 1u);
}

TEST(Device, DataSeenBeforeAHandshakeMovesNothingBack) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "hello");
  pair.run_for(1s);
  const Path old = pair.a.address;
  Activity late = pair.z.activity;  // seen by RX before the handshake below, reported after it
  late.last_received = pair.time;
  late.source = old;
  pair.time += 1ms;
  pair.a.address = path_of(101);
  pair.a.device.start_handshake(pair.now(pair.a), pair.a.peer);
  pair.run_for(10ms);
  ASSERT_EQ(pair.z.device.path(pair.z.peer), pair.a.address);
  pair.z.device.handle_activity(pair.now(pair.z), pair.z.peer, late);
  EXPECT_EQ(pair.z.device.path(pair.z.peer), pair.a.address);
}

// ---- peers

TEST(Device, RefusesPeersThatCannotBe) {
  Pair pair;
  pair.introduce();
  const Now now = pair.now(pair.a);
  EXPECT_EQ(pair.a.device.add_peer(now, pair.a.public_key, {}).error().code, Code::kInvalid);
  EXPECT_EQ(pair.a.device.add_peer(now, pair.a.peer, {}).error().code, Code::kConflict);
  EXPECT_EQ(pair.a.device.add_peer(now, crypto::PublicKey{}, {}).error().code, Code::kInvalid);
  EXPECT_EQ(pair.a.device.update_peer(now, crypto::PublicKey{}, {}).error().code, Code::kNotFound);
  EXPECT_EQ(pair.a.device.peers(), std::vector<crypto::PublicKey>{pair.a.peer});
}

TEST(Device, RetiresEverySessionOfARemovedPeer) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "hello");
  pair.run_for(1s);
  const auto bytes_before = pair.z.received.size();
  pair.z.device.remove_peer(pair.z.peer);
  pair.pump();
  EXPECT_TRUE(pair.z.receive.empty());
  EXPECT_FALSE(pair.z.send);
  EXPECT_TRUE(pair.z.device.is_consistent());
  EXPECT_FALSE(pair.z.device.next_timeout());
  pair.send(pair.a, "anyone?");
  pair.run_for(60s);
  EXPECT_EQ(pair.z.received.size(), bytes_before);
  EXPECT_EQ(pair.z.transmitted.size(), 1u) << "the response of before, nothing since";
}

TEST(Device, ANewIdentityStartsFromNothing) {
  Pair pair;
  pair.introduce();
  pair.send(pair.a, "hello");
  pair.run_for(1s);
  pair.z.device.set_private_key(pair.now(pair.z), testing::key_of(9));
  pair.pump();
  EXPECT_TRUE(pair.z.receive.empty());
  EXPECT_EQ(pair.z.device.public_key(), crypto::public_key(testing::key_of(9)));
  pair.send(pair.z, "who am I");
  pair.run_for(1s);
  EXPECT_EQ(pair.a.dropped(Drop::kUnknownPeer), 1u);
  // A peer list that holds our own new key loses it.
  pair.z.device.set_private_key(pair.now(pair.z), pair.a.private_key);
  EXPECT_TRUE(pair.z.device.peers().empty());
}

TEST(Device, DropsTheOldestWhenNobodyPolls) {
  Pair pair;
  pair.introduce();
  for (std::size_t i = 0; i < kTransmitsMax + 10; ++i) {
    pair.a.device.start_handshake(pair.now(pair.a), pair.a.peer);
    pair.time += 300ms;
  }
  EXPECT_EQ(pair.a.dropped(Drop::kTransmitsFull), 10u);
}

TEST(Device, NamesEveryReasonToDrop) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < static_cast<std::size_t>(Drop::kCount); ++i)
    names.insert(drop_name(static_cast<Drop>(i)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Drop::kCount));
}

}  // namespace
}  // namespace lanrage::tunnel
