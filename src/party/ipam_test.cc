#include "party/ipam.h"

#include <gtest/gtest.h>

#include <set>

namespace lanrage::party {
namespace {

IpPrefix prefix(std::string_view text) { return *IpPrefix::parse(text); }

TEST(ChoosePrefix, IsARandomPartOfThePartyRange) {
  SeededRng rng(1);
  std::set<IpPrefix> seen;
  for (int i = 0; i < 200; ++i) {
    const IpPrefix chosen = choose_prefix({}, rng);
    EXPECT_TRUE(is_party_prefix(chosen)) << chosen.text();
    EXPECT_EQ(chosen.length, 24);
    seen.insert(chosen);
  }
  EXPECT_GT(seen.size(), 80u);
}

TEST(ChoosePrefix, AvoidsWhatThisMachineHas) {
  SeededRng rng(2);
  const std::vector<IpPrefix> local = {prefix("0.0.0.0/0"), prefix("192.168.1.0/24"), prefix("10.66.0.0/17"),
                                       prefix("10.66.128.0/18"), prefix("10.66.200.7/32")};
  for (int i = 0; i < 200; ++i) {
    const IpPrefix chosen = choose_prefix(local, rng);
    EXPECT_TRUE(clashes(chosen, local).empty()) << chosen.text();
    EXPECT_GE(chosen.address.v4_value(), IpAddress::v4(10, 66, 192, 0).v4_value());
  }
}

TEST(ChoosePrefix, StillAnswersWhereEverythingIsTakenAndTheClashShows) {
  SeededRng rng(3);
  const std::vector<IpPrefix> local = {prefix("10.0.0.0/8")};
  const IpPrefix chosen = choose_prefix(local, rng);
  EXPECT_TRUE(is_party_prefix(chosen));
  EXPECT_EQ(clashes(chosen, local), local);
}

TEST(PartyPrefix, IsInsideTheRangeAndOfUsefulSize) {
  EXPECT_TRUE(is_party_prefix(prefix("10.66.16.0/20")));
  EXPECT_TRUE(is_party_prefix(prefix("10.66.7.0/24")));
  EXPECT_FALSE(is_party_prefix(prefix("10.66.7.1/24")));
  EXPECT_FALSE(is_party_prefix(prefix("10.67.7.0/24")));
  EXPECT_FALSE(is_party_prefix(prefix("10.66.0.0/16")));
  EXPECT_FALSE(is_party_prefix(prefix("0.0.0.0/1")));
  EXPECT_FALSE(is_party_prefix(prefix("10.66.7.0/25")));
}

TEST(MemberAddress, ExcludesNetworkAndBroadcast) {
  const IpPrefix party = prefix("10.66.7.0/24");
  EXPECT_EQ(member_address(party, 1).text(), "10.66.7.1");
  EXPECT_EQ(member_address(party, 254).text(), "10.66.7.254");
  EXPECT_TRUE(is_member_address(party, member_address(party, 254)));
  EXPECT_FALSE(is_member_address(party, *IpAddress::parse("10.66.7.0")));
  EXPECT_FALSE(is_member_address(party, *IpAddress::parse("10.66.7.255")));
  EXPECT_FALSE(is_member_address(party, *IpAddress::parse("10.66.8.1")));
  EXPECT_EQ(members_max(party), 250u);
  EXPECT_EQ(members_max(prefix("10.66.16.0/20")), 1000u);
}

TEST(Ula, IsTheSameForEverybodyAndDiffersByPartyAndKey) {
  SeededRng rng(4);
  const PartyId a(rng.array<16>()), b(rng.array<16>());
  const crypto::PublicKey k(rng.array<32>()), l(rng.array<32>());
  EXPECT_EQ(ula_prefix(a).length, 64);
  EXPECT_EQ(ula_prefix(a).address.bytes()[0], 0xfd);
  EXPECT_NE(ula_prefix(a), ula_prefix(b));
  EXPECT_TRUE(ula_prefix(a).contains(ula_address(a, k)));
  EXPECT_NE(ula_address(a, k), ula_address(a, l));
  EXPECT_EQ(ula_address(a, k), ula_address(a, k));
  EXPECT_TRUE(ula_address(a, k).is_private());
}

}  // namespace
}  // namespace lanrage::party
