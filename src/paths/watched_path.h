// One path to a peer as its Selector watches it: what proved it, which pings are in the air, what they measured.
// A value that is fed times; whoever owns it sends the pings and decides what follows from their outcome.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/ip.h"
#include "base/time.h"
#include "paths/candidates.h"
#include "paths/quality.h"
#include "wire/probe.h"

namespace lanrage::paths {

inline constexpr std::size_t kPingsInFlightMax = 8;  // per path; the oldest makes room
// A burst: at once, after 100 ms, then 1.5 times longer each up to 2 s. Ten pings in about seven seconds.
inline constexpr Duration kBurstFirstGap = std::chrono::milliseconds(100);
inline constexpr Duration kBurstGapMax = std::chrono::seconds(2);
inline constexpr int kBurstPings = 10;
inline constexpr Duration kBurstAgain = std::chrono::milliseconds(500);   // younger bursts are not begun anew
inline constexpr Duration kPongWaitMin = std::chrono::milliseconds(200);  // three round trips, within these two, but
inline constexpr Duration kPongWaitMax = std::chrono::seconds(1);         // never less than one and its jitter
inline constexpr Duration kPongMemory = std::chrono::seconds(5);          // later pongs prove nothing
inline constexpr int kMissesMax = 3;                                      // in a row and in silence: the path is lost
inline constexpr int kMissesDoubted = 2;                                  // the peer hears nothing or left the path
inline constexpr int kMissesHeard = 6;                                    // the peer is heard
inline constexpr Duration kRefusedWait = std::chrono::milliseconds(50);   // for a pong, at least, where ICMP said no
inline constexpr Duration kDoubt = std::chrono::seconds(1);               // how long the peer's word counts
inline constexpr std::size_t kJudgedPings = 60;                           // then its loss says something
inline constexpr Duration kReflexiveBias = std::chrono::milliseconds(5);  // in favour of the LAN

struct WatchedPath {
  struct Ping {
    std::uint64_t transaction = 0;  // 0: free
    Time sent{};
    Time deadline{};      // then it is a miss
    bool counts = false;  // as a miss; pings of a burst and under an unconfirmed key do not
    bool missed = false;  // and was
  };

  Path path;
  CandidateKind kind = CandidateKind::kHost;  // of direct ones
  bool valid = false;                         // set by a pong, cleared by kMissesMax misses
  bool signalled = false;                     // in the peer's newest signal, or a relay of ours: kept when it fails
  bool followed = false;                      // the peer sends from here: it may have moved
  bool absent = false;                        // relay: it says that the peer is not there
  int misses = 0;                             // in a row
  int burst_left = 0;                         // pings of the current burst still to send
  Duration burst_gap{};                       // until the next of them
  Time burst_began{};
  Time found{};         // first seen
  Time lost{};          // last time that it stopped being valid
  Time healed{};        // last time that it became so
  Duration hold{};      // before it is used again, from then on; 0: never lost in use
  Time doubted{};       // the peer said that it hears nothing here, or sent from elsewhere; 0: never
  Time refused{};       // somebody said that nothing arrives there (ICMP); 0: never
  Time heard{};         // last authenticated packet from here
  Time missed_since{};  // when the first of `misses` was sent
  Time pinged{};
  Time next_ping = kNever;
  std::array<Ping, kPingsInFlightMax> in_flight{};
  Quality quality;
  std::optional<Aggregate> measured;  // since its Selector handed it on
  std::size_t forgiven = 0;           // of the losses that `quality` remembers
  int order = 0;                      // relay: its place among the node's
  std::uint32_t peer_rtt_us = 0;
  std::uint8_t peer_loss_percent = wire::kLossUnknown;

  // Plans `pings` from now on, unless a burst began less than kBurstAgain ago.
  void begin_burst(Time now, int pings);
  // A ping was sent: plans the next one of the burst; false when there is none.
  bool continue_burst(Time now);

  void note_ping(Time now, std::uint64_t transaction, bool counts);
  // The answer to a ping in flight, whose round trip is noted; false: there is no such ping.
  bool take_answer(Time now, std::uint64_t transaction);
  // When a ping was sent that is missed, and so noted, by now; each is given once. Its late pong still tells the round
  // trip and proves the path.
  std::optional<Time> take_missed(Time now);
  Duration pong_wait(Time now) const;  // until a ping is missed

  // How many pings in a row may be missed while packets go here: so many that the line's own losses are no likely
  // cause.
  int misses_allowed(Time now) const;
  // Word that what we send there by this socket is refused is news.
  bool may_be_refused(Time now, const Endpoint& endpoint, std::uint16_t socket) const {
    return valid && path.endpoint == endpoint && path.socket == socket &&
           (refused == Time{} || now - refused >= kDoubt);
  }
  bool is_doubted(Time now) const { return doubted != Time{} && now - doubted < kDoubt; }
  bool is_refused(Time now) const { return refused != Time{} && now - refused < kDoubt && heard <= refused; }
  bool is_held(Time now) const { return now < healed + hold; }

  void note_rate(Time now, double mbps, bool full) { note(quality.record_rate(now, mbps, full)); }
  void note(const Aggregate& change);

  // 0: same LAN (or a public address of its own), 1: through a NAT, 2: relayed.
  int path_class() const;
  Duration cost() const;  // what direct paths are compared by: smoothed round trip and bias
  // The score of round trip, jitter and loss, by which a direct path is compared with a relayed one; 0: not measured.
  // `doubt`: 0 as the pings say, 1 as bad as it may still be after so few of them, -1 as good. Of the last kPingsKept
  // those not yet sent count as answered, but for the 1.
  double worth(int doubt) const;
  double cleanness(int doubt) const;  // without the round trip, which the node's order of relays is about
  double loss_percent(int doubt) const;
  bool is_judged() const { return quality.probes() >= kJudgedPings; }
  void forgive(int losses);  // the newest so many: the path was dead, which says nothing of the line
};

}  // namespace lanrage::paths
