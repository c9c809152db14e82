// A server that does what it likes, sometimes with the help of somebody who was kicked: it gets nowhere, and every
// attempt shows up with its reason.
#include "party/test_world.h"

namespace lanrage::party {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

struct Attack : World {
  Player alice = host("alice");
  Invite open = invite(alice);
  Player bob = joined("bob", open);
  Player carol = joined("carol", open);
  Player mallory = player("mallory");
  Attack() {
    sync({&alice, &bob, &carol});
    for (Player* player : {&alice, &bob, &carol}) player->events.clear();
  }
  // A record as `who` could make it that lacks nothing but the secret, unless one is given.
  MemberRecord draft(const Player& who, const char* address = "10.66.7.66") const {
    MemberRecord r;
    r.party = server->id();
    r.public_key = who.key();
    r.verify_key = who.identity.verify_key();
    r.version = 1;
    r.ipv4 = *IpAddress::parse(address);
    r.name = who.name;
    return r;
  }
  static Bytes signed_by(const Player& who, const MemberRecord& r, const PartySecret& secret = PartySecret()) {
    return SignedRecord::make(r, who.identity, secret.record_key(r.party)).encoded();
  }
  // The secret of an epoch, as any member of that time has it: here out of a fresh envelope.
  PartySecret secret_of(const Player& member) {
    return *EpochBundle::parse(server->data().bundle)->open(member.identity);
  }
  // What an invite of epoch 0 tells whoever holds it.
  PartySecret first_secret() const {
    for (const auto& [id, row] : server->data().invites) {
      if (const auto contents = InviteContents::open(open.party, open.secret.wrap_key(open.party), row.envelope)) {
        return contents->secret;
      }
    }
    return {};
  }
  void expect_unmoved(const Player& player) {
    EXPECT_EQ(player.roster->members().size(), 2u);
    EXPECT_EQ(player.seen<MemberJoined>().size(), 0u);
    EXPECT_EQ(player.seen<MemberLeft>().size(), 0u);
  }
};

TEST(HostileServer, InsertsAMember) {
  Attack w;
  w.bob.take(w.bob.roster->apply_record(Attack::signed_by(w.mallory, w.draft(w.mallory))));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kBadMac));
  EXPECT_EQ(w.bob.seen<Refused>()[0].who, w.mallory.key());
  EXPECT_EQ(w.bob.seen<Refused>()[0].what, "record of 10.66.7.66");
  w.expect_unmoved(w.bob);
}

TEST(HostileServer, ForgesAMembersRecord) {
  Attack w;
  Bytes record = w.carol.roster->own_record();
  record[record.size() - crypto::kMacSize - 3] ^= 1;
  MemberRecord changed = w.carol.roster->self();
  changed.version += 1;
  changed.name = "carla";
  SignedRecord original = *SignedRecord::parse(w.carol.roster->own_record());
  Bytes renamed = original.encoded();
  const auto at = std::search(renamed.begin(), renamed.end(), changed.name.begin(), changed.name.begin() + 3);
  ASSERT_NE(at, renamed.end());
  at[3] = 'l';
  w.bob.take(w.bob.roster->apply_record(record));
  w.bob.take(w.bob.roster->apply_record(renamed));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kBadSignature, Why::kBadSignature));
  EXPECT_EQ(w.bob.roster->find(w.carol.key())->name, "carol");
  w.expect_unmoved(w.bob);
}

TEST(HostileServer, ReplaysAnOlderRecord) {
  Attack w;
  const Bytes old = w.carol.roster->own_record();
  ASSERT_TRUE(w.carol.roster->change_self({.name = "caroline"}));
  ASSERT_TRUE(w.publish(w.carol));
  w.sync(w.bob);
  w.bob.take(w.bob.roster->apply_record(old));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kReplayed));
  EXPECT_EQ(w.bob.roster->find(w.carol.key())->name, "caroline");
}

