// The node's side of the relays: registered with those that it is told to use, all the time, so that a path exists at
// once, and measuring all of them, so that it can be chosen which.
//
// For each relay: a Register to all of its endpoints, the first that challenges is used (a broken family costs
// nothing); registration with the grant and all receiver indices; a Refresh every kRelayRefresh, which also measures
// the round trip; three unanswered ones in a row, or a relay that no longer knows us, mean that the registration is
// lost, and it is made anew with backoff. While no relay answers over UDP, streams are wanted (wire/relay_stream.h):
// the driver makes them, each looks like one more endpoint of its relay, and UDP is tried again every kRelayUdpAgain
// and preferred as soon as it answers. Frames and unframes what the relay carries by name (initiations, probes);
// WireGuard's other messages travel bare and never come by here.
//
// A relay where we are not registered is asked for a challenge, which costs it no state, every kRelayMeasure. The first
// kRelayFirstProbes questions to any relay follow each other within a second, and where we are registered and there is
// another relay the first kRelayChoiceProbes within half of one, so that there is something to choose by.
//
// Owned by the node, control thread. Drive: after every call poll_transmit until empty, *before* other packets that the
// same cause made are sent, so that a new receiver index reaches the relay ahead of the handshake that announces it.
#pragma once

#include <deque>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/ip.h"
#include "base/rng.h"
#include "base/time.h"
#include "crypto/keys.h"
#include "paths/quality.h"
#include "wire/relay.h"

namespace lanrage::paths {

inline constexpr std::size_t kRelaysKnownMax = 64;                   // measured
inline constexpr std::size_t kRelaysMax = 8;                         // registered with at a time
inline constexpr std::size_t kRelayEndpointsMax = 4;                 // of one relay
inline constexpr std::size_t kIndicesMax = 1024;                     // receiver indices registered at a time
inline constexpr Duration kRelayRefresh = std::chrono::seconds(20);  // keeps the NAT's mapping too: set_keepalive
inline constexpr Duration kRelayMeasure = std::chrono::seconds(60);  // where we are not registered
inline constexpr std::size_t kRelayFirstProbes = 8;                  // questions that follow at
inline constexpr Duration kRelayFirstGap = std::chrono::seconds(1);  // once
inline constexpr std::size_t kRelayChoiceProbes = 40;                // closer where we are registered
inline constexpr Duration kRelayChoiceGap = std::chrono::milliseconds(500);  // and could be elsewhere
inline constexpr Duration kRelayRetry = std::chrono::milliseconds(250);      // first; doubles
inline constexpr Duration kRelayRetryMax = std::chrono::seconds(1);          // first, to one that is far away
inline constexpr int kRelayTries = 4;                                        // 250 + 500 + 1000 + 2000 ms, then lost
inline constexpr Duration kRelayBackoffMax = std::chrono::seconds(10);       // of one that is silent
inline constexpr Duration kRelayRefusedFor = std::chrono::seconds(30);       // of one that refused us
inline constexpr Duration kRelayLinger = std::chrono::seconds(2);  // others may still send by a relay that we left
// So long a relay may owe an answer over UDP, or twice its round trip: to the first question, with no repetition, and
// to one of an hour's many, of which one packet may be lost.
inline constexpr Duration kRelayFirstPatience = std::chrono::milliseconds(200);
inline constexpr Duration kRelayPatience = std::chrono::milliseconds(550);
inline constexpr Duration kRelayUdpAgain = std::chrono::seconds(3);
inline constexpr std::size_t kRelayStreamsMax = 3;  // to the first that take one: whoever is without UDP meets there
inline constexpr std::size_t kRelayTransmitsMax = 256;  // waiting to be polled
inline constexpr std::size_t kRelayEventsMax = 1024;

struct RelayAddress {
  crypto::PublicKey key;            // its X25519 key: its identity
  std::vector<Endpoint> endpoints;  // UDP, either family
  bool takes_streams = false;
  bool is_members = false;  // a member's own: that it is heard over UDP does not mean that the others can be
  friend bool operator==(const RelayAddress&, const RelayAddress&) = default;
};

class RelayClient {
 public:
  struct Transmit {
    Endpoint to;
    Bytes datagram;
  };
  struct Event {
    enum class Kind : std::uint8_t {
      kRegistered,   // `path` can be used; also when its endpoint changed
      kLost,         // `path` cannot be used until registered again
      kLeft,         // likewise, because it is not to be used any more
      kIndexTaken,   // `index` belongs to somebody else in this party: pick another and add that
      kAbsent,       // `peer` is not registered at `path`
      kDraining,     // the relay of `path` goes away, or went: registered() changed
      kGrantWanted,  // a relay says that the grant is expired or wrong: get a new one
    };
    Kind kind;
    Path path{};
    std::uint32_t index = 0;
    wire::RelayPeer peer = 0;
  };
  struct Inbound {
    wire::RelayPeer peer;  // who sent it, says the relay; the payload proves it
    Path path;             // relayed, by this relay
    ByteView payload;      // into the datagram
  };
  struct Status {
    crypto::PublicKey key;
    std::vector<Endpoint> endpoints;
    std::optional<Path> path;                   // registered
    bool by_stream = false;                     // and that over a stream
    std::optional<Endpoint> observed;           // ours, over UDP
    Quality quality;                            // of what was asked since it last began to answer
    std::optional<wire::RelayRefusal> refusal;  // why not registered, if it said so
  };
  struct Stats {
    std::uint64_t registers_sent = 0, refreshes_sent = 0;
    std::uint64_t registrations = 0, losses = 0;
    std::uint64_t answers = 0;    // that told a round trip
    std::uint64_t forgotten = 0;  // relays whose quality means nothing any more
    std::uint64_t frames_received = 0;
    std::uint64_t dropped_unknown_source = 0, dropped_malformed = 0, dropped_stale = 0, dropped_forged = 0;
  };

