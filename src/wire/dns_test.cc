#include "wire/dns.h"

#include <gmock/gmock.h>

namespace lanrage::wire {
namespace {

DnsMessage question() {
  DnsMessage message;
  message.id = 0x1234;
  message.recursion_desired = true;
  message.name = {"Bob", "lanrage", "internal"};
  return message;
}

DnsMessage answered() {
  DnsMessage message = question();
  message.response = message.authoritative = message.edns = true;
  message.type = DnsType::kAny;
  message.answers = {{DnsType::kA, 10, *IpAddress::parse("10.66.7.2"), {}},
                     {DnsType::kAaaa, 10, *IpAddress::parse("fd00::2"), {}},
                     {DnsType::kPtr, 20, {}, {"bob", "lanrage", "internal"}}};
  return message;
}

// RFC 1035, 4.1.
TEST(Dns, WritesAQuestionAsResolversDo) {
  const Bytes expected = *from_hex(
      "1234"
      "0100"
      "0001000000000000"
      "03426f62"
      "076c616e72616765"
      "08696e7465726e616c"
      "00"
      "0001"
      "0001");
  EXPECT_EQ(encode_dns(question()), expected);
  EXPECT_EQ(parse_dns(expected), question());
}

TEST(Dns, ReadsBackWhatItWrote) {
  EXPECT_EQ(parse_dns(encode_dns(answered())), answered());
  DnsMessage refused = question();
  refused.response = true;
  refused.code = DnsCode::kRefused;
  EXPECT_EQ(parse_dns(encode_dns(refused)), refused);
}

TEST(Dns, ReadsNothingThatIsCutOrLonger) {
  for (const DnsMessage& message : {question(), answered()}) {
    Bytes whole = encode_dns(message);
    for (std::size_t size = 0; size < whole.size(); ++size)
      EXPECT_EQ(parse_dns(ByteView(whole).first(size)), std::nullopt) << size;
    whole.push_back(0);
    EXPECT_EQ(parse_dns(whole), std::nullopt);
  }
}

TEST(Dns, RefusesWhatItDoesNotSpeak) {
  const Bytes good = encode_dns(question());
  const auto with = [&](std::size_t offset, std::uint8_t value) {
    Bytes changed = good;
    changed[offset] = value;
    return parse_dns(changed);
  };
  EXPECT_TRUE(with(2, 0x01));
  EXPECT_FALSE(with(2, 0x29));   // an update
  EXPECT_FALSE(with(5, 2));      // two questions
  EXPECT_FALSE(with(5, 0));      // none
  EXPECT_FALSE(with(9, 1));      // an authority record
  EXPECT_FALSE(with(12, 0xc0));  // a compressed question
  EXPECT_FALSE(with(12, 64));    // a label too long
  Bytes newer = encode_dns(answered());
  newer[newer.size() - 5] = 1;  // EDNS version 1
  EXPECT_FALSE(parse_dns(newer));
}

TEST(Dns, BoundsANameTo255Bytes) {
  DnsMessage message = question();
  message.name = DnsName(4, std::string(62, 'a'));  // 253 with lengths and end
  EXPECT_TRUE(parse_dns(encode_dns(message)));
  message.name.front().push_back('a');
  message.name[1].push_back('a');
  EXPECT_TRUE(parse_dns(encode_dns(message)));
  message.name[2].push_back('a');
  EXPECT_FALSE(parse_dns(encode_dns(message)));
}

TEST(Dns, LeavesOutAnswersThatDoNotFit) {
  DnsMessage message = answered();
  message.answers.assign(8, {DnsType::kPtr, 20, {}, DnsName(2, std::string(60, 'x'))});
  const Bytes written = encode_dns(message);
  EXPECT_LE(written.size(), kDnsBytesMax);
  const auto read = parse_dns(written);
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->truncated);
  EXPECT_TRUE(read->answers.empty());
}

}  // namespace
}  // namespace lanrage::wire
