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
  EXPECT_EQ(seal_signal(full, key.bytes(), alice, bob, rng).size(), kPeerSignalBytesMax);
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
