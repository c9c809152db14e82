// What needs a network of its own: netlink, packet sockets, raw sockets, group memberships. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/syscall.h>

#include <cstdlib>
#include <optional>

#include "base/format.h"
#include "net/address.h"
#include "net/icmp_watch.h"
#include "net/multicast_member.h"
#include "net/netlink.h"
#include "net/packet_socket.h"
#include "net/raw_socket.h"
#include "net/test_namespace.h"
#include "net/udp_socket.h"
#include "wire/ip.h"

namespace lanrage::net {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

// A machine with one card, eth0 = 192.168.9.1/24 and fd09::1/64, the other end of whose cable is eth1.
class Machine : public testing::Test {
 protected:
  Machine() {
    shell("ip link add eth0 type veth peer name eth1 && ip link set eth0 up && ip link set eth1 up");
    inside([this](Netlink& netlink) {
      eth0_ = netlink.find("eth0").value().index;
      EXPECT_TRUE(netlink.add_address(eth0_, *IpPrefix::parse("192.168.9.1/24")));
      EXPECT_TRUE(netlink.add_address(eth0_, *IpPrefix::parse("fd09::1/64")));
    });
  }
  void shell(const std::string& command) {
    place_.run([&] { ASSERT_EQ(std::system(command.c_str()), 0) << command; });
  }
  template <class F>
  void inside(F&& f) {
    place_.run([&] {
      auto netlink = Netlink::open();
      ASSERT_TRUE(netlink);
      f(*netlink);
    });
  }
  // Text of a command in the namespace.
  std::string ask(const std::string& command) {
    std::string out;
    place_.run([&] {
      FILE* pipe = ::popen(command.c_str(), "r");
      char line[512];
      while (std::fgets(line, sizeof line, pipe) != nullptr) out += line;
      ::pclose(pipe);
    });
    return out;
  }
  Fd udp(bool v6, std::uint16_t port = 0) {
    Fd fd;
    place_.run([&] {
      fd = Fd(::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      const int on = 1;
      ::setsockopt(fd.get(), SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
      sockaddr_storage name{};
      const socklen_t length = to_sockaddr({v6 ? IpAddress::v6({}) : IpAddress(), port}, name);
      ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), length), 0);
    });
    return fd;
  }
  // The errno, 0 for success.
  int send(const Fd& from, std::string_view to, std::string_view text) {
    sockaddr_storage name{};
    const socklen_t length = to_sockaddr({*IpAddress::parse(to), 4445}, name, eth0_);
    return ::sendto(from.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&name), length) < 0 ? errno
                                                                                                             : 0;
  }

  // Hears every UDP packet that comes out at the other end of the cable.
  Fd listen_on_wire(bool v6) {
    Fd fd;
    inside([&](Netlink& netlink) {
      fd = Fd(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      const sock_filter code[] = {{BPF_LD | BPF_B | BPF_ABS, 0, 0, v6 ? 6u : 9u},
                                  {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, wire::kProtocolUdp},
                                  {BPF_RET | BPF_K, 0, 0, 0xffff},
                                  {BPF_RET | BPF_K, 0, 0, 0}};
      const sock_fprog program{4, const_cast<sock_filter*>(code)};
      ASSERT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program), 0);
      sockaddr_ll address{};
      address.sll_family = AF_PACKET;
      address.sll_protocol = htons(v6 ? ETH_P_IPV6 : ETH_P_IP);
      address.sll_ifindex = static_cast<int>(netlink.find("eth1")->index);
      ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    });
    return fd;
  }

  TestNamespace place_;
  unsigned eth0_ = 0;
};

bool wait_readable(int fd, int milliseconds = 2000) {
  pollfd ready{fd, POLLIN, 0};
  return ::poll(&ready, 1, milliseconds) == 1;
}

