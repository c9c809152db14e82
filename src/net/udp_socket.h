// UDP sockets that move batches: sendmmsg with UDP_SEGMENT, recvmmsg with UDP_GRO.
//
// `send` may be called by any thread; `receive` by one thread at a time. Nothing is allocated and nothing blocks.
// Offloads are probed once at `open`; what the kernel or a route then refuses is turned off for this socket and
// remembered, the batch goes on in single datagrams. Failures of single datagrams are counts, never errors: UDP may
// lose. Does not retry later, queue, resolve or time anything.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>

#include "base/ip.h"
#include "base/result.h"
#include "net/fd.h"

namespace lanrage::net {

// Every send with segments is at most this long: safe for both families and below any kernel's 64 KiB checks.
inline constexpr std::size_t kSegmentedBytesMax = 65000;

struct UdpOptions {
  Endpoint bind;                  // address family decides the socket's; port 0: the kernel chooses
  bool segmentation = true;       // UDP_SEGMENT on send (kill switch)
  bool coalescing = true;         // UDP_GRO on receive (kill switch)
  std::uint32_t mark = 0;         // SO_MARK for routing rules; needs CAP_NET_ADMIN; 0: none
  int receive_buffer = 16 << 20;  // bytes; more than net.core.rmem_max needs CAP_NET_ADMIN
  int send_buffer = 1 << 20;      // bytes; deep send buffers only add delay
  bool reuse_port = false;        // several sockets share one port, one per shard
  bool share_group = false;       // `bind` is a group, and other programs' sockets there hear it, too
  // Datagrams larger than the path are cut by whoever must, here or on the way; else they are lost, and whoever sends
  // finds the path's MTU itself (RFC 8899).
  bool may_fragment = false;
};

// Datagrams for one destination: `bytes` is one datagram, or, with a segment size, equal ones back to back of which
// only the last may be shorter.
struct SendItem {
  Endpoint destination;
  ByteView bytes;
  std::uint16_t segment_size = 0;  // 0: one datagram
  std::uint8_t tos = 0;            // whole traffic class byte, ECN included
  IpAddress source{};              // send from this local address; 0.0.0.0 or ::: the kernel chooses
  std::uint8_t hops = 0;           // routers that may pass it on, and one (the time to live); 0: the usual number. IPv4
};

struct SendReport {
  std::uint32_t sent = 0;       // datagrams the kernel took
  std::uint32_t congested = 0;  // not taken: buffer or queue full (EAGAIN, ENOBUFS)
  std::uint32_t too_big = 0;    // not taken: larger than the path or interface allows (EMSGSIZE)
  std::uint32_t failed = 0;     // not taken: anything else, a route missing for instance
  int last_errno = 0;           // of the newest failure
};

// A buffer to receive into and what came. With coalescing a buffer must hold 65,536 bytes, else datagrams are cut.
struct ReceiveSlot {
  MutableBytes buffer;  // given by the caller, who keeps owning it

  Endpoint source;
  IpAddress destination;           // the local address it was sent to
  unsigned interface = 0;          // index of the interface it came in by
  std::uint16_t segment_size = 0;  // every datagram but the last has this size; at least 1 unless size is 0
  std::uint8_t tos = 0;
  bool truncated = false;  // did not fit the buffer: drop it
  std::size_t size = 0;    // bytes in buffer

  ByteView bytes() const { return buffer.first(size); }
};

// Calls `f(MutableBytes)` for each datagram in a slot.
template <class F>
void for_each_datagram(const ReceiveSlot& slot, F&& f) {
  MutableBytes rest = slot.buffer.first(slot.size);
  const std::size_t step = slot.segment_size;
  while (step != 0 && rest.size() > step) {
    f(rest.first(step));
    rest = rest.subspan(step);
  }
  f(rest);
}

class UdpSocket {
 public:
  static constexpr std::size_t kBatchMax = 64;  // items or slots used by one call

  static Result<UdpSocket> open(const UdpOptions& options);
  UdpSocket(UdpSocket&& other) noexcept;
  UdpSocket& operator=(UdpSocket&&) = delete;

  // Sends every item in order; those of the other address family count as failed. Any number of items.
  SendReport send(std::span<const SendItem> items);
  SendReport send(const SendItem& item) { return send(std::span(&item, 1)); }

  // Fills slots from the front with what is there; 0: nothing waits. An error of an earlier send (ICMP) is skipped.
  std::size_t receive(std::span<ReceiveSlot> slots);

  // The most segments one item may have for this segment size; 1 while segmentation is off.
  std::size_t segments_max(std::size_t segment_size) const;

  int fd() const { return fd_.get(); }
  Endpoint local() const { return local_; }
  bool segments() const { return segments_limit_.load(std::memory_order_relaxed) > 1; }  // UDP_SEGMENT in use
  bool coalesces() const { return coalesces_; }                                          // UDP_GRO in use
  void set_segmentation(bool on);  // kill switch at run time; turning on probes nothing again
  std::uint32_t overflows() const { return overflows_.load(std::memory_order_relaxed); }  // SO_RXQ_OVFL

 private:
  UdpSocket(Fd fd, Endpoint local, unsigned segments_limit, bool coalesces);
  std::size_t send_some(std::span<const SendItem> items, SendReport& report);
  void send_singly(const SendItem& item, SendReport& report);
  void count_failure(const SendItem& item, int error, SendReport& report);

  Fd fd_;
  Endpoint local_;
  unsigned segments_probed_ = 1;
  std::atomic<unsigned> segments_limit_{1};
  bool coalesces_ = false;
  std::atomic<std::uint32_t> overflows_{0};
};

// An IPv4 and an IPv6 socket on the same port. Either may be missing where the machine has no such family.
class UdpPair {
 public:
  // `options.bind.port` for both; 0: a port free in both families. Its address is ignored: both bind to all addresses.
  static Result<UdpPair> open(const UdpOptions& options);

  // By each item's family, order kept within a family.
  SendReport send(std::span<const SendItem> items);
  SendReport send(const SendItem& item) { return send(std::span(&item, 1)); }

  UdpSocket* v4() { return v4_ ? &*v4_ : nullptr; }
  UdpSocket* v6() { return v6_ ? &*v6_ : nullptr; }
  std::uint16_t port() const { return v4_ ? v4_->local().port : v6_->local().port; }

 private:
  UdpPair(std::optional<UdpSocket> v4, std::optional<UdpSocket> v6) : v4_(std::move(v4)), v6_(std::move(v6)) {}
  std::optional<UdpSocket> v4_;
  std::optional<UdpSocket> v6_;
};

}  // namespace lanrage::net
