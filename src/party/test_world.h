// For tests: a server and players who talk to it, without any network. Each player has an identity, a roster and what
// its roster reported; the server's effects are kept, and a store is played along with `apply_change`.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "party/ipam.h"
#include "party/roster.h"

namespace lanrage::party {

using std::chrono::hours;

struct Player {
  std::string name;
  Identity identity;
  std::optional<Roster> roster;
  RosterEvents events;

  const crypto::PublicKey& key() const { return identity.public_key(); }
  void take(RosterEvents more) { events.insert(events.end(), more.begin(), more.end()); }
  template <class E>
  std::vector<E> seen() const {
    std::vector<E> out;
    for (const RosterEvent& event : events) {
      if (const E* e = std::get_if<E>(&event)) out.push_back(*e);
    }
    return out;
  }
  std::vector<Why> refusals() const {
    std::vector<Why> out;
    for (const Refused& refused : seen<Refused>()) out.push_back(refused.why);
    return out;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& [key, member] : roster->members()) out.push_back(member.name);
    std::sort(out.begin(), out.end());
    return out;
  }
};

class World {
 public:
  explicit World(std::uint64_t seed = 1) : rng(seed) {}
  SeededRng rng;
  WallTime now = from_unix_seconds(1'800'000'000);
  std::optional<ServerParty> server;
  PartyData store;
  std::vector<PartyEvent> log;

  Player player(std::string name) { return {std::move(name), Identity::generate(rng), std::nullopt, {}}; }

  Player host(std::string name, const IpPrefix& prefix = {IpAddress::v4(10, 66, 7, 0), 24}) {
    Player owner = player(std::move(name));
    owner.roster = *Roster::create(owner.identity, "friday", prefix, {.name = owner.name}, link(), rng);
    Effects effects;
    server = *ServerParty::create(now, owner.key(), owner.name, owner.roster->encoded_genesis(), effects);
    settle(effects);
    EXPECT_TRUE(publish(owner));
    sync(owner);
    return owner;
  }

  Invite invite(Player& owner, std::uint32_t uses = 100, Duration lifetime = hours{24}) {
    const auto made = owner.roster->make_invite(now, uses, now + lifetime, rng);
    EXPECT_TRUE(made);
    Effects effects;
    EXPECT_TRUE(server->add_invite(now, owner.key(), made->request, effects));
    settle(effects);
    return made->invite;
  }

  Result<JoinAnswer> ask_to_join(const Player& who, const Invite& by) {
    Effects effects;
    auto answer = server->join(now, who.key(), {by.secret.token(by.party), who.name}, effects);
    settle(effects);
    return answer;
  }

  // All of joining: ask, open, take the snapshot, publish the own record.
  Result<void> join(Player& who, const Invite& by) {
    LR_ASSIGN(const JoinAnswer answer, ask_to_join(who, by));
    LR_ASSIGN(Roster roster, Roster::join(who.identity, by, answer, {.name = who.name}));
    who.roster.emplace(std::move(roster));
    sync(who);
    return publish(who);
  }
  Player joined(std::string name, const Invite& by) {
    Player who = player(std::move(name));
    EXPECT_TRUE(join(who, by));
    return who;
  }

  Result<void> publish(Player& who) {
    const auto record = who.roster->unpublished_record();
    if (!record) return {};
    Effects effects;
    LR_TRY(server->put_record(who.key(), *record, effects));
    settle(effects);
    who.roster->mark_published(*record);
    return {};
  }

  // What a connected node does: takes what the server has, and publishes what follows from it.
  void sync(Player& who) {
    who.take(who.roster->apply_snapshot(server->snapshot()));
    if (who.roster->unpublished_record() && server->standing(who.key()) == Standing::kJoined) {
      EXPECT_TRUE(publish(who));
    }
  }
  void sync(std::initializer_list<Player*> all) {
    for (int round = 0; round < 2; ++round) {
      for (Player* who : all) sync(*who);
    }
  }

  Result<void> put(const Player& by, const StatementsRequest& request) {
    Effects effects;
    LR_TRY(server->put_statements(by.key(), request, effects));
    settle(effects);
    return {};
  }
  Result<void> kick(Player& owner, const Player& whom) {
    sync(owner);
    LR_ASSIGN(const StatementsRequest request, owner.roster->kick(now, whom.key(), rng));
    LR_TRY(put(owner, request));
    sync(owner);
    return {};
  }
  Result<void> rekey(Player& owner) {
    sync(owner);
    LR_ASSIGN(const StatementsRequest request, owner.roster->rekey(now, rng));
    LR_TRY(put(owner, request));
    sync(owner);
    return {};
  }

  // Both keys of both ends agree in the newest epoch that they share.
  static bool can_talk(const Player& a, const Player& b) {
    for (const PairKeys& mine : a.roster->pair_keys(b.key())) {
      for (const PairKeys& theirs : b.roster->pair_keys(a.key())) {
        if (mine.epoch == theirs.epoch && crypto::secure_equal(mine.psk.bytes(), theirs.psk.bytes())) return true;
      }
    }
    return false;
  }

  void settle(const Effects& effects) {
    for (const Change& change : effects.changes) apply_change(store, change);
    log.insert(log.end(), effects.events.begin(), effects.events.end());
  }
  static ServerInfo link() { return {{}, {*ServerAddress::parse("203.0.113.9")}}; }
};

}  // namespace lanrage::party