TEST_F(Machine, NetlinkListsInterfacesWithTheirAddresses) {
  inside([&](Netlink& netlink) {
    const auto eth0 = netlink.find("eth0");
    ASSERT_TRUE(eth0);
    EXPECT_TRUE(eth0->up && eth0->broadcast && eth0->multicast);
    EXPECT_FALSE(eth0->loopback || eth0->point_to_point);
    EXPECT_EQ(eth0->mtu, 1500);
    EXPECT_NE(eth0->mac, (std::array<std::uint8_t, 6>{}));
    EXPECT_THAT(eth0->addresses, Contains(*IpPrefix::parse("192.168.9.1/24")));
    EXPECT_THAT(eth0->addresses, Contains(*IpPrefix::parse("fd09::1/64")));
    EXPECT_TRUE(netlink.find("lo")->loopback);
    EXPECT_EQ(netlink.find("eth7").error().code, Code::kNotFound);
  });
  EXPECT_THAT(ask("ip -4 addr show eth0"), testing::HasSubstr("brd 192.168.9.255"));
}

TEST_F(Machine, NetlinkChangesAddressesAndRepeatsAreNoErrors) {
  const IpPrefix more = *IpPrefix::parse("10.66.3.7/24");
  inside([&](Netlink& netlink) {
    EXPECT_TRUE(netlink.add_address(eth0_, more));
    EXPECT_TRUE(netlink.add_address(eth0_, more));
    EXPECT_THAT(netlink.find("eth0")->addresses, Contains(more));
    EXPECT_TRUE(netlink.remove_address(eth0_, more));
    EXPECT_TRUE(netlink.remove_address(eth0_, more));
    EXPECT_THAT(netlink.find("eth0")->addresses, testing::Not(Contains(more)));
  });
}

TEST_F(Machine, NetlinkFindsTheDefaultRoutesBestFirst) {
  inside([&](Netlink& netlink) {
    EXPECT_THAT(*netlink.default_routes(), IsEmpty());
    const auto gateway = IpAddress::parse("192.168.9.254");
    EXPECT_TRUE(netlink.add_route({.destination = {}, .interface = eth0_, .gateway = gateway, .metric = 100}));
    EXPECT_TRUE(netlink.add_route({.destination = {IpAddress::v6({}), 0},
                                   .interface = eth0_,
                                   .gateway = IpAddress::parse("fd09::fe"),
                                   .metric = 50}));
    const auto routes = netlink.default_routes();
    ASSERT_TRUE(routes);
    ASSERT_THAT(*routes, SizeIs(2));
    EXPECT_EQ((*routes)[0].gateway->text(), "fd09::fe");
    EXPECT_EQ((*routes)[1].gateway, gateway);
    EXPECT_EQ((*routes)[1].interface, eth0_);
    EXPECT_EQ((*routes)[1].metric, 100u);
  });
}

TEST_F(Machine, NetlinkKeepsRoutesAndRulesInATableOfOurOwn) {
  const Route route{.destination = *IpPrefix::parse("10.66.3.0/24"), .interface = eth0_, .table = 6666};
  const Rule rule{.table = 6666, .priority = 1000, .to = IpPrefix::parse("10.66.3.0/24")};
  const Rule marked{.table = 6666, .priority = 1001, .mark = 0x66, .v6 = true};
  inside([&](Netlink& netlink) {
    for (int twice = 0; twice < 2; ++twice) {
      EXPECT_TRUE(netlink.add_route(route));
      EXPECT_TRUE(netlink.add_rule(rule));
      EXPECT_TRUE(netlink.add_rule(marked));
    }
  });
  EXPECT_THAT(ask("ip route show table 6666"), testing::HasSubstr("10.66.3.0/24 dev eth0"));
  EXPECT_THAT(ask("ip rule show"), testing::HasSubstr("from all to 10.66.3.0/24 lookup 6666"));
  EXPECT_THAT(ask("ip -6 rule show"), testing::HasSubstr("fwmark 0x66 lookup 6666"));
  EXPECT_THAT(ask("ip route get 10.66.3.9"), testing::HasSubstr("eth0"));
  inside([&](Netlink& netlink) {
    for (int twice = 0; twice < 2; ++twice) {
      EXPECT_TRUE(netlink.remove_rule(rule));
      EXPECT_TRUE(netlink.remove_rule(marked));
      EXPECT_TRUE(netlink.remove_route(route));
    }
  });
  EXPECT_THAT(ask("ip rule show; ip -6 rule show; ip route show table all"), testing::Not(testing::HasSubstr("6666")));
}

