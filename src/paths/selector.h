// Chooses the path to one peer. Owned by the control thread, one per peer; never resolves, opens or sends.
//
// The model. A path is a remote endpoint, straight or by a relay, and the socket that reaches it: the node's own or an
// extra one (punch.h). Paths come from our relay registrations, from the peer's signalled candidates, and from
// authenticated packets out of new places (peer-reflexive). Only a pong to our own ping makes a path *valid*; nothing
// else can promote it.
//
// Bootstrapping: a relay is chosen as soon as there is one, unproven, so that a handshake can start at once. Probing:
// when the peer's candidates arrive, or change, or it asks us to (call me now), every path is pinged in a *burst*:
// at once, then after 100, 150, 225, ... ms, ten times, about eight seconds; both sides do so within one round trip
// because the one that starts sends a signal. An authenticated ping from somewhere new starts a burst there.
//
// Choosing: among direct paths the smaller round trip after a bias (LAN +0, others +5 ms); a change between equals
// needs a margin (a fifth and 2 ms) and a minimum stay. Among relayed ones the node's order (paths/relay_choice.h),
// unless the pings through one say that it is worse than another by kWorthMargin. A direct path before a relayed one
// while its score is kGoodWorth or more; below that the relayed one when it is better by kWorthMargin, and back when
// the direct one has half of that to spare, or the whole of it over the relay. All are scores of the same kind of
// measurement: pings from end to end, which tell of both directions. Such changes are kDwell apart; a path that fails
// is left at once. When the chosen path's round trip rises or its score is low, the others are pinged, so that there is
// something to choose by.
//
// Watching: while packets flow, any authentic packet shows that the chosen path lives; after 200 ms without one it is
// pinged, and again every 150 ms. Three pings missed in silence mean that it is lost (more on a path that loses packets
// anyway, or when the peer is still heard; two when the peer, too, says that it hears nothing; one when ICMP says that
// nobody is there, whose word is worth a ping and a short wait, but no more): the best other one is
// chosen, the relay at once and unproven if need be, and punching starts again. The second path is pinged every 2 s
// meanwhile, so that it is known and open when it is needed. Idle paths are pinged every 60, 30 or 10 s (quality.h),
// and often enough where a NAT or firewall would forget them (binding_lifetime.h).
// What was proven once is pinged every second under traffic, else every 4 s, for ten minutes more: it may heal. It is
// used again after two seconds of answers; when it fails for moments, again and again, after ever longer ones, so that
// nothing flaps. While relayed, bursts are repeated after
// 5, 10, 20 ... 300 s. A peer that moved is followed: authenticated packets from a new place are pinged back, and its
// pong moves us there when the old path has been silent since. A peer that restarted says so by its first ping, and a
// handshake begins at once; it may have another port: only paths that answered since are valid.
//
// Every ping is answered (same size, same path). The selector says when to signal (kSignal); the node fills in the
// candidates, seals it and gives it to the control link.
#pragma once

#include <deque>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/rng.h"
#include "base/time.h"
#include "crypto/keys.h"
#include "paths/binding_lifetime.h"
#include "paths/candidates.h"
#include "paths/nat_report.h"
#include "paths/redundancy.h"
#include "paths/watched_path.h"

