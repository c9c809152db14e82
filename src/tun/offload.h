// Superframes: cutting what the kernel hands us in one piece, and merging packets into what it takes in one piece.
//
// `Segmenter` turns one read of an adapter (up to 64 KiB with a virtio-net header) into the IP packets that go on the
// wire, one at a time and without a copy. `Coalescer` collects the packets of one receive batch and gives them back as
// few frames as TCP and UDP allow. Both are pure: no system call, no allocation per packet, one thread each (TX and RX
// of the data plane). Frames are IP packets; the Ethernet layer and the system calls are the adapter's.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"

namespace lanrage::tun {

// struct virtio_net_hdr (virtio 1.2, section 5.1.6), 10 bytes in the machine's byte order. Offsets count from the start
// of the IP packet; the adapter adds what its Ethernet header takes.
struct VnetHeader {
  static constexpr std::size_t kSize = 10;
  static constexpr std::uint8_t kNeedsChecksum = 1;  // flags
  static constexpr std::uint8_t kGsoNone = 0;        // gso_type
  static constexpr std::uint8_t kGsoTcp4 = 1;
  static constexpr std::uint8_t kGsoTcp6 = 4;
  static constexpr std::uint8_t kGsoUdp = 5;        // UDP_L4: one UDP header per chunk
  static constexpr std::uint8_t kGsoEcnBit = 0x80;  // beside a TCP type

  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  std::uint16_t header_size = 0;  // a hint, not to be trusted
  std::uint16_t gso_size = 0;     // payload bytes per segment
  std::uint16_t checksum_start = 0;
  std::uint16_t checksum_offset = 0;

  static VnetHeader load(const std::uint8_t* bytes);
  void store(std::uint8_t* bytes) const;
  friend bool operator==(const VnetHeader&, const VnetHeader&) = default;
};

// Cuts a superframe into IP packets with true checksums. A frame that is no superframe comes out as its one packet.
class Segmenter {
 public:
  // Takes what one read gave and finishes a partial checksum. `frame` is written to, must stay until the last packet is
  // taken and is spoilt after that. Nullopt: header and frame contradict each other; drop and count.
  static std::optional<Segmenter> start(const VnetHeader& vnet, MutableBytes frame);

  // The next packet, contiguous and inside `frame`: its headers are stamped in front of its payload, over the end of
  // the packet before. Valid, and free to be changed, until the next call. Empty after the last.
  MutableBytes next();

  // The same packet copied to the front of `out` (at least packet_size_max() bytes), leaving `frame` whole. Gives its
  // size, 0 after the last.
  std::size_t next_into(MutableBytes out);

  std::size_t count() const { return count_; }                      // packets in total
  std::size_t left() const { return count_ - index_; }              // packets not taken yet
  std::size_t packet_size_max() const { return packet_size_max_; }  // size of every packet but the last

 private:
  static constexpr std::size_t kHeaderMax = 192;  // IP with options or extensions, and TCP with options

  Segmenter() = default;
  bool prepare(const VnetHeader& vnet);
  std::size_t chunk_size() const;
  void stamp(std::uint8_t* packet, std::size_t chunk);  // writes the header of segment index_ before its chunk

  MutableBytes frame_;
  std::size_t header_size_ = 0;  // IP and layer 4; 0: a single packet
  std::size_t layer4_ = 0;
  std::size_t gso_size_ = 0;
  std::size_t position_ = 0;  // of the next chunk
  std::size_t count_ = 1;
  std::size_t index_ = 0;
  std::size_t packet_size_max_ = 0;
  bool v6_ = false;
  bool tcp_ = false;
  std::uint16_t fixed_sum_ = 0;     // of what is the same in every segment: pseudo header and layer-4 header
  std::uint16_t ip_fixed_sum_ = 0;  // IPv4 header without length, id and checksum
  std::array<std::uint8_t, kHeaderMax> header_;
};

struct CoalescerOptions {
  bool tcp = true;
  bool udp = false;    // needs USO (Linux 6.2); datagrams up to kUdpMergeMin are never merged
  bool verify = true;  // check a packet's checksum before merging, which replaces it
};

// What one write hands to an adapter: `pieces` in order are one frame. For a merged one `packets` are the packets it
// was made of, in order, for a kernel that refuses the merged form.
struct Frame {
  VnetHeader vnet;
  std::span<const ByteView> pieces;
  std::span<const ByteView> packets;
};

class Coalescer {
 public:
  static constexpr std::size_t kPacketsMax = 512;       // per batch
  static constexpr std::size_t kUdpMergeMin = 301;      // smaller datagrams are games: timing is worth more
  static constexpr std::size_t kUdpSegmentsMax = 63;    // the kernel's UDP_MAX_SEGMENTS was 64 before 6.9
  static constexpr std::size_t kFrameBytesMax = 65535;  // an IP packet's length field

