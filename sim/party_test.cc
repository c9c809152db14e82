// A party from its first member to its last: what people do, and what they see of it.
#include <algorithm>
#include <cstdlib>

#include "base/format.h"
#include "sim/world.h"
#include "wire/ip.h"

namespace lanrage::sim {
namespace {

using namespace std::chrono_literals;

bool is_direct(const SimNode& a, const SimNode& b) {
  const auto peer = a.peer(b);
  return peer && peer->state == node::Reach::kConnected && peer->path && !peer->path->relayed;
}

// A host and others who joined, each at home behind an easy router.
struct Party : World {
  std::string invite_text;

  explicit Party(std::uint64_t world_seed, int others = 1) : World(world_seed) {
    const auto made = host(add("ada", Place::kEasy));
    EXPECT_TRUE(made);
    if (made) invite_text = made->text;
    for (int i = 0; i < others; ++i) enter(kNames[i]);
    run(5s);
  }
  SimNode& enter(const std::string& name, Place place = Place::kEasy) {
    SimNode& node = add(name, place);
    const auto joined = join(node, invite_text);
    EXPECT_TRUE(joined) << name << ": " << (joined ? "" : joined.error().message);
    return node;
  }
  SimNode& at(std::size_t i) { return *nodes[i]; }
  static constexpr const char* kNames[] = {"bo", "cy", "di", "ed", "flo", "gus", "hal"};
};

void expect_all_reach_all(Party& p) {
  for (auto& a : p.nodes) {
    for (auto& b : p.nodes) {
      if (a == b) continue;
      EXPECT_TRUE(p.reaches(*a, *b)) << a->name() << " to " << b->name();
    }
  }
}

TEST(Joining, ReachesTheHostWithinASecondAndDirectlyWithinThree) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Party p(seed, 0);
    SimNode& bo = p.add("bo", Place::kEasy);
    const Time began = p.now();
    const auto joined = p.join(bo, p.invite_text);
    ASSERT_TRUE(joined) << joined.error().message;
    const auto answer = p.ping(bo, p.at(0));
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_LE(milliseconds(p.now() - began), 1000);
    EXPECT_TRUE(p.run_until([&] { return is_direct(bo, p.at(0)) && is_direct(p.at(0), bo); }, 10s));
    EXPECT_LE(milliseconds(p.now() - began), 3000);
    EXPECT_TRUE(p.reaches(p.at(0), bo));
    EXPECT_TRUE(p.reaches(bo, p.at(0)));
  }
}

TEST(Joining, AWrongInviteIsRefusedAndLeavesNothingBehind) {
  Party p(1);
  auto invite = *party::Invite::parse(p.invite_text);
  invite.secret = party::InviteSecret(std::array<std::uint8_t, 16>{1});
  SimNode& eve = p.add("eve", Place::kEasy);
  const auto joined = p.join(eve, invite.text());
  ASSERT_FALSE(joined);
  EXPECT_EQ(joined.error().code, Code::kNotFound);
  EXPECT_EQ(eve.status().state, node::NodeState::kIdle);
  EXPECT_TRUE(eve.saved_party.empty());
  ASSERT_TRUE(p.join(eve, p.invite_text)) << "a right one works afterwards";
}

TEST(Joining, AnInviteEndsByUseAndByTime) {
  Party p(1, 0);
  const auto once = p.invite(p.at(0), 1h, 1);
  ASSERT_TRUE(once);
  ASSERT_TRUE(p.join(p.add("bo", Place::kEasy), once->text));
  const auto second = p.join(p.add("cy", Place::kEasy), once->text);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kExhausted);
  const auto brief = p.invite(p.at(0), 10s, 5);
  ASSERT_TRUE(brief);
  p.run(11s);
  const auto late = p.join(p.add("di", Place::kEasy), brief->text);
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Code::kExpired);
}

TEST(Joining, WorksAgainOrGoesOnWhenTheServerRestartsMeanwhile) {
  for (int ms = 20; ms <= 400; ms += 20) {
    SCOPED_TRACE(ms);
    Party p(1, 0);
    SimNode& bo = p.add("bo", Place::kEasy);
    std::optional<Result<void>> joined;
    bo.with([&](node::Node& n) {
      n.join(bo.now(), *party::Invite::parse(p.invite_text), "bo",
             [&](Result<void> r) { joined.emplace(std::move(r)); });
    });
    p.run(std::chrono::milliseconds{ms});
    p.server.stop();
    p.run(100ms);
    p.server.start();
    ASSERT_TRUE(p.run_until([&] { return joined.has_value(); }, 30s));
    // Until the server has answered, its first failure is the answer; the same invite works again.
    if (!*joined) {
      EXPECT_EQ(joined->error().code, Code::kUnavailable);
      const auto again = p.join(bo, p.invite_text);
      ASSERT_TRUE(again) << again.error().message;
    }
    EXPECT_TRUE(p.ping(bo, p.at(0), 15s));
  }
}

