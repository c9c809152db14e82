// The adapter against the real kernel, in namespaces of its own. Needs root.
#include "tun/adapter.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "base/format.h"
#include "base/rng.h"
#include "net/address.h"
#include "net/netlink.h"
#include "net/test_namespace.h"
#include "tun/test_packets.h"
#include "tun/writer.h"
#include "wire/ip.h"

namespace lanrage::tun {
namespace {

using net::Fd;
using net::TestNamespace;
using testing::SizeIs;

std::unique_ptr<Adapter> open_in(const TestNamespace& place, const AdapterOptions& options) {
  std::unique_ptr<Adapter> out;
  place.run([&] {
    auto adapter = open_adapter(options);
    EXPECT_TRUE(adapter) << adapter.error().message;
    LR_CHECK(adapter);
    out = std::move(*adapter);
  });
  return out;
}

bool wait_readable(int fd, int milliseconds) {
  pollfd ready{fd, POLLIN, 0};
  return ::poll(&ready, 1, milliseconds) == 1;
}

// The kernel answers for an IPv6 address before its route to itself is there (a work queue adds it): packets to it get
// lost until then. So ask until the address hears itself.
void await_own_route(const IpAddress& address) {
  const Fd socket(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_storage name{};
  const socklen_t length = net::to_sockaddr({address, 4710}, name);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&name), length), 0) << errno;
  for (int tries = 0; tries < 200; ++tries) {
    ::sendto(socket.get(), "?", 1, 0, reinterpret_cast<sockaddr*>(&name), length);
    if (wait_readable(socket.get(), 20)) return;
  }
  FAIL() << address.text() << " does not hear itself";
}

void add_address(const TestNamespace& place, const Adapter& adapter, const char* text) {
  place.run([&] {
    auto netlink = net::Netlink::open();
    ASSERT_TRUE(netlink);
    const IpPrefix prefix = *IpPrefix::parse(text);
    const auto added = netlink->add_address(adapter.info().index, prefix);
    ASSERT_TRUE(added) << added.error().message;
    if (prefix.address.is_v6()) await_own_route(prefix.address);
  });
}

// Two kernels whose cards are joined by what the data plane will do: read, cut, merge, write.
class Party {
 public:
  Party(Kind kind, bool offloads) {
    for (int i : {0, 1}) {
      AdapterOptions options;
      options.kind = kind;
      options.mac = mac_from_key(as_bytes(i == 0 ? "key of A" : "key of B"));
      options.tcp_offload = options.udp_offload = offloads;
      hosts_[i].adapter = open_in(hosts_[i].place, options);
    }
    for (int i : {0, 1}) {
      const Host& other = hosts_[1 - i];
      Adapter& adapter = *hosts_[i].adapter;
      add_address(hosts_[i].place, adapter, i == 0 ? "10.66.0.1/24" : "10.66.0.2/24");
      add_address(hosts_[i].place, adapter, i == 0 ? "fd66::1/64" : "fd66::2/64");
      Neighbourhood neighbourhood;
      neighbourhood.own = {*IpPrefix::parse(i == 0 ? "10.66.0.1/24" : "10.66.0.2/24")};
      neighbourhood.members = {{address(1 - i, false), other.adapter->info().mac},
                               {address(1 - i, true), other.adapter->info().mac}};
      adapter.set_neighbourhood(std::move(neighbourhood));
    }
    for (int i : {0, 1}) hosts_[i].pump = std::thread([this, i] { pump(i); });
  }
  ~Party() { stop(); }

  // Ends both pumps: only then do the counters agree, for a pump counts what it read before it cuts it.
  void stop() {
    stop_ = true;
    for (Host& host : hosts_)
      if (host.pump.joinable()) host.pump.join();
  }

