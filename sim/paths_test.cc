// Two members find each other: selectors, STUN and relay clients against the relay's core, over the virtual network.
// A member here is only what finds paths; "data" is a WireGuard-shaped datagram sent to wherever the selector says.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "paths/candidates.h"
#include "paths/relay_client.h"
#include "paths/selector.h"
#include "paths/stun_client.h"
#include "relay/server.h"
#include "relay/stun_server.h"
#include "sim/network.h"
#include "wire/demux.h"

namespace lanrage::sim {
namespace {

using namespace std::chrono_literals;
using paths::PeerState;

constexpr std::uint16_t kPort = 41820;
constexpr std::uint16_t kNodePort = 5555;
const IpAddress kServer = IpAddress::v4(198, 51, 100, 1);
const IpAddress kFar = IpAddress::v4(198, 51, 100, 2);
constexpr wire::PartyIdBytes kParty = {1};

Link link(Duration delay) { return {.delay = delay}; }

struct World {
  Scheduler scheduler;
  Network network;
  SeededRng rng;
  crypto::SigningKey grant_key = crypto::SigningKey::generate(rng);
  crypto::PrivateKey relay_key = crypto::PrivateKey::generate(rng);
  std::optional<relay::Server> relay;
  std::optional<crypto::PrivateKey> far_key;
  std::optional<relay::Server> far;
  Network::HostId far_host = 0;
  bool drained = false;
  relay::StunServer stun{{kPort, kPort + 1, {}}};
  Network::HostId server;

