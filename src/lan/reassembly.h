// Puts fragmented IP datagrams together (RFC 791, RFC 8200 section 4.5), so that a large broadcast is one broadcast.
//
// Control thread; time is an argument. Bounded: `kPendingMax` datagrams wait at a time, each for `kWait`, the one that
// waits longest gives way. What overlaps is ignored: the bytes that came first stay.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/time.h"
#include "wire/ip.h"

namespace lanrage::lan {

class Reassembly {
 public:
  static constexpr std::size_t kPendingMax = 64;
  static constexpr Duration kWait = std::chrono::seconds(2);

  // `packet` is a fragment and `ip` its header; parts that came by different `way`s are not mixed. The whole packet,
  // once it is complete: without fragment header, lengths and IPv4 header sum right.
  std::optional<Bytes> handle_fragment(Time now, int way, ByteView packet, const wire::IpHeader& ip);

  std::size_t pending() const { return pending_.size(); }
  std::uint64_t given_up() const { return given_up_; }  // datagrams whose other parts did not come, or made no sense

 private:
  struct Pending {
    Time since{};
    int way = 0;
    std::uint8_t protocol = 0;
    std::uint32_t identification = 0;
    IpAddress source;
    IpAddress destination;
    Bytes header;                     // of the first part, without a fragment header; empty: not here yet
    Bytes payload;                    // as far as known
    std::vector<bool> known;          // of its blocks of eight bytes
    std::size_t blocks = 0;           // known ones
    std::optional<std::size_t> size;  // of the whole payload, once the last part is here
  };

  Pending& pending_for(Time now, int way, const wire::IpHeader& ip);
  std::list<Pending> pending_;  // the youngest last
  std::uint64_t given_up_ = 0;
};

}  // namespace lanrage::lan