  static IpAddress address(int host, bool v6) {
    if (v6) return *IpAddress::parse(host == 0 ? "fd66::1" : "fd66::2");
    return IpAddress::v4(10, 66, 0, static_cast<std::uint8_t>(host + 1));
  }
  Fd socket(int host, int type, bool v6) {
    Fd out;
    hosts_[host].place.run([&] { out = Fd(::socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0)); });
    return out;
  }
  const AdapterInfo& info() const { return hosts_[0].adapter->info(); }
  std::uint64_t frames_read() const { return frames_read_; }
  std::uint64_t packets_cut() const { return packets_cut_; }
  std::uint64_t frames_written() const { return frames_written_; }

 private:
  struct Host {
    TestNamespace place;
    std::unique_ptr<Adapter> adapter;
    std::thread pump;
  };

  // Packets of host `from` to the other one.
  void pump(int from) {
    Adapter& in = *hosts_[from].adapter;
    Writer writer(*hosts_[1 - from].adapter, {true, true, true});
    std::vector<ReadBuffer> buffers(4);
    std::vector<Bytes> packets;
    while (!stop_) {
      if (!wait_readable(in.fd(), 20)) continue;
      const ReadResult got = in.read(buffers);
      packets.clear();
      for (ReadBuffer& buffer : std::span(buffers).first(got.count)) {
        ++frames_read_;
        auto segmenter = Segmenter::start(buffer.vnet, buffer.packet());
        EXPECT_TRUE(segmenter);
        if (!segmenter) continue;
        for (MutableBytes packet = segmenter->next(); !packet.empty(); packet = segmenter->next())
          packets.push_back(to_bytes(packet));
      }
      for (const Bytes& packet : packets) {
        ++packets_cut_;
        EXPECT_LE(packet.size(), 1420u);
        const auto ip = wire::parse_ip(packet);
        if (ip && (ip->protocol == wire::kProtocolTcp || ip->protocol == wire::kProtocolUdp)) {
          EXPECT_TRUE(wire::has_valid_checksum(packet, *ip)) << to_hex(packet).substr(0, 160);
        }
        writer.add(packet);
      }
      EXPECT_NE(writer.flush(), IoStatus::kClosed);
      EXPECT_EQ(writer.stats().refused, 0u);
      frames_written_ += writer.stats().frames - written_[from];
      written_[from] = writer.stats().frames;
    }
  }

  std::array<Host, 2> hosts_;
  std::array<std::uint64_t, 2> written_{};
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> frames_read_{0};
  std::atomic<std::uint64_t> packets_cut_{0};
  std::atomic<std::uint64_t> frames_written_{0};
};

class AdapterTraffic : public testing::TestWithParam<std::tuple<Kind, bool, bool>> {};
INSTANTIATE_TEST_SUITE_P(KindsFamiliesAndOffloads, AdapterTraffic,
                         testing::Combine(testing::Values(Kind::kTap, Kind::kTun), testing::Bool(), testing::Bool()));

TEST_P(AdapterTraffic, TcpArrivesWhole) {
  const auto [kind, v6, offloads] = GetParam();
  constexpr std::size_t kBytes = 4 << 20;
  Party party(kind, offloads);
  EXPECT_EQ(party.info().tcp_offload, offloads);

  const Fd listener = party.socket(1, SOCK_STREAM, v6);
  const Fd client = party.socket(0, SOCK_STREAM, v6);
  sockaddr_storage name{};
  const socklen_t length = net::to_sockaddr({Party::address(1, v6), 4711}, name);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&name), length), 0) << errno;
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  const timeval patience{10, 0};
  ::setsockopt(client.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  ::setsockopt(listener.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&name), length), 0) << errno;
  const Fd server(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(server.is_open());
  ::setsockopt(server.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);

  SeededRng rng(1);
  Bytes sent(kBytes);
  rng.fill(sent);
  std::thread sender([&] {
    std::size_t at = 0;
    while (at < sent.size()) {
      const auto n = ::send(client.get(), sent.data() + at, sent.size() - at, MSG_NOSIGNAL);
      if (n <= 0) break;
      at += static_cast<std::size_t>(n);
    }
    ::shutdown(client.get(), SHUT_WR);
  });
  Bytes got;
  Bytes buffer(1 << 18);
  for (;;) {
    const auto n = ::recv(server.get(), buffer.data(), buffer.size(), 0);
    if (n <= 0) break;
    append(got, ByteView{buffer}.first(static_cast<std::size_t>(n)));
  }
  sender.join();
  EXPECT_TRUE(got == sent) << got.size() << " bytes";
  party.stop();
  if (offloads) {
    EXPECT_LT(party.frames_read() * 3, party.packets_cut()) << "the kernel gave superframes";
    EXPECT_LT(party.frames_written() * 2, party.packets_cut()) << "and took some";
  } else {
    EXPECT_EQ(party.frames_read(), party.packets_cut());
  }
}

