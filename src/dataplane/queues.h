// What passes between the data threads and control: values, and the bounded queues that carry them.
//
// One queue per kind, so that a flood of one never starves another. A full queue drops and counts. Control watches each
// queue's fd and drains it; only `ClearPacket`s go the other way.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/ip.h"
#include "crypto/keys.h"
#include "net/event.h"
#include "net/queue.h"
#include "node/forwarding.h"
#include "wire/demux.h"

namespace lanrage::dataplane {

// RX -> control: a WireGuard message of type 1 to 3 whose first MAC is ours and, under load, whose cookie is good.
struct ReceivedHandshake {
  Path from;
  Bytes datagram;
};

// RX -> control: a probe, a STUN message or a relay frame, as it came.
struct ReceivedMessage {
  wire::Protocol protocol = wire::Protocol::kUnknown;
  Path from;
  Bytes datagram;
};

// RX -> control: out of a peer's tunnel. A LAN envelope, member message or echo; or, with `bare`, a guest's own
// broadcast or multicast IP packet.
struct ReceivedFrame {
  crypto::PublicKey peer;
  bool bare = false;
  Bytes frame;
};

// TX -> control: packets from the adapter that wait for a decision.
struct WaitingPacket {
  crypto::PublicKey peer;  // meaningless for a group
  bool group = false;      // broadcast or multicast: the LAN rules decide. Else: `peer` has no usable session
  Bytes packet;
};

// Control (and RX, for guests) -> TX: to be sealed for a peer. Empty: a keepalive.
struct ClearPacket {
  crypto::PublicKey peer;
  std::uint32_t slot = 0;  // in the snapshot; ignored unless that slot still is this peer's
  Bytes packet;
  node::Lane lane = node::Lane::kBulk;
};

struct QueueSizes {
  static constexpr std::size_t kHandshakes = 1024;
  static constexpr std::size_t kMessages = 1024;
  static constexpr std::size_t kFrames = 1024;
  static constexpr std::size_t kWaiting = 1024;
  static constexpr std::size_t kClear = 4096;
};

struct ControlQueues {
  net::Queue<ReceivedHandshake> handshakes;
  net::Queue<ReceivedMessage> messages;
  net::Queue<ReceivedFrame> frames;
  net::Queue<WaitingPacket> waiting;
  net::Queue<ClearPacket> clear;  // towards TX
  net::Event attention;           // look at the counters and at `DataPlane::state` now

  static Result<std::unique_ptr<ControlQueues>> create();
};

}  // namespace lanrage::dataplane
