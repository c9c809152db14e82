// What happens to an IP packet on its way out: route, filter's memory, cut, seal.
//
// Driven by the TX thread, which cuts superframes and moves batches, and by the simulator, packet by packet. One
// `Outbound` per thread. Allocates nothing. What needs a decision (a broadcast, a peer without a session) is handed to
// control as a verdict; queueing is the caller's.
#pragma once

#include <array>
#include <cstdint>
#include <utility>

#include "node/forwarding.h"

namespace lanrage::node {

// By the packet alone: DSCP EF, CS4 to CS6 or AF4x, UDP up to 300 bytes and ping are the game's.
inline constexpr std::size_t kGameUdpBytesMax = 300;
Lane lane_of(ByteView packet, const wire::IpHeader& ip);

enum class OutboundDrop : std::uint8_t {
  kMalformed,  // not an IP packet
  kNoRoute,    // no peer has this destination
  kNoPath,     // the peer's endpoint is not known
  kTooBig,     // does not fit the path even in two
  kQueueFull,  // control did not keep up
  kCount
};
const char* drop_name(OutboundDrop reason);

struct OutboundVerdict {
  enum class Action : std::uint8_t {
    kSeal,          // to `slot`
    kNeedsSession,  // to `slot`, once control has made a session
    kGroup,         // broadcast or multicast of a party: the LAN rules decide
    kDrop,
  };
  Action action = Action::kDrop;
  OutboundDrop reason = OutboundDrop::kMalformed;
  Lane lane = Lane::kBulk;
  std::uint32_t slot = 0;
  bool translate = false;  // its source is another of this machine's addresses: `translate` each packet of it
};

class Outbound {
 public:
  static constexpr std::size_t kSealedMax = 2;  // datagrams from one packet

  // Decides by the headers; a superframe is judged once, as its first packet would be.
  OutboundVerdict judge(const Forwarding& forwarding, Time now, ByteView packet);

  // Gives a packet (of a superframe: cut, with its checksum finished) our party address as its source.
  static void translate(const Forwarding& forwarding, MutableBytes packet);

  // Seals `plain` for the peer into `out` (kDataOverhead and 15 bytes more than the packet, at least) and counts it.
  // Empty: a keepalive. Answers the datagram's size; 0: the key may not be used any more, ask control for a session.
  // `plain` lies at out + 16 or apart from `out`.
  std::size_t seal(const Peer& peer, Time now, ByteView plain, MutableBytes out);

  // The same for a packet larger than the peer's path MTU, as two fragments; {0, 0} also when `fits` says no.
  static bool needs_cut(const Peer& peer, ByteView packet) { return peer.lanrage && packet.size() > peer.path_mtu; }
  std::array<std::size_t, 2> seal_cut(const Peer& peer, Time now, ByteView packet, std::array<MutableBytes, 2> out);

  // A packet went to a peer that had none for kQuiet: control should look at the counters at once. Once for each.
  static constexpr Duration kQuiet = std::chrono::seconds{1};
  bool take_begun() { return std::exchange(begun_, false); }

  void note_drop(OutboundDrop reason) { ++dropped_[static_cast<std::size_t>(reason)]; }
  const std::array<std::uint64_t, static_cast<std::size_t>(OutboundDrop::kCount)>& dropped() const { return dropped_; }

 private:
  OutboundVerdict drop(OutboundDrop reason);

  std::array<std::uint64_t, static_cast<std::size_t>(OutboundDrop::kCount)> dropped_{};
  std::array<std::uint8_t, wire::Reassembler::kPacketBytesMax> half_{};
  bool begun_ = false;
};

}  // namespace lanrage::node
