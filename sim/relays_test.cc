// Which relays pairs use, in whole nodes on networks whose every distance is random, against an oracle that knows them.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/format.h"
#include "sim/world.h"
#include "wire/ip.h"

namespace lanrage::sim {
namespace {

using namespace std::chrono_literals;

#ifdef LANRAGE_SANITIZED
constexpr std::uint64_t kTopologies = 25;
#else
constexpr std::uint64_t kTopologies = 500;
#endif

// Two players whom only relays join, far apart from each other in every way.
struct Topology {
  World world;
  SeededRng rng;
  std::vector<std::unique_ptr<SimRelay>> relays;
  struct Leg {
    Duration rtt;
    double loss;
  };
  std::map<std::string, std::array<Leg, 2>> legs;  // by the relay's id
  std::map<std::string, int> health;
  std::vector<wire::RelayHealth> said;
  SimNode* players[2];

  explicit Topology(std::uint64_t seed) : world(seed, 20ms), rng(seed * 77 + 5) {
    world.server.relaying = true;
    players[0] = &world.add("alice", Place::kSymmetric);
    players[1] = &world.add("bob", Place::kSymmetric);
  }

  static IpAddress outside(int player) { return IpAddress::v4(45, 20, 0, static_cast<std::uint8_t>(1 + player)); }

  std::string add_relay(const std::string& region, const std::array<Leg, 2>& distance, int healthy = 100) {
    const auto number = static_cast<std::uint8_t>(1 + relays.size());
    const IpAddress address = IpAddress::v4(45, 60, 0, number);
    relays.push_back(
        std::make_unique<SimRelay>(world.scheduler, world.network, world.server, rng.u64(), address, region));
    for (const int player : {0, 1}) {
      const Leg& leg = distance[static_cast<std::size_t>(player)];
      // What the world itself adds on the way is 5 ms each way.
      const Link link{
          .delay = std::max<Duration>(leg.rtt / 2 - 5ms, 0ms), .jitter = leg.rtt / 40, .loss = leg.loss / 2};
      world.network.set_distance(outside(player), address, link);
    }
    const auto id = format("{:016x}", wire::relay_peer(relays.back()->info().key));
    legs[id] = distance;
    health[id] = healthy;
    said.push_back({relays.back()->info().key, static_cast<std::uint8_t>(healthy), 0});
    return id;
  }

  void connect() {
    std::vector<wire::RelayInfo> infos;
    for (const auto& relay : relays) infos.push_back(relay->info());
    world.server.service().set_relays(infos, {});
    const auto invite = world.host(*players[0]);
    ASSERT_TRUE(invite);
    ASSERT_TRUE(world.join(*players[1], invite->text));
    for (SimNode* player : players)
      player->with([&](node::Node& n) { n.handle_event(player->now(), wire::RelaysHealth{said}); });
  }

  void play(Duration time, Duration every = 100ms) {
    for (const Time end = world.now() + time; world.now() < end; world.run(every)) {
      for (const int from : {0, 1}) {
        const auto source = players[from]->address(), destination = players[1 - from]->address();
        if (source && destination)
          players[from]->send_packet(wire::build_udp({*source, 27015}, {*destination, 27015}, as_bytes("tick")));
      }
    }
  }

  std::string relay_of(int player) const {
    const auto peer = players[player]->peer(*players[1 - player]);
    return peer && peer->path && peer->path->relay ? *peer->path->relay : std::string();
  }

  // Of those that are fit (healthy, and lossless both ways) within 5 ms or 5 % of the quickest.
  bool is_right(const std::string& id) const {
    const auto fit = [&](const std::string& one) {
      const auto& both = legs.at(one);
      return health.at(one) >= 80 && both[0].loss == 0 && both[1].loss == 0;
    };
    Duration best = Duration::max();
    for (const auto& [one, both] : legs) {
      if (fit(one)) best = std::min(best, both[0].rtt + both[1].rtt);
    }
    if (best == Duration::max()) return true;  // there is no right one
    return legs.contains(id) && fit(id) &&
           legs.at(id)[0].rtt + legs.at(id)[1].rtt <= best + std::max<Duration>(5ms, best / 20);
  }

