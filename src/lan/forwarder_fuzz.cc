// A forwarder under a script: records of {u8 what, u8 which, u16 length, bytes}. Packets come from games, from another
// card and from two members, some with their source put right so that the rules behind it are reached. What it sends is
// an envelope of its own with a packet from its own address; what it delivers never claims this machine's address.
#include "base/check.h"
#include "lan/fixed_tables.h"
#include "lan/forwarder.h"

using namespace lanrage;

namespace {

constexpr int kCard = 2;
constexpr int kAdapter = 7;
const IpAddress kParty = IpAddress::v4(10, 66, 1, 1);
const IpAddress kOnCard = IpAddress::v4(192, 168, 1, 1);
const IpAddress kParty6 = *IpAddress::parse("fd00:66::1");

lan::Self self() { return {{1}, kAdapter, {kParty, 24}, IpPrefix{kParty6, 64}}; }

lan::LocalSocket listener(const IpAddress& bound, std::uint16_t port) {
  lan::LocalSocket socket;
  socket.v6 = bound.is_v6();
  socket.bound = bound;
  socket.port = port;
  return socket;
}

lan::HostView machine() {
  lan::HostView view;
  view.interfaces = {{1, "lo", {{IpAddress::v4(127, 0, 0, 1), 8}}, true, false},
                     {kCard, "eth0", {{kOnCard, 24}}, false, true},
                     {kAdapter, "lanrage0", {{kParty, 24}, {kParty6, 64}}, false, true}};
  view.sockets = {listener(IpAddress::v4(0, 0, 0, 0), 27960), listener(kOnCard, 6000), listener(kParty6, 6000)};
  return view;
}

struct Script {
  lan::FixedTables tables{machine()};
  SeededRng rng{1};
  lan::Forwarder forwarder{{}, self(), tables, rng, silent_logger()};
  Time now{std::chrono::seconds(1000)};
  std::uint64_t sequence = 0;

  static Bytes from(const IpAddress& source, ByteView bytes) {
    Bytes packet = to_bytes(bytes);
    if (const auto ip = wire::parse_ip(packet); ip && ip->v6 == source.is_v6())
      wire::rewrite_source(packet, *ip, source);
    return packet;
  }

  void step(std::uint8_t what, std::uint8_t which, ByteView bytes) {
    const wire::LanOrigin origin{static_cast<std::uint8_t>(2 + which % 2)};
    const IpAddress member = IpAddress::v4(10, 66, 1, origin[0]);
    const std::array<IpPrefix, 1> addresses{IpPrefix::host(member)};
    switch (what % 8) {
      case 0:
        return forwarder.handle_adapter_packet(now, bytes);
      case 1:
        return forwarder.handle_adapter_packet(now, from(kParty, bytes));
      case 2:
        return forwarder.handle_captured_packet(now, which % 8, bytes);
      case 3:
        return forwarder.handle_captured_packet(now, kCard, from(kOnCard, bytes));
      case 4:
        return forwarder.handle_envelope(now, {origin, addresses}, bytes);
      case 5: {
        const Bytes packet = from(member, bytes);
        return forwarder.handle_envelope(now, {origin, addresses},
                                         wire::LanEnvelope{origin, sequence += which % 3, packet}.bytes());
      }
      case 6:
        return forwarder.handle_join_failed(IpAddress::v4(224, 0, 2, which), "full");
      default:
        now += std::chrono::milliseconds(which * which);
        return forwarder.handle_timeout(now);
    }
  }

  void drain() {
    std::size_t polled = 0;
    while (const auto frame = forwarder.poll_transmit()) {
      LR_CHECK(++polled <= lan::Forwarder::kQueueMax);
      const auto envelope = wire::LanEnvelope::parse(*frame);
      LR_CHECK(envelope && envelope->origin == self().origin);
      const auto udp = wire::parse_udp_packet(envelope->packet);
      LR_CHECK(udp && (udp->source.address == kParty || udp->source.address == kParty6));
    }
    polled = 0;
    while (const auto delivery = forwarder.poll_delivery()) {
      LR_CHECK(++polled <= lan::Forwarder::kQueueMax);
      if (delivery->packet.empty()) continue;
      const auto ip = wire::parse_ip(delivery->packet);
      LR_CHECK(ip && ip->source != kParty && ip->source != kOnCard);
    }
    LR_CHECK(forwarder.translation() != nullptr);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Script script;
  ByteReader in({data, size});
  for (int i = 0; i < 100 && in.ok() && !in.rest().empty(); ++i) {
    const std::uint8_t what = in.u8();
    const std::uint8_t which = in.u8();
    script.step(what, which, in.sized_u16());
    script.drain();
  }
  (void)script.forwarder.status();
  return 0;
}
