#include "tunnel/session.h"

#include <gtest/gtest.h>

#include <set>

#include "base/rng.h"
#include "wire/wireguard.h"

namespace lanrage::tunnel {
namespace {

using namespace std::chrono_literals;

struct Row {
  std::uint64_t counter;
  bool accepted;
};

TEST(ReplayWindow, IsATableOfCountersAndAnswers) {
  constexpr std::uint64_t kSize = ReplayWindow::kSize;
  constexpr Row kRows[] = {
      {0, true},
      {0, false},
      {1, true},
      {1, false},
      {9, true},
      {8, true},
      {7, true},
      {7, false},
      {8, false},
      {kSize, true},
      {kSize, false},
      {2, true},  // kSize back from the next one is still inside
      {kSize + 10, true},
      {3, false},  // fell out
      {10, false},
      {11, true},
      {11, false},
      {kSize + 9, true},
      {3 * kSize, true},
      {2 * kSize, false},
      {2 * kSize + 1, true},
      {2 * kSize + 1, false},
      {100 * kSize + 5, true},  // a leap over the whole ring clears it
      {100 * kSize + 4, true},
      {99 * kSize + 6, true},
      {99 * kSize + 4, false},
      {kRejectAfterMessages - 1, true},
      {kRejectAfterMessages - 1, false},
      {kRejectAfterMessages - 2, true},
      {0, false},
  };
  ReplayWindow window;
  for (const Row& row : kRows) {
    EXPECT_EQ(window.would_accept(row.counter), row.accepted) << row.counter;
    EXPECT_EQ(window.accept(row.counter), row.accepted) << row.counter;
  }
}

TEST(ReplayWindow, WouldAcceptChangesNothing) {
  ReplayWindow window;
  EXPECT_TRUE(window.would_accept(1'000'000));
  EXPECT_EQ(window.next(), 0u);
  EXPECT_TRUE(window.accept(0));
}

TEST(ReplayWindow, NeverDropsFalselyInsideTheWindowAndNeverAcceptsTwice) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SeededRng rng(seed);
    ReplayWindow window;
    std::set<std::uint64_t> seen;
    std::uint64_t greatest = 0;
    for (int i = 0; i < 20000; ++i) {
      std::uint64_t counter = greatest;
      switch (rng.below(8)) {
        case 0:
          counter += rng.below(3 * ReplayWindow::kSize);
          break;
        case 1:
          counter -= std::min(counter, rng.below(2 * ReplayWindow::kSize));
          break;
        case 2:
          counter -= std::min(counter, ReplayWindow::kSize - 2 + rng.below(5));
          break;
        default:
          counter = counter + 20 - std::min(counter + 20, rng.below(64));
          break;
      }
      const bool inside = seen.empty() || counter > greatest || greatest + 1 - counter <= ReplayWindow::kSize;
      const bool expected = inside && !seen.contains(counter);
      ASSERT_EQ(window.would_accept(counter), expected) << "--seed=" << seed;
      ASSERT_EQ(window.accept(counter), expected) << "--seed=" << seed;
      if (expected) {
        seen.insert(counter);
        greatest = std::max(greatest, counter);
        ASSERT_EQ(window.next(), greatest + 1);
      }
    }
  }
}

struct Keys {
  SendKey send;
  ReceiveKey receive;
  explicit Keys(Time created = Time{})
      : send(crypto::AeadKey(raw()), 0xaabbccdd, 0x11223344, created),
        receive(crypto::AeadKey(raw()), 0xaabbccdd, created) {}
  static std::array<std::uint8_t, 32> raw() {
    std::array<std::uint8_t, 32> key;
    key.fill(0x42);
    return key;
  }
  Bytes seal(ByteView plain, std::size_t mtu = 1420) {
    Bytes out(plain.size() + 64);
    out.resize(send.seal(plain, out, mtu));
    return out;
  }
};

TEST(Session, SealsADataMessage) {
  Keys keys;
  const Bytes datagram = keys.seal(as_bytes("hello"));
  ASSERT_EQ(datagram.size(), 16u + 16 + 16);
  const auto message = wire::wireguard::parse_data(datagram);
  ASSERT_TRUE(message);
  EXPECT_EQ(message->receiver, 0xaabbccddu);
  EXPECT_EQ(message->counter, 0u);
  EXPECT_EQ(wire::wireguard::parse_data(keys.seal({}))->counter, 1u);
  EXPECT_EQ(keys.send.counter(), 2u);
}

