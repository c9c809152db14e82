// A party as its members see it, with an honest server. hostile_server_test.cc has the other kind.
#include "party/roster.h"

#include "party/test_world.h"

namespace lanrage::party {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

// A party of alice (owner), bob and carol, all up to date.
struct Three : World {
  Player alice = host("alice");
  Invite open = invite(alice);
  Player bob = joined("bob", open);
  Player carol = joined("carol", open);
  Three() {
    sync({&alice, &bob, &carol});
    for (Player* player : {&alice, &bob, &carol}) player->events.clear();
  }
};

TEST(Roster, EverybodySeesEverybodyAndEachPairHasItsOwnKeys) {
  Three w;
  EXPECT_THAT(w.alice.names(), ElementsAre("bob", "carol"));
  EXPECT_THAT(w.bob.names(), ElementsAre("alice", "carol"));
  EXPECT_THAT(w.carol.names(), ElementsAre("alice", "bob"));
  EXPECT_TRUE(World::can_talk(w.alice, w.bob) && World::can_talk(w.bob, w.carol) && World::can_talk(w.carol, w.alice));
  EXPECT_FALSE(crypto::secure_equal(w.alice.roster->pair_keys(w.bob.key())[0].psk.bytes(),
                                    w.alice.roster->pair_keys(w.carol.key())[0].psk.bytes()));
  EXPECT_THAT(w.alice.roster->pair_keys(w.player("x").key()), IsEmpty());
  EXPECT_TRUE(w.alice.roster->is_owner());
  EXPECT_FALSE(w.bob.roster->is_owner());
  EXPECT_EQ(w.bob.roster->owner(), w.alice.key());
  EXPECT_THAT(w.bob.refusals(), IsEmpty());
}

TEST(Roster, TellsOnceWhenSomebodyComesChangesAndGoes) {
  Three w;
  Player dave = w.joined("dave", w.open);
  w.sync(w.alice);
  w.sync(w.alice);
  ASSERT_THAT(w.alice.seen<MemberJoined>(), SizeIs(1));
  EXPECT_EQ(w.alice.seen<MemberJoined>()[0].key, dave.key());
  ASSERT_TRUE(dave.roster->change_self({.name = "david", .hostname = "box", .capabilities = 3}));
  ASSERT_TRUE(w.publish(dave));
  w.sync(w.alice);
  ASSERT_THAT(w.alice.seen<MemberChanged>(), SizeIs(1));
  EXPECT_EQ(w.alice.roster->find("DAVID")->record.record().capabilities, 3u);
  EXPECT_EQ(w.alice.roster->find("dave"), nullptr);
  Effects effects;
  ASSERT_TRUE(w.server->put_record(dave.key(), dave.roster->make_farewell(), effects));
  w.sync(w.alice);
  ASSERT_THAT(w.alice.seen<MemberLeft>(), SizeIs(1));
  EXPECT_EQ(w.alice.seen<MemberLeft>()[0].how, Departure::kLeft);
  EXPECT_EQ(w.alice.roster->find(dave.key()), nullptr);
  EXPECT_THAT(w.alice.refusals(), IsEmpty());
}

TEST(Roster, RejoiningDeviceIsTakenBackEvenAfterItLostItsState) {
  Three w;
  Effects effects;
  ASSERT_TRUE(w.server->put_record(w.bob.key(), w.bob.roster->make_farewell(), effects));
  w.sync(w.alice);
  w.bob.roster.reset();
  ASSERT_TRUE(w.join(w.bob, w.open));
  w.sync(w.alice);
  EXPECT_THAT(w.alice.names(), ElementsAre("bob", "carol"));
  EXPECT_GT(w.bob.roster->self().version, 2u) << "above its farewell, which the snapshot showed";
  EXPECT_THAT(w.alice.refusals(), IsEmpty());
}

TEST(Roster, OwnRecordIsOfferedUntilItIsPublished) {
  Three w;
  EXPECT_EQ(w.bob.roster->unpublished_record(), std::nullopt);
  ASSERT_TRUE(w.bob.roster->change_self({.name = "bob", .routes = {*IpPrefix::parse("10.66.7.77")}}));
  const auto record = w.bob.roster->unpublished_record();
  ASSERT_TRUE(record);
  ASSERT_TRUE(w.bob.roster->change_self({.name = "bob", .routes = {*IpPrefix::parse("10.66.7.78")}}));
  w.bob.roster->mark_published(*record);
  EXPECT_TRUE(w.bob.roster->unpublished_record()) << "an older one was published";
  ASSERT_TRUE(w.publish(w.bob));
  EXPECT_EQ(w.bob.roster->unpublished_record(), std::nullopt);
  EXPECT_FALSE(w.bob.roster->change_self({.name = " "}));
}

TEST(Roster, ARouteMovesFromOneMemberToAnotherInOneSnapshot) {
  Three w;
  const auto with_guest = [](const char* name) {
    return SelfSettings{.name = name, .routes = {*IpPrefix::parse("10.66.7.77")}};
  };
  ASSERT_TRUE(w.carol.roster->change_self(with_guest("carol")));
  ASSERT_TRUE(w.publish(w.carol));
  w.sync(w.alice);
  ASSERT_TRUE(w.carol.roster->change_self({.name = "carol"}));
  ASSERT_TRUE(w.publish(w.carol));
  ASSERT_TRUE(w.bob.roster->change_self(with_guest("bob")));
  ASSERT_TRUE(w.publish(w.bob));
  w.sync(w.alice);
  EXPECT_THAT(w.alice.roster->find(w.bob.key())->record.record().routes, SizeIs(1));
  EXPECT_THAT(w.alice.roster->find(w.carol.key())->record.record().routes, IsEmpty());
  EXPECT_THAT(w.alice.refusals(), IsEmpty());
}

TEST(Roster, KickRemovesAMemberForEverybodyAndChangesTheSecret) {
  Three w;
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  w.sync({&w.bob, &w.carol, &w.alice});
  EXPECT_THAT(w.alice.names(), ElementsAre("bob"));
  EXPECT_THAT(w.bob.names(), ElementsAre("alice"));
  ASSERT_THAT(w.bob.seen<MemberLeft>(), SizeIs(1));
  EXPECT_EQ(w.bob.seen<MemberLeft>()[0].how, Departure::kKicked);
  EXPECT_EQ(w.bob.roster->epoch(), 1u);
  EXPECT_EQ(w.bob.roster->self().epoch, 1u) << "the own record is MACed anew";
  EXPECT_TRUE(World::can_talk(w.alice, w.bob));
  EXPECT_EQ(w.alice.roster->pair_keys(w.bob.key()).front().epoch, 1u);
  EXPECT_EQ(w.alice.roster->pair_keys(w.bob.key()).back().epoch, 0u);
  EXPECT_EQ(w.carol.roster->removed(), Departure::kKicked);
  EXPECT_THAT(w.carol.seen<RemovedSelf>(), SizeIs(1));
  EXPECT_EQ(w.carol.roster->unpublished_record(), std::nullopt);
  EXPECT_THAT(w.bob.refusals(), IsEmpty());
  EXPECT_FALSE(EpochBundle::parse(w.server->data().bundle)->open(w.carol.identity));
}

TEST(Roster, MembersWhoWereAwayCatchUpOverSeveralEpochs) {
  Three w;
  Player dave = w.joined("dave", w.open), erin = w.joined("erin", w.open);
  w.sync({&w.alice, &w.bob, &w.carol, &dave, &erin});
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  w.sync(dave);
  ASSERT_TRUE(w.rekey(w.alice));
  ASSERT_TRUE(w.kick(w.alice, erin));
  EXPECT_TRUE(World::can_talk(w.alice, w.bob)) << "with the epoch both still hold";
  w.sync({&w.bob, &dave, &w.alice, &w.bob});
  EXPECT_THAT(w.bob.names(), ElementsAre("alice", "dave"));
  EXPECT_EQ(w.bob.roster->epoch(), 3u);
  EXPECT_FALSE(w.bob.roster->missing_secret());
  EXPECT_TRUE(World::can_talk(w.bob, dave));
  EXPECT_THAT(w.bob.refusals(), IsEmpty());
  EXPECT_THAT(dave.refusals(), IsEmpty());
}

TEST(Roster, NewcomerSeesThoseWhoAreStillAwayThroughTheSignedList) {
  Three w;
  ASSERT_TRUE(w.rekey(w.alice));  // bob is away and his record is of epoch 0
  Player dave = w.joined("dave", w.open);
  EXPECT_THAT(dave.names(), ElementsAre("alice", "bob", "carol"));
  EXPECT_THAT(dave.refusals(), IsEmpty());
  EXPECT_EQ(dave.roster->epoch(), 1u);
  w.sync({&w.bob, &dave});
  EXPECT_TRUE(World::can_talk(w.bob, dave));
}

TEST(Roster, LiveInvitesWorkInTheNewEpochAndTheKickedOnesInviteDoesNot) {
  Three w;
  const Invite other = w.invite(w.alice);
  Player dave = w.joined("dave", other);
  ASSERT_TRUE(w.kick(w.alice, dave));
  EXPECT_FALSE(w.ask_to_join(w.player("x"), other));
  Player erin = w.joined("erin", w.open);
  w.sync({&w.alice, &w.bob, &erin});
  EXPECT_TRUE(World::can_talk(erin, w.alice) && World::can_talk(erin, w.bob));
  EXPECT_THAT(erin.refusals(), IsEmpty());
}

TEST(Roster, WhoJoinsWhileTheEpochChangesGetsTheNewSecretByTheSameInvite) {
  Three w;
  const Invite once = w.invite(w.alice, 1);
  Player dave = w.player("dave");
  const auto answer = w.ask_to_join(dave, once);
  dave.roster = *Roster::join(dave.identity, once, *answer, {.name = "dave"});
  ASSERT_TRUE(w.rekey(w.alice));
  dave.take(dave.roster->apply_snapshot(w.server->snapshot()));
  EXPECT_TRUE(dave.roster->missing_secret());
  EXPECT_EQ(dave.roster->unpublished_record(), std::nullopt);
  EXPECT_EQ(dave.roster->removed(), std::nullopt);
  ASSERT_TRUE(dave.roster->invite());
  const auto again = w.ask_to_join(dave, *dave.roster->invite());
  ASSERT_TRUE(again);
  ASSERT_TRUE(dave.roster->rejoin(*again));
  EXPECT_FALSE(dave.roster->missing_secret());
  ASSERT_TRUE(w.publish(dave));
  EXPECT_FALSE(dave.roster->invite()) << "not kept once it has served";
  w.sync({&w.alice, &dave});
  EXPECT_TRUE(World::can_talk(w.alice, dave));
}

TEST(Roster, OwnerNeedsNothingButItsStateToHoldAnEpochWhoseAnswerWasLost) {
  Three w;
  w.sync(w.alice);
  const StatementsRequest request = *w.alice.roster->rekey(w.now, w.rng);
  ASSERT_TRUE(w.put(w.alice, request));
  w.alice.roster = *Roster::parse(w.alice.roster->encode(), w.alice.identity);  // kill -9 before the answer
  w.sync(w.alice);
  EXPECT_FALSE(w.alice.roster->missing_secret());
  EXPECT_EQ(w.alice.roster->epoch(), 1u);
  EXPECT_TRUE(w.rekey(w.alice));
}

TEST(Roster, AfterHandoverTheNewOwnerKicksAndTheOldOneCannot) {
  Three w;
  const auto handover = w.alice.roster->handover(w.bob.key());
  ASSERT_TRUE(handover);
  ASSERT_TRUE(w.put(w.alice, *handover));
  w.sync({&w.alice, &w.bob, &w.carol});
  EXPECT_TRUE(w.bob.roster->is_owner());
  EXPECT_FALSE(w.alice.roster->is_owner());
  EXPECT_THAT(w.carol.seen<OwnerChanged>(), SizeIs(1));
  EXPECT_EQ(w.alice.roster->kick(w.now, w.carol.key(), w.rng).error().code, Code::kRefused);
  EXPECT_EQ(w.alice.roster->make_invite(w.now, 1, w.now + hours{1}, w.rng).error().code, Code::kRefused);
  ASSERT_TRUE(w.kick(w.bob, w.alice));
  w.sync({&w.alice, &w.carol});
  EXPECT_EQ(w.alice.roster->removed(), Departure::kKicked);
  EXPECT_THAT(w.carol.names(), ElementsAre("bob"));
  Player dave = w.joined("dave", w.invite(w.bob));
  EXPECT_THAT(dave.names(), ElementsAre("bob", "carol"));
  EXPECT_TRUE(World::can_talk(dave, w.carol) || (w.sync(w.carol), World::can_talk(dave, w.carol)));
  EXPECT_THAT(dave.refusals(), IsEmpty());
}

TEST(Roster, OwnersRefusalsSayWhy) {
  Three w;
  EXPECT_EQ(w.alice.roster->kick(w.now, w.alice.key(), w.rng).error().code, Code::kInvalid);
  EXPECT_EQ(w.alice.roster->kick(w.now, w.player("x").key(), w.rng).error().code, Code::kNotFound);
  EXPECT_EQ(w.alice.roster->handover(w.player("x").key()).error().code, Code::kNotFound);
  EXPECT_EQ(w.bob.roster->rekey(w.now, w.rng).error().code, Code::kRefused);
  EXPECT_EQ(w.alice.roster->make_invite(w.now, 0, w.now + hours{1}, w.rng).error().code, Code::kInvalid);
  EXPECT_EQ(w.alice.roster->make_invite(w.now, 1, w.now, w.rng).error().code, Code::kInvalid);
  EXPECT_EQ(w.alice.roster->make_invite(w.now, 1, WallTime::max(), w.rng).error().code, Code::kInvalid);
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  EXPECT_EQ(w.alice.roster->kick(w.now, w.carol.key(), w.rng).error().code, Code::kConflict);
}

TEST(Roster, OneMemberWhoLeftCanStillBeKicked) {
  Three w;
  Effects effects;
  ASSERT_TRUE(w.server->put_record(w.carol.key(), w.carol.roster->make_farewell(), effects));
  w.sync(w.alice);
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  EXPECT_FALSE(w.ask_to_join(w.carol, w.invite(w.alice)));
}

TEST(Roster, HoldsTheNewestSecretsOnly) {
  Three w;
  for (int i = 0; i < 6; ++i) {
    ASSERT_TRUE(w.rekey(w.alice));
    w.sync(w.bob);
  }
  const auto keys = w.alice.roster->pair_keys(w.bob.key());
  ASSERT_THAT(keys, SizeIs(kEpochsHeldMax));
  EXPECT_EQ(keys.front().epoch, 6u);
  EXPECT_EQ(keys.back().epoch, 3u);
}

// --- between members ---

void exchange(Player& from, Player& to) {
  for (const Bytes& piece : from.roster->export_for(to.key(), to.roster->summary())) {
    EXPECT_LE(piece.size(), kUpdateBytesMax);
    to.take(to.roster->apply_update(piece));
  }
}

TEST(Exchange, HasNothingToSayBetweenEquals) {
  Three w;
  EXPECT_THAT(w.alice.roster->export_for(w.bob.key(), w.bob.roster->summary()), IsEmpty());
  EXPECT_THAT(w.alice.roster->export_for(w.player("x").key(), w.bob.roster->summary()), IsEmpty());
  EXPECT_THAT(w.alice.roster->export_for(w.bob.key(), Bytes(3)), IsEmpty());
}

TEST(Exchange, BringsAMemberUpToDateWithoutAnyServer) {
  Three w;
  Player dave = w.joined("dave", w.open);
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  w.sync({&w.alice, &dave, &w.alice});
  EXPECT_EQ(w.bob.roster->epoch(), 0u);
  exchange(w.alice, w.bob);
  EXPECT_THAT(w.bob.names(), ElementsAre("alice", "dave"));
  EXPECT_EQ(w.bob.roster->epoch(), 1u);
  EXPECT_FALSE(w.bob.roster->missing_secret());
  EXPECT_THAT(w.bob.refusals(), IsEmpty());
  exchange(w.bob, w.alice);  // bob's record of the new epoch
  exchange(w.alice, w.bob);
  EXPECT_THAT(w.alice.roster->export_for(w.bob.key(), w.bob.roster->summary()), IsEmpty());
  EXPECT_THAT(w.bob.roster->export_for(w.alice.key(), w.alice.roster->summary()), IsEmpty());
}

TEST(Exchange, TellsAKickedMemberNothingNew) {
  Three w;
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  EXPECT_THAT(w.alice.roster->export_for(w.carol.key(), w.carol.roster->summary()), IsEmpty());
}

TEST(Exchange, OfALargePartyComesInPiecesThatMayBeLostReorderedAndRepeated) {
  World w;
  Player alice = w.host("alice");
  const Invite open = w.invite(alice, 100);
  Player bob = w.joined("bob", open);
  for (int i = 0; i < 60; ++i) w.joined("player" + std::to_string(i), open);
  w.sync(alice);
  ASSERT_TRUE(w.rekey(alice));
  std::vector<Bytes> pieces = alice.roster->export_for(bob.key(), bob.roster->summary());
  EXPECT_GT(pieces.size(), 10u);
  std::reverse(pieces.begin(), pieces.end());
  for (std::size_t i = 0; i < pieces.size(); i += 2) bob.take(bob.roster->apply_update(pieces[i]));
  for (int round = 0; round < 3; ++round) {
    for (const Bytes& piece : alice.roster->export_for(bob.key(), bob.roster->summary())) {
      bob.take(bob.roster->apply_update(piece));
      bob.take(bob.roster->apply_update(piece));
    }
  }
  EXPECT_EQ(bob.roster->members().size(), 61u);
  EXPECT_FALSE(bob.roster->missing_secret());
}

TEST(Exchange, RefusesMalformedPiecesAndOthersParties) {
  Three w;
  World other(2);
  Player zed = other.host("zed");
  Player yan = other.joined("yan", other.invite(zed));
  other.sync(zed);
  ASSERT_TRUE(other.rekey(zed));
  const auto pieces = zed.roster->export_for(yan.key(), yan.roster->summary());
  ASSERT_THAT(pieces, testing::Not(IsEmpty()));
  w.bob.take(w.bob.roster->apply_update(pieces[0]));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kWrongParty));
  Bytes cut = pieces[0];
  cut.pop_back();
  yan.events.clear();
  yan.take(yan.roster->apply_update(cut));
  yan.take(yan.roster->apply_update(Bytes()));
  yan.take(yan.roster->apply_update(Bytes(kUpdateBytesMax + 1)));
  EXPECT_THAT(yan.refusals(), ElementsAre(Why::kMalformed, Why::kMalformed, Why::kMalformed));
}

