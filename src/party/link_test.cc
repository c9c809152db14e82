#include "party/link.h"

#include <gtest/gtest.h>

namespace lanrage::party {
namespace {

const std::string kKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

TEST(ServerLink, RoundTripsEveryKindOfHost) {
  for (const std::string host : {"203.0.113.9:41820", "[2001:db8::1]:443", "play.example.net:41820", "localhost:1"}) {
    const std::string text = "https://" + host + "#" + kKey;
    const auto link = ServerLink::parse(text);
    ASSERT_TRUE(link) << text;
    EXPECT_EQ(link->text(), text);
  }
}

TEST(ServerLink, HasDefaultPortAndOneCanonicalForm) {
  EXPECT_EQ(ServerLink::parse("https://Play.Example.NET#" + kKey)->text(), "https://play.example.net:41820#" + kKey);
  EXPECT_EQ(ServerLink::parse("https://[2001:DB8:0::1]/#" + kKey)->text(), "https://[2001:db8::1]:41820#" + kKey);
  EXPECT_EQ(ServerLink::parse("https://[::ffff:192.0.2.1]:5#" + kKey)->text(), "https://192.0.2.1:5#" + kKey);
}

TEST(ServerLink, RefusesEverythingElseWithAHint) {
  for (const std::string& text :
       {std::string(), std::string("http://h:1#") + kKey, std::string("https://h:1"), "https://h:1#" + kKey + "A",
        std::string("https://h:1#AAEC"), "https://:1#" + kKey, "https://h:0#" + kKey, "https://h:65536#" + kKey,
        "https://h:1x#" + kKey, "https://[::1#" + kKey, "https://[h]:1#" + kKey, "https://[1.2.3.4]:1#" + kKey,
        "https://a b:1#" + kKey, "https://h/path#" + kKey, "https://1.2.3:1#" + kKey, "https://u@h:1#" + kKey,
        "https://[::1]x:1#" + kKey}) {
    const auto link = ServerLink::parse(text);
    ASSERT_FALSE(link) << text;
    EXPECT_EQ(link.error().code, Code::kInvalid);
    EXPECT_FALSE(link.error().hint.empty());
  }
}

TEST(ServerAddress, TakesBareIpv6WithoutPort) {
  EXPECT_EQ(ServerAddress::parse("2001:db8::7")->text(), "[2001:db8::7]:41820");
  EXPECT_EQ(ServerAddress::parse("host")->port, kServerPort);
  EXPECT_FALSE(ServerAddress::parse("host:"));
}

TEST(DnsName, HasBoundedLabelsOfLettersDigitsAndHyphens) {
  EXPECT_TRUE(is_dns_name("a-1.example"));
  EXPECT_FALSE(is_dns_name(""));
  EXPECT_FALSE(is_dns_name("a..b"));
  EXPECT_FALSE(is_dns_name("-a"));
  EXPECT_FALSE(is_dns_name("a-.b"));
  EXPECT_FALSE(is_dns_name("under_score"));
  EXPECT_FALSE(is_dns_name("10.66.7"));
  EXPECT_FALSE(is_dns_name(std::string(64, 'a')));
  EXPECT_FALSE(is_dns_name(std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." +
                           std::string(63, 'd')));
}

TEST(ServerInfo, ThePersonsAddressStaysTheFirstWhateverIsTold) {
  const ServerAddress given{"play.example.org", 41820}, other{"192.0.2.1", 41820};
  const ServerInfo info{{}, {given, {"192.0.2.9", 1}}};
  const std::vector<std::string> told = {"192.0.2.1:41820", "not an address", "play.example.org:41820", "192.0.2.1"};
  EXPECT_EQ(with_addresses(info, told).addresses, (std::vector<ServerAddress>{given, other}));
  EXPECT_EQ(with_addresses(info, std::vector<std::string>(1)).addresses, std::vector<ServerAddress>{given});
  std::vector<std::string> many;
  for (int i = 0; i < 20; ++i) many.push_back("192.0.2." + std::to_string(i + 1));
  EXPECT_EQ(with_addresses(info, many).addresses.size(), kServerAddressesMax);
}

}  // namespace
}  // namespace lanrage::party
