// What is tried when a peer is reached by a relay alone and ordinary probes (selector.h) do not find a direct path.
// One per peer, owned by the control thread; decides what to ask and what to ping, opens and sends nothing.
//
// The methods (docs/paths.md has the reasons, the literature and what they bring). All use sockets that nothing was
// sent from before, extra ones beside the node's own; IPv4 alone, as only its NATs need them.
//   Fresh      one socket, seen from outside by two STUN servers; both ends ping at the same moment, so that neither
//              router meets a packet before it sent one itself. For NATs that give one port to all destinations and
//              yet hold a wrong mapping: it is the old socket's for good, so that the ends lead in turn.
//   Foresee    the same socket where the NAT counts: two STUN answers tell the next ports. The peer pings these; when
//              it counts too, it answers with its own next ports, and both ping each other's in order.
//   Many       where the NAT draws ports at random and the peer has one port for all: many sockets ping that port, the
//              peer pings many ports. One hit in thousands is enough. Tried, too, when a fresh socket did not help and
//              no second address has shown that our mapping does not depend on it (RFC 4787's address-dependent one).
//              Every second time late: the peer pings from a fresh socket, and the many only once it is done. A router
//              that takes what comes first for its own would give its end's pings another port else, as of Fresh.
// One end leads an attempt: it offers (a SignalPunch in its next signal) and the other follows. What is pinged is a
// guess: only its pong makes a path of it, which the selector then proves and chooses as any other. An attempt ends
// when there is a direct path, or after its time; its sockets are closed then, all but those of proven paths.
#pragma once

#include <array>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/rng.h"
#include "base/time.h"
#include "paths/port_choice.h"
#include "wire/signal.h"
#include "wire/stun.h"

namespace lanrage::paths {

using wire::Mapping;

// ---- The budget of all this. Nothing is spent while a path is direct.
// When: so long without a direct path; where an attempt fails it is repeated after ever longer times.
inline constexpr Duration kForeseeAfter = std::chrono::milliseconds(1000);
inline constexpr Duration kManyAfter = std::chrono::seconds(3);
inline constexpr Duration kFreshAfter = std::chrono::milliseconds(1500);
inline constexpr Duration kFreshAfterToo = std::chrono::milliseconds(2500);    // the other end, in turn
inline constexpr Duration kHiddenAfter = std::chrono::milliseconds(8500);      // many, on the mere suspicion
inline constexpr Duration kHiddenAfterToo = std::chrono::milliseconds(23000);  // the other end
inline constexpr std::array kPunchAgain = {std::chrono::seconds(5),   std::chrono::seconds(5),
                                           std::chrono::seconds(10),  std::chrono::seconds(30),
                                           std::chrono::seconds(120), std::chrono::seconds(300)};
inline constexpr std::array kFreshAgain = {std::chrono::seconds(2), std::chrono::seconds(2), std::chrono::seconds(30),
                                           std::chrono::seconds(120), std::chrono::seconds(300)};
inline constexpr std::array kManyAgain = {std::chrono::seconds(60), std::chrono::seconds(300),
                                          std::chrono::seconds(3600)};
// Asking STUN from a fresh socket: two questions, each at most thrice.
inline constexpr Duration kSampleGap = std::chrono::milliseconds(300);
inline constexpr int kSampleTries = 3;
// Pinging ports that were told or foreseen: 16 ahead, in rounds.
inline constexpr int kPortsAhead = 16;
inline constexpr Duration kPortGap = std::chrono::milliseconds(5);  // 200 a second
inline constexpr Duration kRoundGap = std::chrono::milliseconds(250);
inline constexpr int kRounds = 4;
inline constexpr Duration kPortsTime = std::chrono::seconds(4);  // an attempt's
inline constexpr Duration kFreshTime = std::chrono::seconds(2);  // one's with a fresh socket
// The leader's first ping leaves so many half round trips by the relay after its offer: as that arrives, so that each
// end sends before the other's ping comes; well after it, where only the other's router minds; before it, where only
// ours, or where the port foreseen would be another's by then.
inline constexpr std::array kHalfTrips = {1, 3, 0};
// Many: 256 pings of the leader in two seconds, 1024 of its follower in ten, 68 bytes each.
inline constexpr std::size_t kManySockets = 256;
inline constexpr Duration kManySocketGap = std::chrono::milliseconds(8);
inline constexpr std::size_t kManyPorts = 1024;
inline constexpr Duration kManyPortGap = std::chrono::milliseconds(10);
inline constexpr Duration kManyLate = std::chrono::milliseconds(11500);  // its sample, offer and pings take less
inline constexpr Duration kManyTime = std::chrono::seconds(14);
// Of all peers together: one attempt with many sockets at a time, and some with one.
inline constexpr std::size_t kExtraSocketsMax = kManySockets + 64;
// Offers are followed so often at most, whatever a peer asks for.
inline constexpr Duration kFollowAgain = std::chrono::seconds(1);
inline constexpr Duration kFollowManyAgain = std::chrono::seconds(45);

// Numbers of the sockets beside the node's own; the driver opens and closes what they name. Shared by a node's peers.
class ExtraSockets {
 public:
  // So many new ones; none at all when that would be more than kExtraSocketsMax.
  std::vector<std::uint16_t> take(std::size_t count);
  void keep_only(const std::set<std::uint16_t>& used);
  const std::set<std::uint16_t>& open() const { return open_; }

