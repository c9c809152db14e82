#include "wire/signal.h"

#include <algorithm>

#include "base/check.h"
#include "crypto/aead.h"
#include "wire/endpoint.h"

namespace lanrage::wire {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kFlagCallMeNow = 1;
constexpr std::uint8_t kFlagUdpBlocked = 2;
constexpr std::uint8_t kExtensionNetwork = 1;
constexpr std::uint8_t kExtensionPunch = 2;
constexpr std::uint8_t kExtensionLegs = 3;
constexpr std::uint8_t kExtensionOwnRelay = 4;
constexpr std::size_t kLegBytes = 8;
constexpr std::size_t kPunchBytes = 1 + 4 + kEndpointBytes + 2 + 2;
constexpr std::uint8_t kFlagBehindNat = 1;
constexpr std::uint8_t kFlagMappingRefused = 2;

// Bits and values of a newer version mean nothing here.
SignalNetwork read_network(ByteReader& in) {
  SignalNetwork network;
  const std::uint8_t filtering = in.u8();
  if (filtering <= static_cast<std::uint8_t>(Dependence::kAddressAndPort))
    network.filtering = static_cast<Dependence>(filtering);
  const std::uint8_t flags = in.u8();
  network.is_behind_nat = (flags & kFlagBehindNat) != 0;
  network.is_mapping_refused = (flags & kFlagMappingRefused) != 0;
  if (in.rest().empty()) return network;  // of an older member
  const std::uint8_t ports = in.u8();
  if (ports <= static_cast<std::uint8_t>(PortChoice::kRandom)) network.ports = static_cast<PortChoice>(ports);
  return network;
}

std::vector<SignalLeg> read_legs(ByteReader& in) {
  std::vector<SignalLeg> legs;
  while (in.rest().size() >= kLegBytes) {
    const std::uint32_t relay = in.u32_be();
    const std::uint16_t rtt = in.u16_be();
    const std::uint8_t jitter = in.u8();
    legs.push_back({relay, rtt, jitter, std::min<std::uint8_t>(in.u8(), 100)});
  }
  return legs;
}

void write_legs(ByteWriter& out, std::span<const SignalLeg> legs) {
  out.u8(kExtensionLegs).u8(static_cast<std::uint8_t>(legs.size() * kLegBytes));
  for (const SignalLeg& leg : legs)
    out.u32_be(leg.relay).u16_be(leg.rtt_tenths_ms).u8(leg.jitter_ms).u8(leg.loss_percent);
}

// A method of a newer version means nothing here. False: malformed.
bool read_punch(ByteReader& in, std::optional<SignalPunch>& out) {
  SignalPunch punch;
  punch.method = static_cast<SignalPunch::Method>(in.u8());
  if (punch.method != SignalPunch::Method::kPorts && punch.method != SignalPunch::Method::kMany) return in.ok();
  punch.round = in.u32_be();
  std::optional<Endpoint> endpoint;
  const ByteView where = in.bytes(kEndpointBytes);
  punch.step = static_cast<std::int16_t>(in.u16_be());
  punch.count = in.u16_be();
  if (!in.ok() || !read_endpoint(where, endpoint) || !endpoint) return false;
  punch.endpoint = *endpoint;
  out = punch;
  return true;
}

// Nothing: malformed.
std::optional<MemberRelay> read_own_relay(ByteReader& in) {
  MemberRelay relay;
  relay.health = std::min<std::uint8_t>(in.u8(), 100);
  relay.load = std::min<std::uint8_t>(in.u8(), 100);
  const std::size_t count = in.u8();
  if (count == 0 || count > kMemberRelayEndpointsMax) return std::nullopt;
  for (std::size_t i = 0; i < count; ++i) {
    std::optional<Endpoint> endpoint;
    const ByteView where = in.bytes(kEndpointBytes);
    if (!in.ok() || !read_endpoint(where, endpoint) || !endpoint || endpoint->port == 0) return std::nullopt;
    relay.endpoints.push_back(*endpoint);
  }
  return relay;
}

void write_own_relay(ByteWriter& out, const MemberRelay& relay) {
  const std::size_t count = relay.endpoints.size();
  LR_CHECK(count > 0 && count <= kMemberRelayEndpointsMax);
  out.u8(kExtensionOwnRelay).u8(static_cast<std::uint8_t>(3 + count * kEndpointBytes));
  out.u8(relay.health).u8(relay.load).u8(static_cast<std::uint8_t>(count));
  for (const Endpoint& where : relay.endpoints) {
    std::array<std::uint8_t, kEndpointBytes> endpoint;
    write_endpoint(endpoint.data(), where);
    out.bytes(endpoint);
  }
}

Bytes associated_data(const crypto::PublicKey& sender, const crypto::PublicKey& recipient) {
  Bytes aad = to_bytes(as_bytes("lanrage signal v1"));
  append(aad, sender.bytes());
  append(aad, recipient.bytes());
  return aad;
}

}  // namespace