TEST_F(Machine, NetlinkSetsNeighboursAndLinkProperties) {
  inside([&](Netlink& netlink) {
    EXPECT_TRUE(netlink.set_mtu(eth0_, 1400));
    EXPECT_TRUE(netlink.set_queue_length(eth0_, 33));
    EXPECT_TRUE(netlink.set_gso_max_size(eth0_, 60000));
    EXPECT_TRUE(netlink.set_mac(eth0_, {2, 0, 0, 0, 0, 9}));
    EXPECT_EQ(netlink.find("eth0")->mac[5], 9);
    EXPECT_TRUE(netlink.add_neighbour(eth0_, *IpAddress::parse("192.168.9.7"), {2, 0, 0, 0, 0, 7}));
    EXPECT_TRUE(netlink.add_neighbour(eth0_, *IpAddress::parse("fd09::7"), {2, 0, 0, 0, 0, 7}));
  });
  const std::string neighbours = ask("ip neigh show dev eth0");
  EXPECT_THAT(neighbours, testing::HasSubstr("192.168.9.7 lladdr 02:00:00:00:00:07 PERMANENT"));
  EXPECT_THAT(neighbours, testing::HasSubstr("fd09::7 lladdr 02:00:00:00:00:07 PERMANENT"));
  const std::string link = ask("ip -d link show eth0");
  EXPECT_THAT(link, testing::HasSubstr("mtu 1400"));
  EXPECT_THAT(link, testing::HasSubstr("qlen 33"));
  EXPECT_THAT(link, testing::HasSubstr("gso_max_size 60000"));
  inside([&](Netlink& netlink) {
    EXPECT_TRUE(netlink.remove_neighbour(eth0_, *IpAddress::parse("192.168.9.7")));
    EXPECT_TRUE(netlink.remove_neighbour(eth0_, *IpAddress::parse("192.168.9.7")));
    EXPECT_TRUE(netlink.set_up(eth0_, false));
    EXPECT_FALSE(netlink.find("eth0")->up);
    EXPECT_EQ(netlink.set_mtu(9999, 1400).error().code, Code::kNotFound);
  });
  EXPECT_THAT(ask("ip neigh show dev eth0"), testing::Not(testing::HasSubstr("192.168.9.7")));
}

TEST_F(Machine, NetlinkSaysWhatToDoWithoutRights) {
  inside([&](Netlink& netlink) {
    // The system call, not the library's: rights of this thread only.
    ASSERT_EQ(::syscall(SYS_setresuid, 65534, 65534, 65534), 0);
    const auto refused = netlink.set_mtu(eth0_, 1400);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kRefused);
    EXPECT_THAT(refused.error().hint, testing::HasSubstr("CAP_NET_ADMIN"));
    EXPECT_EQ(PacketSocket::open(eth0_).error().code, Code::kRefused);
    EXPECT_EQ(RawSocket::open().error().code, Code::kRefused);
  });
}

TEST_F(Machine, NetlinkWatchTellsOfChangesOnce) {
  std::optional<NetlinkWatch> watch;
  place_.run([&] {
    auto opened = NetlinkWatch::open();
    ASSERT_TRUE(opened);
    watch.emplace(std::move(*opened));
  });
  watch->take_changes();
  inside([&](Netlink& netlink) { EXPECT_TRUE(netlink.add_address(eth0_, *IpPrefix::parse("10.1.2.3/24"))); });
  ASSERT_TRUE(wait_readable(watch->fd()));
  EXPECT_TRUE(watch->take_changes());
  EXPECT_FALSE(watch->take_changes());
}

