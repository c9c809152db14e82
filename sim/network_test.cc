#include "sim/network.h"

#include <gtest/gtest.h>

namespace lanrage::sim {
namespace {

using namespace std::chrono_literals;

const IpAddress kHome = IpAddress::v4(192, 168, 1, 2);
const IpAddress kRouter = IpAddress::v4(5, 1, 1, 1);
const IpAddress kServerA = IpAddress::v4(11, 0, 0, 1);
const IpAddress kServerB = IpAddress::v4(11, 0, 0, 2);

// A home host behind a NAT and two servers that note what they hear.
struct World {
  Scheduler scheduler;
  Network network{scheduler, 1};
  struct Heard {
    Endpoint source;
    Time at;
  };
  std::vector<Heard> home_heard, a_heard, b_heard;
  Network::HostId home{}, a{}, b{};
  Network::DomainId lan{};

  explicit World(const Nat& nat, const Link& link = {}) {
    lan = network.add_domain(Network::kInternet, nat, kRouter, {});
    home = network.add_host(lan, {kHome}, link, note(home_heard));
    a = network.add_host(Network::kInternet, {kServerA}, {}, note(a_heard));
    b = network.add_host(Network::kInternet, {kServerB}, {}, note(b_heard));
  }
  Network::Receive note(std::vector<Heard>& list) {
    return [this, &list](const Endpoint& source, const Endpoint&, const Bytes&) {
      list.push_back({source, scheduler.now()});
    };
  }
  void run(Duration time = 1s) { scheduler.run_until(scheduler.now() + time); }
};

TEST(Nat, EndpointIndependentMappingShowsOneEndpoint) {
  World w(Nat::easy());
  w.network.send(w.home, 5000, {kServerA, 1}, {1});
  w.network.send(w.home, 5000, {kServerB, 1}, {1});
  w.run();
  EXPECT_EQ(w.a_heard.at(0).source, (Endpoint{kRouter, 5000}));
  EXPECT_EQ(w.b_heard.at(0).source, (Endpoint{kRouter, 5000}));
}

TEST(Nat, SymmetricMappingShowsAnotherEndpointToEach) {
  World w(Nat::symmetric());
  w.network.send(w.home, 5000, {kServerA, 1}, {1});
  w.network.send(w.home, 5000, {kServerB, 1}, {1});
  w.run();
  EXPECT_NE(w.a_heard.at(0).source, w.b_heard.at(0).source);
}

TEST(Nat, FilteringLetsInWhomItShould) {
  for (bool cone : {false, true}) {
    World w(cone ? Nat::cone() : Nat::easy());
    w.network.send(w.home, 5000, {kServerA, 1}, {1});
    w.run();
    w.network.send(w.a, 1, {kRouter, 5000}, {1});  // answers
    w.network.send(w.a, 2, {kRouter, 5000}, {1});  // another port of the same host
    w.network.send(w.b, 1, {kRouter, 5000}, {1});  // a stranger
    w.run();
    EXPECT_EQ(w.home_heard.size(), cone ? 3u : 1u);
  }
}

TEST(Nat, MappingExpires) {
  World w(Nat::easy());
  w.network.send(w.home, 5000, {kServerA, 1}, {1});
  w.run(121s);
  w.network.send(w.a, 1, {kRouter, 5000}, {1});
  w.run();
  EXPECT_TRUE(w.home_heard.empty());
}

TEST(Nat, HairpinOnlyWhereTheRouterDoesIt) {
  for (bool cone : {false, true}) {
    World w(cone ? Nat::cone() : Nat::easy());
    std::vector<World::Heard> other_heard;
    const auto other = w.network.add_host(w.lan, {IpAddress::v4(192, 168, 1, 3)}, {}, w.note(other_heard));
    w.network.send(other, 6000, {kServerA, 1}, {1});
    w.run();
    w.network.send(w.home, 5000, {kRouter, 6000}, {1});
    w.run();
    EXPECT_EQ(other_heard.size(), cone ? 1u : 0u);
  }
}

TEST(Nat, FirewallKeepsAddressesAndLetsAnswersIn) {
  World w(Nat::firewall());
  w.network.send(w.a, 1, {kHome, 5000}, {1});
  w.run();
  EXPECT_TRUE(w.home_heard.empty());
  w.network.send(w.home, 5000, {kServerA, 1}, {1});
  w.run();
  EXPECT_EQ(w.a_heard.at(0).source, (Endpoint{kHome, 5000}));
  w.network.send(w.a, 1, {kHome, 5000}, {1});
  w.run();
  EXPECT_EQ(w.home_heard.size(), 1u);
}

TEST(Link, DelaysLosesAndDuplicatesAsToldAndRepeatsFromItsSeed) {
  std::uint64_t hashes[2];
  for (std::uint64_t& hash : hashes) {
    World w(Nat::easy(), Link{15ms, 2ms, 0.05, 0.01, 0.02});
    for (int i = 0; i < 10000; ++i) w.network.send(w.home, 5000, {kServerA, 1}, {1});
    w.run();
    EXPECT_NEAR(static_cast<double>(w.a_heard.size()), 10000 * 0.95 * 1.01, 100);
    for (const auto& heard : w.a_heard) {
      EXPECT_GE(heard.at.time_since_epoch(), 15ms);
      EXPECT_LE(heard.at.time_since_epoch(), 32ms);
    }
    hash = w.network.trace_hash();
  }
  EXPECT_EQ(hashes[0], hashes[1]);
}

}  // namespace
}  // namespace lanrage::sim
