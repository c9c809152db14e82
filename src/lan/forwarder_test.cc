#include "lan/forwarder.h"

#include <gtest/gtest.h>

#include <memory>

#include "base/rng.h"
#include "lan/fixed_tables.h"
#include "lan/rules.h"

namespace lanrage::lan {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kLo = 1;
constexpr int kEth0 = 2;
constexpr int kWlan0 = 3;
constexpr int kPort = 4;
constexpr int kAdapter = 7;
const IpAddress kLimited = IpAddress::v4(255, 255, 255, 255);
const IpAddress kPartyBroadcast = IpAddress::v4(10, 66, 1, 255);
const IpAddress kGroup = IpAddress::v4(224, 0, 2, 60);

IpAddress ip(const char* text) { return *IpAddress::parse(text); }

// One machine in a party: node n has 10.66.1.n, and 192.168.n.1 and 172.16.n.1 on its other cards.
struct Node {
  explicit Node(std::uint8_t n, const ForwarderOptions& options = {})
      : number(n), rng(n), forwarder(options, self(n), tables, rng, silent_logger()) {
    HostView view;
    view.interfaces = {{kLo, "lo", {{IpAddress::v4(127, 0, 0, 1), 8}}, true, false},
                       {kEth0, "eth0", {{eth0(), 24}, {eth0_v6(), 64}}, false, true},
                       {kWlan0, "wlan0", {{wlan0(), 24}}, false, true},
                       {kPort, "port0", {}, false, true},
                       {kAdapter, "lanrage0", {{party(), 24}, {party_v6(), 64}}, false, true}};
    tables.set(view);
  }
  static Self self(std::uint8_t n) {
    const std::array<std::uint8_t, 1> key{n};
    return {origin_of(key), kAdapter, {IpAddress::v4(10, 66, 1, n), 24}, IpPrefix{v6(n), 64}};
  }
  static IpAddress v6(std::uint8_t n) { return ip(("fd00:66::" + std::to_string(n)).c_str()); }

  IpAddress party() const { return IpAddress::v4(10, 66, 1, number); }
  IpAddress party_v6() const { return v6(number); }
  IpAddress eth0() const { return IpAddress::v4(192, 168, number, 1); }
  IpAddress eth0_v6() const { return ip(("fe80::" + std::to_string(number)).c_str()); }
  IpAddress wlan0() const { return IpAddress::v4(172, 16, number, 1); }

  void listen(const IpAddress& address, std::uint16_t port, std::uint32_t uid = 1000) {
    LocalSocket socket;
    socket.v6 = address.is_v6();
    socket.bound = address;
    socket.port = port;
    socket.uid = uid;
    socket.multicast_all = true;
    tables.actual().sockets.push_back(socket);
  }
  std::vector<Bytes> sent() {
    std::vector<Bytes> out;
    while (auto frame = forwarder.poll_transmit()) out.push_back(std::move(*frame));
    return out;
  }
  std::vector<Delivery> deliveries() {
    std::vector<Delivery> out;
    while (auto delivery = forwarder.poll_delivery()) out.push_back(std::move(*delivery));
    return out;
  }
  void receive(Time now, const Node& from, ByteView frame) {
    const std::array<IpPrefix, 2> addresses{IpPrefix::host(from.party()), IpPrefix::host(from.party_v6())};
    forwarder.handle_envelope(now, {self(from.number).origin, addresses}, frame);
  }
  std::uint64_t dropped(Drop reason) const { return forwarder.status().dropped[static_cast<std::size_t>(reason)]; }

