// A party's rows as a database gives them. `Row` is one row: blob_at, null_at, number_at, text_at and time_at by
// column.
#pragma once

#include <algorithm>

#include "party/server_party.h"

namespace lanrage::store {

inline constexpr const char* kMemberColumns =
    "public_key, verify_key, state, ipv4, name, invite, joined, record_version, since, record";
inline constexpr const char* kInviteColumns = "id, token_hash, state, uses, uses_left, created, expires, envelope";

inline Error damaged_party() {
  return {Code::kFailed, "a party in the database is damaged", "restore the database from a backup"};
}

template <class Row>
Result<party::MemberRow> read_member(const Row& from) {
  party::MemberRow row;
  const auto key = crypto::PublicKey::from_bytes(from.blob_at(0));
  const auto ipv4 = IpAddress::from_bytes(from.blob_at(3));
  const auto invite = party::InviteId::from_bytes(from.blob_at(5));
  if (!key || !ipv4 || !invite) return damaged_party();
  row.public_key = *key;
  if (!from.null_at(1)) {
    row.verify_key = crypto::VerifyKey::from_bytes(from.blob_at(1));
    if (!row.verify_key) return damaged_party();
  }
  row.state = static_cast<party::MemberState>(from.number_at(2));
  row.ipv4 = *ipv4;
  row.name = from.text_at(4);
  row.invite = *invite;
  row.joined = from.time_at(6);
  row.record_version = static_cast<std::uint64_t>(from.number_at(7));
  row.since = static_cast<std::uint64_t>(from.number_at(8));
  row.record = from.blob_at(9);
  return row;
}

template <class Row>
Result<party::InviteRow> read_invite(const Row& from) {
  party::InviteRow row;
  const auto invite = party::InviteId::from_bytes(from.blob_at(0));
  const Bytes hash = from.blob_at(1);
  if (!invite || hash.size() != row.token_hash.size()) return damaged_party();
  row.id = *invite;
  std::copy(hash.begin(), hash.end(), row.token_hash.begin());
  row.state = static_cast<party::InviteState>(from.number_at(2));
  row.uses = static_cast<std::uint32_t>(from.number_at(3));
  row.uses_left = static_cast<std::uint32_t>(from.number_at(4));
  row.created = from.time_at(5);
  row.expires = from.time_at(6);
  row.envelope = from.blob_at(7);
  return row;
}

}  // namespace lanrage::store
