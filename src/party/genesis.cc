#include "party/genesis.h"

#include "party/ipam.h"
#include "party/name.h"

namespace lanrage::party {
namespace {

constexpr std::uint8_t kVersion = 1;

Bytes signed_text(const Bytes& body) {
  Bytes text = to_bytes(as_bytes("lanrage genesis v1"));
  append(text, body);
  return text;
}

}  // namespace

PartyId party_id(const crypto::VerifyKey& owner, ByteView nonce) {
  return PartyId::front_of(crypto::sha256({as_bytes("lanrage party v1"), owner.bytes(), nonce}));
}

Bytes Genesis::body() const {
  ByteWriter out;
  out.u8(kVersion)
      .bytes(owner_verify_key.bytes())
      .bytes(owner_public_key.bytes())
      .bytes(nonce)
      .bytes(prefix.address.bytes())
      .u8(static_cast<std::uint8_t>(prefix.length))
      .bytes(commitment)
      .sized_u8(as_bytes(name));
  return out.take();
}

crypto::Hash Genesis::hash() const { return crypto::sha256({signed_text(body())}); }

Bytes Genesis::sign(const Identity& owner) const {
  Bytes out = body();
  const crypto::Signature signature = owner.sign(signed_text(out));
  append(out, signature);
  return out;
}

std::optional<Genesis> Genesis::parse(ByteView encoded) {
  if (encoded.size() > kGenesisBytesMax) return std::nullopt;
  ByteReader in(encoded);
  if (in.u8() != kVersion) return std::nullopt;
  Genesis genesis;
  genesis.owner_verify_key = crypto::VerifyKey(in.array<crypto::kKeySize>());
  genesis.owner_public_key = crypto::PublicKey(in.array<crypto::kKeySize>());
  genesis.nonce = in.array<16>();
  genesis.prefix.address = IpAddress::v4(in.u32_be());
  genesis.prefix.length = in.u8();
  genesis.commitment = in.array<crypto::kHashSize>();
  genesis.name = as_text(in.sized_u8());
  const crypto::Signature signature = in.array<crypto::kSignatureSize>();
  if (!in.done() || !is_party_prefix(genesis.prefix) || !check_party_name(genesis.name)) return std::nullopt;
  if (!crypto::verify(genesis.owner_verify_key, signed_text(genesis.body()), signature)) return std::nullopt;
  return genesis;
}

}  // namespace lanrage::party
