#include "wire/signal.h"

#include <gtest/gtest.h>

namespace lanrage::wire {
namespace {

struct Fixture : testing::Test {
  SeededRng rng{1};
  crypto::PrivateKey key = crypto::PrivateKey::generate(rng);
  crypto::PublicKey alice = crypto::public_key(crypto::PrivateKey::generate(rng));
  crypto::PublicKey bob = crypto::public_key(crypto::PrivateKey::generate(rng));
  PeerSignal signal() {
    PeerSignal s;
    s.call_me_now = true;
    s.mapping = Mapping::kDependent;
    s.instance = 77;
    s.generation = 3;
    s.candidates = {{CandidateKind::kHost, *Endpoint::parse("192.168.1.2:5")},
                    {CandidateKind::kServerReflexive, *Endpoint::parse("[2001:db8::2]:6")}};
    s.relays = {{42, 17}, {43, kRelayRttUnknown}};
    return s;
  }
};
using SignalWire = Fixture;

TEST_F(SignalWire, ComesBackAsWritten) {
  EXPECT_EQ(parse_signal(write_signal(signal())), signal());
  EXPECT_EQ(parse_signal(write_signal({})), PeerSignal{});
  for (std::uint8_t filtering = 0; filtering <= 4; ++filtering) {
    for (std::uint8_t flags = 0; flags < 4; ++flags) {
      PeerSignal with = signal();
      with.network = {static_cast<Dependence>(filtering), (flags & 1) != 0, (flags & 2) != 0};
      EXPECT_EQ(parse_signal(write_signal(with)), with);
      with.network.ports = PortChoice::kSequential;
      EXPECT_EQ(parse_signal(write_signal(with)), with);
    }
  }
  PeerSignal with = signal();
  for (const auto method : {SignalPunch::Method::kPorts, SignalPunch::Method::kMany}) {
    with.punch = SignalPunch{method, 0xfeedbeef, *Endpoint::parse("203.0.113.5:40001"), -2, 16};
    EXPECT_EQ(parse_signal(write_signal(with)), with);
  }
}

TEST_F(SignalWire, TellsOfARelayOfTheMembersOwn) {
  PeerSignal with = signal();
  with.legs = {{0x01020304, 123, 4, 5}};
  for (const char* endpoint : {"203.0.113.5:41823", "[2001:db8::5]:41823", "192.168.1.5:41823"}) {
    if (!with.own_relay) with.own_relay = MemberRelay{90, 10, {}};
    with.own_relay->endpoints.push_back(*Endpoint::parse(endpoint));
    EXPECT_EQ(parse_signal(write_signal(with)), with);
  }
  // Beside everything else there is room for the nearest relays.
  with.network.is_behind_nat = true;
  with.punch = SignalPunch{};
  with.legs.assign(64, {1, 2, 3, 4});
  const auto read = parse_signal(write_signal(with));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->own_relay, with.own_relay);
  EXPECT_EQ(read->legs.size(), 19u);

  const Bytes bytes = write_signal(signal());
  const auto parsed = [&bytes](const Bytes& value) {
    Bytes out = bytes;
    append(out, Bytes{4, static_cast<std::uint8_t>(value.size())});
    append(out, value);
    return parse_signal(out);
  };
  const auto value = [](std::uint8_t count, std::uint8_t family, std::uint8_t port) {
    Bytes out = {200, 255, count, family, 0, port};
    append(out, family == 4 ? Bytes{203, 0, 113, 5} : Bytes{});
    out.resize(22);
    return out;
  };
  ASSERT_TRUE(parsed(value(1, 4, 9)));
  EXPECT_EQ(parsed(value(1, 4, 9))->own_relay, (MemberRelay{100, 100, {*Endpoint::parse("203.0.113.5:9")}}));
  Bytes longer = value(1, 4, 9);
  append(longer, Bytes{7, 7});
  EXPECT_EQ(parsed(longer), parsed(value(1, 4, 9)));
  EXPECT_FALSE(parsed({})) << "nothing at all";
  EXPECT_FALSE(parsed(value(0, 4, 9))) << "no endpoint";
  EXPECT_FALSE(parsed(value(2, 4, 9))) << "fewer than it says";
  EXPECT_FALSE(parsed(value(4, 4, 9))) << "more than may be";
  EXPECT_FALSE(parsed(value(1, 0, 0))) << "an endpoint that is none";
  EXPECT_FALSE(parsed(value(1, 4, 0))) << "port 0";
}

TEST_F(SignalWire, CarriesAsManyLegsAsThereIsRoomFor) {
  PeerSignal with = signal();
  with.legs = {{0x01020304, 123, 4, 5}, {7, 65535, kLegJitterUnknown, 100}};
  EXPECT_EQ(parse_signal(write_signal(with)), with);
  with.network.is_behind_nat = true;
  for (std::uint32_t relay = 0; relay < 64; ++relay) with.legs.push_back({relay, 1, 2, 3});
  const auto read = parse_signal(write_signal(with));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->network, with.network);
  ASSERT_GE(read->legs.size(), 26u);
  with.legs.resize(read->legs.size());
  EXPECT_EQ(read, with);
}

