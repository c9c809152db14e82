// What paths::NatDiscovery and paths::BindingLifetime say of networks behind every NAT of RFC 4787, and what it costs.
#include <gtest/gtest.h>

#include "paths/binding_lifetime.h"
#include "paths/nat_discovery.h"
#include "relay/stun_server.h"
#include "sim/network.h"
#include "wire/stun.h"

namespace lanrage::sim {
namespace {

using namespace std::chrono_literals;
using Found = paths::Dependence;

const IpAddress kServer = IpAddress::v4(198, 41, 0, 1);
const IpAddress kServerTwo = IpAddress::v4(198, 41, 0, 2);
const IpAddress kServer6 = *IpAddress::parse("2a01:4f8::1");
constexpr std::uint16_t kPort = 41820;

// A machine behind a NAT and a server of one or two addresses, 15 ms away.
struct Scene {
  Scheduler scheduler;
  Network network;
  SeededRng rng{1};
  paths::NatDiscovery discovery{rng};
  paths::BindingLifetime lifetime{rng};
  relay::StunServer stun;
  Network::HostId server{}, host{};
  std::vector<IpAddress> own;
  std::vector<Endpoint> servers;
  std::uint16_t first_port = 50000;
  std::size_t sent = 0;
  std::optional<paths::DiscoveryReport> report;
  std::optional<paths::LifetimeReport> remembered;
  bool deaf_to_ports = false;                // the server is one that knows no RESPONSE-PORT
  std::optional<IpAddress> second_router{};  // the router here stands behind it, and neither keeps silent
  bool leads_all_here = false;               // the router here passes all that comes to its address outside on to us

