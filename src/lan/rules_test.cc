#include "lan/rules.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace lanrage::lan {
namespace {

const IpPrefix kParty{IpAddress::v4(10, 66, 1, 2), 24};
IpAddress ip(const char* text) { return *IpAddress::parse(text); }

TEST(Rules, KnowBroadcastAndGroupAddresses) {
  for (const char* yes : {"255.255.255.255", "10.66.1.255", "224.0.0.251", "239.255.255.250", "224.0.2.60", "225.1.1.1",
                          "ff02::1", "ff02::fb", "ff05::1", "ff0e::1"})
    EXPECT_TRUE(is_lan_destination(ip(yes), kParty)) << yes;
  for (const char* no : {"10.66.1.3", "192.168.9.255", "10.66.2.255", "127.0.0.1", "ff01::1", "ff00::1", "fe80::1"})
    EXPECT_FALSE(is_lan_destination(ip(no), kParty)) << no;
}

TEST(Rules, KnowTheGuessesOfWiderMasks) {
  EXPECT_TRUE(is_wide_guess(ip("10.255.255.255"), kParty));
  EXPECT_TRUE(is_wide_guess(ip("10.66.255.255"), kParty));
  EXPECT_FALSE(is_wide_guess(ip("10.66.1.255"), kParty));
  EXPECT_FALSE(is_wide_guess(ip("192.168.255.255"), kParty));
}

TEST(Rules, NeverForwardWhatDescribesOrConfiguresTheMachine) {
  for (int port : {67, 68, 546, 547, 137, 138, 5355, 3702, 17500, 21027, 32414, 57621, 6771})
    EXPECT_NE(never_forwarded(static_cast<std::uint16_t>(port)), nullptr) << port;
  // Doom, Teeworlds, OpenTTD, Quake III, Source, Freeciv, Minecraft, mDNS, SSDP
  for (int port : {2342, 8303, 3979, 27960, 27015, 5556, 4445, 5353, 1900})
    EXPECT_EQ(never_forwarded(static_cast<std::uint16_t>(port)), nullptr) << port;
}

TEST(Rules, KeepTheListSortedForItsSearch) {
  const auto list = never_forwarded();
  EXPECT_TRUE(
      std::is_sorted(list.begin(), list.end(), [](const PortRule& a, const PortRule& b) { return a.port < b.port; }));
  for (const PortRule& rule : list) EXPECT_STREQ(never_forwarded(rule.port), rule.what);
}

TEST(Rules, TellServiceAccountsFromPeopleAndRoot) {
  for (std::uint32_t service : {1u, 101u, 999u, 61184u, 65519u}) EXPECT_TRUE(is_service_account(service)) << service;
  for (std::uint32_t person : {0u, 1000u, 1001u, 60000u, 65534u, 100000u})
    EXPECT_FALSE(is_service_account(person)) << person;
}

}  // namespace
}  // namespace lanrage::lan
