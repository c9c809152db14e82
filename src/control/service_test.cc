// What the service decides, in virtual time over the memory store.
#include "control/test_service.h"
#include "wire/json.h"
#include "wire/relay.h"

namespace lanrage::control {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

TEST_F(ServiceTest, ASessionIsItsKeysForADay) {
  const Device alice = device("alice");
  const auto session = log_in(alice);
  ASSERT_TRUE(session);
  EXPECT_EQ(session->expires - session->now, 24 * 3600);
  EXPECT_EQ(*service_->authenticate(now_, session->token), alice.key());
  EXPECT_FALSE(service_->authenticate(now_, Bytes(32)));
  pass(23h);
  EXPECT_TRUE(service_->authenticate(now_, session->token));
  pass(1h + 1s);
  EXPECT_FALSE(service_->authenticate(now_, session->token));
}

TEST_F(ServiceTest, ASessionOutlivesTheServersRestartAndCannotBeMade) {
  const Device alice = device("alice"), bob = device("bob");
  const auto session = log_in(alice);
  restart();
  EXPECT_EQ(*service_->authenticate(now_, session->token), alice.key());
  for (std::size_t i = 0; i < session->token.size(); ++i) {
    Bytes spoiled = session->token;
    spoiled[i] ^= 1;
    EXPECT_FALSE(service_->authenticate(now_, spoiled)) << i;
  }
  Bytes longer = session->token;
  longer.push_back(0);
  EXPECT_FALSE(service_->authenticate(now_, longer));
  EXPECT_FALSE(service_->authenticate(now_, {}));
}

TEST_F(ServiceTest, AChallengeServesOnceAndNotForLong) {
  const Device alice = device("alice");
  const auto prove = [&](const wire::Challenge& challenge) {
    const auto mac = session_proof(alice.identity.private_key(), alice.key(), challenge, exporter_);
    return service_->prove(now_, kHome, exporter_, {challenge.id, *mac}).has_value();
  };
  const auto once = service_->hello(now_, kHome, {alice.key()});
  EXPECT_TRUE(prove(*once));
  EXPECT_FALSE(prove(*once));
  const auto late = service_->hello(now_, kHome, {alice.key()});
  pass(kChallengeLife);
  EXPECT_FALSE(prove(*late));
}

TEST_F(ServiceTest, AKeyOfLowOrderProvesNothing) {
  const auto challenge = service_->hello(now_, kHome, {crypto::PublicKey{}});
  ASSERT_TRUE(challenge);
  EXPECT_FALSE(service_->prove(now_, kHome, exporter_, {challenge->id, {}}));
}

TEST_F(ServiceTest, RepeatedRequestsHaveTheFirstOnesAnswer) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  EXPECT_TRUE(ask(owner, create(owner)));
  const party::Invite one = invite(owner, 1);
  const auto first = ask(bob, join_request(bob, one));
  const auto second = ask(bob, join_request(bob, one));
  ASSERT_TRUE(first && second);
  EXPECT_EQ(*first, *second);
  Device carol = device("carol");
  EXPECT_EQ(ask(carol, join_request(carol, one)).error().code, Code::kExhausted);
}

TEST_F(ServiceTest, AnswersWhatIsNotThere) {
  const Device alice = device("alice");
  EXPECT_EQ(ask(alice, wire::ListInvites{}).error().code, Code::kNotFound);
  EXPECT_EQ(follow(alice, {})->id.error().code, Code::kNotFound);
  EXPECT_EQ(ask(alice, wire::Signal{}).error().code, Code::kInvalid);
}

TEST_F(ServiceTest, AStreamStartsWithAllAndGoesOnByOne) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  const auto reader = follow(owner, party_of(owner));
  ASSERT_THAT(reader->events, SizeIs(5));
  EXPECT_TRUE(std::holds_alternative<wire::Snapshot>(reader->events[0]));
  EXPECT_THAT(reader->all<wire::Online>().front().members, ElementsAre(owner.key()));
  enter(bob, invite(owner, 2));
  const auto numbers = reader->numbers();
  ASSERT_THAT(numbers, SizeIs(4)) << "invite added, used, record";
  for (std::size_t i = 1; i < numbers.size(); ++i) EXPECT_EQ(numbers[i], numbers[i - 1] + 1);
}

