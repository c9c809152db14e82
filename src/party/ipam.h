// Addresses of a party: a /24 out of 10.66.0.0/16 chosen by its maker, host numbers given out by the server, and an
// IPv6 /64 that nobody has to give out. Functions of their arguments; any thread.
#pragma once

#include <vector>

#include "base/ip.h"
#include "base/rng.h"
#include "crypto/keys.h"
#include "party/ids.h"

namespace lanrage::party {

inline constexpr IpPrefix kPartyRange{IpAddress::v4(10, 66, 0, 0), 16};

// A /24 that overlaps none of `local` (what this machine has addresses and routes in). When all of them do, any: our
// own routing table wins, and clashes() finds what to tell.
IpPrefix choose_prefix(const std::vector<IpPrefix>& local, Rng& rng);

// Those of `local` that overlap `prefix`. A default route overlaps nothing.
std::vector<IpPrefix> clashes(const IpPrefix& prefix, const std::vector<IpPrefix>& local);

// A network inside kPartyRange of length 20 to 24: the only kind that a member routes into its party.
bool is_party_prefix(const IpPrefix& prefix);
// An address of `prefix` that a member can have: not the network's own, not its broadcast address.
bool is_member_address(const IpPrefix& prefix, const IpAddress& address);
// How many members a party with this prefix takes: 250 in a /24, 1000 in a /20.
std::size_t members_max(const IpPrefix& prefix);
// The number-th member address, from 1; number is below the count of addresses.
IpAddress member_address(const IpPrefix& prefix, std::uint32_t number);

// fd00::/8 with 56 bits from the party id: a unique local /64 (RFC 4193).
IpPrefix ula_prefix(const PartyId& party);
// In ula_prefix(party), host part from the key.
IpAddress ula_address(const PartyId& party, const crypto::PublicKey& key);

}  // namespace lanrage::party
