// How members bring each other up to date, with or without a server: summaries and updates (docs/wire/party.md).
#include "party/roster.h"

namespace lanrage::party {
namespace {

constexpr std::uint8_t kVersion = 1;
enum ItemKind : std::uint8_t { kStatement = 1, kBundle = 2, kRecord = 3 };
constexpr std::size_t kPieceHeader = 1 + PartyId::kSize;
constexpr std::size_t kItemHeader = 3;
constexpr std::size_t kEntriesPerPiece = 20;
static_assert(kPieceHeader + kItemHeader + kBundleHeaderBytes + kEntriesPerPiece * kBundleEntryBytes <=
              kUpdateBytesMax);

struct Summary {
  std::uint32_t chain_length = 0;
  bool has_secret = false;
  bool has_list = false;
  crypto::Mac records{};

  static std::optional<Summary> parse(ByteView encoded) {
    ByteReader in(encoded);
    Summary out;
    const bool version_known = in.u8() == kVersion;
    out.chain_length = in.u32_be();
    const std::uint8_t flags = in.u8();
    out.has_secret = (flags & 1) != 0;
    out.has_list = (flags & 2) != 0;
    out.records = in.array<crypto::kMacSize>();
    if (!in.done() || !version_known || flags > 3) return std::nullopt;
    return out;
  }
};

// Fills pieces with items, a new piece where the next item does not fit.
class Pieces {
 public:
  explicit Pieces(const PartyId& party) : party_(party) {}
  void add(ItemKind kind, ByteView item) {
    if (out_.empty() || out_.back().size() + kItemHeader + item.size() > kUpdateBytesMax) {
      ByteWriter piece;
      out_.push_back(piece.u8(kVersion).bytes(party_.bytes()).take());
    }
    ByteWriter framed;
    append(out_.back(), framed.u8(kind).sized_u16(item).view());
  }
  std::vector<Bytes> take() { return std::move(out_); }

 private:
  PartyId party_;
  std::vector<Bytes> out_;
};

}  // namespace

// The own record and those of members and of who left; of whoever was removed the statements speak.
std::vector<const Bytes*> Roster::shareable_records() const {
  std::vector<const Bytes*> out{&own_.encoded()};
  for (const auto& [key, member] : members_) out.push_back(&member.record.encoded());
  for (const auto& [key, record] : departed_) {
    if (record.record().left) out.push_back(&record.encoded());
  }
  return out;
}

crypto::Mac Roster::records_digest() const {
  std::vector<crypto::Hash> hashes;
  for (const Bytes* record : shareable_records()) hashes.push_back(crypto::sha256({*record}));
  std::sort(hashes.begin(), hashes.end());
  ByteWriter all;
  for (const crypto::Hash& hash : hashes) all.bytes(hash);
  const crypto::Hash digest = crypto::sha256({as_bytes("lanrage records v1"), all.view()});
  crypto::Mac out;
  std::copy_n(digest.begin(), out.size(), out.begin());
  return out;
}

Bytes Roster::summary() const {
  const bool has_secret = secrets_.contains(chain_.epoch());
  const bool has_list = chain_.epoch() == 0 || bundle_.has_value();
  ByteWriter out;
  out.u8(kVersion).u32_be(chain_.length()).u8(static_cast<std::uint8_t>((has_secret ? 1 : 0) | (has_list ? 2 : 0)));
  return out.bytes(records_digest()).take();
}

std::vector<Bytes> Roster::export_for(const crypto::PublicKey& peer, ByteView summary) const {
  const auto theirs = Summary::parse(summary);
  const Member* member = find(peer);
  if (!theirs || member == nullptr) return {};
  Pieces pieces(party());
  for (std::uint32_t i = theirs->chain_length; i < chain_.length(); ++i) {
    pieces.add(kStatement, chain_.statements()[i].encode());
  }
  const bool is_behind = theirs->chain_length < chain_.length();
  if (bundle_ && theirs->chain_length <= chain_.length() && (is_behind || !theirs->has_secret || !theirs->has_list)) {
    for (const EpochBundle& part : bundle_->split(kEntriesPerPiece)) pieces.add(kBundle, part.encode());
  }
  if (theirs->records != records_digest()) {
    for (const Bytes* record : shareable_records()) {
      if (*record != member->record.encoded()) pieces.add(kRecord, *record);
    }
  }
  return pieces.take();
}

RosterEvents Roster::apply_update(ByteView piece) {
  RosterEvents events;
  const auto malformed = [] { return RosterEvents{Refused{Why::kMalformed, "update", std::nullopt}}; };
  ByteReader in(piece);
  if (piece.size() > kUpdateBytesMax || in.u8() != kVersion) return malformed();
  if (PartyId(in.array<PartyId::kSize>()) != party()) return {Refused{Why::kWrongParty, "update", std::nullopt}};
  std::vector<Bytes> statements, bundles, records;
  while (in.ok() && !in.rest().empty()) {
    const std::uint8_t kind = in.u8();
    const ByteView item = in.sized_u16();
    if (kind == kStatement) statements.push_back(to_bytes(item));
    if (kind == kBundle) bundles.push_back(to_bytes(item));
    if (kind == kRecord) records.push_back(to_bytes(item));
    if (kind < kStatement || kind > kRecord) return malformed();
  }
  if (!in.done()) return malformed();
  take_statements(statements, events);
  for (const Bytes& bundle : bundles) take_bundle(bundle, true, events);
  settle(events);
  take_records(records, events);
  return events;
}

}  // namespace lanrage::party
