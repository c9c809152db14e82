#include "wire/relay.h"

#include <algorithm>

#include "base/check.h"
#include "wire/demux.h"
#include "wire/endpoint.h"

namespace lanrage::wire {
namespace {

constexpr std::uint8_t kGrantVersion = 1;
constexpr std::size_t kGrantSigned = kGrantBytes - crypto::kSignatureSize;
constexpr std::string_view kGrantLabel = "lanrage relay grant v1";
constexpr std::string_view kMacLabel = "lanrage relay mac v1";

constexpr std::size_t kRegisterFixed = 4 + 8 + 16 + kGrantBytes + 2 + crypto::kMacSize;
constexpr std::size_t kChallengeBytes = 4 + 8 + 16;
constexpr std::size_t kRegisteredFixed = 4 + 8 + 8 + 4 + kEndpointBytes + 2 + crypto::kMacSize;
constexpr std::size_t kRefusedBytes = 4 + 8 + 1;
constexpr std::size_t kRefreshPadding = 24;
constexpr std::size_t kRefreshFixed = 4 + 8 + 8 + 2 + 2 + kRefreshPadding + crypto::kMacSize;
constexpr std::size_t kAbsentBytes = 4 + 8;
constexpr std::size_t kLeaveBytes = 4 + 8 + 8 + crypto::kMacSize;
constexpr std::size_t kDrainBytes = 4 + 8 + 2 + crypto::kMacSize;
static_assert(kChallengeBytes <= kRegisterFixed && kRegisteredFixed <= kRegisterFixed, "no answer larger");
static_assert(kRegisteredFixed <= kRefreshFixed && kRefusedBytes <= kLeaveBytes && kAbsentBytes <= kRelayHeaderBytes);

std::uint32_t word(RelayType type) { return kRelayTypes | static_cast<std::uint32_t>(type); }

ByteWriter begin(RelayType type) {
  ByteWriter out;
  out.u32_le(word(type));
  return out;
}

// A reader past the type word, for datagrams of this type and at least this length.
std::optional<ByteReader> reader(ByteView datagram, RelayType type, std::size_t bytes_min) {
  if (datagram.size() < bytes_min || load_le<std::uint32_t>(datagram.data()) != word(type)) return std::nullopt;
  return ByteReader(datagram.subspan(4));
}

void write_indices(ByteWriter& out, Indices indices) {
  for (const std::uint32_t index : indices) out.u32_be(index);
}

Bytes finish_with_mac(ByteWriter& out, const RelayMacKey& key) {
  out.bytes(crypto::blake2s_mac16(key.bytes(), {out.view()}));
  return out.take();
}

}  // namespace

RelayPeer relay_peer(const crypto::PublicKey& key) { return load_be<std::uint64_t>(key.bytes().data()); }

std::uint64_t grant_key_id(const crypto::VerifyKey& key) {
  return load_be<std::uint64_t>(crypto::sha256({key.bytes()}).data());
}

GrantBytes sign_grant(const RelayGrant& grant, const crypto::SigningKey& key) {
  ByteWriter out;
  out.u8(kGrantVersion).bytes(grant.party).bytes(grant.peer.bytes());
  out.u64_be(static_cast<std::uint64_t>(grant.expires_unix)).u64_be(grant_key_id(crypto::verify_key(key)));
  Bytes signed_text = to_bytes(as_bytes(kGrantLabel));
  append(signed_text, out.view());
  out.bytes(crypto::sign(key, signed_text));
  GrantBytes bytes{};
  LR_CHECK(out.view().size() == bytes.size());
  std::copy(out.view().begin(), out.view().end(), bytes.begin());
  return bytes;
}

std::optional<RelayGrant> parse_grant(ByteView bytes) {
  if (bytes.size() != kGrantBytes) return std::nullopt;
  ByteReader in(bytes);
  const std::uint8_t version = in.u8();
  RelayGrant grant;
  grant.party = in.array<16>();
  grant.peer = crypto::PublicKey(in.array<crypto::kKeySize>());
  const std::uint64_t expires = in.u64_be();
  grant.expires_unix = static_cast<std::int64_t>(expires);
  grant.key_id = in.u64_be();
  if (version != kGrantVersion || grant.expires_unix < 0) return std::nullopt;
  return grant;
}

bool verify_grant(ByteView bytes, const crypto::VerifyKey& key) {
  if (bytes.size() != kGrantBytes) return false;
  std::array<std::uint8_t, kGrantLabel.size() + kGrantSigned> text;
  std::copy(kGrantLabel.begin(), kGrantLabel.end(), text.begin());
  std::copy_n(bytes.begin(), kGrantSigned, text.begin() + kGrantLabel.size());
  crypto::Signature signature;
  std::copy_n(bytes.begin() + kGrantSigned, signature.size(), signature.begin());
  return crypto::verify(key, text, signature);
}

std::optional<RelayMacKey> relay_mac_key(const crypto::PrivateKey& mine, const crypto::PublicKey& theirs,
                                         const crypto::PublicKey& peer, const crypto::PublicKey& relay) {
  const auto shared = crypto::x25519(mine, theirs);
  if (!shared) return std::nullopt;
  return RelayMacKey(crypto::blake2s_mac32(shared->bytes(), {as_bytes(kMacLabel), peer.bytes(), relay.bytes()}));
}

bool verify_relay_mac(ByteView datagram, const RelayMacKey& key) {
  if (datagram.size() < crypto::kMacSize) return false;
  const std::size_t covered = datagram.size() - crypto::kMacSize;
  return crypto::secure_equal(crypto::blake2s_mac16(key.bytes(), {datagram.first(covered)}), datagram.subspan(covered));
}

std::optional<RelayType> relay_type(ByteView datagram) {
  if (datagram.size() < kAbsentBytes) return std::nullopt;
  const auto type = load_le<std::uint32_t>(datagram.data());
  if ((type & 0xffffff00) != kRelayTypes) return std::nullopt;
  const std::uint32_t code = type & 0xff;
  if (code < 1 || code > static_cast<std::uint32_t>(RelayType::kDrain)) return std::nullopt;
  return static_cast<RelayType>(code);
}

std::optional<RelayRegister> parse_relay_register(ByteView datagram) {
  auto in = reader(datagram, RelayType::kRegister, kRegisterFixed);
  if (!in) return std::nullopt;
  RelayRegister m;
  m.transaction = in->u64_be();
  m.cookie = in->array<16>();
  m.grant = in->bytes(kGrantBytes);
  const std::size_t count = in->u16_be();
  if (count > kRelayIndicesMax || datagram.size() != kRegisterFixed + 4 * count) return std::nullopt;
  m.indices = IndexList(in->bytes(4 * count));
  return m;
}

std::optional<RelayChallenge> parse_relay_challenge(ByteView datagram) {
  auto in = reader(datagram, RelayType::kChallenge, kChallengeBytes);
  if (!in || datagram.size() != kChallengeBytes) return std::nullopt;
  RelayChallenge m;
  m.transaction = in->u64_be();
  m.cookie = in->array<16>();
  return m;
}

std::optional<RelayRegistered> parse_relay_registered(ByteView datagram) {
  auto in = reader(datagram, RelayType::kRegistered, kRegisteredFixed);
  if (!in) return std::nullopt;
  RelayRegistered m;
  m.transaction = in->u64_be();
  m.session = in->u64_be();
  m.lifetime_seconds = in->u32_be();
  std::optional<Endpoint> observed;
  if (!read_endpoint(in->bytes(kEndpointBytes), observed) || !observed) return std::nullopt;
  m.observed = *observed;
  const std::size_t count = in->u16_be();
  if (count > kRelayIndicesMax || datagram.size() != kRegisteredFixed + 4 * count) return std::nullopt;
  m.taken = IndexList(in->bytes(4 * count));
  return m;
}

std::optional<RelayRefused> parse_relay_refused(ByteView datagram) {
  auto in = reader(datagram, RelayType::kRefused, kRefusedBytes);
  if (!in || datagram.size() != kRefusedBytes) return std::nullopt;
  RelayRefused m;
  m.transaction = in->u64_be();
  const std::uint8_t reason = in->u8();
  if (reason < 1 || reason > static_cast<std::uint8_t>(RelayRefusal::kFull)) return std::nullopt;
  m.reason = static_cast<RelayRefusal>(reason);
  return m;
}

std::optional<RelayRefresh> parse_relay_refresh(ByteView datagram) {
  auto in = reader(datagram, RelayType::kRefresh, kRefreshFixed);
  if (!in) return std::nullopt;
  RelayRefresh m;
  m.transaction = in->u64_be();
  m.session = in->u64_be();
  const std::size_t added = in->u16_be();
  const std::size_t removed = in->u16_be();
  if (added + removed > kRelayIndicesMax || datagram.size() != kRefreshFixed + 4 * (added + removed)) {
    return std::nullopt;
  }
  m.added = IndexList(in->bytes(4 * added));
  m.removed = IndexList(in->bytes(4 * removed));
  const ByteView padding = in->bytes(kRefreshPadding);
  if (std::any_of(padding.begin(), padding.end(), [](std::uint8_t b) { return b != 0; })) return std::nullopt;
  return m;
}

std::optional<RelayFrame> parse_relay_frame(ByteView datagram) {
  const auto type = relay_type(datagram);
  if (type != RelayType::kSend && type != RelayType::kDeliver) return std::nullopt;
  if (datagram.size() <= kRelayHeaderBytes || datagram.size() > kRelayHeaderBytes + kRelayPayloadMax) {
    return std::nullopt;
  }
  return RelayFrame{load_be<std::uint64_t>(datagram.data() + 4), datagram.subspan(kRelayHeaderBytes)};
}

std::optional<RelayAbsent> parse_relay_absent(ByteView datagram) {
  auto in = reader(datagram, RelayType::kAbsent, kAbsentBytes);
  if (!in || datagram.size() != kAbsentBytes) return std::nullopt;
  return RelayAbsent{in->u64_be()};
}

std::optional<RelayLeave> parse_relay_leave(ByteView datagram) {
  auto in = reader(datagram, RelayType::kLeave, kLeaveBytes);
  if (!in || datagram.size() != kLeaveBytes) return std::nullopt;
  RelayLeave m;
  m.transaction = in->u64_be();
  m.session = in->u64_be();
  return m;
}

std::optional<RelayDrain> parse_relay_drain(ByteView datagram) {
  auto in = reader(datagram, RelayType::kDrain, kDrainBytes);
  if (!in || datagram.size() != kDrainBytes) return std::nullopt;
  RelayDrain m;
  m.session = in->u64_be();
  m.seconds = in->u16_be();
  return m;
}

Bytes write_relay_register(std::uint64_t transaction, const RelayCookie& cookie, ByteView grant, Indices indices,
                           const RelayMacKey& key) {
  LR_CHECK(grant.size() == kGrantBytes && indices.size() <= kRelayIndicesMax);
  ByteWriter out = begin(RelayType::kRegister);
  out.u64_be(transaction).bytes(cookie).bytes(grant).u16_be(static_cast<std::uint16_t>(indices.size()));
  write_indices(out, indices);
  return finish_with_mac(out, key);
}

Bytes write_relay_challenge(const RelayChallenge& message) {
  return begin(RelayType::kChallenge).u64_be(message.transaction).bytes(message.cookie).take();
}

Bytes write_relay_registered(const RelayRegistered& message, Indices taken, const RelayMacKey& key) {
  LR_CHECK(taken.size() <= kRelayIndicesMax);
  std::array<std::uint8_t, kEndpointBytes> observed;
  write_endpoint(observed.data(), message.observed);
  ByteWriter out = begin(RelayType::kRegistered);
  out.u64_be(message.transaction).u64_be(message.session).u32_be(message.lifetime_seconds).bytes(observed);
  out.u16_be(static_cast<std::uint16_t>(taken.size()));
  write_indices(out, taken);
  return finish_with_mac(out, key);
}

Bytes write_relay_refused(const RelayRefused& message) {
  return begin(RelayType::kRefused).u64_be(message.transaction).u8(static_cast<std::uint8_t>(message.reason)).take();
}

Bytes write_relay_refresh(std::uint64_t transaction, RelaySession session, Indices added, Indices removed,
                          const RelayMacKey& key) {
  LR_CHECK(added.size() + removed.size() <= kRelayIndicesMax);
  ByteWriter out = begin(RelayType::kRefresh);
  out.u64_be(transaction).u64_be(session);
  out.u16_be(static_cast<std::uint16_t>(added.size())).u16_be(static_cast<std::uint16_t>(removed.size()));
  write_indices(out, added);
  write_indices(out, removed);
  out.bytes(std::array<std::uint8_t, kRefreshPadding>{});
  return finish_with_mac(out, key);
}

void write_relay_send(RelayPeer peer, ByteView payload, MutableBytes out) {
  LR_CHECK(!payload.empty() && payload.size() <= kRelayPayloadMax && out.size() == kRelayHeaderBytes + payload.size());
  store_le(out.data(), word(RelayType::kSend));
  store_be(out.data() + 4, peer);
  std::copy(payload.begin(), payload.end(), out.begin() + kRelayHeaderBytes);
}

void make_relay_deliver(MutableBytes send, RelayPeer source) {
  LR_CHECK(send.size() > kRelayHeaderBytes);
  store_le(send.data(), word(RelayType::kDeliver));
  store_be(send.data() + 4, source);
}

Bytes write_relay_absent(const RelayAbsent& message) { return begin(RelayType::kAbsent).u64_be(message.peer).take(); }

Bytes write_relay_leave(const RelayLeave& message, const RelayMacKey& key) {
  ByteWriter out = begin(RelayType::kLeave);
  out.u64_be(message.transaction).u64_be(message.session);
  return finish_with_mac(out, key);
}

Bytes write_relay_drain(const RelayDrain& message, const RelayMacKey& key) {
  ByteWriter out = begin(RelayType::kDrain);
  out.u64_be(message.session).u16_be(message.seconds);
  return finish_with_mac(out, key);
}

}  // namespace lanrage::wire
