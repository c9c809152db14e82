// How often a direct path is found where ordinary probes find none, how soon, and what it costs (docs/paths.md has the
// table). Two players, 30 ms apart; one seed is one pair of routers with ports of their own.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "paths/punch.h"
#include "sim/world.h"

namespace lanrage::sim {
namespace {

using namespace std::chrono_literals;

// LANRAGE_SIM_SEEDS measures with more.
std::uint64_t seeds() {
  const char* wanted = std::getenv("LANRAGE_SIM_SEEDS");
#ifdef NDEBUG
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 20;
#else
  return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : 2;
#endif
}

bool is_direct(const SimNode& a, const SimNode& b) {
  const auto peer = a.peer(b);
  return peer && peer->state == node::Reach::kConnected && peer->path && !peer->path->relayed;
}

struct Found {
  int pairs = 0;
  std::vector<Duration> after;  // the beginning of `join`, where there is a direct path at both ends
  double share() const { return static_cast<double>(after.size()) / pairs; }
  void report(const char* what) {
    std::sort(after.begin(), after.end());
    const auto at = [&](double q) {
      return after.empty() ? 0.0 : milliseconds(after[static_cast<std::size_t>(q * double(after.size() - 1))]) / 1000;
    };
    std::printf("%-34s %3d pairs, %5.1f %% direct, after %.1f s median, %.1f s p95, %.1f s at most\n", what, pairs,
                share() * 100, at(0.5), at(0.95), at(1));
  }
};

// `others`: new mappings a second that other machines behind a sequential router make.
Found measure(Place host_place, Place guest_place, Duration limit, int others = 0, Duration rtt = 30ms) {
  Found found;
  for (std::uint64_t seed = 1; seed <= seeds(); ++seed) {
    World w(seed, rtt);
    Site home_a = w.make_site(host_place), home_b = w.make_site(guest_place);
    SimNode& host = w.add("host", home_a);
    SimNode& guest = w.add("guest", home_b);
    SeededRng dice(seed);
    for (Site* site : {&home_a, &home_b}) {
      if (others == 0 || site->domain == Network::kInternet) continue;
      const auto machine = w.network.add_host(site->domain, {site->next().address}, {}, [](auto&, auto&, auto&) {});
      const auto talk = std::make_shared<std::function<void()>>();
      *talk = [&w, &dice, machine, others, again = std::weak_ptr(talk)] {
        const auto port = static_cast<std::uint16_t>(1024 + dice.below(60000));
        w.network.send(machine, port, {IpAddress::v4(45, 99, 0, 1), port}, Bytes(40));
        const double gap_s = -std::log(1 - dice.unit()) / others;
        if (const auto next = again.lock())
          w.scheduler.post(w.now() + Duration(static_cast<Duration::rep>(gap_s * 1e9)), [next] { (*next)(); });
      };
      (*talk)();
    }
    const auto invite = w.host(host);
    EXPECT_TRUE(invite);
    w.run(8s);
    const Time began = w.now();
    EXPECT_TRUE(w.join(guest, invite->text));
    ++found.pairs;
    const auto both = [&] { return is_direct(host, guest) && is_direct(guest, host); };
    if (!w.run_until(both, limit)) continue;
    found.after.push_back(w.now() - began);
    EXPECT_TRUE(w.reaches(host, guest) && w.reaches(guest, host)) << "seed " << seed;
  }
  return found;
}

TEST(Punching, PortsThatFollowEachOtherAreForeseen) {
  const struct {
    Place host, guest;
    const char* name;
  } pairs[] = {{Place::kSequential, Place::kEasy, "sequential, easy"},
               {Place::kEasy, Place::kSequential, "easy, sequential"},
               {Place::kSequential, Place::kCarrier, "sequential, cgn-easy"},
               {Place::kSequential, Place::kSequential, "sequential, sequential"}};
  for (const auto& pair : pairs) {
    Found found = measure(pair.host, pair.guest, 5s);
    found.report(pair.name);
    EXPECT_EQ(found.share(), 1);
  }
  // All of the ports meet before the first answer comes.
  Found far = measure(Place::kSequential, Place::kSequential, 8s, 0, 200ms);
  far.report("sequential, sequential, 200 ms");
  EXPECT_EQ(far.share(), 1);
}

TEST(Punching, PortsAreForeseenWhileOthersUseTheRouter) {
  for (const int others : {2, 10, 30}) {
    Found easy = measure(Place::kSequential, Place::kEasy, 30s, others);
    easy.report(("sequential (+" + std::to_string(others) + "/s), easy").c_str());
    EXPECT_GE(easy.share(), 0.95);
    Found both = measure(Place::kSequential, Place::kSequential, 60s, others);
    both.report(("both sequential (+" + std::to_string(others) + "/s)").c_str());
    EXPECT_GE(both.share(), others == 2 ? 0.9 : 0);
  }
}

// 256 of 64512 ports are open: 1024 tries hit one of them with 1 - exp(-256 * 1024 / 64512) = 98.3 %.
TEST(Punching, OneOfManyPortsIsHit) {
  for (const auto& [host, guest] :
       {std::pair(Place::kSymmetric, Place::kEasy), std::pair(Place::kEasy, Place::kSymmetric)}) {
    Found once = measure(host, guest, 20s);
    once.report(host == Place::kEasy ? "easy, random: first attempt" : "random, easy: first attempt");
    EXPECT_GE(once.share(), 0.9);
  }
}

// One address of a server does not show that another sees another port: tried when a fresh socket did not help.
TEST(Punching, ManyPortsAreTriedWhereAMappingThatDependsOnTheAddressIsHidden) {
  for (const auto& [host, guest] :
       {std::pair(Place::kPerAddress, Place::kEasy), std::pair(Place::kEasy, Place::kPerAddress)}) {
    Found once = measure(host, guest, 45s);
    once.report(host == Place::kEasy ? "easy, hidden: first attempt" : "hidden, easy: first attempt");
    EXPECT_GE(once.share(), 0.9);
  }
}

TEST(Punching, NothingIsSpentWhereAPathIsDirectOrNonePossible) {
  for (const auto& [host, guest] :
       {std::pair(Place::kEasy, Place::kEasy), std::pair(Place::kCone, Place::kSymmetric),
        std::pair(Place::kSymmetric, Place::kSymmetric), std::pair(Place::kEasy, Place::kFirewall6)}) {
    World w(1);
    SimNode& a = w.add("a", host);
    SimNode& b = w.add("b", guest);
    const auto invite = w.host(a);
    ASSERT_TRUE(invite && w.join(b, invite->text));
    const auto tries = [&] { return !a.node().extra_sockets().empty() || !b.node().extra_sockets().empty(); };
    EXPECT_FALSE(w.run_until(tries, 60s)) << place_name(host) << ", " << place_name(guest);
  }
}

TEST(Punching, AnAttemptStaysWithinItsBudgetAndClosesItsSockets) {
  World w(2);  // a hit in the first attempt, as in 98 of 100
  SimNode& easy = w.add("easy", Place::kEasy);
  SimNode& random = w.add("random", Place::kSymmetric);
  const auto invite = w.host(easy);
  ASSERT_TRUE(invite && w.join(random, invite->text));
  std::size_t most = 0;
  ASSERT_TRUE(w.run_until(
      [&] {
        most = std::max(most, random.node().extra_sockets().size());
        return is_direct(easy, random) && is_direct(random, easy);
      },
      20s));
  EXPECT_EQ(most, paths::kManySockets);
  w.run(1s);
  EXPECT_EQ(random.node().extra_sockets().size(), 1u) << "the one that won";
  EXPECT_TRUE(easy.node().extra_sockets().empty());
  // It carries the game, also when its router forgets, and through a rekey of the tunnel.
  w.run(5min);
  EXPECT_TRUE(is_direct(easy, random) && w.reaches(easy, random, 100ms) && w.reaches(random, easy, 100ms));
}

}  // namespace
}  // namespace lanrage::sim