TEST(HostileServer, ReplaysTheRecordOfSomebodyWhoLeft) {
  Attack w;
  const Bytes old = w.carol.roster->own_record();
  Effects effects;
  ASSERT_TRUE(w.server->put_record(w.carol.key(), w.carol.roster->make_farewell(), effects));
  w.sync(w.bob);
  w.bob.take(w.bob.roster->apply_record(old));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kReplayed));
  EXPECT_EQ(w.bob.roster->find(w.carol.key()), nullptr);
}

TEST(HostileServer, ReplacesTheSigningKeyOfAMember) {
  Attack w;
  MemberRecord r = w.draft(w.mallory, "10.66.7.3");
  r.public_key = w.carol.key();
  r.version = 9;
  // Signed by mallory's key, as it says, over carol's X25519 key.
  const PartySecret secret = w.first_secret();
  MemberRecord own = r;
  own.public_key = w.mallory.key();
  Bytes record = Attack::signed_by(w.mallory, own, secret);
  std::copy(r.public_key.bytes().begin(), r.public_key.bytes().end(), record.begin() + 1 + PartyId::kSize);
  record.resize(record.size() - crypto::kMacSize - crypto::kSignatureSize);
  Bytes text = to_bytes(as_bytes("lanrage record v1"));
  append(text, record);
  append(record, w.mallory.identity.sign(text));
  const crypto::Hash mac =
      crypto::hmac_sha256(secret.record_key(r.party).bytes(), {as_bytes("lanrage record v1"), record});
  append(record, ByteView(mac).first(crypto::kMacSize));
  const auto parsed = SignedRecord::parse(record);
  ASSERT_TRUE(parsed && parsed->signature_valid() && parsed->mac_valid(secret.record_key(r.party)));
  w.bob.take(w.bob.roster->apply_record(record));
  w.carol.take(w.carol.roster->apply_record(record));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kKeyReplaced));
  EXPECT_THAT(w.carol.refusals(), ElementsAre(Why::kKeyReplaced)) << "the victim sees it too";
  EXPECT_EQ(w.bob.roster->find(w.carol.key())->record.record().verify_key, w.carol.identity.verify_key());
}

TEST(HostileServer, ReplacesTheTunnelKeyOfAMember) {
  Attack w;
  // Even carol herself, with the party's secret, cannot put another X25519 key beside her signing key.
  MemberRecord r = w.draft(w.carol, "10.66.7.66");
  Bytes record = Attack::signed_by(w.carol, r, w.first_secret());
  std::copy(w.mallory.key().bytes().begin(), w.mallory.key().bytes().end(), record.begin() + 1 + PartyId::kSize);
  w.bob.take(w.bob.roster->apply_record(record));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kBadSignature));
  w.expect_unmoved(w.bob);
}

TEST(HostileServer, GivesOneAddressTwice) {
  Attack w;
  const PartySecret secret = w.first_secret();
  for (const char* address : {"10.66.7.3", "10.66.7.2"}) {  // carol's, and bob's own
    w.bob.take(w.bob.roster->apply_record(Attack::signed_by(w.mallory, w.draft(w.mallory, address), secret)));
  }
  MemberRecord route = w.draft(w.mallory);
  route.routes = {IpPrefix::host(w.carol.roster->self().ipv6())};
  w.bob.take(w.bob.roster->apply_record(Attack::signed_by(w.mallory, route, secret)));
  MemberRecord outside = w.draft(w.mallory, "10.66.8.3");
  w.bob.take(w.bob.roster->apply_record(Attack::signed_by(w.mallory, outside, secret)));
  MemberRecord moved = w.carol.roster->self();
  moved.version += 1;
  moved.ipv4 = *IpAddress::parse("10.66.7.9");
  w.bob.take(w.bob.roster->apply_record(Attack::signed_by(w.carol, moved, secret)));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kAddressTaken, Why::kAddressTaken, Why::kAddressTaken,
                                            Why::kAddressInvalid, Why::kAddressChanged));
  w.expect_unmoved(w.bob);
}

