// Frames between two LANrage nodes inside their tunnel, beside IP packets: what stands here is docs/wire/inner.md.
//
// An inner packet whose first nibble is neither 4 nor 6 is ours; its first byte is the frame's type. WireGuard pads
// inner packets with zeroes, so every frame says its own length. Numbers are big endian. LAN envelopes (0x10) are in
// wire/lan.h. Values only: no state but the `Reassembler`, which belongs to the thread that receives.
#pragma once

#include <array>
#include <optional>
#include <variant>

#include "base/bytes.h"
#include "base/time.h"

namespace lanrage::wire {

enum class InnerType : std::uint8_t {
  kLan = 0x10,
  kFragment = 0x20,
  kMember = 0x30,
  kEcho = 0x50,
};

// True for IPv4 and IPv6 packets, false for our own frames and for what is neither.
inline bool is_ip_packet(ByteView inner) { return !inner.empty() && ((inner[0] >> 4) == 4 || (inner[0] >> 4) == 6); }
std::optional<InnerType> inner_type(ByteView inner);

// One half of an IP packet that does not fit the path. `payload` is a view into the parsed bytes.
struct Fragment {
  static constexpr std::size_t kHeaderBytes = 6;
  std::uint8_t part = 0;  // 0 or 1
  std::uint16_t id = 0;   // the same in both halves; a counter of the sender, per peer
  ByteView payload;       // never empty

  static std::optional<Fragment> parse(ByteView inner);
  // Writes the 6 bytes that stand before the payload.
  static void write_header(std::uint8_t* out, std::uint8_t part, std::uint16_t id, std::size_t payload_bytes);
};

// Where a packet of `packet_bytes` is cut so that both frames fit `frame_bytes_max`: bytes in the first half. Nothing
// when two halves are not enough.
std::optional<std::size_t> fragment_cut(std::size_t packet_bytes, std::size_t frame_bytes_max);

// A round trip inside the tunnel. The time is the asker's own clock and means nothing to the one who answers. What
// stands behind the frame (padding to probe the path's MTU) is not sent back.
struct Echo {
  static constexpr std::size_t kBytes = 16;
  enum class Kind : std::uint8_t { kRequest = 0, kReply = 1 };
  Kind kind = Kind::kRequest;
  std::uint16_t id = 0;
  std::uint32_t sequence = 0;
  std::uint64_t time_ns = 0;

  static std::optional<Echo> parse(ByteView inner);
  std::array<std::uint8_t, kBytes> bytes() const;
  friend bool operator==(const Echo&, const Echo&) = default;
};

// A message from member to member that needs no server: statements and records passed on. What a kind means is known
// to `party`; unknown kinds are ignored.
struct MemberMessage {
  static constexpr std::size_t kHeaderBytes = 4;
  static constexpr std::size_t kPayloadMax = 1300;
  std::uint8_t kind = 0;
  ByteView payload;

  static std::optional<MemberMessage> parse(ByteView inner);
  static Bytes write(std::uint8_t kind, ByteView payload);  // payload at most kPayloadMax
};

// Puts halves together again. Bounded: `kPendingMax` packets wait at a time, each for `kWait`; the oldest gives way.
// One per peer, owned by the receiving thread; allocates once, at the first fragment.
class Reassembler {
 public:
  static constexpr std::size_t kPendingMax = 16;
  static constexpr std::size_t kPacketBytesMax = 2048;
  static constexpr Duration kWait = std::chrono::milliseconds(500);

  // The whole packet once its second half is here: a view that holds until the next call.
  std::optional<MutableBytes> handle_fragment(Time now, const Fragment& fragment);

 private:
  struct Half {
    Time since{};
    std::uint16_t id = 0;
    std::uint16_t bytes = 0;  // 0: free
    std::uint8_t part = 0;
    std::array<std::uint8_t, kPacketBytesMax> data{};
  };
  std::vector<Half> halves_;
  std::array<std::uint8_t, kPacketBytesMax> whole_{};
};

}  // namespace lanrage::wire
