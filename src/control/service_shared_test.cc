// Two services over one store: what is answered at one holds at the other, with and without a bus between them.
#include <algorithm>

#include "control/test_service.h"

namespace lanrage::control {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

// A bus in memory, that loses everything while it is cut.
class Hub {
 public:
  class End final : public bus::Bus {
   public:
    explicit End(Hub& hub) : hub_(hub) { hub.ends_.push_back(this); }
    ~End() override { std::erase(hub_.ends_, this); }
    void publish(const party::PartyId& party, std::string message) override { hub_.send(this, party, message); }
    void broadcast(std::string message) override { hub_.send(this, std::nullopt, message); }
    void subscribe(const party::PartyId& party) override { parties_.insert(party); }
    void unsubscribe(const party::PartyId& party) override { parties_.erase(party); }
    std::string problem() const override { return ""; }
    const char* kind() const override { return "hub"; }
    std::function<void(std::string)> deliver;

   private:
    friend Hub;
    Hub& hub_;
    std::set<party::PartyId> parties_;
  };
  bool is_cut = false;

 private:
  void send(const End* from, const std::optional<party::PartyId>& party, const std::string& message) {
    for (End* end : ends_)
      if (!is_cut && end != from && (!party || end->parties_.contains(*party))) end->deliver(message);
  }
  std::vector<End*> ends_;
};

class SharedServiceTest : public ServiceTest {
 protected:
  SharedServiceTest() {
    service_ = make_service(&first_);
    other_ = make_service(&second_);
    connect(first_, service_.get());
    connect(second_, other_.get());
  }
  // Events still call the services' streams, not the services, when these are gone.
  ~SharedServiceTest() override { posted_.clear(); }
  void connect(Hub::End& end, Service* service) {
    end.deliver = [this, service](std::string message) {
      posted_.push_back([this, service, message = std::move(message)] {
        if (service == service_.get() || service == other_.get()) service->handle_news(now_, message);
      });
    };
  }
  // From here on the other service is asked.
  void change() { std::swap(service_, other_); }

  Hub hub_;
  Hub::End first_{hub_}, second_{hub_};
};

TEST_F(SharedServiceTest, WhatIsDecidedAtOneIsToldAtBoth) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  const party::Invite one = invite(owner, 1);
  const auto here = follow(owner, party_of(owner));
  change();
  enter(bob, one);
  const auto there = follow(bob, party_of(bob));
  const std::uint64_t seen = here->numbers().front();
  EXPECT_THAT(here->numbers(), ElementsAre(seen, seen + 1, seen + 2)) << "invite used, record";
  EXPECT_THAT(here->all<wire::Snapshot>(), SizeIs(1));
  change();
  (void)invite(owner, 3);
  EXPECT_THAT(there->numbers(), ElementsAre(seen + 2, seen + 3));
}

// No message is needed for what is answered: neither for what is allowed nor for what is refused.
TEST_F(SharedServiceTest, NothingIsAnsweredByWhatIsOver) {
  Device owner = device("owner"), bob = device("bob"), carol = device("carol");
  host(owner);
  change();
  ASSERT_TRUE(ask(owner, wire::ListInvites{party_of(owner)})) << "it has the party in memory";
  hub_.is_cut = true;
  change();
  const party::Invite one = invite(owner, 1);
  change();
  EXPECT_THAT(std::get<wire::InviteList>(*ask(owner, wire::ListInvites{party_of(owner)})).invites, SizeIs(1));
  change();
  enter(bob, one);
  change();
  EXPECT_EQ(ask(carol, join_request(carol, one)).error().code, Code::kExhausted);
  EXPECT_TRUE(follow(bob, party_of(bob))->id) << "who is in is let in everywhere";
  ASSERT_TRUE(ask(bob, wire::PutRecord{party_of(bob), bob.roster->make_farewell()}));
  change();
  EXPECT_EQ(follow(bob, party_of(bob))->id.error().code, Code::kRefused);
}

TEST_F(SharedServiceTest, AnInviteForOneIsWonByOneOfTwoHundredAtBoth) {
  Device owner = device("owner");
  host(owner);
  const party::Invite one = invite(owner, 1);
  std::vector<Device> players;
  for (int i = 0; i < 200; ++i) players.push_back(device("player-" + std::to_string(i)));
  for (int i = 0; i < 2; ++i, change()) ASSERT_TRUE(ask(owner, wire::ListInvites{party_of(owner)})) << "is in memory";
  int won = 0, refused = 0;
  for (const Device& player : players) {
    const IpAddress from = IpAddress::v4(198, 51, 100, static_cast<std::uint8_t>(won + refused));
    service_->handle_request(now_, from, player.key(), join_request(player, one), [&](const auto& answer) {
      ++(answer ? won : refused);
      EXPECT_TRUE(answer || answer.error().code == Code::kExhausted) << answer.error().message;
    });
    change();
  }
  settle();
  EXPECT_EQ(won, 1);
  EXPECT_EQ(refused, 199);
  EXPECT_GT(service_->stats().decided_again + other_->stats().decided_again, 0u);
}