TEST(HostileServer, GivesTheAddressOfSomebodyWhoLeftToAnother) {
  Attack w;
  const PartySecret secret = w.first_secret();
  Effects effects;
  ASSERT_TRUE(w.server->put_record(w.carol.key(), w.carol.roster->make_farewell(), effects));
  w.sync(w.bob);
  w.bob.take(w.bob.roster->apply_record(Attack::signed_by(w.mallory, w.draft(w.mallory, "10.66.7.3"), secret)));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kAddressTaken));
}

TEST(HostileServer, ForgesAnEpoch) {
  Attack w;
  const PartySecret own = PartySecret::generate(w.rng);
  const EpochBundle bundle = EpochBundle::seal(
      w.server->id(), 1, own, {{w.bob.key(), w.bob.identity.verify_key()}, {w.mallory.key(), {}}}, w.rng);
  const Chain chain(w.alice.roster->genesis());
  const EpochStart start{1, bundle.members_hash(), own.commitment(w.server->id(), 1)};
  w.bob.take(w.bob.roster->apply_statements({chain.next(start, w.mallory.identity).encode()}, bundle.encode()));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kNotOwner, Why::kUnknownEpoch));
  EXPECT_EQ(w.bob.roster->epoch(), 0u);
  EXPECT_FALSE(w.bob.roster->missing_secret());
}

TEST(HostileServer, ExchangesTheSecretOrTheListOfARealEpoch) {
  Attack w;
  w.sync(w.alice);
  const StatementsRequest real = *w.alice.roster->rekey(w.now, w.rng);
  const EpochBundle good = *EpochBundle::parse(real.bundle);
  const PartySecret own = PartySecret::generate(w.rng);
  const std::vector<EpochMember> members = {{w.alice.key(), w.alice.identity.verify_key()},
                                            {w.bob.key(), w.bob.identity.verify_key()},
                                            {w.carol.key(), w.carol.identity.verify_key()}};
  const EpochBundle other_secret = EpochBundle::seal(w.server->id(), 1, own, members, w.rng);
  ASSERT_EQ(other_secret.members_hash(), good.members_hash());
  w.bob.take(w.bob.roster->apply_statements(real.statements, other_secret.encode()));
  EXPECT_TRUE(w.bob.roster->missing_secret());
  auto more = members;
  more.push_back({w.mallory.key(), w.mallory.identity.verify_key()});
  w.bob.take(w.bob.roster->apply_statements({}, EpochBundle::seal(w.server->id(), 1, own, more, w.rng).encode()));
  w.bob.take(w.bob.roster->apply_statements({}, Bytes(30)));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kForgedEpoch, Why::kForgedEpoch, Why::kMalformed));
  w.bob.take(w.bob.roster->apply_statements({}, real.bundle));
  EXPECT_FALSE(w.bob.roster->missing_secret()) << "the real one still counts";
  EXPECT_EQ(w.bob.roster->self().epoch, 1u);
}

TEST(HostileServer, ServesAnOldSnapshot) {
  Attack w;
  const PartySnapshot old = w.server->snapshot();
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  w.sync(w.bob);
  w.bob.events.clear();
  w.bob.take(w.bob.roster->apply_snapshot(old));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kOldSnapshot, Why::kReplayed)) << "the other is alice's old record";
  ASSERT_TRUE(w.carol.roster->change_self({.name = "carol"}));
  w.bob.take(w.bob.roster->apply_record(w.carol.roster->own_record()));
  EXPECT_EQ(w.bob.refusals().back(), Why::kTombstoned);
  EXPECT_THAT(w.bob.names(), ElementsAre("alice"));
  EXPECT_EQ(w.bob.roster->epoch(), 1u);
}

