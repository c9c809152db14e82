// Two nodes' snapshots, joined by hand: what one seals the other opens, in virtual time.
#include <gtest/gtest.h>

#include <deque>

#include "base/rng.h"
#include "node/inbound.h"
#include "node/outbound.h"
#include "wire/lan.h"
#include "wire/wireguard.h"

namespace lanrage::node {
namespace {

using std::chrono::seconds;
using InAction = InboundVerdict::Action;
using OutAction = OutboundVerdict::Action;

const IpAddress kA = IpAddress::v4(10, 66, 1, 1);
const IpAddress kB = IpAddress::v4(10, 66, 1, 2);
const IpAddress kGuest = IpAddress::v4(10, 66, 1, 3);
const Path kFromA{{IpAddress::v4(1, 1, 1, 1), 1000}, false};
const Path kFromB{{IpAddress::v4(2, 2, 2, 2), 2000}, false};

crypto::PublicKey key_of(std::uint8_t byte) {
  std::array<std::uint8_t, 32> bytes;
  bytes.fill(byte);
  return crypto::PublicKey(bytes);
}

Bytes udp(const IpAddress& from, const IpAddress& to, std::size_t payload = 100, std::uint16_t port = 27015) {
  return wire::build_udp({from, 5000}, {to, port}, Bytes(payload, 7));
}

struct Side {
  Outbound outbound;
  Inbound inbound;
  Forwarding forwarding;
  Peer& peer() { return forwarding.peers.at(0); }
};

struct PipelineTest : testing::Test {
  Time now = Time{} + seconds(1000);
  Side a, b;

  PipelineTest() {
    const std::array<std::uint8_t, 32> forth{1}, back{2};
    make(a, kA, kB, kFromB);
    make(b, kB, kA, kFromA);
    join(a, b, forth, 11, 22);
    join(b, a, back, 22, 11);
  }

  static void make(Side& side, const IpAddress& own, const IpAddress& other, const Path& path) {
    side.forwarding.lan = true;
    side.forwarding.own = {own};
    side.forwarding.broadcasts = {IpAddress::v4(10, 66, 1, 255)};
    side.forwarding.flows = std::make_shared<Flows>(5);
    tunnel::AllowedIps<> routes;
    routes.insert(IpPrefix::host(other), 0);
    side.forwarding.routes = std::make_shared<tunnel::AllowedIps<>>(routes);
    Peer peer;
    peer.key = key_of(1);
    peer.state = std::make_shared<PeerState>();
    peer.paths[0] = path;
    peer.path_count = 1;
    peer.lanrage = true;
    peer.path_mtu = 1420;
    side.forwarding.peers.push_back(peer);
  }
  void join(Side& from, Side& to, const std::array<std::uint8_t, 32>& key, std::uint32_t from_index,
            std::uint32_t to_index) {
    from.peer().send = std::make_shared<tunnel::SendKey>(crypto::AeadKey(key), to_index, from_index, now);
    to.forwarding.sessions =
        SessionTable({{std::make_shared<tunnel::ReceiveKey>(crypto::AeadKey(key), to_index, now), 0}});
  }
  void add_guest(Side& side, std::uint32_t slot) {
    auto routes = *side.forwarding.routes;
    routes.insert(IpPrefix::host(kGuest), slot);
    side.forwarding.routes = std::make_shared<tunnel::AllowedIps<>>(routes);
    if (slot < side.forwarding.peers.size()) return;
    Peer guest;
    guest.key = key_of(9);
    guest.state = std::make_shared<PeerState>();
    guest.path_mtu = 1420;
    side.forwarding.peers.push_back(guest);
  }

