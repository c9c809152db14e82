// The relay's core: who may send what to whom. STUN, which shares its port, is another's work (stun_server.h).
//
// Every datagram in gives at most one out. A member registers (wire/relay.h); from then on its validated address is
// its name, and it can reach the validated addresses of members of the same party and nothing else: frames by peer,
// WireGuard types 2 to 4 by receiver index. Nothing is decrypted; frames are turned into what the other side gets in
// place, bare messages are only given a destination, so the driver sends the buffer that it received.
//
// Receiver indices are registered by their owners; besides, the sender index of an initiation or response that passes
// is learned, so that a handshake needs no extra round trip. An index belongs to one member of a party; who comes
// second is told and picks another. All state ends by expiry (session lifetime, grant), all tables have a maximum.
//
// Owned by one thread. Does not own sockets, does not log per packet, reads no clock.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/ip.h"
#include "base/rng.h"
#include "base/time.h"
#include "crypto/keys.h"
#include "crypto/signature.h"
#include "relay/mirror.h"
#include "wire/relay.h"

namespace lanrage::relay {

inline constexpr Duration kSessionLifetime = std::chrono::seconds(60);   // after the last Register or Refresh
inline constexpr Duration kCookieLifetime = std::chrono::seconds(60);    // of the secret; the one before still counts
inline constexpr Duration kSweep = std::chrono::seconds(5);              // between two looks for what expired
inline constexpr std::size_t kIndicesPerSession = 1024;                  // registered ones
inline constexpr std::size_t kLearnedPerSession = 64;                    // learned ones; the oldest makes room
inline constexpr Duration kDrainTime = std::chrono::seconds(30);         // it forwards for so long once it drains
inline constexpr Duration kDrainAgain = std::chrono::milliseconds(250);  // members who stay are told again
inline constexpr Duration kDrainQuiet = std::chrono::seconds(3);         // of nothing to forward: nobody uses it
inline constexpr std::uint32_t kHintsPerSecond = 100;                    // Refused to addresses that we do not know

struct ServerOptions {
  crypto::PrivateKey key{};                     // X25519, the relay's identity
  std::vector<crypto::VerifyKey> grant_keys{};  // of the control servers whose grants count
  std::optional<wire::PartyIdBytes> party{};    // that alone is served; none: every party with a grant
  std::size_t sessions_max = 20000;
  std::uint32_t registrations_per_second = 1000;  // with a right cookie: each costs a signature check
  // Per session, what it sends. Not what keeps parties fair: that is the driver's queue (fair_queue.h).
  std::uint64_t bytes_per_second = 256 * 1024 * 1024;
  std::uint64_t burst_bytes = 8 * 1024 * 1024;
};

class Server {
 public:
  struct Transmit {
    Endpoint to;
    ByteView datagram;  // the input, changed in place, or the server's own buffer; valid until the next call
    IpAddress from{};   // of ours: what the question came to, or the receiver registered at
  };
  struct Stats {
    std::uint64_t packets_in = 0, bytes_in = 0;
    std::uint64_t challenges = 0, registrations = 0, refreshes = 0, leaves = 0, hints = 0;
    std::uint64_t frames_forwarded = 0, packets_forwarded = 0, bytes_forwarded = 0, absent = 0;
    std::uint64_t indices_taken = 0;  // answered as collisions
    std::uint64_t sessions_expired = 0, sessions_replaced = 0, drains = 0;
    std::uint64_t dropped_unknown_protocol = 0, dropped_malformed = 0;
    std::uint64_t dropped_bad_cookie = 0, dropped_bad_mac = 0, dropped_bad_grant = 0, dropped_expired_grant = 0;
    std::uint64_t dropped_no_keys = 0;
    std::uint64_t dropped_full = 0, dropped_registration_rate = 0;
    std::uint64_t dropped_unknown_source = 0, dropped_unknown_index = 0, dropped_rate = 0;
  };

  // `mirror`, which outlives it, hears of every change of the tables; none: nobody needs to.
  Server(ServerOptions options, Rng& rng, Mirror* mirror = nullptr);

  // Any datagram that came to the relay's port, and to which address of this machine where it has several. It may be
  // changed in place.
  std::optional<Transmit> handle_packet(const Now& now, const Endpoint& source, MutableBytes datagram,
                                        const IpAddress& local = {});

  // The fast road for WireGuard types 2 to 4 alone: where these bytes go as they are, counted and charged to the
  // sender. Nothing when they are dropped; handle_packet on such a datagram does the same and may answer a stranger.
  std::optional<Endpoint> route(Time now, const Endpoint& source, ByteView datagram);

  // Who holds the mirror forwarded something.
  void note_forwarded(Time now) { forwarded_ = now; }

  void handle_timeout(const Now& now);
  std::optional<Time> next_timeout() const;

  // It is to stop: takes nobody new, and tells every member to use another relay until that one leaves. Forwards on.
  void begin_drain(Time now);
  // A Drain for one member after the other, in rounds; nothing until the next round begins.
  std::optional<Transmit> poll_drain(Time now);
  // Nobody is registered, or all were told and nobody used it for kDrainQuiet, or kDrainTime is over.
  bool is_drained(Time now) const;

