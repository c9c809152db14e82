// All WireGuard peers of one interface: handshakes, session keys, cookies, timers and roaming, as pure code.
//
// Who drives it: the control thread alone (or the simulator). It calls a `handle_*` with the time, then drains
// `poll_event()` and `poll_transmit()` until empty, then sleeps until `next_timeout()`. Nothing here reads a clock,
// opens a socket or draws its own randomness, and nothing here touches a data packet: those are sealed and opened by
// the TX and RX threads with the keys that SessionReady hands over, and come back as numbers, by `handle_activity`.
//
// Timers (paper section 6; names there are the constants here):
//  - a handshake starts when data waits without a session, 120 s into a session that we began and still send on (165 s
//    if we only receive), after 2^60 messages, and 15 s after data that nothing answered;
//  - an unanswered initiation is made anew every 5 s and up to 334 ms, for 90 s; then HandshakeFailed, and quiet until
//    data waits again;
//  - what was received is answered within 10 s by data or a keepalive; a persistent keepalive follows `keepalive` after
//    the last packet in either direction;
//  - keys are unusable after 180 s and wiped 540 s after the last handshake.
//
// What it does not do: choose paths (it tells what it has seen, `paths/` decides), queue data, filter addresses.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/time.h"
#include "crypto/keys.h"
#include "tunnel/cookie.h"
#include "tunnel/handshake.h"
#include "tunnel/session.h"

