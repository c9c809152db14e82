// The relay's protocol, between a node and a relay on UDP.
//
// A relay carries sealed packets between members of one party that reach each other no better way. It knows who they
// are by a grant: a short-lived statement of the control server, signed with Ed25519, that a peer is in a party. A
// stolen grant is of no use: registering also proves, by a MAC under X25519(device, relay), that one is that peer.
//
//   node                                    relay
//   Register{grant, no cookie}      ->             an address that has proven nothing gets 28 bytes, and no state
//                                   <-  Challenge{cookie}
//   Register{grant, cookie, indices, MAC} ->       cookie: this address hears us; MAC: it is the peer; grant: it may
//                                   <-  Registered{session, lifetime, your address, indices that are taken}
//   Refresh{session, more, fewer indices, MAC} ->  also the measure of the round trip to the relay
//                                   <-  Registered
//   Send{peer, payload}             ->  Deliver{peer, payload} to the other node, or <- Absent{peer}
//   WireGuard types 2, 3, 4, bare   ->  the same bytes to the owner of the receiver index
//                                   <-  Drain{session, seconds, MAC}: it stops; the node moves on, then says Leave
//
// Types (u32, little endian) are 0x4C520100 plus: 1 Register, 2 Challenge, 3 Registered, 4 Refused, 5 Refresh, 6 Send,
// 7 Deliver, 8 Absent, 9 Leave, 10 Drain. All other fields are big endian; layouts stand at the structs. No answer to
// an address that is not validated is larger than its question. Peers are named by the first eight bytes of their
// public key.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"
#include "base/time.h"
#include "crypto/hash.h"
#include "crypto/keys.h"
#include "crypto/signature.h"

namespace lanrage::wire {

enum class RelayType : std::uint8_t {
  kRegister = 1,
  kChallenge = 2,
  kRegistered = 3,
  kRefused = 4,
  kRefresh = 5,
  kSend = 6,
  kDeliver = 7,
  kAbsent = 8,
  kLeave = 9,
  kDrain = 10,
};

inline constexpr std::size_t kRelayIndicesMax = 256;  // per message
inline constexpr std::size_t kRelayPayloadMax = 1400;
inline constexpr std::size_t kRelayHeaderBytes = 12;  // of Send and Deliver, before the payload

using PartyIdBytes = std::array<std::uint8_t, 16>;
using RelayCookie = std::array<std::uint8_t, 16>;  // all zero: none yet
using RelayPeer = std::uint64_t;
using RelaySession = std::uint64_t;
using RelayMacKey = crypto::Secret<struct RelayMacKeyTag>;

// A peer's short name on relays, and the one of a relay (its X25519 key is a PublicKey too).
RelayPeer relay_peer(const crypto::PublicKey& key);

// ---- Grants. 129 bytes: u8 1, party[16], peer[32], u64 expires (Unix seconds), u64 key id, signature[64] over the
// text "lanrage relay grant v1" and the 65 bytes before it. The key id says which of its keys the server signed with.
inline constexpr std::size_t kGrantBytes = 129;
struct RelayGrant {
  PartyIdBytes party{};
  crypto::PublicKey peer{};
  std::int64_t expires_unix = 0;
  std::uint64_t key_id = 0;
  friend bool operator==(const RelayGrant&, const RelayGrant&) = default;
};
using GrantBytes = std::array<std::uint8_t, kGrantBytes>;
std::uint64_t grant_key_id(const crypto::VerifyKey& key);
// `grant.key_id` is set from the key.
GrantBytes sign_grant(const RelayGrant& grant, const crypto::SigningKey& key);
std::optional<RelayGrant> parse_grant(ByteView bytes);  // well formed; says nothing about its signature
bool verify_grant(ByteView bytes, const crypto::VerifyKey& key);

// The key of all MACs (keyed BLAKE2s-128, last 16 bytes of a message, over all before them) between a peer and a relay.
// Nothing when the other key is a point of low order.
std::optional<RelayMacKey> relay_mac_key(const crypto::PrivateKey& mine, const crypto::PublicKey& theirs,
                                         const crypto::PublicKey& peer, const crypto::PublicKey& relay);
bool verify_relay_mac(ByteView datagram, const RelayMacKey& key);

// Receiver indices inside a message, unaligned.
class IndexList {
 public:
  IndexList() = default;
  explicit IndexList(ByteView raw) : raw_(raw) {}
  std::size_t size() const { return raw_.size() / 4; }
  std::uint32_t operator[](std::size_t i) const { return load_be<std::uint32_t>(raw_.data() + 4 * i); }

