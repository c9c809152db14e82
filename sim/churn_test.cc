// Many parties at once, with everything that happens to them: leaving, coming back, kills, roaming, routers that
// forget, a server that restarts. What must hold is checked at the end; the same seed gives the same
// packets.
#include <set>

#include "sim/world.h"
#include "wire/ip.h"

namespace lanrage::sim {
namespace {

using namespace std::chrono_literals;

struct Churn {
  World world;
  SeededRng dice;
  struct Group {
    std::string invite;
    std::vector<SimNode*> members;  // the first is the owner
  };
  std::vector<Group> groups;
  int joins = 0, kills = 0, roams = 0, leaves = 0, restarts = 0;

  Churn(std::uint64_t seed, int parties, int each) : world(seed), dice(seed) {
    for (int i = 0; i < parties; ++i) {
      Group& group = groups.emplace_back();
      for (int j = 0; j < each; ++j)
        group.members.push_back(&world.add("p" + std::to_string(i) + "m" + std::to_string(j), random_place()));
      const auto invite = world.host(*group.members[0]);
      EXPECT_TRUE(invite);
      if (invite) group.invite = invite->text;
      for (int j = 1; j < each; ++j) join(group, *group.members[static_cast<std::size_t>(j)]);
    }
  }

  Place random_place() {
    constexpr Place kMix[] = {Place::kEasy, Place::kEasy, Place::kCone, Place::kSymmetric, Place::kCarrier};
    return kMix[dice.below(std::size(kMix))];
  }

  void join(Group& group, SimNode& node) {
    ++joins;
    const auto invite = party::Invite::parse(group.invite);
    ASSERT_TRUE(invite);
    node.with([&](node::Node& n) { n.join(node.now(), *invite, node.name(), [](const Result<void>&) {}); });
  }

  void one_thing() {
    Group& group = groups[dice.below(groups.size())];
    SimNode& node = *group.members[dice.below(group.members.size())];
    const bool is_owner = &node == group.members[0];
    const std::uint64_t what = dice.below(100);
    if (!node.running()) return node.start();
    if (what < 25) {
      ++kills;
      node.kill();
    } else if (what < 50) {
      ++roams;
      Site site = world.make_site(random_place());
      node.roam(site.domain, {site.next()});
    } else if (what < 70 && !is_owner) {
      if (node.node().server()) {
        ++leaves;
        node.with([&](node::Node& n) { n.leave(node.now(), [](const Result<void>&) {}); });
      } else {
        join(group, node);
      }
    } else if (what < 72) {
      ++restarts;
      world.server.stop();
      world.run(500ms);
      world.server.start();
    } else if (what < 75 && is_owner) {
      node.with([&](node::Node& n) { n.rekey(node.now(), [](const Result<void>&) {}); });
    } else {
      for (SimNode* other : group.members) {
        const auto from = node.address();
        const auto to = other->running() ? other->address() : std::nullopt;
        if (from && to && other != &node)
          node.send_packet(wire::build_udp({*from, 27015}, {*to, 27015}, as_bytes("hello")));
      }
    }
  }

  void run(Duration time, Duration step) {
    for (const Time end = world.now() + time; world.now() < end; world.run(step)) one_thing();
  }

  // Quiet returns: all who run and are in a party see each other and reach each other, and nobody else.
  void expect_whole() {
    for (Group& group : groups) {
      for (SimNode* node : group.members) node->start();
    }
    world.run(90s);
    for (Group& group : groups) {
      for (SimNode* node : group.members) {
        if (!node->address()) join(group, *node);
      }
    }
    world.run(10s);
    for (Group& group : groups) {
      for (SimNode* a : group.members) {
        ASSERT_TRUE(a->address()) << a->name();
        EXPECT_EQ(a->status().peers.size(), group.members.size() - 1) << a->name();
        for (SimNode* b : group.members) {
          if (a == b) continue;
          EXPECT_TRUE(world.reaches(*a, *b)) << a->name() << " to " << b->name();
        }
      }
    }
  }
};

TEST(Churn, TheSameSeedGivesTheSamePackets) {
  std::uint64_t hashes[2];
  for (std::uint64_t& hash : hashes) {
    Churn churn(7, 3, 3);
    churn.run(2min, 1s);
    hash = churn.world.network.trace_hash();
    EXPECT_GT(churn.world.network.delivered(), 1000u);
  }
  EXPECT_EQ(hashes[0], hashes[1]);
}

TEST(Churn, PartiesAreWholeAgainAfterwards) {
#ifdef NDEBUG
  constexpr std::uint64_t kSeeds = 8;
#else
  constexpr std::uint64_t kSeeds = 1;
#endif
  for (std::uint64_t seed = 4; seed < 4 + kSeeds; ++seed) {
    Churn churn(seed, 3, 4);
    churn.run(10min, 2s);
    churn.expect_whole();
  }
}

#ifdef NDEBUG
TEST(Churn, AHundredNodesForAnHour) {
  Churn churn(1, 20, 5);
  churn.run(1h, 2s);
  churn.expect_whole();
  RecordProperty("datagrams", std::to_string(churn.world.network.delivered()));
}
#endif

}  // namespace
}  // namespace lanrage::sim
