// Two data planes over loopback UDP, each with one end of a memory pair as its adapter; keys are made by hand.
#include "dataplane/data_plane.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>

#include "base/rng.h"
#include "crypto/random.h"
#include "net/clock.h"
#include "tun/memory_pair.h"
#include "tunnel/cookie.h"
#include "wire/wireguard.h"

namespace lanrage::dataplane {
namespace {

const IpAddress kA = IpAddress::v4(10, 66, 1, 1);
const IpAddress kB = IpAddress::v4(10, 66, 1, 2);

crypto::PublicKey key_of(std::uint8_t byte) {
  std::array<std::uint8_t, 32> bytes;
  bytes.fill(byte);
  return crypto::PublicKey(bytes);
}

bool readable(int fd, int timeout_ms = 2000) {
  pollfd one{fd, POLLIN, 0};
  return ::poll(&one, 1, timeout_ms) == 1;
}

struct Side {
  std::unique_ptr<tun::Adapter> adapter;  // the plane's
  std::unique_ptr<tun::Adapter> kernel;   // the far end: what the kernel would do
  std::optional<net::UdpPair> sockets;
  std::unique_ptr<DataPlane> plane;
  IpAddress own;
  node::Peer peer;
  std::shared_ptr<tunnel::ReceiveKey> receive;

  std::shared_ptr<node::Forwarding> snapshot() const {
    auto forwarding = std::make_shared<node::Forwarding>();
    forwarding->identity = key_of(own == kA ? 1 : 2);
    forwarding->lan = true;
    forwarding->own = {own};
    forwarding->peers = {peer};
    if (receive) forwarding->sessions = node::SessionTable({{receive, 0}});
    tunnel::AllowedIps<> routes;
    routes.insert(IpPrefix::host(own == kA ? kB : kA), 0);
    forwarding->routes = std::make_shared<tunnel::AllowedIps<>>(routes);
    return forwarding;
  }
  void publish(std::vector<ClearPacket> staged = {}) { plane->publish(snapshot(), std::move(staged)); }
  Endpoint endpoint() const { return {IpAddress::v4(127, 0, 0, 1), sockets->port()}; }

  bool write(ByteView packet, const tun::VnetHeader& vnet = {}) {
    return kernel->write(vnet, std::span(&packet, 1)) == tun::IoStatus::kOk;
  }
  // The next frame that the plane wrote, or nothing within two seconds.
  std::optional<Bytes> read(tun::VnetHeader* vnet = nullptr, int timeout_ms = 2000) {
    auto buffer = std::make_unique<tun::ReadBuffer>();
    if (!readable(kernel->fd(), timeout_ms) || kernel->read(std::span(buffer.get(), 1)).count == 0) return std::nullopt;
    if (vnet != nullptr) *vnet = buffer->vnet;
    return to_bytes(buffer->packet());
  }
};

struct DataPlaneTest : testing::Test {
  Logger log = silent_logger();
  Side a, b;

  void SetUp() override {
    a.own = kA;
    b.own = kB;
    for (Side* side : {&a, &b}) {
      auto pair = tun::make_memory_pair();
      ASSERT_TRUE(pair);
      side->adapter = std::move(pair->first);
      side->kernel = std::move(pair->second);
      auto sockets = net::UdpPair::open({});
      ASSERT_TRUE(sockets);
      side->sockets.emplace(std::move(*sockets));
    }
    connect(a, b, 1);
    connect(b, a, 2);
    for (Side* side : {&a, &b}) {
      auto plane = DataPlane::start({}, *side->adapter, *side->sockets, side->snapshot(), log);
      ASSERT_TRUE(plane);
      side->plane = std::move(*plane);
    }
  }