 private:
  std::set<std::uint16_t> open_;
  std::uint16_t last_ = 0;
};

class Punch {
 public:
  enum class Method : std::uint8_t { kNone, kFresh, kForesee, kMany };
  // One end of the pair, as far as it is known.
  struct End {
    bool seen = false;  // it has a public IPv4 endpoint, as servers or its router say
    Mapping mapping = Mapping::kUnknown;
    PortChoice ports = PortChoice::kUnknown;
    bool is_sure = true;  // of an independent mapping: it was the same for another address
  };
  // By which method `here` leads an attempt; kNone also when the other end does. `first`: of two alike it is us. For
  // mappings as they are known.
  static Method method_of(const End& here, const End& there, bool first);

  struct Question {  // to a STUN server
    std::uint16_t socket;
    Endpoint to;
    std::array<std::uint8_t, wire::kStunRequestBytes> datagram;
  };
  struct Stats {
    std::uint64_t led = 0, followed = 0;
    std::uint64_t guesses = 0;
  };

  // `sockets` and `rng` outlive it.
  Punch(bool first, ExtraSockets& sockets, Rng& rng);

  // This end's network, and IPv4 endpoints of STUN servers.
  void set_local(const End& here, const std::vector<Endpoint>& stun);
  // Another network, here or there: what failed before may work.
  void restart(Time now);
  // Whether a direct path is missing, whether the peer can be told offers, the round trip by the relay if known.
  void set_missing(Time now, bool missing, bool can_tell, std::optional<Duration> relayed_rtt);
  // An opened signal of the peer that came at this moment.
  void handle_signal(Time now, const wire::PeerSignal& signal);
  // What came to an extra socket and is STUN.
  void handle_packet(Time now, std::uint16_t socket, const Endpoint& source, ByteView datagram);

  void handle_timeout(Time now);
  std::optional<Time> next_timeout() const;
  std::optional<Question> poll_question();
  std::optional<Path> poll_guess();  // to be pinged
  // True once per offer: the peer is to be sent a signal with it.
  bool poll_offer();
  const std::optional<wire::SignalPunch>& offer() const { return offer_; }

  // Extra sockets of the attempt that goes on.
  const std::vector<std::uint16_t>& sockets() const { return own_; }
  // What goes on, in a sentence without a full stop; empty: nothing that takes long.
  std::string why() const;
  const Stats& stats() const { return stats_; }

 private:
  enum class Phase : std::uint8_t { kIdle, kSampling, kTrying };
  struct Sample {
    Endpoint server;
    wire::StunTransaction transaction{};
    std::optional<Endpoint> mapped{};
  };
  struct Guess {
    Time at;
    Path path;
  };

  Method method() const;       // of the next attempt that we lead
  bool may_be_hidden() const;  // our mapping may depend on the address
  Time due() const;            // of the next attempt that we lead
  void begin(Time now);
  void begin_sample(Time now);
  void begin_many(Time now);
  void ask(Time now);
  void finish_sample(Time now);
  void follow(Time now, const wire::SignalPunch& offer);
  void ping_targets(Time now);
  void ping_ports(Time now, const wire::SignalPunch& offer, std::uint16_t socket);
  void ping_many(Time now, const IpAddress& address, std::uint16_t socket);
  void make_offer(const wire::SignalPunch& offer);
  void stop();

  const bool first_;
  ExtraSockets& sockets_;
  Rng& rng_;
  End here_, there_;
  std::vector<Endpoint> stun_;     // two at most
  std::vector<Endpoint> targets_;  // the peer's, seen from outside
  std::optional<Duration> relayed_rtt_;

  std::optional<Time> missing_since_;  // a direct path
  std::optional<Time> told_from_;      // the peer can be told offers
  int attempts_ = 0;                   // that we led since
  int many_ = 0;                       // of them with many ports
  Time attempted_{};
  Time not_before_{};
  Time follow_from_{};
  std::optional<std::uint32_t> followed_;  // the round of the newest offer

  Phase phase_ = Phase::kIdle;
  Method doing_ = Method::kNone;
  std::uint32_t round_ = 0;
  std::vector<std::uint16_t> own_;
  std::array<Sample, 2> samples_{};
  std::size_t samples_used_ = 0;
  int sample_tries_ = 0;
  Time sample_due_ = kNever;
  std::optional<wire::SignalPunch> theirs_;  // their next ports, while ours are not known yet
  Time ends_ = kNever;
  std::deque<Guess> plan_;  // in order of time

  std::optional<wire::SignalPunch> offer_;
  bool offer_due_ = false;
  std::deque<Question> questions_;
  std::deque<Path> guesses_;
  Stats stats_;
};

}  // namespace lanrage::paths