TEST_F(ServiceTest, AReaderWhoMissedSomeGetsTheseAfterARestartToo) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  const auto before = follow(owner, party_of(owner));
  service_->close_stream(*before->id);
  const std::uint64_t seen = before->numbers().back();
  enter(bob, invite(owner, 2));
  const auto resumed = follow(owner, party_of(owner), seen);
  EXPECT_THAT(resumed->all<wire::Snapshot>(), IsEmpty());
  EXPECT_THAT(resumed->numbers(), ElementsAre(seen + 1, seen + 2, seen + 3));
  restart();
  const auto all = follow(owner, party_of(owner), seen);
  EXPECT_THAT(all->numbers(), ElementsAre(seen + 1, seen + 2, seen + 3)) << "the store has them";
  EXPECT_THAT(follow(owner, party_of(owner), seen + 3)->numbers(), IsEmpty()) << "nothing was missed";
  EXPECT_THAT(follow(owner, party_of(owner), seen + 99)->all<wire::Snapshot>(), SizeIs(1)) << "from another past";
}

TEST_F(ServiceTest, WhatTheStoreCannotKeepDidNotHappen) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  const party::Invite one = invite(owner, 1);
  const auto reader = follow(owner, party_of(owner));
  const std::size_t told = reader->events.size();
  store_.fail_next({Code::kIo, "disk full"});
  EXPECT_EQ(ask(bob, join_request(bob, one)).error().code, Code::kUnavailable);
  EXPECT_THAT(reader->events, SizeIs(told));
  enter(bob, one);
  EXPECT_THAT(reader->numbers(), SizeIs(3)) << "snapshot, invite used, record";
  EXPECT_FALSE(reader->closed);
}

// Whether it happened only the store knows: it is asked, and who follows the party is told what happened.
TEST_F(ServiceTest, WhatTheStoreMayHaveKeptIsReadAnewForAll) {
  Device owner = device("owner"), bob = device("bob"), carol = device("carol");
  host(owner);
  const party::Invite many = invite(owner, 5);
  const auto reader = follow(owner, party_of(owner));
  const std::uint64_t seen = reader->numbers().back();
  store_.fail_next({Code::kUnavailable, "the database host.example is away"});
  const auto answer = ask(bob, join_request(bob, many));
  EXPECT_EQ(answer.error().message.find("host.example"), std::string::npos);
  other_ = make_service(nullptr);
  std::swap(service_, other_);
  enter(carol, many);  // stands for what was kept
  std::swap(service_, other_);
  EXPECT_THAT(reader->numbers(), ElementsAre(seen));
  now_.time += 1s;
  service_->handle_timeout(now_);
  settle();
  EXPECT_THAT(reader->numbers(), ElementsAre(seen, seen + 1, seen + 2)) << "invite used, record";
  EXPECT_FALSE(reader->closed);
}

TEST_F(ServiceTest, NothingIsToldBeforeItIsOnDisk) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  const party::Invite one = invite(owner, 1);
  const auto reader = follow(owner, party_of(owner));
  const std::size_t told = reader->events.size();
  bool answered = false;
  service_->handle_request(now_, kHome, bob.key(), join_request(bob, one), [&](const auto&) { answered = true; });
  EXPECT_FALSE(answered);
  EXPECT_THAT(reader->events, SizeIs(told));
  settle();
  EXPECT_TRUE(answered);
  EXPECT_THAT(reader->events, SizeIs(told + 1));
}

TEST_F(ServiceTest, TellsWhoIsOnlineByTheirLastStream) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  enter(bob, invite(owner, 1));
  const auto reader = follow(owner, party_of(owner));
  const auto first = follow(bob, party_of(bob));
  const auto second = follow(bob, party_of(bob));
  service_->close_stream(*first->id);
  EXPECT_THAT(reader->all<wire::Presence>(), ElementsAre(wire::Presence{bob.key(), true}));
  service_->close_stream(*second->id);
  EXPECT_THAT(reader->all<wire::Presence>(),
              ElementsAre(wire::Presence{bob.key(), true}, wire::Presence{bob.key(), false}));
}