TEST_F(Machine, PacketSocketSeesBroadcastsAndGroupsAndNeverUnicast) {
  std::optional<PacketSocket> tap;
  place_.run([&] {
    auto opened = PacketSocket::open(eth0_);
    ASSERT_TRUE(opened) << opened.error().message;
    tap.emplace(std::move(*opened));
  });
  shell("ip route add default via 192.168.9.254");
  shell(
      "ip neigh add 192.168.9.7 lladdr 02:00:00:00:00:07 dev eth0; ip neigh add fd09::7 lladdr 02:00:00:00:00:07 dev "
      "eth0");
  shell("ip neigh add 192.168.9.254 lladdr 02:00:00:00:00:fe dev eth0");
  const Fd v4 = udp(false);
  const Fd v6 = udp(true);
  ASSERT_EQ(send(v4, "192.168.9.7", "unicast"), 0);
  ASSERT_EQ(send(v4, "8.8.4.255", "unicast"), 0);
  ASSERT_EQ(send(v6, "fd09::7", "unicast"), 0);
  const std::vector<std::string> heard{"255.255.255.255", "192.168.9.255", "10.255.255.255", "224.0.2.60", "ff02::1"};
  for (const std::string& to : heard) ASSERT_EQ(send(to[0] == 'f' ? v6 : v4, to, to), 0) << to;

  Bytes buffer(PacketSocket::kPacketMax);
  std::vector<std::string> got;
  while (got.size() < heard.size() && wait_readable(tap->fd())) {
    const auto packet = tap->receive(buffer);
    if (!packet) continue;
    const auto udp = wire::parse_udp_packet(*packet);
    ASSERT_TRUE(udp);
    EXPECT_TRUE(wire::has_valid_checksum(*packet, udp->ip)) << "veth leaves the sum to us";
    EXPECT_EQ(udp->destination.text(), Endpoint({*IpAddress::parse(as_text(udp->payload)), 4445}).text());
    got.emplace_back(as_text(udp->payload));
  }
  EXPECT_EQ(got, heard);
  EXPECT_FALSE(tap->receive(buffer));
  EXPECT_EQ(tap->lost(), 0u);
}

TEST_F(Machine, PacketSocketSkipsWhatComesIn) {
  std::optional<PacketSocket> tap;
  unsigned eth1 = 0;
  inside([&](Netlink& netlink) {
    eth1 = netlink.find("eth1")->index;
    auto opened = PacketSocket::open(eth1);
    ASSERT_TRUE(opened);
    tap.emplace(std::move(*opened));
  });
  ASSERT_EQ(send(udp(false), "192.168.9.255", "from eth0"), 0);
  EXPECT_FALSE(wait_readable(tap->fd(), 50));
}

TEST_F(Machine, MembershipsExceedTheLimitOfOneSocket) {
  MulticastMember member(eth0_);
  place_.run([&] {
    for (int i = 0; i < 50; ++i) {
      const auto joined = member.join(IpAddress::v4(239, 1, 1, static_cast<std::uint8_t>(i)));
      EXPECT_TRUE(joined) << joined.error().message;
    }
    EXPECT_TRUE(member.join(*IpAddress::parse("ff05::66")));
    EXPECT_TRUE(member.join(*IpAddress::parse("ff05::66")));
    EXPECT_EQ(member.join(IpAddress::v4(10, 0, 0, 1)).error().code, Code::kInvalid);
  });
  EXPECT_EQ(member.size(), 51u);
  const std::string groups = ask("ip maddr show dev eth0");
  EXPECT_THAT(groups, testing::HasSubstr("239.1.1.0"));
  EXPECT_THAT(groups, testing::HasSubstr("239.1.1.49"));
  EXPECT_THAT(groups, testing::HasSubstr("ff05::66"));
  place_.run([&] {
    for (int i = 0; i < 50; ++i) member.leave(IpAddress::v4(239, 1, 1, static_cast<std::uint8_t>(i)));
  });
  EXPECT_FALSE(member.has(IpAddress::v4(239, 1, 1, 3)));
  EXPECT_EQ(member.size(), 1u);
  EXPECT_THAT(ask("ip maddr show dev eth0"), testing::Not(testing::HasSubstr("239.1.1")));
}

