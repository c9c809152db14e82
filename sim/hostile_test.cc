// A control server that lies: it may refuse service, and no more than that. Whatever it drops, repeats, mixes up or
// makes up, nobody comes in who was not invited, nobody who was removed comes back, and nobody takes another's place.
#include <algorithm>

#include "party/roster.h"
#include "sim/world.h"
#include "wire/ip.h"

namespace lanrage::sim {
namespace {

using namespace std::chrono_literals;
using Events = std::vector<wire::Event>;

struct Hostile : World {
  SimNode& ada;
  SimNode& bo;
  SimNode& cy;
  std::string invite_text;

  explicit Hostile(std::uint64_t world_seed)
      : World(world_seed), ada(add("ada", Place::kEasy)), bo(add("bo", Place::kEasy)), cy(add("cy", Place::kCone)) {
    const auto made = host(ada);
    EXPECT_TRUE(made);
    invite_text = made->text;
    EXPECT_TRUE(join(bo, invite_text));
    EXPECT_TRUE(join(cy, invite_text));
    run(5s);
  }
  // Everybody's streams begin anew.
  void restart_server() {
    server.stop();
    run(200ms);
    server.start();
    run(10s);
  }
  bool together(SimNode& a, SimNode& b) { return reaches(a, b) && reaches(b, a); }
};

bool knows(const SimNode& node, const SimNode& other) { return node.peer(other).has_value(); }

// A record that a stranger made for itself: signed rightly, with no party secret to MAC it.
Bytes forged_record(const Hostile& h, const party::Identity& stranger, const IpAddress& address,
                    const party::PartyId& party) {
  party::MemberRecord record;
  record.party = party;
  record.public_key = stranger.public_key();
  record.verify_key = stranger.verify_key();
  record.name = "mal";
  record.ipv4 = address;
  record.version = 1;
  const party::PartySecret guess(std::array<std::uint8_t, 16>{static_cast<std::uint8_t>(h.seed)});
  return party::SignedRecord::make(record, stranger, guess.record_key(party)).encoded();
}

TEST(HostileServer, CannotInsertAMember) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    Hostile h(seed);
    SeededRng rng(seed);
    const auto stranger = party::Identity::generate(rng);
    const auto party = party::PartyId::parse(h.ada.status().party->id);
    ASSERT_TRUE(party);
    const IpAddress taken = *h.bo.address();
    const IpAddress free = IpAddress::v4(taken.v4_value() + 40);
    h.server.tamper = [&](const crypto::PublicKey&, const wire::Event& event) -> Events {
      wire::Event changed = event;
      if (auto* snapshot = std::get_if<wire::Snapshot>(&changed)) {
        for (const IpAddress& address : {free, taken})
          snapshot->records.push_back(forged_record(h, stranger, address, *party));
      }
      return {changed};
    };
    h.restart_server();
    for (SimNode* node : {&h.ada, &h.bo, &h.cy}) {
      EXPECT_EQ(node->status().peers.size(), 2u) << node->name();
      for (const auto& peer : node->status().peers) EXPECT_NE(peer.name, "mal");
    }
    EXPECT_TRUE(h.together(h.ada, h.bo));
    SimNode& di = h.add("di", Place::kEasy);
    ASSERT_TRUE(h.join(di, h.invite_text));
    EXPECT_TRUE(h.ping(di, h.ada));
    EXPECT_EQ(di.status().peers.size(), 3u);
  }
}

TEST(HostileServer, CannotBringBackWhoWasRemovedByAnOldSnapshot) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    Hostile h(seed);
    std::optional<wire::Snapshot> old;
    h.server.tamper = [&](const crypto::PublicKey&, const wire::Event& event) -> Events {
      if (const auto* snapshot = std::get_if<wire::Snapshot>(&event)) old = *snapshot;
      return {event};
    };
    // Somebody asks for all of it: the server keeps what it saw.
    h.cy.kill();
    h.cy.start();
    h.run(3s);
    ASSERT_TRUE(old);
    ASSERT_TRUE(h.kick(h.ada, "bo"));
    h.run(2s);
    h.server.tamper = [&](const crypto::PublicKey&, const wire::Event& event) -> Events {
      if (std::holds_alternative<wire::Snapshot>(event)) return {*old};
      return {event};
    };
    h.cy.kill();
    h.cy.start();
    h.restart_server();
    for (SimNode* node : {&h.ada, &h.cy}) EXPECT_FALSE(knows(*node, h.bo)) << node->name();
    EXPECT_TRUE(h.together(h.ada, h.cy));
    EXPECT_EQ(h.cy.status().party->epoch, 1u);
    EXPECT_FALSE(h.cy.status().notices.empty()) << "what was refused is shown";
  }
}

TEST(HostileServer, CannotKeepAKickFromThoseWhoTalkToTheOwner) {
  Hostile h(1);
  h.server.tamper = [&](const crypto::PublicKey& to, const wire::Event& event) -> Events {
    if (to == h.cy.key() && event_version(event)) return {};
    return {event};
  };
  ASSERT_TRUE(h.kick(h.ada, "bo"));
  EXPECT_TRUE(h.run_until(
      [&] {
        h.ada.send_packet(wire::build_udp({*h.ada.address(), 27015}, {*h.cy.address(), 27015}, as_bytes("tick")));
        h.run(1s);
        return !knows(h.cy, h.bo);
      },
      5min));
  EXPECT_EQ(h.cy.status().party->epoch, 1u);
  EXPECT_TRUE(h.together(h.ada, h.cy));
}

TEST(HostileServer, DroppingRepeatingAndMixingEventsOnlyDelays) {
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    Hostile h(seed);
    SeededRng rng(seed);
    std::vector<wire::Event> held;
    h.server.tamper = [&](const crypto::PublicKey&, const wire::Event& event) -> Events {
      if (!event_version(event)) return {event};
      switch (rng.below(5)) {
        case 0:
          return {};
        case 1:
          return {event, event};
        case 2:
          held.push_back(event);
          return {};
        case 3: {
          Events out = {event};
          out.insert(out.end(), held.begin(), held.end());
          held.clear();
          return out;
        }
        default:
          return {event};
      }
    };
    SimNode& di = h.add("di", Place::kEasy);
    (void)h.join(di, h.invite_text, 60s);
    (void)h.rekey(h.ada);
    h.run(1min);
    h.server.tamper = nullptr;
    h.restart_server();
    h.run(90s);
    if (di.status().state == node::NodeState::kIdle) {
      EXPECT_TRUE(h.join(di, h.invite_text));
    }
    h.run(5s);
    for (auto& a : h.nodes) {
      EXPECT_EQ(a->status().peers.size(), 3u) << a->name() << " seed " << seed;
      for (auto& b : h.nodes) {
        if (a == b) continue;
        EXPECT_TRUE(h.reaches(*a, *b)) << a->name() << " to " << b->name() << " seed " << seed;
      }
    }
  }
}

TEST(HostileServer, SignalsOfItsOwnMakingAreRefused) {
  Hostile h(1);
  h.server.tamper = [&](const crypto::PublicKey&, const wire::Event& event) -> Events {
    wire::Event forged = event;
    if (auto* signal = std::get_if<wire::Signalled>(&forged)) {
      signal->sealed[signal->sealed.size() / 2] ^= 1;
      return {forged};
    }
    return {event};
  };
  h.bo.kill();
  h.bo.start();
  ASSERT_TRUE(h.ping(h.bo, h.ada)) << "the relay needs no signals";
  EXPECT_TRUE(h.together(h.ada, h.bo));
}

}  // namespace
}  // namespace lanrage::sim