TEST_F(ServiceTest, ADevicesOldestStreamGivesWay) {
  Device owner = device("owner");
  host(owner);
  const auto first = follow(owner, party_of(owner));
  for (std::size_t i = 0; i < kStreamsPerKeyMax; ++i) (void)follow(owner, party_of(owner));
  EXPECT_TRUE(first->closed);
  EXPECT_EQ(service_->stats().streams, kStreamsPerKeyMax);
}

TEST_F(ServiceTest, CarriesSignalsWithinAPartyOnly) {
  Device owner = device("owner"), bob = device("bob"), other = device("other");
  host(owner);
  enter(bob, invite(owner, 1));
  other.roster.reset();
  host(other);
  const auto to_owner = follow(owner, party_of(owner));
  const auto from_bob = follow(bob, party_of(bob));
  const auto to_other = follow(other, party_of(other));
  service_->handle_signal(now_, *from_bob->id, {party_of(bob), owner.key(), {1}});
  service_->handle_signal(now_, *from_bob->id, {party_of(other), other.key(), {2}});
  service_->handle_signal(now_, *from_bob->id, {party_of(bob), other.key(), {3}});
  service_->handle_signal(now_, 9999, {party_of(bob), owner.key(), {4}});
  EXPECT_THAT(to_owner->all<wire::Signalled>(), ElementsAre(wire::Signalled{bob.key(), {1}}));
  EXPECT_THAT(to_other->all<wire::Signalled>(), IsEmpty());
}

TEST_F(ServiceTest, ThoseKickedLearnOfItAndHearNoMore) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  enter(bob, invite(owner, 1));
  catch_up(owner);
  const auto reader = follow(bob, party_of(bob));
  auto request = owner.roster->kick(now_.wall, bob.key(), rng_);
  ASSERT_TRUE(request) << request.error().message;
  request->seen = version_;
  const auto kicked = put(owner, *request);
  ASSERT_TRUE(kicked) << kicked.error().message;
  EXPECT_THAT(reader->all<wire::StatementAdded>(), testing::Not(IsEmpty()));
  ASSERT_TRUE(reader->closed);
  EXPECT_EQ(reader->closed->code, Code::kRefused);
  for (const std::uint64_t seen : {std::uint64_t{0}, version_}) {
    const auto again = follow(bob, party_of(bob), seen);
    const auto snapshots = again->all<wire::Snapshot>();
    ASSERT_THAT(snapshots, SizeIs(1));
    EXPECT_THAT(again->events, SizeIs(1));
    EXPECT_THAT(snapshots.front().statements, SizeIs(1)) << "its tombstone, and not the epoch after it";
    EXPECT_THAT(snapshots.front().records, IsEmpty());
    EXPECT_THAT(snapshots.front().bundle, IsEmpty());
    EXPECT_TRUE(again->closed);
  }
  EXPECT_EQ(service_->stats().streams, 0u);
  EXPECT_FALSE(ask(bob, wire::PutRecord{party_of(bob), bob.roster->own_record()}));
}

TEST_F(ServiceTest, ThoseWhoLeftMayNotListen) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  enter(bob, invite(owner, 1));
  ASSERT_TRUE(ask(bob, wire::PutRecord{party_of(bob), bob.roster->make_farewell()}));
  EXPECT_EQ(follow(bob, party_of(bob))->id.error().code, Code::kRefused);
}

