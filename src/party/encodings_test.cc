// Genesis, records, statements, bundles and invites: what is made can be read, and nothing else can.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "party/invite.h"
#include "party/ipam.h"
#include "party/record.h"
#include "party/statement.h"

namespace lanrage::party {
namespace {

struct Made {
  SeededRng rng{7};
  Identity owner = Identity::generate(rng);
  Identity other = Identity::generate(rng);
  PartySecret secret = PartySecret::generate(rng);
  Genesis genesis;
  PartyId id;

  Made() {
    genesis.owner_verify_key = owner.verify_key();
    genesis.owner_public_key = owner.public_key();
    genesis.nonce = rng.array<16>();
    genesis.prefix = *IpPrefix::parse("10.66.7.0/24");
    genesis.name = "friday";
    id = genesis.id();
    genesis.commitment = secret.commitment(id, 0);
  }
  MemberRecord record() const {
    MemberRecord r;
    r.party = id;
    r.public_key = other.public_key();
    r.verify_key = other.verify_key();
    r.version = 3;
    r.capabilities = 5;
    r.ipv4 = *IpAddress::parse("10.66.7.9");
    r.name = "bob";
    r.hostname = "bobs-desk";
    r.routes = {*IpPrefix::parse("10.66.7.40/32"), IpPrefix::host(ula_address(id, owner.public_key()))};
    return r;
  }
};

// Every single flipped bit and every cut must be noticed by `accepts`.
template <class Accepts>
void expect_no_other_form(const Bytes& good, Accepts accepts) {
  ASSERT_TRUE(accepts(good));
  for (std::size_t i = 0; i < good.size(); ++i) {
    Bytes bad = good;
    bad[i] ^= static_cast<std::uint8_t>(1u << (i % 8));
    EXPECT_FALSE(accepts(bad)) << "byte " << i;
    EXPECT_FALSE(accepts(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(i)))) << "cut at " << i;
  }
  Bytes longer = good;
  longer.push_back(0);
  EXPECT_FALSE(accepts(longer));
}

TEST(Identity, SameSeedSameKeysAndTheTwoKeysAreUnrelated) {
  SeededRng rng(1);
  const Identity a = Identity::generate(rng);
  const Identity again(a.seed());
  EXPECT_EQ(a.public_key(), again.public_key());
  EXPECT_EQ(a.verify_key(), again.verify_key());
  EXPECT_NE(a.public_key().base64(), a.verify_key().base64());
  EXPECT_TRUE(crypto::verify(a.verify_key(), as_bytes("x"), again.sign(as_bytes("x"))));
}

TEST(Genesis, RoundTripsAndNothingElsePasses) {
  const Made made;
  const Bytes encoded = made.genesis.sign(made.owner);
  EXPECT_EQ(Genesis::parse(encoded), made.genesis);
  expect_no_other_form(encoded, [](const Bytes& b) { return Genesis::parse(b).has_value(); });
}

TEST(Genesis, RefusesNetworksThatWouldCaptureOthers) {
  Made made;
  for (const char* prefix : {"0.0.0.0/1", "10.66.0.0/16", "192.168.1.0/24", "10.66.7.1/24"}) {
    made.genesis.prefix = *IpPrefix::parse(prefix);
    EXPECT_FALSE(Genesis::parse(made.genesis.sign(made.owner))) << prefix;
  }
}

TEST(PartyId, BindsTheOwnersKey) {
  Made made;
  Genesis stolen = made.genesis;
  stolen.owner_verify_key = made.other.verify_key();
  EXPECT_NE(stolen.id(), made.id);
  EXPECT_EQ(PartyId::parse(made.id.text()), made.id);
  EXPECT_EQ(made.id.text().size(), 32u);
}

TEST(Record, RoundTripsAndNothingElsePasses) {
  const Made made;
  const RecordKey key = made.secret.record_key(made.id);
  const SignedRecord signed_record = SignedRecord::make(made.record(), made.other, key);
  const auto parsed = SignedRecord::parse(signed_record.encoded());
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->record(), made.record());
  expect_no_other_form(signed_record.encoded(), [&](const Bytes& b) {
    const auto r = SignedRecord::parse(b);
    return r && r->signature_valid() && r->mac_valid(key);
  });
}

