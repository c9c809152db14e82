#include "tun/ethernet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wire/ip.h"

namespace lanrage::tun {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

const Mac kOwn = {2, 0, 0, 0, 0, 1};
const Mac kAlice = {2, 0, 0, 0, 0, 0xa};

EthernetLayer party() {
  Neighbourhood n;
  n.own = {*IpPrefix::parse("10.66.3.1/24"), *IpPrefix::parse("fd66::1/64")};
  n.members = {{*IpAddress::parse("10.66.3.2"), kAlice},
               {*IpAddress::parse("fd66::2"), kAlice},
               {*IpAddress::parse("10.66.3.1"), kOwn}};
  return EthernetLayer(kOwn, std::move(n));
}

Bytes frame(const Mac& to, std::uint16_t type, const Bytes& body) {
  Bytes out(to.begin(), to.end());
  append(out, kOwn);
  out.push_back(static_cast<std::uint8_t>(type >> 8));
  out.push_back(static_cast<std::uint8_t>(type));
  append(out, body);
  return out;
}

Bytes arp_request(std::string_view sender, std::string_view target) {
  Bytes arp = *from_hex("0001080006040001");
  append(arp, kOwn);
  append(arp, IpAddress::parse(sender)->bytes());
  append(arp, Mac{});
  append(arp, IpAddress::parse(target)->bytes());
  return frame(kBroadcastMac, 0x0806, arp);
}

Bytes solicitation(std::string_view source, std::string_view target, std::uint8_t hop_limit = 255) {
  Bytes packet(40 + 24);
  packet[0] = 0x60;
  packet[5] = 24;
  packet[6] = wire::kProtocolIcmpv6;
  packet[7] = hop_limit;
  std::ranges::copy(IpAddress::parse(source)->bytes(), packet.begin() + 8);
  std::ranges::copy(IpAddress::parse("ff02::1:ff00:2")->bytes(), packet.begin() + 24);
  packet[40] = 135;
  std::ranges::copy(IpAddress::parse(target)->bytes(), packet.begin() + 48);
  wire::store_checksum(packet, *wire::parse_ip(packet));
  return frame({0x33, 0x33, 0xff, 0, 0, 2}, 0x86dd, packet);
}

Bytes udp(std::string_view from, std::string_view to) {
  return wire::build_udp({*IpAddress::parse(from), 1}, {*IpAddress::parse(to), 2}, as_bytes("x"));
}

std::array<Mac, 2> to_and_from(std::string_view source, std::string_view destination) {
  const auto header = party().header_for(udp(source, destination));
  std::array<Mac, 2> out;
  std::copy_n(header.begin(), 6, out[0].begin());
  std::copy_n(header.begin() + 6, 6, out[1].begin());
  return out;
}

TEST(MacFromKey, IsLocalUnicastAndDependsOnTheKey) {
  const Mac a = mac_from_key(as_bytes("key a"));
  EXPECT_EQ(a[0] & 3, 2);
  EXPECT_EQ(a, mac_from_key(as_bytes("key a")));
  EXPECT_NE(a, mac_from_key(as_bytes("key b")));
}

TEST(EthernetLayer, AnswersArpForMembersOnly) {
  const auto answer = party().handle_frame(arp_request("10.66.3.1", "10.66.3.2"));
  EXPECT_FALSE(answer.is_ip);
  ASSERT_TRUE(answer.answer);
  Bytes expected(kOwn.begin(), kOwn.end());
  append(expected, kAlice);
  append(expected, *from_hex("08060001080006040002"));
  append(expected, kAlice);
  append(expected, IpAddress::parse("10.66.3.2")->bytes());
  append(expected, kOwn);
  append(expected, IpAddress::parse("10.66.3.1")->bytes());
  EXPECT_THAT(*answer.answer, ElementsAreArray(expected));

  EXPECT_FALSE(party().handle_frame(arp_request("10.66.3.1", "10.66.3.9")).answer);
  EXPECT_FALSE(party().handle_frame(arp_request("0.0.0.0", "10.66.3.1")).answer) << "our own address is free";
  Bytes reply = arp_request("10.66.3.1", "10.66.3.2");
  reply[21] = 2;
  EXPECT_FALSE(party().handle_frame(reply).answer);
}

TEST(EthernetLayer, AnswersNeighbourSolicitationForMembersOnly) {
  const auto answer = party().handle_frame(solicitation("fd66::1", "fd66::2"));
  EXPECT_FALSE(answer.is_ip);
  ASSERT_TRUE(answer.answer);
  const ByteView packet = ByteView{*answer.answer}.subspan(14);
  const auto ip = wire::parse_ip(packet);
  ASSERT_TRUE(ip);
  EXPECT_TRUE(wire::has_valid_checksum(packet, *ip));
  EXPECT_EQ(ip->source.text(), "fd66::2");
  EXPECT_EQ(ip->destination.text(), "fd66::1");
  EXPECT_EQ(ip->hop_limit, 255);
  EXPECT_EQ(packet[40], 136);
  EXPECT_THAT(packet.subspan(64), ElementsAre(2, 1, 2, 0, 0, 0, 0, 0xa));

  EXPECT_FALSE(party().handle_frame(solicitation("fd66::1", "fd66::9")).answer);
  EXPECT_FALSE(party().handle_frame(solicitation("::", "fd66::2")).answer) << "duplicate detection";
  EXPECT_FALSE(party().handle_frame(solicitation("fd66::1", "fd66::2", 254)).answer) << "was forwarded";
}

TEST(EthernetLayer, PassesIpAndDropsTheRest) {
  const EthernetLayer layer = party();
  EXPECT_TRUE(layer.handle_frame(frame(kAlice, 0x0800, udp("10.66.3.1", "10.66.3.2"))).is_ip);
  EXPECT_TRUE(layer.handle_frame(frame(kAlice, 0x86dd, udp("fd66::1", "fd66::2"))).is_ip);
  EXPECT_FALSE(layer.handle_frame(frame(kAlice, 0x86dd, udp("10.66.3.1", "10.66.3.2"))).is_ip) << "type lies";
  EXPECT_FALSE(layer.handle_frame(frame(kAlice, 0x8100, udp("10.66.3.1", "10.66.3.2"))).is_ip) << "VLAN";
  EXPECT_FALSE(layer.handle_frame(frame(kAlice, 0x0800, {})).is_ip);
}

TEST(EthernetLayer, TruncatedQuestionsGetNoAnswer) {
  for (const Bytes& whole : {arp_request("10.66.3.1", "10.66.3.2"), solicitation("fd66::1", "fd66::2")})
    for (std::size_t size = 0; size < whole.size(); ++size)
      EXPECT_FALSE(party().handle_frame(ByteView{whole}.first(size)).answer);
}

TEST(EthernetLayer, AddressesFramesToTheKernelByTheirDestination) {
  EXPECT_THAT(to_and_from("10.66.3.2", "10.66.3.1"), ElementsAre(kOwn, kAlice));
  EXPECT_EQ(to_and_from("10.66.3.2", "255.255.255.255")[0], kBroadcastMac);
  EXPECT_EQ(to_and_from("10.66.3.2", "10.66.3.255")[0], kBroadcastMac);
  EXPECT_EQ(to_and_from("10.66.3.2", "224.128.2.60")[0], (Mac{1, 0, 0x5e, 0, 2, 60}));
  EXPECT_THAT(to_and_from("fd66::2", "fd66::1"), ElementsAre(kOwn, kAlice));
  EXPECT_EQ(to_and_from("fd66::2", "ff02::1:2")[0], (Mac{0x33, 0x33, 0, 1, 0, 2}));
  const Mac stranger = to_and_from("192.168.7.7", "10.66.3.1")[1];
  EXPECT_EQ(stranger[0] & 3, 2);
  EXPECT_NE(stranger, kAlice);
}

}  // namespace
}  // namespace lanrage::tun