  std::string description() const {
    std::string text;
    for (const auto& [id, both] : legs) {
      text += format("  {} {:.0f} + {:.0f} ms, loss {:.2f} {:.2f}, health {}\n", id, milliseconds(both[0].rtt),
                     milliseconds(both[1].rtt), both[0].loss, both[1].loss, health.at(id));
    }
    return text;
  }
};

// What kTopologies random ones come to, their seeds from `first` on: after each 20 s of play the choices that are
// right, and how often a player changed its relay meanwhile.
void expect_right_choices(std::uint64_t first) {
  constexpr int kChoices = 2 * static_cast<int>(kTopologies);
  std::array<int, 3> right{}, changes{};
  for (std::uint64_t seed = first; seed < first + kTopologies; ++seed) {
    Topology topology(seed);
    SeededRng& rng = topology.rng;
    const std::size_t count = seed % 10 == 0 ? 30 : 2 + rng.below(9);
    for (std::size_t i = 0; i < count; ++i) {
      std::array<Topology::Leg, 2> distance;
      for (Topology::Leg& leg : distance) {
        leg.rtt = std::chrono::milliseconds(10 + rng.below(150));
        leg.loss = rng.below(6) == 0 ? 0.05 + 0.15 * rng.unit() : 0;
      }
      const int health = static_cast<int>(rng.below(6) == 0 ? 20 + rng.below(40) : 92 + rng.below(9));
      topology.add_relay(rng.below(2) == 0 ? "eu" : "us", distance, health);
    }
    topology.connect();
    for (std::size_t part = 0; part < right.size(); ++part) {
      for (int second = 0; second < 20; ++second) {
        const std::array before{topology.relay_of(0), topology.relay_of(1)};
        topology.play(1s);
        for (const int player : {0, 1})
          changes[part] += topology.relay_of(player) == before[static_cast<std::size_t>(player)] ? 0 : 1;
      }
      for (const int player : {0, 1}) right[part] += topology.is_right(topology.relay_of(player)) ? 1 : 0;
    }
    for (const int player : {0, 1}) {
      if (topology.is_right(topology.relay_of(player))) continue;
      std::printf("seed %d: player %d uses %s of\n%s", static_cast<int>(seed), player,
                  topology.relay_of(player).c_str(), topology.description().c_str());
    }
  }
  for (std::size_t part = 0; part < right.size(); ++part) {
    std::printf("after %d s: %d of %d choices are right, %d changes meanwhile\n", 20 * static_cast<int>(part + 1),
                right[part], kChoices, changes[part]);
  }
  EXPECT_GE(right.back() * 100, 98 * kChoices);
  EXPECT_LE(changes.back() * 100, 4 * kChoices) << "who has chosen stays";
}

TEST(Relays, AtLeast98PercentOfChoicesInRandomTopologiesAreRight) { expect_right_choices(1); }
TEST(Relays, AndInTopologiesThatNothingWasTriedOn) { expect_right_choices(5001); }

TEST(Relays, OfFiftyFewAreUsedAndThePairMeetsAtTheBest) {
  Topology topology(4711);
  std::string best;
  for (int i = 0; i < 50; ++i) {
    const auto rtt = [&] { return std::chrono::milliseconds(30 + topology.rng.below(200)); };
    const std::string id = topology.add_relay(i % 2 == 0 ? "eu" : "us", {{{rtt(), 0}, {rtt(), 0}}});
    if (i == 37) topology.legs[best = id] = {{{30ms, 0}, {30ms, 0}}};
  }
  for (const int player : {0, 1}) {
    topology.world.network.set_distance(Topology::outside(player), IpAddress::v4(45, 60, 0, 38), {.delay = 10ms});
  }
  topology.connect();
  topology.play(30s);
  EXPECT_EQ(topology.relay_of(0), best);
  EXPECT_EQ(topology.relay_of(1), best);
  for (SimNode* player : topology.players) {
    std::size_t registered = 0, measured = 0;
    for (const node::RelayStatus& relay : player->node().relays()) {
      registered += relay.registered ? 1 : 0;
      measured += relay.quality.rtt_ema_ms ? 1 : 0;
    }
    EXPECT_LE(registered, paths::kRelaysMax);
    EXPECT_EQ(measured, 50u);
  }
  // The second is warm at both ends: when the first dies it carries the stream within a second and a half.
  const auto peer = topology.players[0]->peer(*topology.players[1]);
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->relays.at(1).role, "secondary");
  EXPECT_TRUE(peer->relays.at(1).rtt_ms) << "not measured from end to end";
  topology.relays[37]->relaying = false;
  topology.play(1500ms, 20ms);
  topology.players[1]->received.clear();
  topology.play(500ms, 20ms);
  EXPECT_GT(topology.players[1]->received.size(), 10u);
}

// Parties whose members only relays join, all as far from each of four: what their pairs use, at both ends.
void expect_even_spread(int parties, int members) {
  World world(21, 20ms);
  world.server.relaying = true;
  std::vector<std::unique_ptr<SimRelay>> relays;
  std::vector<wire::RelayInfo> infos;
  for (std::uint8_t i = 1; i <= 4; ++i) {
    relays.push_back(
        std::make_unique<SimRelay>(world.scheduler, world.network, world.server, i, IpAddress::v4(45, 60, 0, i), "eu"));
    infos.push_back(relays.back()->info());
  }
  world.server.service().set_relays(infos, {});
  std::vector<std::vector<SimNode*>> all;
  for (int party = 0; party < parties; ++party) {
    std::vector<SimNode*>& players = all.emplace_back();
    for (int i = 0; i < members; ++i) players.push_back(&world.add(format("player{}-{}", party, i), Place::kSymmetric));
    ASSERT_TRUE(world.host(*players[0]));
    const auto invite = world.invite(*players[0], std::chrono::hours(1), 20);
    ASSERT_TRUE(invite);
    for (std::size_t i = 1; i < players.size(); ++i) ASSERT_TRUE(world.join(*players[i], invite->text));
  }
  world.run(60s);
  std::map<std::string, int> ends;
  int agreed = 0;
  for (const auto& players : all) {
    for (SimNode* a : players) {
      for (SimNode* b : players) {
        if (a == b) continue;
        const auto there = a->peer(*b), back = b->peer(*a);
        ASSERT_TRUE(there && there->path && there->path->relay && back && back->path && back->path->relay);
        ++ends[*there->path->relay];
        agreed += *there->path->relay == *back->path->relay ? 1 : 0;
      }
    }
  }
  const int count = parties * members * (members - 1);
  for (const auto& [relay, here] : ends) {
    std::printf("%s: %d of %d ends of pairs\n", relay.c_str(), here, count);
    EXPECT_LE(here * 100, 28 * count) << relay;
  }
  EXPECT_EQ(agreed, count) << "both ends use one";
}

TEST(Relays, ThePairsOfAPartySpreadOverEqualRelays) { expect_even_spread(1, 15); }
TEST(Relays, APairOfEachOfManyPartiesSpreadOverEqualRelays) { expect_even_spread(100, 2); }

TEST(Relays, WhenTheOwnRegionIsDownAnotherIsUsed) {
  Topology topology(12);
  const std::string near = topology.add_relay("eu", {{{20ms, 0}, {20ms, 0}}});
  const std::string next = topology.add_relay("eu", {{{40ms, 0}, {40ms, 0}}});
  topology.add_relay("eu", {{{50ms, 0}, {50ms, 0}}});
  const std::string far = topology.add_relay("us", {{{130ms, 0}, {120ms, 0}}});
  topology.connect();
  topology.play(20s);
  const auto peer = topology.players[0]->peer(*topology.players[1]);
  ASSERT_TRUE(peer && peer->relays.size() == 4);
  EXPECT_EQ(peer->relays[0].id, near);
  EXPECT_EQ(peer->relays[1].id, next);
  EXPECT_EQ(peer->relays[3].id, far);
  EXPECT_EQ(peer->relays[3].role, "tertiary");
  EXPECT_NEAR(*peer->relays[0].expected_rtt_ms, 40, 4);
  EXPECT_NEAR(*peer->relays[0].rtt_ms, 40, 4);
  EXPECT_EQ(topology.relay_of(0), near);
  for (int i = 0; i < 3; ++i) topology.relays[static_cast<std::size_t>(i)]->relaying = false;
  topology.play(4s);
  EXPECT_EQ(topology.relay_of(0), far);
  EXPECT_EQ(topology.relay_of(1), far);
}

TEST(Relays, ALoadedRelayIsLeftForAnother) {
  Topology topology(13);
  const std::string near = topology.add_relay("eu", {{{20ms, 0}, {20ms, 0}}});
  const std::string next = topology.add_relay("eu", {{{40ms, 0}, {40ms, 0}}});
  topology.connect();
  topology.play(20s);
  EXPECT_EQ(topology.relay_of(0), near);
  topology.said[0].health = 40;
  for (SimNode* player : topology.players)
    player->with([&](node::Node& n) { n.handle_event(player->now(), wire::RelaysHealth{topology.said}); });
  topology.play(15s);
  EXPECT_EQ(topology.relay_of(0), next);
  EXPECT_EQ(topology.relay_of(1), next);
}

// ---- Members who relay for their party

// alice and bob, whom only a relay joins; the server's is 100 ms from everybody, carol's, who is public, 10 ms.
struct PartyRelay {
  World world{21, 20ms};
  SimNode* alice = &world.add("alice", Place::kSymmetric);
  SimNode* bob = &world.add("bob", Place::kSymmetric);
  SimNode* carol = &world.add("carol", Place::kPublic);
  std::string by_server, by_carol;