TEST(Record, WithoutThePartysSecretHasNoValidMac) {
  Made made;
  const SignedRecord forged =
      SignedRecord::make(made.record(), made.other, PartySecret::generate(made.rng).record_key(made.id));
  EXPECT_TRUE(forged.signature_valid());
  EXPECT_FALSE(forged.mac_valid(made.secret.record_key(made.id)));
}

TEST(Record, ChecksAddressesAndRoutesAgainstTheParty) {
  const Made made;
  EXPECT_EQ(made.record().check(made.genesis), std::nullopt);
  const auto with = [&](auto change) {
    MemberRecord r = made.record();
    change(r);
    return r.check(made.genesis);
  };
  EXPECT_EQ(with([](auto& r) { r.ipv4 = *IpAddress::parse("10.66.8.9"); }), Why::kAddressInvalid);
  EXPECT_EQ(with([](auto& r) { r.ipv4 = *IpAddress::parse("10.66.7.255"); }), Why::kAddressInvalid);
  EXPECT_EQ(with([](auto& r) { r.routes = {*IpPrefix::parse("192.168.0.0/16")}; }), Why::kAddressInvalid);
  EXPECT_EQ(with([](auto& r) { r.routes = {*IpPrefix::parse("10.66.7.0/24")}; }), Why::kAddressInvalid);
  EXPECT_EQ(with([](auto& r) { r.routes = {*IpPrefix::parse("8000::/1")}; }), Why::kAddressInvalid);
  EXPECT_EQ(with([](auto& r) { r.party = PartyId(); }), Why::kWrongParty);
}

TEST(Record, RefusesNonCanonicalRoutesAndBadNames) {
  const Made made;
  const auto parses = [&](auto change) {
    MemberRecord r = made.record();
    change(r);
    return SignedRecord::parse(SignedRecord::make(r, made.other, RecordKey()).encoded()).has_value();
  };
  EXPECT_TRUE(parses([](auto&) {}));
  EXPECT_FALSE(parses([](auto& r) { std::swap(r.routes[0], r.routes[1]); }));
  EXPECT_FALSE(parses([](auto& r) { r.routes[1] = r.routes[0]; }));
  EXPECT_FALSE(parses([](auto& r) { r.routes[0].length = 24; }));
  EXPECT_FALSE(parses([](auto& r) { r.routes[0].length = 0; }));
  EXPECT_FALSE(parses([](auto& r) { r.routes.assign(kRoutesMax + 1, r.routes[0]); }));
  EXPECT_FALSE(parses([](auto& r) { r.name = "a\x1b[2J"; }));
  EXPECT_FALSE(parses([](auto& r) { r.name = ""; }));
  EXPECT_FALSE(parses([](auto& r) { r.hostname = "a;b"; }));
  EXPECT_FALSE(parses([](auto& r) { r.version = 0; }));
  EXPECT_FALSE(parses([](auto& r) { r.version = kRecordVersionMax + 1; }));
}

TEST(Statement, EveryKindRoundTripsAndNothingElsePasses) {
  const Made made;
  const Chain chain(made.genesis);
  for (const StatementBody& body :
       {StatementBody(Tombstone{made.other.public_key()}), StatementBody(EpochStart{1, {}, {}}),
        StatementBody(Handover{made.other.verify_key(), made.other.public_key()})}) {
    const Statement statement = chain.next(body, made.owner);
    EXPECT_EQ(Statement::parse(statement.encode()), statement);
    expect_no_other_form(statement.encode(), [&](const Bytes& b) {
      const auto s = Statement::parse(b);
      return s && s->signed_by(made.owner.verify_key());
    });
  }
}