TEST_F(SignalWire, SkipsWhatNewerVersionsAdd) {
  PeerSignal with = signal();
  with.network.is_behind_nat = true;
  Bytes bytes = write_signal(with);
  append(bytes, Bytes{9, 3, 1, 2, 3});  // an unknown extension
  EXPECT_EQ(parse_signal(bytes), with);
  bytes = write_signal(signal());
  append(bytes, Bytes{1, 4, 4, 0x81, 9, 9});  // a longer one, with a new flag and a new way to choose ports
  with.network = {Dependence::kAddressAndPort, true, false};
  EXPECT_EQ(parse_signal(bytes), with);
  bytes = write_signal(signal());
  append(bytes, Bytes{1, 2, 200, 0});  // a filter that this version does not know, and no ports, as of an older one
  EXPECT_EQ(parse_signal(bytes), signal());
  append(bytes, Bytes{2, 2, 3, 0});  // another method of punching
  EXPECT_EQ(parse_signal(bytes), signal());
}

TEST_F(SignalWire, RefusesDamagedExtensions) {
  for (const Bytes& extension : {Bytes{9}, Bytes{9, 1}, Bytes{9, 3, 1, 2}, Bytes{1, 1, 0}, Bytes{1, 0}, Bytes{2, 0},
                                 Bytes{2, 2, 1, 0}, Bytes(30, 2)}) {
    Bytes bytes = write_signal(signal());
    append(bytes, extension);
    EXPECT_FALSE(parse_signal(bytes)) << to_hex(extension);
  }
  Bytes bytes = write_signal(signal());
  for (int i = 0; i < 129; ++i) append(bytes, Bytes{9, 0});
  EXPECT_FALSE(parse_signal(bytes));
}

TEST_F(SignalWire, TakesTheWholeLegsOfADamagedList) {
  Bytes bytes = write_signal(signal());
  append(bytes, Bytes{3, 11, 0, 0, 0, 9, 0, 1, 2, 200, 7, 7, 7});
  PeerSignal with = signal();
  with.legs = {{9, 1, 2, 100}};
  EXPECT_EQ(parse_signal(bytes), with);
}

TEST_F(SignalWire, OpensForItsRecipientFromItsSenderOnly) {
  const Bytes sealed = seal_signal(signal(), key.bytes(), alice, bob, rng);
  EXPECT_EQ(open_signal(sealed, key.bytes(), alice, bob), signal());
  EXPECT_FALSE(open_signal(sealed, key.bytes(), bob, alice));
  EXPECT_FALSE(open_signal(sealed, crypto::PrivateKey::generate(rng).bytes(), alice, bob));
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    Bytes bad = sealed;
    bad[i] ^= 1;
    EXPECT_FALSE(open_signal(bad, key.bytes(), alice, bob)) << i;
  }
}

TEST_F(SignalWire, TheFullestOneFitsItsMaximum) {
  PeerSignal full;
  full.candidates.assign(kCandidatesMax, {CandidateKind::kHost, *Endpoint::parse("1.2.3.4:5")});
  full.relays.assign(kSignalRelaysMax, {});
  full.network.filtering = Dependence::kAddressAndPort;
  full.punch = SignalPunch{};
  full.own_relay = MemberRelay{};
  full.own_relay->endpoints.assign(kMemberRelayEndpointsMax, *Endpoint::parse("1.2.3.4:5"));
  EXPECT_EQ(seal_signal(full, key.bytes(), alice, bob, rng).size(),
            kPeerSignalBytesMax - kSignalExtensionBytesMax + 97);
}

TEST_F(SignalWire, RefusesWhatIsMalformed) {
  const Bytes good = write_signal(signal());
  for (std::size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(parse_signal(ByteView(good).first(size))) << size;
  Bytes bad = good;
  bad.push_back(0);
  EXPECT_FALSE(parse_signal(bad));
  bad = good;
  bad[0] = 2;  // version
  EXPECT_FALSE(parse_signal(bad));
  bad = good;
  bad[1] = 4;  // flags
  EXPECT_FALSE(parse_signal(bad));
  bad = good;
  bad[12] = static_cast<std::uint8_t>(CandidateKind::kPeerReflexive);  // never signalled
  EXPECT_FALSE(parse_signal(bad));
}

}  // namespace
}  // namespace lanrage::wire
