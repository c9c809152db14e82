#include "tunnel/allowed_ips.h"

#include <gtest/gtest.h>

#include <map>

#include "base/rng.h"

namespace lanrage::tunnel {
namespace {

IpPrefix prefix(const char* text) { return IpPrefix::parse(text).value(); }
IpAddress address(const char* text) { return IpAddress::parse(text).value(); }

TEST(AllowedIps, FindsTheLongestPrefix) {
  AllowedIps<int> table;
  EXPECT_FALSE(table.find(address("10.0.0.1")));
  ASSERT_TRUE(table.insert(prefix("10.0.0.0/8"), 1));
  ASSERT_TRUE(table.insert(prefix("10.66.7.0/24"), 2));
  ASSERT_TRUE(table.insert(prefix("10.66.7.9/32"), 3));
  ASSERT_TRUE(table.insert(prefix("224.0.0.0/4"), 4));
  EXPECT_EQ(table.find(address("10.1.2.3")), 1);
  EXPECT_EQ(table.find(address("10.66.7.8")), 2);
  EXPECT_EQ(table.find(address("10.66.7.9")), 3);
  EXPECT_EQ(table.find(address("239.255.255.250")), 4);
  EXPECT_FALSE(table.find(address("11.0.0.1")));
  EXPECT_FALSE(table.find(address("::1")));
}

TEST(AllowedIps, KeepsFamiliesApart) {
  AllowedIps<int> table;
  ASSERT_TRUE(table.insert(prefix("0.0.0.0/0"), 4));
  EXPECT_FALSE(table.find(address("fd00::1")));
  ASSERT_TRUE(table.insert(prefix("::/0"), 6));
  EXPECT_EQ(table.find(address("fd00::1")), 6);
  EXPECT_EQ(table.find(address("1.2.3.4")), 4);
}

TEST(AllowedIps, GivesAPrefixToItsLastOwner) {
  AllowedIps<int> table;
  ASSERT_TRUE(table.insert(prefix("10.0.0.0/8"), 1));
  ASSERT_TRUE(table.insert(prefix("10.1.2.3/8"), 2));
  EXPECT_EQ(table.size(), 1u);
  EXPECT_EQ(table.find(address("10.9.9.9")), 2);
}

TEST(AllowedIps, RefusesImpossibleLengths) {
  AllowedIps<int> table;
  EXPECT_FALSE(table.insert({address("1.2.3.4"), 33}, 1));
  EXPECT_FALSE(table.insert({address("1.2.3.4"), -1}, 1));
  EXPECT_FALSE(table.insert({address("::1"), 129}, 1));
}

// Few distinct bits, so that prefixes nest and fork often.
IpAddress random_address(Rng& rng) {
  if (rng.below(2) == 0) return IpAddress::v4(static_cast<std::uint32_t>(rng.u32() & 0xc3000f0f));
  std::array<std::uint8_t, 16> raw{};
  for (std::size_t i : {0, 7, 8, 15}) raw[i] = static_cast<std::uint8_t>(rng.u32() & 0x93);
  return IpAddress::v6(raw);
}

TEST(AllowedIps, AgreesWithALinearSearch) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SeededRng rng(seed);
    AllowedIps<std::uint32_t> table;
    std::map<IpPrefix, std::uint32_t> model;
    for (std::uint32_t i = 0; i < 120; ++i) {
      IpPrefix p{random_address(rng), 0};
      p.length = static_cast<int>(rng.below(static_cast<std::uint64_t>(p.address.bits()) + 1));
      ASSERT_TRUE(table.insert(p, i));
      model[p.network()] = i;
    }
    ASSERT_EQ(table.size(), model.size());
    for (int i = 0; i < 400; ++i) {
      const IpAddress a = random_address(rng);
      std::optional<std::uint32_t> expected;
      int longest = -1;
      for (const auto& [p, value] : model) {
        if (p.address.is_v4() == a.is_v4() && p.contains(a) && p.length > longest) {
          longest = p.length;
          expected = value;
        }
      }
      ASSERT_EQ(table.find(a), expected) << "--seed=" << seed << " " << a.text();
    }
  }
}

}  // namespace
}  // namespace lanrage::tunnel