  struct Stats {
    std::uint64_t packets = 0;       // added
    std::uint64_t frames = 0;        // flushed
    std::uint64_t merged = 0;        // packets that joined an earlier one
    std::uint64_t bad_checksum = 0;  // kept alone for that
  };

  explicit Coalescer(const CoalescerOptions& options);

  // Adds one IP packet, exactly its bytes; they must stay until after `flush`. `mergeable` false keeps it a frame of
  // its own (game lane) without overtaking its flow. False: full, nothing was added; flush first.
  bool add(ByteView packet, bool mergeable = true);

  // Calls `write(const Frame&)` for every frame, by arrival of its first packet, and starts over.
  template <class Write>
  void flush(Write&& write) {
    for (std::size_t i = 0; i < groups_used_; ++i) write(frame_of(groups_[i]));
    clear();
  }

  bool empty() const { return packets_used_ == 0; }
  void set_options(const CoalescerOptions& options) { options_ = options; }  // kill switches; only while empty
  const CoalescerOptions& options() const { return options_; }
  const Stats& stats() const { return stats_; }

 private:
  static constexpr std::size_t kHeaderMax = 40 + 60;
  static constexpr std::uint16_t kNone = 0xffff;
  static constexpr std::size_t kTableSize = 2 * kPacketsMax;

  // What decides whether two packets belong together, found once per packet.
  struct Shape {
    bool v6 = false;
    bool tcp = false;
    bool can_merge = false;
    std::uint16_t layer4 = 0;  // offset of the TCP or UDP header
    std::uint16_t header = 0;  // IP and layer 4 together
    std::uint16_t payload = 0;
    std::uint32_t flow_hash = 0;
  };
  struct Packet {
    ByteView bytes;
    std::uint16_t next = kNone;  // in its group
  };
  struct Group {
    Shape shape;
    std::uint16_t first = 0;  // packets, by index
    std::uint16_t last = 0;
    std::uint16_t count = 1;
    std::uint16_t slot = kNone;  // in table_; kNone: of no flow
    bool open = false;           // a later packet may join
    bool verified = false;
    bool push = false;
    std::uint16_t next_id = 0;
    std::uint32_t next_sequence = 0;
    std::size_t size = 0;  // of the merged packet
    std::array<std::uint8_t, kHeaderMax> header;
  };

  bool read_shape(ByteView packet, Shape& shape) const;
  std::uint16_t slot_of(ByteView packet, const Shape& shape) const;
  bool try_join(Group& group, ByteView packet, const Shape& shape);
  bool fits_behind(const Group& group, ByteView packet, const Shape& shape) const;
  bool is_intact(ByteView packet, const Shape& shape);
  void start_group(ByteView packet, const Shape& shape, std::uint16_t slot, bool mergeable);
  std::uint16_t keep(ByteView packet);
  Frame frame_of(Group& group);
  void clear();

  CoalescerOptions options_;
  Stats stats_;
  std::size_t packets_used_ = 0;
  std::size_t groups_used_ = 0;
  std::vector<Packet> packets_;
  std::vector<Group> groups_;
  std::vector<std::uint16_t> table_;  // flow hash -> newest group of that flow
  std::vector<ByteView> pieces_;
  std::vector<ByteView> originals_;
};

}  // namespace lanrage::tun
