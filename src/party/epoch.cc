#include "party/epoch.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"
#include "crypto/aead.h"
#include "party/derive.h"

namespace lanrage::party {
namespace {

constexpr std::uint8_t kVersion = 1;

std::array<std::uint8_t, 4> number_be(std::uint32_t number) {
  std::array<std::uint8_t, 4> raw;
  store_be(raw.data(), number);
  return raw;
}

Bytes label(std::string_view name, const crypto::PublicKey& a, const crypto::PublicKey& b) {
  const auto& [low, high] = std::minmax(a, b);
  Bytes out = to_bytes(as_bytes(name));
  append(out, low.bytes());
  append(out, high.bytes());
  return out;
}

// The key of one entry is used once, because the ephemeral key is: so the nonce may be constant.
crypto::DerivedKey entry_key(const crypto::SharedSecret& dh, const PartyId& party, const crypto::PublicKey& ephemeral,
                             const crypto::PublicKey& member) {
  Bytes info = to_bytes(as_bytes("lanrage epoch envelope v1"));
  append(info, ephemeral.bytes());
  append(info, member.bytes());
  return derive<crypto::DerivedKey>(dh.bytes(), party.bytes(), info);
}

Bytes entry_context(const PartyId& party, std::uint32_t epoch) {
  Bytes out = to_bytes(party.bytes());
  append(out, number_be(epoch));
  return out;
}

}  // namespace

crypto::Hash PartySecret::commitment(const PartyId& party, std::uint32_t epoch) const {
  return crypto::sha256({as_bytes("lanrage epoch commitment v1"), party.bytes(), number_be(epoch), bytes_});
}

RecordKey PartySecret::record_key(const PartyId& party) const {
  return derive<RecordKey>(bytes_, party.bytes(), as_bytes("lanrage record v1"));
}

crypto::PresharedKey PartySecret::preshared_key(const PartyId& party, const crypto::PublicKey& a,
                                                const crypto::PublicKey& b) const {
  return derive<crypto::PresharedKey>(bytes_, party.bytes(), label("lanrage psk v1", a, b));
}

PairKeys pair_keys(const PartyId& party, std::uint32_t epoch, const PartySecret& secret, const crypto::SharedSecret& dh,
                   const crypto::PublicKey& a, const crypto::PublicKey& b) {
  Bytes both = to_bytes(dh.bytes());
  append(both, secret.bytes());
  PairKeys keys{epoch, secret.preshared_key(party, a, b),
                derive<ProbeKey>(both, party.bytes(), label("lanrage probe v1", a, b)),
                derive<SignalKey>(both, party.bytes(), label("lanrage signal v1", a, b))};
  crypto::wipe(both);
  return keys;
}

MemberTag member_tag(const crypto::PublicKey& public_key, const crypto::VerifyKey& verify_key) {
  return MemberTag::front_of(crypto::sha256({as_bytes("lanrage member v1"), public_key.bytes(), verify_key.bytes()}));
}

EpochBundle EpochBundle::seal(const PartyId& party, std::uint32_t epoch, const PartySecret& secret,
                              const std::vector<EpochMember>& members, Rng& rng) {
  LR_CHECK(members.size() <= kEpochMembersMax);
  const crypto::PrivateKey once = crypto::PrivateKey::generate(rng);
  EpochBundle bundle{party, epoch, crypto::public_key(once), {}};
  const Bytes context = entry_context(party, epoch);
  for (const EpochMember& member : members) {
    const auto dh = crypto::x25519(once, member.public_key);
    LR_CHECK(dh.has_value());
    Entry entry{member_tag(member.public_key, member.verify_key), {}};
    const crypto::DerivedKey key = entry_key(*dh, party, bundle.ephemeral, member.public_key);
    crypto::AeadKey(key.bytes(), crypto::AeadBackend::kOpenSsl).seal(0, context, secret.bytes(), entry.sealed);
    bundle.entries.push_back(entry);
  }
  std::sort(bundle.entries.begin(), bundle.entries.end(), [](const Entry& a, const Entry& b) { return a.tag < b.tag; });
  return bundle;
}

std::optional<PartySecret> EpochBundle::open(const Identity& self) const {
  const Entry* entry = find(member_tag(self.public_key(), self.verify_key()));
  if (entry == nullptr) return std::nullopt;
  const auto dh = crypto::x25519(self.private_key(), ephemeral);
  if (!dh) return std::nullopt;
  const crypto::DerivedKey key = entry_key(*dh, party, ephemeral, self.public_key());
  std::array<std::uint8_t, kPartySecretSize> raw;
  if (!crypto::AeadKey(key.bytes(), crypto::AeadBackend::kOpenSsl)
           .open(0, entry_context(party, epoch), entry->sealed, raw)) {
    return std::nullopt;
  }
  const PartySecret secret(raw);
  crypto::wipe(raw);
  return secret;
}

const EpochBundle::Entry* EpochBundle::find(const MemberTag& tag) const {
  const auto it = std::lower_bound(entries.begin(), entries.end(), tag,
                                   [](const Entry& entry, const MemberTag& wanted) { return entry.tag < wanted; });
  return it != entries.end() && it->tag == tag ? &*it : nullptr;
}

crypto::Hash EpochBundle::members_hash() const {
  ByteWriter tags;
  for (const Entry& entry : entries) tags.bytes(entry.tag.bytes());
  return crypto::sha256({as_bytes("lanrage member list v1"), party.bytes(), number_be(epoch), tags.view()});
}

std::vector<EpochBundle> EpochBundle::split(std::size_t entries_max) const {
  std::vector<EpochBundle> out;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (i % entries_max == 0) out.push_back({party, epoch, ephemeral, {}});
    out.back().entries.push_back(entries[i]);
  }
  return out;
}

bool EpochBundle::merge(const EpochBundle& part) {
  if (part.party != party || part.epoch != epoch || part.ephemeral != ephemeral) return false;
  std::vector<Entry> merged;
  std::set_union(entries.begin(), entries.end(), part.entries.begin(), part.entries.end(), std::back_inserter(merged),
                 [](const Entry& a, const Entry& b) { return a.tag < b.tag; });
  if (merged.size() > kEpochMembersMax) return false;
  entries = std::move(merged);
  return true;
}

Bytes EpochBundle::encode() const {
  ByteWriter out;
  out.u8(kVersion).bytes(party.bytes()).u32_be(epoch).bytes(ephemeral.bytes());
  out.u16_be(static_cast<std::uint16_t>(entries.size()));
  for (const Entry& entry : entries) out.bytes(entry.tag.bytes()).bytes(entry.sealed);
  return out.take();
}

std::optional<EpochBundle> EpochBundle::parse(ByteView encoded) {
  ByteReader in(encoded);
  if (in.u8() != kVersion) return std::nullopt;
  EpochBundle bundle;
  bundle.party = PartyId(in.array<PartyId::kSize>());
  bundle.epoch = in.u32_be();
  bundle.ephemeral = crypto::PublicKey(in.array<crypto::kKeySize>());
  const std::size_t count = in.u16_be();
  if (!in.ok() || count > kEpochMembersMax) return std::nullopt;
  for (std::size_t i = 0; i < count; ++i) {
    Entry entry{MemberTag(in.array<MemberTag::kSize>()), in.array<kPartySecretSize + 16>()};
    if (!in.ok() || (i > 0 && entry.tag <= bundle.entries.back().tag)) return std::nullopt;
    bundle.entries.push_back(entry);
  }
  if (!in.done()) return std::nullopt;
  return bundle;
}

}  // namespace lanrage::party
