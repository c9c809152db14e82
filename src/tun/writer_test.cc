#include "tun/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "tun/memory_pair.h"
#include "tun/test_packets.h"

namespace lanrage::tun {
namespace {

using testing::ElementsAreArray;
using testing::SizeIs;

struct Pair {
  explicit Pair(const MemoryPairOptions& options = {}) {
    auto made = make_memory_pair(options);
    LR_CHECK(made);
    near = std::move(made->first);
    far = std::move(made->second);
  }
  std::unique_ptr<Adapter> near;
  std::unique_ptr<Adapter> far;
};

std::vector<Bytes> flow_of(std::size_t count) {
  SeededRng rng(count);
  PacketShape shape;
  std::vector<Bytes> packets;
  for (std::size_t i = 0; i < count; ++i) {
    packets.push_back(make_packet(shape, rng, 1000));
    shape = shape.after(packets.back());
  }
  return packets;
}

// The packets that wait on the far side, superframes cut.
std::vector<Bytes> packets_at(Adapter& adapter, std::size_t* frames = nullptr) {
  std::vector<Bytes> out;
  std::vector<ReadBuffer> buffers(2);
  for (;;) {
    const ReadResult got = adapter.read(buffers);
    for (ReadBuffer& buffer : std::span(buffers).first(got.count)) {
      auto segmenter = Segmenter::start(buffer.vnet, buffer.packet());
      LR_CHECK(segmenter);
      while (segmenter->left() > 0) out.push_back(to_bytes(segmenter->next()));
      if (frames != nullptr) ++*frames;
    }
    if (got.status == IoStatus::kEmpty) return out;
  }
}

bool is_readable(int fd) {
  pollfd ready{fd, POLLIN, 0};
  return ::poll(&ready, 1, 0) == 1;
}

TEST(Writer, WritesAFlowAsOneFrame) {
  Pair pair;
  Writer writer(*pair.near, {});
  const auto packets = flow_of(20);
  for (const Bytes& packet : packets) writer.add(packet);
  EXPECT_FALSE(is_readable(pair.far->fd())) << "nothing before the flush";
  EXPECT_EQ(writer.flush(), IoStatus::kOk);
  EXPECT_TRUE(is_readable(pair.far->fd()));
  std::size_t frames = 0;
  EXPECT_THAT(packets_at(*pair.far, &frames), ElementsAreArray(packets));
  EXPECT_EQ(frames, 1u);
  EXPECT_FALSE(is_readable(pair.far->fd()));
}

TEST(Writer, GivesAKernelThatRefusesItsPacketsSinglyAndStopsMerging) {
  Pair pair({.refuse_merged = true});
  Writer writer(*pair.near, {});
  const auto packets = flow_of(5);
  for (int round = 0; round < 2; ++round) {
    for (const Bytes& packet : packets) writer.add(packet);
    EXPECT_EQ(writer.flush(), IoStatus::kOk);
    EXPECT_THAT(packets_at(*pair.far), ElementsAreArray(packets)) << round;
    EXPECT_EQ(writer.stats().refused, 1u) << "asked once only";
  }
  EXPECT_FALSE(writer.coalescer().options().tcp);
}

TEST(Writer, DoesNotMergeForAnAdapterWithoutOffloads) {
  Pair pair({.tcp_offload = false, .udp_offload = false});
  Writer writer(*pair.near, {true, true, true});
  const auto packets = flow_of(5);
  for (const Bytes& packet : packets) writer.add(packet);
  writer.flush();
  EXPECT_EQ(writer.stats().frames, 5u);
}

TEST(Writer, FlushesByItselfWhenFullAndKeepsTheOrder) {
  Pair pair;
  Writer writer(*pair.near, {});
  const auto packets = flow_of(Coalescer::kPacketsMax + 10);
  for (const Bytes& packet : packets) writer.add(packet);
  writer.flush();
  EXPECT_THAT(packets_at(*pair.far), ElementsAreArray(packets));
}

TEST(Writer, CountsWhatDoesNotFit) {
  Pair pair;
  Writer writer(*pair.near, {false, false, false});
  const auto packets = flow_of(3);
  for (std::size_t i = 0; i < kMemoryPairFramesMax + 2; ++i) writer.add(packets[0]);
  EXPECT_EQ(writer.flush(), IoStatus::kFull);
  EXPECT_EQ(writer.stats().dropped, 2u);
  EXPECT_THAT(packets_at(*pair.far), SizeIs(kMemoryPairFramesMax));
  EXPECT_EQ(writer.flush(), IoStatus::kOk);
}

TEST(MemoryPair, CarriesBothWaysAndKeepsTheHeader) {
  Pair pair;
  const auto packets = flow_of(2);
  const ByteView pieces[] = {ByteView{packets[0]}.first(30), ByteView{packets[0]}.subspan(30)};
  const VnetHeader vnet{1, 0, 0, 0, 20, 16};
  EXPECT_EQ(pair.far->write(vnet, pieces), IoStatus::kOk);
  std::vector<ReadBuffer> buffers(1);
  EXPECT_EQ(pair.far->read(buffers).count, 0u);
  const ReadResult got = pair.near->read(buffers);
  ASSERT_EQ(got.count, 1u);
  EXPECT_EQ(got.status, IoStatus::kOk);
  EXPECT_EQ(buffers[0].vnet, vnet);
  EXPECT_THAT(buffers[0].packet(), ElementsAreArray(packets[0]));
}

}  // namespace
}  // namespace lanrage::tun