TEST_P(AdapterTraffic, UdpArrivesAlsoByBroadcastAndMulticast) {
  const auto [kind, v6, offloads] = GetParam();
  Party party(kind, offloads);
  const Fd receiver = party.socket(1, SOCK_DGRAM, v6);
  const Fd sender = party.socket(0, SOCK_DGRAM, v6);
  sockaddr_storage name{};
  socklen_t length = net::to_sockaddr({v6 ? IpAddress::v6({}) : IpAddress(), 4712}, name);
  ASSERT_EQ(::bind(receiver.get(), reinterpret_cast<sockaddr*>(&name), length), 0);
  const int on = 1;
  ::setsockopt(sender.get(), SOL_SOCKET, SO_BROADCAST, &on, sizeof on);

  std::vector<IpAddress> destinations{Party::address(1, v6)};
  if (v6) {
    const unsigned index = party.info().index;
    ::setsockopt(sender.get(), IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index);
    destinations.push_back(*IpAddress::parse("ff02::1"));
  } else if (kind == Kind::kTap) {
    destinations.push_back(IpAddress::v4(10, 66, 0, 255));
    destinations.push_back(IpAddress::v4(224, 0, 0, 1));
  }
  const std::string text = "who is there?";
  for (const IpAddress& destination : destinations) {
    if (destination == IpAddress::v4(224, 0, 0, 1)) {
      const in_addr from{htonl(Party::address(0, false).v4_value())};
      ::setsockopt(sender.get(), IPPROTO_IP, IP_MULTICAST_IF, &from, sizeof from);
    }
    length = net::to_sockaddr({destination, 4712}, name);
    ASSERT_EQ(::sendto(sender.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&name), length),
              static_cast<ssize_t>(text.size()))
        << destination.text() << " " << errno;
    ASSERT_TRUE(wait_readable(receiver.get(), 3000)) << destination.text();
    char got[100];
    sockaddr_storage from{};
    socklen_t from_length = sizeof from;
    const auto n = ::recvfrom(receiver.get(), got, sizeof got, 0, reinterpret_cast<sockaddr*>(&from), &from_length);
    EXPECT_EQ(std::string_view(got, static_cast<std::size_t>(n)), text);
    if (!destination.is_multicast()) {
      EXPECT_EQ(net::from_sockaddr(from)->address, Party::address(0, v6));
    }
  }
}

// What we cut must be what the kernel would have cut: a superframe goes into a card, is forwarded to another that takes
// no superframes, and comes out in pieces.
class KernelSegments : public testing::TestWithParam<std::tuple<bool, bool>> {};
INSTANTIATE_TEST_SUITE_P(FamiliesAndProtocols, KernelSegments, testing::Combine(testing::Bool(), testing::Bool()));