namespace lanrage::tunnel {

inline constexpr Duration kRekeyAfterTime = std::chrono::seconds{120};
inline constexpr Duration kRekeyAttemptTime = std::chrono::seconds{90};
inline constexpr Duration kRekeyTimeout = std::chrono::seconds{5};
inline constexpr Duration kRekeyJitterMax = std::chrono::milliseconds{334};
inline constexpr Duration kKeepaliveTimeout = std::chrono::seconds{10};
inline constexpr Duration kInitiationIntervalMin = std::chrono::milliseconds{50};  // 20 per second and peer are read
inline constexpr std::size_t kPeersMax = 1 << 16;
inline constexpr std::size_t kTransmitsMax = 4096;  // beyond it the oldest is dropped and counted

struct DeviceOptions {
  // What `timestamp_floor()` last answered in an earlier run. Our initiations are always stamped later than this, so a
  // clock that jumped back locks nobody out.
  Tai64n timestamp_floor{};
  // How far ahead a new floor is reserved, so that it is saved once in a while and not at each handshake.
  Duration timestamp_reserve = std::chrono::seconds{10};
  // Follow a peer's source address when it sends a genuine, newer packet. Off where `paths/` chooses: PathChanged is
  // reported just the same.
  bool roaming = true;
};

struct PeerOptions {
  // Newest first. A responder answers with the first; an initiator tries each on the response. Empty: all zero, as
  // WireGuard has it without a preshared key.
  std::vector<crypto::PresharedKey> preshared_keys;
  std::optional<Path> path;
  Duration keepalive{0};        // persistent keepalive; 0: none
  Tai64n greatest_timestamp{};  // of earlier runs, if kept: refuses replays of what was sent before our restart
};

// What the data threads saw of a peer, read by control from that peer's relaxed atomics. All of it is "so far": values
// never go back, and a report may be repeated or skip steps. Times are kNone until it happened once.
struct Activity {
  static constexpr Time kNone = Time::min();
  Time last_sent = kNone;           // TX: any data message, keepalives included
  Time last_data_sent = kNone;      // TX: one that carries a packet
  Time last_received = kNone;       // RX: any genuine data message, keepalives included
  Time last_data_received = kNone;  // RX: one that carries a packet
  std::uint64_t send_counter = 0;   // TX: SendKey::counter() of the key in use
  std::uint64_t sent_bytes = 0, received_bytes = 0;
  std::uint64_t sent_packets = 0, received_packets = 0;
  // RX: local_index() of the youngest key (latest created()) that opened a packet. Confirms a responder's session: RX
  // should wake control when ReceiveKey::open says `first`.
  std::optional<std::uint32_t> receive_index;
  // RX: source of the last packet that was `newest` under its key.
  std::optional<Path> source;
};

// A new session. RX: add `receive` under its local_index() and keep the ones before. TX: when `initiator`, seal with
// `send` from now on; else keep the send key in use (or none) until SessionConfirmed.
struct SessionReady {
  crypto::PublicKey peer;
  std::shared_ptr<SendKey> send;
  std::shared_ptr<ReceiveKey> receive;
  bool initiator = false;
};
// As responder: the initiator has shown that it holds the keys. TX: seal with this session's send key from now on.
struct SessionConfirmed {
  crypto::PublicKey peer;
  std::uint32_t local_index = 0;
};
// Forget both keys of this session; the Device has. The last reference wipes them.
struct SessionRetired {
  crypto::PublicKey peer;
  std::uint32_t local_index = 0;
};
// TX: send an empty data message, unless a packet that waited is sent right now (it does as well).
struct KeepaliveDue {
  crypto::PublicKey peer;
};
// A genuine, newer packet or handshake came from another path than the peer's.
struct PathChanged {
  crypto::PublicKey peer;
  Path path;
};
// 90 s without an answer. Drop the packets that wait; the next handle_outbound begins anew.
struct HandshakeFailed {
  crypto::PublicKey peer;
};
// Save `floor` (timestamp_floor()) now, before sending the transmits that wait: the next start passes it in.
struct TimestampFloorRaised {
  Tai64n floor;
};
using Event = std::variant<SessionReady, SessionConfirmed, SessionRetired, KeepaliveDue, PathChanged, HandshakeFailed,
                           TimestampFloorRaised>;

struct Transmit {
  // Nothing for an answer to a stranger's handshake under load (a cookie): only `path` says where.
  std::optional<crypto::PublicKey> peer;
  // Set when it answers a packet: it must go back where that came from. Else to the peer's path, which the owner or
  // `Device::path` knows; without one it is dropped.
  std::optional<Path> path;
  Bytes datagram;
};

enum class Drop : std::uint8_t {
  kMalformed,      // no handshake message of the right length
  kNoIdentity,     // no private key is set
  kBadMac1,        // not meant for us, or noise
  kUnderLoad,      // answered by a cookie
  kRateLimited,    // with a good cookie, but more than its source may send
  kForged,         // a seal inside is wrong: also a wrong preshared key
  kUnknownPeer,    // a genuine initiation by nobody we know
  kReplayed,       // timestamp not greater than the last
  kFlood,          // this peer's previous initiation was less than 50 ms ago
  kUnknownIndex,   // a response or cookie that we did not ask for
  kTransmitsFull,  // our own: nobody polled
  kCount
};
const char* drop_name(Drop reason);

struct Stats {
  std::array<std::uint64_t, static_cast<std::size_t>(Drop::kCount)> dropped{};
  std::uint64_t initiations_sent = 0, initiations_received = 0;
  std::uint64_t responses_sent = 0, responses_received = 0;
  std::uint64_t cookies_sent = 0, cookies_received = 0;
  std::uint64_t sessions = 0, handshakes_failed = 0, roamed = 0;
};

struct PeerStatus {
  std::optional<Path> path;
  std::optional<Now> last_handshake;  // when the newest session was made
  bool connected = false;             // a session to send on, younger than 180 s
  bool handshaking = false;
  Duration keepalive{0};
  Tai64n greatest_timestamp{};
  Activity activity;
};

class Device {
 public:
  Device(const DeviceOptions& options, Rng& rng, Logger log);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Who we are. Every session and handshake under the key before is retired. Nothing: a device without identity,
  // silent.
  void set_private_key(Now now, const std::optional<crypto::PrivateKey>& key);
  std::optional<crypto::PublicKey> public_key() const;

  // Refuses ourselves (kInvalid), a point of low order (kInvalid), a known one (kConflict) and more than kPeersMax
  // (kExhausted). A persistent keepalive begins with a handshake.
  Result<void> add_peer(Now now, const crypto::PublicKey& peer, const PeerOptions& options);
  // Replaces the options; sessions stay. `options.path` empty: the path stays too. kNotFound.
  Result<void> update_peer(Now now, const crypto::PublicKey& peer, const PeerOptions& options);
  // Its sessions are retired, by events. Unknown peers are ignored.
  void remove_peer(const crypto::PublicKey& peer);

