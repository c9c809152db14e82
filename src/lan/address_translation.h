// For programs that bound themselves to another address of this machine ("chose the wrong adapter"): their packets to
// members leave with our party address, and what members send to their ports reaches them.
//
// An immutable snapshot, made by the control thread from the host's sockets and used by the data threads, one packet at
// a time. It holds no flows: outbound, every local address becomes the party's; inbound, a port that only such a
// program holds leads to its address, so one answer serves old and new peers alike. UDP and TCP; checksums by
// increment.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"
#include "lan/host_view.h"
#include "wire/ip.h"

namespace lanrage::lan {

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
  // that of the only program on its port.
  bool rewrite_inbound(MutableBytes packet, const wire::IpHeader& ip) const;

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
