#include "party/invite.h"

#include <algorithm>

#include "crypto/aead.h"
#include "party/derive.h"

namespace lanrage::party {
namespace {

// In every version the first byte is the version and the last four are the checksum, so that a mistyped invite is told
// from one of a newer LANrage.
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kChecksumSize = 4;
enum AddressKind : std::uint8_t { kIpv4 = 4, kIpv6 = 6, kDns = 1 };

std::array<std::uint8_t, kChecksumSize> checksum(ByteView payload) {
  const crypto::Hash hash = crypto::sha256({as_bytes("lanrage invite v1"), payload});
  std::array<std::uint8_t, kChecksumSize> out;
  std::copy_n(hash.begin(), out.size(), out.begin());
  return out;
}

void write_address(ByteWriter& out, const ServerAddress& address) {
  if (const auto ip = address.ip()) {
    out.u8(ip->is_v4() ? kIpv4 : kIpv6).bytes(ip->bytes());
  } else {
    out.u8(kDns).sized_u8(as_bytes(address.host));
  }
  out.u16_be(address.port);
}

std::optional<ServerAddress> read_address(ByteReader& in) {
  ServerAddress out;
  switch (const std::uint8_t kind = in.u8()) {
    case kIpv4:
    case kIpv6: {
      const auto ip = IpAddress::from_bytes(in.bytes(kind == kIpv4 ? 4 : 16));
      if (!ip || ip->is_v6() != (kind == kIpv6)) return std::nullopt;
      out.host = ip->text();
      break;
    }
    case kDns: {
      out.host = as_text(in.sized_u8());
      const auto canonical = ServerAddress::parse(out.host);
      if (!canonical || canonical->host != out.host || out.ip()) return std::nullopt;
      break;
    }
    default:
      return std::nullopt;
  }
  out.port = in.u16_be();
  if (!in.ok() || out.port == 0) return std::nullopt;
  return out;
}

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

Bytes envelope_context(const PartyId& party) {
  Bytes out = to_bytes(as_bytes("lanrage invite envelope v1"));
  append(out, party.bytes());
  return out;
}

}  // namespace

InviteId invite_id(const crypto::Hash& token_hash) { return InviteId::front_of(token_hash); }

InviteToken InviteSecret::token(const PartyId& party) const {
  return derive<InviteToken>(bytes_, party.bytes(), as_bytes("lanrage invite token v1"));
}
crypto::Hash InviteSecret::token_hash(const PartyId& party) const { return crypto::sha256({token(party).bytes()}); }
WrapKey InviteSecret::wrap_key(const PartyId& party) const {
  return derive<WrapKey>(bytes_, party.bytes(), as_bytes("lanrage invite wrap v1"));
}

std::string Invite::text() const {
  ByteWriter out;
  out.u8(kVersion).bytes(server.key).bytes(party.bytes()).bytes(secret.bytes());
  const std::size_t count = std::min(server.addresses.size(), kServerAddressesMax);
  out.u8(static_cast<std::uint8_t>(count));
  for (std::size_t i = 0; i < count; ++i) write_address(out, server.addresses[i]);
  const auto sum = checksum(out.view());
  out.bytes(sum);
  Bytes payload = out.take();
  std::string text = std::string(kInviteScheme) + to_base64url(payload);
  crypto::wipe(payload);
  return text;
}

Result<Invite> Invite::parse(std::string_view text) {
  const Error not_an_invite{Code::kInvalid, "this is not an invite",
                            "an invite begins with lanrage://; copy all of it"};
  const Error mistyped{Code::kInvalid, "the invite is mistyped or cut off",
                       "copy it again, from lanrage:// to its end"};
  if (text.size() > 2 * kInviteTextMax) return not_an_invite;
  std::string compact;
  std::copy_if(text.begin(), text.end(), std::back_inserter(compact), [](char c) { return !is_space(c); });
  if (!compact.starts_with(kInviteScheme)) return not_an_invite;
  if (compact.size() > kInviteTextMax) return mistyped;
  const auto payload = from_base64url(std::string_view(compact).substr(kInviteScheme.size()));
  if (!payload || payload->size() <= kChecksumSize) return mistyped;
  const ByteView checked = ByteView(*payload).first(payload->size() - kChecksumSize);
  const auto sum = checksum(checked);
  if (!std::equal(sum.begin(), sum.end(), payload->end() - kChecksumSize)) return mistyped;
  ByteReader in(checked);
  if (in.u8() != kVersion) {
    return Error{Code::kInvalid, "the invite was made by a newer LANrage", "update LANrage on this machine"};
  }
  Invite invite;
  invite.server.key = in.array<std::tuple_size_v<ServerKey>>();
  invite.party = PartyId(in.array<PartyId::kSize>());
  invite.secret = InviteSecret(in.array<16>());
  const std::size_t count = in.u8();
  if (count < 1 || count > kServerAddressesMax) return mistyped;
  for (std::size_t i = 0; i < count; ++i) {
    auto address = read_address(in);
    if (!address) return mistyped;
    invite.server.addresses.push_back(std::move(*address));
  }
  if (!in.done()) return mistyped;
  return invite;
}

Bytes InviteContents::seal(const PartyId& party, const WrapKey& key, Rng& rng) const {
  ByteWriter plain;
  plain.sized_u16(genesis).u32_be(chain_length).bytes(chain_head).u32_be(epoch).bytes(secret.bytes());
  Bytes clear = plain.take();
  const auto nonce = rng.array<crypto::kXNonceSize>();
  Bytes out{kVersion};
  append(out, nonce);
  append(out, crypto::xseal(key.bytes(), nonce, envelope_context(party), clear));
  crypto::wipe(clear);
  return out;
}

std::optional<InviteContents> InviteContents::open(const PartyId& party, const WrapKey& key, ByteView sealed) {
  if (sealed.size() > kInviteEnvelopeBytesMax) return std::nullopt;
  ByteReader outer(sealed);
  if (outer.u8() != kVersion) return std::nullopt;
  const auto nonce = outer.array<crypto::kXNonceSize>();
  if (!outer.ok()) return std::nullopt;
  auto clear = crypto::xopen(key.bytes(), nonce, envelope_context(party), outer.rest());
  if (!clear) return std::nullopt;
  ByteReader in(*clear);
  InviteContents out;
  out.genesis = to_bytes(in.sized_u16());
  out.chain_length = in.u32_be();
  out.chain_head = in.array<crypto::kHashSize>();
  out.epoch = in.u32_be();
  out.secret = PartySecret(in.array<kPartySecretSize>());
  const bool complete = in.done();
  crypto::wipe(*clear);
  if (!complete) return std::nullopt;
  return out;
}

}  // namespace lanrage::party
