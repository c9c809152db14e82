#include "lan/delivery.h"

#include <gtest/gtest.h>

namespace lanrage::lan {
namespace {

constexpr int kAdapter = 7;
constexpr int kEth0 = 2;
constexpr int kWlan0 = 3;
const IpAddress kEth0Address = IpAddress::v4(192, 168, 9, 1);
const IpAddress kOwn = IpAddress::v4(10, 66, 1, 1);
const IpAddress kGroup = IpAddress::v4(224, 0, 2, 60);
const IpAddress kGroup6 = *IpAddress::parse("ff05::1234");
const IpAddress kLimited = IpAddress::v4(255, 255, 255, 255);
constexpr std::uint16_t kPort = 4445;

HostView host() {
  HostView view;
  view.interfaces = {{1, "lo", {{IpAddress::v4(127, 0, 0, 1), 8}}, true, false},
                     {kEth0, "eth0", {{kEth0Address, 24}}, false, true},
                     {kWlan0, "wlan0", {{IpAddress::v4(172, 16, 0, 5), 16}}, false, true},
                     {kAdapter, "lanrage0", {{kOwn, 24}}, false, true}};
  return view;
}

LocalSocket bound(const IpAddress& address = {}, std::uint16_t port = kPort) {
  LocalSocket socket;
  socket.v6 = address.is_v6();
  socket.bound = address;
  socket.port = port;
  socket.multicast_all = true;
  return socket;
}
LocalSocket java() {
  LocalSocket socket = bound(*IpAddress::parse("::"));
  socket.multicast_all = false;
  return socket;
}

DeliveryPlan plan(const HostView& view, const IpAddress& destination, bool joined_by_us = false) {
  return plan_delivery(view, {{destination, kPort}, kAdapter, joined_by_us});
}

TEST(Delivery, WritesBroadcastForSocketsBoundToNoAddress) {
  HostView view = host();
  view.sockets = {bound()};
  const auto p = plan(view, kLimited);
  EXPECT_TRUE(p.write);
  EXPECT_TRUE(p.heard);
  EXPECT_TRUE(p.copies.empty());
}

TEST(Delivery, CopiesToEachAddressThatAProgramIsBoundTo) {
  HostView view = host();
  view.sockets = {bound(kEth0Address), bound(kEth0Address), bound(kOwn), bound(IpAddress::v4(127, 0, 0, 1)),
                  bound(IpAddress::v4(192, 168, 9, 1), 9999)};
  const auto p = plan(view, kLimited);
  EXPECT_EQ(p.copies, (std::vector<IpAddress>{kEth0Address, kOwn}));
}

TEST(Delivery, CopiesToACardsBroadcastAddressWhereOnlyThatHelps) {
  HostView view = host();
  const IpAddress eth0_broadcast = IpAddress::v4(192, 168, 9, 255);
  view.sockets = {bound(eth0_broadcast)};
  auto p = plan(view, kLimited);
  EXPECT_TRUE(p.heard);
  EXPECT_EQ(p.copies, std::vector<IpAddress>{eth0_broadcast});
  EXPECT_TRUE(plan(view, kGroup).copies.empty());
  view.sockets.push_back(bound());
  EXPECT_TRUE(plan(view, kLimited).copies.empty()) << "the other program would hear it twice";
}

TEST(Delivery, InjectsForADeviceInAGroupThatEveryCardIsIn) {
  HostView view = host();
  const IpAddress all_nodes = *IpAddress::parse("ff02::1");
  view.groups = {{all_nodes, kEth0, 2}, {all_nodes, kWlan0, 1}, {all_nodes, kAdapter, 1}};
  view.sockets = {bound(*IpAddress::parse("::"))};
  EXPECT_TRUE(plan(view, all_nodes).write);
  view.sockets[0].device = kEth0;
  EXPECT_EQ(plan(view, all_nodes).inject, kEth0);
  EXPECT_FALSE(plan(view, all_nodes).write);
}

TEST(Delivery, LeavesConnectedSocketsAlone) {
  HostView view = host();
  view.sockets = {bound(kEth0Address)};
  view.sockets[0].connected = true;
  EXPECT_TRUE(plan(view, kLimited).copies.empty());
}

TEST(Delivery, TellsWhichProgramsAreBoundToAnotherDevice) {
  HostView view = host();
  view.sockets = {bound()};
  view.sockets[0].device = kEth0;
  auto p = plan(view, kLimited);
  EXPECT_EQ(p.deaf.size(), 1u);
  EXPECT_FALSE(p.heard);
  view.sockets[0].device = kAdapter;
  p = plan(view, kLimited);
  EXPECT_TRUE(p.deaf.empty());
  EXPECT_TRUE(p.heard);
}

TEST(Delivery, JoinsOnTheAdapterAGroupThatIsJoinedElsewhere) {
  HostView view = host();
  view.sockets = {bound()};
  view.groups = {{kGroup, kEth0, 1}};
  auto p = plan(view, kGroup);
  EXPECT_TRUE(p.join && p.write);
  EXPECT_EQ(p.inject, 0);
  view.groups.push_back({kGroup, kAdapter, 1});
  p = plan(view, kGroup, true);
  EXPECT_FALSE(p.join) << "our own membership is there already";
  EXPECT_TRUE(p.write);
}

TEST(Delivery, InjectsForSocketsThatHearTheirOwnInterfaceOnly) {
  HostView view = host();
  view.sockets = {java()};
  view.groups = {{kGroup, kEth0, 1}};
  for (const bool joined_by_us : {false, true}) {
    const auto p = plan(view, kGroup, joined_by_us);
    EXPECT_EQ(p.inject, kEth0);
    EXPECT_FALSE(p.write || p.join) << "never both";
    EXPECT_TRUE(p.heard);
  }
}

TEST(Delivery, InjectsWhereTheKernelDoesNotTell) {
  HostView view = host();
  view.sockets = {bound()};
  view.sockets[0].multicast_all.reset();
  view.groups = {{kGroup, kEth0, 1}};
  const auto p = plan(view, kGroup);
  EXPECT_EQ(p.inject, kEth0);
  EXPECT_FALSE(p.write);
}

TEST(Delivery, InjectsOnOneInterfaceWhereAProgramJoinedOnSeveral) {
  HostView view = host();
  view.sockets = {java()};
  view.groups = {{kGroup, kWlan0, 1}, {kGroup, kEth0, 1}};
  EXPECT_EQ(plan(view, kGroup).inject, kEth0);
}

TEST(Delivery, WritesWhereAProgramJoinedOnTheAdapterItself) {
  HostView view = host();
  view.sockets = {java()};
  view.groups = {{kGroup, kEth0, 1}, {kGroup, kAdapter, 1}};
  auto p = plan(view, kGroup);
  EXPECT_TRUE(p.write);
  EXPECT_FALSE(p.join);
  EXPECT_EQ(p.inject, 0);
  view.groups[1].users = 2;
  p = plan(view, kGroup, true);
  EXPECT_TRUE(p.write) << "one of the two is a program's";
  EXPECT_EQ(p.inject, 0);
}

TEST(Delivery, ReachesAProgramBoundToTheDeviceWhereItJoined) {
  HostView view = host();
  view.sockets = {bound()};
  view.sockets[0].device = kWlan0;
  view.groups = {{kGroup, kEth0, 1}, {kGroup, kWlan0, 1}};
  const auto p = plan(view, kGroup);
  EXPECT_EQ(p.inject, kWlan0);
  EXPECT_TRUE(p.deaf.empty());
}

TEST(Delivery, JoinsForJavaOverIpv6) {
  HostView view = host();
  view.sockets = {java()};
  view.groups = {{kGroup6, kEth0, 1}};
  const auto p = plan(view, kGroup6);
  EXPECT_TRUE(p.join && p.write);
  EXPECT_EQ(p.inject, 0);
}

TEST(Delivery, JoinsNothingWhereNobodyListens) {
  HostView view = host();
  view.groups = {{kGroup, kEth0, 1}};
  view.sockets = {bound({}, 999)};
  const auto p = plan(view, kGroup);
  EXPECT_FALSE(p.join || p.heard);
  EXPECT_EQ(p.inject, 0);
}

TEST(Delivery, CopiesAGroupOnlyWhereItIsJoined) {
  HostView view = host();
  view.sockets = {bound(kEth0Address)};
  EXPECT_TRUE(plan(view, kGroup).copies.empty());
  view.groups = {{kGroup, kEth0, 1}};
  EXPECT_EQ(plan(view, kGroup).copies, std::vector<IpAddress>{kEth0Address});
}

TEST(Delivery, CountsAnIpv6SocketAsHearingIpv4UnlessItRefuses) {
  HostView view = host();
  view.sockets = {bound(*IpAddress::parse("::"))};
  EXPECT_TRUE(plan(view, kLimited).heard);
  view.sockets[0].v6_only = true;
  EXPECT_FALSE(plan(view, kLimited).heard);
}

}  // namespace
}  // namespace lanrage::lan
