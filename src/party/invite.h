// An invite: one line of text that lets a device into a party. It names the server (addresses and pinned key), the
// party, and a 16-byte secret. From the secret follow a token, by which the server counts uses and knows expiry, and a
// wrap key, under which the party's current secret waits at the server, unreadable to it. Format: docs/wire/invite.md.
// Values; any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "party/epoch.h"
#include "party/genesis.h"
#include "party/ids.h"
#include "party/link.h"

namespace lanrage::party {

inline constexpr std::string_view kInviteScheme = "lanrage://";
inline constexpr std::size_t kInviteTextMax = 4096;
inline constexpr std::size_t kInviteEnvelopeBytesMax = 1024;

using InviteToken = crypto::Secret<struct InviteTokenTag>;  // shown to the server, which keeps only its hash
using WrapKey = crypto::Secret<struct WrapKeyTag>;

InviteId invite_id(const crypto::Hash& token_hash);

// 16 bytes; whoever has them can join while the invite lives. Wipes itself.
class InviteSecret {
 public:
  InviteSecret() = default;
  explicit InviteSecret(std::span<const std::uint8_t, 16> bytes) {
    std::copy(bytes.begin(), bytes.end(), bytes_.begin());
  }
  InviteSecret(const InviteSecret&) = default;
  InviteSecret& operator=(const InviteSecret&) = default;
  ~InviteSecret() { crypto::wipe(bytes_); }
  static InviteSecret generate(Rng& rng) { return InviteSecret(rng.array<16>()); }

  std::span<const std::uint8_t, 16> bytes() const { return bytes_; }
  InviteToken token(const PartyId& party) const;
  crypto::Hash token_hash(const PartyId& party) const;  // SHA-256(token)
  WrapKey wrap_key(const PartyId& party) const;
  InviteId id(const PartyId& party) const { return invite_id(token_hash(party)); }

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

struct Invite {
  ServerInfo server;
  PartyId party;
  InviteSecret secret;

  std::string text() const;
  // White space anywhere is ignored (chats and terminals break lines). kInvalid, saying which: not an invite at all,
  // mistyped or cut off (checksum), or made by a newer LANrage.
  static Result<Invite> parse(std::string_view text);
};

// What the envelope of an invite holds: enough to be a member, checked against the party id in the invite.
struct InviteContents {
  Bytes genesis;                   // encoded
  std::uint32_t chain_length = 0;  // the owner's chain when this was sealed: a joiner refuses a shorter one
  crypto::Hash chain_head{};
  std::uint32_t epoch = 0;
  PartySecret secret;

  Bytes seal(const PartyId& party, const WrapKey& key, Rng& rng) const;
  static std::optional<InviteContents> open(const PartyId& party, const WrapKey& key, ByteView sealed);
};

}  // namespace lanrage::party