TEST_F(ServiceTest, TheAuditLogSaysWhoChangedWhatOnceItIsStored) {
  std::vector<std::string> lines;
  Log log(LogFormat::kJson, {}, [&](std::string_view line) {
    const auto json = wire::Json::parse(line);
    if (*json->find("logger")->if_string() != "audit") return;
    std::string said = *json->find("message")->if_string();
    for (const char* key : {"member", "invite"})
      if (const wire::Json* about = json->find(key)) said += " " + *about->if_string();
    EXPECT_TRUE(json->find("party_id")) << line;
    lines.push_back(said);
  });
  service_ = make_service(nullptr, Logger(log, "server"));
  Device owner = device("owner"), bob = device("bob"), carol = device("carol");
  host(owner);
  const auto one = invite(owner, 2);
  const std::string invite_id = one.secret.id(one.party).text();
  enter(bob, one);
  EXPECT_THAT(lines, ElementsAre("party registered", "peer admitted " + owner.key().base64(),
                                 "peer joined " + owner.key().base64(), "invite added " + invite_id,
                                 "peer admitted " + bob.key().base64(), "invite used " + invite_id,
                                 "peer joined " + bob.key().base64()));
  lines.clear();
  store_.fail_next({Code::kIo, "disk full"});
  ASSERT_FALSE(ask(carol, join_request(carol, one)));
  ASSERT_TRUE(ask(bob, join_request(bob, one))) << "again";
  EXPECT_THAT(lines, IsEmpty()) << "nothing was changed";
  catch_up(owner);
  auto kick = owner.roster->kick(now_.wall, bob.key(), rng_);
  ASSERT_TRUE(kick);
  kick->seen = version_;
  ASSERT_TRUE(put(owner, *kick));
  EXPECT_THAT(lines, testing::Contains("peer removed " + bob.key().base64()));
  EXPECT_THAT(lines, testing::Contains("party rekeyed"));
  EXPECT_THAT(lines, testing::Contains("invite revoked " + invite_id));
  lines.clear();
  ASSERT_TRUE(ask(owner, wire::PutRecord{party_of(owner), owner.roster->make_farewell()}));
  EXPECT_THAT(lines, ElementsAre("peer left " + owner.key().base64()));
}

TEST_F(ServiceTest, InvitesExpireByTheServersClockAndItIsTold) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  const party::Invite hour = invite(owner, 5, 3600);
  const auto reader = follow(owner, party_of(owner));
  pass(1h + 1s);
  const auto changed = reader->all<wire::InviteChanged>();
  ASSERT_THAT(changed, SizeIs(1));
  EXPECT_EQ(changed[0].invite.uses_left, 0u);
  EXPECT_EQ(ask(bob, join_request(bob, hour)).error().code, Code::kExpired);
}

TEST_F(ServiceTest, ForgetsAPartyOnceAllHaveLeftAndNoInviteIsValid) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  enter(bob, invite(owner, 1, 3 * 3600));
  const auto reader = follow(bob, party_of(bob));
  ASSERT_TRUE(ask(owner, wire::PutRecord{party_of(owner), owner.roster->make_farewell()}));
  for (int hour = 0; hour < 5; ++hour) pass(1h);
  EXPECT_EQ(store_.size()->parties, 1u);
  ASSERT_TRUE(ask(bob, wire::PutRecord{party_of(bob), bob.roster->make_farewell()}));
  pass(1h);
  pass(1h);
  EXPECT_EQ(store_.size()->parties, 0u);
  EXPECT_EQ(follow(owner, party_of(owner))->id.error().code, Code::kNotFound);
}

TEST_F(ServiceTest, RenewsGrantsBeforeTheyExpire) {
  Device owner = device("owner");
  host(owner);
  const auto reader = follow(owner, party_of(owner));
  const auto first = reader->all<wire::Grant>();
  ASSERT_THAT(first, SizeIs(1));
  EXPECT_TRUE(wire::verify_grant(first[0].grant, crypto::verify_key(grants_)));
  EXPECT_EQ(wire::parse_grant(first[0].grant)->peer, owner.key());
  // Members may relay for each other: they are told whose grants count before they have one to show.
  EXPECT_THAT(reader->all<wire::GrantKeys>(), ElementsAre(wire::GrantKeys{{crypto::verify_key(grants_)}}));
  pass(46min);
  const auto grants = reader->all<wire::Grant>();
  ASSERT_THAT(grants, SizeIs(2));
  EXPECT_GT(grants[1].expires, grants[0].expires);
}