  void set_grant_keys(std::vector<crypto::VerifyKey> keys);
  const crypto::PublicKey& public_key() const { return public_key_; }
  // A number of the party that the member at this address is in, never 0; nothing for strangers.
  std::optional<std::uint32_t> party_of(const Endpoint& source) const;
  std::size_t sessions() const { return by_endpoint_.size(); }
  std::size_t sessions_max() const { return options_.sessions_max; }
  std::size_t parties() const { return parties_.size(); }
  std::size_t indices() const { return by_index_.size(); }
  const Stats& stats() const { return stats_; }
  bool is_consistent() const;

 private:
  // A token bucket; time is that of the last look.
  struct Bucket {
    double tokens = 0;
    Time filled{};
    bool take(Time now, double amount, double per_second, double burst);
  };
  struct Session {
    bool live = false;
    std::uint32_t nonce = 0;  // upper half of the session's name
    Endpoint endpoint;
    IpAddress local;  // ours, that it registered at: its router lets nothing else in
    crypto::PublicKey peer;
    wire::PartyIdBytes party_id{};
    std::uint32_t party = 0;        // its number in parties_
    std::uint64_t transaction = 0;  // of its Register: a repeated one changes nothing
    wire::RelayMacKey mac_key;
    Time expires{};
    std::int64_t grant_expires_unix = 0;
    Bucket bucket;
    std::vector<std::uint32_t> indices;
    std::vector<std::uint32_t> learned;  // oldest first
  };
  struct Party {
    std::uint32_t number = 0;
    std::size_t sessions = 0;
  };
  struct PartyHash {
    std::size_t operator()(const wire::PartyIdBytes& id) const;
  };
  struct PeerName {
    std::uint32_t party = 0;
    wire::RelayPeer peer = 0;
    friend bool operator==(const PeerName&, const PeerName&) = default;
  };
  struct PeerNameHash {
    std::size_t operator()(const PeerName& name) const;
  };

  std::optional<Transmit> handle_register(const Now& now, const Endpoint& source, ByteView datagram);
  std::optional<Transmit> handle_refresh(const Now& now, const Endpoint& source, ByteView datagram);
  void handle_leave(const Endpoint& source, ByteView datagram);
  std::optional<Transmit> handle_send(Time now, const Endpoint& source, MutableBytes datagram);
  const Session* receiver_of(Time now, const Endpoint& source, ByteView datagram);
  std::optional<Transmit> handle_wireguard(Time now, const Endpoint& source, ByteView datagram);
  std::optional<Transmit> refuse(const Endpoint& to, std::uint64_t transaction, wire::RelayRefusal reason);
  std::optional<Transmit> hint(Time now, const Endpoint& source);
  std::optional<Transmit> answer_registered(const Endpoint& to, std::uint64_t transaction, std::uint32_t slot,
                                            const std::vector<std::uint32_t>& taken);
  std::optional<Transmit> answer(const Endpoint& to, Bytes datagram);

  wire::RelayCookie cookie_for(const Endpoint& source, const std::array<std::uint8_t, 32>& secret) const;
  void rotate_cookies(Time now);
  std::optional<std::uint32_t> open_session(const Endpoint& source, const wire::RelayGrant& grant,
                                            const wire::RelayMacKey& mac_key);
  void close_session(std::uint32_t slot);
  wire::RelaySession name_of(std::uint32_t slot) const { return std::uint64_t{slots_[slot].nonce} << 32 | slot; }
  std::optional<std::uint32_t> slot_of(wire::RelaySession name, const Endpoint& source) const;
  std::optional<std::uint32_t> slot_at(const Endpoint& source);
  std::optional<std::uint32_t> owner_of(std::uint64_t index);
  void forget_last();
  void set_index(const Session& session, std::uint32_t index, std::uint32_t slot);
  void drop_index(const Session& session, std::uint32_t index);
  void drop_indices(Session& session);
  bool charge(Time now, Session& session, std::size_t bytes);
  std::vector<std::uint32_t> add_indices(std::uint32_t slot, const wire::IndexList& indices);
  void learn_index(std::uint32_t slot, std::uint32_t index);

  ServerOptions options_;
  Rng& rng_;
  Mirror* mirror_;
  crypto::PublicKey public_key_;
  std::vector<std::uint64_t> grant_key_ids_;
  std::array<std::uint8_t, 32> cookie_secret_{}, cookie_secret_before_{};
  Time cookie_secret_since_{};
  Time sweep_at_{};
  Bucket registrations_, hints_;

  std::vector<Session> slots_;
  std::vector<std::uint32_t> free_;
  std::unordered_map<Endpoint, std::uint32_t> by_endpoint_;
  std::unordered_map<PeerName, std::uint32_t, PeerNameHash> by_peer_;
  std::unordered_map<std::uint64_t, std::uint32_t> by_index_;  // party number, then index
  std::unordered_map<wire::PartyIdBytes, Party, PartyHash> parties_;
  std::uint32_t next_party_ = 1;
  // What the tables said last: a run of packets is from one address to one index. Empty after any change of theirs.
  std::optional<std::pair<Endpoint, std::uint32_t>> last_source_;
  std::optional<std::pair<std::uint64_t, std::uint32_t>> last_index_;
  std::optional<Time> draining_since_;
  Time drain_round_{};            // when the next begins
  std::uint32_t drain_slot_ = 0;  // the next to tell in this one
  Time forwarded_{};              // the last packet
  Bytes out_;
  IpAddress local_;  // that the packet under way came to
  Stats stats_;
};

}  // namespace lanrage::relay