TEST_P(KernelSegments, EqualOurs) {
  const auto [v6, tcp] = GetParam();
  const TestNamespace place;
  const auto in = open_in(place, {.kind = Kind::kTun, .prefix = "in", .mtu = 1500});
  const auto out =
      open_in(place, {.kind = Kind::kTun, .prefix = "out", .mtu = 1500, .tcp_offload = false, .udp_offload = false});
  place.set_sysctl("/proc/sys/net/ipv4/ip_forward", "1");
  place.set_sysctl("/proc/sys/net/ipv6/conf/all/forwarding", "1");
  place.set_sysctl("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
  place.set_sysctl("/proc/sys/net/ipv4/conf/in0/rp_filter", "0");
  place.run([&, is_v6 = v6] {
    auto netlink = net::Netlink::open();
    ASSERT_TRUE(netlink->add_route({*IpPrefix::parse(is_v6 ? "fd00::2" : "10.66.0.2"), out->info().index}));
    ASSERT_TRUE(netlink->add_route({*IpPrefix::parse(is_v6 ? "fd00::1" : "10.66.0.1"), in->info().index}));
  });
  SeededRng rng(21);
  std::vector<ReadBuffer> buffers(64);
  for (int run = 0; run < 20; ++run) {
    PacketShape shape;
    shape.v6 = v6;
    shape.tcp = tcp;
    shape.options = tcp;
    shape.sequence = rng.u32();
    shape.id = static_cast<std::uint16_t>(rng.u32());
    shape.flags = wire::kTcpAck | wire::kTcpPsh;
    shape.traffic_class = 0xb8;
    const auto gso_size = static_cast<std::uint16_t>(400 + rng.below(1000));
    Bytes frame = make_packet(shape, rng, gso_size * (2 + rng.below(30)) + rng.below(gso_size));
    VnetHeader vnet;
    vnet.flags = VnetHeader::kNeedsChecksum;
    vnet.gso_type = !tcp ? VnetHeader::kGsoUdp : v6 ? VnetHeader::kGsoTcp6 : VnetHeader::kGsoTcp4;
    vnet.gso_size = gso_size;
    vnet.header_size = static_cast<std::uint16_t>(shape.header_size());
    vnet.checksum_start = v6 ? 40 : 20;
    vnet.checksum_offset = tcp ? 16 : 6;
    const auto ip = wire::parse_ip(frame);
    store_be(frame.data() + vnet.checksum_start + vnet.checksum_offset,
             wire::pseudo_header_sum(ip->source, ip->destination, ip->protocol,
                                     static_cast<std::uint32_t>(ip->payload_size())));
    const ByteView piece{frame};
    ASSERT_EQ(in->write(vnet, std::span(&piece, 1)), IoStatus::kOk);

    std::vector<Bytes> theirs;
    auto segmenter = Segmenter::start(vnet, frame);
    ASSERT_TRUE(segmenter);
    while (theirs.size() < segmenter->count() && wait_readable(out->fd(), 1000)) {
      const ReadResult got = out->read(buffers);
      for (ReadBuffer& buffer : std::span(buffers).first(got.count)) {
        const auto parsed = wire::parse_ip(buffer.packet());
        if (parsed && parsed->protocol == ip->protocol) theirs.push_back(to_bytes(buffer.packet()));
      }
    }
    ASSERT_THAT(theirs, SizeIs(segmenter->count()));
    for (Bytes& expected : theirs) {  // a router takes one from the hop limit
      ++expected[v6 ? 7 : 8];
      if (!v6) wire::store_ipv4_header_sum(expected);
      EXPECT_EQ(to_bytes(segmenter->next()), expected);
    }
  }
}

std::string unique_prefix() { return format("lr{}t", ::getpid() % 100000); }

TEST(Adapter, TakesTheFirstNameThatIsFreeHereAndAmongWireguardSockets) {
  const TestNamespace place;
  AdapterOptions options;
  options.prefix = unique_prefix();
  std::filesystem::create_directories("/var/run/wireguard");
  const std::string socket = format("/var/run/wireguard/{}1.sock", options.prefix);
  std::ofstream(socket) << "";
  const auto first = open_in(place, options);
  const auto second = open_in(place, options);
  std::filesystem::remove(socket);
  EXPECT_EQ(first->info().name, options.prefix + "0");
  EXPECT_EQ(second->info().name, options.prefix + "2");
}

TEST(Adapter, ATakenNameIsAConflict) {
  const TestNamespace place;
  AdapterOptions options;
  options.name = unique_prefix();
  const auto first = open_in(place, options);
  place.run([&] {
    const auto second = open_adapter(options);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Code::kConflict);
  });
}

TEST(Adapter, IsACardWithItsMacMtuAndFlags) {
  const TestNamespace place;
  AdapterOptions options;
  options.mac = mac_from_key(as_bytes("some key"));
  options.mtu = 1400;
  const auto adapter = open_in(place, options);
  place.run([&] {
    auto netlink = net::Netlink::open();
    const auto link = netlink->find(adapter->info().name);
    ASSERT_TRUE(link);
    EXPECT_EQ(link->mac, options.mac);
    EXPECT_EQ(link->mtu, 1400);
    EXPECT_TRUE(link->up && link->broadcast && link->multicast);
    EXPECT_FALSE(link->point_to_point);
    EXPECT_EQ(link->index, adapter->info().index);
  });
}

TEST(Adapter, SaysThatItIsDownAndWorksAgainOnceUp) {
  const TestNamespace place;
  const auto adapter = open_in(place, {.kind = Kind::kTun});
  SeededRng rng(1);
  const Bytes packet = make_packet({}, rng, 10);
  const ByteView piece{packet};
  const auto set_up = [&](bool up) {
    place.run([&] { ASSERT_TRUE(net::Netlink::open()->set_up(adapter->info().index, up)); });
  };
  set_up(false);
  EXPECT_EQ(adapter->write({}, std::span(&piece, 1)), IoStatus::kDown);
  EXPECT_EQ(adapter->write_packet(packet), IoStatus::kDown);
  set_up(true);
  EXPECT_EQ(adapter->write({}, std::span(&piece, 1)), IoStatus::kOk);
  EXPECT_EQ(adapter->write_packet(packet), IoStatus::kOk);
}

}  // namespace
}  // namespace lanrage::tun
