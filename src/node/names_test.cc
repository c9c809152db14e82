#include "node/names.h"

#include <gmock/gmock.h>

namespace lanrage::node {
namespace {

using wire::DnsCode;
using wire::DnsMessage;
using wire::DnsName;
using wire::DnsType;

const IpAddress kAlice4 = *IpAddress::parse("10.66.7.1"), kAlice6 = *IpAddress::parse("fd00:1:2:3::a");
const IpAddress kBob4 = *IpAddress::parse("10.66.7.2"), kBob6 = *IpAddress::parse("fd00:1:2:3::b");
const std::vector<NamedMember> kMembers{{"alice", "Bob-Smith", {kAlice4, kAlice6}},
                                        {"Bob Smith", "desk.home.lan", {kBob4, kBob6}},
                                        {"wpad", "isatap", {*IpAddress::parse("10.66.7.3")}}};
const std::vector<IpPrefix> kNetworks{*IpPrefix::parse("10.66.7.1/24"), *IpPrefix::parse("fd00:1:2:3::a/64")};

DnsMessage ask(DnsName name, DnsType type) {
  DnsMessage query;
  query.id = 7;
  query.name = std::move(name);
  query.type = type;
  query.edns = true;
  const auto answer = answer_name(kMembers, kNetworks, wire::encode_dns(query));
  EXPECT_TRUE(answer);
  const auto reply = wire::parse_dns(answer.value_or(Bytes()));
  EXPECT_TRUE(reply && reply->response && reply->id == 7 && reply->edns && reply->name == query.name);
  return reply.value_or(DnsMessage());
}

std::vector<IpAddress> addresses(const DnsMessage& reply) {
  std::vector<IpAddress> out;
  for (const auto& answer : reply.answers) out.push_back(answer.address);
  return out;
}

TEST(Names, AnswersWithAMembersAddresses) {
  EXPECT_THAT(addresses(ask({"alice", "lanrage", "internal"}, DnsType::kA)), testing::ElementsAre(kAlice4));
  EXPECT_THAT(addresses(ask({"ALICE", "LANrage", "Internal"}, DnsType::kAaaa)), testing::ElementsAre(kAlice6));
  EXPECT_THAT(addresses(ask({"bob-smith", "lanrage", "internal"}, DnsType::kAny)), testing::ElementsAre(kBob4, kBob6));
}

TEST(Names, FallsBackToTheComputersName) {
  EXPECT_THAT(addresses(ask({"desk", "lanrage", "internal"}, DnsType::kA)), testing::ElementsAre(kBob4));
}

TEST(Names, TellsUnknownNamesFromNamesWithoutSuchAnAddress) {
  EXPECT_EQ(ask({"carol", "lanrage", "internal"}, DnsType::kA).code, DnsCode::kNoName);
  EXPECT_EQ(ask({"x", "alice", "lanrage", "internal"}, DnsType::kA).code, DnsCode::kNoName);
  const DnsMessage none = ask({"alice", "lanrage", "internal"}, DnsType::kPtr);
  EXPECT_EQ(none.code, DnsCode::kNone);
  EXPECT_TRUE(none.answers.empty());
  EXPECT_EQ(ask({"lanrage", "internal"}, DnsType::kA).code, DnsCode::kNone);
}

TEST(Names, NamesTheMemberOfAnAddress) {
  const DnsMessage reply = ask({"2", "7", "66", "10", "in-addr", "arpa"}, DnsType::kPtr);
  ASSERT_EQ(reply.answers.size(), 1u);
  EXPECT_EQ(reply.answers[0].name, (DnsName{"bob-smith", "lanrage", "internal"}));
  DnsName nibbles(15, "0");
  nibbles.insert(nibbles.begin(), "b");
  for (const char* nibble : {"3", "0", "0", "0", "2", "0", "0", "0", "1", "0", "0", "0", "0", "0", "d", "f"})
    nibbles.emplace_back(nibble);
  nibbles.insert(nibbles.end(), {"ip6", "arpa"});
  EXPECT_EQ(ask(nibbles, DnsType::kPtr).answers.size(), 1u);
  EXPECT_EQ(ask({"9", "7", "66", "10", "in-addr", "arpa"}, DnsType::kPtr).code, DnsCode::kNoName);
}

TEST(Names, RefusesEveryOtherZone) {
  EXPECT_EQ(ask({"example", "org"}, DnsType::kA).code, DnsCode::kRefused);
  EXPECT_EQ(ask({"internal"}, DnsType::kA).code, DnsCode::kRefused);
  EXPECT_EQ(ask({}, DnsType::kA).code, DnsCode::kRefused);
  EXPECT_EQ(ask({"1", "8", "66", "10", "in-addr", "arpa"}, DnsType::kPtr).code, DnsCode::kRefused);
}

TEST(Names, LetsNoMemberAnswerWhatMachinesAskForByThemselves) {
  EXPECT_EQ(ask({"wpad", "lanrage", "internal"}, DnsType::kA).code, DnsCode::kNoName);
  EXPECT_EQ(ask({"isatap", "lanrage", "internal"}, DnsType::kA).code, DnsCode::kNoName);
}

TEST(Names, IsSilentToWhatIsNoQuestion) {
  EXPECT_FALSE(answer_name(kMembers, kNetworks, {}));
  EXPECT_FALSE(answer_name(kMembers, kNetworks, Bytes(12, 0)));
  DnsMessage response;
  response.response = true;
  response.name = {"alice", "lanrage", "internal"};
  EXPECT_FALSE(answer_name(kMembers, kNetworks, wire::encode_dns(response)));
}

TEST(Names, MakesLabelsOfWhatPeopleAreCalled) {
  EXPECT_EQ(dns_label("Bob"), "bob");
  EXPECT_EQ(dns_label("  x_X.y "), "x-x-y");
  EXPECT_EQ(dns_label("J\xc3\xb6rg"), "j-rg");
  EXPECT_EQ(dns_label("\xe2\x98\x83"), "");
  EXPECT_EQ(dns_label("WPAD"), "");
}

TEST(Names, NamesReverseZonesOfNetworks) {
  EXPECT_EQ(reverse_zone(kNetworks[0]), "7.66.10.in-addr.arpa");
  EXPECT_EQ(reverse_zone(*IpPrefix::parse("10.66.16.0/20")), "66.10.in-addr.arpa");
  EXPECT_EQ(reverse_zone(kNetworks[1]), "3.0.0.0.2.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa");
}

}  // namespace
}  // namespace lanrage::node
