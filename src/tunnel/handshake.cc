#include "tunnel/handshake.h"

#include "base/check.h"

namespace lanrage::tunnel {
namespace {

namespace wg = wire::wireguard;
using crypto::blake2s;
using crypto::kdf1;
using crypto::kdf2;
using crypto::kdf3;

constexpr std::string_view kConstruction = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
constexpr std::string_view kIdentifier = "WireGuard v1 zx2c4 Jason@zx2c4.com";

// TAI64 labels second 0 of 1970 as 2^62 + 10.
constexpr std::uint64_t kTaiEpoch = (std::uint64_t{1} << 62) + 10;
constexpr std::uint32_t kNanosecondsPerSecond = 1'000'000'000;

const crypto::Hash& initial_chaining_key() {
  static const crypto::Hash hash = blake2s({as_bytes(kConstruction)});
  return hash;
}

// H of a handshake towards `responder`, before its first token.
crypto::Hash prologue_for(const crypto::PublicKey& responder) {
  static const crypto::Hash with_identifier = blake2s({initial_chaining_key(), as_bytes(kIdentifier)});
  return blake2s({with_identifier, responder.bytes()});
}

HandshakeState initial_state(const crypto::Hash& prologue) {
  return {crypto::DerivedKey(initial_chaining_key()), prologue};
}

// H := Hash(H || data)
void mix_hash(HandshakeState& s, ByteView data) { s.hash = blake2s({s.hash, data}); }

// C := KDF1(C, data)
void mix_key(HandshakeState& s, ByteView data) { s.chaining_key = kdf1(s.chaining_key.bytes(), data); }

// (C, k) := KDF2(C, data)
crypto::DerivedKey mix_key_and_derive(HandshakeState& s, ByteView data) {
  auto derived = kdf2(s.chaining_key.bytes(), data);
  s.chaining_key = derived[0];
  return derived[1];
}

// (C, t, k) := KDF3(C, psk); H := Hash(H || t)
crypto::DerivedKey mix_psk(HandshakeState& s, const crypto::PresharedKey& psk) {
  auto derived = kdf3(s.chaining_key.bytes(), psk.bytes());
  s.chaining_key = derived[0];
  mix_hash(s, derived[1].bytes());
  return derived[2];
}

// out := Aead(k, 0, in, H); H := Hash(H || out)
void seal_and_mix(HandshakeState& s, const crypto::DerivedKey& key, ByteView in, MutableBytes out) {
  crypto::AeadKey(key.bytes()).seal(0, s.hash, in, out);
  mix_hash(s, out);
}

// The reverse; false for a forgery.
bool open_and_mix(HandshakeState& s, const crypto::DerivedKey& key, ByteView in, MutableBytes out) {
  if (!crypto::AeadKey(key.bytes()).open(0, s.hash, in, out)) return false;
  mix_hash(s, in);
  return true;
}

// (T_initiator, T_responder) := KDF2(C, nothing)
TransportKeys split(const HandshakeState& s, bool initiator, std::uint32_t remote_index) {
  auto derived = kdf2(s.chaining_key.bytes(), {});
  return {derived[initiator ? 0 : 1], derived[initiator ? 1 : 0], remote_index};
}

}  // namespace

Tai64n Tai64n::of(WallTime time) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time.time_since_epoch());
  const auto rest = time.time_since_epoch() - seconds;
  Tai64n stamp;
  store_be(stamp.bytes.data(), kTaiEpoch + static_cast<std::uint64_t>(seconds.count()));
  store_be(stamp.bytes.data() + 8, static_cast<std::uint32_t>(rest.count()));
  return stamp;
}

Tai64n Tai64n::plus(Duration duration) const {
  LR_CHECK(duration >= Duration::zero());
  const auto whole = std::chrono::floor<std::chrono::seconds>(duration);
  std::uint64_t seconds = load_be<std::uint64_t>(bytes.data()) + static_cast<std::uint64_t>(whole.count());
  std::uint64_t nanoseconds =
      std::uint64_t{load_be<std::uint32_t>(bytes.data() + 8)} + static_cast<std::uint64_t>((duration - whole).count());
  seconds += nanoseconds / kNanosecondsPerSecond;
  nanoseconds %= kNanosecondsPerSecond;
  Tai64n stamp;
  store_be(stamp.bytes.data(), seconds);
  store_be(stamp.bytes.data() + 8, static_cast<std::uint32_t>(nanoseconds));
  return stamp;
}

LocalIdentity::LocalIdentity(const crypto::PrivateKey& key)
    : private_key(key), public_key(crypto::public_key(key)), prologue(prologue_for(public_key)) {}

std::optional<RemoteIdentity> RemoteIdentity::make(const LocalIdentity& local, const crypto::PublicKey& peer) {
  const auto shared = crypto::x25519(local.private_key, peer);
  if (!shared) return std::nullopt;
  return RemoteIdentity{peer, *shared, prologue_for(peer)};
}

