#include "control/relay_directory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lanrage::control {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const Endpoint kHome{IpAddress::v4(192, 0, 2, 1), 41820};
const Endpoint kMoved{IpAddress::v4(192, 0, 2, 9), 41820};
constexpr Time kNow{std::chrono::hours(1)};

crypto::PublicKey key(std::uint8_t first) {
  std::array<std::uint8_t, crypto::kKeySize> bytes{first};
  return crypto::PublicKey(bytes);
}

struct RelayDirectoryTest : testing::Test {
  RelayDirectoryTest() {
    EXPECT_TRUE(directory.allow(key(1)));
    EXPECT_TRUE(*directory.offer(key(1), {"eu", {kHome}}));
  }
  RelayDirectory directory;
};

TEST_F(RelayDirectoryTest, NobodyOffersARelayThatTheOperatorDidNotAllow) {
  EXPECT_EQ(directory.offer(key(2), {"eu", {kMoved}}).error().code, Code::kRefused);
  EXPECT_THAT(directory.named(), ElementsAre(wire::RelayInfo{key(1), "eu", {kHome}}));
}

TEST_F(RelayDirectoryTest, OnlyNewsChangesWhatMembersAreTold) {
  EXPECT_FALSE(*directory.offer(key(1), {"eu", {kHome}}));
  EXPECT_TRUE(*directory.offer(key(1), {"eu", {kMoved}}));
  EXPECT_THAT(directory.named(), ElementsAre(wire::RelayInfo{key(1), "eu", {kMoved}}));
}

TEST_F(RelayDirectoryTest, ALostRelayStaysNamedForItsGrace) {
  directory.lose(key(1));
  EXPECT_FALSE(directory.expire(kNow));
  EXPECT_FALSE(directory.expire(kNow + kRelayGrace - Duration(1)));
  EXPECT_FALSE(*directory.offer(key(1), {"eu", {kHome}}));  // it came back
  EXPECT_FALSE(directory.expire(kNow + kRelayGrace));
  directory.lose(key(1));
  EXPECT_FALSE(directory.expire(kNow + kRelayGrace));
  EXPECT_TRUE(directory.expire(kNow + 2 * kRelayGrace));
  EXPECT_THAT(directory.named(), IsEmpty());
  EXPECT_TRUE(*directory.offer(key(1), {"eu", {kHome}}));  // it is still allowed
}

TEST_F(RelayDirectoryTest, OneThatSaysGoodbyeIsGoneAtOnce) {
  EXPECT_FALSE(directory.withdraw(key(2)));
  EXPECT_TRUE(directory.withdraw(key(1)));
  EXPECT_FALSE(directory.withdraw(key(1)));
  directory.lose(key(1));
  EXPECT_THAT(directory.named(), IsEmpty());
  EXPECT_FALSE(directory.expire(kNow + kRelayGrace));
}

TEST_F(RelayDirectoryTest, WhatTheOperatorRemovesIsNeitherNamedNorAllowed) {
  EXPECT_TRUE(directory.remove(key(1)));
  EXPECT_EQ(directory.remove(key(1)).error().code, Code::kNotFound);
  EXPECT_THAT(directory.named(), IsEmpty());
  EXPECT_FALSE(directory.offer(key(1), {"eu", {kHome}}));
}

TEST_F(RelayDirectoryTest, ARestartedServerNamesThemAsIfJustLost) {
  ASSERT_TRUE(directory.allow(key(2)));
  EXPECT_TRUE(*directory.offer(key(1), {"eu", {kHome}, wire::StreamPin{7}})) << "the pin is news";
  auto again = RelayDirectory::parse(directory.text());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->text(), directory.text());
  EXPECT_EQ(again->named(), directory.named());
  EXPECT_TRUE(again->offer(key(2), {"", {kMoved}}));
  EXPECT_FALSE(again->expire(kNow));
  EXPECT_TRUE(again->expire(kNow + kRelayGrace));
  EXPECT_THAT(again->named(), ElementsAre(wire::RelayInfo{key(2), "", {kMoved}}));
}

TEST_F(RelayDirectoryTest, KnowsARelaysHealthWhileItIsConnected) {
  wire::ReportRelay report;
  report.health = 90;
  report.load = 10;
  EXPECT_THAT(directory.health(), IsEmpty());
  EXPECT_EQ(directory.report(key(2), report).error().code, Code::kRefused);
  ASSERT_TRUE(directory.report(key(1), report));
  EXPECT_THAT(directory.health(), ElementsAre(wire::RelayHealth{key(1), 90, 10}));
  EXPECT_TRUE(directory.offer(key(1), {"eu", {kMoved}}));  // a newer stream of the same
  EXPECT_THAT(directory.health(), ElementsAre(wire::RelayHealth{key(1), 90, 10}));
  directory.lose(key(1));
  EXPECT_THAT(directory.health(), IsEmpty());
  EXPECT_EQ(directory.report(key(1), report).error().code, Code::kRefused);
  EXPECT_TRUE(directory.offer(key(1), {"eu", {kMoved}}));
  ASSERT_TRUE(directory.report(key(1), report));
  EXPECT_TRUE(directory.withdraw(key(1)));
  EXPECT_THAT(directory.health(), IsEmpty());
}

TEST_F(RelayDirectoryTest, HasAMaximumAndRefusesADamagedFile) {
  for (std::size_t i = 1; i < kRelaysAllowedMax; ++i)
    EXPECT_TRUE(directory.allow(key(static_cast<std::uint8_t>(100 + i))));
  EXPECT_EQ(directory.allow(key(99)).error().code, Code::kExhausted);
  EXPECT_TRUE(directory.allow(key(1)));
  for (const char* text :
       {"", "{", R"({"relays":[{"key":"x","region":"","addresses":[]}]})",
        R"({"relays":[{"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","region":"","addresses":["a"]}]})"})
    EXPECT_FALSE(RelayDirectory::parse(text)) << text;
}

}  // namespace
}  // namespace lanrage::control