  // `from` seals what `to` opens.
  static void connect(Side& from, Side& to, std::uint8_t number) {
    const std::array<std::uint8_t, 32> key{number};
    const Time now = net::now().time;
    from.peer.key = key_of(to.own == kA ? 1 : 2);
    if (!from.peer.state) from.peer.state = std::make_shared<node::PeerState>();
    from.peer.send = std::make_shared<tunnel::SendKey>(crypto::AeadKey(key), number, 0, now);
    from.peer.paths[0] = {to.endpoint(), false};
    from.peer.path_count = 1;
    from.peer.lanrage = true;
    from.peer.path_mtu = 1420;
    to.receive = std::make_shared<tunnel::ReceiveKey>(crypto::AeadKey(key), number, now);
  }
  static Bytes udp(const IpAddress& from, const IpAddress& to, std::size_t payload, std::uint8_t fill = 7) {
    return wire::build_udp({from, 5000}, {to, 27015}, Bytes(payload, fill));
  }
  static Bytes handshake(std::uint8_t type, std::size_t size) {
    Bytes bytes(size);
    bytes[0] = type;
    return bytes;
  }
};

TEST_F(DataPlaneTest, GamePacketsTakeBothPathsAndArriveOnce) {
  auto elsewhere = net::UdpPair::open({});
  ASSERT_TRUE(elsewhere);
  a.peer.paths[1] = {{IpAddress::v4(127, 0, 0, 1), elsewhere->port()}, false};
  a.peer.path_count = 2;
  a.publish();
  const Bytes game = udp(kA, kB, 100), bulk = udp(kA, kB, 1000);
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(a.write(i % 2 == 0 ? game : bulk));
    EXPECT_EQ(b.read(), i % 2 == 0 ? game : bulk);
  }
  ASSERT_TRUE(readable(elsewhere->v4()->fd(), 2000));
  const node::PeerCounters::Copies copies = a.peer.state->counters.copies();
  EXPECT_EQ(copies.packets, 5u);
  EXPECT_EQ(a.peer.state->counters.read().sent_packets, 10u);
  EXPECT_GT(copies.bytes, 5 * game.size());
}

// A's packets leave by an extra socket, B's come back to it; once it is closed they are failures.
TEST_F(DataPlaneTest, APathThatNamesAnExtraSocketUsesIt) {
  constexpr std::uint16_t kNumber = 7;
  auto opened = net::UdpSocket::open({});
  ASSERT_TRUE(opened);
  auto sockets = std::make_shared<ExtraSockets>();
  sockets->emplace(kNumber, std::make_shared<net::UdpSocket>(std::move(*opened)));
  const Endpoint extra{IpAddress::v4(127, 0, 0, 1), sockets->at(kNumber)->local().port};
  a.peer.paths[0].socket = kNumber;
  a.plane->publish(a.snapshot(), {}, sockets);
  b.peer.paths[0] = {extra, false};
  b.publish();
  const Bytes question = udp(kA, kB, 100), answer = udp(kB, kA, 200);
  ASSERT_TRUE(a.write(question));
  EXPECT_EQ(b.read(), question);
  EXPECT_EQ(b.peer.state->counters.read().source, (Path{extra, false}));
  ASSERT_TRUE(b.write(answer));
  EXPECT_EQ(a.read(), answer);
  EXPECT_EQ(a.peer.state->counters.read().source, (Path{b.endpoint(), false, kNumber}));
  // A probe goes to control with the socket that it came to.
  Bytes probe(68);
  store_le(probe.data(), std::uint32_t{0x4C520001});
  b.sockets->send(net::SendItem{.destination = extra, .bytes = probe});
  ASSERT_TRUE(readable(a.plane->queues().messages.fd()));
  std::vector<ReceivedMessage> messages;
  a.plane->queues().messages.drain(messages);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].from, (Path{b.endpoint(), false, kNumber}));

  a.publish();
  const std::uint64_t before = a.plane->stats().tx.failed;
  ASSERT_TRUE(a.write(question));
  const Time end = net::now().time + std::chrono::seconds{20};
  while (a.plane->stats().tx.failed == before && net::now().time < end) std::this_thread::yield();
  EXPECT_GT(a.plane->stats().tx.failed, before);
}

TEST_F(DataPlaneTest, PacketsCrossBothWays) {
  for (int round = 0; round < 50; ++round) {
    const Bytes there = udp(kA, kB, static_cast<std::size_t>(round * 20));
    ASSERT_TRUE(a.write(there));
    EXPECT_EQ(b.read(), there);
    const Bytes back = udp(kB, kA, static_cast<std::size_t>(round));
    ASSERT_TRUE(b.write(back));
    EXPECT_EQ(a.read(), back);
  }
  const tunnel::Activity seen = a.peer.state->counters.read();
  EXPECT_EQ(seen.received_packets, 50u);
  EXPECT_EQ(seen.source, (Path{b.endpoint(), false}));
}

