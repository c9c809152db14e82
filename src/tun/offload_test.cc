#include "tun/offload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "tun/test_packets.h"
#include "wire/ip.h"

namespace lanrage::tun {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::SizeIs;

// What the coalescer gave, as one byte string per frame.
struct Merged {
  VnetHeader vnet;
  Bytes bytes;
  std::size_t packets = 0;
};

std::vector<Merged> merge(const std::vector<Bytes>& packets, CoalescerOptions options = {true, true, true}) {
  Coalescer coalescer(options);
  for (const Bytes& packet : packets) EXPECT_TRUE(coalescer.add(packet));
  std::vector<Merged> out;
  coalescer.flush([&](const Frame& frame) {
    Merged merged{frame.vnet, {}, frame.packets.size()};
    for (const ByteView piece : frame.pieces) append(merged.bytes, piece);
    out.push_back(std::move(merged));
  });
  EXPECT_TRUE(coalescer.empty());
  return out;
}

std::vector<Bytes> split(const VnetHeader& vnet, Bytes frame) {
  auto segmenter = Segmenter::start(vnet, frame);
  EXPECT_TRUE(segmenter);
  std::vector<Bytes> out;
  if (!segmenter) return out;
  const std::size_t count = segmenter->count();
  for (MutableBytes packet = segmenter->next(); !packet.empty(); packet = segmenter->next())
    out.push_back(to_bytes(packet));
  EXPECT_EQ(out.size(), count);
  return out;
}

std::vector<Bytes> split_by_copy(const VnetHeader& vnet, Bytes frame) {
  const Bytes before = frame;
  auto segmenter = Segmenter::start(vnet, frame);
  EXPECT_TRUE(segmenter);
  std::vector<Bytes> out;
  Bytes packet(segmenter->packet_size_max());
  while (const std::size_t size = segmenter->next_into(packet)) out.emplace_back(packet.begin(), packet.begin() + size);
  if (vnet.gso_type != VnetHeader::kGsoNone) {
    EXPECT_EQ(frame, before) << "the frame is left whole";
  }
  return out;
}

std::vector<std::size_t> packet_counts(const std::vector<Merged>& frames) {
  std::vector<std::size_t> counts;
  for (const Merged& frame : frames) counts.push_back(frame.packets);
  return counts;
}

class RoundTrip : public testing::TestWithParam<std::tuple<bool, bool>> {};
INSTANTIATE_TEST_SUITE_P(FamiliesAndProtocols, RoundTrip, testing::Combine(testing::Bool(), testing::Bool()));

TEST_P(RoundTrip, MergeThenSplitGivesTheSameBytes) {
  const auto [v6, tcp] = GetParam();
  SeededRng rng(11);
  for (int run = 0; run < 200; ++run) {
    PacketShape shape;
    shape.v6 = v6;
    shape.tcp = tcp;
    shape.options = tcp && rng.below(2) == 0;
    shape.sequence = rng.u32();
    shape.id = static_cast<std::uint16_t>(rng.u32());
    shape.traffic_class = static_cast<std::uint8_t>(rng.u32());
    const std::size_t size = 301 + rng.below(1100);
    const std::size_t count = 2 + rng.below(40);
    std::vector<Bytes> packets;
    for (std::size_t i = 0; i < count; ++i) {
      const bool last = i + 1 == count;
      if (last && tcp) shape.flags = wire::kTcpAck | wire::kTcpPsh;
      packets.push_back(make_packet(shape, rng, last ? 301 + rng.below(size - 300) : size));
      shape = shape.after(packets.back());
    }
    const auto frames = merge(packets);
    ASSERT_THAT(frames, SizeIs(1)) << run;
    EXPECT_EQ(frames[0].vnet.gso_size, size);
    EXPECT_THAT(split(frames[0].vnet, frames[0].bytes), ElementsAreArray(packets));
    EXPECT_THAT(split_by_copy(frames[0].vnet, frames[0].bytes), ElementsAreArray(packets));
  }
}

TEST(Segmenter, FinishesAPartialChecksum) {
  SeededRng rng(1);
  for (const std::size_t payload : {0u, 1u, 700u, 1301u}) {
    const Bytes whole = make_packet({.tcp = false}, rng, payload);
    const auto ip = wire::parse_ip(whole);
    Bytes partial = whole;
    const auto seed = wire::pseudo_header_sum(ip->source, ip->destination, wire::kProtocolUdp,
                                              static_cast<std::uint32_t>(ip->payload_size()));
    store_be(partial.data() + 26, seed);
    VnetHeader vnet;
    vnet.flags = VnetHeader::kNeedsChecksum;
    vnet.checksum_start = 20;
    vnet.checksum_offset = 6;
    EXPECT_THAT(split(vnet, partial), ElementsAre(whole));
  }
}

TEST(Segmenter, LeavesAPacketWithoutWorkAlone) {
  SeededRng rng(2);
  const Bytes packet = make_packet({}, rng, 100);
  EXPECT_THAT(split({}, packet), ElementsAre(packet));
  EXPECT_THAT(split_by_copy({}, packet), ElementsAre(packet));
}

TEST(Segmenter, PutsCwrOnTheFirstAndFinAndPushOnTheLast) {
  SeededRng rng(3);
  PacketShape shape;
  shape.flags = wire::kTcpAck | wire::kTcpPsh | wire::kTcpFin | wire::kTcpCwr | wire::kTcpEce;
  const Bytes frame = make_packet(shape, rng, 2500);
  VnetHeader vnet{VnetHeader::kNeedsChecksum, VnetHeader::kGsoTcp4 | VnetHeader::kGsoEcnBit, 0, 1000, 20, 16};
  const auto packets = split(vnet, frame);
  ASSERT_THAT(packets, SizeIs(3));
  std::vector<int> flags;
  for (const Bytes& packet : packets) {
    flags.push_back(wire::parse_tcp(ByteView{packet}.subspan(20))->flags);
    EXPECT_TRUE(wire::has_valid_checksum(packet, *wire::parse_ip(packet)));
  }
  EXPECT_THAT(flags, ElementsAre(wire::kTcpAck | wire::kTcpCwr | wire::kTcpEce, wire::kTcpAck | wire::kTcpEce,
                                 wire::kTcpAck | wire::kTcpEce | wire::kTcpPsh | wire::kTcpFin));
}

TEST(Segmenter, SurvivesChunksShorterThanTheHeader) {
  SeededRng rng(4);
  PacketShape shape;
  shape.options = true;
  const Bytes frame = make_packet(shape, rng, 100);
  VnetHeader vnet{VnetHeader::kNeedsChecksum, VnetHeader::kGsoTcp4, 0, 7, 20, 16};
  EXPECT_THAT(split(vnet, frame), ElementsAreArray(split_by_copy(vnet, frame)));
  Bytes payload;
  for (const Bytes& packet : split(vnet, frame)) append(payload, ByteView{packet}.subspan(52));
  EXPECT_THAT(payload, ElementsAreArray(ByteView{frame}.subspan(52)));
}

TEST(Segmenter, RefusesHeadersThatContradictTheFrame) {
  SeededRng rng(5);
  const Bytes tcp = make_packet({}, rng, 1000);
  const Bytes udp = make_packet({.tcp = false}, rng, 1000);
  const auto starts = [](VnetHeader vnet, Bytes frame) { return Segmenter::start(vnet, frame).has_value(); };
  EXPECT_TRUE(starts({1, VnetHeader::kGsoTcp4, 0, 500, 20, 16}, tcp));
  EXPECT_FALSE(starts({1, VnetHeader::kGsoTcp4, 0, 0, 20, 16}, tcp)) << "no segment size";
  EXPECT_FALSE(starts({1, VnetHeader::kGsoTcp6, 0, 500, 20, 16}, tcp)) << "the other family";
  EXPECT_FALSE(starts({1, VnetHeader::kGsoTcp4, 0, 500, 20, 16}, udp)) << "the other protocol";
  EXPECT_FALSE(starts({1, VnetHeader::kGsoUdp, 0, 500, 20, 6}, tcp));
  EXPECT_FALSE(starts({1, 3, 0, 500, 20, 6}, udp)) << "UFO is never asked for";
  EXPECT_FALSE(starts({1, 0, 0, 0, 2000, 16}, tcp)) << "a checksum outside";
  EXPECT_FALSE(starts({1, 0, 0, 0, 65535, 65535}, tcp));
  EXPECT_FALSE(starts({}, {}));
}

TEST(Coalescer, AFrameIsASuperframeTheSegmenterAccepts) {
  SeededRng rng(6);
  PacketShape shape;
  const Bytes a = make_packet(shape, rng, 1380);
  const Bytes b = make_packet(shape.after(a), rng, 1380);
  const auto frames = merge({a, b});
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_EQ(frames[0].vnet, (VnetHeader{1, VnetHeader::kGsoTcp4, 40, 1380, 20, 16}));
  EXPECT_EQ(wire::parse_ip(frames[0].bytes)->size, 40u + 2 * 1380);
  EXPECT_EQ(wire::ones_sum(ByteView{frames[0].bytes}.first(20)), 0xffff);
}

TEST(Coalescer, NeverMergesAcrossADifference) {
  SeededRng rng(7);
  const auto change = [&](bool v6, auto edit) {
    PacketShape shape;
    shape.v6 = v6;
    shape.options = true;
    const Bytes first = make_packet(shape, rng, 1000);
    PacketShape next = shape.after(first);
    edit(next);
    return packet_counts(merge({first, make_packet(next, rng, 1000)}));
  };
  EXPECT_THAT(change(false, [](PacketShape&) {}), ElementsAre(2));
  EXPECT_THAT(change(true, [](PacketShape&) {}), ElementsAre(2));
  const auto both = ElementsAre(1, 1);
  for (const bool v6 : {false, true}) {
    EXPECT_THAT(change(v6, [](PacketShape& s) { s.sequence += 1; }), both);
    EXPECT_THAT(change(v6, [](PacketShape& s) { s.sequence -= 1000; }), both) << "a repeat";
    EXPECT_THAT(change(v6, [](PacketShape& s) { s.acknowledgement += 1; }), both);
    EXPECT_THAT(change(v6, [](PacketShape& s) { s.window += 1; }), both);
    EXPECT_THAT(change(v6, [](PacketShape& s) { s.timestamp += 1; }), both);
    EXPECT_THAT(change(v6, [](PacketShape& s) { s.options = false; }), both);
    EXPECT_THAT(change(v6, [](PacketShape& s) { s.traffic_class ^= 3; }), both) << "ECN";
    EXPECT_THAT(change(v6, [](PacketShape& s) { s.hop_limit -= 1; }), both);
    EXPECT_THAT(change(v6, [](PacketShape& s) { s.source_port += 1; }), both);
    for (const std::uint8_t flag :
         {wire::kTcpSyn, wire::kTcpFin, wire::kTcpRst, wire::kTcpUrg, wire::kTcpCwr, wire::kTcpEce})
      EXPECT_THAT(change(v6, [&](PacketShape& s) { s.flags |= flag; }), both) << int{flag};
    EXPECT_THAT(change(v6, [](PacketShape& s) { s.flags = wire::kTcpPsh; }), both) << "no ACK";
  }
  EXPECT_THAT(change(false, [](PacketShape& s) { s.dont_fragment = false; }), both);
  EXPECT_THAT(change(true, [](PacketShape& s) { s.flow_label += 1; }), both);
}

TEST(Coalescer, Ipv4IdMustCountUpWhereItMeansSomething) {
  SeededRng rng(8);
  PacketShape shape;
  for (const bool dont_fragment : {false, true}) {
    shape.dont_fragment = dont_fragment;
    const Bytes a = make_packet(shape, rng, 500);
    PacketShape next = shape.after(a);
    EXPECT_THAT(merge({a, make_packet(next, rng, 500)}), SizeIs(1));
    next.id = static_cast<std::uint16_t>(next.id + 5);
    EXPECT_THAT(merge({a, make_packet(next, rng, 500)}), SizeIs(dont_fragment ? 1 : 2));
  }
}

TEST(Coalescer, APushAndAShorterPacketCloseTheirChain) {
  SeededRng rng(9);
  PacketShape shape;
  const Bytes a = make_packet(shape, rng, 1000);
  shape = shape.after(a);
  shape.flags |= wire::kTcpPsh;
  const Bytes pushed = make_packet(shape, rng, 1000);
  shape = shape.after(pushed);
  shape.flags = wire::kTcpAck;
  const Bytes c = make_packet(shape, rng, 1000);
  shape = shape.after(c);
  const Bytes shorter = make_packet(shape, rng, 999);
  const Bytes e = make_packet(shape.after(shorter), rng, 999);
  const auto frames = merge({a, pushed, c, shorter, e});
  EXPECT_THAT(packet_counts(frames), ElementsAre(2, 2, 1));
  EXPECT_THAT(split(frames[0].vnet, frames[0].bytes), ElementsAre(a, pushed));
}

TEST(Coalescer, PureAcknowledgementsDontOvertakeDataOfTheirFlow) {
  SeededRng rng(10);
  PacketShape shape;
  const Bytes a = make_packet(shape, rng, 1000);
  shape = shape.after(a);
  const Bytes ack = make_packet(shape, rng, 0);
  const Bytes b = make_packet(shape, rng, 1000);
  PacketShape other;
  other.source_port = 7777;
  const Bytes x = make_packet(other, rng, 1000);
  const Bytes y = make_packet(other.after(x), rng, 1000);
  const auto frames = merge({a, x, ack, y, b});
  ASSERT_THAT(packet_counts(frames), ElementsAre(1, 2, 1, 1));
  EXPECT_EQ(frames[0].bytes, a);
  EXPECT_EQ(frames[2].bytes, ack);
  EXPECT_EQ(frames[3].bytes, b);
}

TEST(Coalescer, KeepsSpoiltPacketsAloneAndTheirChecksumWrong) {
  SeededRng rng(11);
  PacketShape shape;
  const Bytes a = make_packet(shape, rng, 1000);
  Bytes b = make_packet(shape.after(a), rng, 1000);
  b[600] ^= 1;
  const auto frames = merge({a, b});
  ASSERT_THAT(frames, SizeIs(2));
  EXPECT_EQ(frames[1].bytes, b);
  EXPECT_EQ(frames[1].vnet, VnetHeader{});
  Bytes spoilt_header = make_packet(shape.after(a), rng, 1000);
  spoilt_header[10] ^= 1;
  EXPECT_THAT(merge({a, spoilt_header}), SizeIs(2));
  EXPECT_THAT(merge({a, b}, {true, true, false}), SizeIs(1)) << "unless told to trust";
}

TEST(Coalescer, LeavesSmallUnsummedAndGameDatagramsAlone) {
  SeededRng rng(12);
  PacketShape udp;
  udp.tcp = false;
  const Bytes small = make_packet(udp, rng, 300);
  EXPECT_THAT(merge({small, small, small}), SizeIs(3));
  const Bytes empty = make_packet(udp, rng, 0);
  EXPECT_THAT(merge({empty, empty}), SizeIs(2));
  const Bytes big = make_packet(udp, rng, 301);
  EXPECT_THAT(packet_counts(merge({big, small, big})), ElementsAre(1, 1, 1)) << "order within the flow";
  PacketShape second = udp.after(big);
  EXPECT_THAT(merge({big, make_packet(second, rng, 301)}), SizeIs(1));
  Bytes unsummed = big;
  unsummed[26] = unsummed[27] = 0;
  EXPECT_THAT(merge({unsummed, unsummed}), SizeIs(2));
  EXPECT_THAT(merge({big, make_packet(second, rng, 301)}, {true, false, true}), SizeIs(2)) << "UDP off";

  Coalescer coalescer({true, true, true});
  coalescer.add(big, false);
  coalescer.add(big, true);
  coalescer.add(big, false);
  std::size_t frames = 0;
  coalescer.flush([&](const Frame&) { ++frames; });
  EXPECT_EQ(frames, 3u);
}

TEST(Coalescer, StopsAtTheLimitsOfAFrame) {
  SeededRng rng(13);
  PacketShape tcp;
  PacketShape udp;
  udp.tcp = false;
  std::vector<Bytes> segments;
  std::vector<Bytes> datagrams;
  for (int i = 0; i < 100; ++i) {
    segments.push_back(make_packet(tcp, rng, 1380));
    tcp = tcp.after(segments.back());
    datagrams.push_back(make_packet(udp, rng, 400));
    udp = udp.after(datagrams.back());
  }
  EXPECT_THAT(packet_counts(merge(segments)), ElementsAre(47, 47, 6));
  EXPECT_THAT(packet_counts(merge(datagrams)), ElementsAre(63, 37));
}

TEST(Coalescer, SaysWhenItIsFullAndStartsOverAfterAFlush) {
  SeededRng rng(14);
  const Bytes packet = make_packet({.tcp = false}, rng, 20);
  Coalescer coalescer({true, true, true});
  for (std::size_t i = 0; i < Coalescer::kPacketsMax; ++i) ASSERT_TRUE(coalescer.add(packet));
  EXPECT_FALSE(coalescer.add(packet));
  std::size_t frames = 0;
  coalescer.flush([&](const Frame&) { ++frames; });
  EXPECT_EQ(frames, Coalescer::kPacketsMax);
  EXPECT_TRUE(coalescer.add(packet));
}

// Many flows shuffled together: every flow's bytes come out whole and in order, whatever was merged.
TEST(Coalescer, KeepsEveryFlowInOrder) {
  SeededRng rng(15);
  for (int run = 0; run < 100; ++run) {
    std::vector<PacketShape> flows(1 + rng.below(12));
    for (std::size_t i = 0; i < flows.size(); ++i) {
      flows[i].v6 = rng.below(2) == 0;
      flows[i].source_port = static_cast<std::uint16_t>(1000 + i);
    }
    std::vector<Bytes> packets;
    for (int i = 0; i < 200; ++i) {
      PacketShape& flow = flows[rng.below(flows.size())];
      flow.flags = wire::kTcpAck;
      if (rng.below(10) == 0) flow.flags |= wire::kTcpPsh;
      packets.push_back(make_packet(flow, rng, rng.below(8) == 0 ? rng.below(900) : 1000));
      flow = flow.after(packets.back());
    }
    std::vector<Bytes> again;
    for (const Merged& frame : merge(packets))
      for (Bytes& packet : split(frame.vnet, frame.bytes)) again.push_back(std::move(packet));
    const auto by_flow = [](const Bytes& a, const Bytes& b) {
      const auto port = [](const Bytes& p) { return load_be<std::uint16_t>(p.data() + (p[0] >> 4 == 6 ? 40 : 20)); };
      return port(a) < port(b);
    };
    std::ranges::stable_sort(packets, by_flow);
    std::ranges::stable_sort(again, by_flow);
    EXPECT_EQ(again, packets) << run;
  }
}

}  // namespace
}  // namespace lanrage::tun