const char* candidate_kind_name(CandidateKind kind) {
  switch (kind) {
    case CandidateKind::kHost:
      return "host";
    case CandidateKind::kMapped:
      return "mapped";
    case CandidateKind::kServerReflexive:
      return "server_reflexive";
    case CandidateKind::kPeerReflexive:
      return "peer_reflexive";
  }
  return "unknown";
}

const char* mapping_name(Mapping mapping) {
  switch (mapping) {
    case Mapping::kUnknown:
      return "unknown";
    case Mapping::kNone:
      return "none";
    case Mapping::kEndpointIndependent:
      return "endpoint_independent";
    case Mapping::kDependent:
      return "dependent";
  }
  return "unknown";
}

Bytes write_signal(const PeerSignal& signal) {
  LR_CHECK(signal.candidates.size() <= kCandidatesMax && signal.relays.size() <= kSignalRelaysMax);
  ByteWriter out;
  out.u8(kVersion);
  out.u8(static_cast<std::uint8_t>((signal.call_me_now ? kFlagCallMeNow : 0) |
                                   (signal.udp_blocked ? kFlagUdpBlocked : 0)));
  out.u8(static_cast<std::uint8_t>(signal.mapping)).u32_be(signal.instance).u32_be(signal.generation);
  out.u8(static_cast<std::uint8_t>(signal.candidates.size()));
  for (const Candidate& candidate : signal.candidates) {
    std::array<std::uint8_t, kEndpointBytes> endpoint;
    write_endpoint(endpoint.data(), candidate.endpoint);
    out.u8(static_cast<std::uint8_t>(candidate.kind)).bytes(endpoint);
  }
  out.u8(static_cast<std::uint8_t>(signal.relays.size()));
  for (const SignalRelay& relay : signal.relays) out.u64_be(relay.relay).u16_be(relay.rtt_ms);
  const std::size_t extensions = out.view().size();
  const SignalNetwork& network = signal.network;
  if (network != SignalNetwork{}) {
    out.u8(kExtensionNetwork).u8(3).u8(static_cast<std::uint8_t>(network.filtering));
    out.u8(static_cast<std::uint8_t>((network.is_behind_nat ? kFlagBehindNat : 0) |
                                     (network.is_mapping_refused ? kFlagMappingRefused : 0)));
    out.u8(static_cast<std::uint8_t>(network.ports));
  }
  if (const auto& punch = signal.punch) {
    std::array<std::uint8_t, kEndpointBytes> endpoint;
    write_endpoint(endpoint.data(), punch->endpoint);
    out.u8(kExtensionPunch).u8(kPunchBytes).u8(static_cast<std::uint8_t>(punch->method)).u32_be(punch->round);
    out.bytes(endpoint).u16_be(static_cast<std::uint16_t>(punch->step)).u16_be(punch->count);
  }
  if (signal.own_relay) write_own_relay(out, *signal.own_relay);
  const std::size_t room = (kSignalExtensionBytesMax - (out.view().size() - extensions) - 2) / kLegBytes;
  if (!signal.legs.empty()) write_legs(out, std::span(signal.legs).first(std::min(signal.legs.size(), room)));
  return out.take();
}