  std::uint8_t number;
  FixedTables tables;
  SeededRng rng;
  Forwarder forwarder;
};

wire::UdpPacket inside(const Bytes& frame) {
  const auto envelope = wire::LanEnvelope::parse(frame);
  EXPECT_TRUE(envelope);
  const auto udp = wire::parse_udp_packet(envelope->packet);
  EXPECT_TRUE(udp && wire::has_valid_checksum(envelope->packet, udp->ip));
  return *udp;
}

constexpr Time at(double s) { return Time{Duration{static_cast<std::int64_t>(s * 1e9)}}; }

// --- Taking up -------------------------------------------------------------------------------------------------------

TEST(Forwarder, TakesUpALimitedBroadcastThatLeftByAnotherCard) {
  Node node(1);
  const Bytes packet = wire::build_udp({node.eth0(), 40'000}, {kLimited, 27960}, as_bytes("getinfo"));
  node.forwarder.handle_captured_packet(at(1), kEth0, packet);
  const auto sent = node.sent();
  ASSERT_EQ(sent.size(), 1u);
  const auto udp = inside(sent[0]);
  EXPECT_EQ(udp.source, (Endpoint{node.party(), 40'000})) << "our party address, the program's port";
  EXPECT_EQ(udp.destination, (Endpoint{kLimited, 27960}));
  EXPECT_EQ(as_text(udp.payload), "getinfo");
  EXPECT_TRUE(node.deliveries().empty()) << "never back to where it came from";
}

TEST(Forwarder, FinishesTheChecksumThatTheCardWouldHave) {
  Node node(1);
  Bytes packet = wire::build_udp({node.eth0(), 40'000}, {kLimited, 27960}, as_bytes("getinfo"));
  const auto header = *wire::parse_ip(packet);
  store_be(packet.data() + header.payload_offset + 6,
           wire::pseudo_header_sum(header.source, header.destination, wire::kProtocolUdp,
                                   static_cast<std::uint32_t>(header.payload_size())));
  node.forwarder.handle_captured_packet(at(1), kEth0, packet);
  const auto sent = node.sent();
  ASSERT_EQ(sent.size(), 1u);
  inside(sent[0]);  // checks the sum
}

TEST(Forwarder, MakesAnotherCardsSubnetBroadcastTheParties) {
  Node node(1);
  for (const IpAddress& destination : {node.eth0(), node.wlan0()}) {
    const IpAddress broadcast = IpPrefix{destination, 24}.broadcast();
    node.forwarder.handle_captured_packet(at(1), kEth0,
                                          wire::build_udp({node.eth0(), 8303}, {broadcast, 8303}, destination.bytes()));
  }
  const auto sent = node.sent();
  ASSERT_EQ(sent.size(), 2u);
  for (const Bytes& frame : sent) EXPECT_EQ(inside(frame).destination.address, kPartyBroadcast);
}

TEST(Forwarder, UnderstandsGuessesWithAWiderMask) {
  Node node(1);
  for (const char* guess : {"10.255.255.255", "10.66.255.255"})
    node.forwarder.handle_captured_packet(at(1), kEth0,
                                          wire::build_udp({node.eth0(), 8303}, {ip(guess), 8303}, as_bytes(guess)));
  const auto sent = node.sent();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(inside(sent[0]).destination.address, kPartyBroadcast);
}

TEST(Forwarder, KeepsTheHopLimitOfOne) {
  Node node(1);
  node.forwarder.handle_captured_packet(at(1), kEth0,
                                        wire::build_udp({node.eth0(), 4445}, {kGroup, 4445}, as_bytes("[MOTD]"), 1));
  const auto sent = node.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(inside(sent[0]).ip.hop_limit, 1);
}

TEST(Forwarder, TakesUpIpv6GroupsByLinkLocalSource) {
  Node node(1);
  for (const char* group : {"ff02::1", "ff02::fb", "ff05::1234"})
    node.forwarder.handle_captured_packet(
        at(1), kEth0, wire::build_udp({node.eth0_v6(), 5000}, {ip(group), 6000}, as_bytes("hello"), 1));
  const auto sent = node.sent();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(inside(sent[0]).source, (Endpoint{node.party_v6(), 5000}));
}

TEST(Forwarder, TakesUpWhatWasSentIntoTheAdapter) {
  Node node(1);
  for (const IpAddress& destination : {kPartyBroadcast, kGroup, kLimited})
    node.forwarder.handle_adapter_packet(at(1),
                                         wire::build_udp({node.party(), 5000}, {destination, 6000}, as_bytes("a")));
  // A program bound to eth0's address that sends to the party's broadcast leaves by the adapter with that source.
  node.forwarder.handle_adapter_packet(at(1),
                                       wire::build_udp({node.eth0(), 5001}, {kPartyBroadcast, 6000}, as_bytes("b")));
  const auto sent = node.sent();
  ASSERT_EQ(sent.size(), 4u);
  for (const Bytes& frame : sent) EXPECT_EQ(inside(frame).source.address, node.party());
}

TEST(Forwarder, LeavesEverythingElseAlone) {
  Node node(1);
  const auto captured = [&](const Bytes& packet, int interface = kEth0) {
    node.forwarder.handle_captured_packet(at(1), interface, packet);
  };
  captured(wire::build_udp({node.eth0(), 5000}, {ip("192.168.1.7"), 6000}, as_bytes("a")));
  EXPECT_EQ(node.dropped(Drop::kNotLan), 1u);
  captured(wire::build_udp({ip("192.168.1.77"), 5000}, {kLimited, 6000}, as_bytes("a")));
  EXPECT_EQ(node.dropped(Drop::kForeignSource), 1u);
  captured(wire::build_udp({node.eth0(), 5000}, {kLimited, 6000}, as_bytes("a")), kPort);
  EXPECT_EQ(node.dropped(Drop::kOtherInterface), 1u) << "a bridge and its port show the same packet twice";
  Bytes igmp = wire::build_udp({node.eth0(), 5000}, {kGroup, 6000}, as_bytes("a"));
  igmp[9] = wire::kProtocolIgmp;
  captured(igmp);
  EXPECT_EQ(node.dropped(Drop::kNotUdp), 1u);
  captured(Bytes{0x45, 0});
  EXPECT_EQ(node.dropped(Drop::kMalformed), 1u);
  Bytes fragment = wire::build_udp({node.eth0(), 5000}, {kLimited, 6000}, as_bytes("a"));
  fragment[6] = 0x20;
  captured(fragment);
  EXPECT_EQ(node.dropped(Drop::kFragment), 1u) << "no part but the last has nine bytes";
  EXPECT_TRUE(node.sent().empty());
}

TEST(Forwarder, TakesUpWhatLeavesOnOneCardFromTheAddressOfAnother) {
  Node node(1);
  // Bound to the party's or a card's address, with IP_MULTICAST_IF set to another card.
  for (const IpAddress& source : {node.party(), node.wlan0()})
    node.forwarder.handle_captured_packet(at(1), kEth0, wire::build_udp({source, 5000}, {kGroup, 6000}, as_bytes("a")));
  node.forwarder.handle_captured_packet(at(1), kEth0,
                                        wire::build_udp({node.party_v6(), 5000}, {ip("ff02::1"), 6000}, as_bytes("b")));
  const auto sent = node.sent();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(inside(sent[0]).source.address, node.party());
  EXPECT_EQ(inside(sent[1]).source.address, node.party());
  EXPECT_EQ(inside(sent[2]).source.address, node.party_v6());
}

TEST(Forwarder, LargeBroadcastsGoInPiecesAndArriveOnce) {
  for (const bool v6 : {false, true}) {
    for (const std::size_t size : {1392u, 1393u, 2000u, 8192u}) {
      Node from(1);
      Node to(2);
      to.listen(v6 ? ip("::") : IpAddress::v4(0, 0, 0, 0), 6000);
      const Bytes payload(size, 'x');
      const Endpoint source{v6 ? from.eth0_v6() : from.eth0(), 5000};
      const Endpoint destination{v6 ? ip("ff02::1") : kLimited, 6000};
      // The card cuts at 1500.
      for (const Bytes& fragment : wire::split_ip(wire::build_udp(source, destination, payload), 1500, 1))
        from.forwarder.handle_captured_packet(at(1), kEth0, fragment);
      EXPECT_EQ(from.forwarder.status().sent, 1u);
      const auto sent = from.sent();
      for (const Bytes& frame : sent) {
        EXPECT_LE(frame.size(), Forwarder::kWholeMax + wire::LanEnvelope::kHeaderBytes);
        to.receive(at(1), from, frame);
        to.receive(at(1), from, frame);
      }
      EXPECT_EQ(to.forwarder.status().delivered, 1u);
      EXPECT_EQ(to.forwarder.status().duplicates, sent.size());
      Reassembly kernel;
      std::optional<Bytes> whole;
      for (const Delivery& delivery : to.deliveries()) {
        if (delivery.kind != Delivery::Kind::kWrite) continue;
        EXPECT_LE(delivery.packet.size(), Forwarder::kWholeMax);
        const auto header = wire::parse_ip(delivery.packet);
        ASSERT_TRUE(header);
        whole = header->fragment ? kernel.handle_fragment(at(1), 1, delivery.packet, *header) : delivery.packet;
      }
      ASSERT_TRUE(whole) << size;
      const auto udp = wire::parse_udp_packet(*whole);
      ASSERT_TRUE(udp);
      EXPECT_EQ(to_bytes(udp->payload), payload);
      EXPECT_EQ(udp->source, (Endpoint{v6 ? from.party_v6() : from.party(), 5000}));
      EXPECT_TRUE(wire::has_valid_checksum(*whole, udp->ip));
    }
  }
}

TEST(Forwarder, NeverForwardsTheListedServices) {
  Node node(1);
  for (const PortRule& rule : never_forwarded())
    node.forwarder.handle_captured_packet(
        at(1), kEth0, wire::build_udp({node.eth0(), rule.port}, {kLimited, rule.port}, as_bytes("a")));
  EXPECT_TRUE(node.sent().empty());
  EXPECT_EQ(node.dropped(Drop::kNeverForwarded), never_forwarded().size());
}

TEST(Forwarder, ForwardsMdnsAndSsdpOfProgramsButNotOfServices) {
  Node node(1);
  constexpr std::uint32_t kAvahi = 104;
  node.listen({}, kMdnsPort, kAvahi);
  const auto say = [&](double s, std::uint16_t from, const char* group, std::uint16_t port) {
    node.forwarder.handle_captured_packet(
        at(s), kEth0, wire::build_udp({node.eth0(), from}, {ip(group), port}, as_bytes("question"), 255));
    return node.sent().size();
  };
  EXPECT_EQ(say(1, kMdnsPort, "224.0.0.251", kMdnsPort), 0u);
  EXPECT_EQ(node.dropped(Drop::kServiceAccount), 1u);
  EXPECT_EQ(say(2, 45'000, "224.0.0.251", kMdnsPort), 1u) << "nobody known holds that port";
  node.listen({}, kMdnsPort, 1000);
  EXPECT_EQ(say(10, kMdnsPort, "224.0.0.251", kMdnsPort), 1u) << "which of the two it was cannot be told";
  node.listen({}, 45'001, 0);
  EXPECT_EQ(say(20, 45'001, "239.255.255.250", kSsdpPort), 1u);
}

TEST(Forwarder, PutsThePartyAddressIntoMdnsAnswers) {
  Node node(1);
  ByteWriter message;
  message.u16_be(0).u16_be(0x8400).u16_be(0).u16_be(1).u16_be(0).u16_be(0);
  message.u8(1).bytes(as_bytes("a")).u8(0).u16_be(1).u16_be(1).u32_be(120).sized_u16(node.eth0().bytes());
  node.forwarder.handle_captured_packet(
      at(1), kEth0, wire::build_udp({node.eth0(), kMdnsPort}, {ip("224.0.0.251"), kMdnsPort}, message.view()));
  const auto sent = node.sent();
  ASSERT_EQ(sent.size(), 1u);
  const auto udp = inside(sent[0]);
  EXPECT_EQ(to_bytes(udp.payload.last(4)), to_bytes(node.party().bytes()));
}

TEST(Forwarder, ForwardsNoIpv6WithoutAPartyAddressForIt) {
  FixedTables tables;
  tables.actual().interfaces = {{kEth0, "eth0", {{ip("fe80::1"), 64}}, false, true}};
  SeededRng rng(1);
  Self self = Node::self(1);
  self.v6.reset();
  Forwarder forwarder({}, self, tables, rng, silent_logger());
  forwarder.handle_captured_packet(at(1), kEth0,
                                   wire::build_udp({ip("fe80::1"), 1}, {ip("ff02::1"), 6000}, as_bytes("a")));
  EXPECT_FALSE(forwarder.poll_transmit());
  EXPECT_EQ(forwarder.status().dropped[static_cast<std::size_t>(Drop::kNoAddress)], 1u);
}

TEST(Forwarder, ShowsWhatLeftByProgram) {
  Node node(1);
  node.listen({}, 40'000, 1000);
  node.forwarder.handle_captured_packet(at(1), kEth0,
                                        wire::build_udp({node.eth0(), 40'000}, {kLimited, 2342}, as_bytes("a")));
  const auto programs = node.forwarder.status().programs;
  ASSERT_EQ(programs.size(), 1u);
  EXPECT_EQ(programs[0].program, "uid 1000");
  EXPECT_EQ(programs[0].port, 2342);
  EXPECT_EQ(programs[0].packets, 1u);
}

// --- Once ------------------------------------------------------------------------------------------------------------

TEST(Forwarder, SendsOneAnnouncementOnEachCardInTurnOnce) {
  Node node(1);
  std::size_t sent = 0;
  for (int round = 0; round < 100; ++round) {
    const Time now = at(1 + 1.5 * round);
    node.forwarder.handle_adapter_packet(now,
                                         wire::build_udp({node.party(), 4445}, {kGroup, 4445}, as_bytes("[MOTD]")));
    node.forwarder.handle_captured_packet(now + milliseconds(20), kEth0,
                                          wire::build_udp({node.eth0(), 4445}, {kGroup, 4445}, as_bytes("[MOTD]")));
    node.forwarder.handle_captured_packet(now + milliseconds(50), kWlan0,
                                          wire::build_udp({node.wlan0(), 4445}, {kGroup, 4445}, as_bytes("[MOTD]")));
    sent += node.sent().size();
  }
  EXPECT_EQ(sent, 100u) << "each of the hundred once, and none of the repeats lost";
  EXPECT_EQ(node.dropped(Drop::kCardInTurn), 200u);
}

TEST(Forwarder, DropsACopyByASecondWayWithinTheWindowAndPassesItAfter) {
  for (int round = 0; round < 20; ++round) {
    Node node(1);
    const Time start = at(100.0 * round + 1);
    const auto by = [&](Time now, int interface, const IpAddress& source) {
      node.forwarder.handle_captured_packet(now, interface,
                                            wire::build_udp({source, 5000}, {kLimited, 6000}, as_bytes("same")));
      return node.sent().size();
    };
    EXPECT_EQ(by(start, kEth0, node.eth0()), 1u);
    EXPECT_EQ(by(start + seconds(1), kWlan0, node.wlan0()), 0u);
    EXPECT_EQ(by(start + milliseconds(5500), kWlan0, node.wlan0()), 1u);
  }
}

TEST(Forwarder, TakesEveryChangeOfPayloadPortOrDestinationForNew) {
  Node node(1);
  const auto say = [&](int interface, const IpAddress& source, std::uint16_t from, const IpAddress& to,
                       const char* what) {
    node.forwarder.handle_captured_packet(at(1), interface,
                                          wire::build_udp({source, from}, {to, 6000}, as_bytes(what)));
    return node.sent().size();
  };
  EXPECT_EQ(say(kEth0, node.eth0(), 5000, kLimited, "same"), 1u);
  EXPECT_EQ(say(kWlan0, node.wlan0(), 5000, kLimited, "samf"), 1u);
  EXPECT_EQ(say(kWlan0, node.wlan0(), 5001, kLimited, "same"), 1u);
  EXPECT_EQ(say(kWlan0, node.wlan0(), 5000, kGroup, "same"), 1u);
}

TEST(Forwarder, LetsEveryIdenticalAnnouncementPass) {
  Node sender(1), receiver(2);
  receiver.listen({}, 4445);
  std::size_t delivered = 0;
  for (int n = 0; n < 400; ++n) {
    const Time now = at(1 + 1.5 * n);
    sender.forwarder.handle_captured_packet(
        now, kEth0, wire::build_udp({sender.eth0(), 4445}, {kLimited, 4445}, as_bytes("[MOTD]a")));
    for (const Bytes& frame : sender.sent()) receiver.receive(now, sender, frame);
    delivered += receiver.deliveries().size();
  }
  EXPECT_EQ(delivered, 400u);
}

TEST(Forwarder, CarriesAThousandPacketsASecondForAMinute) {
  Node sender(1), receiver(2);
  receiver.listen({}, 6000);
  std::size_t delivered = 0;
  for (std::uint32_t n = 0; n < 60'000; ++n) {
    const Time now = at(1 + n / 1000.0);
    std::array<std::uint8_t, 4> payload{};
    store_be(payload.data(), n);
    sender.forwarder.handle_captured_packet(now, kEth0,
                                            wire::build_udp({sender.eth0(), 5000}, {kLimited, 6000}, payload));
    for (const Bytes& frame : sender.sent()) receiver.receive(now, sender, frame);
    delivered += receiver.deliveries().size();
    sender.forwarder.handle_timeout(now);
    receiver.forwarder.handle_timeout(now);
  }
  EXPECT_EQ(delivered, 60'000u);
  sender.forwarder.handle_timeout(at(72));
  receiver.forwarder.handle_timeout(at(72));
  EXPECT_EQ(sender.forwarder.status().tracked_contents + receiver.forwarder.status().tracked_contents, 0u);
  EXPECT_LE(receiver.tables.reads(), 61);
}

TEST(Forwarder, GivesEachOfTenMembersOneCopyAndNoLoopAroundThem) {
  std::vector<std::unique_ptr<Node>> nodes;
  for (std::uint8_t n = 1; n <= 10; ++n) {
    nodes.push_back(std::make_unique<Node>(n));
    nodes.back()->listen({}, 6000);
  }
  for (int round = 0; round < 20; ++round) {
    Node& origin = *nodes[static_cast<std::size_t>(round) % 10];
    std::size_t on_the_wire = 0;
    std::vector<int> heard(nodes.size(), 0);
    Time now = at(1 + round);
    origin.forwarder.handle_captured_packet(
        now, kEth0, wire::build_udp({origin.eth0(), 5000}, {kLimited, 6000}, as_bytes("who is there")));
    for (int step = 0; step < 100; ++step, now += milliseconds(100)) {
      for (auto& from : nodes) {
        for (const Bytes& frame : from->sent()) {
          for (std::size_t to = 0; to < nodes.size(); ++to) {
            if (nodes[to].get() == from.get()) continue;
            ++on_the_wire;
            nodes[to]->receive(now, *from, frame);
            nodes[to]->receive(now, *from, frame);  // and a second copy by another path
          }
        }
      }
      for (std::size_t to = 0; to < nodes.size(); ++to) {
        for (const Delivery& delivery : nodes[to]->deliveries()) {
          ++heard[to];
          // Something on that machine repeats what it hears on every card.
          for (const int interface : {kEth0, kWlan0})
            nodes[to]->forwarder.handle_captured_packet(now, interface, delivery.packet);
          nodes[to]->forwarder.handle_adapter_packet(now, delivery.packet);
        }
      }
    }
    EXPECT_EQ(on_the_wire, 9u);
    for (std::size_t to = 0; to < nodes.size(); ++to) EXPECT_EQ(heard[to], nodes[to].get() == &origin ? 0 : 1) << to;
  }
  EXPECT_GE(nodes[1]->dropped(Drop::kEcho), 18u);
}

TEST(Forwarder, PassesTheSameBytesOfTwoPlayers) {
  Node alice(1), bob(2), carol(3);
  carol.listen({}, 27960);
  for (Node* player : {&alice, &bob}) {
    player->forwarder.handle_captured_packet(
        at(1), kEth0, wire::build_udp({player->eth0(), 27960}, {kLimited, 27960}, as_bytes("getinfo xxx")));
    for (const Bytes& frame : player->sent()) carol.receive(at(1), *player, frame);
  }
  EXPECT_EQ(carol.deliveries().size(), 2u);
  // and a local game may ask the same as a member just did
  carol.forwarder.handle_captured_packet(
      at(2), kEth0, wire::build_udp({carol.eth0(), 27960}, {kLimited, 27960}, as_bytes("getinfo xxx")));
  EXPECT_EQ(carol.sent().size(), 1u);
}

TEST(Forwarder, PassesEveryCopyWithDeduplicationOff) {
  ForwarderOptions options;
  options.deduplicate = false;
  Node sender(1), receiver(2, options);
  receiver.listen({}, 6000);
  sender.forwarder.handle_captured_packet(at(1), kEth0,
                                          wire::build_udp({sender.eth0(), 5000}, {kLimited, 6000}, as_bytes("a")));
  const auto sent = sender.sent();
  ASSERT_EQ(sent.size(), 1u);
  receiver.receive(at(1), sender, sent[0]);
  receiver.receive(at(1), sender, sent[0]);
  EXPECT_EQ(receiver.deliveries().size(), 2u);
  EXPECT_EQ(receiver.forwarder.status().duplicates, 0u);
}

TEST(Forwarder, IsHeardAfterItWasStartedAgain) {
  Node receiver(2);
  receiver.listen({}, 6000);
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Node sender(1);
    sender.rng = SeededRng(seed);
    FixedTables tables(sender.tables.actual());
    Forwarder again({}, Node::self(1), tables, sender.rng, silent_logger());
    again.handle_captured_packet(at(1 + static_cast<double>(seed)), kEth0,
                                 wire::build_udp({sender.eth0(), 5000}, {kLimited, 6000}, as_bytes("a")));
    receiver.receive(at(1 + static_cast<double>(seed)), sender, *again.poll_transmit());
    EXPECT_EQ(receiver.deliveries().size(), 1u);
  }
}

// --- Delivering ------------------------------------------------------------------------------------------------------

struct Pair {
  Node sender{1};
  Node receiver{2};
  std::vector<Delivery> send(double s, const Endpoint& to, const char* what = "a") {
    const IpAddress source = to.address.is_v6() ? sender.eth0_v6() : sender.eth0();
    sender.forwarder.handle_captured_packet(at(s), kEth0, wire::build_udp({source, 5000}, to, as_bytes(what), 1));
    for (const Bytes& frame : sender.sent()) receiver.receive(at(s), sender, frame);
    return receiver.deliveries();
  }
};

TEST(Forwarder, WritesWithTheDestinationTheGameUsedAndTheSendersSource) {
  Pair pair;
  pair.receiver.listen({}, 6000);
  const auto deliveries = pair.send(1, {kLimited, 6000});
  ASSERT_EQ(deliveries.size(), 1u);
  EXPECT_EQ(deliveries[0].kind, Delivery::Kind::kWrite);
  const auto udp = wire::parse_udp_packet(deliveries[0].packet);
  ASSERT_TRUE(udp);
  EXPECT_EQ(udp->source, (Endpoint{pair.sender.party(), 5000}));
  EXPECT_EQ(udp->destination, (Endpoint{kLimited, 6000}));
}

TEST(Forwarder, CopiesToAnAddressBoundProgramAndTranslatesItsAnswers) {
  Pair pair;
  pair.receiver.listen(pair.receiver.eth0(), 6000);
  const auto deliveries = pair.send(1, {kLimited, 6000});
  ASSERT_EQ(deliveries.size(), 2u);
  const auto udp = wire::parse_udp_packet(deliveries[1].packet);
  ASSERT_TRUE(udp && wire::has_valid_checksum(deliveries[1].packet, udp->ip));
  EXPECT_EQ(udp->destination, (Endpoint{pair.receiver.eth0(), 6000}));
  const auto translation = pair.receiver.forwarder.translation();
  EXPECT_EQ(translation->holder(SocketKind::kUdp, false, 6000), pair.receiver.eth0());
  pair.send(1.1, {kLimited, 6000});
  EXPECT_EQ(pair.receiver.forwarder.translation(), translation) << "the same snapshot while nothing changed";
}

TEST(Forwarder, JoinsOnceBeforeItWritesAndLeavesWhenTheGroupIsQuiet) {
  Pair pair;
  pair.receiver.listen({}, 4445);
  pair.receiver.tables.actual().groups = {{kGroup, kEth0, 1}};
  auto deliveries = pair.send(1, {kGroup, 4445});
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_EQ(deliveries[0].kind, Delivery::Kind::kJoin);
  EXPECT_EQ(deliveries[0].group, kGroup);
  EXPECT_EQ(deliveries[0].interface, kAdapter);
  EXPECT_EQ(deliveries[1].kind, Delivery::Kind::kWrite);
  pair.receiver.tables.actual().groups.push_back({kGroup, kAdapter, 1});
  for (int n = 0; n < 10; ++n) EXPECT_EQ(pair.send(3 + 1.5 * n, {kGroup, 4445}).size(), 1u);
  const auto groups = pair.receiver.forwarder.status().groups;
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].interface, "lanrage0");
  EXPECT_EQ(groups[0].way, GroupWay::kJoined);
  pair.receiver.forwarder.handle_timeout(at(200));
  EXPECT_TRUE(pair.receiver.deliveries().empty());
  EXPECT_LE(pair.receiver.forwarder.next_timeout(), at(400));
  pair.receiver.forwarder.handle_timeout(at(400));
  deliveries = pair.receiver.deliveries();
  ASSERT_EQ(deliveries.size(), 1u);
  EXPECT_EQ(deliveries[0].kind, Delivery::Kind::kLeave);
  EXPECT_EQ(pair.receiver.forwarder.next_timeout(), kNever);
}

TEST(Forwarder, InjectsWithHopLimitZeroForJava) {
  Pair pair;
  pair.receiver.listen({}, 4445);
  pair.receiver.tables.actual().sockets[0].multicast_all = false;
  pair.receiver.tables.actual().groups = {{kGroup, kEth0, 1}};
  const auto deliveries = pair.send(1, {kGroup, 4445});
  ASSERT_EQ(deliveries.size(), 1u) << "never both";
  EXPECT_EQ(deliveries[0].kind, Delivery::Kind::kInject);
  EXPECT_EQ(deliveries[0].interface, kEth0);
  const auto udp = wire::parse_udp_packet(deliveries[0].packet);
  ASSERT_TRUE(udp && wire::has_valid_checksum(deliveries[0].packet, udp->ip));
  EXPECT_EQ(udp->ip.hop_limit, 0);
  EXPECT_EQ(wire::ones_sum(ByteView(deliveries[0].packet).first(20)), 0xffff);
  EXPECT_EQ(udp->source, (Endpoint{pair.sender.party(), 5000}));
}

TEST(Forwarder, HearsAnAnswerToAGroupJoinedAMomentAgo) {
  Pair pair;
  pair.receiver.listen({}, 9999);
  pair.send(1, {kLimited, 9999});  // the tables are read and cached
  pair.receiver.listen({}, 4445);
  pair.receiver.tables.actual().groups = {{kGroup, kEth0, 1}};
  const auto deliveries = pair.send(1.008, {kGroup, 4445});
  ASSERT_EQ(deliveries.size(), 2u);
  EXPECT_EQ(deliveries[0].kind, Delivery::Kind::kJoin);
}

TEST(Forwarder, ReadsTheTablesABoundedNumberOfTimesInAFloodForNobody) {
  Pair pair;
  for (int n = 0; n < 2000; ++n) pair.send(1 + n * 0.0005, {kLimited, 9999}, std::to_string(n).c_str());
  EXPECT_LE(pair.receiver.tables.reads(), 40);
  const auto heard = pair.receiver.forwarder.status().heard;
  ASSERT_EQ(heard.size(), 1u);
  EXPECT_EQ(heard[0].packets, 2000u);
  EXPECT_EQ(heard[0].unheard, 2000u);
}

TEST(Forwarder, SaysWhichProgramHearsNothing) {
  Pair pair;
  pair.receiver.listen({}, 6000);
  pair.receiver.tables.actual().sockets[0].device = kEth0;
  pair.send(1, {kLimited, 6000});
  pair.send(2, {kLimited, 6000});
  const auto rules = pair.receiver.forwarder.status().rules;
  EXPECT_EQ(rules.back(), "uid 1000 on port 6000 is bound to the device eth0 and hears nothing of the party");
  EXPECT_EQ(rules.size(), 4u);
}

TEST(Forwarder, TakesAFailedJoinBack) {
  Pair pair;
  pair.receiver.listen({}, 4445);
  pair.receiver.tables.actual().groups = {{kGroup, kEth0, 1}};
  pair.send(1, {kGroup, 4445});
  pair.receiver.forwarder.handle_join_failed(kGroup, "no buffer space");
  EXPECT_EQ(pair.send(2, {kGroup, 4445}).size(), 2u) << "tried again";
}

// --- What others may not ---------------------------------------------------------------------------------------------

TEST(Forwarder, RefusesEnvelopesThatClaimAnotherOriginOrSource) {
  Node alice(1), bob(2), carol(3);
  alice.forwarder.handle_captured_packet(at(1), kEth0,
                                         wire::build_udp({alice.eth0(), 5000}, {kLimited, 6000}, as_bytes("a")));
  const Bytes frame = alice.sent().at(0);
  carol.receive(at(1), bob, frame);
  EXPECT_EQ(carol.dropped(Drop::kForgedOrigin), 1u);
  alice.receive(at(1), bob, frame);
  EXPECT_EQ(alice.dropped(Drop::kEcho), 1u);

  wire::LanEnvelope forged = *wire::LanEnvelope::parse(frame);
  const auto refuse = [&](const Bytes& packet, Drop why) {
    const auto before = carol.dropped(why);
    forged.packet = packet;
    ++forged.sequence;
    carol.receive(at(1), alice, forged.bytes());
    EXPECT_EQ(carol.dropped(why), before + 1) << drop_name(why);
  };
  refuse(wire::build_udp({bob.party(), 5000}, {kLimited, 6000}, as_bytes("a")), Drop::kForeignSource);
  refuse(wire::build_udp({alice.party(), 5000}, {carol.party(), 6000}, as_bytes("a")), Drop::kNotLan);
  refuse(wire::build_udp({alice.party(), 5000}, {carol.eth0(), 6000}, as_bytes("a")), Drop::kNotLan);
  refuse(wire::build_udp({alice.party(), 68}, {kLimited, 67}, as_bytes("a")), Drop::kNeverForwarded);
  Bytes ping = wire::build_udp({alice.party(), 68}, {kLimited, 67}, as_bytes("a"));
  ping[9] = wire::kProtocolIcmp;
  refuse(ping, Drop::kNotUdp);
  EXPECT_TRUE(carol.deliveries().empty());
}

TEST(Forwarder, DeliversNothingToPortsThatAreClosedToMembers) {
  Node alice(1), carol(3);
  carol.forwarder.set_open_ports([](std::uint16_t port) { return port >= 2000; });
  std::size_t delivered = 0;
  const Endpoint to[] = {
      {kLimited, 514}, {kLimited, kSsdpPort}, {ip("239.255.255.250"), kSsdpPort}, {kGroup, 514}, {kLimited, 27960}};
  for (const Endpoint& destination : to) {
    alice.forwarder.handle_captured_packet(at(1), kEth0,
                                           wire::build_udp({alice.eth0(), 5000}, destination, as_bytes("a")));
    for (const Bytes& frame : alice.sent()) carol.receive(at(1), alice, frame);
    delivered += carol.deliveries().size();
  }
  EXPECT_EQ(delivered, 2u);
  EXPECT_EQ(carol.dropped(Drop::kClosedPort), 3u);
}

TEST(Forwarder, HoldsAFloodOfOneMemberToItsRate) {
  Node alice(1), carol(3);
  wire::LanEnvelope envelope;
  envelope.origin = Node::self(1).origin;
  const Bytes packet = wire::build_udp({alice.party(), 5000}, {kLimited, 6000}, as_bytes("a"));
  envelope.packet = packet;
  std::size_t delivered = 0;
  for (envelope.sequence = 0; envelope.sequence < 10'000; ++envelope.sequence) {
    carol.receive(at(1), alice, envelope.bytes());
    delivered += carol.deliveries().size();
  }
  EXPECT_EQ(delivered, 4000u);
  EXPECT_EQ(carol.dropped(Drop::kRateLimited), 6000u);
}

TEST(Forwarder, KeepsItsQueuesBounded) {
  Node alice(1), carol(3);
  carol.listen({}, 6000);
  for (std::uint32_t n = 0; n < 3000; ++n)
    alice.forwarder.handle_captured_packet(
        at(1), kEth0, wire::build_udp({alice.eth0(), 5000}, {kLimited, 6000}, as_bytes(std::to_string(n))));
  EXPECT_EQ(alice.sent().size(), Forwarder::kQueueMax);
  EXPECT_EQ(alice.dropped(Drop::kQueueFull), 3000u - Forwarder::kQueueMax);
}

TEST(Forwarder, NamesEveryReasonOnce) {
  std::set<std::string> names;
  for (std::size_t n = 0; n < static_cast<std::size_t>(Drop::kCount); ++n)
    names.insert(drop_name(static_cast<Drop>(n)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Drop::kCount));
  EXPECT_FALSE(names.contains("unknown"));
}

}  // namespace
}  // namespace lanrage::lan
