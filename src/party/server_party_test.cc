#include "party/server_party.h"

#include "party/test_world.h"

namespace lanrage::party {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

template <class T>
Code code(const Result<T>& result) {
  EXPECT_FALSE(result);
  if (result) return Code::kFailed;
  EXPECT_FALSE(result.error().message.empty());
  return result.error().code;
}

TEST(ServerParty, GivesEachDeviceItsOwnAddressForThePartysLife) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice);
  Player bob = w.joined("bob", invite);
  Player carol = w.joined("carol", invite);
  EXPECT_EQ(alice.roster->self().ipv4.text(), "10.66.7.1");
  EXPECT_EQ(bob.roster->self().ipv4.text(), "10.66.7.2");
  EXPECT_EQ(carol.roster->self().ipv4.text(), "10.66.7.3");
  Effects effects;
  ASSERT_TRUE(w.server->put_record(bob.key(), bob.roster->make_farewell(), effects));
  EXPECT_EQ(w.server->standing(bob.key()), Standing::kLeft);
  Player dave = w.joined("dave", invite);
  EXPECT_EQ(dave.roster->self().ipv4.text(), "10.66.7.4");
  ASSERT_TRUE(w.join(bob, invite));
  EXPECT_EQ(bob.roster->self().ipv4.text(), "10.66.7.2");
  EXPECT_EQ(w.server->standing(bob.key()), Standing::kJoined);
}

TEST(ServerParty, OneUseInviteUnder200JoinsLetsExactlyOneIn) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice, 1);
  int joined = 0;
  for (int i = 0; i < 200; ++i) {
    const Player somebody = w.player("player" + std::to_string(i));
    const auto answer = w.ask_to_join(somebody, invite);
    if (answer) {
      ++joined;
    } else {
      EXPECT_EQ(answer.error().code, Code::kExhausted);
      EXPECT_EQ(answer.error().message, "the invite has been used up");
    }
  }
  EXPECT_EQ(joined, 1);
  EXPECT_EQ(w.server->data().members.size(), 2u);
}

TEST(ServerParty, RepeatedJoinOfADeviceHasTheSameAnswerAndCostsOneUse) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice, 1);
  Player bob = w.player("bob");
  const auto first = w.ask_to_join(bob, invite);
  const auto again = w.ask_to_join(bob, invite);
  ASSERT_TRUE(first && again);
  EXPECT_EQ(first->ipv4, again->ipv4);
  EXPECT_EQ(first->envelope, again->envelope);
  ASSERT_TRUE(w.join(bob, invite));
  EXPECT_TRUE(w.ask_to_join(bob, invite));
  EXPECT_EQ(w.server->data().invites.begin()->second.uses_left, 0u);
  EXPECT_EQ(w.server->joined_count(), 2u);
}

TEST(ServerParty, ComingBackAfterLeavingCostsAUse) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice, 2);
  Player bob = w.joined("bob", invite);
  Effects effects;
  ASSERT_TRUE(w.server->put_record(bob.key(), bob.roster->make_farewell(), effects));
  ASSERT_TRUE(w.server->put_record(bob.key(), bob.roster->own_record(), effects)) << "leaving twice is leaving once";
  ASSERT_TRUE(w.join(bob, invite));
  ASSERT_TRUE(w.server->put_record(bob.key(), bob.roster->make_farewell(), effects));
  EXPECT_EQ(code(w.ask_to_join(bob, invite)), Code::kExhausted);
}

TEST(ServerParty, AnInviteForAnyNumberIsNeverUsedUp) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice, kInviteUsesMax);
  w.joined("bob", invite);
  EXPECT_EQ(w.server->data().invites.begin()->second.uses_left, kInviteUsesMax);
}

TEST(ServerParty, EachWrongInviteHasItsOwnAnswer) {
  World w;
  Player alice = w.host("alice");
  Player bob = w.player("bob");
  Invite unknown = w.invite(alice);
  unknown.secret = InviteSecret::generate(w.rng);
  EXPECT_EQ(code(w.ask_to_join(bob, unknown)), Code::kNotFound);

  const Invite revoked = w.invite(alice);
  Effects effects;
  ASSERT_TRUE(w.server->revoke_invite(alice.key(), revoked.secret.id(revoked.party), effects));
  EXPECT_EQ(code(w.ask_to_join(bob, revoked)), Code::kRefused);
  EXPECT_EQ(w.ask_to_join(bob, revoked).error().message, "the invite was revoked");

  const Invite brief = w.invite(alice, 5, std::chrono::seconds{60});
  w.now += std::chrono::seconds{60};
  EXPECT_EQ(code(w.ask_to_join(bob, brief)), Code::kExpired) << "at its time, whether or not expire() ran";
  w.server->expire(w.now, effects);
  EXPECT_EQ(code(w.ask_to_join(bob, brief)), Code::kExpired);
  EXPECT_FALSE(w.ask_to_join(bob, brief).error().hint.empty());
}