TEST(Chain, TakesTheOwnersStatementsInOrderOnly) {
  const Made made;
  Chain chain(made.genesis);
  const Statement first = chain.next(Tombstone{made.other.public_key()}, made.owner);
  Chain ahead = chain;
  ASSERT_EQ(ahead.append(first), std::nullopt);
  const Statement second = ahead.next(EpochStart{1, {}, {}}, made.owner);
  EXPECT_EQ(chain.append(second), Why::kGap);
  EXPECT_EQ(chain.append(first), std::nullopt);
  EXPECT_TRUE(chain.tombstoned(made.other.public_key()));
  EXPECT_EQ(chain.append(first), Why::kOutOfChain);
  EXPECT_TRUE(chain.contains(first));
  EXPECT_EQ(chain.append(second), std::nullopt);
  EXPECT_EQ(chain.epoch(), 1u);
  EXPECT_EQ(chain.commitment_of(0), made.genesis.commitment);
}

TEST(Chain, RefusesWhatTheOwnerDidNotSign) {
  const Made made;
  Chain chain(made.genesis);
  EXPECT_EQ(chain.append(chain.next(Tombstone{made.owner.public_key()}, made.other)), Why::kNotOwner);
  EXPECT_EQ(chain.append(chain.next(EpochStart{1, {}, {}}, made.other)), Why::kNotOwner);
  EXPECT_EQ(chain.length(), 0u);
}

TEST(Chain, RefusesAStatementWithItsPredecessorLeftOut) {
  const Made made;
  Chain whole(made.genesis);
  ASSERT_EQ(whole.append(whole.next(Tombstone{made.other.public_key()}, made.owner)), std::nullopt);
  Statement next = whole.next(EpochStart{1, {}, {}}, made.owner);
  next.sequence = 1;  // the server renumbers to hide the tombstone
  Chain chain(made.genesis);
  EXPECT_EQ(chain.append(next), Why::kOutOfChain);
}

TEST(Chain, RefusesSignedNonsenseAndStatementsOfOtherParties) {
  Made made;
  Chain chain(made.genesis);
  EXPECT_EQ(chain.append(chain.next(EpochStart{2, {}, {}}, made.owner)), Why::kMalformed);
  EXPECT_EQ(chain.append(chain.next(Tombstone{made.owner.public_key()}, made.owner)), Why::kMalformed);
  Genesis second = made.genesis;
  second.nonce = made.rng.array<16>();
  EXPECT_EQ(chain.append(Chain(second).next(EpochStart{1, {}, {}}, made.owner)), Why::kWrongParty);
}

TEST(Chain, AfterAHandoverOnlyTheNewOwnerSpeaks) {
  const Made made;
  Chain chain(made.genesis);
  ASSERT_EQ(chain.append(chain.next(Handover{made.other.verify_key(), made.other.public_key()}, made.owner)),
            std::nullopt);
  EXPECT_EQ(chain.owner_public_key(), made.other.public_key());
  EXPECT_EQ(chain.append(chain.next(EpochStart{1, {}, {}}, made.owner)), Why::kNotOwner);
  EXPECT_EQ(chain.append(chain.next(Tombstone{made.owner.public_key()}, made.other)), std::nullopt);
  EXPECT_EQ(chain.append(chain.next(Handover{made.owner.verify_key(), made.owner.public_key()}, made.other)),
            Why::kTombstoned);
}

TEST(PairKeys, AreTheSameAtBothEndsAndDifferByPairAndEpochSecret) {
  Made made;
  const Identity third = Identity::generate(made.rng);
  const auto at = [&](const Identity& me, const Identity& them, const PartySecret& secret) {
    return pair_keys(made.id, 2, secret, *crypto::x25519(me.private_key(), them.public_key()), me.public_key(),
                     them.public_key());
  };
  const PairKeys here = at(made.owner, made.other, made.secret);
  const PairKeys there = at(made.other, made.owner, made.secret);
  EXPECT_TRUE(crypto::secure_equal(here.psk.bytes(), there.psk.bytes()));
  EXPECT_TRUE(crypto::secure_equal(here.probe.bytes(), there.probe.bytes()));
  EXPECT_TRUE(crypto::secure_equal(here.signal.bytes(), there.signal.bytes()));
  EXPECT_FALSE(crypto::secure_equal(here.probe.bytes(), here.signal.bytes()));
  for (const PairKeys& different :
       {at(made.owner, third, made.secret), at(made.owner, made.other, PartySecret::generate(made.rng))}) {
    EXPECT_FALSE(crypto::secure_equal(here.psk.bytes(), different.psk.bytes()));
    EXPECT_FALSE(crypto::secure_equal(here.probe.bytes(), different.probe.bytes()));
  }
}

