// Every pair of networks that players have: how they reach each other, how fast, and what they are told when it is not
// direct (docs/lab.md has the same table for real namespaces).
#include <algorithm>

#include "sim/world.h"

namespace lanrage::sim {
namespace {

using namespace std::chrono_literals;

enum class Outcome { kDirect, kDirectLater, kRelayed, kUnreachable };

// From the first answered ping on. Foreseeing ports begins once both know each other's NAT; many ports take up to
// fourteen seconds, and a minute later fourteen more in one case of sixty.
constexpr Duration kDirectWithin = 3s, kForeseenWithin = 5s, kManyWithin = 95s;

Outcome expected(Place a, Place b) {
  const auto either = [&](Place place) { return a == place || b == place; };
  if (either(Place::kUdpBlocked)) return Outcome::kUnreachable;
  if ((a == Place::kFirewall6) != (b == Place::kFirewall6)) return Outcome::kRelayed;  // no family in common
  if (!either(Place::kSymmetric) || either(Place::kCone) || either(Place::kPublic)) return Outcome::kDirect;
  return either(Place::kEasy) || either(Place::kCarrier) ? Outcome::kDirectLater : Outcome::kRelayed;
}

// A word that the sentence must hold.
const char* reason(Place self, Place other) {
  if (self == Place::kUdpBlocked) return "this network blocks UDP";
  if (other == Place::kUdpBlocked) return "other side's network blocks UDP";
  if ((self == Place::kFirewall6) != (other == Place::kFirewall6)) return "only IPv4 and the other only IPv6";
  return self == other ? "both networks use a random port" : "both networks use a new port";
}

class Pair : public testing::TestWithParam<std::tuple<Place, Place>> {};

TEST_P(Pair, ConnectsAsItsNetworksAllow) {
  const auto [first, second] = GetParam();
  const Place places[] = {first, second};
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    World w(seed);
    SimNode& host = w.add("host", places[0]);
    SimNode& guest = w.add("guest", places[1]);
    const auto invite = w.host(host);
    ASSERT_TRUE(invite);
    w.run(8s);
    const Time began = w.now();
    ASSERT_TRUE(w.join(guest, invite->text));
    const Outcome outcome = expected(first, second);
    if (outcome != Outcome::kUnreachable) {
      ASSERT_TRUE(w.ping(guest, host));
      EXPECT_LE(milliseconds(w.now() - began), 1000);
    }
    const auto is_direct = [](const SimNode& a, const SimNode& b) {
      const auto peer = a.peer(b);
      return peer && peer->state == node::Reach::kConnected && peer->path && !peer->path->relayed;
    };
    if (outcome == Outcome::kDirectLater) {
      w.run(6s);
      const auto why = guest.peer(host)->why;
      EXPECT_TRUE(is_direct(guest, host) || why.find("many ports are being tried") != std::string::npos) << why;
    }
    if (outcome == Outcome::kDirect || outcome == Outcome::kDirectLater) {
      const bool foreseen = places[0] == Place::kSequential || places[1] == Place::kSequential;
      const Duration limit = outcome == Outcome::kDirectLater ? kManyWithin
                             : foreseen                       ? kForeseenWithin
                                                              : kDirectWithin;
      EXPECT_TRUE(w.run_until([&] { return is_direct(guest, host) && is_direct(host, guest); }, limit));
      RecordProperty("direct_ms", static_cast<int>(milliseconds(w.now() - began)));
    }
    w.run(15s);
    for (int side = 0; side < 2; ++side) {
      const SimNode& self = side == 0 ? host : guest;
      const auto peer = self.peer(side == 0 ? guest : host);
      ASSERT_TRUE(peer);
      const bool reachable = outcome != Outcome::kUnreachable;
      EXPECT_EQ(peer->state, reachable ? node::Reach::kConnected : node::Reach::kUnreachable) << self.name();
      if (outcome == Outcome::kDirect || outcome == Outcome::kDirectLater) {
        EXPECT_TRUE(is_direct(self, side == 0 ? guest : host)) << self.name() << ": " << peer->why;
        EXPECT_EQ(peer->why, "") << self.name();
      } else {
        EXPECT_FALSE(is_direct(self, side == 0 ? guest : host));
        EXPECT_NE(peer->why.find(reason(places[side], places[1 - side])), std::string::npos)
            << self.name() << ": " << peer->why;
      }
    }
    EXPECT_EQ(w.reaches(host, guest), outcome != Outcome::kUnreachable);
    EXPECT_EQ(w.reaches(guest, host), outcome != Outcome::kUnreachable);
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, Pair, testing::Combine(testing::ValuesIn(kPlaces), testing::ValuesIn(kPlaces)),
                         [](const auto& pair) {
                           std::string name = std::string(place_name(std::get<0>(pair.param))) + "_" +
                                              place_name(std::get<1>(pair.param));
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Discovery, EveryNodeKnowsItsNetworkAndANewOne) {
  const struct {
    Place place;
    const char* type;
  } cases[] = {
      {Place::kPublic, "none"},           {Place::kEasy, "port_restricted"},    {Place::kCone, "cone"},
      {Place::kSymmetric, "symmetric"},   {Place::kCarrier, "port_restricted"}, {Place::kFirewall6, "firewall"},
      {Place::kUdpBlocked, "udp_blocked"}};
  for (const auto& c : cases) {
    SCOPED_TRACE(place_name(c.place));
    World w(1);
    SimNode& node = w.add("ada", c.place);
    EXPECT_FALSE(node.status().nat);
    ASSERT_TRUE(w.host(node));
    w.run(6s);
    ASSERT_TRUE(node.status().nat);
    EXPECT_EQ(node.status().nat->type, c.type);
    EXPECT_FALSE(node.node().is_discovering());
    Site other = w.make_site(c.place == Place::kSymmetric ? Place::kEasy : Place::kSymmetric);
    node.roam(other.domain, {other.next()});
    w.run(6s);
    EXPECT_EQ(node.status().nat->type, c.place == Place::kSymmetric ? "port_restricted" : "symmetric");
  }
}

TEST(Why, TellsOfARouterThatOpensNoPortAndOfOneBehindAnother) {
  World w(1);
  SimNode& host = w.add("host", Place::kSymmetric);
  SimNode& guest = w.add("guest", Place::kSymmetric);
  const auto invite = w.host(host);
  ASSERT_TRUE(invite);
  ASSERT_TRUE(w.join(guest, invite->text));
  w.run(15s);
  const auto why = [&](SimNode& self, SimNode& other) { return self.peer(other)->why; };
  EXPECT_NE(why(host, guest).find("enable UPnP there"), std::string::npos) << why(host, guest);
  // The router says that it has no public address; the other member learns it too.
  host.with(
      [&](node::Node& n) { n.handle_mapped(host.now(), {}, {.asked = true, .speaks = true, .is_offline = true}); });
  w.run(1s);
  EXPECT_NE(why(host, guest).find("the router here is itself behind another NAT"), std::string::npos);
  guest.with(
      [&](node::Node& n) { n.handle_mapped(guest.now(), {}, {.asked = true, .speaks = true, .is_offline = true}); });
  w.run(1s);
  EXPECT_NE(why(host, guest).find("enable IPv6 on both sides"), std::string::npos) << why(host, guest);
  EXPECT_EQ(host.peer(guest)->state, node::Reach::kConnected);
}

TEST(Lan, TwoMembersBehindOneRouterUseTheirLan) {
  for (Place place : {Place::kEasy, Place::kSymmetric, Place::kCarrier}) {
    World w(1);
    Site home = w.make_site(place);
    SimNode& ada = w.add("ada", home);
    SimNode& bo = w.add("bo", home);
    const auto invite = w.host(ada);
    ASSERT_TRUE(invite);
    ASSERT_TRUE(w.join(bo, invite->text));
    w.run(3s);
    for (const auto& peer : {ada.peer(bo), bo.peer(ada)}) {
      ASSERT_TRUE(peer && peer->path);
      EXPECT_FALSE(peer->path->relayed);
      EXPECT_TRUE(peer->path->endpoint.address.is_private()) << peer->path->endpoint.text();
    }
  }
}

}  // namespace
}  // namespace lanrage::sim