  explicit World(std::uint64_t seed = 1) : network(scheduler, seed), rng(seed) {
    start_relay();
    server = network.add_host(Network::kInternet, {kServer}, link(5ms),
                              [this](const Endpoint& source, const Endpoint& destination, const Bytes& datagram) {
                                if (!relay) return;
                                Bytes buffer = datagram;
                                if (wire::protocol_of(datagram) == wire::Protocol::kStun) {
                                  buffer.resize(wire::kStunResponseBytesMax);
                                  const auto answer =
                                      stun.answer(scheduler.now(), source, destination, datagram, buffer);
                                  if (!answer) return;
                                  buffer.resize(answer->size);
                                  return network.send(server, destination.port, answer->to, buffer);
                                }
                                if (const auto out = relay->handle_packet(now(), source, buffer)) {
                                  network.send(server, destination.port, out->to, to_bytes(out->datagram));
                                }
                              });
    sweep();
  }
  // Another one, further away.
  void start_far() {
    far_key = crypto::PrivateKey::generate(rng);
    far.emplace(relay::ServerOptions{.key = *far_key, .grant_keys = {crypto::verify_key(grant_key)}}, rng);
    far_host = network.add_host(Network::kInternet, {kFar}, link(25ms),
                                [this](const Endpoint& source, const Endpoint& destination, const Bytes& datagram) {
                                  Bytes buffer = datagram;
                                  if (const auto out = far->handle_packet(now(), source, buffer))
                                    network.send(far_host, destination.port, out->to, to_bytes(out->datagram));
                                });
  }
  // Tells its members until it is drained; then it is gone.
  void drain_relay() {
    relay->begin_drain(scheduler.now());
    while (const auto out = relay->poll_drain(scheduler.now()))
      network.send(server, kPort, out->to, to_bytes(out->datagram));
    drained = relay->is_drained(scheduler.now());
    if (drained) return relay.reset();
    scheduler.post(scheduler.now() + relay::kDrainAgain, [this] { drain_relay(); });
  }
  void start_relay() {
    relay.emplace(relay::ServerOptions{.key = relay_key, .grant_keys = {crypto::verify_key(grant_key)}}, rng);
  }
  void sweep() {
    if (relay) relay->handle_timeout(now());
    scheduler.post(scheduler.now() + 1s, [this] { sweep(); });
  }
  Now now() const { return {scheduler.now(), from_unix_seconds(1'700'000'000) + scheduler.now().time_since_epoch()}; }
  void run(Duration d) { scheduler.run_until(scheduler.now() + d); }
};

// One member with one peer.
struct Member {
  World& world;
  SeededRng rng;
  crypto::PrivateKey key;
  crypto::PublicKey public_key;
  Network::HostId host = 0;
  paths::StunClient stun;
  paths::RelayClient relays;
  std::optional<paths::Selector> selector;
  Member* peer = nullptr;
  std::uint32_t instance;
  std::uint32_t index;  // our receiver index
  std::uint32_t generation = 0;
  bool signalling = true;
  bool direct_broken = false;
  int signals = 0;
  int restarts_seen = 0;
  std::vector<Path> chosen;
  std::vector<Time> data_received;
  std::size_t data_sent = 0;
  std::optional<Path> last_data_path;
  Time wake_at = kNever;

  Member(World& w, std::uint64_t seed, Network::DomainId domain, std::vector<IpAddress> addresses, Duration delay = 1ms)
      : world(w),
        rng(seed),
        key(crypto::PrivateKey::generate(rng)),
        public_key(crypto::public_key(key)),
        stun(rng),
        relays(key, rng),
        instance(rng.u32()),
        index(rng.u32()) {
    host = world.network.add_host(
        domain, std::move(addresses), link(delay),
        [this](const Endpoint& source, const Endpoint&, const Bytes& datagram) { receive(source, datagram); });
  }

  Time now() const { return world.scheduler.now(); }

  void make_selector() {
    selector.emplace(paths::SelectorOptions{public_key, peer->public_key, instance, kNodePort, false}, rng);
    paths::ProbeKey probe_key;
    probe_key.mutable_bytes()[0] = 42;
    selector->set_keys({probe_key});
  }

  // Online: asks the server about itself, registers, and begins with its peer.
  void start(Member& other) {
    peer = &other;
    make_selector();
    stun.set_servers(now(), {{kServer, kPort}, {kServer, kPort + 1}});
    std::vector<paths::RelayAddress> all = {{crypto::public_key(world.relay_key), {{kServer, kPort}}}};
    if (world.far) all.push_back({crypto::public_key(*world.far_key), {{kFar, kPort}}});
    relays.set_relays(now(), all);
    relays.set_grant(
        now(), wire::sign_grant({.party = kParty, .peer = public_key, .expires_unix = 1'800'000'000}, world.grant_key));
    relays.add_index(now(), index);
    update_local();
    selector->start(now());
    drive();
  }

  std::vector<paths::Candidate> candidates() {
    paths::CandidateSources sources;
    for (const IpAddress& address : world.network.addresses(host)) sources.interfaces.push_back({{address, 24}, false});
    sources.port = kNodePort;
    if (stun.report().mapping != paths::Mapping::kDependent) sources.server_reflexive = stun.report().public_endpoints;
    return paths::gather_candidates(sources);
  }
  void update_local() {
    stun.set_local(world.network.addresses(host), kNodePort);
    selector->set_local(stun.report(), candidates());
  }

  void send_to(const Path& path, ByteView datagram) {
    if (direct_broken && !path.relayed) return;
    if (!path.relayed || wire::protocol_of(datagram) == wire::Protocol::kWireGuard) {
      world.network.send(host, kNodePort, path.endpoint, to_bytes(datagram));
      return;
    }
    Bytes frame(wire::kRelayHeaderBytes + datagram.size());
    paths::RelayClient::frame(wire::relay_peer(peer->public_key), datagram, frame);
    world.network.send(host, kNodePort, path.endpoint, std::move(frame));
  }
  void send_data() {
    ++data_sent;
    if (!selector->selected()) return;
    Bytes data(64);
    store_le(data.data(), 4u);
    store_le(data.data() + 4, peer->index);
    send_to(*selector->selected(), data);
    selector->handle_traffic(now());
    drive();
  }

  void receive(const Endpoint& source, const Bytes& datagram) {
    if (!selector) return;
    Path path{source, false};
    ByteView payload = datagram;
    if (wire::protocol_of(payload) == wire::Protocol::kRelay) {
      const auto inbound = relays.handle_packet(now(), source, payload);
      if (inbound) {
        path = inbound->path;
        payload = inbound->payload;
      }
    }
    switch (wire::protocol_of(payload)) {
      case wire::Protocol::kStun:
        stun.handle_packet(now(), source, payload);
        break;
      case wire::Protocol::kProbe:
        selector->handle_packet(now(), path, payload);
        break;
      case wire::Protocol::kWireGuard:
        last_data_path = Path{source, relays.is_relay(source)};
        data_received.push_back(now());
        selector->handle_received(now(), *last_data_path, now());
        selector->handle_traffic(now());
        break;
      default:
        break;
    }
    drive();
  }

  void signal(bool call_me_now) {
    ++signals;
    if (!signalling || !peer->signalling) return;
    wire::PeerSignal message;
    message.call_me_now = call_me_now;
    message.udp_blocked = stun.report().udp_blocked;
    message.mapping = stun.report().mapping;
    message.instance = instance;
    message.generation = ++generation;
    message.candidates = candidates();
    world.scheduler.post(now() + 20ms, [this, message] {
      if (!peer->selector) return;
      peer->selector->handle_signal(peer->now(), message);
      peer->drive();
    });
  }

  void drive() {
    while (const auto report = stun.poll_event()) {
      update_local();
      selector->restart(now());
    }
    while (const auto event = relays.poll_event()) {
      using enum paths::RelayClient::Event::Kind;
      if (event->kind == kRegistered || event->kind == kLost || event->kind == kDraining)
        selector->set_relays(now(), relays.registered());
      if (event->kind == kAbsent) selector->handle_relay_absent(now(), event->path);
    }
    while (const auto event = selector->poll_event()) {
      using enum paths::Selector::Event::Kind;
      if (event->kind == kSignal) signal(event->call_me_now);
      if (event->kind == kSelected) chosen.push_back(event->path);
      if (event->kind == kPeerRestarted) ++restarts_seen;
      if (event->kind == kRelaySilent) relays.check(now(), event->path);
    }
    while (const auto out = relays.poll_transmit()) world.network.send(host, kNodePort, out->to, out->datagram);
    while (const auto out = stun.poll_transmit()) world.network.send(host, kNodePort, out->to, to_bytes(out->datagram));
    while (const auto out = selector->poll_transmit()) send_to(out->path, out->datagram);
    EXPECT_TRUE(selector->is_consistent());
    arm();
  }

  void arm() {
    Time next = kNever;
    for (const auto& due : {stun.next_timeout(), relays.next_timeout(), selector->next_timeout()}) {
      if (due) next = std::min(next, *due);
    }
    if (next == kNever || (wake_at > now() && wake_at <= next)) return;
    wake_at = std::max(next, now() + 1us);
    world.scheduler.post(wake_at, [this] {
      if (now() < wake_at) return;  // armed anew since
      wake_at = kNever;
      stun.handle_timeout(now());
      relays.handle_timeout(now());
      selector->handle_timeout(now());
      drive();
    });
  }

  void stream(Duration every, Time until) {
    send_data();
    if (now() + every <= until) world.scheduler.post(now() + every, [this, every, until] { stream(every, until); });
  }

  // The longest time without data from `from` on.
  Duration silence_since(Time from) const {
    Duration longest{};
    Time last = from;
    for (const Time at : data_received) {
      if (at > from) longest = std::max(longest, at - last);
      last = std::max(last, at);
    }
    return std::max(longest, now() - last);
  }

  bool is_direct() const { return selector->is_valid() && !selector->selected()->relayed; }
  bool is_relayed() const { return selector->is_valid() && selector->selected()->relayed; }
};

enum class Kind { kOpen, kEasy, kCone, kSymmetric, kCarrierEasy, kCarrierSymmetric };
constexpr std::array kKinds = {Kind::kOpen,      Kind::kEasy,        Kind::kCone,
                               Kind::kSymmetric, Kind::kCarrierEasy, Kind::kCarrierSymmetric};

std::unique_ptr<Member> place(World& world, Kind kind, std::uint8_t number) {
  const auto wan = IpAddress::v4(203, 0, number, 1);
  const auto lan = IpAddress::v4(192, 168, number, 2);
  const auto uplink = link(10ms);
  Network::DomainId domain = Network::kInternet;
  if (kind == Kind::kCarrierEasy || kind == Kind::kCarrierSymmetric) {
    const Nat carrier = kind == Kind::kCarrierEasy ? Nat::easy() : Nat::symmetric();
    const auto outer = world.network.add_domain(domain, carrier, wan, uplink);
    domain = world.network.add_domain(outer, Nat::easy(), IpAddress::v4(100, 64, number, 7), link(1ms));
  } else if (kind != Kind::kOpen) {
    const Nat nat = kind == Kind::kEasy ? Nat::easy() : kind == Kind::kCone ? Nat::cone() : Nat::symmetric();
    domain = world.network.add_domain(domain, nat, wan, uplink);
  }
  return std::make_unique<Member>(world, 100 + number, domain, std::vector<IpAddress>{kind == Kind::kOpen ? wan : lan});
}

bool is_symmetric(Kind kind) { return kind == Kind::kSymmetric || kind == Kind::kCarrierSymmetric; }
bool lets_anybody_in(Kind kind) { return kind == Kind::kOpen || kind == Kind::kCone; }
bool can_be_direct(Kind a, Kind b) {
  if (is_symmetric(a)) return lets_anybody_in(b);
  if (is_symmetric(b)) return lets_anybody_in(a);
  return true;
}

TEST(Paths, EveryPairOfNatsConnectsAsTheTableSays) {
  for (const Kind a : kKinds) {
    for (const Kind b : kKinds) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(a) << " - " << static_cast<int>(b));
      World world(static_cast<std::uint64_t>(a) * 10 + static_cast<std::uint64_t>(b) + 1);
      const auto alice = place(world, a, 1);
      const auto bob = place(world, b, 2);
      alice->start(*bob);
      world.run(300ms);
      bob->start(*alice);
      world.run(500ms);
      EXPECT_EQ(alice->selector->state(), PeerState::kConnected);
      EXPECT_EQ(bob->selector->state(), PeerState::kConnected);
      world.run(2500ms);
      for (Member* member : {alice.get(), bob.get()}) {
        EXPECT_EQ(member->is_direct(), can_be_direct(a, b)) << member->selector->why(member->now());
        EXPECT_TRUE(member->is_direct() || member->is_relayed());
      }
      world.run(10s);
      EXPECT_EQ(alice->selector->why(alice->now()).empty(), can_be_direct(a, b));
      if (is_symmetric(a) && is_symmetric(b)) {
        EXPECT_NE(alice->selector->why(alice->now()).find("symmetric"), std::string::npos);
      }
    }
  }
}

TEST(Paths, TwoPeersOnOneLanUseTheLan) {
  for (const bool hairpin : {false, true}) {
    World world;
    Nat nat = Nat::easy();
    nat.hairpin = hairpin;
    const auto home = world.network.add_domain(Network::kInternet, nat, IpAddress::v4(203, 0, 1, 1), link(10ms));
    Member alice(world, 1, home, {IpAddress::v4(192, 168, 1, 2)});
    Member bob(world, 2, home, {IpAddress::v4(192, 168, 1, 3)});
    alice.start(bob);
    bob.start(alice);
    world.run(2s);
    EXPECT_EQ(alice.selector->selected(), (Path{{IpAddress::v4(192, 168, 1, 3), kNodePort}, false}));
    EXPECT_EQ(bob.selector->selected(), (Path{{IpAddress::v4(192, 168, 1, 2), kNodePort}, false}));
    EXPECT_LT(*alice.selector->quality()->rtt_ema(), 10ms);
  }
}

TEST(Paths, TheFirstPacketGoesByTheRelayBeforeAnythingIsProven) {
  World world;
  const auto alice = place(world, Kind::kEasy, 1);
  const auto bob = place(world, Kind::kEasy, 2);
  bob->start(*alice);
  world.run(300ms);
  alice->signalling = false;
  alice->start(*bob);
  while (alice->chosen.empty() && world.now().time < Time{2s}) world.run(1ms);
  ASSERT_FALSE(alice->chosen.empty());
  EXPECT_LE(world.now().time, Time{300ms + 3 * 33ms});  // two round trips to the relay
  EXPECT_TRUE(alice->chosen.front().relayed);
  alice->send_data();
  world.run(40ms);
  EXPECT_EQ(bob->data_received.size(), 1u);
}

TEST(Paths, APathThatDiesSilentlyIsLeftForTheRelayAndTakenAgain) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    World world(seed);
    const auto alice = place(world, Kind::kEasy, 1);
    const auto bob = place(world, Kind::kEasy, 2);
    alice->start(*bob);
    bob->start(*alice);
    world.run(3s + 77ms * seed);
    ASSERT_TRUE(alice->is_direct() && bob->is_direct());
    alice->stream(20ms, world.now().time + 120s);
    bob->stream(20ms, world.now().time + 120s);
    world.run(5s);
    const Time broke = world.now().time;
    alice->direct_broken = bob->direct_broken = true;
    world.run(2s);
    EXPECT_TRUE(alice->is_relayed() && bob->is_relayed());
    EXPECT_LE(alice->silence_since(broke), 1600ms);
    EXPECT_LE(bob->silence_since(broke), 1600ms);
    world.run(50s);
    EXPECT_TRUE(alice->is_relayed());
    alice->direct_broken = bob->direct_broken = false;
    world.run(5s);
    EXPECT_TRUE(alice->is_direct() && bob->is_direct());
  }
}

TEST(Paths, ARoamingPeerIsFollowedWithinTwoRoundTrips) {
  World world;
  const auto alice = place(world, Kind::kEasy, 1);
  const auto bob = place(world, Kind::kOpen, 2);
  alice->start(*bob);
  bob->start(*alice);
  world.run(3s);
  ASSERT_TRUE(alice->is_direct() && bob->is_direct());
  const Duration rtt = *bob->selector->quality()->rtt_ema();
  alice->stream(10ms, world.now().time + 10s);
  bob->stream(10ms, world.now().time + 10s);
  world.run(5s);
  // Alice's router restarts: bob sees her packets from another place.
  const Time moved = world.now().time;
  world.network.forget_mappings(1);
  world.run(2s);
  EXPECT_LE(alice->silence_since(moved), 2 * rtt + 50ms);
}

TEST(Paths, AnIdlePathThatDiesIsNoticedByTheNextPacketsProbe) {
  World world;
  const auto home = world.network.add_domain(Network::kInternet, Nat::easy(), IpAddress::v4(203, 0, 1, 1), link(10ms));
  Member alice(world, 1, home, {IpAddress::v4(192, 168, 1, 2)});
  Member bob(world, 2, home, {IpAddress::v4(192, 168, 1, 3)});
  alice.start(bob);
  bob.start(alice);
  world.run(60s);
  ASSERT_TRUE(alice.is_direct());
  // Bob leaves the LAN for a network of his own; his registration follows, alice is left with his old address.
  bob.signalling = false;
  world.network.move_host(bob.host, Network::kInternet, {IpAddress::v4(203, 0, 9, 9)});
  bob.relays.restart(bob.now());
  bob.drive();
  world.run(100ms);
  alice.stream(20ms, world.now().time + 10s);
  world.run(1500ms);
  EXPECT_NE(alice.selector->selected()->endpoint.address, IpAddress::v4(192, 168, 1, 3));
  EXPECT_FALSE(bob.data_received.empty());
}

TEST(Paths, ARestartedRelayIsRegisteredWithAgainWithinASecondOfTraffic) {
  World world;
  const auto alice = place(world, Kind::kSymmetric, 1);
  const auto bob = place(world, Kind::kSymmetric, 2);
  alice->start(*bob);
  bob->start(*alice);
  world.run(5s);
  ASSERT_TRUE(alice->is_relayed());
  alice->stream(20ms, world.now().time + 10s);
  bob->stream(20ms, world.now().time + 10s);
  world.run(2s);
  world.start_relay();  // it knows nobody
  const auto before = alice->data_received.size();
  world.run(1s);
  EXPECT_GT(alice->data_received.size(), before + 25);
  EXPECT_TRUE(alice->is_relayed());
}

TEST(Paths, ADrainedRelayIsLeftWithoutLosingAPacket) {
  World world;
  world.start_far();
  const auto alice = place(world, Kind::kSymmetric, 1);
  const auto bob = place(world, Kind::kSymmetric, 2);
  alice->start(*bob);
  bob->start(*alice);
  world.run(10s);
  ASSERT_EQ(alice->selector->selected(), (Path{{kServer, kPort}, true}));
  const Time end = alice->now() + 8s;
  alice->stream(10ms, end);
  bob->stream(10ms, end);
  world.run(2s);
  world.drain_relay();
  world.run(500ms);
  for (Member* member : {alice.get(), bob.get()}) EXPECT_EQ(member->selector->selected(), (Path{{kFar, kPort}, true}));
  world.run(3s);
  EXPECT_TRUE(world.drained);  // both have left
  world.run(4s);
  EXPECT_EQ(alice->data_received.size(), bob->data_sent);
  EXPECT_EQ(bob->data_received.size(), alice->data_sent);
}

TEST(Paths, ADrainedRelayIsUsedToItsEndWhereThereIsNoOther) {
  World world;
  const auto alice = place(world, Kind::kSymmetric, 1);
  const auto bob = place(world, Kind::kSymmetric, 2);
  alice->start(*bob);
  bob->start(*alice);
  world.run(10s);
  const Time end = alice->now() + relay::kDrainTime - 1s;
  alice->stream(10ms, end);
  bob->stream(10ms, end);
  world.drain_relay();
  world.run(relay::kDrainTime - 500ms);
  EXPECT_FALSE(world.drained);
  EXPECT_EQ(alice->data_received.size(), bob->data_sent);
  EXPECT_EQ(bob->data_received.size(), alice->data_sent);
  world.run(2s);
  EXPECT_TRUE(world.drained);
  EXPECT_FALSE(alice->selector->selected());
  world.start_relay();  // it is back
  world.run(paths::kRelayBackoffMax + 5s);
  EXPECT_TRUE(alice->is_relayed());
  EXPECT_TRUE(bob->is_relayed());
}

// The nearer relay dies and is started again, over and over, under a game: soon, or after up to a minute.
TEST(Paths, ARelayThatDiesAgainAndAgainIsUsedAgainEachTime) {
#ifdef LANRAGE_SANITIZED
  constexpr std::uint64_t kSeeds = 4;
#else
  constexpr std::uint64_t kSeeds = 40;
#endif
  Duration longest{};
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(seed);
    World world(seed);
    world.start_far();
    SeededRng dice(seed);
    const auto alice = place(world, Kind::kSymmetric, 1);
    const auto bob = place(world, Kind::kSymmetric, 2);
    alice->start(*bob);
    bob->start(*alice);
    world.run(10s);
    alice->stream(20ms, kNever);
    bob->stream(20ms, kNever);
    const Path near{{kServer, kPort}, true};
    for (int round = 0; round < 10; ++round) {
      world.relay.reset();
      world.run(1500ms + 1ms * dice.below(seed % 2 == 0 ? 60'000 : 3'000));
      world.start_relay();
      const Time back = world.scheduler.now();
      const auto are_back = [&] { return alice->selector->selected() == near && bob->selector->selected() == near; };
      while (!are_back() && world.scheduler.now() - back < 100s) world.run(50ms);
      longest = std::max(longest, world.scheduler.now() - back);
      world.run(2s);
    }
  }
  std::printf("used again after %.1f s at most\n", milliseconds(longest) / 1000);
  EXPECT_LE(longest, 20s);
}

TEST(Paths, WithoutARelayASymmetricPairIsUnreachableAndSaysWhatToDo) {
  World world;
  world.relay.reset();
  const auto alice = place(world, Kind::kSymmetric, 1);
  const auto bob = place(world, Kind::kSymmetric, 2);
  alice->start(*bob);
  bob->start(*alice);
  world.run(6s);
  EXPECT_EQ(alice->selector->state(), PeerState::kUnreachable);
  EXPECT_FALSE(alice->selector->why(alice->now()).empty());
}

TEST(Paths, ANetworkThatBlocksUdpIsNamedOnBothSides) {
  World world;
  const auto home =
      world.network.add_domain(Network::kInternet, Nat::udp_blocked(), IpAddress::v4(203, 0, 1, 1), link(10ms));
  Member alice(world, 1, home, {IpAddress::v4(192, 168, 1, 2)});
  const auto bob = place(world, Kind::kEasy, 2);
  alice.start(*bob);
  bob->start(alice);
  world.run(8s);
  EXPECT_EQ(alice.selector->state(), PeerState::kUnreachable);
  EXPECT_NE(alice.selector->why(alice.now()).find("this network blocks UDP"), std::string::npos);
  EXPECT_EQ(bob->selector->state(), PeerState::kUnreachable);
  EXPECT_NE(bob->selector->why(bob->now()).find("other side's network blocks UDP"), std::string::npos);
}

TEST(Paths, ALossyLineDoesNotMakeThePathFlap) {
  for (std::uint64_t seed = 1; seed <= 3; ++seed) {
    World world(seed);
    const Link lossy{.delay = 20ms, .jitter = 5ms, .loss = 0.05, .duplicate = 0.01, .reorder = 0.02};
    const auto a = world.network.add_domain(Network::kInternet, Nat::easy(), IpAddress::v4(203, 0, 1, 1), lossy);
    Member alice(world, seed, a, {IpAddress::v4(192, 168, 1, 2)});
    const auto bob = place(world, Kind::kEasy, 2);
    alice.start(*bob);
    bob->start(alice);
    world.run(5s);
    ASSERT_TRUE(alice.is_direct());
    alice.stream(20ms, world.now().time + 120s);
    bob->stream(20ms, world.now().time + 120s);
    const auto changes = alice.chosen.size();
    world.run(120s);
    EXPECT_LE(alice.chosen.size() - changes, 3u) << "seed " << seed;
    const double loss = *alice.selector->quality()->loss_percent();
    EXPECT_GT(loss, 1.0);
    EXPECT_LT(loss, 25.0);
  }
}

TEST(Paths, AnIdlePairSendsLittle) {
  World world;
  const auto alice = place(world, Kind::kEasy, 1);
  const auto bob = place(world, Kind::kEasy, 2);
  alice->start(*bob);
  bob->start(*alice);
  world.run(20s);
  const auto before = alice->selector->stats().pings_sent;
  const auto signals = alice->signals;
  world.run(600s);
  EXPECT_TRUE(alice->is_direct());
  EXPECT_LE(alice->selector->stats().pings_sent - before, 60u);  // the path and the relay, every 25 s
  EXPECT_EQ(alice->signals, signals);
}

TEST(Paths, APeerThatRestartedIsReportedOnce) {
  World world;
  const auto alice = place(world, Kind::kEasy, 1);
  const auto bob = place(world, Kind::kEasy, 2);
  alice->start(*bob);
  bob->start(*alice);
  world.run(3s);
  bob->instance = 12345;
  bob->make_selector();
  bob->start(*alice);
  world.run(3s);
  EXPECT_EQ(alice->restarts_seen, 1);
  EXPECT_TRUE(alice->is_direct());
  EXPECT_TRUE(bob->is_direct());
}

}  // namespace
}  // namespace lanrage::sim
