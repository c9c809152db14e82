// The two data threads of a node: TX (adapter -> seal -> UDP) and RX (UDP -> open -> adapter), run to completion.
//
// Control makes one from an adapter and a socket pair, publishes `node::Forwarding` snapshots to it, drains its queues,
// and may send datagrams of its own by the same sockets at any time. Batches are what is already there: nothing waits
// for more, and nothing on the way of a packet locks or allocates. Decides nothing: the pipeline is node/outbound.h and
// node/inbound.h, the handshakes are control's. RX alone guards the door: it drops handshakes that are not for us and,
// under load, asks for cookies.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "base/log.h"
#include "dataplane/extra_sockets.h"
#include "dataplane/published.h"
#include "dataplane/queues.h"
#include "net/udp_socket.h"
#include "node/forwarding.h"
#include "node/inbound.h"
#include "node/outbound.h"
#include "tun/adapter.h"

namespace lanrage::dataplane {

// Numbers since the start, copied by each thread after each batch.
struct DataPlaneStats {
  struct Tx {
    std::uint64_t frames = 0;     // read from the adapter
    std::uint64_t packets = 0;    // sealed
    std::uint64_t sends = 0;      // runs handed to the kernel
    std::uint64_t datagrams = 0;  // taken by it
    std::uint64_t congested = 0;  // not taken: buffer full
    std::uint64_t too_big = 0;    // not taken: larger than the path allows
    std::uint64_t failed = 0;     // not taken: no route and the like
    std::array<std::uint64_t, static_cast<std::size_t>(node::OutboundDrop::kCount)> dropped{};
  } tx;
  struct Rx {
    std::uint64_t batches = 0;  // buffers received
    std::uint64_t datagrams = 0;
    std::uint64_t delivered = 0;    // packets given to the adapter
    std::uint64_t frames = 0;       // writes that took
    std::uint64_t frames_lost = 0;  // the adapter did not take them
    std::uint64_t refused_merges = 0;
    std::uint64_t overflows = 0;  // lost in the socket before we read
    std::uint64_t bad_mac = 0;    // handshakes not for us
    std::uint64_t cookies = 0;    // asked for
    std::uint64_t limited = 0;    // cookie replies, or with a good cookie: too many
    std::uint64_t unknown = 0;    // no protocol of ours
    std::array<std::uint64_t, static_cast<std::size_t>(node::InboundDrop::kCount)> dropped{};
  } rx;
};

struct DataPlaneOptions {
  bool other_protocols = true;   // pass probes, STUN and relay frames to control; else drop them
  bool verify_checksums = true;  // of packets before they are merged towards the adapter
};

class DataPlane {
 public:
  // Starts both threads. `adapter` and `sockets` must outlive it.
  static Result<std::unique_ptr<DataPlane>> start(const DataPlaneOptions& options, tun::Adapter& adapter,
                                                  net::UdpPair& sockets, std::shared_ptr<const node::Forwarding> first,
                                                  const Logger& log);
  ~DataPlane();  // stops and joins both; what waits to be sealed is lost
  DataPlane(const DataPlane&) = delete;
  DataPlane& operator=(const DataPlane&) = delete;

  // Control: from now on this. Packets that waited for it (`staged`) are sealed before anything that comes later. Both
  // threads let go of the snapshot before at once, and with it of the keys only it held. What comes to the sockets in
  // `extra` is received as what comes to our own.
  void publish(std::shared_ptr<const node::Forwarding> forwarding, std::vector<ClearPacket> staged = {},
               std::shared_ptr<const ExtraSockets> extra = {});

  ControlQueues& queues() { return *queues_; }
  net::UdpPair& sockets() { return sockets_; }

  // False: the adapter is gone for good (`attention` was signalled).
  bool adapter_open() const { return adapter_open_.load(std::memory_order_acquire); }
  DataPlaneStats stats() const;  // any thread

 private:
  class TxThread;
  class RxThread;

  // Statistics as relaxed atomics: one thread stores, any loads.
  template <class Part>
  class Shared {
   public:
    void store(const Part& part) {
      const auto* words = reinterpret_cast<const std::uint64_t*>(&part);
      for (std::size_t i = 0; i < kWords; ++i) words_[i].store(words[i], std::memory_order_relaxed);
    }
    Part load() const {
      Part part;
      auto* words = reinterpret_cast<std::uint64_t*>(&part);
      for (std::size_t i = 0; i < kWords; ++i) words[i] = words_[i].load(std::memory_order_relaxed);
      return part;
    }

   private:
    static constexpr std::size_t kWords = sizeof(Part) / sizeof(std::uint64_t);
    std::array<std::atomic<std::uint64_t>, kWords> words_{};
  };

  DataPlane(const DataPlaneOptions& options, tun::Adapter& adapter, net::UdpPair& sockets,
            std::shared_ptr<const node::Forwarding> first, const Logger& log, std::unique_ptr<ControlQueues> queues);
  void note_adapter_closed();
  static void raise_priority();

  const DataPlaneOptions options_;
  tun::Adapter& adapter_;
  net::UdpPair& sockets_;
  Logger log_;
  std::unique_ptr<ControlQueues> queues_;
  Published<node::Forwarding> forwarding_;
  std::vector<ClearPacket> staged_;            // under forwarding_'s lock
  std::shared_ptr<const ExtraSockets> extra_;  // likewise
  std::atomic<bool> stopping_{false};
  std::atomic<bool> adapter_open_{true};
  Shared<DataPlaneStats::Tx> tx_stats_;
  Shared<DataPlaneStats::Rx> rx_stats_;
  std::unique_ptr<TxThread> tx_;
  std::unique_ptr<RxThread> rx_;
};

}  // namespace lanrage::dataplane
