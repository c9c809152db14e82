// For programs that bound themselves to another address of this machine ("chose the wrong adapter"): their packets to
// members leave with our party address, and what members send to their ports reaches them.
//
// An immutable snapshot, made by the control thread from the host's sockets and used by the data threads, one packet at
// a time. It holds no flows: outbound, every local address becomes the party's; inbound, a port that only such a
// program holds leads to its address, so one answer serves old and new peers alike. UDP and TCP; checksums by
// increment. Inbound fragments follow their first part by a `FragmentTrail`.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"
#include "base/time.h"
#include "lan/host_view.h"
#include "wire/ip.h"

namespace lanrage::lan {

// Where the first parts of fragmented datagrams were led, so that the other parts follow; they hold no ports. A part
// that overtakes the first stays behind. Owned by the thread that receives; a fixed size, the oldest gives way.
class FragmentTrail {
 public:
  static constexpr std::size_t kEntries = 32;
  static constexpr Duration kWait = std::chrono::seconds(2);

  void note(Time now, const wire::IpHeader& first, const IpAddress& led_to);
  std::optional<IpAddress> find(Time now, const wire::IpHeader& part) const;

 private:
  struct Entry {
    Time since{};
    IpAddress source;
    std::uint32_t identification = 0;
    std::uint8_t protocol = 0;
    std::optional<IpAddress> led_to;  // nothing: free
  };
  std::array<Entry, kEntries> entries_;
  std::size_t next_ = 0;
};

class AddressTranslation {
 public:
  static constexpr std::size_t kPortsMax = 4096;

  AddressTranslation() = default;  // changes nothing
  // `adapter` is the party's interface; `v4` and `v6` our party addresses.
  AddressTranslation(const HostView& view, int adapter, const IpAddress& v4, const std::optional<IpAddress>& v6);

  // What the source of a packet read from the adapter, going to a member, becomes; nothing: it stays.
  std::optional<IpAddress> outbound_source(const wire::IpHeader& ip) const;
  // Makes it so, in a packet whose checksum is finished. True: its source was another local address and is ours now.
  bool rewrite_outbound(MutableBytes packet, const wire::IpHeader& ip) const;
  // A packet from a member about to be written into the adapter. True: its destination was our party address and is
  // that of the only program on its port, or where the first part of its datagram went.
  bool rewrite_inbound(Time now, MutableBytes packet, const wire::IpHeader& ip, FragmentTrail& trail) const;

  bool empty() const { return local_.empty(); }
  // Where packets to this port of ours go, if not to the party address.
  std::optional<IpAddress> holder(SocketKind kind, bool v6, std::uint16_t port) const;
  friend bool operator==(const AddressTranslation&, const AddressTranslation&) = default;

 private:
  struct Port {
    SocketKind kind;
    bool v6;
    std::uint16_t port;
    friend auto operator<=>(const Port&, const Port&) = default;
  };
  std::optional<IpAddress> v4_;
  std::optional<IpAddress> v6_;
  std::vector<IpAddress> local_;  // other addresses of this machine, sorted
  std::map<Port, IpAddress> holders_;
};

}  // namespace lanrage::lan