TEST(Joining, TwoAtOnceAndARekeyMeanwhileAllEndUpTogether) {
  for (int ms = 0; ms <= 400; ms += 25) {
    SCOPED_TRACE(ms);
    Party p(2, 1);
    SimNode& cy = p.add("cy", Place::kEasy);
    SimNode& di = p.add("di", Place::kCone);
    int joined = 0;
    for (SimNode* node : {&cy, &di}) {
      node->with([&](node::Node& n) {
        n.join(node->now(), *party::Invite::parse(p.invite_text), node->name(), [&joined](Result<void> r) {
          EXPECT_TRUE(r) << (r ? "" : r.error().message);
          if (r) ++joined;
        });
      });
    }
    p.run(std::chrono::milliseconds{ms});
    const auto rekeyed = p.rekey(p.at(0));
    EXPECT_TRUE(rekeyed || rekeyed.error().code == Code::kConflict) << rekeyed.error().message;
    EXPECT_TRUE(p.run_until([&] { return joined == 2; }, 30s));
    p.run(10s);
    expect_all_reach_all(p);
    for (auto& node : p.nodes) EXPECT_EQ(node->status().party->epoch, rekeyed ? 1u : 0u);
  }
}

TEST(Server, RestartLosesNoPacketAndEverybodyComesBack) {
  Party p(1, 3);
  SimNode& ada = p.at(0);
  SimNode& bo = p.at(1);
  bo.received.clear();
  int sent = 0;
  const auto say = [&](Duration time) {
    for (const Time end = p.now() + time; p.now() < end; p.run(20ms)) {
      ada.send_packet(wire::build_udp({*ada.address(), 27015}, {*bo.address(), 27015}, as_bytes("tick")));
      ++sent;
    }
  };
  say(2s);
  p.server.stop();
  say(30s);
  EXPECT_EQ(ada.status().state, node::NodeState::kDegraded);
  p.server.start();
  say(75s);
  p.run(1s);
  EXPECT_EQ(bo.received.size(), static_cast<std::size_t>(sent));
  for (auto& node : p.nodes) EXPECT_EQ(node->status().state, node::NodeState::kInParty) << node->name();
  p.enter("hal");
  p.run(5s);
  expect_all_reach_all(p);
}

TEST(Node, RestartedGoesOnWhereItWas) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    Party p(seed, 2);
    SimNode& bo = p.at(1);
    const auto before = bo.address();
    bo.kill();
    p.run(2s);
    bo.start();
    const Time began = p.now();
    ASSERT_TRUE(p.ping(bo, p.at(0))) << "seed " << seed;
    EXPECT_LE(milliseconds(p.now() - began), 1500);
    EXPECT_EQ(bo.address(), before);
    EXPECT_LE(milliseconds(p.silence(p.at(2), bo)), 1500);
    p.run(5s);
    EXPECT_TRUE(is_direct(bo, p.at(0)) && is_direct(p.at(2), bo));
  }
}

// The server has this device's record already, and the very same one is made again.
TEST(Node, JoinsAgainAfterItLostItsState) {
  Party p(1, 2);
  SimNode& bo = p.at(1);
  const auto before = bo.address();
  bo.kill();
  bo.saved_party.clear();
  bo.start();
  ASSERT_TRUE(p.join(bo, p.invite_text));
  EXPECT_EQ(bo.address(), before);
  p.run(3s);
  expect_all_reach_all(p);
}

// Its port changed: an answer to where it was would be lost.
TEST(Node, RestartedElsewhereIsAnsweredAtOnce) {
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    for (const Place place : {Place::kPublic, Place::kEasy, Place::kSymmetric}) {
      SCOPED_TRACE(format("seed {} {}", seed, place_name(place)));
      Party p(seed, 2);
      SimNode& bo = p.at(1);
      bo.kill();
      Site site = p.make_site(place);
      bo.roam(site.domain, {site.next()});
      bo.start();
      for (SimNode* other : {&p.at(0), &p.at(2)}) {
        ASSERT_TRUE(p.run_until([&] { return bo.peer(*other)->state == node::Reach::kConnected; }, 5s));
        EXPECT_TRUE(p.ping(bo, *other, 1s));
      }
    }
  }
}