  RelayClient(const crypto::PrivateKey& device_key, Rng& rng);

  // The grant as the control server signed it; registers anew with it. An empty one stops registering.
  void set_grant(Time now, ByteView grant);
  // Replaces the relays; known ones keep their registration, others are left politely, after kRelayLinger. Up to
  // kRelaysMax are all used.
  void set_relays(Time now, const std::vector<RelayAddress>& relays);
  // Of more than that these are, kRelaysMax at most; the others are measured only.
  void use(Time now, std::span<const wire::RelayPeer> relays);
  // Receiver indices of our handshakes and sessions. Adding is told to the relays at once, removing with the next
  // refresh. Beyond kIndicesMax the oldest is forgotten.
  void add_index(Time now, std::uint32_t index);
  void remove_index(std::uint32_t index);
  // The network changed (register anew at once), or a path by this relay went silent (ask it at once).
  void restart(Time now);
  // What keeps a NAT open must be sent so often, if that is oftener than kRelayRefresh.
  void set_keepalive(Time now, Duration keepalive);
  void check(Time now, const Path& relay);
  void check_all(Time now);
  // UDP does not get out of this network, as it seems elsewhere: relays that are new are not waited for.
  void doubt_udp();
  // A stream to this relay is open, and its entrance there; or it is over.
  void set_stream(Time now, const crypto::PublicKey& relay, const std::optional<Endpoint>& entrance);
  // Leaves every relay; nothing more is sent after that is polled.
  void stop();

  // A relay message (wire/demux.h) from `source`. The frame it carried, if it was one.
  std::optional<Inbound> handle_packet(Time now, const Endpoint& source, ByteView datagram);
  void handle_timeout(Time now);
  std::optional<Time> next_timeout() const;
  std::optional<Transmit> poll_transmit();
  std::optional<Event> poll_event();

  // Relays that can be used, quickest first; one that goes away only while there is no other.
  std::vector<Path> registered() const;
  // Those and the ones that were left, by which others' packets may still come.
  std::vector<Endpoint> heard() const;
  // The relay listens there: a bare WireGuard message from it came relayed.
  bool is_relay(const Endpoint& source) const;
  // The relays that streams are wanted to, as of the last call: none while any but members' own answers over UDP.
  std::vector<crypto::PublicKey> streams_wanted() const;
  bool is_stream(const Path& path) const;
  std::optional<Endpoint> address_of(const Path& path) const;  // the relay's first one, over UDP
  // The relay behind a path, as signals name it.
  std::optional<wire::RelayPeer> id_of(const Path& path) const;
  std::vector<Status> status() const;
  const Stats& stats() const { return stats_; }
  // Whether a round trip was measured, or missed, since the last call.
  bool take_measured() { return std::exchange(measured_, false); }