std::optional<CreatedInitiation> create_initiation(const LocalIdentity& local, const RemoteIdentity& remote,
                                                   const Tai64n& timestamp, std::uint32_t local_index, Rng& rng) {
  HandshakeState s = initial_state(remote.prologue);
  wg::Initiation message;
  message.sender = local_index;

  // e
  const auto ephemeral = crypto::PrivateKey::generate(rng);
  const auto ephemeral_public = crypto::public_key(ephemeral);
  std::copy(ephemeral_public.bytes().begin(), ephemeral_public.bytes().end(), message.ephemeral.begin());
  mix_key(s, message.ephemeral);
  mix_hash(s, message.ephemeral);
  // es
  const auto es = crypto::x25519(ephemeral, remote.public_key);
  if (!es) return std::nullopt;
  const auto static_key = mix_key_and_derive(s, es->bytes());
  // s
  seal_and_mix(s, static_key, local.public_key.bytes(), message.sealed_static);
  // ss
  const auto timestamp_key = mix_key_and_derive(s, remote.static_static.bytes());
  // payload
  seal_and_mix(s, timestamp_key, timestamp.bytes, message.sealed_timestamp);
  return CreatedInitiation{message, {s, ephemeral, local_index}};
}

std::optional<OpenedInitiation> open_initiation(const LocalIdentity& local, const wg::Initiation& message) {
  HandshakeState s = initial_state(local.prologue);
  const crypto::PublicKey ephemeral(message.ephemeral);

  // e
  mix_key(s, message.ephemeral);
  mix_hash(s, message.ephemeral);
  // es
  const auto es = crypto::x25519(local.private_key, ephemeral);
  if (!es) return std::nullopt;
  const auto static_key = mix_key_and_derive(s, es->bytes());
  // s
  std::array<std::uint8_t, crypto::kKeySize> initiator;
  if (!open_and_mix(s, static_key, message.sealed_static, initiator)) return std::nullopt;
  return OpenedInitiation{s, crypto::PublicKey(initiator), ephemeral, message.sender};
}

std::optional<ProvenInitiation> prove_initiation(const OpenedInitiation& opened, const RemoteIdentity& remote,
                                                 const wg::Initiation& message) {
  ProvenInitiation proven{opened, {}};
  HandshakeState& s = proven.opened.state;
  // ss
  const auto timestamp_key = mix_key_and_derive(s, remote.static_static.bytes());
  // payload
  if (!open_and_mix(s, timestamp_key, message.sealed_timestamp, proven.timestamp.bytes)) return std::nullopt;
  return proven;
}

std::optional<CreatedResponse> create_response(const ProvenInitiation& initiation, const crypto::PresharedKey& psk,
                                               std::uint32_t local_index, Rng& rng) {
  HandshakeState s = initiation.opened.state;
  wg::Response message;
  message.sender = local_index;
  message.receiver = initiation.opened.remote_index;

  // e
  const auto ephemeral = crypto::PrivateKey::generate(rng);
  const auto ephemeral_public = crypto::public_key(ephemeral);
  std::copy(ephemeral_public.bytes().begin(), ephemeral_public.bytes().end(), message.ephemeral.begin());
  mix_key(s, message.ephemeral);
  mix_hash(s, message.ephemeral);
  // ee
  const auto ee = crypto::x25519(ephemeral, initiation.opened.ephemeral);
  if (!ee) return std::nullopt;
  mix_key(s, ee->bytes());
  // se
  const auto se = crypto::x25519(ephemeral, initiation.opened.initiator);
  if (!se) return std::nullopt;
  mix_key(s, se->bytes());
  // psk
  const auto nothing_key = mix_psk(s, psk);
  // payload
  seal_and_mix(s, nothing_key, {}, message.sealed_nothing);
  return CreatedResponse{message, split(s, false, message.receiver)};
}

std::optional<TransportKeys> consume_response(const LocalIdentity& local, const InitiationInFlight& in_flight,
                                              std::span<const crypto::PresharedKey> psks, const wg::Response& message) {
  if (message.receiver != in_flight.local_index) return std::nullopt;
  HandshakeState before_psk = in_flight.state;
  const crypto::PublicKey ephemeral(message.ephemeral);

  // e
  mix_key(before_psk, message.ephemeral);
  mix_hash(before_psk, message.ephemeral);
  // ee
  const auto ee = crypto::x25519(in_flight.ephemeral, ephemeral);
  if (!ee) return std::nullopt;
  mix_key(before_psk, ee->bytes());
  // se
  const auto se = crypto::x25519(local.private_key, ephemeral);
  if (!se) return std::nullopt;
  mix_key(before_psk, se->bytes());

  const crypto::PresharedKey zero;
  if (psks.empty()) psks = {&zero, 1};
  for (const crypto::PresharedKey& psk : psks) {
    HandshakeState s = before_psk;
    // psk
    const auto nothing_key = mix_psk(s, psk);
    // payload
    if (open_and_mix(s, nothing_key, message.sealed_nothing, {})) return split(s, true, message.sender);
  }
  return std::nullopt;
}

}  // namespace lanrage::tunnel