TEST(EpochBundle, OpensForEachListedMemberAndNobodyElse) {
  Made made;
  const Identity outsider = Identity::generate(made.rng);
  const std::vector<EpochMember> members = {{made.owner.public_key(), made.owner.verify_key()},
                                            {made.other.public_key(), made.other.verify_key()}};
  const EpochBundle bundle = EpochBundle::seal(made.id, 1, made.secret, members, made.rng);
  EXPECT_EQ(EpochBundle::parse(bundle.encode()), bundle);
  for (const Identity* member : {&made.owner, &made.other}) {
    const auto secret = bundle.open(*member);
    ASSERT_TRUE(secret);
    EXPECT_EQ(secret->commitment(made.id, 1), made.secret.commitment(made.id, 1));
  }
  EXPECT_FALSE(bundle.open(outsider));
  EpochBundle other_epoch = bundle;
  other_epoch.epoch = 2;
  EXPECT_FALSE(other_epoch.open(made.other));
  EpochBundle broken = bundle;
  broken.entries[0].sealed[3] ^= 1;
  broken.entries[1].sealed[3] ^= 1;
  EXPECT_FALSE(broken.open(made.other));
}

TEST(EpochBundle, SplitsIntoPartsThatMergeInAnyOrder) {
  Made made;
  std::vector<EpochMember> members;
  for (int i = 0; i < 7; ++i) {
    const Identity member = Identity::generate(made.rng);
    members.push_back({member.public_key(), member.verify_key()});
  }
  const EpochBundle whole = EpochBundle::seal(made.id, 1, made.secret, members, made.rng);
  std::vector<EpochBundle> parts = whole.split(3);
  ASSERT_EQ(parts.size(), 3u);
  EpochBundle together = parts[2];
  EXPECT_TRUE(together.merge(parts[0]));
  EXPECT_TRUE(together.merge(parts[0]));
  EXPECT_NE(together.members_hash(), whole.members_hash());
  EXPECT_TRUE(together.merge(parts[1]));
  EXPECT_EQ(together, whole);
  EXPECT_FALSE(together.merge(EpochBundle::seal(made.id, 1, made.secret, members, made.rng))) << "another sealing";
}

TEST(EpochBundle, ParserRefusesDisorderDoublesAndCuts) {
  Made made;
  EpochBundle bundle = EpochBundle::seal(
      made.id, 1, made.secret,
      {{made.owner.public_key(), made.owner.verify_key()}, {made.other.public_key(), made.other.verify_key()}},
      made.rng);
  const Bytes good = bundle.encode();
  for (std::size_t cut = 0; cut < good.size(); ++cut) {
    EXPECT_FALSE(EpochBundle::parse(ByteView(good).first(cut)));
  }
  std::swap(bundle.entries[0], bundle.entries[1]);
  EXPECT_FALSE(EpochBundle::parse(bundle.encode()));
  bundle.entries[0] = bundle.entries[1];
  EXPECT_FALSE(EpochBundle::parse(bundle.encode()));
}

Invite sample_invite() {
  SeededRng rng(11);
  Invite invite;
  invite.server.key = rng.array<32>();
  invite.server.addresses = {*ServerAddress::parse("203.0.113.9:41820"), *ServerAddress::parse("[2001:db8::1]:443"),
                             *ServerAddress::parse("play.example.net")};
  invite.party = PartyId(rng.array<16>());
  invite.secret = InviteSecret::generate(rng);
  return invite;
}

