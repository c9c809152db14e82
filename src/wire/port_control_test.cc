#include "wire/port_control.h"

#include <gtest/gtest.h>

namespace lanrage::wire {
namespace {

const IpAddress kOutside = IpAddress::v4(5, 9, 2, 2);

TEST(PortControl, WritesNatPmpAsTheRfcDrawsIt) {
  EXPECT_EQ(to_hex(write_natpmp(NatPmpRequest{})), "0000");
  EXPECT_EQ(to_hex(write_natpmp(NatPmpRequest{PortTransport::kUdp, 0x1234, 0x5678, 3600})),
            "00010000"
            "12345678"
            "00000e10");
  EXPECT_EQ(to_hex(write_natpmp(NatPmpRequest{PortTransport::kTcp, 1, 0, 0})), "000200000001000000000000");
}

TEST(PortControl, ReadsNatPmpAnswers) {
  const auto address = parse_natpmp_answer(*from_hex("008000000000002a05090202"));
  ASSERT_TRUE(address);
  EXPECT_EQ(*address, (NatPmpAnswer{.epoch_s = 42, .address = kOutside}));
  const auto mapped = parse_natpmp_answer(*from_hex("008100000000002a12345678000004b0"));
  ASSERT_TRUE(mapped);
  EXPECT_EQ(
      *mapped,
      (NatPmpAnswer{
          .transport = PortTransport::kUdp, .epoch_s = 42, .inside = 0x1234, .outside = 0x5678, .lifetime_s = 1200}));
  // An error with nothing behind it, and with what some routers leave there.
  for (const char* text : {"008200030000002a", "008200030000002a12345678000004b0"}) {
    const auto refused = parse_natpmp_answer(*from_hex(text));
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->result, NatPmpAnswer::kNetworkFailure);
  }
  for (const char* text : {"", "00", "0000", "0080", "018000000000002a05090202", "008000000000002a050902",
                           "008000000000002a0509020200", "008300000000002a12345678000004b0", "0081000000000000"})
    EXPECT_FALSE(parse_natpmp_answer(*from_hex(text))) << text;
}

TEST(PortControl, WritesPcpAsTheRfcDrawsIt) {
  EXPECT_EQ(to_hex(write_pcp(PcpRequest{.client = IpAddress::v4(192, 168, 1, 2)})),
            "02000000"
            "00000000"
            "00000000000000000000ffffc0a80102");
  const PcpMap map{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, PortTransport::kUdp, 0x1234, {kOutside, 0x5678}};
  EXPECT_EQ(to_hex(write_pcp(PcpRequest{1200, IpAddress::v4(192, 168, 1, 2), map})),
            "02010000"
            "000004b0"
            "00000000000000000000ffffc0a80102"
            "0102030405060708090a0b0c"
            "11000000"
            "12345678"
            "00000000000000000000ffff05090202");
}

TEST(PortControl, ReadsWhatItWrites) {
  const PcpMap map{{9, 8, 7}, PortTransport::kTcp, 25565, {kOutside, 25566}};
  for (const PcpRequest& request :
       {PcpRequest{.client = *IpAddress::parse("2a0b:4c80::5")}, PcpRequest{7200, IpAddress::v4(10, 0, 0, 5), map}}) {
    EXPECT_EQ(parse_pcp_request(write_pcp(request)), request);
    EXPECT_FALSE(parse_pcp_answer(write_pcp(request)));
  }
  for (const PcpAnswer& answer : {PcpAnswer{.epoch_s = 7}, PcpAnswer{PcpAnswer::kNoResources, 30, 7, map}}) {
    EXPECT_EQ(parse_pcp_answer(write_pcp(answer)), answer);
    EXPECT_FALSE(parse_pcp_request(write_pcp(answer)));
  }
  for (const NatPmpRequest& request : {NatPmpRequest{}, NatPmpRequest{PortTransport::kTcp, 80, 8080, 5}})
    EXPECT_EQ(parse_natpmp_request(write_natpmp(request)), request);
  for (const NatPmpAnswer& answer :
       {NatPmpAnswer{.epoch_s = 1, .address = kOutside}, NatPmpAnswer{PortTransport::kUdp, 0, 1, {}, 80, 8080, 5}})
    EXPECT_EQ(parse_natpmp_answer(write_natpmp(answer)), answer);
}

TEST(PortControl, TakesAnAnswerOfAnotherVersionForWhatItSays) {
  // A router that speaks only NAT-PMP, and one that speaks PCP's draft.
  for (const char* text : {"008000010000002a", "018100010000002a00000000"}) {
    const auto answer = parse_pcp_answer(*from_hex(text));
    ASSERT_TRUE(answer) << text;
    EXPECT_EQ(answer->result, PcpAnswer::kUnsupportedVersion);
  }
  EXPECT_EQ(to_hex(write_pcp(PcpAnswer{.result = 1, .epoch_s = 42})), "008000010000002a");
  EXPECT_FALSE(parse_natpmp_answer(*from_hex("008000010000002a")));
  EXPECT_FALSE(parse_pcp_answer(*from_hex("008000000000002a05090202")));
  Bytes only_pcp = write_pcp(PcpAnswer{.epoch_s = 42});  // what it says to NAT-PMP
  only_pcp[3] = PcpAnswer::kUnsupportedVersion;
  EXPECT_FALSE(parse_pcp_answer(only_pcp));
}

TEST(PortControl, LeavesBrokenPcpAlone) {
  const Bytes good = write_pcp(PcpAnswer{0, 30, 7, PcpMap{}});
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(parse_pcp_answer(ByteView(good).first(size))) << size;
  Bytes long_one = good;
  long_one.resize(good.size() + 8);  // an option
  EXPECT_TRUE(parse_pcp_answer(long_one));
  long_one.resize(kPcpBytesMax + 4);
  EXPECT_FALSE(parse_pcp_answer(long_one));
}

}  // namespace
}  // namespace lanrage::wire