  // A datagram of type 1 to 3. `under_load`: whoever calls found the queue of handshakes long (LoadDetector) and did
  // not check for a cookie itself; then only a sender that proves its address gets a Diffie-Hellman.
  void handle_packet(Now now, const Path& from, ByteView datagram, bool under_load = false);
  // What the data threads did since the last call. At least every second, and at once when a key opened its first
  // packet.
  void handle_activity(Now now, const crypto::PublicKey& peer, const Activity& activity);
  // A packet for this peer waits and no usable key is there.
  void handle_outbound(Now now, const crypto::PublicKey& peer);
  void handle_timeout(Now now);
  std::optional<Time> next_timeout() const;

  // A fresh initiation at once (250 ms after the last at the earliest), even while another waits for its answer, which
  // then counts no more: what a path that just came up wants.
  void start_handshake(Now now, const crypto::PublicKey& peer);
  // The peer just answered something else by its path, which took `rtt`: an initiation is taken for lost, and made
  // anew, when it has waited twice as long and 250 ms, where WireGuard alone waits five seconds.
  void handle_round_trip(const crypto::PublicKey& peer, Duration rtt);
  // A relay cannot route this index of ours (another node registered it): begins a handshake with another one, as
  // start_handshake does. A session under the index stays for paths that need no relay. Not ours: ignored.
  void reject_index(Now now, std::uint32_t index);
  // Whose local index this is, while it lives.
  std::optional<crypto::PublicKey> owner_of_index(std::uint32_t index) const;

  std::optional<Transmit> poll_transmit();
  std::optional<Event> poll_event();

  std::optional<PeerStatus> status(Now now, const crypto::PublicKey& peer) const;
  std::vector<crypto::PublicKey> peers() const;  // ordered
  std::optional<Path> path(const crypto::PublicKey& peer) const;
  Tai64n timestamp_floor() const { return reserved_; }
  const Stats& stats() const { return stats_; }
  bool is_consistent() const;  // every index has its owner and every owner its index: for tests

 private:
  struct Session;
  struct Peer;
  struct IndexOwner {
    crypto::PublicKey peer;
    bool handshake = false;  // of an initiation in flight, else of a session
  };

  Peer* find(const crypto::PublicKey& key) const;
  void apply(Now now, Peer& peer, const PeerOptions& options);
  void drop(Drop reason);
  void send(Transmit transmit);

  void handle_initiation(Now now, const Path& from, ByteView datagram);
  void handle_response(Now now, const Path& from, ByteView datagram);
  void handle_cookie_reply(Now now, ByteView datagram);

  void request_handshake(Now now, Peer& peer);
  void hurry(Now now, Peer& peer);
  void initiate(Now now, Peer& peer);
  void end_series(Peer& peer);
  void give_up(Now now, Peer& peer);
  Tai64n next_timestamp(Now now);
  Duration jitter();
  std::uint32_t claim_index(const crypto::PublicKey& peer, bool handshake);

  void begin_session(Now now, Peer& peer, std::uint32_t local_index, const TransportKeys& keys, bool initiator);
  void make_current(Peer& peer, Session session);
  void confirm(Peer& peer);
  void retire(Peer& peer, std::optional<Session>& session);
  void retire_sessions(Peer& peer);

  void renew(Now now, Peer& peer, bool sent, bool received);
  void move_path(Now now, Peer& peer, const Path& path);
  void note_sent(Now now, Peer& peer);
  void note_received(Now now, Peer& peer);
  void send_persistent_keepalive(Now now, Peer& peer);
  void run_timers(Now now, Peer& peer);
  void reschedule(Peer& peer);

  const DeviceOptions options_;
  Rng& rng_;
  Logger log_;
  std::optional<LocalIdentity> identity_;
  std::optional<CookieChecker> cookie_checker_;
  SourceLimiter source_limiter_;
  Tai64n last_timestamp_;
  Tai64n reserved_;
  std::map<crypto::PublicKey, std::unique_ptr<Peer>> peers_;
  std::unordered_map<std::uint32_t, IndexOwner> indices_;
  std::set<std::pair<Time, crypto::PublicKey>> deadlines_;
  std::deque<Transmit> transmits_;
  std::deque<Event> events_;
  Stats stats_;
};

}  // namespace lanrage::tunnel
