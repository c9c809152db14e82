#include "paths/party_relay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lanrage::paths {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint16_t kPort = 41823;
const IpAddress kPublic4 = *IpAddress::parse("203.0.113.5"), kPublic6 = *IpAddress::parse("2001:db8::5");
const IpAddress kHome = *IpAddress::parse("192.168.1.5");
const Endpoint kOutside = *Endpoint::parse("203.0.113.9:4000");

FamilyReport family(const IpAddress& seen, Dependence filtering, bool translated = false) {
  FamilyReport report;
  report.answered = true;
  report.seen = {seen, 40000};
  report.translated = translated;
  report.filtering = filtering;
  return report;
}

// A machine with an open address that knows all it has to.
RelayPlace open_place() {
  RelayPlace place;
  place.others = 2;
  place.knows_grants = true;
  place.network.own = {kPublic4, kPublic6, kHome};
  place.network.discovery.v4 = family(kPublic4, Dependence::kEndpointIndependent);
  return place;
}

TEST(PartyRelay, IsServedUnderAutoByAMachineWithAnOpenAddress) {
  RelayPlace place = open_place();
  EXPECT_EQ(why_no_relay(place), "");
  EXPECT_THAT(relay_endpoints(place, kPort, {}), ElementsAre(Endpoint{kPublic4, kPort}));
  place.network.discovery.v6 = family(kPublic6, Dependence::kNotPort);
  EXPECT_THAT(relay_endpoints(place, kPort, {}), ElementsAre(Endpoint{kPublic4, kPort}, Endpoint{kPublic6, kPort}));
}

TEST(PartyRelay, OrBehindARouterThatOpensPorts) {
  RelayPlace place = open_place();
  place.network.discovery.v4 = family(kOutside.address, Dependence::kAddressAndPort, true);
  EXPECT_THAT(why_no_relay(place), HasSubstr("do not reach"));
  place.opens_ports = true;
  EXPECT_EQ(why_no_relay(place), "");
  EXPECT_THAT(relay_endpoints(place, kPort, {}), IsEmpty()) << "before the router opened its port, too";
  EXPECT_THAT(relay_endpoints(place, kPort, kOutside), ElementsAre(kOutside));
}

TEST(PartyRelay, AnAddressIsOpenOnlyIfItIsPublicHereAndUnfiltered) {
  const auto opened = [](const FamilyReport& report) {
    NetworkView view = open_place().network;
    view.discovery.v4 = report;
    return open_addresses(view);
  };
  EXPECT_THAT(opened(family(kPublic4, Dependence::kEndpointIndependent)), ElementsAre(kPublic4));
  for (const auto filtering : {Dependence::kUnknown, Dependence::kAddress, Dependence::kAddressAndPort})
    EXPECT_THAT(opened(family(kPublic4, filtering)), IsEmpty());
  EXPECT_THAT(opened(family(kPublic4, Dependence::kEndpointIndependent, true)), IsEmpty()) << "a NAT's";
  EXPECT_THAT(opened(family(kHome, Dependence::kEndpointIndependent)), IsEmpty()) << "a server in the same LAN";
  EXPECT_THAT(opened(family(kOutside.address, Dependence::kEndpointIndependent)), IsEmpty()) << "not here any more";
  FamilyReport silent = family(kPublic4, Dependence::kEndpointIndependent);
  silent.answered = false;
  EXPECT_THAT(opened(silent), IsEmpty());
}

TEST(PartyRelay, ServersThatAreSilentSayNothingAboutWhoGetsIn) {
  DiscoveryReport heard = open_place().network.discovery, silent;
  silent.v4 = FamilyReport{};
  for (const DiscoveryReport& fresh : {silent, DiscoveryReport{}}) {
    keep_answers(heard, fresh);
    EXPECT_EQ(heard, open_place().network.discovery);
  }
  DiscoveryReport filtered;
  filtered.v4 = family(kPublic4, Dependence::kAddress);
  keep_answers(heard, filtered);
  EXPECT_EQ(heard, filtered);
}

TEST(PartyRelay, AutoSparesBatteriesAndMeteredNetworksAndOnDoesNot) {
  for (bool RelayPlace::*costly : {&RelayPlace::has_battery, &RelayPlace::is_metered}) {
    RelayPlace place = open_place();
    place.*costly = true;
    EXPECT_THAT(why_no_relay(place), costly == &RelayPlace::has_battery ? HasSubstr("battery") : HasSubstr("metered"));
    place.wanted = RelayForParty::kOn;
    EXPECT_EQ(why_no_relay(place), "");
  }
}

TEST(PartyRelay, OnServesWhereverTheMachineIs) {
  RelayPlace place = open_place();
  place.wanted = RelayForParty::kOn;
  place.network.discovery = {};
  place.network.own = {*IpAddress::parse("127.0.0.1"), *IpAddress::parse("fe80::1"), kPublic6, kHome};
  EXPECT_EQ(why_no_relay(place), "");
  EXPECT_THAT(relay_endpoints(place, kPort, {}), ElementsAre(Endpoint{kHome, kPort}, Endpoint{kPublic6, kPort}));
  EXPECT_THAT(relay_endpoints(place, kPort, kOutside), ElementsAre(kOutside));
}

TEST(PartyRelay, NothingIsServedInVain) {
  for (const auto wanted : {RelayForParty::kAuto, RelayForParty::kOn}) {
    RelayPlace place = open_place();
    place.wanted = wanted;
    place.others = 1;
    EXPECT_THAT(why_no_relay(place), HasSubstr("two others"));
    place = open_place();
    place.has_servers_relay = true;
    EXPECT_THAT(why_no_relay(place), HasSubstr("server's own"));
    place = open_place();
    place.knows_grants = false;
    EXPECT_THAT(why_no_relay(place), HasSubstr("whom to let in"));
  }
  RelayPlace place = open_place();
  place.wanted = RelayForParty::kOff;
  EXPECT_THAT(why_no_relay(place), HasSubstr("switched off"));
}

TEST(PartyRelay, ItsSettingIsOneOfThree) {
  EXPECT_EQ(parse_relay_for_party("auto"), RelayForParty::kAuto);
  EXPECT_EQ(parse_relay_for_party("on"), RelayForParty::kOn);
  EXPECT_EQ(parse_relay_for_party("off"), RelayForParty::kOff);
  EXPECT_FALSE(parse_relay_for_party(""));
  EXPECT_FALSE(parse_relay_for_party("always"));
}

}  // namespace
}  // namespace lanrage::paths
