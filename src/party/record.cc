#include "party/record.h"

#include <algorithm>

#include "base/check.h"
#include "party/ipam.h"
#include "party/name.h"

namespace lanrage::party {
namespace {

constexpr std::uint8_t kVersion = 1;
constexpr std::uint8_t kFlagLeft = 1;
constexpr std::size_t kTrailer = crypto::kSignatureSize + crypto::kMacSize;

Bytes encode_body(const MemberRecord& r) {
  ByteWriter out;
  out.u8(kVersion)
      .bytes(r.party.bytes())
      .bytes(r.public_key.bytes())
      .bytes(r.verify_key.bytes())
      .u64_be(r.version)
      .u32_be(r.epoch)
      .u32_be(r.capabilities)
      .u8(r.left ? kFlagLeft : 0)
      .bytes(r.ipv4.bytes())
      .bytes(r.invite.bytes())
      .sized_u8(as_bytes(r.name))
      .sized_u8(as_bytes(r.hostname))
      .u8(static_cast<std::uint8_t>(r.routes.size()));
  for (const IpPrefix& route : r.routes) {
    out.u8(route.address.is_v6() ? 6 : 4).bytes(route.address.bytes()).u8(static_cast<std::uint8_t>(route.length));
  }
  return out.take();
}

// A route in its one form: host bits clear, at least one bit of network.
std::optional<IpPrefix> read_route(ByteReader& in) {
  const std::uint8_t family = in.u8();
  if (family != 4 && family != 6) return std::nullopt;
  const auto address = IpAddress::from_bytes(in.bytes(family == 4 ? 4 : 16));
  const int length = in.u8();
  // IPv4 in IPv6 clothes would be a second form of the same address.
  if (!in.ok() || !address || address->is_v6() != (family == 6)) return std::nullopt;
  const IpPrefix route{*address, length};
  if (length < 1 || length > address->bits() || route != route.network()) return std::nullopt;
  return route;
}

std::optional<MemberRecord> parse_body(ByteReader& in) {
  MemberRecord r;
  if (in.u8() != kVersion) return std::nullopt;
  r.party = PartyId(in.array<PartyId::kSize>());
  r.public_key = crypto::PublicKey(in.array<crypto::kKeySize>());
  r.verify_key = crypto::VerifyKey(in.array<crypto::kKeySize>());
  r.version = in.u64_be();
  r.epoch = in.u32_be();
  r.capabilities = in.u32_be();
  const std::uint8_t flags = in.u8();
  r.left = flags == kFlagLeft;
  r.ipv4 = IpAddress::v4(in.u32_be());
  r.invite = InviteId(in.array<InviteId::kSize>());
  r.name = as_text(in.sized_u8());
  r.hostname = as_text(in.sized_u8());
  const std::size_t routes = in.u8();
  if (!in.ok() || flags > kFlagLeft || routes > kRoutesMax) return std::nullopt;
  for (std::size_t i = 0; i < routes; ++i) {
    const auto route = read_route(in);
    if (!route || (i > 0 && *route <= r.routes.back())) return std::nullopt;
    r.routes.push_back(*route);
  }
  if (r.version == 0 || r.version > kRecordVersionMax) return std::nullopt;
  if (!check_name(r.name) || !is_valid_hostname(r.hostname)) return std::nullopt;
  return r;
}

Bytes signed_text(ByteView body) {
  Bytes text = to_bytes(as_bytes("lanrage record v1"));
  append(text, body);
  return text;
}

crypto::Mac mac_of(const RecordKey& key, ByteView body_and_signature) {
  const crypto::Hash full = crypto::hmac_sha256(key.bytes(), {as_bytes("lanrage record v1"), body_and_signature});
  crypto::Mac mac;
  std::copy_n(full.begin(), mac.size(), mac.begin());
  return mac;
}

}  // namespace

IpAddress MemberRecord::ipv6() const { return ula_address(party, public_key); }

std::optional<Why> MemberRecord::check(const Genesis& genesis) const {
  if (party != genesis.id()) return Why::kWrongParty;
  if (!is_member_address(genesis.prefix, ipv4)) return Why::kAddressInvalid;
  const IpPrefix ula = ula_prefix(party);
  for (const IpPrefix& route : routes) {
    const IpPrefix& range = route.address.is_v6() ? ula : genesis.prefix;
    if (route.length <= range.length || !range.contains(route.address)) return Why::kAddressInvalid;
  }
  return std::nullopt;
}

SignedRecord SignedRecord::make(const MemberRecord& record, const Identity& self, const RecordKey& key) {
  LR_CHECK(record.public_key == self.public_key() && record.verify_key == self.verify_key());
  SignedRecord out;
  out.record_ = record;
  out.encoded_ = encode_body(record);
  append(out.encoded_, self.sign(signed_text(out.encoded_)));
  append(out.encoded_, mac_of(key, out.encoded_));
  return out;
}

SignedRecord SignedRecord::unsigned_draft(MemberRecord record) {
  SignedRecord out;
  out.record_ = std::move(record);
  return out;
}

std::optional<SignedRecord> SignedRecord::parse(ByteView encoded) {
  if (encoded.size() > kRecordBytesMax || encoded.size() < kTrailer) return std::nullopt;
  ByteReader in(encoded.first(encoded.size() - kTrailer));
  auto record = parse_body(in);
  if (!record || !in.done()) return std::nullopt;
  SignedRecord out;
  out.record_ = std::move(*record);
  out.encoded_ = to_bytes(encoded);
  return out;
}

bool SignedRecord::signature_valid() const {
  const ByteView all = encoded_;
  crypto::Signature signature;
  const ByteView tail = all.last(kTrailer);
  std::copy_n(tail.begin(), signature.size(), signature.begin());
  return crypto::verify(record_.verify_key, signed_text(all.first(all.size() - kTrailer)), signature);
}

bool SignedRecord::mac_valid(const RecordKey& key) const {
  const ByteView all = encoded_;
  return crypto::secure_equal(mac_of(key, all.first(all.size() - crypto::kMacSize)), all.last(crypto::kMacSize));
}

}  // namespace lanrage::party
