// The sending half of the data plane: reads the adapter, judges, cuts superframes, seals into the slab, sends.
// Private to dataplane; runs from construction until `stop`.
#pragma once

#include <thread>
#include <vector>

#include "dataplane/data_plane.h"
#include "dataplane/sealed_batch.h"
#include "net/poller.h"

namespace lanrage::dataplane {

class DataPlane::TxThread {
 public:
  TxThread(DataPlane& plane, net::Poller poller);
  ~TxThread();
  void start();
  void wake() { poller_.wake(); }
  void stop();  // `plane.stopping_` is set

  static constexpr std::uint64_t kAdapterTag = 1;
  static constexpr std::uint64_t kClearTag = 2;

 private:
  // Frames read before the clear queue, the snapshot and the clock are looked at again.
  static constexpr int kReadsMax = 64;

  void run();
  void refresh();
  void drain_clear();
  void drain_adapter();
  void handle_frame(tun::ReadBuffer& buffer);
  void handle_clear(const ClearPacket& clear);
  void seal(std::uint32_t slot, const node::Peer& peer, node::Lane lane, ByteView packet);
  void commit(std::uint32_t slot, const node::Peer& peer, node::Lane lane, std::size_t size);
  void wait_for_control(const crypto::PublicKey& peer, bool group, ByteView packet);
  void flush();
  void store_stats();

  DataPlane& plane_;
  net::Poller poller_;
  Published<node::Forwarding>::Reader forwarding_;
  node::Outbound outbound_;
  SealedBatch batch_;
  bool batch_has_game_ = false;
  Time now_{};
  DataPlaneStats::Tx stats_;
  std::unique_ptr<tun::ReadBuffer> buffer_ = std::make_unique<tun::ReadBuffer>();
  std::array<std::uint8_t, 4096> second_half_{};
  std::vector<ClearPacket> clear_;
  std::vector<ClearPacket> staged_;
  std::thread thread_;
};

}  // namespace lanrage::dataplane
