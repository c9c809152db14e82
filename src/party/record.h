// What a member says about itself: name, addresses, routes, abilities. Signed by the device and MACed under the party's
// secret; versions only rise. The last record of a device says `left`. Format: docs/wire/party.md. Values; any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "party/epoch.h"
#include "party/genesis.h"
#include "party/why.h"

namespace lanrage::party {

inline constexpr std::size_t kRoutesMax = 16;
inline constexpr std::size_t kRecordBytesMax = 768;
inline constexpr std::uint64_t kRecordVersionMax = std::uint64_t{1} << 62;

struct MemberRecord {
  PartyId party;
  crypto::PublicKey public_key;
  crypto::VerifyKey verify_key;
  std::uint64_t version = 0;  // 1..kRecordVersionMax
  std::uint32_t epoch = 0;    // whose secret MACs it
  std::uint32_t capabilities = 0;
  bool left = false;  // farewell: this device is no longer in the party
  IpAddress ipv4;
  InviteId invite;  // by which it came
  std::string name;
  std::string hostname;
  std::vector<IpPrefix> routes;  // what else is reached through it: addresses of guests, inside the party's ranges

  IpAddress ipv6() const;  // derived from party id and key: nobody can claim another's
  MemberTag tag() const { return member_tag(public_key, verify_key); }
  // The first thing that is wrong about it as a record of that party, signature and MAC apart.
  std::optional<Why> check(const Genesis& genesis) const;
  friend bool operator==(const MemberRecord&, const MemberRecord&) = default;
};

// A record and the bytes that carry it.
class SignedRecord {
 public:
  // Signs and MACs. `self` holds the record's keys; fields are valid (names, bounds) and routes sorted.
  static SignedRecord make(const MemberRecord& record, const Identity& self, const RecordKey& key);
  // Nothing signed yet: fields to make() a record from.
  static SignedRecord unsigned_draft(MemberRecord record);
  // Form only: ask signature_valid() and mac_valid() next.
  static std::optional<SignedRecord> parse(ByteView encoded);

  const MemberRecord& record() const { return record_; }
  const Bytes& encoded() const { return encoded_; }
  bool signature_valid() const;
  bool mac_valid(const RecordKey& key) const;

 private:
  MemberRecord record_;
  Bytes encoded_;
};

}  // namespace lanrage::party