TEST(Party, GoesOnWithoutAServerThoughEverybodyRestarts) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    Party p(seed, 3);
    p.run(30s);
    p.server.stop();
    for (auto& node : p.nodes) node->kill();
    p.run(5s);
    for (auto& node : p.nodes) node->start();
    p.run(2s);
    expect_all_reach_all(p);
    EXPECT_TRUE(is_direct(p.at(0), p.at(1)) && is_direct(p.at(3), p.at(2)));
  }
}

TEST(Party, GoesOnByARelayWhenOnlyTheControlServerIsGone) {
  Party p(1);
  SimNode& cy = p.enter("cy", Place::kSymmetric);
  p.run(30s);
  for (auto& node : p.nodes) node->kill();
  p.run(5s);
  for (auto& node : p.nodes) {
    node->start();
    node->set_control_reachable(false);
  }
  p.run(2s);
  expect_all_reach_all(p);
  EXPECT_FALSE(is_direct(p.at(0), cy));
}

// R14: what is on disk of the others is where they were, in another network.
TEST(Party, FindsItsMembersOnANewLanWithoutTheServer) {
  Party p(1, 2);
  p.run(30s);
  p.server.stop();
  for (auto& node : p.nodes) node->kill();
  Site lan = p.make_site(Place::kEasy);
  for (auto& node : p.nodes) node->roam(lan.domain, {lan.next()});
  for (auto& node : p.nodes) node->start();
  const Time began = p.now();
  for (auto& a : p.nodes)
    for (auto& b : p.nodes)
      EXPECT_TRUE(a == b || p.run_until([&] { return is_direct(*a, *b); }, 2s)) << a->name() << b->name();
  EXPECT_LE(milliseconds(p.now() - began), 1000);
  expect_all_reach_all(p);
}

TEST(Party, WritesWhereItsMembersAreOnceForManyChanges) {
  Party p(1, 2);
  const int before = p.at(0).contacts_saves;
  for (int i = 0; i < 5; ++i) {
    Site site = p.make_site(Place::kEasy);
    p.at(1).roam(site.domain, {site.next()});
    p.run(1s);
  }
  p.run(30s);
  EXPECT_GE(p.at(0).contacts_saves, before + 1);
  EXPECT_LE(p.at(0).contacts_saves, before + 2);
  const int moved = p.at(0).contacts_saves;
  p.run(10min);
  EXPECT_EQ(p.at(0).contacts_saves, moved);
}

TEST(Party, SkipsContactsThatMeanNothingAndRefusesForgedOnes) {
  Party p(1);
  p.run(30s);
  SimNode& bo = p.at(1);
  // A signal that ada did not seal, noise, and a line cut off.
  const std::string good = bo.saved_contacts;
  bo.saved_contacts = wire::encode(wire::Event(wire::Signalled{p.at(0).key(), Bytes(200, 7)})) + "\n\xff\n{}\n" +
                      good.substr(0, good.size() / 2);
  p.server.stop();
  for (auto& node : p.nodes) node->kill();
  for (auto& node : p.nodes) node->start();
  p.run(2s);
  EXPECT_TRUE(p.reaches(p.at(0), bo)) << "ada still knows where bo is";
  ASSERT_TRUE(p.leave(bo));
  EXPECT_TRUE(bo.saved_contacts.empty());
}

TEST(Node, RestartedBeforeItsPathsWereProvenIsReachedToo) {
  for (int ms = 0; ms <= 300; ms += 20) {
    SCOPED_TRACE(ms);
    Party p(static_cast<std::uint64_t>(ms + 1), 1);
    SimNode& cy = p.enter("cy", Place::kSymmetric);
    p.run(std::chrono::milliseconds{ms});
    cy.kill();
    cy.start();
    p.run(4s);
    for (SimNode* other : {&p.at(0), &p.at(1)}) {
      EXPECT_TRUE(p.reaches(*other, cy, 500ms));
      EXPECT_TRUE(p.reaches(cy, *other, 500ms));
    }
  }
}