// --- state ---

TEST(RosterState, RoundTripsWithEverythingItHolds) {
  Three w;
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  w.sync({&w.bob, &w.alice});
  const Bytes state = w.alice.roster->encode();
  const auto read = Roster::parse(state, w.alice.identity);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->encode(), state);
  w.alice.roster = *read;
  EXPECT_THAT(w.alice.names(), ElementsAre("bob"));
  EXPECT_TRUE(World::can_talk(w.alice, w.bob));
  EXPECT_EQ(w.alice.roster->server(), World::link());
  ASSERT_TRUE(w.rekey(w.alice)) << "with the invites it made before";
  EXPECT_TRUE(w.ask_to_join(w.player("dave"), w.invite(w.alice)));
}

TEST(RosterState, KnowsAfterARestartThatItWasKickedAndByWhichInviteItComes) {
  Three w;
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  w.sync(w.carol);
  EXPECT_EQ(Roster::parse(w.carol.roster->encode(), w.carol.identity)->removed(), Departure::kKicked);
  Player dave = w.player("dave");
  const Invite invite = w.invite(w.alice);
  dave.roster = *Roster::join(dave.identity, invite, *w.ask_to_join(dave, invite), {.name = "dave"});
  const auto read = Roster::parse(dave.roster->encode(), dave.identity);
  ASSERT_TRUE(read && read->invite());
  EXPECT_EQ(read->invite()->text(), invite.text());
}

