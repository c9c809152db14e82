// Games in the middle of a match when something breaks: how long they are silent, and that paths do not flap.
#include <algorithm>
#include <cstdio>

#include "sim/world.h"
#include "wire/ip.h"

namespace lanrage::sim {
namespace {

using namespace std::chrono_literals;

// Fewer worlds where each takes ten times as long; the figures are those of the release build.
#ifdef LANRAGE_SANITIZED
constexpr std::uint64_t kRounds = 3;
constexpr Duration kLossyTime = 30s;
constexpr Duration kSleeps[] = {10s, 3min};
#else
constexpr std::uint64_t kRounds = 20;
constexpr Duration kLossyTime = 5min;
constexpr Duration kSleeps[] = {10s, 3min, 30min, 72h};
#endif
constexpr Duration kTick = 10ms;
const IpAddress kWanOfA = IpAddress::v4(45, 20, 0, 1), kWanOfB = IpAddress::v4(45, 20, 0, 2);

// Two friends at home who play.
struct Match : World {
  SimNode* a = nullptr;
  SimNode* b = nullptr;
  Site home_a, home_b;
  IpAddress address_a, address_b;  // in the party

  explicit Match(std::uint64_t world_seed, Place place_a = Place::kEasy, Place place_b = Place::kEasy)
      : World(world_seed) {
    home_a = make_site(place_a);
    home_b = make_site(place_b);
    a = &add("ada", home_a);
    b = &add("bo", home_b);
    const auto made = host(*a);
    EXPECT_TRUE(made && join(*b, made->text));
    address_a = a->address().value_or(IpAddress());
    address_b = b->address().value_or(IpAddress());
    run(5s);
  }

  static void send(SimNode& from, const IpAddress& to) {
    if (from.running() && from.address())
      from.send_packet(wire::build_udp({*from.address(), 27015}, {to, 27015}, as_bytes("tick")));
  }
  // A packet each tick for so long.
  void play(Duration time, bool a_sends = true, bool b_sends = true) {
    for (const Time end = now() + time; now() < end; run(kTick)) {
      if (a_sends) send(*a, address_b);
      if (b_sends) send(*b, address_a);
    }
  }
  void break_direct(bool a_to_b, bool b_to_a) {
    network.set_broken(kWanOfA, kWanOfB, a_to_b);
    network.set_broken(kWanOfB, kWanOfA, b_to_a);
  }

