// The relay's program in a kernel, at the cable between the relay's machine and that of its members. Needs root.
#include "net/relay_offload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/syscall.h>

#include <cstdlib>
#include <optional>

#include "net/test_namespace.h"
#include "net/udp_socket.h"
#include "wire/ip.h"

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
constexpr Family kV4 = {"10.9.0.2", "10.9.0.3", "10.9.0.4", "10.9.0.5"};
constexpr Family kV6 = {"fd09::2", "fd09::3", "fd09::4", "fd09::5"};

class RelayOffloadOf : public testing::TestWithParam<Family> {
 protected:
  RelayOffloadOf() {
    members_.run([this] {
      const std::string there = std::to_string(::gettid());
      place_.run([&] {
        shell(
            "ip link add eth0 type veth peer name eth1 netns " + there +
            " && ip link set eth0 up && ip address add 10.9.0.4/24 dev eth0 && ip address add 10.9.0.5/24 dev eth0 && "
            "ip address add fd09::4/64 dev eth0 nodad && ip address add fd09::5/64 dev eth0 nodad");
      });
      shell(
          "ip link set eth1 up && ip address add 10.9.0.2/24 dev eth1 && ip address add 10.9.0.3/24 dev eth1 && "
          "ip address add fd09::2/64 dev eth1 nodad && ip address add fd09::3/64 dev eth1 nodad");
      alice_.emplace(open(GetParam().alice, GetParam().alice));
      bob_.emplace(open(GetParam().bob, GetParam().bob));
    });
    place_.run([this] {
      relay_.emplace(open("0.0.0.0", "::"));
      auto loaded = RelayOffload::load({relay_->local().port, 100, 1 << 30});
      ASSERT_TRUE(loaded) << loaded.error().message;
      offload_ = std::move(*loaded);
    });
    EXPECT_FALSE(offload_->next_timeout());
    set_session(0, {alice_->local(), here(), kParty});
    set_session(1, {bob_->local(), here(), kParty});
    offload_->set_index(kParty, kAlicesIndex, 0);
    offload_->set_index(kParty, kBobsIndex, 1);
  }
  static void shell(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }
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
  void handle_timeout(Time now) {
    place_.run([&] { offload_->handle_timeout(now); });
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

  TestNamespace members_, place_;
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
  expect_at_socket(data(kBobsIndex));  // it is not the one whose index that was
  offload_->set_index(kParty, kBobsIndex, 1);
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

TEST_P(RelayOffloadOf, LooksAtEverybodyAgainOnceTheNetworkHasChanged) {
  for (std::uint32_t slot = 2; slot < 40; ++slot)
    set_session(slot, {{alice_->local().address, static_cast<std::uint16_t>(slot)}, here(), kParty});
  Time now{std::chrono::hours(1)};
  for (const char* change : {"ip address add 10.8.0.77/32 dev eth0", "ip rule add to 192.0.2.9 lookup 100"}) {
    expect_forwarded(data(kBobsIndex));
    place_.run([&] { shell(change); });
    pollfd wanted{offload_->fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&wanted, 1, 2000), 1) << change;
    offload_->handle_change(now);
    EXPECT_EQ(offload_->next_timeout(), now + RelayOffload::kSettle);
    offload_->handle_change(now += std::chrono::milliseconds(10));  // nothing new
    EXPECT_EQ(::poll(&wanted, 1, 0), 0);
    int looks = 0;
    for (; offload_->next_timeout() && looks < 10; ++looks) {
      expect_at_socket(data(kBobsIndex));
      now = std::max(now, *offload_->next_timeout());
      handle_timeout(now);
    }
    EXPECT_EQ(looks, 3);
  }
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
  // It is the party's share: another member's packets come that way now, too.
  bob_->send({.destination = relay(), .bytes = data(kAlicesIndex)});
  at_bob += count(*bob_);
  at_relay += count(*relay_);
  EXPECT_EQ(receive(*alice_), std::nullopt);
  EXPECT_EQ(at_bob + at_relay, sent + 1);
  EXPECT_GE(at_bob, RelayOffload::kPacketsPerSecond / 8u);
  EXPECT_EQ(at_bob, offload_->totals().packets);
}

// A network card whose frames are the test's, offloads included.
class Tap {
 public:
  Tap() : fd_(::open("/dev/net/tun", O_RDWR | O_CLOEXEC)) {
    ifreq request{};
    std::snprintf(request.ifr_name, IFNAMSIZ, "tap0");
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    EXPECT_EQ(::ioctl(fd_.get(), TUNSETIFF, &request), 0);
    EXPECT_EQ(std::system("ip link set tap0 address 02:00:00:00:00:01 up && ip address add 10.7.0.1/24 dev tap0"), 0);
  }
  // IPv4 and UDP with a checksum that is the other end's to finish.
  void send(const Endpoint& from, const Endpoint& to, const Bytes& payload, std::uint16_t segment = 0,
            std::size_t trailing = 0) {
    ByteWriter out;
    out.bytes(Bytes{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}).u16_be(0x0800);
    ByteWriter ip;
    ip.u8(0x45).u8(0).u16_be(static_cast<std::uint16_t>(28 + payload.size())).u32_be(0).u8(64).u8(17).u16_be(0);
    ip.bytes(from.address.bytes()).bytes(to.address.bytes());
    Bytes header = ip.take();
    store_be(header.data() + 10, static_cast<std::uint16_t>(~wire::ones_sum(header)));
    out.bytes(header).u16_be(from.port).u16_be(to.port).u16_be(static_cast<std::uint16_t>(8 + payload.size()));
    out.u16_be(wire::pseudo_header_sum(from.address, to.address, 17, static_cast<std::uint32_t>(8 + payload.size())));
    out.bytes(payload).bytes(Bytes(trailing));
    // struct virtio_net_hdr: flags (the checksum is to be made), kind of run (UDP_L4), header, segment, where the sum
    // is
    Bytes frame{1, std::uint8_t{segment == 0 ? std::uint8_t{0} : std::uint8_t{5}}, 42, 0, 0, 0, 34, 0, 6, 0};
    store_le(frame.data() + 4, segment);
    const Bytes rest = out.take();
    frame.insert(frame.end(), rest.begin(), rest.end());
    EXPECT_EQ(::write(fd_.get(), frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
  }

 private:
  Fd fd_;
};

using RelayOffloadV4 = RelayOffloadOf;

TEST_P(RelayOffloadV4, ForwardsNoRunNoTrailingBytesAndNobodyWhoComesByAnotherCard) {
  std::optional<Tap> tap;
  place_.run([&] {
    tap.emplace();
    shell("echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter; echo 0 >/proc/sys/net/ipv4/conf/tap0/rp_filter");
  });
  const Endpoint carol{*IpAddress::parse("10.7.0.2"), 7};
  const IpAddress here = *IpAddress::parse("10.7.0.1");
  const Endpoint to{here, relay_->local().port};
  offload_->handle_change(Time{});
  while (offload_->next_timeout()) handle_timeout(*offload_->next_timeout());
  set_session(2, {carol, here, kParty});
  tap->send(carol, to, data(kBobsIndex));
  EXPECT_EQ(receive(*bob_), (Got{relay(), data(kBobsIndex)}));
  EXPECT_EQ(offload_->totals().packets, 1u);

  Bytes run = data(kBobsIndex);
  const Bytes second = data(81);
  run.insert(run.end(), second.begin(), second.end());
  tap->send(carol, to, run, 64);
  EXPECT_EQ(receive(*relay_), (Got{carol, data(kBobsIndex)}));
  EXPECT_EQ(receive(*relay_), (Got{carol, second}));
  tap->send(carol, to, data(kBobsIndex), 0, 1000);
  EXPECT_EQ(receive(*relay_), (Got{carol, data(kBobsIndex)}));
  tap->send(alice_->local(), relay(), data(kBobsIndex));
  EXPECT_EQ(receive(*relay_), (Got{alice_->local(), data(kBobsIndex)}));
  EXPECT_EQ(offload_->totals().packets, 1u);
}

INSTANTIATE_TEST_SUITE_P(Families, RelayOffloadV4, testing::Values(kV4));
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
