// What waits to go into a relay's byte stream: never long, and the newest survives.
//
// TCP delivers everything, however late; a game packet that is late is worth nothing. So datagrams wait here and not in
// the kernel, and are dropped here, oldest first, once they are older than kStreamAgeMax or more than kStreamBytesMax.
// Small ones (a game's) go before large ones (a transfer's). StreamWindow says how much the connection may hold that is
// not acknowledged: what cannot be taken back must not stand in a router's queue either.
//
// Pure; owned by one thread, that of the connection.
#pragma once

#include <array>
#include <deque>

#include "base/bytes.h"
#include "base/time.h"

namespace lanrage::relay {

inline constexpr Duration kStreamAgeMax = std::chrono::milliseconds(150);  // waiting here
inline constexpr std::size_t kStreamBytesMax = 512 * 1024;                 // waiting here
inline constexpr std::size_t kStreamWaitingCost = 64;  // of these, for each datagram beside its own bytes
inline constexpr std::size_t kStreamSmallMax = 400;    // bytes of a sealed game packet, a probe, a handshake

class StreamQueue {
 public:
  struct Stats {
    std::uint64_t sent = 0;
    std::uint64_t dropped_old = 0;   // waited longer than kStreamAgeMax
    std::uint64_t dropped_full = 0;  // more than kStreamBytesMax waited
    std::uint64_t dropped_size = 0;  // no datagram that the stream carries
  };

  void push(Time now, ByteView datagram);
  // Appends frames (wire/relay_stream.h) of together about `bytes` to `out`, one at least when any is left.
  void take(Time now, std::size_t bytes, Bytes& out);
  bool empty() const { return small_.waiting.empty() && large_.waiting.empty(); }
  const Stats& stats() const { return stats_; }

 private:
  struct Waiting {
    Time since;
    Bytes datagram;
  };
  struct Lane {
    std::deque<Waiting> waiting;
    std::size_t bytes = 0;
  };
  static void pop(Lane& lane);
  void drop_old(Time now, Lane& lane);

  Lane small_, large_;
  Stats stats_;
};

// How many bytes a connection may hold, by its round trip: more than the path itself takes stands in queues on the way
// and shows as a round trip above the least. Grows while it is short and nothing queues, shrinks in proportion
// to what does (the idea of TCP Vegas, Brakmo and Peterson 1995), whatever the kernel's congestion control fills.
class StreamWindow {
 public:
  static constexpr Duration kStanding = std::chrono::milliseconds(60);  // let stand on the way
  static constexpr std::size_t kFirst = 16 * 1024;
  static constexpr std::size_t kLeast = 3 * 1024;
  static constexpr std::size_t kMost = 8 * 1024 * 1024;

  // Of the connection now: smoothed and least round trip, and the bytes not acknowledged. Bytes that may be added.
  std::size_t allowance(Time now, Duration rtt, Duration least_rtt, std::size_t unacknowledged);
  std::size_t bytes() const { return bytes_; }

 private:
  std::size_t bytes_ = kFirst;
  bool was_short_ = false;  // since it was last changed
  Time changed_{};
};

}  // namespace lanrage::relay
