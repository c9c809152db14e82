#include "net/stream_bridge.h"

#include <gtest/gtest.h>

#include <thread>

#include "net/test_mailbox.h"
#include "net/udp_socket.h"

namespace lanrage::net {
namespace {

using namespace std::chrono_literals;

const Endpoint kLoopback{IpAddress::v4(127, 0, 0, 1), 0};

const TlsIdentity& identity() {
  static const TlsIdentity made = *TlsIdentity::generate();
  return made;
}

UdpSocket open_udp() {
  UdpOptions options;
  options.bind = kLoopback;
  return *UdpSocket::open(options);
}

struct Datagram {
  Endpoint source;
  Bytes bytes;
};

// The next datagram, waited for.
std::optional<Datagram> receive(UdpSocket& socket) {
  Bytes memory(65536);
  for (int i = 0; i < 30000; ++i) {
    ReceiveSlot slot;
    slot.buffer = memory;
    if (socket.receive(std::span(&slot, 1)) == 1) return Datagram{slot.source, to_bytes(slot.bytes())};
    std::this_thread::sleep_for(1ms);
  }
  return std::nullopt;
}

void send(UdpSocket& socket, const Endpoint& to, const Bytes& bytes) {
  ASSERT_EQ(socket.send(SendItem{.destination = to, .bytes = bytes}).sent, 1u);
}

// A relay's UDP port with a server's TLS before it, and a node's port.
struct StreamBridgeTest : testing::Test {
  UdpSocket relay = open_udp();
  UdpSocket node = open_udp();
  TestMailbox<Endpoint> opened;
  TestMailbox<Error> closed;
  std::shared_ptr<IoLoop> loop = IoLoop::start("test");
  std::unique_ptr<HttpServer> server;
  std::unique_ptr<StreamBridge> bridge;

  std::uint16_t serve(bool relays) {
    HttpServer::Handlers handlers;
    if (relays) handlers.stream_to = relay.local();
    server = HttpServer::create({.limits = {}, .tls = identity(), .loop = nullptr}, handlers, silent_logger());
    return server->listen(TcpListener{kLoopback, true})->port;
  }
  void connect(std::uint16_t port, const SpkiHash& pin) {
    bridge = StreamBridge::open({{{"127.0.0.1", port}}, pin}, node.local(), loop,
                                {.on_open = [this](const Endpoint& entrance) { opened.put(entrance); },
                                 .on_close = [this](const Error& why) { closed.put(why); }});
  }
};

TEST_F(StreamBridgeTest, CarriesDatagramsBothWays) {
  connect(serve(true), identity().spki_hash());
  const auto entrance = opened.take();
  ASSERT_TRUE(entrance);
  for (const std::size_t size : {1, 148, 1452, 1500}) {
    const Bytes question(size, 7);
    send(node, *entrance, question);
    const auto there = receive(relay);
    ASSERT_TRUE(there);
    EXPECT_EQ(there->bytes, question);
    const Bytes answer(size, 9);
    send(relay, there->source, answer);
    const auto here = receive(node);
    ASSERT_TRUE(here);
    EXPECT_EQ(here->source, *entrance);
    EXPECT_EQ(here->bytes, answer);
  }
  EXPECT_EQ(server->stats().streams_open, 1u);
}

TEST_F(StreamBridgeTest, TakesNothingFromAnotherPort) {
  connect(serve(true), identity().spki_hash());
  const auto entrance = opened.take();
  ASSERT_TRUE(entrance);
  UdpSocket stranger = open_udp();
  send(stranger, *entrance, Bytes(10, 1));
  send(node, *entrance, Bytes(10, 2));
  const auto there = receive(relay);
  ASSERT_TRUE(there);
  EXPECT_EQ(there->bytes, Bytes(10, 2));
}

TEST_F(StreamBridgeTest, EndsWhenTheServerGoes) {
  connect(serve(true), identity().spki_hash());
  ASSERT_TRUE(opened.take());
  server.reset();
  EXPECT_TRUE(closed.take());
}

TEST_F(StreamBridgeTest, AServerThatRelaysNothingRefuses) {
  connect(serve(false), identity().spki_hash());
  const auto why = closed.take();
  ASSERT_TRUE(why);
  EXPECT_EQ(server->stats().streams_open, 0u);
}

TEST_F(StreamBridgeTest, AnotherKeyThanThePinnedOneIsRefused) {
  connect(serve(true), SpkiHash{1});
  const auto why = closed.take();
  ASSERT_TRUE(why);
  EXPECT_EQ(why->code, Code::kRefused);
  EXPECT_EQ(server->stats().streams_open, 0u);
}

TEST_F(StreamBridgeTest, TheServersCountsAreRightAgainAfterwards) {
  connect(serve(true), identity().spki_hash());
  ASSERT_TRUE(opened.take());
  bridge.reset();
  for (int i = 0; i < 30000 && server->stats().connections_open != 0; ++i) std::this_thread::sleep_for(1ms);
  EXPECT_EQ(server->stats().streams_open, 0u);
  EXPECT_EQ(server->stats().connections_open, 0u);
}

}  // namespace
}  // namespace lanrage::net