TEST_F(SharedServiceTest, WhoIsConnectedAnywhereIsOnlineEverywhere) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  enter(bob, invite(owner, 1));
  const auto here = follow(owner, party_of(owner));
  change();
  const auto there = follow(bob, party_of(bob));
  EXPECT_THAT(here->all<wire::Presence>(), ElementsAre(wire::Presence{bob.key(), true}));
  EXPECT_THAT(there->all<wire::Presence>(), ElementsAre(wire::Presence{owner.key(), true}));
  const auto again = follow(bob, party_of(bob));
  EXPECT_THAT(again->all<wire::Online>().back().members, UnorderedElementsAre(owner.key(), bob.key()));
  service_->close_stream(*there->id);
  settle();
  EXPECT_THAT(here->all<wire::Presence>(), SizeIs(1)) << "its other stream is open";
  service_->close_stream(*again->id);
  settle();
  EXPECT_THAT(here->all<wire::Presence>(),
              ElementsAre(wire::Presence{bob.key(), true}, wire::Presence{bob.key(), false}));
}

TEST_F(SharedServiceTest, CarriesSignalsToWhereThePlayerIs) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  enter(bob, invite(owner, 1));
  const auto here = follow(owner, party_of(owner));
  change();
  const auto there = follow(bob, party_of(bob));
  service_->handle_signal(now_, *there->id, {party_of(bob), owner.key(), {7}});
  settle();
  EXPECT_THAT(here->all<wire::Signalled>(), ElementsAre(wire::Signalled{bob.key(), {7}}));
  change();
  service_->handle_signal(now_, *here->id, {party_of(owner), bob.key(), {8}});
  settle();
  EXPECT_THAT(there->all<wire::Signalled>(), ElementsAre(wire::Signalled{owner.key(), {8}}));
}

TEST_F(SharedServiceTest, WhoIsRemovedAtOneIsCutOffAtTheOther) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  enter(bob, invite(owner, 1));
  catch_up(owner);
  change();
  const auto there = follow(bob, party_of(bob));
  change();
  auto request = owner.roster->kick(now_.wall, bob.key(), rng_);
  ASSERT_TRUE(request);
  request->seen = version_;
  ASSERT_TRUE(put(owner, *request));
  EXPECT_THAT(there->all<wire::StatementAdded>(), testing::Not(IsEmpty()));
  EXPECT_TRUE(there->closed);
}

// What the bus loses is found in the store a second later.
TEST_F(SharedServiceTest, NewsThatAreLostAreReadInTheStore) {
  Device owner = device("owner"), bob = device("bob");
  host(owner);
  const party::Invite one = invite(owner, 1);
  const auto here = follow(owner, party_of(owner));
  hub_.is_cut = true;
  change();
  enter(bob, one);
  EXPECT_THAT(here->numbers(), SizeIs(1));
  pass(1s);
  const std::uint64_t seen = here->numbers().front();
  EXPECT_THAT(here->numbers(), ElementsAre(seen, seen + 1, seen + 2));
}

TEST_F(SharedServiceTest, ThePlayersOfAServerThatDiedAreThereForHalfAMinuteMore) {
  Device owner = device("owner"), bob = device("bob"), carol = device("carol");
  host(owner);
  const party::Invite two = invite(owner, 2);
  enter(bob, two);
  enter(carol, two);
  const auto here = follow(owner, party_of(owner));
  change();
  (void)follow(bob, party_of(bob));
  (void)follow(carol, party_of(carol));
  pass(1s);
  EXPECT_EQ(other_->stats().servers, 1u);
  service_.reset();
  change();
  for (int second = 0; second < 20; ++second) pass(1s);
  (void)follow(bob, party_of(bob));  // moved
  EXPECT_THAT(here->all<wire::Presence>(),
              ElementsAre(wire::Presence{bob.key(), true}, wire::Presence{carol.key(), true}));
  for (int second = 0; second < 20; ++second) pass(1s);
  EXPECT_EQ(here->all<wire::Presence>().back(), (wire::Presence{carol.key(), false}));
  EXPECT_THAT(here->all<wire::Presence>(), SizeIs(3)) << "who moved never left";
  EXPECT_EQ(service_->stats().servers, 0u);
}

