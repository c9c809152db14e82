// The virtual network card: a TAP for a party, a TUN for stock WireGuard. IP packets in both cases.
//
// Batches with offloads: one read gives up to 64 KiB of TCP or UDP as one frame (cut it with `Segmenter`), one write
// takes as much (merge with `Coalescer`, or use `Writer`, which also handles a kernel that refuses). One thread reads,
// one writes, at the same time. Addresses, routes and neighbour entries are set by `net::Netlink`, not here.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "tun/ethernet.h"
#include "tun/offload.h"

namespace lanrage::tun {

enum class Kind : std::uint8_t { kTap, kTun };

struct AdapterInfo {
  Kind kind = Kind::kTap;
  std::string name;
  unsigned index = 0;  // of the interface
  int mtu = 0;
  bool tcp_offload = false;  // superframes of TCP in both directions
  bool udp_offload = false;  // of UDP too (Linux 6.2)
  Mac mac{};                 // our own; TAP only
};

// Where one frame is read to. About 64 KiB: make two to four per thread and reuse them. Around the packet there is room
// for the caller's own headers and tags.
class ReadBuffer {
 public:
  static constexpr std::size_t kHeadroom = 64;
  static constexpr std::size_t kTailroom = 64;
  static constexpr std::size_t kPacketMax = 65535 + kEthernetHeaderSize;

  VnetHeader vnet;
  std::uint32_t size = 0;

  MutableBytes packet() { return {storage_ + kHeadroom, size}; }
  // Headroom, packet and tailroom; the bytes outside the packet are free for the caller.
  MutableBytes storage() { return storage_; }

 private:
  alignas(64) std::uint8_t storage_[kHeadroom + kPacketMax + kTailroom];
};

enum class IoStatus : std::uint8_t {
  kOk,
  kEmpty,    // read: nothing (more) waits
  kFull,     // write: the kernel has no room, the frame is lost
  kRefused,  // write: EINVAL, the kernel does not take this merged frame
  kDown,     // the interface is down: pause and try again after a link change
  kClosed,   // the adapter is gone for good
};

struct ReadResult {
  std::size_t count = 0;            // buffers filled, from the front
  IoStatus status = IoStatus::kOk;  // why it stopped: kOk means every buffer is filled and more may wait
};

class Adapter {
 public:
  virtual ~Adapter() = default;
  virtual const AdapterInfo& info() const = 0;
  virtual int fd() const = 0;  // readable when read() has something

  // Never blocks. To answer a lone packet soonest, pass one buffer and ask again after sending.
  virtual ReadResult read(std::span<ReadBuffer> buffers) = 0;

  // Writes one frame, `pieces` in order, at most kPiecesMax of them, each packet starting in the first.
  static constexpr std::size_t kPiecesMax = 600;
  virtual IoStatus write(const VnetHeader& vnet, std::span<const ByteView> pieces) = 0;

  // One packet with a finished checksum, at any time and on any thread: beside the two, control writes some, too.
  virtual IoStatus write_packet(ByteView packet) = 0;

  // TAP: who is behind this card, for the answers to ARP and neighbour solicitation. Any thread; TUN ignores it.
  virtual void set_neighbourhood(Neighbourhood neighbourhood) = 0;
};

struct AdapterOptions {
  Kind kind = Kind::kTap;
  std::string name{};              // exactly this, or
  std::string prefix = "lanrage";  // the first free of prefix0, prefix1, ...
  int mtu = 1420;
  Mac mac{};                // TAP: our own address, `mac_from_key`; zero: the kernel picks one
  bool tcp_offload = true;  // kill switches
  bool udp_offload = true;
  int gso_max_bytes = 61440;  // the longest superframe the kernel makes: one read fills one 65,000 byte UDP send
  // txqueuelen: frames of up to 64 KiB waiting for us, so short; but two datagrams of 64 KiB, cut into 47 each, fit.
  int queue_packets = 128;
};

// Makes the interface and sets it up. Needs CAP_NET_ADMIN; the error's hint says so. A name is free when neither an
// interface nor /var/run/wireguard/NAME.sock has it.
Result<std::unique_ptr<Adapter>> open_adapter(const AdapterOptions& options);

}  // namespace lanrage::tun
