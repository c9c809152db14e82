// The handshake Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, as the WireGuard paper (section 5.4) writes it.
//
// Pure computation: each step takes what it needs by value or const reference, works on locals and returns everything
// or nothing, so that a forged message changes no state anywhere. The Device (control thread) decides what is kept.
// Messages come and go without their MACs: those are cookie.h's.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <span>

#include "base/rng.h"
#include "base/time.h"
#include "crypto/aead.h"
#include "crypto/hash.h"
#include "crypto/keys.h"
#include "wire/wireguard.h"

namespace lanrage::tunnel {

// A moment as TAI64N: seconds and nanoseconds, big endian, so that bytes order as time does. All zero is before all.
struct Tai64n {
  std::array<std::uint8_t, wire::wireguard::kTimestampSize> bytes{};

  static Tai64n of(WallTime time);
  Tai64n plus(Duration duration) const;  // not negative
  friend constexpr auto operator<=>(const Tai64n&, const Tai64n&) = default;
};

struct LocalIdentity {
  crypto::PrivateKey private_key;
  crypto::PublicKey public_key;
  crypto::Hash prologue;  // the hash that every handshake towards us begins with

  explicit LocalIdentity(const crypto::PrivateKey& key);
};

// A peer as the handshake sees it; the Diffie-Hellman of the two static keys is done once, not per handshake.
struct RemoteIdentity {
  crypto::PublicKey public_key;
  crypto::SharedSecret static_static;
  crypto::Hash prologue;  // the hash that every handshake towards this peer begins with

  // Nothing: a point of low order.
  static std::optional<RemoteIdentity> make(const LocalIdentity& local, const crypto::PublicKey& peer);
};

// What both sides carry from the first message to the second. Wipes itself.
struct HandshakeState {
  crypto::DerivedKey chaining_key;
  crypto::Hash hash{};
};

// The two keys of a session, from the side of whoever holds this.
struct TransportKeys {
  crypto::DerivedKey send, receive;
  std::uint32_t remote_index = 0;
};

struct InitiationInFlight {
  HandshakeState state;
  crypto::PrivateKey ephemeral;
  std::uint32_t local_index = 0;
};
struct CreatedInitiation {
  wire::wireguard::Initiation message;
  InitiationInFlight in_flight;
};
// Initiator, first message. Nothing only if the peer's key is of low order, which RemoteIdentity refused already.
std::optional<CreatedInitiation> create_initiation(const LocalIdentity& local, const RemoteIdentity& remote,
                                                   const Tai64n& timestamp, std::uint32_t local_index, Rng& rng);

// Responder, first message, in two steps because who it is stands inside.
struct OpenedInitiation {  // it knows our key; whose it claims to be is sealed to us, not yet proven
  HandshakeState state;
  crypto::PublicKey initiator;
  crypto::PublicKey ephemeral;
  std::uint32_t remote_index = 0;
};
std::optional<OpenedInitiation> open_initiation(const LocalIdentity& local, const wire::wireguard::Initiation& message);
struct ProvenInitiation {  // made by the holder of the initiator's key, at some time: look at the timestamp
  OpenedInitiation opened;
  Tai64n timestamp;
};
std::optional<ProvenInitiation> prove_initiation(const OpenedInitiation& opened, const RemoteIdentity& remote,
                                                 const wire::wireguard::Initiation& message);

struct CreatedResponse {
  wire::wireguard::Response message;
  TransportKeys keys;
};
// Responder, second message. Nothing: the initiator's ephemeral or static key is of low order.
std::optional<CreatedResponse> create_response(const ProvenInitiation& initiation, const crypto::PresharedKey& psk,
                                               std::uint32_t local_index, Rng& rng);

// Initiator, second message: tries the preshared keys in order (none: the zero key). Nothing: not the answer to this
// initiation, or under a preshared key that we do not have.
std::optional<TransportKeys> consume_response(const LocalIdentity& local, const InitiationInFlight& in_flight,
                                              std::span<const crypto::PresharedKey> psks,
                                              const wire::wireguard::Response& message);

}  // namespace lanrage::tunnel
