#include "lan/address_translation.h"

#include <gtest/gtest.h>

namespace lanrage::lan {
namespace {

constexpr int kAdapter = 7;
const IpAddress kOwn = IpAddress::v4(10, 66, 1, 1);
const IpAddress kOwn6 = *IpAddress::parse("fd00:66::1");
const IpAddress kMember = IpAddress::v4(10, 66, 1, 9);
const IpAddress kMember6 = *IpAddress::parse("fd00:66::9");
const IpAddress kLocal = IpAddress::v4(192, 168, 9, 1);
const IpAddress kLocal6 = *IpAddress::parse("2001:db8::1");

LocalSocket socket_on(const IpAddress& address, std::uint16_t port, SocketKind kind = SocketKind::kUdp) {
  LocalSocket socket;
  socket.kind = kind;
  socket.v6 = address.is_v6();
  socket.bound = address;
  socket.port = port;
  return socket;
}

HostView host(std::vector<LocalSocket> sockets) {
  HostView view;
  view.interfaces = {{1, "lo", {{IpAddress::v4(127, 0, 0, 1), 8}}, true, false},
                     {2, "eth0", {{kLocal, 24}, {kLocal6, 64}, {*IpAddress::parse("fe80::5"), 64}}, false, true},
                     {kAdapter, "lanrage0", {{kOwn, 24}, {kOwn6, 64}}, false, true}};
  view.sockets = std::move(sockets);
  return view;
}
AddressTranslation translation(std::vector<LocalSocket> sockets) {
  return AddressTranslation(host(std::move(sockets)), kAdapter, kOwn, kOwn6);
}

struct Case {
  IpAddress own, local, member;
};
const Case kCases[] = {{kOwn, kLocal, kMember}, {kOwn6, kLocal6, kMember6}};

TEST(AddressTranslation, GivesAnAnswerFromAnotherAddressOurPartyAddress) {
  for (const Case& c : kCases) {
    const auto table = translation({socket_on(c.local, 5000)});
    Bytes packet = wire::build_udp({c.local, 5000}, {c.member, 4000}, as_bytes("answer"));
    EXPECT_TRUE(table.rewrite_outbound(packet, *wire::parse_ip(packet)));
    EXPECT_EQ(packet, wire::build_udp({c.own, 5000}, {c.member, 4000}, as_bytes("answer")));
    EXPECT_FALSE(table.rewrite_outbound(packet, *wire::parse_ip(packet))) << "ours already";
  }
}

TEST(AddressTranslation, LeadsWhatComesBackToTheOnlyProgramOnThatPort) {
  for (const Case& c : kCases) {
    const auto table = translation({socket_on(c.local, 5000)});
    Bytes packet = wire::build_udp({c.member, 4000}, {c.own, 5000}, as_bytes("ask"));
    EXPECT_TRUE(table.rewrite_inbound(packet, *wire::parse_ip(packet)));
    EXPECT_EQ(packet, wire::build_udp({c.member, 4000}, {c.local, 5000}, as_bytes("ask")));
    Bytes other = wire::build_udp({c.member, 4000}, {c.own, 5001}, as_bytes("ask"));
    EXPECT_FALSE(table.rewrite_inbound(other, *wire::parse_ip(other)));
  }
}

TEST(AddressTranslation, LeavesAPortToTheProgramThatThePartyAddressReaches) {
  EXPECT_FALSE(translation({socket_on(kLocal, 5000), socket_on({}, 5000)}).holder(SocketKind::kUdp, false, 5000));
  EXPECT_FALSE(translation({socket_on(kLocal, 5000), socket_on(kOwn, 5000)}).holder(SocketKind::kUdp, false, 5000));
  EXPECT_FALSE(translation({socket_on(kLocal, 5000), socket_on(*IpAddress::parse("::"), 5000)})
                   .holder(SocketKind::kUdp, false, 5000))
      << "an IPv6 socket hears IPv4 too";
  LocalSocket v6_only = socket_on(*IpAddress::parse("::"), 5000);
  v6_only.v6_only = true;
  EXPECT_EQ(translation({socket_on(kLocal, 5000), v6_only}).holder(SocketKind::kUdp, false, 5000), kLocal);
}

TEST(AddressTranslation, KeepsUdpAndTcpApart) {
  const auto table = translation({socket_on(kLocal, 5000, SocketKind::kTcpListener)});
  EXPECT_EQ(table.holder(SocketKind::kTcpListener, false, 5000), kLocal);
  EXPECT_FALSE(table.holder(SocketKind::kUdp, false, 5000));
}

TEST(AddressTranslation, LeavesSocketsOfOtherDevicesAndLinkLocalAddressesAlone) {
  LocalSocket other_device = socket_on(kLocal, 5000);
  other_device.device = 2;
  const auto table = translation({other_device, socket_on(*IpAddress::parse("fe80::5"), 5001)});
  EXPECT_FALSE(table.holder(SocketKind::kUdp, false, 5000));
  EXPECT_FALSE(table.holder(SocketKind::kUdp, true, 5001));
}

TEST(AddressTranslation, ChangesNothingForStrangersOrWhenEmpty) {
  const auto table = translation({socket_on(kLocal, 5000)});
  Bytes packet = wire::build_udp({IpAddress::v4(8, 8, 8, 8), 53}, {kMember, 4000}, as_bytes("x"));
  const Bytes before = packet;
  EXPECT_FALSE(table.rewrite_outbound(packet, *wire::parse_ip(packet)));
  EXPECT_FALSE(AddressTranslation().rewrite_inbound(packet, *wire::parse_ip(packet)));
  EXPECT_FALSE(AddressTranslation().rewrite_outbound(packet, *wire::parse_ip(packet)));
  EXPECT_EQ(packet, before);
}

}  // namespace
}  // namespace lanrage::lan
