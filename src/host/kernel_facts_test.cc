// What the kernel does with LAN games' packets, each fact that docs/lan.md and src/lan/delivery.h build on, against a
// real TAP and a real second card. A kernel that does otherwise shows here first.
#include <gtest/gtest.h>

#include "host/test_machine.h"

namespace lanrage::host {
namespace {

TEST(KernelFacts, ALimitedBroadcastLeavesByTheDefaultRouteAndNotByTheAdapter) {
  on_a_machine([](Machine& m) {
    Game game;
    game.send({ip("255.255.255.255"), 6000}, "search");
    std::vector<std::string> captured;
    m.capture->read([&](unsigned interface, ByteView packet) {
      const auto udp = wire::parse_udp_packet(packet);
      ASSERT_TRUE(udp);
      EXPECT_EQ(interface, m.eth0_index);
      EXPECT_TRUE(wire::has_valid_checksum(packet, udp->ip)) << "partial sums are finished";
      captured.push_back(std::string(as_text(udp->payload)) + " " + udp->source.address.text());
    });
    EXPECT_EQ(captured, List{"search 192.168.9.1"});
    m.adapter_packets();
    EXPECT_EQ(m.left, List{});
  });
}

TEST(KernelFacts, AHostRouteForItTakesItFromTheRealLan) {
  on_a_machine([](Machine& m) {
    shell("ip route add 255.255.255.255/32 dev lanrageT");
    Game game;
    game.send({ip("255.255.255.255"), 6000}, "search");
    m.capture->read([](unsigned, ByteView) { ADD_FAILURE() << "the other card saw it"; });
    m.adapter_packets();
    EXPECT_EQ(m.left, List{"search 10.66.1.1 > 255.255.255.255:6000"});
  });
}

TEST(KernelFacts, TheAdapterIsACardWithTheBroadcastFlag) {
  on_a_machine([](Machine&) {
    const net::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    std::string(Machine::kAdapterName).copy(request.ifr_name, IFNAMSIZ - 1);
    ASSERT_EQ(::ioctl(socket.get(), SIOCGIFFLAGS, &request), 0);
    EXPECT_TRUE((request.ifr_flags & IFF_BROADCAST) != 0);
    EXPECT_FALSE((request.ifr_flags & IFF_POINTOPOINT) != 0);
    ASSERT_EQ(::ioctl(socket.get(), SIOCGIFBRDADDR, &request), 0);
    EXPECT_EQ(reinterpret_cast<sockaddr_in*>(&request.ifr_broadaddr)->sin_addr.s_addr, htonl(0x0a4201ff));
  });
}

TEST(KernelFacts, ASocketBoundToNothingHearsEveryBroadcastWrittenIn) {
  for (const char* rp_filter : {"0", "1", "2"}) {
    const net::TestNamespace space;
    for (const char* path : {"/proc/sys/net/ipv4/conf/all/rp_filter", "/proc/sys/net/ipv4/conf/default/rp_filter"})
      space.set_sysctl(path, rp_filter);
    space.run([] {
      Machine m;
      Game game;
      game.bind_any(6000);
      for (const char* destination : {"255.255.255.255", "10.66.1.255", "192.168.9.255"}) {
        m.write(destination, 6000, destination);
        EXPECT_EQ(game.heard(), List{std::string(destination) + " from 10.66.1.7:4000"});
      }
      m.write("192.168.77.255", 6000, "no card has that subnet");
      EXPECT_EQ(game.heard(), List{});
    });
  }
}

TEST(KernelFacts, AGroupIsHeardOnlyWhereItIsJoined) {
  on_a_machine([](Machine& m) {
    for (const char* interface : {static_cast<const char*>(nullptr), "eth0"}) {
      Game game;
      game.bind_any(4445).join(ip("224.0.2.60"), interface);
      m.write("224.0.2.60", 4445, "early");
      EXPECT_EQ(game.heard(), List{});
      {
        Game ours;
        ours.join(ip("224.0.2.60"), Machine::kAdapterName);
        m.write("224.0.2.60", 4445, "joined");
        EXPECT_EQ(game.heard(), List{"joined from 10.66.1.7:4000"});
      }
      m.write("224.0.2.60", 4445, "late");
      EXPECT_EQ(game.heard(), List{});
    }
  });
}

TEST(KernelFacts, ASocketWithoutMulticastAllIsReachedByInjectionOnly) {
  for (const char* rp_filter : {"0", "1", "2"}) {
    const net::TestNamespace space;
    for (const char* path : {"/proc/sys/net/ipv4/conf/all/rp_filter", "/proc/sys/net/ipv4/conf/default/rp_filter"})
      space.set_sysctl(path, rp_filter);
    space.run([&] {
      Machine m;
      Game java;
      java.bind_any(4445).set(IPPROTO_IP, IP_MULTICAST_ALL, 0).join(ip("224.0.2.60"), "eth0");
      Game ours;
      ours.join(ip("224.0.2.60"), Machine::kAdapterName);
      m.write("224.0.2.60", 4445, "written");
      EXPECT_EQ(java.heard(), List{});
      const Bytes packet = wire::build_udp({ip("10.66.1.7"), 4000}, {ip("224.0.2.60"), 4445}, as_bytes("injected"), 0);
      ASSERT_TRUE(m.inject->handle({lan::Delivery::Kind::kInject, static_cast<int>(m.eth0_index), {}, packet}));
      EXPECT_EQ(java.heard(), List{"injected from 10.66.1.7:4000"}) << "rp_filter " << rp_filter;
      m.capture->read([](unsigned, ByteView) { ADD_FAILURE() << "it was on its way to the wire"; });
    });
  }
}

TEST(KernelFacts, OverIpv6AJoinOnTheAdapterReachesThoseToo) {
  on_a_machine([](Machine& m) {
    Game java(AF_INET6);
    java.set(IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0).bind({ip("::"), 4445}).join(ip("ff05::1234"), "eth0");
    m.write("ff05::1234", 4445, "early");
    EXPECT_EQ(java.heard(), List{});
    Game ours(AF_INET6);
    ours.join(ip("ff05::1234"), Machine::kAdapterName);
    m.write("ff05::1234", 4445, "joined");
    EXPECT_EQ(java.heard(), List{"joined from [fd00:66::7]:4000"});
  });
}

TEST(KernelFacts, ASocketBoundToAnAddressHearsUnicastOnly) {
  on_a_machine([](Machine& m) {
    Game game;
    game.bind({ip("192.168.9.1"), 6000});
    for (const char* destination : {"255.255.255.255", "10.66.1.255", "192.168.9.255"}) m.write(destination, 6000, "b");
    EXPECT_EQ(game.heard(), List{});
    m.write("192.168.9.1", 6000, "copy");
    EXPECT_EQ(game.heard(), List{"copy from 10.66.1.7:4000"});
    game.send({ip("10.66.1.7"), 4000}, "answer");
    m.adapter_packets();
    EXPECT_EQ(m.left, List{"answer 192.168.9.1 > 10.66.1.7:4000"}) << "by the adapter, with the other card's address";
  });
}

TEST(KernelFacts, ASocketBoundToADeviceHearsThatDeviceOnly) {
  on_a_machine([](Machine& m) {
    Game game;
    game.bind_any(6000).bind_device("eth0");
    m.write("255.255.255.255", 6000, "b");
    m.write("10.66.1.1", 6000, "u");
    EXPECT_EQ(game.heard(), List{});
  });
}

TEST(KernelFacts, AGuessWithAWiderMaskLeavesByTheDefaultGateway) {
  on_a_machine([](Machine& m) {
    shell("ip neigh add 192.168.9.2 lladdr 02:00:00:00:00:bb dev eth0");
    Game game;
    game.send({ip("10.255.255.255"), 6000}, "guess");
    int seen = 0;
    m.capture->read([&](unsigned interface, ByteView) {
      EXPECT_EQ(interface, m.eth0_index);
      ++seen;
    });
    EXPECT_EQ(seen, 1);
  });
}

}  // namespace
}  // namespace lanrage::host