  // Writes a Send frame for `peer` at `out` (payload.size() + wire::kRelayHeaderBytes); no allocation.
  static void frame(wire::RelayPeer peer, ByteView payload, MutableBytes out);

 private:
  enum class State : std::uint8_t { kIdle, kMeasuring, kRegistering, kRegistered };
  struct Relay {
    RelayAddress address;
    std::optional<wire::RelayMacKey> mac_key;  // none: its key is unusable
    bool used = false;
    State state = State::kIdle;
    std::optional<Endpoint> endpoint;   // the one whose challenge came first
    std::optional<Endpoint> announced;  // what the node was told: registered there, not lost
    wire::RelayCookie cookie{};
    wire::RelaySession session = 0;
    std::optional<Endpoint> observed;
    std::optional<wire::RelayRefusal> refusal;
    std::optional<Endpoint> stream;  // its entrance, while one is open
    bool udp_silent = false;         // it owed an answer over UDP for too long, and has given none since
    std::uint64_t udp_again = 0;     // transaction of a question over UDP while registered by stream; 0: none
    Time udp_again_due = kNever;
    Time first_asked{};                  // the question in flight
    std::uint64_t transaction = 0;       // of the question in flight; 0: none
    Time asked{};                        // its last repetition
    int tries = 0;                       // times that an answer was waited for since first_asked
    int copies = 0;                      // of the question in flight
    Duration backoff{};                  // since the last failure
    Time due = kNever;                   // repetition, refresh or new attempt
    std::size_t indices_told = 0;        // this many of indices_, from the front, are acknowledged
    std::size_t indices_asked = 0;       // so many will be by the answer to the question in flight
    std::vector<std::uint32_t> removed;  // told once, gone since
    std::size_t removed_asked = 0;       // of these, in the question in flight
    Duration patience = kRelayRetry;     // before the first repetition
    Quality quality;
    std::optional<Time> going;  // away, then at the latest: no longer sent by, but heard until leave_at
    Time leave_at = kNever;
    bool named = true;  // by set_relays; else it is forgotten once it is left
  };
  void set_used(Time now, Relay& relay);
  void note_answer(Time now, Relay& relay);
  void note_silence(Time now, Relay& relay);
  void begin(Time now, Relay& relay);
  Duration pause(const Relay& relay) const;
  std::size_t named() const;
  void send_register(Time now, Relay& relay);
  void send_refresh(Time now, Relay& relay);
  void send(const Endpoint& to, Bytes datagram);
  void leave(Relay& relay);
  void linger(Time now, Relay& relay, Duration forwarding);
  bool has_other() const;
  void handle_drain(Time now, Relay& relay, ByteView datagram);
  void announce_loss(Relay& relay);
  void forget_quality(Relay& relay);
  void back_off(Time now, Relay& relay, Duration least);
  void push_event(Event event);
  bool is_by_stream(const Relay& relay) const { return relay.stream && relay.endpoint == relay.stream; }
  std::optional<Time> patience_ends(const Relay& relay) const;
  void ask_udp_again(Time now, Relay& relay);
  void handle_challenge(Time now, Relay& relay, const Endpoint& source, ByteView datagram);
  void handle_registered(Time now, Relay& relay, ByteView datagram);
  void handle_refused(Time now, Relay& relay, const Endpoint& source, ByteView datagram);
  Relay* relay_at(const Endpoint& endpoint);

  crypto::PrivateKey device_key_;
  crypto::PublicKey self_;
  Rng& rng_;
  Bytes grant_;
  std::vector<Relay> relays_;
  std::vector<wire::RelayPeer> wanted_;  // of many
  std::vector<std::uint32_t> indices_;   // oldest first
  std::deque<Transmit> transmits_;
  std::deque<Event> events_;
  Stats stats_;
  bool measured_ = false;
  Duration keepalive_ = kRelayRefresh;
};

}  // namespace lanrage::paths