namespace lanrage::paths {

using ProbeKey = crypto::Secret<struct ProbeKeyTag>;

inline constexpr std::size_t kPathsMax = 40;         // candidates, peer-reflexive ones and relays of one peer
inline constexpr std::size_t kPeerReflexiveMax = 8;  // of these; the oldest unproven one makes room
inline constexpr std::size_t kProbeKeysMax = 3;      // epochs held at a time
inline constexpr std::size_t kTransmitsMax = 128;    // waiting to be polled
// So long after its newest ping, which may still be answered, an unproven path makes no room.
inline constexpr Duration kMayAnswer = std::chrono::milliseconds(500);
inline constexpr Duration kRestartGap = std::chrono::seconds(5);        // between restarts that mere pings tell
inline constexpr Duration kTriggerGap = std::chrono::milliseconds(50);  // between pings that the peer's pings trigger
// Watching a proven path.
inline constexpr Duration kActiveProbe = std::chrono::seconds(1);        // the chosen one, packets arriving
inline constexpr Duration kWatch = std::chrono::milliseconds(200);       // of silence while packets flow: pinged
inline constexpr Duration kWatchAgain = std::chrono::milliseconds(150);  // and after so long again
inline constexpr Duration kStandbyProbe = std::chrono::seconds(2);       // the second path, packets flowing
// Else as often as Quality::measuring_interval() says, and where a NAT or a firewall must be kept open as
// set_keepalive.
inline constexpr Duration kRateTold = std::chrono::seconds(10);  // how long the peer is told what arrived of it
inline constexpr Duration kActiveFor = std::chrono::seconds(3);  // after the last packet
// Changing it.
inline constexpr Duration kStay = std::chrono::seconds(5);            // before a mere improvement moves us
inline constexpr Duration kMarginMin = std::chrono::milliseconds(2);  // an improvement is this and a fifth
inline constexpr Duration kRetryFirst = std::chrono::seconds(5);      // punching again while not direct; doubles
inline constexpr Duration kHold = std::chrono::seconds(2);            // a healed path answers so long before it is used
inline constexpr Duration kHoldMax = std::chrono::seconds(30);        // four times longer each time it is lost within
inline constexpr Duration kSteady = std::chrono::seconds(60);         // of use, and was so
inline constexpr Duration kBrief = std::chrono::milliseconds(1500);   // for less than this the time before
inline constexpr Duration kDwell = std::chrono::seconds(10);  // between relays, or from one to direct for quality
inline constexpr double kGoodWorth = 80;                      // of a direct path: no relay is looked for
inline constexpr double kWorthMargin = 10;
inline constexpr Duration kReviewGap = std::chrono::seconds(10);        // between two looks at the others
inline constexpr Duration kTrendNoise = std::chrono::milliseconds(1);   // smaller rises are no reason for one
inline constexpr Duration kHoldProbe = std::chrono::milliseconds(500);  // meanwhile
inline constexpr Duration kHealProbe = std::chrono::seconds(1);         // a lost path, packets flowing
inline constexpr Duration kLostProbe = std::chrono::seconds(4);         // a path that was proven once may heal:
inline constexpr Duration kLostFor = std::chrono::minutes(10);          // for so long
inline constexpr Duration kRetryMax = std::chrono::minutes(5);
inline constexpr Duration kConnectTime = std::chrono::seconds(5);  // without an answer: unreachable
inline constexpr Duration kSignalGap = std::chrono::seconds(1);    // between two signals to one peer

enum class PeerState : std::uint8_t {
  kConnecting,   // nothing proven yet; packets may already go to the relay
  kConnected,    // the chosen path is valid
  kUnreachable,  // every path was tried and none answers; still being retried
};
const char* peer_state_name(PeerState state);

struct SelectorOptions {
  crypto::PublicKey self;
  crypto::PublicKey peer;
  std::uint32_t instance = 0;    // this node's, in every probe
  std::uint16_t local_port = 0;  // for advice
  bool allow_loopback = false;   // candidates on 127/8 and ::1 (tests)
  Redundancy redundancy = Redundancy::kAuto;
};

class Selector {
 public:
  struct Transmit {
    Path path;  // relayed: to be framed for the peer by the RelayClient
    wire::ProbeBytes datagram;
  };
  struct Event {
    enum class Kind : std::uint8_t {
      kSelected,       // send to `path` from here on; `valid` says whether it is proven
      kLost,           // no path at all; send nothing
      kSecondChanged,  // second() changed
      kSignal,         // send the peer a PeerSignal with our candidates; `call_me_now` as given
      kPeerRestarted,  // its sessions are gone, start a handshake; once told unproven, by a ping, then proven
      kRelaySilent,    // a ping on the chosen `path` was missed: ask its relay whether it still knows us
      kStateChanged,   // state() and why() changed
      kReviewed,       // the chosen path's round trip rises: the others were looked at
    };
    Kind kind;
    Path path{};
    bool valid = false;
    bool call_me_now = false;
  };
  struct Stats {
    std::uint64_t pings_sent = 0, pings_received = 0;
    std::uint64_t pongs_sent = 0, pongs_received = 0;
    std::uint64_t pings_lost = 0;
    std::uint64_t promotions = 0;  // changes of the chosen path
    std::uint64_t losses = 0;      // of the chosen path
    std::uint64_t bursts = 0;
    std::uint64_t dropped_unauthenticated = 0;  // tag or MAC not ours
    std::uint64_t dropped_stale = 0;            // pong to no ping in flight on that path
    std::uint64_t dropped_full = 0;             // transmit queue or path table
  };
  struct PathInfo {
    Path path;
    std::optional<CandidateKind> kind;  // empty: relay
    bool valid = false;
    bool selected = false;
    Quality quality;
    std::optional<Duration> peer_rtt;  // what the peer says of this path
    std::optional<int> peer_loss_percent;
  };

