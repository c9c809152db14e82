// Writes received packets to an adapter in as few system calls as possible.
//
// Owned by the RX thread: `add` each opened packet of a receive batch, then `flush` before waiting again. Merging is
// turned off for good the first time the kernel refuses a merged frame, and nothing is lost by that.
#pragma once

#include <utility>

#include "tun/adapter.h"
#include "tun/offload.h"

namespace lanrage::tun {

class Writer {
 public:
  struct Stats {
    std::uint64_t frames = 0;   // written
    std::uint64_t refused = 0;  // merged frames that went out as single packets instead
    std::uint64_t dropped = 0;  // frames the kernel did not take
  };

  // What the adapter cannot do is left out of `options`.
  Writer(Adapter& adapter, CoalescerOptions options);

  // One IP packet, exactly its bytes, which must stay until the next flush; flushes by itself when full.
  void add(ByteView packet, bool mergeable = true);

  // Writes all. The worst status: kOk, kFull, kDown or kClosed.
  IoStatus flush();

  const Stats& stats() const { return stats_; }
  const Coalescer& coalescer() const { return coalescer_; }

 private:
  void write(const Frame& frame);
  void write_singly(const Frame& frame);
  void note(IoStatus status);

  Adapter& adapter_;
  Coalescer coalescer_;
  Stats stats_;
  IoStatus worst_ = IoStatus::kOk;
};

}  // namespace lanrage::tun