TEST_F(ServiceTest, TellsOfRelaysThatChange) {
  Device owner = device("owner");
  host(owner);
  const auto reader = follow(owner, party_of(owner));
  service_->set_relays({}, {{kHome, 5}});
  EXPECT_THAT(reader->all<wire::Relays>().back().stun, ElementsAre(Endpoint{kHome, 5}));
}

TEST_F(ServiceTest, PartiesTakeTurnsAtTheRelays) {
  const auto turn = [](const auto& reader) { return reader->template all<wire::Relays>().back().turn; };
  Device first = device("first"), second = device("second"), member = device("member");
  host(first);
  host(second);
  const auto one = follow(first, party_of(first)), two = follow(second, party_of(second));
  EXPECT_GT(turn(one), 0u);
  EXPECT_EQ(turn(two), turn(one) + 1);
  enter(member, invite(first, 1));
  EXPECT_EQ(turn(follow(member, party_of(first))), turn(one)) << "members have one";
  service_->set_relays({}, {{kHome, 5}});
  EXPECT_EQ(turn(one) + 1, turn(two));
}

TEST_F(ServiceTest, TellsOfARelayThatItsOperatorAllowedUntilItIsGoneForLong) {
  Device owner = device("owner");
  host(owner);
  const auto reader = follow(owner, party_of(owner));
  const Device relay = device("relay");
  const wire::OfferRelay where{"eu", {{kHome, 41820}}};
  EXPECT_EQ(offer(relay, where)->id.error().code, Code::kRefused);
  EXPECT_THAT(reader->all<wire::Relays>(), SizeIs(1));
  ASSERT_TRUE(service_->allow_relay(relay.key()));
  const auto stream = offer(relay, where);
  ASSERT_TRUE(stream->id);
  EXPECT_THAT(stream->all<wire::GrantKeys>().front().keys, ElementsAre(crypto::verify_key(grants_)));
  EXPECT_THAT(named(*reader), ElementsAre(wire::RelayInfo{relay.key(), "eu", {{kHome, 41820}}}));
  service_->close_stream(*stream->id);
  pass(1s);
  pass(kRelayGrace - 1s);
  EXPECT_THAT(named(*reader), SizeIs(1));  // what broke may be its control link alone
  pass(1s);
  EXPECT_THAT(named(*reader), IsEmpty());
  EXPECT_TRUE(offer(relay, where)->id);
  EXPECT_THAT(named(*reader), SizeIs(1));
}

TEST_F(ServiceTest, ForgetsARelayThatSaysGoodbyeOrIsRemovedAtOnce) {
  Device owner = device("owner");
  host(owner);
  const auto reader = follow(owner, party_of(owner));
  const Device relay = device("relay");
  ASSERT_TRUE(service_->allow_relay(relay.key()));
  ASSERT_TRUE(offer(relay, {"", {{kHome, 1}}})->id);
  EXPECT_TRUE(ask(owner, wire::WithdrawRelay{}));  // a player's key names no relay
  EXPECT_THAT(named(*reader), SizeIs(1));
  EXPECT_TRUE(ask(relay, wire::WithdrawRelay{}));
  EXPECT_THAT(named(*reader), IsEmpty());
  const auto stream = offer(relay, {"", {{kHome, 2}}});
  EXPECT_THAT(named(*reader), SizeIs(1));
  ASSERT_TRUE(service_->remove_relay(relay.key()));
  EXPECT_THAT(named(*reader), IsEmpty());
  EXPECT_TRUE(stream->closed);
  EXPECT_FALSE(service_->remove_relay(relay.key()));
}

