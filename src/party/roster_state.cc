// A roster as bytes, for the state file. Format: docs/wire/party.md. It holds the party's secrets.
#include "base/format.h"
#include "party/ipam.h"
#include "party/roster.h"

namespace lanrage::party {
namespace {

constexpr std::array<std::uint8_t, 4> kMagic = {'L', 'R', 'P', 'S'};
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kChecksumSize = 16;

Error damaged(const char* what) {
  return {Code::kInvalid, format("the party's state file is damaged ({})", what),
          "move it away and join again by a new invite"};
}

crypto::Hash checksum(ByteView state) { return crypto::sha256({as_bytes("lanrage roster v1"), state}); }

void write_server(ByteWriter& out, const ServerInfo& server) {
  out.bytes(server.key).u8(static_cast<std::uint8_t>(server.addresses.size()));
  for (const ServerAddress& address : server.addresses) out.sized_u16(as_bytes(address.text()));
}

std::optional<ServerInfo> read_server(ByteReader& in) {
  ServerInfo server;
  server.key = in.array<std::tuple_size_v<ServerKey>>();
  const std::size_t count = in.u8();
  for (std::size_t i = 0; in.ok() && i < count; ++i) {
    auto address = ServerAddress::parse(as_text(in.sized_u16()));
    if (!address) return std::nullopt;
    server.addresses.push_back(std::move(*address));
  }
  if (!in.ok()) return std::nullopt;
  return server;
}

}  // namespace

Bytes Roster::encode() const {
  ByteWriter out;
  out.bytes(kMagic).u8(kVersion).bytes(self_.public_key().bytes()).sized_u16(encoded_genesis_);
  write_server(out, server_);
  out.u16_be(static_cast<std::uint16_t>(chain_.length()));
  for (const Statement& statement : chain_.statements()) out.sized_u16(statement.encode());
  out.u32_be(floor_.length).bytes(floor_.head).u32_be(floor_.epoch);
  out.u8(static_cast<std::uint8_t>(secrets_.size()));
  for (const auto& [epoch, secret] : secrets_) out.u32_be(epoch).bytes(secret.bytes());
  out.sized_u16(bundle_ ? bundle_->encode() : Bytes());
  out.sized_u16(own_.encoded()).u8(published_ ? 1 : 0);
  out.u16_be(static_cast<std::uint16_t>(members_.size()));
  for (const auto& [key, member] : members_) out.sized_u16(as_bytes(member.name)).sized_u16(member.record.encoded());
  out.u16_be(static_cast<std::uint16_t>(departed_.size()));
  for (const auto& [key, record] : departed_) out.sized_u16(record.encoded());
  out.sized_u8(joined_by_ ? joined_by_->bytes() : ByteView());
  out.u16_be(static_cast<std::uint16_t>(invites_.size()));
  for (const auto& [id, invite] : invites_) {
    out.bytes(invite.secret.bytes()).u64_be(static_cast<std::uint64_t>(unix_seconds(invite.expires)));
  }
  out.u8(removed_ ? static_cast<std::uint8_t>(1 + static_cast<int>(*removed_)) : 0);
  const crypto::Hash sum = checksum(out.view());
  return out.bytes(ByteView(sum).first(kChecksumSize)).take();
}

Result<Roster> Roster::parse(ByteView state, const Identity& self) {
  if (state.size() < kMagic.size() + 1 + kChecksumSize) return damaged("cut off");
  const ByteView body = state.first(state.size() - kChecksumSize);
  const crypto::Hash sum = checksum(body);
  if (!std::equal(sum.begin(), sum.begin() + kChecksumSize, state.end() - kChecksumSize)) return damaged("checksum");
  ByteReader in(body);
  if (in.array<4>() != kMagic) return damaged("not a party's state");
  if (in.u8() != kVersion) {
    return Error{Code::kInvalid, "the party's state file is of a newer LANrage", "update LANrage on this machine"};
  }
  if (crypto::PublicKey(in.array<crypto::kKeySize>()) != self.public_key()) {
    return Error{Code::kInvalid, "the party's state file is another device's", "move it away and join again"};
  }
  const Bytes encoded_genesis = to_bytes(in.sized_u16());
  auto genesis = Genesis::parse(encoded_genesis);
  if (!genesis) return damaged("genesis");
  Roster roster(self, std::move(*genesis), encoded_genesis);
  auto server = read_server(in);
  if (!server) return damaged("server");
  roster.server_ = std::move(*server);
  LR_TRY(roster.read_chain(in));
  LR_TRY(roster.read_records(in));
  LR_TRY(roster.read_invites(in));
  const std::uint8_t removed = in.u8();
  if (removed > 3 || !in.done()) return damaged("its end");
  if (removed > 0) roster.removed_ = static_cast<Departure>(removed - 1);
  return roster;
}

Result<void> Roster::read_chain(ByteReader& in) {
  const std::size_t statements = in.u16_be();
  for (std::size_t i = 0; i < statements; ++i) {
    const auto statement = Statement::parse(in.sized_u16());
    if (!statement || chain_.append(*statement)) return damaged("statements");
  }
  floor_.length = in.u32_be();
  floor_.head = in.array<crypto::kHashSize>();
  floor_.epoch = in.u32_be();
  const std::size_t secrets = in.u8();
  if (secrets < 1 || secrets > kEpochsHeldMax) return damaged("secrets");
  for (std::size_t i = 0; i < secrets; ++i) {
    const std::uint32_t number = in.u32_be();
    const bool falls = secrets_.empty() || number < std::prev(secrets_.end())->first;
    if (!falls || number > epoch()) return damaged("secrets");
    hold_secret(number, PartySecret(in.array<kPartySecretSize>()));
  }
  const ByteView encoded_bundle = in.sized_u16();
  if (!encoded_bundle.empty()) {
    bundle_ = EpochBundle::parse(encoded_bundle);
    if (!bundle_ || bundle_->epoch != chain_.epoch() || bundle_->members_hash() != chain_.members_hash()) {
      return damaged("epoch");
    }
  }
  return {};
}

Result<void> Roster::read_records(ByteReader& in) {
  auto own = SignedRecord::parse(in.sized_u16());
  const std::uint8_t published = in.u8();
  published_ = published != 0;
  if (!own || published > 1 || own->record().public_key != self_.public_key() ||
      own->record().verify_key != self_.verify_key() || own->record().check(genesis())) {
    return damaged("own record");
  }
  own_ = std::move(*own);
  const std::size_t members = in.u16_be();
  for (std::size_t i = 0; in.ok() && i < members; ++i) {
    std::string name(as_text(in.sized_u16()));
    auto record = SignedRecord::parse(in.sized_u16());
    if (!record || record->record().check(genesis())) return damaged("members");
    const crypto::PublicKey key = record->record().public_key;
    const auto dh = crypto::x25519(self_.private_key(), key);
    if (!dh || key == self_.public_key()) return damaged("members");
    members_.insert_or_assign(key, Member{std::move(*record), std::move(name), *dh});
  }
  const std::size_t departed = in.u16_be();
  for (std::size_t i = 0; in.ok() && i < departed; ++i) {
    auto record = SignedRecord::parse(in.sized_u16());
    if (!record || members_.contains(record->record().public_key)) return damaged("former members");
    const crypto::PublicKey key = record->record().public_key;
    departed_.insert_or_assign(key, std::move(*record));
  }
  if (!in.ok()) return damaged("cut off");
  return {};
}

Result<void> Roster::read_invites(ByteReader& in) {
  const ByteView joined_by = in.sized_u8();
  if (!joined_by.empty()) {
    if (joined_by.size() != 16) return damaged("invite");
    joined_by_ = InviteSecret(joined_by.first<16>());
  }
  const std::size_t invites = in.u16_be();
  for (std::size_t i = 0; in.ok() && i < invites; ++i) {
    const InviteSecret secret(in.array<16>());
    const std::uint64_t expires = in.u64_be();
    if (expires > static_cast<std::uint64_t>(unix_seconds(WallTime::max()))) return damaged("invites");
    const WallTime at = from_unix_seconds(static_cast<std::int64_t>(expires));
    invites_.insert_or_assign(secret.id(party()), OwnInvite{secret, at});
  }
  if (!in.ok()) return damaged("cut off");
  return {};
}

}  // namespace lanrage::party
