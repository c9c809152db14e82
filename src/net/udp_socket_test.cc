#include "net/udp_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "base/rng.h"

namespace lanrage::net {
namespace {

using testing::ElementsAreArray;
using testing::SizeIs;

const IpAddress kLoopback4 = IpAddress::v4(127, 0, 0, 1);
const IpAddress kLoopback6 = *IpAddress::parse("::1");

UdpSocket open_at(const IpAddress& address, bool offloads = true) {
  UdpOptions options;
  options.bind = {address, 0};
  options.segmentation = options.coalescing = offloads;
  auto socket = UdpSocket::open(options);
  LR_CHECK(socket);
  return std::move(*socket);
}

struct Datagram {
  Bytes bytes;
  Endpoint source;
  IpAddress destination;
  std::uint8_t tos;
};

// Everything that comes until `count` datagrams are here or a second has passed without one.
std::vector<Datagram> receive_all(UdpSocket& socket, std::size_t count) {
  std::vector<Bytes> buffers(4, Bytes(65536));
  std::vector<ReceiveSlot> slots(4);
  std::vector<Datagram> got;
  while (got.size() < count) {
    pollfd ready{socket.fd(), POLLIN, 0};
    if (::poll(&ready, 1, 1000) != 1) break;
    for (std::size_t i = 0; i < slots.size(); ++i) slots[i].buffer = buffers[i];
    const std::size_t filled = socket.receive(slots);
    for (const ReceiveSlot& slot : std::span(slots).first(filled))
      for_each_datagram(slot, [&](MutableBytes bytes) {
        got.push_back({to_bytes(bytes), slot.source, slot.destination, slot.tos});
      });
  }
  return got;
}

Bytes random_bytes(std::size_t size) {
  SeededRng rng(size);
  Bytes bytes(size);
  rng.fill(bytes);
  return bytes;
}

std::vector<Bytes> cut(ByteView bytes, std::size_t step) {
  std::vector<Bytes> parts;
  for (; !bytes.empty(); bytes = bytes.subspan(std::min(step, bytes.size())))
    parts.push_back(to_bytes(bytes.first(std::min(step, bytes.size()))));
  return parts;
}

std::vector<Bytes> payloads(const std::vector<Datagram>& datagrams) {
  std::vector<Bytes> out;
  for (const Datagram& d : datagrams) out.push_back(d.bytes);
  return out;
}

class UdpSocketTest : public testing::TestWithParam<std::tuple<IpAddress, bool, bool>> {
 protected:
  IpAddress address_ = std::get<0>(GetParam());
  UdpSocket sender_ = open_at(address_, std::get<1>(GetParam()));
  UdpSocket receiver_ = open_at(address_, std::get<2>(GetParam()));
};

INSTANTIATE_TEST_SUITE_P(FamiliesAndOffloads, UdpSocketTest,
                         testing::Combine(testing::Values(kLoopback4, kLoopback6), testing::Bool(), testing::Bool()));

TEST_P(UdpSocketTest, CarriesSegmentsInOrderWithOrWithoutOffloads) {
  const Bytes slab = random_bytes(44 * 1452 - 700);
  const SendReport report = sender_.send({receiver_.local(), slab, 1452, 0x02, {}});
  EXPECT_EQ(report.sent, 44u);
  EXPECT_EQ(report.last_errno, 0);
  const auto got = receive_all(receiver_, 44);
  EXPECT_THAT(payloads(got), ElementsAreArray(cut(slab, 1452)));
  for (const Datagram& d : got) {
    EXPECT_EQ(d.source, sender_.local());
    EXPECT_EQ(d.destination, address_);
    EXPECT_EQ(d.tos, 0x02);
  }
}

TEST_P(UdpSocketTest, SendsAMixedBatchInOrder) {
  const Bytes a = random_bytes(100);
  const Bytes b = random_bytes(3000);
  const Bytes c = random_bytes(1);
  std::vector<SendItem> items{{receiver_.local(), a}, {receiver_.local(), b, 1000}, {receiver_.local(), c}};
  while (items.size() < 150) items.push_back({receiver_.local(), c});
  EXPECT_EQ(sender_.send(items).sent, 152u);
  const auto got = payloads(receive_all(receiver_, 152));
  ASSERT_THAT(got, SizeIs(152));
  EXPECT_EQ(got[0], a);
  EXPECT_EQ(got[3], Bytes(b.begin() + 2000, b.end()));
  EXPECT_EQ(got[151], c);
}

TEST_P(UdpSocketTest, CarriesAnEmptyDatagram) {
  EXPECT_EQ(sender_.send({receiver_.local(), {}}).sent, 1u);
  EXPECT_THAT(payloads(receive_all(receiver_, 1)), testing::ElementsAre(Bytes{}));
}

TEST_P(UdpSocketTest, CountsATooBigDatagramAndGoesOn) {
  const Bytes huge(70000);
  const Bytes small = random_bytes(10);
  const std::vector<SendItem> items{{receiver_.local(), huge}, {receiver_.local(), small}};
  const SendReport report = sender_.send(items);
  EXPECT_EQ(report.sent, 1u);
  EXPECT_EQ(report.too_big, 1u);
  EXPECT_EQ(report.last_errno, EMSGSIZE);
  EXPECT_THAT(payloads(receive_all(receiver_, 1)), testing::ElementsAre(small));
}

TEST_P(UdpSocketTest, CutsMoreSegmentsThanTheKernelTakesByItself) {
  const Bytes slab = random_bytes(200 * 64);
  EXPECT_EQ(sender_.send({receiver_.local(), slab, 64}).sent, 200u);
  EXPECT_THAT(payloads(receive_all(receiver_, 200)), ElementsAreArray(cut(slab, 64)));
}

TEST_P(UdpSocketTest, ADeadPortNeverStopsTheOthers) {
  const Endpoint dead = open_at(address_).local();  // closed at once
  const Bytes x = random_bytes(5);
  for (int i = 0; i < 5; ++i) {
    const std::vector<SendItem> items{{dead, x}, {receiver_.local(), x}};
    EXPECT_EQ(sender_.send(items).sent, 2u);
    EXPECT_EQ(receive_all(receiver_, 1).size(), 1u);
    std::vector<ReceiveSlot> slot(1);
    Bytes buffer(100);
    slot[0].buffer = buffer;
    EXPECT_EQ(sender_.receive(slot), 0u);
  }
}

TEST(UdpSocket, KeepsToTheSegmentLimits) {
  const UdpSocket socket = open_at(kLoopback4);
  ASSERT_TRUE(socket.segments()) << "every kernel since 4.18 has UDP_SEGMENT";
  EXPECT_EQ(socket.segments_max(1452), 44u);
  EXPECT_GE(socket.segments_max(100), 63u);
  EXPECT_EQ(open_at(kLoopback4, false).segments_max(1452), 1u);
}

TEST(UdpSocket, CountsTheOtherFamilyAsFailed) {
  UdpSocket socket = open_at(kLoopback4);
  const Bytes x{1};
  const SendReport report = socket.send({{kLoopback6, 9}, x});
  EXPECT_EQ(report.failed, 1u);
  EXPECT_EQ(report.last_errno, EAFNOSUPPORT);
}

TEST(UdpSocket, MarksADatagramThatDoesNotFitItsBuffer) {
  UdpSocket sender = open_at(kLoopback4);
  UdpSocket receiver = open_at(kLoopback4, false);
  const Bytes sent = random_bytes(100);
  ASSERT_EQ(sender.send({receiver.local(), sent}).sent, 1u);
  Bytes buffer(40);
  std::vector<ReceiveSlot> slots(1);
  slots[0].buffer = buffer;
  pollfd ready{receiver.fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&ready, 1, 1000), 1);
  ASSERT_EQ(receiver.receive(slots), 1u);
  EXPECT_TRUE(slots[0].truncated);
}

TEST(UdpSocket, SendsFromTheAddressAskedFor) {
  UdpOptions options;  // bound to all addresses
  UdpSocket sender = std::move(*UdpSocket::open(options));
  UdpSocket receiver = open_at(kLoopback4);
  const Bytes x{1};
  ASSERT_EQ(sender.send({receiver.local(), x, 0, 0, IpAddress::v4(127, 0, 0, 77)}).sent, 1u);
  const auto got = receive_all(receiver, 1);
  ASSERT_THAT(got, SizeIs(1));
  EXPECT_EQ(got[0].source.address, IpAddress::v4(127, 0, 0, 77));
}

TEST(UdpSocket, TellsThatAPortIsTaken) {
  const UdpSocket first = open_at(kLoopback4);
  UdpOptions options;
  options.bind = first.local();
  const auto second = UdpSocket::open(options);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
  EXPECT_FALSE(second.error().hint.empty());
}

TEST(UdpPair, HasOnePortInBothFamilies) {
  auto pair = UdpPair::open({});
  ASSERT_TRUE(pair);
  ASSERT_NE(pair->v4(), nullptr);
  ASSERT_NE(pair->v6(), nullptr);
  EXPECT_EQ(pair->v4()->local().port, pair->v6()->local().port);
  UdpSocket to4 = open_at(kLoopback4);
  UdpSocket to6 = open_at(kLoopback6);
  const Bytes x{7};
  const std::vector<SendItem> items{{to4.local(), x}, {to6.local(), x}, {to4.local(), x}};
  EXPECT_EQ(pair->send(items).sent, 3u);
  EXPECT_THAT(receive_all(to4, 2), SizeIs(2));
  const auto got = receive_all(to6, 1);
  ASSERT_THAT(got, SizeIs(1));
  EXPECT_EQ(got[0].source.port, pair->port());
}

}  // namespace
}  // namespace lanrage::net
