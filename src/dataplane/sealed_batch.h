// Sealed datagrams on their way out, back to back in one slab, grouped into runs that UDP_SEGMENT sends in one piece.
//
// Owned by the TX thread. `room` gives the place for the next datagram, which is sealed right there; `add` closes it;
// `flush` sends everything, in order. Nothing waits in here longer than one round of the thread's loop.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "base/ip.h"
#include "dataplane/extra_sockets.h"
#include "net/udp_socket.h"

namespace lanrage::dataplane {

class SealedBatch {
 public:
  static constexpr std::size_t kDatagramMax = 65535 + 64;  // a superframe's packet is never larger
  static constexpr std::size_t kFlushBytes = 60000;        // about one segmented send: more would only wait
  static constexpr std::size_t kSlabBytes = kFlushBytes + kDatagramMax;
  static constexpr std::size_t kRunsMax = 64;
  static constexpr std::size_t kPathsMax = 2;

  struct Totals {
    std::uint64_t sends = 0;  // runs times paths
    std::uint64_t datagrams = 0;
    std::uint64_t congested = 0;
    std::uint64_t too_big = 0;
    std::uint64_t failed = 0;
  };

  explicit SealedBatch(net::UdpPair& sockets);

  // Sockets of paths that name them; null: none.
  void set_extra(std::shared_ptr<const ExtraSockets> extra);

  MutableBytes room() { return MutableBytes(slab_.get(), kSlabBytes).subspan(used_); }  // at least kDatagramMax
  // The first `size` bytes of `room` are a datagram for `key` (a peer's slot), by each of `paths` (of at most
  // kPathsMax). True: it is time to flush.
  bool add(std::uint32_t key, std::span<const Path> paths, std::size_t size);
  void flush();

  bool empty() const { return runs_used_ == 0; }
  const Totals& totals() const { return totals_; }

 private:
  struct Run {
    std::uint32_t key = 0;
    std::uint32_t path_count = 0;
    std::array<Path, kPathsMax> paths{};
    std::size_t begin = 0;
    std::size_t size = 0;
    std::size_t segment = 0;
    std::size_t segments_left = 0;  // 0: nothing may join
  };
  std::size_t segments_max(const Run& run);
  void send(std::span<const net::SendItem> items, net::UdpSocket* extra);

  net::UdpPair& sockets_;
  std::shared_ptr<const ExtraSockets> extra_ = std::make_shared<ExtraSockets>();
  std::unique_ptr<std::uint8_t[]> slab_;
  std::size_t used_ = 0;
  std::array<Run, kRunsMax> runs_{};
  std::size_t runs_used_ = 0;
  Totals totals_;
};

}  // namespace lanrage::dataplane