TEST_F(DataPlaneTest, SuperframeArrivesWholeAndInOrder) {
  SeededRng rng(1);
  constexpr std::size_t kPayload = 40000;
  Bytes frame(40 + kPayload);
  rng.fill(frame);
  const Bytes header = *from_hex("4500000000014000400600000a4201010a420102138869870000000100000002501001000000");
  std::copy(header.begin(), header.end(), frame.begin());
  std::fill(frame.begin() + 36, frame.begin() + 40, std::uint8_t{0});
  store_be(frame.data() + 2, static_cast<std::uint16_t>(frame.size()));
  wire::store_ipv4_header_sum(frame);
  store_be(frame.data() + 36,
           wire::pseudo_header_sum(kA, kB, wire::kProtocolTcp, static_cast<std::uint32_t>(frame.size() - 20)));
  const tun::VnetHeader vnet{tun::VnetHeader::kNeedsChecksum, tun::VnetHeader::kGsoTcp4, 40, 1380, 20, 16};
  ASSERT_TRUE(a.write(frame, vnet));
  Bytes payload;
  while (payload.size() < kPayload) {
    const auto got = b.read();
    ASSERT_TRUE(got) << payload.size();
    append(payload, ByteView(*got).subspan(40));
  }
  EXPECT_EQ(payload, Bytes(frame.begin() + 40, frame.end()));
  EXPECT_EQ(b.plane->stats().rx.refused_merges, 0u);
}

TEST_F(DataPlaneTest, OversizedPacketsAreCutOnTheWay) {
  a.peer.path_mtu = 1200;
  a.publish();
  for (int i = 0; i < 40; ++i) {
    const Bytes packet = udp(kA, kB, 1392, static_cast<std::uint8_t>(i));
    ASSERT_TRUE(a.write(packet));
    ASSERT_EQ(b.read(), packet);
  }
}

TEST_F(DataPlaneTest, PacketsWithoutSessionGoToControlAndStagedOnesComeFirst) {
  const auto key = a.peer.send;
  a.peer.send.reset();
  a.publish();
  for (std::uint8_t i = 0; i < 10; ++i) ASSERT_TRUE(a.write(udp(kA, kB, 10, i)));
  std::vector<ClearPacket> staged;
  std::vector<WaitingPacket> waiting;
  while (staged.size() < 10) {
    ASSERT_TRUE(readable(a.plane->queues().waiting.fd()));
    a.plane->queues().waiting.drain(waiting);
    for (WaitingPacket& packet : waiting) {
      EXPECT_EQ(packet.peer, a.peer.key);
      staged.push_back({packet.peer, 0, std::move(packet.packet)});
    }
  }
  a.peer.send = key;
  a.publish(std::move(staged));
  ASSERT_TRUE(a.write(udp(kA, kB, 10, 10)));
  for (std::uint8_t i = 0; i <= 10; ++i) EXPECT_EQ(b.read(), udp(kA, kB, 10, i));
}

TEST_F(DataPlaneTest, KeepaliveFromControlReachesThePeerAndWakesItsControl) {
  ASSERT_TRUE(a.plane->queues().clear.push({a.peer.key, 0, {}}));
  ASSERT_TRUE(readable(b.plane->queues().attention.fd()));
  EXPECT_EQ(b.peer.state->counters.read().received_packets, 1u);
  // For a slot that is somebody else's by now: nothing.
  ASSERT_TRUE(a.plane->queues().clear.push({key_of(9), 0, udp(kA, kB, 10)}));
  EXPECT_FALSE(b.read(nullptr, 50));
}

TEST_F(DataPlaneTest, GroupsAndFramesGoToControl) {
  const Bytes group = udp(kA, IpAddress::v4(255, 255, 255, 255), 20);
  ASSERT_TRUE(a.write(group));
  ASSERT_TRUE(readable(a.plane->queues().waiting.fd()));
  std::vector<WaitingPacket> waiting;
  a.plane->queues().waiting.drain(waiting);
  ASSERT_EQ(waiting.size(), 1u);
  EXPECT_TRUE(waiting[0].group);
  EXPECT_EQ(waiting[0].packet, group);

  const auto echo = wire::Echo{wire::Echo::Kind::kRequest, 1, 2, 3}.bytes();
  ASSERT_TRUE(a.plane->queues().clear.push({a.peer.key, 0, to_bytes(echo)}));
  ASSERT_TRUE(readable(b.plane->queues().frames.fd()));
  std::vector<ReceivedFrame> frames;
  b.plane->queues().frames.drain(frames);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].peer, b.peer.key);
  EXPECT_EQ(frames[0].frame, to_bytes(echo));
}