TEST(InviteText, RoundTripsAlsoWithLineBreaksInIt) {
  const Invite invite = sample_invite();
  std::string text = invite.text();
  text.insert(40, "\n  ");
  for (const std::string& form : {invite.text(), "  " + text + "\r\n"}) {
    const auto parsed = Invite::parse(form);
    ASSERT_TRUE(parsed);
    EXPECT_EQ(parsed->server, invite.server);
    EXPECT_EQ(parsed->party, invite.party);
    EXPECT_EQ(parsed->text(), invite.text());
  }
}

TEST(InviteText, WithOneAddressIsShortEnoughToPaste) {
  Invite invite = sample_invite();
  invite.server.addresses.resize(1);
  EXPECT_LE(invite.text().size(), 120u);
}

TEST(InviteText, SaysWhatIsWrong) {
  const std::string good = sample_invite().text();
  const auto message = [](std::string_view text) { return Invite::parse(text).error().message; };
  for (const std::string& text : {std::string(), std::string("hello"), "x" + good, std::string("https://a:1#b"),
                                  std::string(100000, ' '), good.substr(3)}) {
    EXPECT_EQ(message(text), "this is not an invite") << text;
  }
  for (std::size_t i = kInviteScheme.size(); i < good.size(); ++i) {
    std::string typo = good;
    typo[i] = typo[i] == 'A' ? 'B' : 'A';
    EXPECT_EQ(message(typo), "the invite is mistyped or cut off") << i;
    EXPECT_EQ(message(good.substr(0, i)), "the invite is mistyped or cut off") << i;
  }
  EXPECT_EQ(message(good + "A"), "the invite is mistyped or cut off");
}

TEST(InviteText, OfANewerVersionIsToldFromATypo) {
  Bytes payload = *from_base64url(std::string_view(sample_invite().text()).substr(kInviteScheme.size()));
  payload[0] = 2;
  payload.resize(payload.size() - 4);
  const crypto::Hash sum = crypto::sha256({as_bytes("lanrage invite v1"), payload});
  append(payload, ByteView(sum).first(4));
  const auto parsed = Invite::parse(std::string(kInviteScheme) + to_base64url(payload));
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().message, "the invite was made by a newer LANrage");
  EXPECT_EQ(parsed.error().hint, "update LANrage on this machine");
}

TEST(InviteSecret, TokenAndWrapKeyAreUnrelatedAndBoundToTheParty) {
  const Invite invite = sample_invite();
  const InviteToken token = invite.secret.token(invite.party);
  EXPECT_FALSE(crypto::secure_equal(token.bytes(), invite.secret.wrap_key(invite.party).bytes()));
  EXPECT_FALSE(crypto::secure_equal(token.bytes(), invite.secret.token(PartyId()).bytes()));
  EXPECT_EQ(invite.secret.token_hash(invite.party), crypto::sha256({token.bytes()}));
  EXPECT_EQ(invite.secret.id(invite.party).text().size(), 12u);
}

TEST(InviteEnvelope, OpensUnderItsKeyAndPartyOnly) {
  Made made;
  const InviteSecret secret = InviteSecret::generate(made.rng);
  InviteContents contents{made.genesis.sign(made.owner), 4, made.genesis.hash(), 2, made.secret};
  const WrapKey key = secret.wrap_key(made.id);
  const Bytes sealed = contents.seal(made.id, key, made.rng);
  EXPECT_LE(sealed.size(), kInviteEnvelopeBytesMax);
  EXPECT_NE(sealed, contents.seal(made.id, key, made.rng));
  const auto opened = InviteContents::open(made.id, key, sealed);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->genesis, contents.genesis);
  EXPECT_EQ(opened->chain_length, 4u);
  EXPECT_EQ(opened->epoch, 2u);
  EXPECT_EQ(opened->secret.commitment(made.id, 0), made.genesis.commitment);
  EXPECT_FALSE(InviteContents::open(PartyId(), key, sealed));
  EXPECT_FALSE(InviteContents::open(made.id, InviteSecret::generate(made.rng).wrap_key(made.id), sealed));
  expect_no_other_form(sealed, [&](const Bytes& b) { return InviteContents::open(made.id, key, b).has_value(); });
}

}  // namespace
}  // namespace lanrage::party