TEST(RosterState, DamageIsAnErrorWhereverItIs) {
  Three w;
  const Bytes good = w.alice.roster->encode();
  for (std::size_t i = 0; i < good.size(); i += 7) {
    Bytes bad = good;
    bad[i] ^= 0x20;
    const auto read = Roster::parse(bad, w.alice.identity);
    ASSERT_FALSE(read) << i;
    EXPECT_EQ(read.error().code, Code::kInvalid);
    EXPECT_FALSE(Roster::parse(ByteView(good).first(i), w.alice.identity)) << i;
  }
  EXPECT_EQ(Roster::parse(good, w.bob.identity).error().message, "the party's state file is another device's");
}

TEST(RosterState, DamageUnderAGoodChecksumIsAnErrorToo) {
  Three w;
  ASSERT_TRUE(w.rekey(w.alice));
  const Bytes good = w.alice.roster->encode();
  const std::size_t body = good.size() - 16;
  for (std::size_t i = 0; i < body; i += 3) {
    Bytes bad(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(body));
    bad[i] ^= 0xff;
    const crypto::Hash sum = crypto::sha256({as_bytes("lanrage roster v1"), bad});
    append(bad, ByteView(sum).first(16));
    const auto read = Roster::parse(bad, w.alice.identity);
    EXPECT_TRUE(!read || Roster::parse(read->encode(), w.alice.identity)) << "byte " << i << " is data";
  }
}

TEST(Roster, TwoOfOneNameAreToldApartByAddress) {
  // A server that let two through; both know the party's secret.
  Three w;
  ASSERT_TRUE(w.carol.roster->change_self({.name = "BOB"}));
  w.alice.take(w.alice.roster->apply_record(w.carol.roster->own_record()));
  EXPECT_THAT(w.alice.names(), ElementsAre("BOB (10.66.7.3)", "bob"));
  EXPECT_EQ(w.alice.roster->find("bob")->record.record().public_key, w.bob.key());
}

}  // namespace
}  // namespace lanrage::party