TEST(ServerParty, RevokingAndExpiringDeleteTheEnvelope) {
  World w;
  Player alice = w.host("alice");
  const Invite a = w.invite(alice), b = w.invite(alice, 5, hours{1});
  Effects effects;
  ASSERT_TRUE(w.server->revoke_invite(alice.key(), a.secret.id(a.party), effects));
  ASSERT_TRUE(w.server->revoke_invite(alice.key(), a.secret.id(a.party), effects)) << "twice is once";
  EXPECT_EQ(w.server->next_expiry(), w.now + hours{1});
  w.now += hours{1};
  w.server->expire(w.now, effects);
  for (const auto& [id, row] : w.server->data().invites) EXPECT_THAT(row.envelope, IsEmpty());
  EXPECT_EQ(code(w.server->revoke_invite(alice.key(), InviteId(), effects)), Code::kNotFound);
  w.now += kOverInviteLifetime + hours{24};
  w.server->expire(w.now, effects);
  EXPECT_THAT(w.server->data().invites, IsEmpty());
  EXPECT_EQ(w.server->next_expiry(), std::nullopt);
}

TEST(ServerParty, OnlyTheOwnerHandlesInvites) {
  World w;
  Player alice = w.host("alice");
  Player bob = w.joined("bob", w.invite(alice));
  Effects effects;
  const InviteRequest request{{}, Bytes(50), 1, w.now + hours{1}};
  EXPECT_EQ(code(w.server->add_invite(w.now, bob.key(), request, effects)), Code::kRefused);
  EXPECT_EQ(code(w.server->list_invites(w.now, bob.key())), Code::kRefused);
  EXPECT_EQ(code(w.server->revoke_invite(bob.key(), InviteId(), effects)), Code::kRefused);
  EXPECT_EQ(w.server->list_invites(w.now, alice.key())->size(), 1u);
  EXPECT_THAT(effects.changes, IsEmpty());
}

TEST(ServerParty, InvitesAreBoundedInNumberUsesAndTime) {
  World w;
  Player alice = w.host("alice");
  Effects effects;
  InviteRequest request{{}, Bytes(50), 0, w.now + hours{1}};
  const auto add = [&] { return w.server->add_invite(w.now, alice.key(), request, effects); };
  EXPECT_EQ(code(add()), Code::kInvalid);
  request.uses = kInviteUsesMax + 1;
  EXPECT_EQ(code(add()), Code::kInvalid);
  request.uses = 1;
  request.expires = w.now;
  EXPECT_EQ(code(add()), Code::kInvalid);
  request.expires = WallTime::max();
  EXPECT_EQ(code(add()), Code::kInvalid);
  request.expires = w.now + hours{1};
  request.envelope.clear();
  EXPECT_EQ(code(add()), Code::kInvalid);
  request.envelope.resize(50);
  for (std::size_t i = 0; i < kInvitesMax; ++i) {
    request.token_hash = w.rng.array<32>();
    ASSERT_TRUE(add());
    ASSERT_TRUE(add()) << "the same again";
  }
  request.token_hash = w.rng.array<32>();
  EXPECT_EQ(code(add()), Code::kExhausted);
}

TEST(ServerParty, DeadInvitesAreForgottenOldestFirst) {
  World w;
  Player alice = w.host("alice");
  Effects effects;
  for (std::size_t i = 0; i < kInvitesKeptMax + 20; ++i) {
    const InviteRequest request{w.rng.array<32>(), Bytes(50), 1, w.now + hours{1}};
    ASSERT_TRUE(w.server->add_invite(w.now, alice.key(), request, effects));
    ASSERT_TRUE(w.server->revoke_invite(alice.key(), invite_id(request.token_hash), effects));
  }
  EXPECT_EQ(w.server->data().invites.size(), kInvitesKeptMax);
}