  Selector(const SelectorOptions& options, Rng& rng);

  // Probe keys of the pair, newest epoch first; at least one before anything is sent. Pings use the newest.
  void set_keys(const std::vector<ProbeKey>& keys);
  // Tags of the peer's probes under these keys, in the same order: how the node finds the selector for a datagram.
  std::vector<std::uint64_t> receive_tags() const;

  // Begins: asks for a first signal and probes what is known.
  void start(Time now);
  // Relays at which this node is registered now, in the order of the pair's plan, as Path{endpoint, true}. Those no
  // longer named are dropped.
  void set_relays(Time now, const std::vector<Path>& relays);
  // How often a direct path is to be pinged at least where a NAT or firewall must be kept open.
  void set_keepalive(Duration keepalive);
  // Our own network, for `why`, and its address families.
  void set_local(const NatReport& report, const std::vector<Candidate>& candidates);
  // What else is known of it, for `why` too.
  void set_network(const wire::SignalNetwork& network) { network_ = network; }
  // Our candidates changed: tell the peer and probe anew.
  void restart(Time now);

  // A ping for the LAN's group (wire::kLanSearch), where the peer may be without our knowing its address. The peer's
  // own ping is the answer. Nothing without a key.
  std::optional<wire::ProbeBytes> search_ping();

  // An opened signal of the peer.
  void handle_signal(Time now, const wire::PeerSignal& signal);
  // A probe that came on `path` (relayed: out of a Deliver frame of the relay there).
  void handle_packet(Time now, const Path& path, ByteView datagram);
  // What WireGuard authenticated, the newest of the peer so far, came on `path` at `at`.
  void handle_received(Time now, const Path& path, Time at);
  // Packets of programs went to the peer or came from it since the last call.
  void handle_traffic(Time now);
  // So much of the peer's arrived per second, over a second or so.
  void handle_rate(Time now, double mbps);
  // Somebody on the way said (ICMP) that nothing arrives at `endpoint` from `socket`.
  void handle_unreachable(Time now, const Endpoint& endpoint, std::uint16_t socket = 0);
  // Whether that would make us ask there, so that a flood of such words costs no more than a look.
  bool would_ask(Time now, const Endpoint& endpoint, std::uint16_t socket) const;
  // A ping where the peer might be heard (paths/punch.h): no path until its pong makes it one.
  void guess(const Path& path);
  // Extra sockets that proven paths use, or used a while ago and may again; all other ones are closed: what was known
  // by them is forgotten.
  std::vector<std::uint16_t> sockets(Time now) const;
  void close_sockets(const std::set<std::uint16_t>& open);
  // The relay says that the peer is not registered there, or the relay itself stopped answering.
  void handle_relay_absent(Time now, const Path& relay);

  void handle_timeout(Time now);
  std::optional<Time> next_timeout() const;
  std::optional<Transmit> poll_transmit();
  std::optional<Event> poll_event();

  PeerState state() const { return state_; }
  bool is_direct() const;                                 // the chosen path is proven and not relayed
  std::optional<Path> selected() const;                   // where to send; empty: nowhere
  std::optional<Path> second() const { return second_; }  // where to send game packets too; empty: one path will do
  bool is_valid() const;                                  // the chosen path is proven
  // Of the chosen path; while that is not proven, of the last one that was.
  const Quality* quality() const;
  // What was measured on that since the last call, if anything.
  std::optional<Aggregate> take_measured();
  // One sentence for a person: why the path is relayed, or why there is none, and what to do. Empty when direct.
  std::string why(Time now) const;
  // Smoothed round trips of the direct path and of the relayed one that is used in its place; nothing else.
  struct RelayHelp {
    Duration direct, relayed;
  };
  std::optional<RelayHelp> relay_help(Time now) const;
  std::vector<PathInfo> paths() const;
  const Stats& stats() const { return stats_; }
  bool is_consistent() const;

