// What happens to a WireGuard data message that came in: open, replay window, source check, filter, and
// the address of the program it is for where that is not ours in the party.
//
// Driven by the RX thread for each datagram of a batch, and by the simulator. Opens in place: the packet in the verdict
// lies inside the datagram (or, put together from fragments, inside the peer's Reassembler until its next fragment).
// Allocates nothing in steady state. Handshakes, probes, STUN and relay frames are not its business.
#pragma once

#include <array>
#include <cstdint>

#include "node/forwarding.h"
#include "node/outbound.h"

namespace lanrage::node {

enum class InboundDrop : std::uint8_t {
  kMalformed,        // no data message, or what is inside is neither IP nor a frame of ours
  kUnknownSession,   // no such receive index
  kExpired,          // the session's key is too old
  kRefused,          // forged, or seen before
  kWrongSource,      // an inner source address that is not this peer's
  kNotForUs,         // an inner destination that is not ours, in a party
  kFiltered,         // a closed port
  kUnexpectedFrame,  // our own frame from a plain WireGuard peer, or a bare broadcast from a member
  kQueueFull,        // control did not keep up
  kCount
};
const char* drop_name(InboundDrop reason);

struct InboundVerdict {
  enum class Action : std::uint8_t {
    kNothing,  // a keepalive, or a fragment that waits for its other half
    kDeliver,  // `packet` to the adapter
    kForward,  // `packet` to the peer in `forward_slot`: from or to a plain WireGuard guest that we speak for
    kFrame,    // `packet` to control: LAN envelope, member message or echo
    kGroup,    // `packet` to control: a bare broadcast or multicast of a guest
    kDrop,
  };
  Action action = Action::kDrop;
  InboundDrop reason = InboundDrop::kMalformed;
  Lane lane = Lane::kBulk;
  bool reassembled = false;  // `packet` lies in the peer's Reassembler: copy it before the next datagram
  bool first = false;        // the first packet under its key: control should look at the counters at once
  bool moved = false;        // the peer sends from another path than before: the same
  std::uint32_t slot = 0;
  std::uint32_t forward_slot = 0;
  MutableBytes packet;  // exactly its size, padding removed; frames with their padding
};

class Inbound {
 public:
  // `datagram` is spoilt. `from` as `Forwarding::path_from` gives it.
  InboundVerdict handle_datagram(const Forwarding& forwarding, Time now, const Path& from, MutableBytes datagram);

  void note_drop(InboundDrop reason) { ++dropped_[static_cast<std::size_t>(reason)]; }
  const std::array<std::uint64_t, static_cast<std::size_t>(InboundDrop::kCount)>& dropped() const { return dropped_; }

 private:
  InboundVerdict drop(InboundVerdict verdict, InboundDrop reason);
  InboundVerdict handle_packet(const Forwarding& forwarding, Time now, const Peer& peer, InboundVerdict verdict);
  InboundVerdict handle_frame(const Forwarding& forwarding, Time now, const Peer& peer, InboundVerdict verdict);

  std::array<std::uint64_t, static_cast<std::size_t>(InboundDrop::kCount)> dropped_{};
  lan::FragmentTrail trail_;
};

}  // namespace lanrage::node