TEST(Session, PadsWithZeroesUpToTheMtu) {
  Keys keys;
  for (std::size_t size : {0, 1, 15, 16, 17, 1404, 1405, 1419, 1420, 1500}) {
    const Bytes plain(size, 0x77);
    Bytes datagram = keys.seal(plain);
    ASSERT_EQ(datagram.size(), wire::wireguard::padded_size(size, 1420) + kDataOverhead);
    const auto opened = keys.receive.open(datagram);
    ASSERT_TRUE(opened);
    for (std::size_t i = 0; i < opened->plain.size(); ++i) ASSERT_EQ(opened->plain[i], i < size ? 0x77 : 0);
  }
}

TEST(Session, SealsInPlaceAsItDoesApart) {
  for (std::size_t size : {0, 5, 16, 1420}) {
    Keys apart, in_place;
    const Bytes plain(size, 0x31);
    Bytes buffer(size + 64, 0xff);
    std::copy(plain.begin(), plain.end(), buffer.begin() + 16);
    buffer.resize(in_place.send.seal(ByteView(buffer).subspan(16, size), buffer, 1420));
    EXPECT_EQ(buffer, apart.seal(plain));
  }
}

TEST(Session, TellsTheFirstAndTheNewest) {
  Keys keys;
  Bytes zero = keys.seal(as_bytes("0")), one = keys.seal(as_bytes("1")), two = keys.seal(as_bytes("2"));
  const auto opened_one = keys.receive.open(one);
  ASSERT_TRUE(opened_one);
  EXPECT_TRUE(opened_one->first && opened_one->newest);
  const auto opened_zero = keys.receive.open(zero);
  ASSERT_TRUE(opened_zero);
  EXPECT_FALSE(opened_zero->first || opened_zero->newest);
  const auto opened_two = keys.receive.open(two);
  ASSERT_TRUE(opened_two);
  EXPECT_TRUE(!opened_two->first && opened_two->newest);
}

TEST(Session, OpensEachMessageOnce) {
  Keys keys;
  const Bytes datagram = keys.seal(as_bytes("hello"));
  Bytes first = datagram, second = datagram;
  EXPECT_TRUE(keys.receive.open(first));
  EXPECT_FALSE(keys.receive.open(second));
  EXPECT_EQ(second, datagram) << "refused before the cipher saw it";
}

TEST(Session, AForgeryIsRefusedAndDoesNotSpendItsCounter) {
  Keys keys;
  const Bytes datagram = keys.seal(as_bytes("hello"));
  for (std::size_t i = 8; i < datagram.size(); ++i) {  // counter, packet, tag
    Bytes forged = datagram;
    forged[i] ^= 0x10;
    EXPECT_FALSE(keys.receive.open(forged)) << i;
  }
  Bytes genuine = datagram;
  EXPECT_TRUE(keys.receive.open(genuine));
}

TEST(Session, RefusesWhatIsNoDataMessage) {
  Keys keys;
  Bytes datagram = keys.seal({});
  EXPECT_FALSE(keys.receive.open(MutableBytes(datagram).first(31)));
  EXPECT_FALSE(keys.receive.open({}));
  datagram[0] = 3;
  EXPECT_FALSE(keys.receive.open(datagram));
}

TEST(Session, EndsBeforeItsCountersDo) {
  Keys keys;
  keys.send.skip_to(kRejectAfterMessages - 1);
  EXPECT_TRUE(keys.send.usable(Time{}));
  Bytes last = keys.seal(as_bytes("last"));
  EXPECT_TRUE(keys.receive.open(last));
  EXPECT_FALSE(keys.send.usable(Time{}));
  EXPECT_TRUE(keys.seal(as_bytes("one more")).empty());
}

TEST(Session, SkippingNeverGoesBack) {
  Keys keys;
  keys.send.skip_to(10);
  keys.send.skip_to(5);
  EXPECT_EQ(keys.send.counter(), 10u);
}

}  // namespace
}  // namespace lanrage::tunnel