  Scene(const Nat& nat, bool two_addresses, bool v6 = false, std::uint16_t second_port = kPort + 1, double loss = 0,
        std::uint64_t seed = 1)
      : network(scheduler, seed),
        stun({kPort, second_port, two_addresses ? std::vector{kServer, kServerTwo} : std::vector<IpAddress>{}}) {
    server = network.add_host(Network::kInternet, {kServer, kServer6, kServerTwo}, {.delay = 10ms},
                              [this](const Endpoint& source, const Endpoint& destination, const Bytes& datagram) {
                                if (destination.port != kPort && destination.port != kPort + 1) return;
                                if (deaf_to_ports && wire::parse_stun_request(datagram)->response_port) return;
                                Bytes out(wire::kStunResponseBytesMax);
                                const auto answer = stun.answer(scheduler.now(), source, destination, datagram, out);
                                if (!answer) return;
                                out.resize(answer->size);
                                network.send_as(server, answer->from, answer->to, out);
                              });
    own = {v6 ? *IpAddress::parse("2a02:908::2") : IpAddress::v4(192, 168, 1, 2)};
    const auto lan = network.add_domain(Network::kInternet, nat, IpAddress::v4(5, 1, 1, 1), {.loss = loss});
    place(lan);
    const IpAddress main = v6 ? kServer6 : kServer;
    servers = {{main, kPort}};
    if (two_addresses) servers.push_back({kServerTwo, kPort});
    if (second_port != 0) servers.push_back({main, second_port});
  }
  void place(Network::DomainId domain) {
    host = network.add_host(domain, own, {.delay = 5ms},
                            [this](const Endpoint& source, const Endpoint& destination, const Bytes& datagram) {
                              using Socket = paths::NatDiscovery::Socket;
                              const Socket socket = destination.port == first_port ? Socket::kFirst : Socket::kSecond;
                              discovery.handle_packet(scheduler.now(), socket, source, datagram);
                              lifetime.handle_packet(scheduler.now(), socket, source, datagram);
                              drive();
                            });
  }
  void drive() {
    const auto next = [this] {
      auto out = discovery.poll_transmit();
      return out ? std::move(out) : lifetime.poll_transmit();
    };
    while (const auto out = next()) {
      ++sent;
      const bool first = out->socket == paths::NatDiscovery::Socket::kFirst;
      if (out->hops != 0) {
        pass(*out);
        continue;
      }
      network.send(host, static_cast<std::uint16_t>(first_port + (first ? 0 : 1)), out->to, out->datagram);
    }
    if (auto found = discovery.poll_event()) report = *found;
    if (const auto found = lifetime.poll_event()) remembered = *found;
    if (const auto due = lifetime.next_timeout()) {
      scheduler.post(*due, [this] {
        lifetime.handle_timeout(scheduler.now());
        drive();
      });
    }
    if (const auto due = discovery.next_timeout()) {
      scheduler.post(*due, [this] {
        discovery.handle_timeout(scheduler.now());
        drive();
      });
    }
  }
  // What may pass so many routers.
  void pass(const paths::NatDiscovery::Transmit& out) {
    const bool to_server = out.to.address == servers.front().address;
    if (out.hops == 1 && (second_router || leads_all_here))
      return discovery.handle_expired(scheduler.now(), IpAddress::v4(192, 168, 1, 1), out.to);
    if (out.hops == 2 && !to_server && leads_all_here && !second_router)
      return discovery.handle_packet(scheduler.now(), paths::NatDiscovery::Socket::kFirst, out.to, out.datagram);
    if (out.hops == 2 && to_server)
      discovery.handle_expired(scheduler.now(), second_router.value_or(IpAddress::v4(5, 1, 1, 9)), out.to);
  }
  // Until it is known as far as it will be.
  void run_lifetime() {
    sent = 0;
    lifetime.start(scheduler.now(), servers.front());
    drive();
    const Time until = scheduler.now() + 5min;
    while (lifetime.is_running() && scheduler.now() < until) scheduler.run_until(scheduler.now() + 10ms);
    EXPECT_FALSE(lifetime.is_running());
  }
  // Until it ends, and how long that took.
  Duration run() {
    const Time began = scheduler.now();
    report.reset();
    sent = 0;
    const std::uint16_t second = static_cast<std::uint16_t>(first_port + 1);
    discovery.start(began, servers, {own, first_port, second});
    drive();
    while (!report && scheduler.now() < began + 10s) scheduler.run_until(scheduler.now() + 1ms);
    return scheduler.now() - began;
  }
};

const Dependence kAll[] = {Dependence::kEndpointIndependent, Dependence::kAddress, Dependence::kAddressAndPort};
const PortChoice kChoices[] = {PortChoice::kPreserve, PortChoice::kSequential, PortChoice::kRandom};

Found exactly(Dependence dependence) {
  switch (dependence) {
    case Dependence::kEndpointIndependent:
      return Found::kEndpointIndependent;
    case Dependence::kAddress:
      return Found::kAddress;
    case Dependence::kAddressAndPort:
      return Found::kAddressAndPort;
  }
  return Found::kUnknown;
}

TEST(Discovery, SeesWhoseTheAddressOutsideIs) {
  const IpAddress carrier = IpAddress::v4(100, 64, 0, 1);
  for (const bool nested : {false, true}) {
    for (const bool leads_all_here : {false, true}) {
      Scene scene({}, true);
      if (nested) scene.second_router = carrier;
      scene.leads_all_here = leads_all_here;
      scene.run();
      ASSERT_TRUE(scene.report && scene.report->v4);
      EXPECT_EQ(scene.report->v4->beyond, nested ? std::optional(carrier) : std::nullopt) << leads_all_here;
    }
  }
}

TEST(Discovery, NamesEveryNatWithAServerOfTwoAddresses) {
  for (const Dependence mapping : kAll) {
    for (const Dependence filtering : kAll) {
      for (const PortChoice ports : kChoices) {
        for (const bool hairpin : {false, true}) {
          Nat nat;
          nat.mapping = mapping;
          nat.filtering = filtering;
          nat.ports = ports;
          nat.hairpin = hairpin;
          Scene scene(nat, true);
          const Duration took = scene.run();
          SCOPED_TRACE(testing::Message() << static_cast<int>(mapping) << static_cast<int>(filtering)
                                          << static_cast<int>(ports) << hairpin);
          ASSERT_TRUE(scene.report && scene.report->v4);
          const paths::FamilyReport& found = *scene.report->v4;
          EXPECT_TRUE(found.answered && found.translated);
          EXPECT_EQ(found.seen.address, IpAddress::v4(5, 1, 1, 1));
          EXPECT_EQ(found.mapping, exactly(mapping));
          EXPECT_EQ(found.filtering, exactly(filtering));
          EXPECT_EQ(found.keeps_port, ports == PortChoice::kPreserve);
          // Where the mapping depends on the destination, the router's own address is another destination.
          if (mapping == Dependence::kEndpointIndependent) {
            EXPECT_EQ(found.hairpin, hairpin);
          }
          EXPECT_FALSE(scene.report->v6);
          EXPECT_LE(scene.sent, 20u);
          EXPECT_LE(milliseconds(took), 1600);
        }
      }
    }
  }
}

TEST(Discovery, ClaimsNoMoreThanAServerOfOneAddressCanShow) {
  for (const Dependence mapping : kAll) {
    for (const Dependence filtering : kAll) {
      Nat nat;
      nat.mapping = mapping;
      nat.filtering = filtering;
      Scene scene(nat, false);
      scene.run();
      ASSERT_TRUE(scene.report && scene.report->v4);
      const auto shown = [](Dependence dependence) {
        return dependence == Dependence::kAddressAndPort ? Found::kAddressAndPort : Found::kNotPort;
      };
      EXPECT_EQ(scene.report->v4->mapping, shown(mapping));
      EXPECT_EQ(scene.report->v4->filtering, shown(filtering));
    }
  }
}

TEST(Discovery, ClaimsNothingOfAServerWithOnePort) {
  Scene scene(Nat::cone(), false, false, 0);
  EXPECT_LE(milliseconds(scene.run()), 100);
  ASSERT_TRUE(scene.report && scene.report->v4);
  EXPECT_TRUE(scene.report->v4->answered);
  EXPECT_EQ(scene.report->v4->mapping, Found::kUnknown);
  EXPECT_EQ(scene.report->v4->filtering, Found::kUnknown);
}

TEST(Discovery, SaysWithinThreeSecondsThatUdpIsBlocked) {
  Scene scene(Nat::udp_blocked(), true);
  EXPECT_LE(milliseconds(scene.run()), 3001);
  ASSERT_TRUE(scene.report && scene.report->v4);
  EXPECT_FALSE(scene.report->v4->answered);
}

TEST(Discovery, TellsAnOpenAddressFromAFirewalledOne) {
  Scene fw(Nat::firewall(), false, true);
  fw.run();
  ASSERT_TRUE(fw.report && fw.report->v6);
  EXPECT_FALSE(fw.report->v4);
  EXPECT_FALSE(fw.report->v6->translated);
  EXPECT_FALSE(fw.report->v6->hairpin);
  EXPECT_EQ(fw.report->v6->filtering, Found::kAddressAndPort);
  EXPECT_EQ(fw.report->v6->mapping, Found::kNotPort);
  Scene open(Nat::firewall(), true);
  open.own = {IpAddress::v4(45, 1, 1, 1)};
  open.place(Network::kInternet);
  open.run();
  ASSERT_TRUE(open.report && open.report->v4);
  EXPECT_FALSE(open.report->v4->translated);
  EXPECT_EQ(open.report->v4->filtering, Found::kEndpointIndependent);
}

TEST(Discovery, LearnsNothingFromAServerOnThisMachine) {
  Scene scene(Nat::easy(), false);
  scene.servers.insert(scene.servers.begin(), {scene.own.front(), kPort});
  EXPECT_LE(milliseconds(scene.run()), 2);
  EXPECT_EQ(scene.report, paths::DiscoveryReport{});
  EXPECT_EQ(scene.sent, 0u);
}

TEST(Discovery, DoesNotCallUdpBlockedWhereTheServerIsInAPrivateNetwork) {
  Scene scene(Nat::easy(), false);
  const Endpoint inside = *Endpoint::parse("192.168.1.9:41820"), outside = *Endpoint::parse("5.1.1.1:41820");
  scene.servers = {inside, outside};  // at home, and its router, which does not hairpin
  scene.run();
  ASSERT_TRUE(scene.report);
  EXPECT_FALSE(scene.report->v4);
  scene.servers = {inside, {kServer, kPort}, {kServer, kPort + 1}};  // the same from another home
  scene.run();
  ASSERT_TRUE(scene.report && scene.report->v4);
  EXPECT_TRUE(scene.report->v4->translated);
}

TEST(Discovery, IsRarelyWrongOnALossyLine) {
  int right = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Scene scene(Nat::cone(), true, false, kPort + 1, 0.05, seed);
    scene.run();
    const auto& found = *scene.report->v4;
    right += found.mapping == Found::kEndpointIndependent && found.filtering == Found::kEndpointIndependent;
  }
  EXPECT_GE(right, 199);  // three questions lost, or their answers: one in a thousand
}

TEST(Lifetime, IsFoundBehindEveryNat) {
  struct Case {
    Duration expiry, at_least;
    std::optional<Duration> below;
    Duration keepalive;
  };
  const Case cases[] = {{120s, 75s, std::nullopt, 62500ms}, {60s, 30s, 75s, 25s}, {25s, 20s, 30s, 16666666667ns},
                        {15s, 10s, 20s, 8333333333ns},      {4s, 3s, 5s, 2500ms}, {2s, 0s, 3s, 2s}};
  for (const Dependence mapping : kAll) {
    for (const Case& one : cases) {
      SCOPED_TRACE(milliseconds(one.expiry) / 1000);
      Nat nat;
      nat.mapping = mapping;
      nat.expiry = one.expiry;
      Scene scene(nat, false);
      scene.run_lifetime();
      ASSERT_TRUE(scene.remembered);
      EXPECT_EQ(scene.remembered->at_least, one.at_least);
      EXPECT_EQ(scene.remembered->below, one.below);
      EXPECT_NEAR(milliseconds(scene.remembered->keepalive()), milliseconds(one.keepalive), 0.001);
      EXPECT_TRUE(scene.remembered->is_complete());
      EXPECT_LE(scene.sent, 50u);
    }
  }
}

TEST(Lifetime, IsNotClaimedWhereTheServerCannotBeAskedSo) {
  Scene scene(Nat::easy(), false);
  scene.deaf_to_ports = true;
  scene.run_lifetime();
  EXPECT_FALSE(scene.remembered);
  EXPECT_LE(scene.sent, 6u);
}

TEST(Lifetime, IsNotClaimedOfAServerThatFellSilent) {
  Scene scene(Nat::easy(), false);
  scene.lifetime.start(scene.scheduler.now(), scene.servers.front());
  scene.drive();
  scene.scheduler.run_until(scene.scheduler.now() + 10s);
  scene.deaf_to_ports = true;
  scene.scheduler.run_until(scene.scheduler.now() + 5min);
  EXPECT_FALSE(scene.lifetime.is_running());
  EXPECT_FALSE(scene.remembered);
}

TEST(Lifetime, ASleepIsNoSilence) {
  Scene scene(Nat::easy(), false);
  scene.lifetime.start(scene.scheduler.now(), scene.servers.front());
  scene.drive();
  scene.scheduler.run_until(scene.scheduler.now() + 10s);
  const auto silent = scene.lifetime.next_timeout();
  ASSERT_TRUE(silent);
  scene.lifetime.handle_timeout(*silent + 1h);
  const auto asked = scene.lifetime.poll_transmit();
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->socket, paths::BindingLifetime::Socket::kFirst) << "it talks anew, and asks nothing";
  EXPECT_FALSE(scene.lifetime.poll_event());
}

TEST(Lifetime, IsNotTakenForShorterOnALossyLine) {
  int right = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Scene scene(Nat::easy(), false, false, kPort + 1, 0.05, seed);
    scene.run_lifetime();
    right += scene.remembered && scene.remembered->at_least == 75s ? 1 : 0;
  }
  EXPECT_GE(right, 95);
}

}  // namespace
}  // namespace lanrage::sim