TEST_F(SharedServiceTest, APlayerIsToldOfAllServersAndTheirRelays) {
  Device owner = device("owner");
  host(owner);
  const auto here = follow(owner, party_of(owner));
  EXPECT_THAT(here->all<wire::Servers>(), IsEmpty()) << "there is one, as far as it knows";
  const wire::RelayInfo relay{device("relay").key(), "eu", {{kHome, 41820}}};
  service_->set_addresses({"192.0.2.1:41820"});
  other_->set_addresses({"192.0.2.2:41820"});
  other_->set_relays({relay}, {{kHome, 41820}});
  pass(1s);
  ASSERT_THAT(here->all<wire::Servers>(), SizeIs(1));
  EXPECT_THAT(here->all<wire::Servers>().back().addresses, ElementsAre("192.0.2.1:41820", "192.0.2.2:41820"));
  EXPECT_THAT(named(*here), ElementsAre(relay));
  const auto again = follow(owner, party_of(owner));
  EXPECT_EQ(again->all<wire::Servers>().back(), here->all<wire::Servers>().back());
  EXPECT_EQ(again->all<wire::Relays>().back().turn, here->all<wire::Relays>().back().turn);
  pass(10s);
  EXPECT_THAT(here->all<wire::Servers>(), SizeIs(1)) << "and not again and again";
}

// Players who come and go at both at the same time, with the bus cut now and then: each is what the last answer to it
// said, and who follows the party is told every event once and in order.
TEST_F(SharedServiceTest, MembershipIsWhatTheLastAnswerSaidWhateverHappensAtOnce) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SeededRng dice(seed);
    hub_.is_cut = false;
    Device owner = device("owner");
    host(owner);
    const party::Invite many = invite(owner, 10000);
    const std::shared_ptr<Reader> readers[] = {follow(owner, party_of(owner)),
                                               (change(), follow(owner, party_of(owner)))};
    std::vector<Device> players;
    std::vector<party::MemberState> last(8, party::MemberState::kLeft);
    std::vector<bool> waits(8, false);
    std::vector<Bytes> newest(8);
    for (int i = 0; i < 8; ++i) players.push_back(device("player-" + std::to_string(i)));
    int answers = 0;
    for (int round = 0; round < 400; ++round) {
      if (dice.unit() < 0.02) hub_.is_cut = !hub_.is_cut;
      if (dice.unit() < 0.5) change();
      if (dice.unit() < 0.1) {
        now_.time += 300ms;
        now_.wall += 300ms;
        service_->handle_timeout(now_);
      }
      for (auto steps = dice.below(4); steps > 0 && !posted_.empty(); --steps) step();
      const std::size_t at = dice.below(8);
      if (waits[at]) continue;
      Device& player = players[at];
      const auto ask_now = [&](const wire::Request& request, std::function<void(const wire::Response&)> then) {
        waits[at] = true;
        service_->handle_request(now_, kHome, player.key(), request,
                                 [&waits, at, then = std::move(then)](const Result<wire::Response>& answer) {
                                   waits[at] = false;
                                   if (answer) then(*answer);
                                 });
      };
      if (last[at] == party::MemberState::kJoined) {
        newest[at] = player.roster->make_farewell();
        ask_now(wire::PutRecord{party_of(player), newest[at]}, [&, at](const wire::Response&) {
          last[at] = party::MemberState::kLeft;
          ++answers;
        });
      } else if (last[at] == party::MemberState::kLeft) {
        ask_now(join_request(player, many), [&, at](const wire::Response& answer) {
          const auto& admission = std::get<wire::Admission>(answer);
          players[at].roster = *party::Roster::join(players[at].identity, many, {admission.address, admission.envelope},
                                                    settings(players[at]));
          if (!newest[at].empty()) players[at].roster->apply_record(newest[at]);
          last[at] = party::MemberState::kPending;
        });
      } else {
        newest[at] = player.roster->own_record();
        ask_now(wire::PutRecord{party_of(player), newest[at]}, [&, at](const wire::Response&) {
          last[at] = party::MemberState::kJoined;
          ++answers;
        });
      }
    }
    settle();
    pass(2s);
    pass(2s);
    EXPECT_GT(answers, 20) << seed;
    std::optional<store::Loaded> loaded;
    store_.load(party::PartyId(party_of(owner)), [&](const auto& found) { loaded = *found; });
    ASSERT_TRUE(loaded);
    for (std::size_t at = 0; at < 8; ++at) {
      const auto row = loaded->data.members.find(players[at].key());
      if (row == loaded->data.members.end()) {
        EXPECT_EQ(last[at], party::MemberState::kLeft) << seed;
      } else {
        EXPECT_EQ(row->second.state, last[at]) << "seed " << seed << ", player " << at;
      }
    }
    for (const auto& reader : readers) {
      EXPECT_FALSE(reader->closed);
      const auto numbers = reader->numbers();
      for (std::size_t i = 1; i < numbers.size(); ++i) ASSERT_EQ(numbers[i], numbers[i - 1] + 1) << seed;
      EXPECT_EQ(numbers.back(), loaded->data.version) << seed;
    }
  }
}

}  // namespace
}  // namespace lanrage::control