TEST(ServerParty, NamesAreUniqueWithoutRegardToCase) {
  World w;
  Player alice = w.host("Alice");
  const Invite invite = w.invite(alice);
  EXPECT_EQ(code(w.ask_to_join(w.player("aLICE"), invite)), Code::kConflict);
  Player bob = w.joined("bob", invite);
  ASSERT_TRUE(bob.roster->change_self({.name = "ALICE"}));
  Effects effects;
  EXPECT_EQ(code(w.server->put_record(bob.key(), *bob.roster->unpublished_record(), effects)), Code::kConflict);
  EXPECT_EQ(code(w.ask_to_join(w.player("a\nb"), invite)), Code::kInvalid);
  ASSERT_TRUE(w.server->put_record(alice.key(), alice.roster->make_farewell(), effects));
  EXPECT_TRUE(w.server->put_record(bob.key(), *bob.roster->unpublished_record(), effects)) << "the name is free again";
}

TEST(ServerParty, IsFullAtItsLimit) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice, 1000);
  for (std::size_t i = 1; i < 250; ++i) {
    ASSERT_TRUE(w.ask_to_join(w.player("player" + std::to_string(i)), invite));
  }
  const auto answer = w.ask_to_join(w.player("late"), invite);
  EXPECT_EQ(code(answer), Code::kExhausted);
  EXPECT_EQ(answer.error().message, "the party is full (250 members)");
}

// Who left keeps the address for the party's life: a busy party runs out of them before it is full.
TEST(ServerParty, GivesTheLastAddressAndThenSaysThatThereIsNone) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice, 1000);
  for (int number = 2; number <= 254; ++number) {
    Player guest = w.joined("guest" + std::to_string(number), invite);
    ASSERT_EQ(guest.roster->self().ipv4, IpAddress::v4(10, 66, 7, static_cast<std::uint8_t>(number)));
    Effects effects;
    ASSERT_TRUE(w.server->put_record(guest.key(), guest.roster->make_farewell(), effects));
  }
  const auto answer = w.ask_to_join(w.player("late"), invite);
  EXPECT_EQ(code(answer), Code::kExhausted);
  EXPECT_EQ(answer.error().message, "the party has no address left");
  EXPECT_EQ(exit_code(answer.error().code), 5);
}

TEST(ServerParty, WhoJoinsAndNeverSaysAnythingGivesItsAddressBack) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice);
  Player ghost = w.player("ghost");
  ASSERT_TRUE(w.ask_to_join(ghost, invite));
  EXPECT_EQ(w.server->standing(ghost.key()), Standing::kPending);
  w.now += kPendingLifetime;
  Effects effects;
  w.server->expire(w.now, effects);
  EXPECT_EQ(w.server->standing(ghost.key()), Standing::kStranger);
  EXPECT_EQ(w.joined("bob", invite).roster->self().ipv4.text(), "10.66.7.2");
  EXPECT_EQ(w.server->standing(alice.key()), Standing::kJoined);
}

TEST(ServerParty, RefusesRecordsThatAreNotTheSendersOrNotTrue) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice);
  Player bob = w.joined("bob", invite);
  Player carol = w.joined("carol", invite);
  Effects effects;
  const auto put = [&](const crypto::PublicKey& by, const Bytes& record) {
    return code(w.server->put_record(by, record, effects));
  };
  EXPECT_EQ(put(carol.key(), bob.roster->make_farewell()), Code::kRefused) << "nobody leaves for another";
  EXPECT_EQ(put(bob.key(), Bytes(10)), Code::kInvalid);
  EXPECT_EQ(put(w.player("stranger").key(), bob.roster->own_record()), Code::kRefused);

  const RecordKey key{};
  MemberRecord r = bob.roster->self();
  r.left = false;
  r.version = 1;
  EXPECT_EQ(put(bob.key(), SignedRecord::make(r, bob.identity, key).encoded()), Code::kConflict) << "old version";
  r.version = 10;
  r.ipv4 = alice.roster->self().ipv4;
  EXPECT_EQ(put(bob.key(), SignedRecord::make(r, bob.identity, key).encoded()), Code::kConflict);
  r.ipv4 = bob.roster->self().ipv4;
  r.routes = {IpPrefix::host(alice.roster->self().ipv4)};
  EXPECT_EQ(put(bob.key(), SignedRecord::make(r, bob.identity, key).encoded()), Code::kConflict);
  r.routes.clear();
  Bytes bad = SignedRecord::make(r, bob.identity, key).encoded();
  bad[bad.size() - crypto::kMacSize - 1] ^= 1;
  EXPECT_EQ(put(bob.key(), bad), Code::kRefused) << "bad signature";
  r.epoch = 4;
  EXPECT_EQ(put(bob.key(), SignedRecord::make(r, bob.identity, key).encoded()), Code::kConflict);
  r.epoch = 0;
  r.party = PartyId();
  EXPECT_EQ(put(bob.key(), SignedRecord::make(r, bob.identity, key).encoded()), Code::kRefused);
  EXPECT_THAT(effects.changes, IsEmpty());
}

