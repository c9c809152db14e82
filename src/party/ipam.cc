#include "party/ipam.h"

#include <algorithm>

#include "base/check.h"
#include "crypto/hash.h"

namespace lanrage::party {
namespace {

bool overlaps_any(const IpPrefix& prefix, const std::vector<IpPrefix>& local) {
  return !clashes(prefix, local).empty();
}

std::uint32_t host_count(const IpPrefix& prefix) { return (std::uint32_t{1} << (32 - prefix.length)) - 2; }

}  // namespace

IpPrefix choose_prefix(const std::vector<IpPrefix>& local, Rng& rng) {
  const auto third = [](std::uint32_t n) {
    return IpPrefix{IpAddress::v4(10, 66, static_cast<std::uint8_t>(n), 0), 24};
  };
  // 0 and 255 look like something else to people and to old software.
  std::vector<std::uint32_t> free;
  for (std::uint32_t n = 1; n < 255; ++n) {
    if (!overlaps_any(third(n), local)) free.push_back(n);
  }
  if (free.empty()) return third(static_cast<std::uint32_t>(1 + rng.below(254)));
  return third(free[rng.below(free.size())]);
}

std::vector<IpPrefix> clashes(const IpPrefix& prefix, const std::vector<IpPrefix>& local) {
  std::vector<IpPrefix> out;
  std::copy_if(local.begin(), local.end(), std::back_inserter(out),
               [&](const IpPrefix& other) { return other.length > 0 && other.overlaps(prefix); });
  return out;
}

bool is_party_prefix(const IpPrefix& prefix) {
  return prefix.address.is_v4() && prefix.length >= 20 && prefix.length <= 24 && prefix == prefix.network() &&
         kPartyRange.contains(prefix.address);
}

bool is_member_address(const IpPrefix& prefix, const IpAddress& address) {
  return address.is_v4() && prefix.contains(address) && address != prefix.address && address != prefix.broadcast();
}

std::size_t members_max(const IpPrefix& prefix) {
  return prefix.length == 24 ? 250 : std::min(host_count(prefix), 1000u);
}

IpAddress member_address(const IpPrefix& prefix, std::uint32_t number) {
  LR_CHECK(number >= 1 && number <= host_count(prefix));
  return IpAddress::v4(prefix.address.v4_value() + number);
}

IpPrefix ula_prefix(const PartyId& party) {
  const crypto::Hash hash = crypto::sha256({as_bytes("lanrage ula v1"), party.bytes()});
  std::array<std::uint8_t, 16> raw{};
  raw[0] = 0xfd;
  std::copy_n(hash.begin(), 7, raw.begin() + 1);
  return {IpAddress::v6(raw), 64};
}

IpAddress ula_address(const PartyId& party, const crypto::PublicKey& key) {
  const crypto::Hash hash = crypto::sha256({as_bytes("lanrage host v1"), key.bytes()});
  std::array<std::uint8_t, 16> raw{};
  const IpPrefix prefix = ula_prefix(party);
  std::copy_n(prefix.address.bytes().begin(), 8, raw.begin());
  std::copy_n(hash.begin(), 8, raw.begin() + 8);
  raw[8] &= 0xfd;  // not derived from a hardware address (RFC 4291 section 2.5.1)
  return IpAddress::v6(raw);
}

}  // namespace lanrage::party