TEST(HostileServer, ServesANewcomerAStateFromBeforeItsInvite) {
  Attack w;
  const PartySnapshot old = w.server->snapshot();
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  const Invite later = w.invite(w.alice);
  Player dave = w.player("dave");
  dave.roster = *Roster::join(dave.identity, later, *w.ask_to_join(dave, later), {.name = "dave"});
  dave.take(dave.roster->apply_snapshot(old));
  EXPECT_THAT(dave.refusals(), ElementsAre(Why::kOldSnapshot));
  EXPECT_THAT(dave.roster->members(), IsEmpty()) << "carol among them would be a kicked one";
  w.sync(dave);
  EXPECT_THAT(dave.names(), ElementsAre("alice", "bob"));
}

TEST(HostileServer, DropsATombstone) {
  Attack w;
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  PartySnapshot snapshot = w.server->snapshot();
  snapshot.statements.erase(snapshot.statements.begin());
  snapshot.records.push_back(w.carol.roster->own_record());
  w.bob.take(w.bob.roster->apply_snapshot(snapshot));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kGap, Why::kUnknownEpoch, Why::kUnknownEpoch));
  EXPECT_EQ(w.bob.roster->epoch(), 0u);
  w.bob.events.clear();
  w.sync(w.bob);
  EXPECT_THAT(w.bob.names(), ElementsAre("alice"));
}

TEST(HostileServer, WithAKickedMembersSecretInsertsAnother) {
  Attack w;
  const PartySecret known_to_carol = w.first_secret();
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  w.sync(w.bob);
  w.bob.events.clear();
  const Bytes record = Attack::signed_by(w.mallory, w.draft(w.mallory), known_to_carol);
  w.bob.take(w.bob.roster->apply_record(record));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kSuperseded));
  MemberRecord newer = w.draft(w.mallory);
  newer.epoch = 1;
  w.bob.take(w.bob.roster->apply_record(Attack::signed_by(w.mallory, newer, known_to_carol)));
  newer.epoch = 2;
  w.bob.take(w.bob.roster->apply_record(Attack::signed_by(w.mallory, newer, known_to_carol)));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kSuperseded, Why::kBadMac, Why::kUnknownEpoch));
  EXPECT_THAT(w.bob.names(), ElementsAre("alice"));
}

TEST(HostileServer, WithAKickedMembersSecretInsertsAnotherBeforeANewcomersEyes) {
  Attack w;
  const PartySecret known_to_carol = w.first_secret();
  const Invite later = w.invite(w.alice);
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  Player dave = w.joined("dave", later);
  dave.take(dave.roster->apply_record(Attack::signed_by(w.mallory, w.draft(w.mallory), known_to_carol)));
  dave.take(dave.roster->apply_record(w.carol.roster->own_record()));
  EXPECT_THAT(dave.refusals(), ElementsAre(Why::kSuperseded, Why::kTombstoned));
  EXPECT_THAT(dave.names(), ElementsAre("alice", "bob"));
}

TEST(HostileServer, ForksTheChainOrSpeaksInTheOwnersName) {
  Attack w;
  const Chain chain(w.alice.roster->genesis());
  ASSERT_TRUE(w.kick(w.alice, w.carol));
  w.sync(w.bob);
  w.bob.events.clear();
  const Bytes other = chain.next(Tombstone{w.bob.key()}, w.alice.identity).encode();  // the owner's, of another branch
  const Bytes takeover =
      w.bob.roster->genesis().hash() == chain.head()
          ? chain.next(Handover{w.mallory.identity.verify_key(), w.mallory.key()}, w.mallory.identity).encode()
          : Bytes();
  for (const Bytes& statement : {other, takeover, Bytes(5)}) {
    w.bob.take(w.bob.roster->apply_statements({statement}, {}));
  }
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kOutOfChain, Why::kOutOfChain, Why::kMalformed));
  EXPECT_EQ(w.bob.roster->removed(), std::nullopt);
  EXPECT_EQ(w.bob.roster->owner(), w.alice.key());
}

