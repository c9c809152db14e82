#include "relay/server.h"

#include <gtest/gtest.h>

#include <map>

#include "relay/stun_server.h"
#include "wire/stun.h"

namespace lanrage::relay {
namespace {

using namespace std::chrono_literals;

constexpr wire::PartyIdBytes kParty = {1};
constexpr wire::PartyIdBytes kOtherParty = {2};

struct Fixture;

// What a node does at a relay, by hand.
struct Client {
  Fixture& f;
  crypto::PrivateKey key;
  crypto::PublicKey public_key = crypto::public_key(key);
  Endpoint at;
  wire::RelayMacKey mac_key;
  wire::GrantBytes grant{};
  wire::RelaySession session = 0;
  Client(Fixture& fixture, const Endpoint& endpoint, const wire::PartyIdBytes& party);
};

struct Fixture : testing::Test {
  SeededRng rng{1};
  crypto::SigningKey grant_key = crypto::SigningKey::generate(rng);
  ServerOptions options{.key = crypto::PrivateKey::generate(rng), .grant_keys = {crypto::verify_key(grant_key)}};
  std::optional<Server> server;
  Now now{Time{500s}, from_unix_seconds(1'700'000'000)};
  std::uint64_t transaction = 1;

  Fixture() { server.emplace(options, rng); }

  struct Out {
    Endpoint to;
    Bytes datagram;
  };
  std::optional<Out> handle(const Endpoint& source, Bytes datagram) {
    const std::size_t size = datagram.size();
    const auto out = server->handle_packet(now, source, datagram);
    EXPECT_TRUE(server->is_consistent());
    if (!out) return std::nullopt;
    EXPECT_TRUE(out->to != source || out->datagram.size() <= size);
    return Out{out->to, to_bytes(out->datagram)};
  }
  Client client(const char* endpoint, const wire::PartyIdBytes& party = kParty) {
    return Client(*this, *Endpoint::parse(endpoint), party);
  }
  std::optional<Out> ask(Client& c, const wire::RelayCookie& cookie, const std::vector<std::uint32_t>& indices = {}) {
    return handle(c.at, wire::write_relay_register(++transaction, cookie, c.grant, indices, c.mac_key));
  }
  wire::RelayCookie cookie_of(Client& c) {
    const auto out = ask(c, {});
    return wire::parse_relay_challenge(out->datagram)->cookie;
  }
  // The indices that are taken; nothing when it was not registered.
  std::optional<std::vector<std::uint32_t>> enter(Client& c, const std::vector<std::uint32_t>& indices = {}) {
    return registered(c, ask(c, cookie_of(c), indices));
  }
  std::optional<std::vector<std::uint32_t>> refresh(Client& c, const std::vector<std::uint32_t>& added = {},
                                                    const std::vector<std::uint32_t>& removed = {}) {
    return registered(c, handle(c.at, wire::write_relay_refresh(++transaction, c.session, added, removed, c.mac_key)));
  }
  std::optional<std::vector<std::uint32_t>> registered(Client& c, const std::optional<Out>& out) {
    const auto message = out ? wire::parse_relay_registered(out->datagram) : std::nullopt;
    if (!message || !wire::verify_relay_mac(out->datagram, c.mac_key)) return std::nullopt;
    EXPECT_EQ(message->observed, c.at);
    EXPECT_EQ(message->transaction, transaction);
    c.session = message->session;
    std::vector<std::uint32_t> taken;
    for (std::size_t i = 0; i < message->taken.size(); ++i) taken.push_back(message->taken[i]);
    return taken;
  }
  std::optional<wire::RelayRefusal> refusal(const std::optional<Out>& out) {
    const auto message = out ? wire::parse_relay_refused(out->datagram) : std::nullopt;
    return message ? std::optional(message->reason) : std::nullopt;
  }
  static Bytes frame(const Client& to, ByteView payload) {
    Bytes out(wire::kRelayHeaderBytes + payload.size());
    wire::write_relay_send(wire::relay_peer(to.public_key), payload, out);
    return out;
  }
  static Bytes data(std::uint32_t receiver, std::size_t size = 64) {
    Bytes out(size);
    store_le(out.data(), 4u);
    store_le(out.data() + 4, receiver);
    return out;
  }
  static Bytes initiation(std::uint32_t sender) {
    Bytes out(148);
    store_le(out.data(), 1u);
    store_le(out.data() + 4, sender);
    return out;
  }
  static Bytes response(std::uint32_t sender, std::uint32_t receiver) {
    Bytes out(92);
    store_le(out.data(), 2u);
    store_le(out.data() + 4, sender);
    store_le(out.data() + 8, receiver);
    return out;
  }
  void pass(Duration d) {
    now.time += d;
    now.wall += d;
    server->handle_timeout(now);
  }
};
using RelayServer = Fixture;

Client::Client(Fixture& fixture, const Endpoint& endpoint, const wire::PartyIdBytes& party)
    : f(fixture), key(crypto::PrivateKey::generate(fixture.rng)), at(endpoint) {
  const auto& relay = f.server->public_key();
  mac_key = *wire::relay_mac_key(key, relay, public_key, relay);
  grant = wire::sign_grant({.party = party, .peer = public_key, .expires_unix = unix_seconds(f.now.wall) + 3600},
                           f.grant_key);
}

// Forwards by nothing but what it was told.
struct Copy final : Mirror {
  std::map<std::uint32_t, Session> sessions;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> slots;  // by party and index
  void set_session(std::uint32_t slot, const Session& session) override { sessions[slot] = session; }
  void drop_session(std::uint32_t slot) override { EXPECT_EQ(sessions.erase(slot), 1u); }
  void set_index(std::uint32_t party, std::uint32_t index, std::uint32_t slot) override {
    EXPECT_TRUE(sessions.contains(slot));
    slots[{party, index}] = slot;
  }
  void drop_index(std::uint32_t party, std::uint32_t index) override { EXPECT_EQ(slots.erase({party, index}), 1u); }

  std::optional<Endpoint> route(const Endpoint& source, std::uint32_t index) const {
    for (const auto& [slot, session] : sessions) {
      if (session.member != source) continue;
      const auto to = slots.find({session.party, index});
      return to == slots.end() || to->second == slot ? std::nullopt : std::optional(sessions.at(to->second).member);
    }
    return std::nullopt;
  }
};

// ---- Registration

TEST_F(RelayServer, RegistersWhoShowsAGrantItsKeyAndThatItHearsUs) {
  Client alice = client("203.0.113.1:5");
  EXPECT_EQ(enter(alice), std::vector<std::uint32_t>{});
  EXPECT_EQ(server->sessions(), 1u);
  EXPECT_EQ(server->parties(), 1u);
}

TEST_F(RelayServer, LeavesARegisterUnansweredUntilItIsToldWhoseGrantsCount) {
  server->set_grant_keys({});
  Client a = client("192.0.2.1:1000");
  const wire::RelayCookie cookie = cookie_of(a);
  EXPECT_FALSE(ask(a, cookie));
  EXPECT_EQ(server->stats().dropped_no_keys, 1u);
  server->set_grant_keys({crypto::verify_key(grant_key)});
  EXPECT_TRUE(registered(a, ask(a, cookie)));
}

TEST_F(RelayServer, OfOnePartyRefusesTheGrantsOfOthers) {
  options.party = kParty;
  server.emplace(options, rng);
  Client ours = client("203.0.113.1:5"), other = client("203.0.113.2:5", kOtherParty);
  EXPECT_TRUE(enter(ours));
  EXPECT_EQ(refusal(ask(other, cookie_of(other))), wire::RelayRefusal::kBadGrant);
  EXPECT_EQ(server->stats().dropped_bad_grant, 1u);
  EXPECT_EQ(server->sessions(), 1u);
  EXPECT_EQ(server->parties(), 1u);
}

TEST_F(RelayServer, KeepsNothingForAnAddressThatHasProvenNothing) {
  Client alice = client("203.0.113.1:5");
  const auto out = ask(alice, {});
  EXPECT_TRUE(wire::parse_relay_challenge(out->datagram));
  EXPECT_EQ(server->sessions(), 0u);
  const wire::RelayCookie cookie = wire::parse_relay_challenge(out->datagram)->cookie;
  Client spoofed = alice;
  spoofed.at = *Endpoint::parse("203.0.113.2:5");
  EXPECT_TRUE(wire::parse_relay_challenge(ask(spoofed, cookie)->datagram));
  EXPECT_EQ(server->sessions(), 0u);
  EXPECT_EQ(server->stats().dropped_bad_cookie, 1u);
}

TEST_F(RelayServer, ACookieLivesOneToTwoMinutes) {
  Client alice = client("203.0.113.1:5");
  const wire::RelayCookie cookie = cookie_of(alice);
  pass(kCookieLifetime);
  EXPECT_TRUE(registered(alice, ask(alice, cookie)));
  pass(kCookieLifetime);
  EXPECT_FALSE(registered(alice, ask(alice, cookie)));
  const wire::RelayCookie later = cookie_of(alice);
  pass(10 * kCookieLifetime);
  EXPECT_FALSE(registered(alice, ask(alice, later)));
}

TEST_F(RelayServer, RefusesForgedAndExpiredGrants) {
  Client alice = client("203.0.113.1:5");
  const wire::RelayCookie cookie = cookie_of(alice);
  const wire::RelayGrant good = *wire::parse_grant(alice.grant);
  alice.grant = wire::sign_grant(good, crypto::SigningKey::generate(rng));
  EXPECT_EQ(refusal(ask(alice, cookie)), wire::RelayRefusal::kBadGrant);
  alice.grant = wire::sign_grant(good, grant_key);
  alice.grant[3] ^= 1;  // another party
  EXPECT_EQ(refusal(ask(alice, cookie)), wire::RelayRefusal::kBadGrant);
  wire::RelayGrant expired = good;
  expired.expires_unix = unix_seconds(now.wall) - 121;
  alice.grant = wire::sign_grant(expired, grant_key);
  EXPECT_EQ(refusal(ask(alice, cookie)), wire::RelayRefusal::kExpiredGrant);
  EXPECT_EQ(server->sessions(), 0u);
}

TEST_F(RelayServer, AGrantThatSomebodyOverheardIsOfNoUse) {
  Client alice = client("203.0.113.1:5");
  Client mallory = client("203.0.113.9:5", kOtherParty);
  mallory.grant = alice.grant;
  EXPECT_FALSE(ask(mallory, cookie_of(mallory)));
  EXPECT_EQ(server->stats().dropped_bad_mac, 1u);
  EXPECT_EQ(server->sessions(), 0u);
}

TEST_F(RelayServer, AMemberThatMovesKeepsOneSession) {
  Client alice = client("203.0.113.1:5");
  Client bob = client("203.0.113.2:5");
  enter(alice, {7});
  enter(bob, {8});
  alice.at = *Endpoint::parse("[2001:db8::7]:9");
  EXPECT_EQ(refusal(handle(alice.at, wire::write_relay_refresh(1, alice.session, {}, {}, alice.mac_key))),
            wire::RelayRefusal::kUnknownSession);
  EXPECT_TRUE(enter(alice, {7}));
  EXPECT_EQ(server->sessions(), 2u);
  EXPECT_EQ(handle(bob.at, data(7))->to, alice.at);
}

TEST_F(RelayServer, AnAddressThatChangesHandsBelongsToTheNewOne) {
  Client alice = client("203.0.113.1:5");
  Client carol = client("203.0.113.1:5", kOtherParty);
  enter(alice, {7});
  EXPECT_TRUE(enter(carol, {7}));
  EXPECT_EQ(server->sessions(), 1u);
  EXPECT_EQ(server->parties(), 1u);
  EXPECT_EQ(server->stats().sessions_replaced, 1u);
}

TEST_F(RelayServer, RefusesMoreThanItsMaximum) {
  options.sessions_max = 2;
  server.emplace(options, rng);
  Client alice = client("203.0.113.1:5");
  Client bob = client("203.0.113.2:5");
  Client carol = client("203.0.113.3:5");
  EXPECT_TRUE(enter(alice) && enter(bob));
  EXPECT_EQ(refusal(ask(carol, cookie_of(carol))), wire::RelayRefusal::kFull);
  EXPECT_TRUE(enter(alice));  // who is in may register again
}

TEST_F(RelayServer, LimitsRegistrationsPerSecond) {
  options.registrations_per_second = 3;
  server.emplace(options, rng);
  Client alice = client("203.0.113.1:5");
  const wire::RelayCookie cookie = cookie_of(alice);
  int answered = 0;
  for (int i = 0; i < 10; ++i) answered += ask(alice, cookie) ? 1 : 0;
  EXPECT_EQ(answered, 3);
  EXPECT_EQ(server->stats().dropped_registration_rate, 7u);
  pass(1s);
  EXPECT_TRUE(ask(alice, cookie));
}

TEST_F(RelayServer, ForgetsSessionsThatAreNotRefreshedAndThoseWhoseGrantEnds) {
  Client alice = client("203.0.113.1:5");
  Client bob = client("203.0.113.2:5");
  enter(alice, {7});
  enter(bob, {8});
  for (int i = 0; i < 4; ++i) {
    pass(kSessionLifetime / 2);
    EXPECT_TRUE(refresh(bob));
  }
  EXPECT_EQ(server->sessions(), 1u);
  EXPECT_EQ(server->indices(), 1u);
  for (int i = 0; i < 130; ++i) {
    pass(kSessionLifetime / 2);
    refresh(bob);
  }
  EXPECT_EQ(server->sessions(), 0u);
  EXPECT_EQ(server->parties(), 0u);
  EXPECT_EQ(server->stats().sessions_expired, 2u);
}

TEST_F(RelayServer, ForgetsWhoLeavesAndOnlyOnItsOwnWord) {
  Client alice = client("203.0.113.1:5");
  Client bob = client("203.0.113.2:5");
  enter(alice);
  enter(bob);
  handle(alice.at, wire::write_relay_leave({1, alice.session}, bob.mac_key));
  handle(bob.at, wire::write_relay_leave({1, alice.session}, alice.mac_key));
  EXPECT_EQ(server->sessions(), 2u);
  handle(alice.at, wire::write_relay_leave({1, alice.session}, alice.mac_key));
  EXPECT_EQ(server->sessions(), 1u);
}

// ---- Forwarding

TEST_F(RelayServer, CarriesAFrameToThePeerInPlace) {
  Client alice = client("203.0.113.1:5");
  Client bob = client("[2001:db8::2]:5");  // the relay joins the families
  enter(alice);
  enter(bob);
  Bytes datagram = frame(bob, Bytes{1, 2, 3});
  const auto out = server->handle_packet(now, alice.at, datagram);
  ASSERT_TRUE(out);
  EXPECT_EQ(out->to, bob.at);
  EXPECT_EQ(out->datagram.data(), datagram.data());
  const auto delivered = wire::parse_relay_frame(out->datagram);
  EXPECT_EQ(wire::relay_type(out->datagram), wire::RelayType::kDeliver);
  EXPECT_EQ(delivered->peer, wire::relay_peer(alice.public_key));
  EXPECT_EQ(to_bytes(delivered->payload), (Bytes{1, 2, 3}));
}

TEST_F(RelayServer, SaysThatAPeerIsAbsent) {
  Client alice = client("203.0.113.1:5");
  Client bob = client("203.0.113.2:5");
  enter(alice);
  const auto out = handle(alice.at, frame(bob, Bytes{1}));
  EXPECT_EQ(out->to, alice.at);
  EXPECT_EQ(wire::parse_relay_absent(out->datagram)->peer, wire::relay_peer(bob.public_key));
}

TEST_F(RelayServer, TwoPartiesNeverReachEachOther) {
  Client alice = client("203.0.113.1:5");
  Client mallory = client("203.0.113.9:5", kOtherParty);
  enter(alice, {7});
  enter(mallory, {8});
  EXPECT_TRUE(wire::parse_relay_absent(handle(mallory.at, frame(alice, Bytes{1}))->datagram));
  EXPECT_FALSE(handle(mallory.at, data(7)));
  EXPECT_EQ(server->stats().dropped_unknown_index, 1u);
  EXPECT_EQ(enter(mallory, {7}), std::vector<std::uint32_t>{});  // the same number, in another party
  EXPECT_FALSE(handle(mallory.at, data(7)));                     // is one's own
}

TEST_F(RelayServer, CarriesBareMessagesByReceiverIndex) {
  Client alice = client("203.0.113.1:5");
  Client bob = client("203.0.113.2:5");
  enter(alice, {7});
  enter(bob, {8});
  EXPECT_EQ(server->route(now.time, alice.at, data(8)), bob.at);
  EXPECT_EQ(server->route(now.time, bob.at, data(7)), alice.at);
  Bytes cookie_reply(64);
  store_le(cookie_reply.data(), 3u);
  store_le(cookie_reply.data() + 4, 7u);
  EXPECT_EQ(server->route(now.time, bob.at, cookie_reply), alice.at);
  EXPECT_EQ(server->stats().packets_forwarded, 3u);
  EXPECT_EQ(server->stats().bytes_forwarded, 64u * 3);
}

TEST_F(RelayServer, AHandshakeNeedsNoRegisteredIndices) {
  Client alice = client("203.0.113.1:5");
  Client bob = client("203.0.113.2:5");
  enter(alice);
  enter(bob);
  EXPECT_EQ(handle(alice.at, frame(bob, initiation(70)))->to, bob.at);
  EXPECT_EQ(handle(bob.at, response(80, 70))->to, alice.at);
  EXPECT_EQ(handle(alice.at, data(80))->to, bob.at);
  EXPECT_EQ(handle(bob.at, data(70))->to, alice.at);
}

TEST_F(RelayServer, LearnedIndicesAreBoundedAndNeverTakeARegisteredOne) {
  Client alice = client("203.0.113.1:5");
  Client bob = client("203.0.113.2:5");
  enter(alice, {7});
  enter(bob);
  handle(bob.at, frame(alice, initiation(7)));
  EXPECT_EQ(server->route(now.time, bob.at, data(7)), alice.at);
  for (std::uint32_t i = 1000; i < 2000; ++i) handle(bob.at, frame(alice, initiation(i)));
  EXPECT_EQ(server->indices(), 1 + kLearnedPerSession);
}

TEST_F(RelayServer, RegisteredIndicesAreBounded) {
  Client alice = client("203.0.113.1:5");
  enter(alice);
  for (std::uint32_t i = 0; i < 3000; i += 200) {
    std::vector<std::uint32_t> some;
    for (std::uint32_t k = 0; k < 200; ++k) some.push_back(i + k);
    refresh(alice, some);
  }
  EXPECT_EQ(server->indices(), kIndicesPerSession);
}

TEST_F(RelayServer, TellsWhoComesSecondThatAnIndexIsTaken) {
  Client alice = client("203.0.113.1:5");
  Client bob = client("203.0.113.2:5");
  EXPECT_EQ(enter(alice, {7, 9}), std::vector<std::uint32_t>{});
  EXPECT_EQ(enter(bob, {8, 9}), std::vector<std::uint32_t>{9});
  EXPECT_EQ(refresh(bob, {7, 10}), std::vector<std::uint32_t>{7});
  EXPECT_EQ(refresh(alice, {}, {9}), std::vector<std::uint32_t>{});
  EXPECT_EQ(refresh(bob, {9}), std::vector<std::uint32_t>{});
  EXPECT_EQ(server->route(now.time, alice.at, data(9)), bob.at);
}

TEST_F(RelayServer, NobodyRemovesAnothersIndex) {
  Client alice = client("203.0.113.1:5");
  Client bob = client("203.0.113.2:5");
  enter(alice, {7});
  enter(bob);
  refresh(bob, {}, {7});
  EXPECT_EQ(server->route(now.time, bob.at, data(7)), alice.at);
}

TEST_F(RelayServer, ARepeatedRegisterChangesNothing) {
  Client alice = client("203.0.113.1:5");
  Client bob = client("203.0.113.2:5");
  enter(bob);
  const wire::RelayCookie cookie = cookie_of(alice);
  const Bytes question = wire::write_relay_register(++transaction, cookie, alice.grant, {}, alice.mac_key);
  EXPECT_TRUE(registered(alice, handle(alice.at, question)));
  EXPECT_TRUE(refresh(alice, {7}));
  const auto session = alice.session;
  handle(alice.at, question);
  EXPECT_EQ(alice.session, session);
  EXPECT_EQ(server->route(now.time, bob.at, data(7)), alice.at);
  EXPECT_TRUE(refresh(alice));
}

TEST_F(RelayServer, ItsMirrorForwardsAsItDoesWhateverHappened) {
  constexpr std::uint32_t kIndices = 12;
  const char* const places[] = {"203.0.113.1:5", "203.0.113.2:5", "203.0.113.3:5", "203.0.113.4:5", "203.0.113.5:5"};
  std::uint64_t forwarded = 0;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SeededRng random(seed);
    Copy copy;
    server.emplace(options, rng, &copy);
    std::vector<Client> clients;
    for (int i = 0; i < 4; ++i) clients.push_back(client(places[i], i == 3 ? kOtherParty : kParty));
    for (int step = 0; step < 150; ++step) {
      Client& one = clients[random.below(clients.size())];
      const std::vector<std::uint32_t> indices = {static_cast<std::uint32_t>(random.below(kIndices))};
      switch (random.below(7)) {
        case 0:
          one.at = *Endpoint::parse(places[random.below(std::size(places))]);
          [[fallthrough]];
        case 1:
          enter(one, indices);
          break;
        case 2:
          refresh(one, indices);
          break;
        case 3:
          refresh(one, {}, indices);
          break;
        case 4:
          handle(one.at, frame(clients[0], initiation(indices[0])));
          break;
        case 5:
          handle(one.at, response(indices[0], static_cast<std::uint32_t>(random.below(kIndices))));
          break;
        default:
          if (random.below(4) == 0) handle(one.at, wire::write_relay_leave({1, one.session}, one.mac_key));
          pass(std::chrono::seconds(random.below(20)));
      }
      for (const char* place : places) {
        for (std::uint32_t index = 0; index < kIndices; ++index) {
          const Endpoint source = *Endpoint::parse(place);
          ASSERT_EQ(copy.route(source, index), server->route(now.time, source, data(index)))
              << "seed " << seed << ", step " << step << ", from " << place << " to " << index;
        }
      }
    }
    forwarded += server->stats().packets_forwarded;
  }
  EXPECT_GT(forwarded, 2000u);
}

TEST_F(RelayServer, LimitsWhatASessionSends) {
  options.bytes_per_second = 1000;
  options.burst_bytes = 2000;
  server.emplace(options, rng);
  Client alice = client("203.0.113.1:5");
  Client bob = client("203.0.113.2:5");
  enter(alice);
  enter(bob, {8});
  int forwarded = 0;
  for (int i = 0; i < 100; ++i) forwarded += server->route(now.time, alice.at, data(8, 100)) ? 1 : 0;
  EXPECT_EQ(forwarded, 20);
  EXPECT_EQ(server->stats().dropped_rate, 80u);
  now.time += 1s;
  forwarded = 0;
  for (int i = 0; i < 100; ++i) forwarded += server->route(now.time, alice.at, data(8, 100)) ? 1 : 0;
  EXPECT_EQ(forwarded, 10);
}

// ---- Strangers

TEST_F(RelayServer, HintsToStrangersAreSmallAndFew) {
  int hints = 0;
  for (std::uint16_t port = 1; port < 1000; ++port) {
    const auto out = handle({IpAddress::v4(203, 0, 113, 50), port}, data(8, 32));
    if (!out) continue;
    ++hints;
    EXPECT_LE(out->datagram.size(), 32u);
    EXPECT_EQ(wire::parse_relay_refused(out->datagram)->transaction, 0u);
  }
  EXPECT_EQ(hints, static_cast<int>(kHintsPerSecond));
}

TEST_F(RelayServer, DropsWhatItDoesNotSpeak) {
  const Endpoint stranger = *Endpoint::parse("203.0.113.50:5");
  EXPECT_FALSE(handle(stranger, Bytes(1)));
  EXPECT_FALSE(handle(stranger, Bytes(100, 0xff)));
  EXPECT_FALSE(handle(stranger, initiation(1)));  // bare
  EXPECT_FALSE(handle(stranger, data(1, 31)));
  EXPECT_EQ(server->sessions(), 0u);
}

TEST_F(RelayServer, MemoryIsFlatUnderAFloodOfRegistrations) {
  options.sessions_max = 50;
  options.registrations_per_second = 100000;
  server.emplace(options, rng);
  for (std::uint16_t i = 1; i <= 200; ++i) {
    Client c = client("203.0.113.1:5", {static_cast<std::uint8_t>(i), 9});
    c.at.port = i;
    enter(c, {i});
  }
  EXPECT_EQ(server->sessions(), 50u);
  EXPECT_EQ(server->indices(), 50u);
  EXPECT_EQ(server->stats().dropped_full, 150u);
}

// ---- The end

TEST_F(RelayServer, TellsItsMembersThatItStopsUntilTheyLeave) {
  Client alice = client("203.0.113.1:5"), bob = client("203.0.113.2:5");
  ASSERT_TRUE(enter(alice, {1}));
  ASSERT_TRUE(enter(bob, {2}));
  EXPECT_FALSE(server->poll_drain(now.time));
  EXPECT_FALSE(server->is_drained(now.time));
  server->begin_drain(now.time);
  const auto told = [&] {
    std::vector<Endpoint> all;
    while (const auto out = server->poll_drain(now.time)) {
      const Client& to = out->to == alice.at ? alice : bob;
      const auto message = wire::parse_relay_drain(out->datagram);
      EXPECT_TRUE(message && message->session == to.session && message->seconds <= 30);
      EXPECT_TRUE(wire::verify_relay_mac(out->datagram, to.mac_key));
      all.push_back(out->to);
    }
    return all;
  };
  EXPECT_EQ(told().size(), 2u);
  EXPECT_TRUE(told().empty());
  pass(kDrainAgain);
  EXPECT_EQ(told().size(), 2u);
  EXPECT_EQ(handle(alice.at, data(2))->to, bob.at);  // it forwards on
  handle(alice.at, wire::write_relay_leave({1, alice.session}, alice.mac_key));
  pass(kDrainAgain);
  EXPECT_EQ(told(), std::vector<Endpoint>{bob.at});
  EXPECT_FALSE(server->is_drained(now.time));
  Client carol = client("203.0.113.3:5");
  EXPECT_EQ(refusal(ask(carol, cookie_of(carol))), wire::RelayRefusal::kFull);
  handle(bob.at, wire::write_relay_leave({1, bob.session}, bob.mac_key));
  EXPECT_TRUE(server->is_drained(now.time));
}

TEST_F(RelayServer, IsDrainedOnceAllAreToldWhereNobodyUsedIt) {
  Client alice = client("203.0.113.1:5"), bob = client("203.0.113.2:5");
  ASSERT_TRUE(enter(alice, {1}));
  ASSERT_TRUE(enter(bob, {2}));
  ASSERT_TRUE(handle(alice.at, data(2)));
  pass(kDrainQuiet);
  server->begin_drain(now.time);
  EXPECT_FALSE(server->is_drained(now.time));
  int told = 0;
  while (server->poll_drain(now.time)) ++told;
  EXPECT_EQ(told, 2);
  EXPECT_TRUE(server->is_drained(now.time));
}

TEST_F(RelayServer, DrainsUntilNobodyUsesItButNotForEver) {
  Client alice = client("203.0.113.1:5"), bob = client("203.0.113.2:5");
  ASSERT_TRUE(enter(alice, {1}));
  ASSERT_TRUE(enter(bob, {2}));
  server->begin_drain(now.time);
  while (server->poll_drain(now.time)) {
  }
  pass(kDrainQuiet - 1s);
  ASSERT_TRUE(handle(alice.at, data(2)));
  pass(kDrainQuiet - 1s);
  EXPECT_FALSE(server->is_drained(now.time));
  pass(1s);
  EXPECT_TRUE(server->is_drained(now.time));
  for (Duration spent = kDrainQuiet; spent < kDrainTime; spent += 1s) {
    ASSERT_TRUE(handle(alice.at, data(2)));
    pass(1s);
  }
  EXPECT_TRUE(server->is_drained(now.time));
}

}  // namespace
}  // namespace lanrage::relay