  // The longest time from `since` without a packet at `node`.
  Duration silence_at(const SimNode& node, Time since) const {
    Duration longest{};
    Time last = since;
    for (const SimNode::Received& one : node.received) {
      if (one.at < since) continue;
      longest = std::max(longest, one.at - last);
      last = one.at;
    }
    return std::max(longest, now() - last);
  }
  static bool is_direct(const SimNode& from, const SimNode& to) {
    const auto peer = from.peer(to);
    return peer && peer->state == node::Reach::kConnected && peer->path && !peer->path->relayed;
  }
  bool are_direct() const { return is_direct(*a, *b) && is_direct(*b, *a); }
};

Duration percentile(std::vector<Duration> all, double share) {
  std::sort(all.begin(), all.end());
  return all[static_cast<std::size_t>(share * static_cast<double>(all.size() - 1) + 0.5)];
}

void report(const char* what, const std::vector<Duration>& all) {
  std::printf("%s: p50 %.0f ms, p95 %.0f ms, most %.0f ms\n", what, milliseconds(percentile(all, 0.5)),
              milliseconds(percentile(all, 0.95)), milliseconds(percentile(all, 1)));
}

// The direct path dies in one or both directions, without a word, and heals later.
void lose_direct_path(const char* name, bool a_to_b, bool b_to_a) {
  std::vector<Duration> silence, healing;
  for (std::uint64_t seed = 1; seed <= kRounds; ++seed) {
    Match m(seed);
    ASSERT_TRUE(m.are_direct());
    m.play(3s + seed * 37ms);
    const Time broke = m.now();
    m.break_direct(a_to_b, b_to_a);
    m.play(4s);
    silence.push_back(std::max(m.silence_at(*m.a, broke), m.silence_at(*m.b, broke)));
    m.play(10s);
    const Time healed = m.now();
    m.break_direct(false, false);
    while (!m.are_direct() && m.now() - healed < 20s) m.play(kTick);
    healing.push_back(m.now() - healed);
    m.play(1s);
    EXPECT_LE(std::max(m.silence_at(*m.a, healed), m.silence_at(*m.b, healed)), 100ms) << "coming back loses nothing";
  }
  report((std::string(name) + ", silence").c_str(), silence);
  report((std::string(name) + ", direct again").c_str(), healing);
  EXPECT_LE(percentile(silence, 0.95), 1000ms);
  EXPECT_LE(percentile(silence, 1), 1500ms);
  EXPECT_LE(percentile(healing, 1), 5s);
}

TEST(Failover, ADirectPathThatDiesIsLeftWithinASecondAndTakenAgain) { lose_direct_path("both directions", true, true); }
TEST(Failover, SoIsOneThatDiesInOneDirection) { lose_direct_path("one direction", true, false); }

TEST(Failover, APathIsWatchedWhenOnlyOneSideSends) {
  std::vector<Duration> silence;
  for (std::uint64_t seed = 1; seed <= kRounds; ++seed) {
    Match m(seed);
    m.play(3s + seed * 37ms, true, false);
    const Time broke = m.now();
    m.break_direct(true, true);
    m.play(4s, true, false);
    silence.push_back(m.silence_at(*m.b, broke));
  }
  report("one side sends, silence", silence);
  EXPECT_LE(percentile(silence, 0.95), 1000ms);
}

TEST(Failover, APathThatDiedIdleIsLeftWithinASecondOfTheFirstPacket) {
  std::vector<Duration> silence;
  for (std::uint64_t seed = 1; seed <= kRounds; ++seed) {
    Match m(seed);
    m.run(30s + seed * 37ms);
    m.break_direct(true, true);
    const Time began = m.now();
    m.play(4s);
    silence.push_back(std::max(m.silence_at(*m.a, began), m.silence_at(*m.b, began)));
  }
  report("broken while idle, silence", silence);
  EXPECT_LE(percentile(silence, 0.95), 1000ms);
}

// 5 % loss in bursts of four, 40 ms +- 5 ms, some packets late.
TEST(Failover, ALossyLineDoesNotMakeThePathFlap) {
  for (const bool both_send : {true, false}) {
    int changes = 0;
    for (std::uint64_t seed = 1; seed <= 2; ++seed) {
      Match m(seed);
      const Link bad{.delay = 2500us, .jitter = 10ms, .loss = 0.05, .burst = 4, .reorder = 0.02};
      m.network.set_uplink(m.home_a.domain, bad);
      m.play(2s, true, both_send);
      bool direct = true;
      const Time end = m.now() + kLossyTime;
      while (m.now() < end) {
        m.play(100ms, true, both_send);
        if (Match::is_direct(*m.a, *m.b) != direct) {
          direct = !direct;
          ++changes;
        }
      }
    }
    std::printf("%s: %d changes in %.0f minutes\n", both_send ? "both send" : "one sends", changes,
                milliseconds(kLossyTime) / 30000);
    EXPECT_LE(changes, 2 * (kLossyTime / 1min));
  }
}

// Only the far side sends when a router forgets (R7).
TEST(Failover, ANatThatForgotIsOpenedAgainFromInside) {
  for (const Place far : {Place::kPublic, Place::kCone, Place::kEasy, Place::kSymmetric}) {
    SCOPED_TRACE(place_name(far));
    std::vector<Duration> silence;
    for (std::uint64_t seed = 1; seed <= kRounds / 2; ++seed) {
      Match m(seed, Place::kEasy, far);
      m.play(3s + seed * 37ms, false, true);
      const Time forgot = m.now();
      m.network.forget_mappings(m.home_a.domain);
      m.play(6s, false, true);
      silence.push_back(m.silence_at(*m.a, forgot));
    }
    report(place_name(far), silence);
    EXPECT_LE(percentile(silence, 1), 3s);
  }
}

// R8: the process stops for a while, its router forgets it meanwhile.
TEST(Failover, AWakingMachinePlaysOnWithinASecond) {
  for (const Duration asleep : kSleeps) {
    std::vector<Duration> silence;
    for (std::uint64_t seed = 1; seed <= (asleep > 1h ? 2 : 5); ++seed) {
      Match m(seed);
      m.play(3s + seed * 37ms);
      m.b->suspend();
      m.play(std::min(asleep, Duration(30s)));
      m.run(asleep - std::min(asleep, Duration(30s)));
      const Time woke = m.now();
      m.a->received.clear();
      m.b->received.clear();
      m.b->resume();
      m.play(5s);
      silence.push_back(std::max(m.silence_at(*m.a, woke), m.silence_at(*m.b, woke)));
    }
    report((std::to_string(asleep / 1s) + " s asleep").c_str(), silence);
    EXPECT_LE(percentile(silence, 1), 1s);
  }
}

// How long a machine that was killed is silent once it is back: from its start to the first packet either way.
void restart_peer(const char* name, Place place, bool remembers, Duration away, Duration most) {
  std::vector<Duration> to_it, from_it;
  for (std::uint64_t seed = 1; seed <= kRounds; ++seed) {
    Match m(seed, place, place);
    m.play(15s + seed * 37ms);  // contacts are on disk
    m.b->kill();
    if (!remembers) m.b->saved_contacts.clear();
    m.play(away);
    const Time back = m.now();
    m.a->received.clear();
    m.b->received.clear();
    m.b->start();
    m.play(3s);
    to_it.push_back(m.b->received.empty() ? 3s : m.b->received.front().at - back);
    from_it.push_back(m.a->received.empty() ? 3s : m.a->received.front().at - back);
  }
  report((std::string(name) + ", towards it").c_str(), to_it);
  report((std::string(name) + ", from it").c_str(), from_it);
  EXPECT_LE(percentile(to_it, 1), most);
  EXPECT_LE(percentile(from_it, 1), most);
}

TEST(Failover, APeerKilledAndStartedAgainPlaysOnAtOnce) {
  restart_peer("direct", Place::kEasy, true, 300ms, 300ms);
  restart_peer("direct, gone for long", Place::kEasy, true, 20s, 300ms);
  restart_peer("direct, without contacts", Place::kEasy, false, 300ms, 500ms);
  restart_peer("relayed", Place::kSymmetric, true, 300ms, 500ms);
}

}  // namespace
}  // namespace lanrage::sim