TEST(HostileServer, AnswersAJoinWithAnotherPartyOrAForgedEnvelope) {
  Attack w;
  World second(2);
  Player zed = second.host("zed");
  const Invite theirs = second.invite(zed);
  const auto refused = [&](const Invite& invite, const JoinAnswer& answer) {
    const auto roster = Roster::join(w.mallory.identity, invite, answer, {.name = "mallory"});
    EXPECT_FALSE(roster);
    return !roster && roster.error().code == Code::kRefused;
  };
  const JoinAnswer good = *w.ask_to_join(w.mallory, w.open);
  JoinAnswer bad = good;
  bad.envelope = second.ask_to_join(w.mallory, theirs)->envelope;
  EXPECT_TRUE(refused(w.open, bad));
  bad = good;
  bad.envelope[40] ^= 1;
  EXPECT_TRUE(refused(w.open, bad));
  bad = good;
  bad.ipv4 = *IpAddress::parse("192.168.1.1");
  EXPECT_TRUE(refused(w.open, bad));
  // Whoever holds the invite can seal envelopes, but has neither another genesis nor another secret to put inside.
  InviteContents contents = *InviteContents::open(w.open.party, w.open.secret.wrap_key(w.open.party), good.envelope);
  contents.secret = PartySecret::generate(w.rng);
  bad = {good.ipv4, contents.seal(w.open.party, w.open.secret.wrap_key(w.open.party), w.rng)};
  EXPECT_TRUE(refused(w.open, bad));
  contents.genesis = zed.roster->encoded_genesis();
  bad = {good.ipv4, contents.seal(w.open.party, w.open.secret.wrap_key(w.open.party), w.rng)};
  EXPECT_TRUE(refused(w.open, bad));
  EXPECT_TRUE(Roster::join(w.mallory.identity, w.open, good, {.name = "mallory"}));
}

TEST(HostileServer, SealsAForgedSecretOfALaterEpochIntoAnInvite) {
  Attack w;
  ASSERT_TRUE(w.rekey(w.alice));
  const JoinAnswer good = *w.ask_to_join(w.mallory, w.open);
  InviteContents contents = *InviteContents::open(w.open.party, w.open.secret.wrap_key(w.open.party), good.envelope);
  contents.secret = PartySecret::generate(w.rng);
  const JoinAnswer bad{good.ipv4, contents.seal(w.open.party, w.open.secret.wrap_key(w.open.party), w.rng)};
  w.mallory.roster = *Roster::join(w.mallory.identity, w.open, bad, {.name = "mallory"});
  w.mallory.take(w.mallory.roster->apply_snapshot(w.server->snapshot()));
  EXPECT_THAT(w.mallory.refusals(), Contains(Why::kForgedEpoch));
  EXPECT_TRUE(w.mallory.roster->missing_secret());
  ASSERT_TRUE(w.mallory.roster->rejoin(good));
  EXPECT_FALSE(w.mallory.roster->missing_secret());
}

TEST(HostileServer, OffersAnotherPartyUnderThisOnesName) {
  Attack w;
  World second(2);
  Player zed = second.host("zed");
  w.bob.take(w.bob.roster->apply_snapshot(second.server->snapshot()));
  w.bob.take(w.bob.roster->apply_record(zed.roster->own_record()));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kWrongParty, Why::kWrongParty));
  w.expect_unmoved(w.bob);
}

TEST(HostileServer, SendsALowOrderKeyOrRubbish) {
  Attack w;
  w.bob.take(w.bob.roster->apply_record(Bytes()));
  w.bob.take(w.bob.roster->apply_record(Bytes(5000, 1)));
  EXPECT_THAT(w.bob.refusals(), ElementsAre(Why::kMalformed, Why::kMalformed));
}

TEST(Why, EveryReasonHasItsOwnNameAndText) {
  std::set<std::string> names, texts;
  for (int i = 0; i <= static_cast<int>(Why::kTooMany); ++i) {
    names.insert(why_name(static_cast<Why>(i)));
    texts.insert(why_text(static_cast<Why>(i)));
  }
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Why::kTooMany) + 1);
  EXPECT_EQ(texts.size(), names.size());
}

}  // namespace
}  // namespace lanrage::party
