#include "party/statement.h"

#include <utility>

namespace lanrage::party {
namespace {

constexpr std::uint8_t kVersion = 1;
enum Kind : std::uint8_t { kTombstone = 1, kEpochStart = 2, kHandover = 3 };

void write(ByteWriter& out, const Tombstone& body) { out.u8(kTombstone).bytes(body.public_key.bytes()); }
void write(ByteWriter& out, const EpochStart& body) {
  out.u8(kEpochStart).u32_be(body.number).bytes(body.members).bytes(body.commitment);
}
void write(ByteWriter& out, const Handover& body) {
  out.u8(kHandover).bytes(body.verify_key.bytes()).bytes(body.public_key.bytes());
}

std::optional<StatementBody> read_body(ByteReader& in) {
  switch (in.u8()) {
    case kTombstone:
      return Tombstone{crypto::PublicKey(in.array<crypto::kKeySize>())};
    case kEpochStart: {
      EpochStart body;
      body.number = in.u32_be();
      body.members = in.array<crypto::kHashSize>();
      body.commitment = in.array<crypto::kHashSize>();
      return body;
    }
    case kHandover: {
      Handover body;
      body.verify_key = crypto::VerifyKey(in.array<crypto::kKeySize>());
      body.public_key = crypto::PublicKey(in.array<crypto::kKeySize>());
      return body;
    }
    default:
      return std::nullopt;
  }
}

Bytes encode_unsigned(const Statement& s) {
  ByteWriter out;
  out.u8(kVersion).bytes(s.party.bytes()).u32_be(s.sequence).bytes(s.previous);
  std::visit([&](const auto& body) { write(out, body); }, s.body);
  return out.take();
}

Bytes signed_text(const Statement& s) {
  Bytes text = to_bytes(as_bytes("lanrage statement v1"));
  append(text, encode_unsigned(s));
  return text;
}

}  // namespace

crypto::Hash Statement::hash() const { return crypto::sha256({signed_text(*this)}); }
void Statement::sign(const Identity& owner) { signature = owner.sign(signed_text(*this)); }
bool Statement::signed_by(const crypto::VerifyKey& owner) const {
  return crypto::verify(owner, signed_text(*this), signature);
}

Bytes Statement::encode() const {
  Bytes out = encode_unsigned(*this);
  append(out, signature);
  return out;
}

std::optional<Statement> Statement::parse(ByteView encoded) {
  if (encoded.size() > kStatementBytesMax) return std::nullopt;
  ByteReader in(encoded);
  if (in.u8() != kVersion) return std::nullopt;
  Statement s;
  s.party = PartyId(in.array<PartyId::kSize>());
  s.sequence = in.u32_be();
  s.previous = in.array<crypto::kHashSize>();
  auto body = read_body(in);
  if (!body) return std::nullopt;
  s.body = *body;
  s.signature = in.array<crypto::kSignatureSize>();
  if (!in.done() || s.sequence == 0) return std::nullopt;
  return s;
}

Chain::Chain(Genesis genesis)
    : genesis_(std::move(genesis)),
      party_(genesis_.id()),
      hashes_{genesis_.hash()},
      commitments_{genesis_.commitment},
      owner_{genesis_.owner_verify_key, genesis_.owner_public_key} {
  epoch_.commitment = genesis_.commitment;
}

std::optional<Why> Chain::judge(const Statement& s) const {
  if (s.party != party_) return Why::kWrongParty;
  if (s.sequence <= length()) return Why::kOutOfChain;
  if (s.sequence > length() + 1) return Why::kGap;
  if (s.previous != head()) return Why::kOutOfChain;
  if (length() >= kStatementsMax) return Why::kTooMany;
  if (!s.signed_by(owner_.verify_key)) return Why::kNotOwner;
  // What follows is signed and still makes no sense; everybody refuses it alike, so chains cannot diverge.
  if (const auto* tombstone = std::get_if<Tombstone>(&s.body)) {
    if (tombstone->public_key == owner_.public_key) return Why::kMalformed;
  } else if (const auto* start = std::get_if<EpochStart>(&s.body)) {
    if (start->number != epoch_.number + 1) return Why::kMalformed;
  } else if (const auto* handover = std::get_if<Handover>(&s.body)) {
    if (tombstoned(handover->public_key)) return Why::kTombstoned;
  }
  return std::nullopt;
}

std::optional<Why> Chain::append(const Statement& s) {
  if (const auto why = judge(s)) return why;
  if (const auto* tombstone = std::get_if<Tombstone>(&s.body)) {
    tombstones_.insert(tombstone->public_key);
  } else if (const auto* start = std::get_if<EpochStart>(&s.body)) {
    epoch_ = *start;
    commitments_.push_back(start->commitment);
  } else if (const auto* handover = std::get_if<Handover>(&s.body)) {
    owner_ = *handover;
  }
  statements_.push_back(s);
  hashes_.push_back(s.hash());
  return std::nullopt;
}

bool Chain::contains(const Statement& s) const {
  return s.sequence >= 1 && s.sequence <= length() && s.hash() == hashes_[s.sequence];
}

Statement Chain::next(StatementBody body, const Identity& owner) const {
  Statement s{party_, length() + 1, head(), std::move(body), {}};
  s.sign(owner);
  return s;
}

std::optional<crypto::Hash> Chain::hash_at(std::uint32_t length) const {
  if (length >= hashes_.size()) return std::nullopt;
  return hashes_[length];
}

std::optional<crypto::Hash> Chain::commitment_of(std::uint32_t epoch) const {
  if (epoch >= commitments_.size()) return std::nullopt;
  return commitments_[epoch];
}

}  // namespace lanrage::party