TEST_F(DataPlaneTest, OnlyHandshakesForUsReachControl) {
  const SeededRng seed(1);
  tunnel::CookieStamp stamp(key_of(2));
  Bytes good = handshake(1, wire::wireguard::kInitiationSize);
  stamp.stamp(Time{}, good);
  const Bytes bad = handshake(1, wire::wireguard::kInitiationSize);
  const Bytes stun = *from_hex("000100002112a442000102030405060708090a0b");
  for (const Bytes& datagram : {bad, Bytes(200, 0x77), good, stun})
    a.sockets->send(net::SendItem{.destination = b.endpoint(), .bytes = datagram});
  ASSERT_TRUE(readable(b.plane->queues().messages.fd()));
  std::vector<ReceivedHandshake> handshakes;
  b.plane->queues().handshakes.drain(handshakes);
  ASSERT_EQ(handshakes.size(), 1u);
  EXPECT_EQ(handshakes[0].datagram, good);
  EXPECT_EQ(handshakes[0].from.endpoint.port, a.sockets->port());
  std::vector<ReceivedMessage> messages;
  b.plane->queues().messages.drain(messages);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].protocol, wire::Protocol::kStun);
}

TEST_F(DataPlaneTest, FloodOfHandshakesIsAskedForCookiesAndTheQueueStaysBounded) {
  tunnel::CookieStamp stamp(key_of(2));
  Bytes good = handshake(1, wire::wireguard::kInitiationSize);
  stamp.stamp(Time{}, good);
  for (int i = 0; i < 3000; ++i) a.sockets->send(net::SendItem{.destination = b.endpoint(), .bytes = good});
  // The cookies come back to a's port as handshake messages.
  ASSERT_TRUE(readable(a.plane->queues().handshakes.fd()));
  std::vector<ReceivedHandshake> replies;
  a.plane->queues().handshakes.drain(replies);
  ASSERT_FALSE(replies.empty());
  EXPECT_EQ(wire::wireguard::parse_type(replies[0].datagram), wire::wireguard::Type::kCookieReply);
  EXPECT_LT(b.plane->queues().handshakes.size(), 400u);
}

// They carry no MAC that RX could check, so each source's share is limited.
TEST_F(DataPlaneTest, FloodOfCookieRepliesKeepsNoHandshakeOut) {
  for (std::size_t i = 0; i < 2 * QueueSizes::kHandshakes; ++i)
    a.sockets->send(
        net::SendItem{.destination = b.endpoint(), .bytes = handshake(3, wire::wireguard::kCookieReplySize)});
  tunnel::CookieStamp stamp(key_of(2));
  Bytes good = handshake(1, wire::wireguard::kInitiationSize);
  stamp.stamp(Time{}, good);
  a.sockets->send(net::SendItem{.destination = b.endpoint(), .bytes = good});
  std::vector<ReceivedHandshake> handshakes;
  for (int i = 0; i < 2000 && b.plane->stats().rx.datagrams <= 2 * QueueSizes::kHandshakes; ++i) ::poll(nullptr, 0, 1);
  b.plane->queues().handshakes.drain(handshakes);
  EXPECT_LE(handshakes.size(), tunnel::LoadDetector::kQueuedMax);
  ASSERT_FALSE(handshakes.empty());
  EXPECT_EQ(handshakes.back().datagram, good);
}

TEST_F(DataPlaneTest, KeysAreGoneOnceASnapshotWithoutThemIsPublished) {
  const std::weak_ptr<tunnel::SendKey> send = a.peer.send;
  const std::weak_ptr<tunnel::ReceiveKey> receive = a.receive;
  a.peer.send.reset();
  a.receive.reset();
  a.publish();
  for (int i = 0; i < 2000 && !(send.expired() && receive.expired()); ++i) ::poll(nullptr, 0, 1);
  EXPECT_TRUE(send.expired());
  EXPECT_TRUE(receive.expired());
}

}  // namespace
}  // namespace lanrage::dataplane
