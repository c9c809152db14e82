// The relay's program in a kernel: members and relay are sockets of one machine, so all of it happens at loopback.
// Needs root.
#include "net/relay_offload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/syscall.h>

#include <cstdlib>
#include <optional>

#include "net/test_namespace.h"
#include "net/udp_socket.h"

namespace lanrage::net {
namespace {

constexpr std::uint32_t kParty = 3;
constexpr std::uint32_t kAlicesIndex = 70, kBobsIndex = 80;

struct Family {
  const char* alice;
  const char* bob;
  const char* relay;
  const char* other;  // of the relay's machine, too
};
constexpr Family kV4 = {"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"};
constexpr Family kV6 = {"fd09::2", "fd09::3", "fd09::4", "fd09::5"};

class RelayOffloadOf : public testing::TestWithParam<Family> {
 protected:
  RelayOffloadOf() {
    place_.run([this] {
      EXPECT_EQ(std::system("for i in 2 3 4 5; do ip address add fd09::$i/128 dev lo nodad; done"), 0);
      relay_.emplace(open("0.0.0.0", "::"));
      alice_.emplace(open(GetParam().alice, GetParam().alice));
      bob_.emplace(open(GetParam().bob, GetParam().bob));
      auto loaded = RelayOffload::load({relay_->local().port, 100, 1 << 30});
      ASSERT_TRUE(loaded) << loaded.error().message;
      offload_ = std::move(*loaded);
    });
    EXPECT_FALSE(step());
    set_session(0, {alice_->local(), here(), kParty});
    set_session(1, {bob_->local(), here(), kParty});
    offload_->set_index(kParty, kAlicesIndex, 0);
    offload_->set_index(kParty, kBobsIndex, 1);
  }
  UdpSocket open(const char* v4, const char* v6) {
    UdpOptions options;
    options.bind.address =
        *IpAddress::parse(std::string_view(GetParam().alice).find(':') == std::string_view::npos ? v4 : v6);
    options.coalescing = false;
    auto socket = UdpSocket::open(options);
    EXPECT_TRUE(socket);
    return std::move(*socket);
  }
  // Links are made in the namespace of the thread that asks for them.
  void set_session(std::uint32_t slot, const relay::Mirror::Session& session) {
    place_.run([&] { offload_->set_session(slot, session); });
  }
  bool step() {
    bool out = false;
    place_.run([&] { out = offload_->step(); });
    return out;
  }
  IpAddress here() const { return *IpAddress::parse(GetParam().relay); }
  Endpoint relay() const { return {here(), relay_->local().port}; }
  static Bytes data(std::uint32_t index, std::size_t size = 64, std::uint32_t type = 4) {
    Bytes out(size, 0x5a);
    store_le(out.data(), type);
    store_le(out.data() + 4, index);
    return out;
  }
  // Who got it: the datagram and where it came from.
  struct Got {
    Endpoint source;
    Bytes datagram;
    friend bool operator==(const Got&, const Got&) = default;
  };
  static std::optional<Got> receive(UdpSocket& socket) {
    pollfd wanted{socket.fd(), POLLIN, 0};
    ::poll(&wanted, 1, 300);
    Bytes buffer(65536);
    ReceiveSlot slot;
    slot.buffer = buffer;
    if (socket.receive(std::span(&slot, 1)) == 0) return std::nullopt;
    return Got{slot.source, to_bytes(slot.bytes())};
  }
  static std::size_t count(UdpSocket& socket) {
    std::size_t out = 0;
    while (receive(socket)) ++out;
    return out;
  }
  void expect_forwarded(const Bytes& datagram) {
    const auto before = offload_->totals();
    alice_->send({.destination = relay(), .bytes = datagram});
    EXPECT_EQ(receive(*bob_), (Got{relay(), datagram}));
    EXPECT_EQ(offload_->totals().packets, before.packets + 1);
    EXPECT_EQ(offload_->totals().bytes, before.bytes + datagram.size());
  }
  void expect_at_socket(const Bytes& datagram, const Endpoint& to) {
    alice_->send({.destination = to, .bytes = datagram});
    EXPECT_EQ(receive(*relay_), (Got{alice_->local(), datagram}));
  }
  void expect_at_socket(const Bytes& datagram) { expect_at_socket(datagram, relay()); }