TEST(Node, KilledWithoutGoodbyeIsNoticedAndItsReturnToo) {
  Party p(1);
  p.at(1).kill();
  EXPECT_TRUE(p.run_until([&] { return !p.at(0).peer(p.at(1))->online; }, 5s));
  EXPECT_TRUE(p.run_until([&] { return p.at(0).peer(p.at(1))->state == node::Reach::kUnreachable; }, 60s));
  EXPECT_EQ(p.at(0).peer(p.at(1))->why, "not online");
  p.run(10min);
  p.at(1).start();
  EXPECT_TRUE(p.run_until([&] { return is_direct(p.at(0), p.at(1)) && is_direct(p.at(1), p.at(0)); }, 5s));
  EXPECT_TRUE(p.reaches(p.at(0), p.at(1), 1s));
}

TEST(Node, RoamsToAnotherNetwork) {
  Party p(1);
  SimNode& bo = p.at(1);
  for (Place place : {Place::kEasy, Place::kCone, Place::kPublic}) {
    SCOPED_TRACE(place_name(place));
    Site cafe = p.make_site(place);
    bo.roam(cafe.domain, {cafe.next()});
    EXPECT_LE(milliseconds(p.silence(bo, p.at(0))), 1500) << "who moved speaks first";
    EXPECT_LE(milliseconds(p.silence(p.at(0), bo)), 1500);
    EXPECT_TRUE(p.run_until([&] { return is_direct(p.at(0), bo) && is_direct(bo, p.at(0)); }, 5s));
    p.run(90s);
    EXPECT_TRUE(is_direct(p.at(0), bo) && is_direct(bo, p.at(0)));
  }
  Site office = p.make_site(Place::kSymmetric);
  bo.roam(office.domain, {office.next()});
  EXPECT_LE(milliseconds(p.silence(bo, p.at(0))), 1500);
  p.run(30s);
  EXPECT_TRUE(p.reaches(p.at(0), bo, 1s));
}

TEST(Node, SurvivesThatItsRouterForgetsEverything) {
  Party p(1);
  SimNode& ada = p.at(0);
  SimNode& bo = p.at(1);
  ASSERT_TRUE(is_direct(ada, bo));
  p.network.forget_mappings(1);  // ada's router, the first made
  int silent = 0;
  bo.received.clear();
  for (int i = 0; i < 100; ++i, p.run(50ms)) {  // only the far side speaks
    const auto before = ada.received.size();
    bo.send_packet(wire::build_udp({*bo.address(), 27015}, {*ada.address(), 27015}, as_bytes("tick")));
    p.run(50ms);
    if (ada.received.size() == before) ++silent;
  }
  EXPECT_LE(silent * 100, 3000) << "milliseconds without packets";
  EXPECT_TRUE(p.reaches(ada, bo, 1s));
  p.run(10s);
  EXPECT_TRUE(is_direct(ada, bo));
}

TEST(Node, SleepsForHoursAndIsBackInTwoSeconds) {
  Party p(1);
  SimNode& bo = p.at(1);
  bo.cut();
  p.run(2h);
  bo.plug();
  EXPECT_TRUE(p.run_until([&] { return bo.status().state == node::NodeState::kInParty; }, 2s));
  EXPECT_LE(milliseconds(p.silence(bo, p.at(0))), 2000);
  EXPECT_TRUE(p.reaches(p.at(0), bo, 1s));
  p.run(5s);
  EXPECT_TRUE(is_direct(bo, p.at(0)));
}

TEST(Node, IdleForAnHourStillReachesAndIsReached) {
  Party p(1, 2);
  p.run(1h);
  for (std::size_t i = 1; i < 3; ++i) {
    EXPECT_EQ(p.at(0).peer(p.at(i))->state, node::Reach::kConnected);
    EXPECT_TRUE(is_direct(p.at(0), p.at(i)));
  }
  EXPECT_TRUE(p.reaches(p.at(0), p.at(1), 200ms));
  EXPECT_TRUE(p.reaches(p.at(2), p.at(1), 200ms));
}

TEST(Node, ClocksYearsOffDoNotMatter) {
  World w(1);
  SimNode& ada = w.add("ada", Place::kEasy, -10 * 8766h);
  SimNode& bo = w.add("bo", Place::kEasy, 10 * 8766h);
  const auto invite = w.host(ada);
  ASSERT_TRUE(invite) << invite.error().message;
  ASSERT_TRUE(w.join(bo, invite->text));
  EXPECT_TRUE(w.ping(ada, bo));
  EXPECT_TRUE(w.ping(bo, ada));
  w.run(3h);  // grants are renewed by the server's clock
  EXPECT_TRUE(w.reaches(ada, bo));
  bo.kill();
  bo.start();
  EXPECT_TRUE(w.ping(bo, ada));
  const auto kicked = w.kick(ada, "bo");
  EXPECT_TRUE(kicked) << kicked.error().message;
  w.run(1s);
  EXPECT_EQ(bo.status().state, node::NodeState::kIdle);
}

