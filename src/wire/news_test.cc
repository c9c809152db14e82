#include "wire/news.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace lanrage::wire {
namespace {

std::vector<News> samples() {
  SeededRng rng(1);
  const auto key = [&] { return crypto::PublicKey(rng.array<32>()); };
  const auto server = rng.array<8>();
  const PartyId party = rng.array<16>();
  const RelayInfo relay{key(), "eu-1", {{IpAddress::v4(192, 0, 2, 1), 41820}}, rng.array<32>()};
  return {{server, PartyChanged{party, 77}},
          {server, Here{party, {key(), key()}, true}},
          {server, Here{party, {}, false}},
          {server, PresenceNews{party, {key(), true}}},
          {server, SignalNews{key(), {party, key(), Bytes{1, 2, 3}}}},
          {server, Alive{{{"192.0.2.1:41820"}}, {{relay}, relay.addresses, 0}, {{{relay.key, 90, 10}}}}},
          {server, Alive{}}};
}

TEST(News, AreReadAsTheyWereWritten) {
  for (const News& news : samples()) {
    const auto read = decode_news(encode(news));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, news) << encode(news);
  }
}

TEST(News, OfATypeOfTomorrowAreIgnoredAndOthersMustBeWhole) {
  const News news = samples().front();
  std::string text = encode(news);
  const auto at = text.find("changed");
  EXPECT_EQ(*decode_news(text.replace(at, 7, "renamed")), std::nullopt);
  for (const News& sample : samples()) {
    const std::string whole = encode(sample);
    for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_FALSE(decode_news(whole.substr(0, size)));
  }
  EXPECT_FALSE(decode_news(R"({"type":"changed","party":"00","revision":1,"server":"AAAAAAAAAAA"})"));
  EXPECT_FALSE(decode_news(R"({"type":"alive","server":"AAAAAAAAAAA","relays":{"type":"online","members":[]}})"));
}

}  // namespace
}  // namespace lanrage::wire
