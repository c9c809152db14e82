// The receiving half of the data plane: receives batches, guards the door, opens in place, writes to the adapter.
// Private to dataplane; runs from construction until `stop`.
#pragma once

#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "crypto/random.h"
#include "dataplane/data_plane.h"
#include "net/poller.h"
#include "tun/writer.h"
#include "tunnel/cookie.h"

namespace lanrage::dataplane {

class DataPlane::RxThread {
 public:
  RxThread(DataPlane& plane, net::Poller poller);
  ~RxThread();
  void start();
  void wake() { poller_.wake(); }
  void stop();  // `plane.stopping_` is set

  static constexpr std::uint64_t kV4Tag = 1;
  static constexpr std::uint64_t kV6Tag = 2;
  static constexpr std::uint64_t kExtraTag = 1 << 16;  // and the socket's number

 private:
  // Few enough buffers to stay in the cache. With coalescing each takes 64 KiB of datagrams, without it one datagram.
  static constexpr std::size_t kBufferBytes = 512 * 1024;
  static constexpr std::size_t kCoalescedBytes = 64 * 1024;
  static constexpr std::size_t kSingleBytes = 8 * 1024;
  static constexpr int kRoundsMax = 8;  // receive calls before the snapshot and the clock are looked at again
  static constexpr std::size_t kReassembledMax = 32;

  void run();
  void refresh();
  void use_extra(std::shared_ptr<const ExtraSockets> extra);
  void receive(net::UdpSocket& socket, std::uint16_t number);
  void handle_datagram(const Path& from, MutableBytes datagram);
  void handle_handshake(const Path& from, ByteView datagram);
  void handle_data(const Path& from, MutableBytes datagram);
  void deliver(const node::InboundVerdict& verdict);
  void flush();
  void send_cookies();
  void store_stats();

  DataPlane& plane_;
  net::Poller poller_;
  Published<node::Forwarding>::Reader forwarding_;
  std::shared_ptr<const ExtraSockets> extra_ = std::make_shared<ExtraSockets>();
  node::Inbound inbound_;
  tun::Writer writer_;
  crypto::SystemRng rng_;
  std::optional<crypto::PublicKey> identity_;
  std::optional<tunnel::CookieChecker> door_;
  tunnel::LoadDetector load_;
  tunnel::SourceLimiter limiter_, cookie_reply_limiter_;
  tunnel::Newcomers newcomers_;
  Time now_{};
  DataPlaneStats::Rx stats_;
  std::unique_ptr<std::uint8_t[]> memory_;
  std::vector<net::ReceiveSlot> coalesced_;
  std::vector<net::ReceiveSlot> singles_;
  // Packets put together from fragments, until they are written.
  std::vector<std::array<std::uint8_t, wire::Reassembler::kPacketBytesMax>> reassembled_;
  std::size_t reassembled_used_ = 0;
  // Cookies on their way out; one send per batch, for a flood is answered by as many.
  std::vector<std::pair<Path, Bytes>> cookies_;
  std::thread thread_;
};

}  // namespace lanrage::dataplane