TEST(Leaving, IsSeenByTheOthersAndMakesRoomForComingBack) {
  Party p(1, 2);
  SimNode& bo = p.at(1);
  ASSERT_TRUE(p.leave(bo));
  EXPECT_EQ(bo.status().state, node::NodeState::kIdle);
  EXPECT_TRUE(bo.saved_party.empty());
  EXPECT_EQ(bo.address(), std::nullopt);
  p.run(1s);
  EXPECT_FALSE(p.at(0).peer(bo));
  EXPECT_FALSE(p.at(2).peer(bo));
  EXPECT_FALSE(p.ping(p.at(0), bo));
  ASSERT_TRUE(p.join(bo, p.invite_text));
  p.run(5s);
  expect_all_reach_all(p);
}

TEST(Leaving, AndKilledWhileComingBackIsBackAfterTheNextStart) {
  // At every moment between asking and being in: the server knows newer records of this device than its disk does.
  for (int moment = 0; moment <= 200; moment += 10) {
    SCOPED_TRACE(moment);
    Party p(1, 2);
    SimNode& bo = p.at(1);
    ASSERT_TRUE(p.leave(bo));
    p.run(1s);
    const auto invite = party::Invite::parse(p.invite_text);
    bo.with([&](node::Node& n) { n.join(bo.now(), *invite, bo.name(), [](Result<void>) {}); });
    p.run(std::chrono::milliseconds{moment});
    bo.kill();
    bo.start();
    if (bo.saved_party.empty()) continue;  // it was not let in yet
    p.run(5s);
    EXPECT_TRUE(p.reaches(p.at(0), bo));
    EXPECT_TRUE(p.reaches(bo, p.at(2)));
  }
}

TEST(Leaving, WithoutTheServerWorksToo) {
  Party p(1, 1);
  p.server.stop();
  p.run(2s);
  ASSERT_TRUE(p.leave(p.at(1)));
  EXPECT_EQ(p.at(1).status().state, node::NodeState::kIdle);
}

TEST(Leaving, OnePartyAndHostingAnother) {
  Party p(1, 2);
  SimNode& bo = p.at(1);
  ASSERT_TRUE(p.leave(bo));
  const auto own = p.host(bo, "saturday");
  ASSERT_TRUE(own) << own.error().message;
  ASSERT_TRUE(p.leave(p.at(2)));
  ASSERT_TRUE(p.join(p.at(2), own->text));
  EXPECT_TRUE(p.ping(p.at(2), bo));
  EXPECT_FALSE(p.at(0).peer(bo));
}

TEST(Kicking, ShutsOutAtOnce) {
  Party p(1, 2);
  SimNode& ada = p.at(0);
  SimNode& bo = p.at(1);
  SimNode& cy = p.at(2);
  const std::string old_state = to_hex(bo.saved_party);
  const auto kicked = p.kick(ada, "bo");
  ASSERT_TRUE(kicked) << kicked.error().message;
  EXPECT_TRUE(p.run_until([&] { return bo.status().state == node::NodeState::kIdle; }, 1s));
  ASSERT_FALSE(bo.status().notices.empty());
  EXPECT_TRUE(bo.saved_party.empty());
  p.run(1s);
  EXPECT_FALSE(ada.peer(bo));
  EXPECT_FALSE(cy.peer(bo));
  EXPECT_TRUE(p.reaches(ada, cy));
  EXPECT_TRUE(p.reaches(cy, ada));
  // With its old state, as a backup would bring it back.
  bo.kill();
  bo.saved_party = *from_hex(old_state);
  bo.start();
  EXPECT_TRUE(p.run_until([&] { return bo.status().state == node::NodeState::kIdle; }, 5s));
  const auto again = p.join(bo, p.invite_text);
  EXPECT_FALSE(again);
}

TEST(Kicking, SomebodyWhoIsAwayFindsOutOnReturn) {
  Party p(1, 2);
  SimNode& bo = p.at(1);
  bo.kill();
  p.run(10s);
  ASSERT_TRUE(p.kick(p.at(0), "bo"));
  p.run(10min);
  bo.start();
  EXPECT_TRUE(p.run_until([&] { return bo.status().state == node::NodeState::kIdle; }, 5s));
  EXPECT_FALSE(p.at(0).peer(bo));
  EXPECT_TRUE(p.reaches(p.at(0), p.at(2)));
}