  TestNamespace place_;
  std::optional<UdpSocket> relay_, alice_, bob_;
  std::unique_ptr<RelayOffload> offload_;
};

TEST_P(RelayOffloadOf, ForwardsDataToTheOwnerOfTheIndex) {
  expect_forwarded(data(kBobsIndex));
  expect_forwarded(data(kBobsIndex, 32));
  expect_forwarded(data(kBobsIndex, 1200));
  const Bytes back = data(kAlicesIndex);
  bob_->send({.destination = relay(), .bytes = back});
  EXPECT_EQ(receive(*alice_), (Got{relay(), back}));
  EXPECT_EQ(receive(*relay_), std::nullopt);
}

TEST_P(RelayOffloadOf, LeavesToTheRelayWhatItIsNotSureOf) {
  expect_at_socket(data(81));            // nobody's
  expect_at_socket(data(kAlicesIndex));  // the sender's own
  for (const std::uint32_t type : {1u, 2u, 3u, 0x104u}) expect_at_socket(data(kBobsIndex, 64, type));
  expect_at_socket(data(kBobsIndex, 31));    // no data message is so short
  expect_at_socket(data(kBobsIndex, 1300));  // some path could be too narrow
  expect_at_socket(data(kBobsIndex), {*IpAddress::parse(GetParam().other), relay_->local().port});
  set_session(2, {{*IpAddress::parse("192.0.2.1"), 9}, here(), kParty + 1});
  offload_->set_index(kParty + 1, 90, 2);
  expect_at_socket(data(90));  // another party's
  // And a member's to whom no way is known.
  set_session(3, {{*IpAddress::parse(here().is_v4() ? "192.0.2.1" : "2001:db8::1"), 9}, here(), kParty});
  offload_->set_index(kParty, 91, 3);
  expect_at_socket(data(91));
  const Family& other = here().is_v4() ? kV6 : kV4;  // a packet of one family becomes none of the other here
  set_session(4, {{*IpAddress::parse(other.bob), 9}, *IpAddress::parse(other.relay), kParty});
  offload_->set_index(kParty, 92, 4);
  expect_at_socket(data(92));
  // A run: each of its packets could be for somebody else.
  Bytes run = data(kBobsIndex);
  const Bytes second = data(81);
  run.insert(run.end(), second.begin(), second.end());
  alice_->send({.destination = relay(), .bytes = run, .segment_size = 64});
  EXPECT_EQ(count(*relay_), 2u);
  EXPECT_EQ(offload_->totals().packets, 0u);
}

TEST_P(RelayOffloadOf, FollowsTheRelaysTables) {
  expect_forwarded(data(kBobsIndex));
  offload_->drop_index(kParty, kBobsIndex);
  expect_at_socket(data(kBobsIndex));
  offload_->set_index(kParty, kBobsIndex, 1);
  expect_forwarded(data(kBobsIndex));
  offload_->drop_session(1);
  expect_at_socket(data(kBobsIndex));
  set_session(1, {bob_->local(), here(), kParty});
  expect_forwarded(data(kBobsIndex));
  set_session(0, {{alice_->local().address, 9}, here(), kParty});  // Alice is elsewhere now
  expect_at_socket(data(kBobsIndex));
  set_session(0, {alice_->local(), *IpAddress::parse(GetParam().other), kParty});
  expect_at_socket(data(kBobsIndex));  // she registered at another address of ours
  set_session(0, {alice_->local(), here(), kParty});
  expect_forwarded(data(kBobsIndex));
  offload_.reset();
  expect_at_socket(data(kBobsIndex));
}

TEST_P(RelayOffloadOf, LooksAtEverybodyAgainWhenTheNetworkChanges) {
  for (std::uint32_t slot = 2; slot < 100; ++slot)
    set_session(slot, {{alice_->local().address, static_cast<std::uint16_t>(slot)}, here(), kParty});
  place_.run([] { EXPECT_EQ(std::system("ip address add 127.0.0.77/32 dev lo"), 0); });
  pollfd wanted{offload_->fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&wanted, 1, 2000), 1);
  offload_->handle_change();
  expect_at_socket(data(kBobsIndex));
  EXPECT_TRUE(step());
  expect_at_socket(data(kBobsIndex));
  EXPECT_FALSE(step());
  expect_forwarded(data(kBobsIndex));
}

TEST_P(RelayOffloadOf, LeavesAFloodToTheRelaysFairQueue) {
  const Bytes datagram = data(kBobsIndex);
  std::size_t sent = 0, at_bob = 0, at_relay = 0;
  for (; at_relay == 0 && sent < 100'000; ++sent) {
    alice_->send({.destination = relay(), .bytes = datagram});
    Bytes buffer(2048);
    ReceiveSlot slot;
    slot.buffer = buffer;
    at_bob += bob_->receive(std::span(&slot, 1));
    at_relay += relay_->receive(std::span(&slot, 1));
  }
  at_bob += count(*bob_);
  at_relay += count(*relay_);
  EXPECT_EQ(at_bob + at_relay, sent);
  EXPECT_GT(at_relay, 0u);
  EXPECT_GE(at_bob, RelayOffload::kPacketsPerSecond / 8u);
  EXPECT_EQ(at_bob, offload_->totals().packets);
}

INSTANTIATE_TEST_SUITE_P(Families, RelayOffloadOf, testing::Values(kV4, kV6),
                         [](const auto& family) { return family.index == 0 ? "IPv4" : "IPv6"; });

TEST(RelayOffload, SaysWhatToDoWithoutRights) {
  TestNamespace().run([] {
    // The system call, not the library's: rights of this thread only.
    ASSERT_EQ(::syscall(SYS_setresuid, 65534, 65534, 65534), 0);
    const auto refused = RelayOffload::load({1, 10, 1000});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kRefused);
    EXPECT_THAT(refused.error().hint, testing::HasSubstr("CAP_BPF"));
  });
}

}  // namespace
}  // namespace lanrage::net