TEST_F(ServiceTest, TellsMembersHowTheirRelaysAreWhenThatIsNews) {
  Device owner = device("owner");
  host(owner);
  const auto reader = follow(owner, party_of(owner));
  const Device relay = device("relay");
  ASSERT_TRUE(service_->allow_relay(relay.key()));
  const auto stream = offer(relay, {"", {{kHome, 1}}});
  wire::ReportRelay report;
  report.health = 100;
  ASSERT_TRUE(ask(relay, report));
  EXPECT_EQ(ask(owner, report).error().code, Code::kRefused);
  pass(1s);
  EXPECT_THAT(reader->all<wire::RelaysHealth>(), ElementsAre(wire::RelaysHealth{{{relay.key(), 100, 0}}}));
  report.health = 96;  // no news
  ASSERT_TRUE(ask(relay, report));
  pass(kHealthInterval);
  EXPECT_THAT(reader->all<wire::RelaysHealth>(), SizeIs(1));
  for (const std::uint8_t health :
       std::initializer_list<std::uint8_t>{60, 40, 20}) {  // several at once are one message
    report.health = health;
    ASSERT_TRUE(ask(relay, report));
  }
  service_->set_own_health({owner.key(), 50, 60});
  pass(1s);
  EXPECT_THAT(reader->all<wire::RelaysHealth>(), SizeIs(2));
  EXPECT_THAT(reader->all<wire::RelaysHealth>().back().relays,
              ElementsAre(wire::RelayHealth{relay.key(), 20, 0}, wire::RelayHealth{owner.key(), 50, 60}));
  report.load = 90;
  ASSERT_TRUE(ask(relay, report));
  pass(kHealthInterval - 1s);
  EXPECT_THAT(reader->all<wire::RelaysHealth>(), SizeIs(2));  // not that often
  pass(1s);
  EXPECT_THAT(reader->all<wire::RelaysHealth>(), SizeIs(3));
  EXPECT_EQ(follow(owner, party_of(owner))->all<wire::RelaysHealth>().back(), reader->all<wire::RelaysHealth>().back());
  service_->close_stream(*stream->id);
  pass(kHealthInterval);
  EXPECT_THAT(reader->all<wire::RelaysHealth>().back().relays, ElementsAre(wire::RelayHealth{owner.key(), 50, 60}));
}

TEST_F(ServiceTest, ARelaysNewerStreamReplacesTheOlder) {
  const Device relay = device("relay");
  ASSERT_TRUE(service_->allow_relay(relay.key()));
  const auto older = offer(relay, {"", {{kHome, 1}}});
  const auto newer = offer(relay, {"", {{kHome, 1}}});
  EXPECT_TRUE(older->closed);
  service_->close_stream(*older->id);
  EXPECT_TRUE(service_->relays().all().front().connected);
  EXPECT_FALSE(newer->closed);
}

TEST_F(ServiceTest, DoesNotTakeARelayThatItCannotRemember) {
  kept_ = Error{Code::kIo, "the disk is full"};
  const Device relay = device("relay");
  EXPECT_EQ(service_->allow_relay(relay.key()).error().code, Code::kIo);
  EXPECT_FALSE(offer(relay, {"", {{kHome, 1}}})->id);
}

TEST_F(ServiceTest, LimitsAKeysRequestsAndForgives) {
  Device owner = device("owner"), other = device("other");
  host(owner);
  const auto limited = [&](const Device& by) {
    const auto answer = ask(by, wire::ListInvites{party_of(owner)});
    return !answer && answer.error().code == Code::kExhausted;
  };
  int served = 0;
  while (!limited(owner)) ASSERT_LT(++served, 1000);
  EXPECT_GE(served, 50);
  EXPECT_FALSE(limited(other)) << "another key is not held back";
  pass(5s);
  EXPECT_FALSE(limited(owner));
}

TEST_F(ServiceTest, LimitsGuessesPerAddress) {
  Device owner = device("owner");
  host(owner);
  const party::Invite real = invite(owner, 1);
  Result<wire::Response> last = Error{};
  for (int i = 0; i < 400; ++i) {
    const Device guesser = device("g" + std::to_string(i));
    wire::Join guess = join_request(guesser, real);
    guess.token = rng_.array<32>();
    last = ask(guesser, guess);
    ASSERT_FALSE(last);
  }
  EXPECT_EQ(last.error().code, Code::kExhausted);
  pass(1min);
  Device bob = device("bob");
  EXPECT_TRUE(ask(bob, join_request(bob, real)));
}

}  // namespace
}  // namespace lanrage::control
