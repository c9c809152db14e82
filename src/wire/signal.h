// What one member tells another about how to reach it, sealed so that the server carries it unread.
//
// Plaintext, big endian:
//   u8 1 (version), u8 flags (1 = call me now, 2 = this network blocks UDP), u8 mapping (Mapping below),
//   u32 instance, u32 generation,
//   u8 n, n x {u8 kind (CandidateKind), endpoint[19]}                       n at most kCandidatesMax
//   u8 r, r x {u64 relay (relay_peer of the relay's key), u16 round trip in ms, 65535 unknown}   r at most
//   kSignalRelaysMax
//   extensions {u8 kind, u8 length, value}: of unknown kinds and beyond the known length they are skipped
//     1: how the network treats UDP (SignalNetwork) {u8 filtering, u8 flags (1 = the router stands behind another NAT,
//        2 = the router opens no port), u8 ports (PortChoice)}; left out where nothing is known
//     2: ports to ping now (SignalPunch) {u8 method, u32 round, endpoint[19], i16 step, u16 count}
//     3: what the sender measures to relays, registered there or not, best first: n x {u32 relay (first four bytes of
//        its key), u16 round trip in tenths of a millisecond, u8 jitter in ms (255 unknown), u8 percent lost}
//     4: the sender relays for its party, under its own key (MemberRelay) {u8 health, u8 load, u8 n, n x endpoint[19]}
//        n from 1 to kMemberRelayEndpointsMax; left out where it does not
// Sealed: u8 1, nonce[24], XChaCha20-Poly1305 ciphertext and tag under the pair's signalling key; associated data are
// the sender's and the recipient's public key, so that a message cannot be turned around.
//
// A repeated old message costs some probes to old addresses and changes nothing that a probe has proven.
#pragma once

#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"
#include "base/rng.h"
#include "crypto/keys.h"

namespace lanrage::wire {

inline constexpr std::size_t kCandidatesMax = 24;
inline constexpr std::size_t kSignalRelaysMax = 8;
inline constexpr std::uint16_t kRelayRttUnknown = 65535;
inline constexpr std::uint8_t kLegJitterUnknown = 255;
inline constexpr std::size_t kMemberRelayEndpointsMax = 3;
inline constexpr std::size_t kSignalExtensionBytesMax = 256;  // all of them; ours have 97 beside the legs at most
inline constexpr std::size_t kPeerSignalBytesMax =
    1 + 24 + 11 + 1 + kCandidatesMax * 20 + 1 + kSignalRelaysMax * 10 + kSignalExtensionBytesMax + 16;

// How an endpoint came to be known. Peer-reflexive ones are learned from probes and never signalled.
enum class CandidateKind : std::uint8_t {
  kHost = 1,             // an address of an interface
  kMapped = 2,           // a port that a router opened for us on request
  kServerReflexive = 3,  // what a server saw us as
  kPeerReflexive = 4,    // what a peer saw us as
};
const char* candidate_kind_name(CandidateKind kind);

struct Candidate {
  CandidateKind kind = CandidateKind::kHost;
  Endpoint endpoint;
  friend constexpr auto operator<=>(const Candidate&, const Candidate&) = default;
};

// RFC 4787 section 4.1, as far as it shows: does the port that others see depend on whom one talks to?
enum class Mapping : std::uint8_t { kUnknown = 0, kNone = 1, kEndpointIndependent = 2, kDependent = 3 };
const char* mapping_name(Mapping mapping);

// RFC 4787 sections 4.1 and 5: on what of the destination a mapping, or of the source what is let in, depends.
enum class Dependence : std::uint8_t {
  kUnknown = 0,
  kEndpointIndependent = 1,
  kNotPort = 2,  // not on the port; the server has one address, so that whether on the address is not known
  kAddress = 3,
  kAddressAndPort = 4,
};

// How a NAT whose mappings depend on the destination chooses their ports.
enum class PortChoice : std::uint8_t {
  kUnknown = 0,
  kSequential = 1,  // one after the other, so that the next ones can be foreseen
  kRandom = 2,
};

struct SignalNetwork {
  Dependence filtering = Dependence::kUnknown;
  bool is_behind_nat = false;       // the router here stands behind a carrier's NAT or a second router
  bool is_mapping_refused = false;  // the router here was asked to open a port and did not
  PortChoice ports = PortChoice::kUnknown;
  friend bool operator==(const SignalNetwork&, const SignalNetwork&) = default;
};

struct SignalRelay {
  std::uint64_t relay = 0;
  std::uint16_t rtt_ms = kRelayRttUnknown;
  friend bool operator==(const SignalRelay&, const SignalRelay&) = default;
};

// Saturated: what is longer than the fields hold is their greatest value.
struct SignalLeg {
  std::uint32_t relay = 0;
  std::uint16_t rtt_tenths_ms = 0;
  std::uint8_t jitter_ms = kLegJitterUnknown;
  std::uint8_t loss_percent = 0;
  friend bool operator==(const SignalLeg&, const SignalLeg&) = default;
};

// What the sender has opened, or is about to, for this recipient alone (paths/punch.h).
struct SignalPunch {
  enum class Method : std::uint8_t {
    kPorts = 1,  // at `endpoint`, and `count` ports in all, each `step` further than the one before
    kMany = 2,   // at `count` ports that nobody knows, at the address where servers see the sender; no `endpoint`.
                 // `step` 1: later, from each to the fresh socket that the recipient answers with and pings them from
  };
  Method method = Method::kPorts;
  std::uint32_t round = 0;  // random; both ends' offers of one attempt have the same
  Endpoint endpoint;
  std::int16_t step = 0;
  std::uint16_t count = 1;
  friend bool operator==(const SignalPunch&, const SignalPunch&) = default;
};

// A member's relay for its own party (docs/relays.md), its identity that of the member.
struct MemberRelay {
  std::uint8_t health = 100, load = 0;  // 0 to 100, as RelayHealth of wire/control.h
  std::vector<Endpoint> endpoints{};    // UDP, none with port 0
  friend bool operator==(const MemberRelay&, const MemberRelay&) = default;
};

struct PeerSignal {
  bool call_me_now = false;  // the sender probes at this moment: do the same
  bool udp_blocked = false;
  Mapping mapping = Mapping::kUnknown;
  std::uint32_t instance = 0;    // as in probes
  std::uint32_t generation = 0;  // grows with every change of the candidates
  std::vector<Candidate> candidates;
  std::vector<SignalRelay> relays;  // where the sender is registered
  SignalNetwork network{};
  std::vector<SignalLeg> legs{};  // best first
  std::optional<SignalPunch> punch{};
  std::optional<MemberRelay> own_relay{};
  friend bool operator==(const PeerSignal&, const PeerSignal&) = default;
};

// Lists beyond the maxima are a bug of the caller, and so is a relay without endpoints. Of the legs so many are written
// as there is room for, 26 at least, 19 beside a relay of one's own.
Bytes write_signal(const PeerSignal& signal);
std::optional<PeerSignal> parse_signal(ByteView plaintext);

using SignalKeyView = std::span<const std::uint8_t, crypto::kKeySize>;
Bytes seal_signal(const PeerSignal& signal, SignalKeyView key, const crypto::PublicKey& sender,
                  const crypto::PublicKey& recipient, Rng& rng);
std::optional<PeerSignal> open_signal(ByteView sealed, SignalKeyView key, const crypto::PublicKey& sender,
                                      const crypto::PublicKey& recipient);

}  // namespace lanrage::wire