TEST(ServerParty, AMemberCannotRemoveAnother) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice);
  Player bob = w.joined("bob", invite);
  Player carol = w.joined("carol", invite);
  const Chain chain(alice.roster->genesis());
  StatementsRequest request;
  request.statements = {chain.next(Tombstone{carol.key()}, bob.identity).encode()};
  EXPECT_EQ(code(w.put(bob, request)), Code::kRefused);
  EXPECT_EQ(code(w.put(w.player("stranger"), request)), Code::kRefused);
  EXPECT_EQ(w.server->standing(carol.key()), Standing::kJoined);
  EXPECT_EQ(code(bob.roster->kick(w.now, carol.key(), w.rng)), Code::kRefused);
}

TEST(ServerParty, KickedDeviceCannotComeBackByALiveInvite) {
  World w;
  Player alice = w.host("alice");
  const Invite used = w.invite(alice), other = w.invite(alice);
  Player bob = w.joined("bob", used);
  ASSERT_TRUE(w.kick(alice, bob));
  EXPECT_EQ(w.server->standing(bob.key()), Standing::kKicked);
  EXPECT_EQ(code(w.ask_to_join(bob, other)), Code::kRefused);
  Effects effects;
  EXPECT_EQ(code(w.server->put_record(bob.key(), bob.roster->own_record(), effects)), Code::kRefused);
  EXPECT_EQ(code(w.ask_to_join(w.player("bob2"), used)), Code::kRefused)
      << "nor under a new key by the invite it knows";
  EXPECT_TRUE(w.ask_to_join(w.player("carol"), other));
}

TEST(ServerParty, StatementsSentAgainChangeNothing) {
  World w;
  Player alice = w.host("alice");
  Player bob = w.joined("bob", w.invite(alice));
  w.sync(alice);
  const StatementsRequest request = *alice.roster->kick(w.now, bob.key(), w.rng);
  ASSERT_TRUE(w.put(alice, request));
  const PartyData before = w.server->data();
  ASSERT_TRUE(w.put(alice, request));
  EXPECT_EQ(w.server->data(), before);
  const StatementsRequest stale = *alice.roster->rekey(w.now, w.rng);
  EXPECT_EQ(code(w.put(alice, stale)), Code::kConflict) << "made without knowing of the kick";
}

TEST(ServerParty, NewEpochWaitsWhenSomebodyJoinedMeanwhile) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice);
  w.sync(alice);
  const StatementsRequest request = *alice.roster->rekey(w.now, w.rng);
  Player bob = w.joined("bob", invite);
  EXPECT_EQ(code(w.put(alice, request)), Code::kConflict);
  ASSERT_TRUE(w.rekey(alice));
  w.sync(bob);
  EXPECT_FALSE(bob.roster->missing_secret());
  EXPECT_EQ(bob.roster->epoch(), 1u);
}

TEST(ServerParty, ABundleOtherThanTheSignedOneIsRefused) {
  World w;
  Player alice = w.host("alice");
  Player bob = w.joined("bob", w.invite(alice));
  w.sync(alice);
  StatementsRequest request = *alice.roster->rekey(w.now, w.rng);
  request.bundle = EpochBundle::parse(request.bundle)->split(1)[0].encode();
  EXPECT_EQ(code(w.put(alice, request)), Code::kRefused);
  request.bundle.clear();
  EXPECT_EQ(code(w.put(alice, request)), Code::kInvalid);
  EXPECT_EQ(w.server->epoch(), 0u);
}

TEST(ServerParty, PartyLivesOnWhenItsOwnerLeaves) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice);
  Player bob = w.joined("bob", invite);
  Effects effects;
  ASSERT_TRUE(w.server->put_record(alice.key(), alice.roster->make_farewell(), effects));
  Player carol = w.joined("carol", invite);
  w.sync(bob);
  EXPECT_THAT(bob.names(), ElementsAre("carol"));
  EXPECT_TRUE(World::can_talk(bob, carol));
}