std::optional<PeerSignal> parse_signal(ByteView plaintext) {
  ByteReader in(plaintext);
  if (in.u8() != kVersion) return std::nullopt;
  PeerSignal signal;
  const std::uint8_t flags = in.u8();
  if ((flags & ~(kFlagCallMeNow | kFlagUdpBlocked)) != 0) return std::nullopt;
  signal.call_me_now = (flags & kFlagCallMeNow) != 0;
  signal.udp_blocked = (flags & kFlagUdpBlocked) != 0;
  const std::uint8_t mapping = in.u8();
  if (mapping > static_cast<std::uint8_t>(Mapping::kDependent)) return std::nullopt;
  signal.mapping = static_cast<Mapping>(mapping);
  signal.instance = in.u32_be();
  signal.generation = in.u32_be();
  const std::size_t candidates = in.u8();
  if (candidates > kCandidatesMax) return std::nullopt;
  for (std::size_t i = 0; i < candidates; ++i) {
    const std::uint8_t kind = in.u8();
    std::optional<Endpoint> endpoint;
    if (kind < 1 || kind > static_cast<std::uint8_t>(CandidateKind::kServerReflexive)) return std::nullopt;
    if (!read_endpoint(in.bytes(kEndpointBytes), endpoint) || !endpoint) return std::nullopt;
    signal.candidates.push_back({static_cast<CandidateKind>(kind), *endpoint});
  }
  const std::size_t relays = in.u8();
  if (relays > kSignalRelaysMax) return std::nullopt;
  for (std::size_t i = 0; i < relays; ++i) {
    const std::uint64_t relay = in.u64_be();
    signal.relays.push_back({relay, in.u16_be()});
  }
  if (!in.ok() || in.rest().size() > kSignalExtensionBytesMax) return std::nullopt;
  while (in.ok() && !in.rest().empty()) {
    const std::uint8_t kind = in.u8();
    ByteReader value(in.bytes(in.u8()));
    if (kind == kExtensionNetwork) {
      signal.network = read_network(value);
      if (!value.ok()) return std::nullopt;
    } else if (kind == kExtensionLegs) {
      signal.legs = read_legs(value);
    } else if (kind == kExtensionOwnRelay) {
      signal.own_relay = read_own_relay(value);
      if (!signal.own_relay) return std::nullopt;
    } else if (kind == kExtensionPunch && !read_punch(value, signal.punch)) {
      return std::nullopt;
    }
  }
  if (!in.done()) return std::nullopt;
  return signal;
}

Bytes seal_signal(const PeerSignal& signal, SignalKeyView key, const crypto::PublicKey& sender,
                  const crypto::PublicKey& recipient, Rng& rng) {
  const auto nonce = rng.array<crypto::kXNonceSize>();
  ByteWriter out;
  out.u8(kVersion).bytes(nonce).bytes(
      crypto::xseal(key, nonce, associated_data(sender, recipient), write_signal(signal)));
  return out.take();
}

std::optional<PeerSignal> open_signal(ByteView sealed, SignalKeyView key, const crypto::PublicKey& sender,
                                      const crypto::PublicKey& recipient) {
  if (sealed.size() > kPeerSignalBytesMax) return std::nullopt;
  ByteReader in(sealed);
  if (in.u8() != kVersion) return std::nullopt;
  const auto nonce = in.array<crypto::kXNonceSize>();
  if (!in.ok() || in.rest().size() < crypto::kTagSize) return std::nullopt;
  const auto plaintext = crypto::xopen(key, nonce, associated_data(sender, recipient), in.rest());
  if (!plaintext) return std::nullopt;
  return parse_signal(*plaintext);
}

}  // namespace lanrage::wire