TEST_F(Machine, MembershipsAreBounded) {
  MulticastMember member(eth0_);
  place_.run([&] {
    for (std::size_t i = 0; i < MulticastMember::kGroupsMax; ++i)
      ASSERT_TRUE(member.join(IpAddress::v4(0xefff0000u + static_cast<std::uint32_t>(i))));
    EXPECT_EQ(member.join(IpAddress::v4(239, 0, 0, 1)).error().code, Code::kExhausted);
  });
}

// A program that hears one group on one card only, as every Java game does.
TEST_F(Machine, RawSocketReachesStrictListenersAndNotTheWire) {
  for (const bool v6 : {false, true}) {
    const IpAddress group = *IpAddress::parse(v6 ? "ff02::66" : "224.0.2.60");
    const IpAddress sender = *IpAddress::parse(v6 ? "fd66::9" : "10.66.3.9");
    const Fd listener = udp(v6, 4445);
    group_req join{};
    join.gr_interface = eth0_;
    to_sockaddr({group, 0}, join.gr_group, eth0_);
    place_.run([&] {
      const int off = 0;
      ASSERT_EQ(
          ::setsockopt(listener.get(), v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? 29 : IP_MULTICAST_ALL, &off, sizeof off),
          0);
      ASSERT_EQ(::setsockopt(listener.get(), v6 ? IPPROTO_IPV6 : IPPROTO_IP, MCAST_JOIN_GROUP, &join, sizeof join), 0);
    });
    place_.set_sysctl("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
    place_.set_sysctl("/proc/sys/net/ipv4/conf/eth0/rp_filter", "0");
    const Fd wire = listen_on_wire(v6);
    const Bytes packet = wire::build_udp({sender, 1234}, {group, 4445}, as_bytes("announcement"), 1);
    place_.run([&] {
      auto raw = RawSocket::open();
      ASSERT_TRUE(raw);
      const auto sent = raw->loop_back(packet, eth0_);
      EXPECT_TRUE(sent) << sent.error().message;
      EXPECT_EQ(raw->loop_back(wire::build_udp({sender, 1}, {sender, 2}, {}), eth0_).error().code, Code::kInvalid);
    });
    ASSERT_TRUE(wait_readable(listener.get())) << (v6 ? "v6" : "v4");
    char text[64];
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    const auto n = ::recvfrom(listener.get(), text, sizeof text, 0, reinterpret_cast<sockaddr*>(&from), &length);
    EXPECT_EQ(std::string_view(text, static_cast<std::size_t>(n)), "announcement");
    EXPECT_EQ(from_sockaddr(from), (Endpoint{sender, 1234}));
    EXPECT_FALSE(wait_readable(wire.get(), 50)) << "it left by the card";
  }
}

// 100 datagrams to an IPv4 port where nobody is, and one to such an IPv6 port, from a socket of each family.
TEST_F(Machine, HearsOfEachFamilyWithoutWaitingForTheOther) {
  std::optional<IcmpWatch> watch;
  place_.run([&] {
    auto opened = IcmpWatch::open();
    ASSERT_TRUE(opened) << opened.error().message;
    watch.emplace(std::move(*opened));
  });
  const Fd v4 = udp(false, 5004), v6 = udp(true, 5006);
  for (int i = 0; i < 100; ++i) send(v4, "192.168.9.1", "nobody");
  ASSERT_TRUE(wait_readable(watch->fd4()));
  bool answered = false;  // the kernel limits how many answers it gives, to all together
  for (int i = 0; i < 10 && !answered; ++i) {
    send(v6, "fd09::1", "nobody");
    answered = wait_readable(*watch->fd6(), 200);
  }
  ASSERT_TRUE(answered);
  const auto heard = watch->receive(true, [](std::uint16_t port) { return port == 5006; });
  ASSERT_TRUE(heard);
  EXPECT_EQ(heard->datagram.destination, (Endpoint{*IpAddress::parse("fd09::1"), 4445}));
  EXPECT_FALSE(watch->receive(false, [](std::uint16_t port) { return port == 5006; })) << "not our port";
  const auto other = watch->receive(false, [](std::uint16_t port) { return port == 5004; });
  ASSERT_TRUE(other);
  EXPECT_EQ(other->datagram.source.port, 5004);
}

}  // namespace
}  // namespace lanrage::net
