#include "lan/mdns_rewriter.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace lanrage::lan {
namespace {

const IpAddress kLocal = IpAddress::v4(192, 168, 9, 1);
const IpAddress kParty = IpAddress::v4(10, 66, 1, 2);
const IpAddress kLocal6 = *IpAddress::parse("fe80::1");
const IpAddress kParty6 = *IpAddress::parse("fd00::2");

bool is_local(const IpAddress& address) { return address == kLocal || address == kLocal6; }

void record(ByteWriter& out, std::uint16_t type, ByteView data) {
  out.u8(4).bytes(as_bytes("game")).u16_be(0xc00c);  // a label, then a pointer
  out.u16_be(type).u16_be(0x8001).u32_be(120).sized_u16(data);
}

// A response with one question, an A of ours, an SRV, an AAAA of ours and an A of somebody else.
Bytes response() {
  ByteWriter out;
  out.u16_be(0).u16_be(0x8400).u16_be(1).u16_be(2).u16_be(1).u16_be(1);
  out.u8(5).bytes(as_bytes("local")).u8(0).u16_be(1).u16_be(1);
  record(out, 1, kLocal.bytes());
  record(out, 33, as_bytes("\x01\x02\x03\x04\x05\x06"));
  record(out, 28, kLocal6.bytes());
  record(out, 1, IpAddress::v4(8, 8, 8, 8).bytes());
  return out.take();
}

std::size_t count_of(const Bytes& message, const IpAddress& address) {
  return as_text(message).find(as_text(address.bytes())) != std::string_view::npos ? 1 : 0;
}

TEST(MdnsRewriter, PutsOurPartyAddressWhereLocalOnesStood) {
  Bytes message = response();
  const std::size_t size = message.size();
  EXPECT_EQ(rewrite_mdns(message, is_local, kParty, kParty6), 2u);
  EXPECT_EQ(message.size(), size);
  EXPECT_EQ(count_of(message, kParty) + count_of(message, kParty6), 2u);
  EXPECT_EQ(count_of(message, kLocal) + count_of(message, kLocal6), 0u);
  EXPECT_EQ(count_of(message, IpAddress::v4(8, 8, 8, 8)), 1u) << "another's address stays";
}

TEST(MdnsRewriter, LeavesIpv6RecordsWithoutAPartyAddressForThem) {
  Bytes message = response();
  EXPECT_EQ(rewrite_mdns(message, is_local, kParty, std::nullopt), 1u);
  EXPECT_EQ(count_of(message, kLocal6), 1u);
}

TEST(MdnsRewriter, SurvivesEveryTruncationAndAnyBytes) {
  const Bytes whole = response();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_LE(rewrite_mdns(part, is_local, kParty, kParty6), 2u);
    EXPECT_EQ(part.size(), size);
  }
  SeededRng rng(5);
  for (int round = 0; round < 20'000; ++round) {
    Bytes message = response();
    for (int flips = 0; flips < 4; ++flips) message[rng.below(message.size())] = static_cast<std::uint8_t>(rng.u32());
    rewrite_mdns(message, is_local, kParty, kParty6);
  }
}

}  // namespace
}  // namespace lanrage::lan