 private:
  ByteView raw_;
};

// type, u64 transaction, cookie[16], grant[129], u16 count, u32 indices[count], mac[16]
struct RelayRegister {
  std::uint64_t transaction = 0;
  RelayCookie cookie{};
  ByteView grant;
  IndexList indices;
};
// type, u64 transaction, cookie[16]
struct RelayChallenge {
  std::uint64_t transaction = 0;
  RelayCookie cookie{};
};
// type, u64 transaction, u64 session, u32 lifetime (seconds), endpoint[19], u16 count, u32 indices[count], mac[16]
struct RelayRegistered {
  std::uint64_t transaction = 0;
  RelaySession session = 0;
  std::uint32_t lifetime_seconds = 0;
  Endpoint observed;
  IndexList taken;  // indices of the question that another member already has
};
// type, u64 transaction (0: no question of yours, but a packet that the relay cannot place), u8 reason
enum class RelayRefusal : std::uint8_t {
  kUnknownSession = 1,  // the relay restarted, or the session's address or lifetime is over: register again
  kBadGrant = 2,
  kExpiredGrant = 3,
  kFull = 4,
};
struct RelayRefused {
  std::uint64_t transaction = 0;
  RelayRefusal reason = RelayRefusal::kUnknownSession;
};
// type, u64 transaction, u64 session, u16 added, u16 removed, u32 indices[added + removed], 24 zero bytes, mac[16]
struct RelayRefresh {
  std::uint64_t transaction = 0;
  RelaySession session = 0;
  IndexList added;
  IndexList removed;
};
// type, u64 peer, payload: an initiation or a probe. Send names the destination, Deliver the source.
struct RelayFrame {
  RelayPeer peer = 0;
  ByteView payload;
};
// type, u64 peer: nobody of that name in your party is registered here
struct RelayAbsent {
  RelayPeer peer = 0;
};
// type, u64 transaction, u64 session, mac[16]: forget me
struct RelayLeave {
  std::uint64_t transaction = 0;
  RelaySession session = 0;
};
// type, u64 session, u16 seconds, mac[16]: the relay stops, and forwards for so long still; use another from now on
struct RelayDrain {
  RelaySession session = 0;
  std::uint16_t seconds = 0;
};

// The type, when the length can be right. Parsers take whole datagrams and are strict about every byte; views point
// into the datagram. MACs are checked by verify_relay_mac.
std::optional<RelayType> relay_type(ByteView datagram);
std::optional<RelayRegister> parse_relay_register(ByteView datagram);
std::optional<RelayChallenge> parse_relay_challenge(ByteView datagram);
std::optional<RelayRegistered> parse_relay_registered(ByteView datagram);
std::optional<RelayRefused> parse_relay_refused(ByteView datagram);
std::optional<RelayRefresh> parse_relay_refresh(ByteView datagram);
std::optional<RelayFrame> parse_relay_frame(ByteView datagram);  // Send or Deliver
std::optional<RelayAbsent> parse_relay_absent(ByteView datagram);
std::optional<RelayLeave> parse_relay_leave(ByteView datagram);
std::optional<RelayDrain> parse_relay_drain(ByteView datagram);

// Writers. Lists longer than kRelayIndicesMax and payloads longer than kRelayPayloadMax are a bug of the caller.
using Indices = std::span<const std::uint32_t>;
Bytes write_relay_register(std::uint64_t transaction, const RelayCookie& cookie, ByteView grant, Indices indices,
                           const RelayMacKey& key);
Bytes write_relay_challenge(const RelayChallenge& message);
Bytes write_relay_registered(const RelayRegistered& message, Indices taken, const RelayMacKey& key);
Bytes write_relay_refused(const RelayRefused& message);
Bytes write_relay_refresh(std::uint64_t transaction, RelaySession session, Indices added, Indices removed,
                          const RelayMacKey& key);
// Send, at `out`, which holds kRelayHeaderBytes and the payload: nothing is allocated.
void write_relay_send(RelayPeer peer, ByteView payload, MutableBytes out);
// Makes a Send into the Deliver that its destination gets, in place.
void make_relay_deliver(MutableBytes send, RelayPeer source);
Bytes write_relay_absent(const RelayAbsent& message);
Bytes write_relay_leave(const RelayLeave& message, const RelayMacKey& key);
Bytes write_relay_drain(const RelayDrain& message, const RelayMacKey& key);

}  // namespace lanrage::wire