TEST(ServerParty, EveryEventHasTheNextNumberAndSnapshotPlusEventsIsTheWhole) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice);
  Player bob = w.joined("bob", invite);
  const std::uint64_t then = w.server->version();
  bob.take(bob.roster->apply_snapshot(w.server->snapshot()));
  Player carol = w.joined("carol", invite);
  ASSERT_TRUE(w.rekey(alice));
  for (std::size_t i = 0; i < w.log.size(); ++i) EXPECT_EQ(w.log[i].number, i + 1);
  const auto events = w.server->events_since(then);
  ASSERT_TRUE(events);
  for (const PartyEvent& event : *events) bob.take(bob.roster->apply_event(event));
  EXPECT_THAT(bob.names(), ElementsAre("alice", "carol"));
  EXPECT_EQ(bob.roster->epoch(), 1u);
  EXPECT_THAT(bob.refusals(), IsEmpty());
  EXPECT_THAT(*w.server->events_since(w.server->version()), IsEmpty());
  EXPECT_EQ(w.server->events_since(w.server->version() + 1), std::nullopt) << "a number from another life";
}

TEST(ServerParty, OldEventsAreAnsweredByNothingSoThatASnapshotIsSent) {
  World w;
  Player alice = w.host("alice");
  for (std::size_t i = 0; i < kRecentEventsMax + 5; ++i) {
    ASSERT_TRUE(alice.roster->change_self({.name = "alice", .capabilities = static_cast<std::uint32_t>(i)}));
    ASSERT_TRUE(w.publish(alice));
  }
  EXPECT_EQ(w.server->events_since(1), std::nullopt);
  EXPECT_EQ(w.server->events_since(w.server->version() - kRecentEventsMax)->size(), kRecentEventsMax);
  EXPECT_EQ(w.server->events_since(w.server->version() - kRecentEventsMax - 1), std::nullopt);
}

TEST(ServerParty, ChangesRebuildItExactly) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice);
  Player bob = w.joined("bob", invite);
  Player carol = w.joined("carol", invite);
  ASSERT_TRUE(w.kick(alice, carol));
  Effects effects;
  w.server->expire(w.now + hours{48}, effects);
  w.settle(effects);
  EXPECT_EQ(w.store, w.server->data());
  auto restored = ServerParty::restore(w.store);
  ASSERT_TRUE(restored);
  EXPECT_EQ(restored->data(), w.server->data());
  EXPECT_EQ(restored->standing(carol.key()), Standing::kKicked);
  EXPECT_EQ(restored->epoch(), 1u);
  PartyData broken = w.store;
  broken.statements.erase(broken.statements.begin());
  EXPECT_EQ(code(ServerParty::restore(broken)), Code::kFailed);
  broken = w.store;
  broken.bundle.clear();
  EXPECT_EQ(code(ServerParty::restore(broken)), Code::kFailed);
  broken = w.store;
  broken.genesis[5] ^= 1;
  EXPECT_EQ(code(ServerParty::restore(broken)), Code::kFailed);
}

TEST(ServerParty, IsMadeOnlyByWhomTheGenesisNames) {
  World w;
  const Player alice = w.host("alice");
  Effects effects;
  const Bytes& genesis = alice.roster->encoded_genesis();
  EXPECT_EQ(code(ServerParty::create(w.now, w.player("x").key(), "x", genesis, effects)), Code::kRefused);
  EXPECT_EQ(code(ServerParty::create(w.now, alice.key(), "", genesis, effects)), Code::kInvalid);
  EXPECT_EQ(code(ServerParty::create(w.now, alice.key(), "a", Bytes(7), effects)), Code::kInvalid);
  EXPECT_THAT(effects.changes, IsEmpty());
}

TEST(ServerParty, SnapshotTellsOfThoseWhoArePresentAndOfFarewells) {
  World w;
  Player alice = w.host("alice");
  const Invite invite = w.invite(alice);
  Player bob = w.joined("bob", invite), carol = w.joined("carol", invite), dave = w.joined("dave", invite);
  ASSERT_TRUE(w.ask_to_join(w.player("pending"), invite));
  Effects effects;
  ASSERT_TRUE(w.server->put_record(bob.key(), bob.roster->make_farewell(), effects));
  ASSERT_TRUE(w.kick(alice, carol));
  std::vector<std::string> names;
  for (const Bytes& record : w.server->snapshot().records) names.push_back(SignedRecord::parse(record)->record().name);
  EXPECT_THAT(names, UnorderedElementsAre("alice", "bob", "dave"));
}

}  // namespace
}  // namespace lanrage::party