  PartyRelay() {
    const IpAddress server = IpAddress::v4(198, 41, 0, 1);
    for (const auto place : {0, 1}) world.network.set_distance(Topology::outside(place), server, {.delay = 45ms});
    const auto invite = world.host(*alice);
    EXPECT_TRUE(invite);
    for (SimNode* joiner : {bob, carol}) EXPECT_TRUE(world.join(*joiner, invite->text));
    by_carol = format("{:016x}", wire::relay_peer(carol->key()));
  }

  // A game between alice and bob, every 20 ms; how many of bob's packets alice got.
  std::size_t play(Duration time) {
    const std::size_t before = alice->received.size();
    for (const Time end = world.now() + time; world.now() < end; world.run(20ms)) {
      for (const auto& [from, to] : {std::pair(alice, bob), std::pair(bob, alice)}) {
        if (from->address() && to->address())
          from->send_packet(wire::build_udp({*from->address(), 27015}, {*to->address(), 27015}, as_bytes("tick")));
      }
    }
    return alice->received.size() - before;
  }
  std::string relay_of(const SimNode& from, const SimNode& to) const {
    const auto peer = from.peer(to);
    return peer && peer->path && peer->path->relay ? *peer->path->relay : std::string();
  }
  bool both_by(const std::string& relay) const {
    return relay_of(*alice, *bob) == relay && relay_of(*bob, *alice) == relay;
  }
};

TEST(PartyRelay, TwoWhomOnlyARelayJoinsMeetAtTheFriendWhoIsNearToBoth) {
  PartyRelay party;
  party.play(20s);
  const std::string by_server = party.relay_of(*party.alice, *party.bob);
  ASSERT_FALSE(by_server.empty());
  ASSERT_NE(by_server, party.by_carol);
  party.carol->serve_relay();
  party.play(25s);
  EXPECT_TRUE(party.both_by(party.by_carol)) << party.relay_of(*party.alice, *party.bob);
  EXPECT_EQ(party.carol->relay()->sessions(), 2u);
  EXPECT_GT(party.carol->relay()->stats().packets_forwarded, 100u);
  const auto peer = party.alice->peer(*party.bob);
  EXPECT_EQ(peer->path->relay_member, "carol");
  EXPECT_EQ(peer->relays.at(0).member, "carol");
  EXPECT_NEAR(*peer->relays.at(0).rtt_ms, 40, 8);
  EXPECT_EQ(peer->relays.at(1).id, by_server);
  EXPECT_EQ(party.alice->node().relays().at(0).member, "carol");
  // Nobody is to reach carol by carol's own relay, herself included.
  const auto of_carol = party.alice->peer(*party.carol);
  EXPECT_EQ(of_carol->relays.size(), 1u);
  for (const node::PairRelayStatus& relay : of_carol->relays) EXPECT_NE(relay.id, party.by_carol);
  for (const node::RelayStatus& relay : party.carol->node().relays()) EXPECT_NE(relay.id, party.by_carol);
}

TEST(PartyRelay, WhenItStopsNothingIsLostAndWhenItDiesTheServersTakesOver) {
  PartyRelay party;
  party.play(5s);
  party.carol->serve_relay();
  party.play(25s);
  ASSERT_TRUE(party.both_by(party.by_carol));
  party.carol->withdraw_relay();
  EXPECT_GE(party.play(6s), 6s / 20ms - 8) << "what is still on its longer way";
  EXPECT_FALSE(party.relay_of(*party.alice, *party.bob).empty());
  EXPECT_NE(party.relay_of(*party.alice, *party.bob), party.by_carol);
  EXPECT_EQ(party.carol->relay(), nullptr) << "all have left";
  for (const node::RelayStatus& relay : party.alice->node().relays()) EXPECT_NE(relay.id, party.by_carol);

  party.carol->serve_relay();
  party.play(25s);
  ASSERT_TRUE(party.both_by(party.by_carol));
  party.carol->kill();
  party.play(1500ms);
  EXPECT_GT(party.play(1s), 40u) << "the server's relay was warm";
  party.play(60s);
  for (const node::RelayStatus& relay : party.alice->node().relays()) EXPECT_NE(relay.id, party.by_carol);
}

TEST(PartyRelay, ALoadedOneIsLeftAndOneWhoseMemberIsKickedIsGone) {
  PartyRelay party;
  party.play(5s);
  party.carol->serve_relay();
  party.play(25s);
  ASSERT_TRUE(party.both_by(party.by_carol));
  party.carol->serve_relay(10, 95);
  party.play(15s);
  EXPECT_FALSE(party.both_by(party.by_carol));
  bool is_listed = false;
  for (const node::RelayStatus& relay : party.alice->node().relays()) {
    if (relay.id != party.by_carol) continue;
    is_listed = true;
    EXPECT_EQ(relay.health, 10);
    EXPECT_EQ(relay.load, 95);
  }
  EXPECT_TRUE(is_listed);
  ASSERT_TRUE(party.world.kick(*party.alice, "carol"));
  party.play(5s);
  for (SimNode* member : {party.alice, party.bob})
    for (const node::RelayStatus& relay : member->node().relays()) EXPECT_NE(relay.id, party.by_carol);
}

TEST(PartyRelay, ServesMembersWhoAllStartAgainWithoutTheServer) {
  PartyRelay party;
  party.play(5s);
  party.carol->serve_relay();
  party.play(30s);
  ASSERT_TRUE(party.both_by(party.by_carol));
  party.world.server.stop();
  for (SimNode* member : {party.alice, party.bob, party.carol}) {
    member->kill();
    member->start();
  }
  EXPECT_FALSE(party.carol->node().grant_keys().empty()) << "kept with the contacts";
  party.carol->serve_relay();
  party.play(15s);
  EXPECT_TRUE(party.both_by(party.by_carol));
  EXPECT_GT(party.play(1s), 45u);
}

}  // namespace
}  // namespace lanrage::sim