 private:
  WatchedPath* find(const Path& path);
  const WatchedPath* chosen() const;
  WatchedPath* chosen();
  WatchedPath* add(Time now, const Path& path, CandidateKind kind);
  void handle_ping(Time now, const Path& path, const wire::Probe& probe, std::size_t key);
  void handle_pong(Time now, const Path& path, const wire::Probe& probe);
  void send_ping(Time now, WatchedPath& entry, std::size_t key, bool counts);
  void ping(Time now, WatchedPath& entry);
  void push(const Path& path, const wire::ProbeBytes& datagram);
  void burst_all(Time now);
  void expire_pings(Time now, WatchedPath& entry);
  void handle_miss(Time now, WatchedPath& entry);
  void lose(Time now, WatchedPath& entry);
  void forget_proofs(const WatchedPath& answered);
  void pursue(Time now);
  void forget_stale();
  void choose(Time now, const WatchedPath* moved_to = nullptr);
  void select(Time now, const std::optional<Path>& path);
  void schedule_watch(Time now, WatchedPath& entry);
  void signal(Time now, bool call_me_now, bool at_once);
  void emit(Event::Kind kind);
  void update_state(Time now);
  void update_second(Time now);
  bool is_better(const WatchedPath& candidate, const WatchedPath& current, Time now) const;
  Duration spread(Duration d);  // d, 10 % more or less, so that peers do not act in step
  bool is_active(Time now) const { return now < active_until_; }
  void doubt(Time now, WatchedPath& entry);
  const WatchedPath* best(Time now, const WatchedPath* but) const;
  const WatchedPath* best_direct(Time now, const WatchedPath* but) const;
  const WatchedPath* best_relay(Time now, const WatchedPath* but) const;
  bool prefers_direct(const WatchedPath& direct, const WatchedPath& relay) const;
  void review(Time now, const WatchedPath& current);
  bool needs_keepalive(const WatchedPath& entry) const;
  const WatchedPath* shown() const;
  void collect_measured();
  std::string why_not_direct() const;
  std::string why_unreachable() const;

  SelectorOptions options_;
  Rng& rng_;
  std::vector<ProbeKey> keys_;
  std::vector<std::uint64_t> receive_tags_;
  std::vector<std::uint64_t> send_tags_;
  std::optional<std::size_t> confirmed_key_;  // newest one under which the peer was heard
  std::uint64_t key_turn_ = 0;                // alternates keys while the newest is unconfirmed
  std::uint64_t guess_first_, guess_next_;    // transactions of guesses

  Duration keepalive_ = kKeepaliveDefault;
  std::vector<WatchedPath> entries_;  // reserved for kPathsMax: pointers stay until something is erased
  struct Arrived {
    Time at;
    double mbps;
    bool full;
  };

  std::optional<Path> selected_;
  std::optional<Path> proven_;  // the last one selected that was valid
  std::optional<Aggregate> measured_;
  std::optional<Arrived> arrived_;  // the most of the peer's traffic in a second
  Time selected_since_{};
  RedundancySwitch redundancy_;
  std::optional<Path> second_;
  bool left_direct_ = false;  // relayed since a direct path that works was left for its quality
  Time reviewed_{};
  Time active_until_{};
  Time probing_since_{};  // of the current attempt, for kUnreachable
  Time retry_at_ = kNever;
  Duration retry_gap_ = kRetryFirst;
  Time signal_at_ = kNever;  // a signal is due then
  bool signal_call_me_now_ = false;
  std::optional<Time> signalled_;                      // our last one
  std::optional<std::uint32_t> peer_instance_;         // proven by a pong
  std::optional<std::uint32_t> former_instance_;       // before it restarted
  Time restart_told_{};                                // last time that a ping was taken for a restart
  std::optional<std::uint32_t> peer_signal_instance_;  // of its last signal

  NatReport local_;
  wire::SignalNetwork network_;
  std::vector<Candidate> local_candidates_;
  std::optional<wire::PeerSignal> remote_;  // the peer's newest signal
  PeerState state_ = PeerState::kConnecting;

  std::deque<Transmit> transmits_;
  std::deque<Event> events_;
  Stats stats_;
};

}  // namespace lanrage::paths
