#include "lan/address_translation.h"

#include <gtest/gtest.h>

#include "lan/reassembly.h"

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

Time at(int second) { return Time{} + std::chrono::seconds(second); }

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
  FragmentTrail trail;
  for (const Case& c : kCases) {
    const auto table = translation({socket_on(c.local, 5000)});
    Bytes packet = wire::build_udp({c.member, 4000}, {c.own, 5000}, as_bytes("ask"));
    EXPECT_TRUE(table.rewrite_inbound(at(1), packet, *wire::parse_ip(packet), trail));
    EXPECT_EQ(packet, wire::build_udp({c.member, 4000}, {c.local, 5000}, as_bytes("ask")));
    Bytes other = wire::build_udp({c.member, 4000}, {c.own, 5001}, as_bytes("ask"));
    EXPECT_FALSE(table.rewrite_inbound(at(1), other, *wire::parse_ip(other), trail));
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

TEST(AddressTranslation, TranslatesAllPartsOfAFragmentedDatagram) {
  const Bytes payload(4000, 'x');
  for (const Case& c : kCases) {
    const auto table = translation({socket_on(c.local, 5000)});
    const Bytes answer = wire::build_udp({c.local, 5000}, {c.member, 4000}, payload);
    Reassembly member;
    std::optional<Bytes> whole;
    for (Bytes& piece : wire::split_ip(answer, 1420, 0)) {
      EXPECT_TRUE(table.rewrite_outbound(piece, *wire::parse_ip(piece)));
      whole = member.handle_fragment(at(1), 1, piece, *wire::parse_ip(piece));
    }
    EXPECT_EQ(whole, wire::build_udp({c.own, 5000}, {c.member, 4000}, payload));

    const Bytes question = wire::build_udp({c.member, 4000}, {c.own, 5000}, payload);
    FragmentTrail trail;
    Reassembly game;
    auto pieces = wire::split_ip(question, 1420, 0);
    for (Bytes& piece : pieces) {
      EXPECT_TRUE(table.rewrite_inbound(at(1), piece, *wire::parse_ip(piece), trail));
      whole = game.handle_fragment(at(1), 1, piece, *wire::parse_ip(piece));
    }
    EXPECT_EQ(whole, wire::build_udp({c.member, 4000}, {c.local, 5000}, payload));
    Bytes later = wire::split_ip(question, 1420, 0)[1];
    EXPECT_FALSE(table.rewrite_inbound(at(1) + FragmentTrail::kWait, later, *wire::parse_ip(later), trail));
    Bytes other = wire::split_ip(question, 1420, 6)[1];
    EXPECT_FALSE(table.rewrite_inbound(at(1), other, *wire::parse_ip(other), trail));
  }
}

TEST(AddressTranslation, ChangesNothingForStrangersOrWhenEmpty) {
  FragmentTrail trail;
  const auto table = translation({socket_on(kLocal, 5000)});
  Bytes packet = wire::build_udp({IpAddress::v4(8, 8, 8, 8), 53}, {kMember, 4000}, as_bytes("x"));
  const Bytes before = packet;
  EXPECT_FALSE(table.rewrite_outbound(packet, *wire::parse_ip(packet)));
  EXPECT_FALSE(AddressTranslation().rewrite_inbound(at(1), packet, *wire::parse_ip(packet), trail));
  EXPECT_FALSE(AddressTranslation().rewrite_outbound(packet, *wire::parse_ip(packet)));
  EXPECT_EQ(packet, before);
}

}  // namespace
}  // namespace lanrage::lan