  // As the TX thread does it.
  std::vector<Bytes> send(Side& from, Bytes packet) {
    const OutboundVerdict verdict = from.outbound.judge(from.forwarding, now, packet);
    if (verdict.action != OutAction::kSeal) return {};
    if (verdict.translate) Outbound::translate(from.forwarding, packet);
    return seal(from, packet);
  }
  std::vector<Bytes> seal(Side& from, const Bytes& packet) {
    std::vector<Bytes> out(2, Bytes(2048));
    if (Outbound::needs_cut(from.peer(), packet)) {
      const auto sizes = from.outbound.seal_cut(from.peer(), now, packet, {MutableBytes(out[0]), MutableBytes(out[1])});
      for (std::size_t i = 0; i < 2; ++i) out[i].resize(sizes[i]);
    } else {
      out.resize(1);
      out[0].resize(from.outbound.seal(from.peer(), now, packet, out[0]));
    }
    return out;
  }
  InboundVerdict receive(Side& to, Bytes& datagram, const Path& from = kFromA) {
    return to.inbound.handle_datagram(to.forwarding, now, from, datagram);
  }
  std::uint64_t dropped(const Side& side, InboundDrop reason) const {
    return side.inbound.dropped()[static_cast<std::size_t>(reason)];
  }
};

TEST_F(PipelineTest, PacketArrivesAsItWas) {
  const Bytes packet = udp(kA, kB, 101);
  auto datagrams = send(a, packet);
  ASSERT_EQ(datagrams.size(), 1u);
  EXPECT_EQ(datagrams[0].size() % 16, 0u);
  const auto verdict = receive(b, datagrams[0]);
  ASSERT_EQ(verdict.action, InAction::kDeliver);
  EXPECT_EQ(to_bytes(verdict.packet), packet);
  EXPECT_EQ(verdict.lane, Lane::kGame);
  EXPECT_TRUE(verdict.first);
}

TEST_F(PipelineTest, SecondCopyIsRefused) {
  auto datagrams = send(a, udp(kA, kB));
  Bytes again = datagrams[0];
  EXPECT_EQ(receive(b, datagrams[0]).action, InAction::kDeliver);
  EXPECT_EQ(receive(b, again).action, InAction::kDrop);
  EXPECT_EQ(dropped(b, InboundDrop::kRefused), 1u);
}

TEST_F(PipelineTest, ForeignSourceAndForeignDestinationAreDropped) {
  auto wrong_source = seal(a, udp(kGuest, kB));
  EXPECT_EQ(receive(b, wrong_source[0]).action, InAction::kDrop);
  EXPECT_EQ(dropped(b, InboundDrop::kWrongSource), 1u);
  auto elsewhere = seal(a, udp(kA, IpAddress::v4(192, 168, 1, 1)));
  EXPECT_EQ(receive(b, elsewhere[0]).action, InAction::kDrop);
  EXPECT_EQ(dropped(b, InboundDrop::kNotForUs), 1u);
}

TEST_F(PipelineTest, PlainDeviceDeliversEveryDestinationItsPeerMaySendTo) {
  b.forwarding.lan = false;
  b.peer().lanrage = false;
  auto datagrams = seal(a, udp(kA, IpAddress::v4(192, 168, 1, 1)));
  EXPECT_EQ(receive(b, datagrams[0]).action, InAction::kDeliver);
  auto group = seal(a, udp(kA, IpAddress::v4(224, 0, 0, 251)));
  EXPECT_EQ(receive(b, group[0]).action, InAction::kDeliver);
}

TEST_F(PipelineTest, BroadcastAndMulticastTakeTheLanRules) {
  for (const IpAddress& group :
       {IpAddress::v4(255, 255, 255, 255), IpAddress::v4(10, 66, 1, 255), IpAddress::v4(239, 255, 255, 250)})
    EXPECT_EQ(a.outbound.judge(a.forwarding, now, udp(kA, group)).action, OutAction::kGroup) << group.text();
  auto bare = seal(a, udp(kA, IpAddress::v4(255, 255, 255, 255)));
  EXPECT_EQ(receive(b, bare[0]).action, InAction::kDrop);
  EXPECT_EQ(dropped(b, InboundDrop::kUnexpectedFrame), 1u);
  b.peer().lanrage = false;
  bare = seal(a, udp(kA, IpAddress::v4(255, 255, 255, 255)));
  EXPECT_EQ(receive(b, bare[0]).action, InAction::kGroup);
}

TEST_F(PipelineTest, UnknownDestinationHasNoRoute) {
  EXPECT_EQ(a.outbound.judge(a.forwarding, now, udp(kA, IpAddress::v4(8, 8, 8, 8))).reason, OutboundDrop::kNoRoute);
  EXPECT_EQ(a.outbound.judge(a.forwarding, now, Bytes{0x45, 0}).reason, OutboundDrop::kMalformed);
}

TEST_F(PipelineTest, WithoutUsableKeyControlIsAsked) {
  now += tunnel::kRejectAfterTime;
  EXPECT_EQ(a.outbound.judge(a.forwarding, now, udp(kA, kB)).action, OutAction::kNeedsSession);
  Bytes out(256);
  EXPECT_EQ(a.outbound.seal(a.peer(), now, {}, out), 0u);
  a.peer().send.reset();
  EXPECT_EQ(a.outbound.judge(a.forwarding, now, udp(kA, kB)).action, OutAction::kNeedsSession);
}

TEST_F(PipelineTest, ExpiredKeyOpensNothing) {
  auto datagrams = send(a, udp(kA, kB));
  now += tunnel::kRejectAfterTime;
  EXPECT_EQ(receive(b, datagrams[0]).action, InAction::kDrop);
  EXPECT_EQ(dropped(b, InboundDrop::kExpired), 1u);
}

TEST_F(PipelineTest, PeerWithoutPathIsDropped) {
  a.peer().path_count = 0;
  EXPECT_EQ(a.outbound.judge(a.forwarding, now, udp(kA, kB)).reason, OutboundDrop::kNoPath);
}

TEST_F(PipelineTest, KeepaliveIsCountedAndDeliversNothing) {
  auto datagrams = seal(a, {});
  EXPECT_EQ(datagrams[0].size(), 32u);
  EXPECT_EQ(receive(b, datagrams[0]).action, InAction::kNothing);
  const tunnel::Activity sent = a.peer().state->counters.read();
  const tunnel::Activity received = b.peer().state->counters.read();
  EXPECT_EQ(sent.last_sent, now);
  EXPECT_EQ(sent.last_data_sent, tunnel::Activity::kNone);
  EXPECT_EQ(received.last_received, now);
  EXPECT_EQ(received.last_data_received, tunnel::Activity::kNone);
  EXPECT_EQ(received.received_bytes, 32u);
  EXPECT_EQ(received.receive_index, 22u);
}

TEST_F(PipelineTest, OwnFrameLargerThanThePathIsCutAndPutTogether) {
  a.peer().path_mtu = 1360;
  const Bytes packet = udp(kA, IpAddress::v4(255, 255, 255, 255), 1392);
  wire::LanEnvelope envelope;
  envelope.packet = packet;
  auto datagrams = seal(a, envelope.bytes());
  ASSERT_EQ(datagrams.size(), 2u);
  EXPECT_EQ(receive(b, datagrams[0]).action, InAction::kNothing);
  const auto verdict = receive(b, datagrams[1]);
  ASSERT_EQ(verdict.action, InAction::kFrame);
  EXPECT_EQ(to_bytes(verdict.packet), envelope.bytes());
}

TEST_F(PipelineTest, FragmentInsideOfFragmentsIsRefused) {
  a.peer().path_mtu = 200;
  Bytes inner(220);
  wire::Fragment::write_header(inner.data(), 0, 1, inner.size() - wire::Fragment::kHeaderBytes);
  auto datagrams = seal(a, inner);
  ASSERT_EQ(datagrams.size(), 2u);
  EXPECT_EQ(receive(b, datagrams[0]).action, InAction::kNothing);
  EXPECT_EQ(receive(b, datagrams[1]).action, InAction::kDrop);
  EXPECT_EQ(dropped(b, InboundDrop::kMalformed), 1u);
}

TEST_F(PipelineTest, PacketLargerThanThePathIsCutAndPutTogether) {
  a.peer().path_mtu = 1200;
  const Bytes packet = udp(kA, kB, 1392);
  auto datagrams = send(a, packet);
  ASSERT_EQ(datagrams.size(), 2u);
  for (const Bytes& datagram : datagrams) EXPECT_LE(datagram.size(), 1200u + tunnel::kDataOverhead);
  EXPECT_EQ(receive(b, datagrams[1]).action, InAction::kNothing);
  const auto verdict = receive(b, datagrams[0]);
  ASSERT_EQ(verdict.action, InAction::kDeliver);
  EXPECT_TRUE(verdict.reassembled);
  EXPECT_EQ(to_bytes(verdict.packet), packet);
  a.peer().path_mtu = 500;
  EXPECT_EQ(a.outbound.seal_cut(a.peer(), now, packet, {}), (std::array<std::size_t, 2>{0, 0}));
  EXPECT_EQ(a.outbound.dropped()[static_cast<std::size_t>(OutboundDrop::kTooBig)], 1u);
}

TEST_F(PipelineTest, FragmentsAreCheckedAsAWhole) {
  a.peer().path_mtu = 1200;
  auto datagrams = seal(a, udp(kGuest, kB, 1392));
  EXPECT_EQ(receive(b, datagrams[0]).action, InAction::kNothing);
  EXPECT_EQ(receive(b, datagrams[1]).action, InAction::kDrop);
  EXPECT_EQ(dropped(b, InboundDrop::kWrongSource), 1u);
}

TEST_F(PipelineTest, FilterClosesServicesAndLetsAnswersPass) {
  b.peer().filter = std::make_shared<PortFilter>(false, std::span<const FilterRule>{});
  auto share = send(a, udp(kA, kB, 100, 137));
  EXPECT_EQ(receive(b, share[0]).action, InAction::kDrop);
  EXPECT_EQ(dropped(b, InboundDrop::kFiltered), 1u);
  auto game = send(a, udp(kA, kB, 100, 27015));
  EXPECT_EQ(receive(b, game[0]).action, InAction::kDeliver);
  // b asks from its port 137, a answers there.
  (void)b.outbound.judge(b.forwarding, now, wire::build_udp({kB, 137}, {kA, 5000}, as_bytes("who")));
  auto answer = send(a, udp(kA, kB, 100, 137));
  EXPECT_EQ(receive(b, answer[0]).action, InAction::kDeliver);
}

TEST_F(PipelineTest, ProgramOnAnotherAddressIsReachedAndAnswersFromThePartyAddress) {
  const IpAddress card = IpAddress::v4(192, 168, 1, 10);
  lan::HostView host;
  host.interfaces = {{2, "eth0", {{card, 24}}, false, true}, {7, "lanrage0", {{kB, 24}}, false, true}};
  lan::LocalSocket game;
  game.bound = card;
  game.port = 27015;
  host.sockets = {game};
  b.forwarding.translation = std::make_shared<const lan::AddressTranslation>(host, 7, kB, std::nullopt);
  // Its port is closed but for answers to what it said: both are told by the party address.
  const std::vector<FilterRule> rules = {FilterRule::parse(FilterRule::Action::kDeny, "udp/27015").value()};
  b.peer().filter = std::make_shared<PortFilter>(false, rules);

  auto unasked = send(a, udp(kA, kB));
  EXPECT_EQ(receive(b, unasked.at(0)).reason, InboundDrop::kFiltered);

  auto said = send(b, wire::build_udp({card, 27015}, {kA, 5000}, as_bytes("here")));
  const auto heard = receive(a, said.at(0), kFromB);
  ASSERT_EQ(heard.action, InAction::kDeliver);
  EXPECT_EQ(to_bytes(heard.packet), wire::build_udp({kB, 27015}, {kA, 5000}, as_bytes("here")));

  auto answer = send(a, udp(kA, kB));
  const auto delivered = receive(b, answer.at(0));
  ASSERT_EQ(delivered.action, InAction::kDeliver);
  EXPECT_EQ(to_bytes(delivered.packet), udp(kA, card));
}

TEST_F(PipelineTest, FramesGoToControlAndOnlyFromMembers) {
  const auto echo = wire::Echo{wire::Echo::Kind::kRequest, 1, 2, 3}.bytes();
  auto datagrams = seal(a, to_bytes(echo));
  const auto verdict = receive(b, datagrams[0]);
  ASSERT_EQ(verdict.action, InAction::kFrame);
  EXPECT_EQ(wire::Echo::parse(verdict.packet)->sequence, 2u);
  b.peer().lanrage = false;
  datagrams = seal(a, to_bytes(echo));
  EXPECT_EQ(receive(b, datagrams[0]).reason, InboundDrop::kUnexpectedFrame);
  datagrams = seal(a, Bytes(16, 0xff));
  EXPECT_EQ(receive(b, datagrams[0]).reason, InboundDrop::kMalformed);
}

TEST_F(PipelineTest, MemberSpeaksForItsGuestAndOnlyForGuests) {
  // a is a member, b has a guest in slot 1: a's packet for the guest passes through b.
  add_guest(a, 0);
  add_guest(b, 1);
  auto datagrams = send(a, udp(kA, kGuest));
  auto verdict = receive(b, datagrams[0]);
  ASSERT_EQ(verdict.action, InAction::kForward);
  EXPECT_EQ(verdict.forward_slot, 1u);
  b.forwarding.peers[1].lanrage = true;
  datagrams = send(a, udp(kA, kGuest));
  EXPECT_EQ(receive(b, datagrams[0]).reason, InboundDrop::kNotForUs);
}

TEST_F(PipelineTest, SourceFollowsTheNewestGenuinePacketOnly) {
  auto first = send(a, udp(kA, kB)), second = send(a, udp(kA, kB)), third = send(a, udp(kA, kB));
  const Path moved{{*IpAddress::parse("fd00::7"), 7}, false};
  EXPECT_FALSE(receive(b, first[0]).moved);
  EXPECT_EQ(b.peer().state->counters.read().source, kFromA);
  Bytes forged = third[0];
  forged.back() ^= 1;
  (void)receive(b, forged, moved);
  EXPECT_EQ(b.peer().state->counters.read().source, kFromA);
  EXPECT_TRUE(receive(b, third[0], moved).moved);
  EXPECT_EQ(b.peer().state->counters.read().source, moved);
  EXPECT_FALSE(receive(b, second[0], kFromA).moved);
  EXPECT_EQ(b.peer().state->counters.read().source, moved);
}

TEST_F(PipelineTest, SourceStaysWhileTwoPathsTakeTurns) {
  const Path second{{*IpAddress::parse("fd00::7"), 7}, false};
  const auto arrives_from = [&](const Path& path) {
    auto datagrams = send(a, udp(kA, kB));
    return receive(b, datagrams[0], path).moved;
  };
  arrives_from(kFromA);
  EXPECT_TRUE(arrives_from(second)) << "somewhere new is followed at once";
  int moves = 0;
  for (int i = 0; i < 1000; ++i) {
    now += std::chrono::milliseconds(10);
    moves += arrives_from(i % 3 == 0 ? second : kFromA);
  }
  EXPECT_LE(moves, 1) << "then neither is left while both bring what is newest";
  const Path stays = *b.peer().state->counters.read().source;
  const Path& other = stays == second ? kFromA : second;
  for (int i = 0; i < 100; ++i) {
    now += std::chrono::milliseconds(10);
    moves += arrives_from(other);
  }
  EXPECT_EQ(b.peer().state->counters.read().source, other) << "silence is noticed";
  EXPECT_LE(moves, 2);
  // Long after, a return is a move like any other.
  now += std::chrono::seconds(2);
  EXPECT_TRUE(arrives_from(stays));
}

TEST_F(PipelineTest, OnlyGamePacketsTakeTwoPaths) {
  a.peer().paths[1] = {{IpAddress::v4(9, 9, 9, 9), 41820}, true};
  a.peer().path_count = 2;
  EXPECT_EQ(a.peer().way(Lane::kGame).size(), 2u);
  ASSERT_EQ(a.peer().way(Lane::kBulk).size(), 1u);
  EXPECT_EQ(a.peer().way(Lane::kBulk)[0], a.peer().paths[0]);
  a.peer().path_count = 0;
  EXPECT_TRUE(a.peer().way(Lane::kBulk).empty());
}

TEST_F(PipelineTest, RelaysAreRecognisedByTheirEndpoint) {
  b.forwarding.relays = {{IpAddress::v4(9, 9, 9, 9), 41820}};
  EXPECT_TRUE(b.forwarding.path_from({IpAddress::v4(9, 9, 9, 9), 41820}).relayed);
  EXPECT_FALSE(b.forwarding.path_from({IpAddress::v4(9, 9, 9, 9), 41821}).relayed);
}

TEST_F(PipelineTest, RandomBytesAndBitFlipsAreDroppedAndChangeNothing) {
  SeededRng rng(4);
  const auto good = send(a, udp(kA, kB));
  for (int i = 0; i < 3000; ++i) {
    Bytes datagram = good[0];
    if (i % 2 == 0) {
      datagram.resize(rng.below(300));
      rng.fill(datagram);
      if (!datagram.empty()) datagram[0] = 4;
    } else {
      datagram[rng.below(datagram.size())] ^= static_cast<std::uint8_t>(1u << rng.below(8));
    }
    EXPECT_EQ(receive(b, datagram).action, InAction::kDrop);
  }
  EXPECT_EQ(b.peer().state->counters.read().received_packets, 0u);
  Bytes datagram = good[0];
  EXPECT_EQ(receive(b, datagram).action, InAction::kDeliver);
}

TEST(SessionTable, FindsEveryIndexAndNoOther) {
  SeededRng rng(1);
  std::vector<SessionTable::Session> sessions;
  std::vector<std::uint32_t> indices;
  const std::array<std::uint8_t, 32> key{};
  for (std::uint32_t i = 0; i < 500; ++i) {
    indices.push_back(rng.u32());
    sessions.push_back({std::make_shared<tunnel::ReceiveKey>(crypto::AeadKey(key), indices.back(), Time{}), i});
  }
  const SessionTable table(sessions);
  for (std::uint32_t i = 0; i < 500; ++i) {
    ASSERT_NE(table.find(indices[i]), nullptr);
    EXPECT_EQ(table.find(indices[i])->slot, i);
    EXPECT_EQ(table.find(indices[i] + 1), nullptr);
  }
  EXPECT_EQ(SessionTable{}.find(1), nullptr);
}

TEST(Lane, KnowsGamesByMarkSizeAndPing) {
  const auto lane = [](const Bytes& packet) { return lane_of(packet, *wire::parse_ip(packet)); };
  EXPECT_EQ(lane(udp(kA, kB, 272)), Lane::kGame);
  EXPECT_EQ(lane(udp(kA, kB, 273)), Lane::kBulk);
  Bytes marked = udp(kA, kB, 1000);
  marked[1] = 46 << 2;
  EXPECT_EQ(lane(marked), Lane::kGame);
  Bytes ping = udp(kA, kB, 1000);
  ping[9] = wire::kProtocolIcmp;
  ping[20] = 8;
  EXPECT_EQ(lane(ping), Lane::kGame);
}

}  // namespace
}  // namespace lanrage::node