TEST(Kicking, IsLearntByThoseWhoWereAwayFromMembersToo) {
  Party p(1, 3);
  SimNode& cy = p.at(2);
  cy.set_control_reachable(false);  // hears members only
  p.run(30s);
  ASSERT_TRUE(p.kick(p.at(0), "bo"));
  p.run(5min);  // within the next session between the two, summaries are exchanged
  p.at(0).send_packet(wire::build_udp({*p.at(0).address(), 27015}, {*cy.address(), 27015}, as_bytes("tick")));
  p.run(5s);
  EXPECT_FALSE(cy.peer(p.at(1)));
  EXPECT_FALSE(p.reaches(p.at(1), cy));
}

TEST(Kicking, TheOwnerNeverMissesWhoJoinedSinceItsSnapshot) {
  Party p(1, 1);
  p.enter("cy");
  p.enter("di");
  p.run(2s);
  const auto kicked = p.kick(p.at(0), "bo");
  ASSERT_TRUE(kicked) << kicked.error().message;
  p.run(2s);
  p.nodes.erase(p.nodes.begin() + 1);
  expect_all_reach_all(p);
}

TEST(Rekeying, KeepsEverybodyTogetherAndLosesNothing) {
  Party p(1, 3);
  SimNode& ada = p.at(0);
  SimNode& bo = p.at(1);
  SimNode& cy = p.at(2);
  cy.kill();
  bo.received.clear();
  for (int i = 0; i < 100; ++i, p.run(20ms)) {
    if (i == 30) ada.with([&](node::Node& n) { n.rekey(ada.now(), [](Result<void> r) { EXPECT_TRUE(r); }); });
    ada.send_packet(wire::build_udp({*ada.address(), 27015}, {*bo.address(), 27015}, as_bytes("tick")));
  }
  p.run(1s);
  EXPECT_EQ(bo.received.size(), 100u);
  cy.start();
  p.run(5s);
  expect_all_reach_all(p);
  for (auto& node : p.nodes) EXPECT_EQ(node->status().party->epoch, 1u) << node->name();
  p.enter("hal");
  p.run(5s);
  expect_all_reach_all(p);
}

TEST(HandingOver, MakesTheNewOwnerTheOneWhoMayKick) {
  Party p(1, 2);
  ASSERT_TRUE(p.handover(p.at(0), "bo"));
  p.run(1s);
  EXPECT_EQ(p.at(1).status().party->role, "owner");
  EXPECT_EQ(p.at(0).status().party->role, "member");
  EXPECT_FALSE(p.kick(p.at(0), "cy"));
  ASSERT_TRUE(p.kick(p.at(1), "cy"));
  p.run(1s);
  EXPECT_EQ(p.at(2).status().state, node::NodeState::kIdle);
  EXPECT_TRUE(p.reaches(p.at(0), p.at(1)));
  const auto invite = p.invite(p.at(1), 1h, 1);
  ASSERT_TRUE(invite);
  EXPECT_TRUE(p.join(p.add("di", Place::kEasy), invite->text));
}

TEST(LanGames, ABroadcastArrivesOnceAtEachOfSevenOthers) {
  Party p(1, 7);
  for (auto& node : p.nodes) node->tables().listen(27960);
  for (const Duration pause : {Duration(5s), Duration(20min)}) {  // the second time every session is long over
    p.run(pause);
    SimNode& cy = p.at(2);
    for (auto& node : p.nodes) node->received.clear();
    const Endpoint source{*cy.address(), 27960};
    cy.send_packet(wire::build_udp(source, {IpAddress::v4(255, 255, 255, 255), 27960}, as_bytes("getinfo")));
    p.run(1s);
    for (auto& node : p.nodes) {
      const std::size_t wanted = node.get() == &cy ? 0 : 1;
      EXPECT_EQ(node->received.size(), wanted) << node->name();
      if (node->received.size() != 1) continue;
      const auto udp = wire::parse_udp_packet(node->received[0].packet);
      ASSERT_TRUE(udp);
      EXPECT_EQ(udp->source, source);
      EXPECT_EQ(as_text(udp->payload), "getinfo");
    }
  }
}

}  // namespace
}  // namespace lanrage::sim
