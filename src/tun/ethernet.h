// The Ethernet that a TAP needs and nobody else sees.
//
// No Ethernet crosses the wire: every member is shown to the kernel as a card with an address made from its key, ARP
// (RFC 826) and neighbour solicitation (RFC 4861) are answered here, 14 bytes are stripped and added, and what is not
// IP is dropped. Pure values and functions; the adapter drives them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"

namespace lanrage::tun {

using Mac = std::array<std::uint8_t, 6>;

inline constexpr std::size_t kEthernetHeaderSize = 14;
inline constexpr Mac kBroadcastMac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

// A locally administered unicast address that depends on the key alone.
Mac mac_from_key(ByteView public_key);

// Who is on the party's network, as the local kernel shall see it.
struct Neighbourhood {
  struct Member {
    IpAddress address;
    Mac mac;
  };
  std::vector<IpPrefix> own;  // our addresses on the adapter, with their prefix lengths
  std::vector<Member> members;
};

class EthernetLayer {
 public:
  EthernetLayer(Mac own, Neighbourhood neighbourhood);

  struct Inbound {
    bool is_ip = false;           // pass it on without its first 14 bytes
    std::optional<Bytes> answer;  // write this Ethernet frame back; neither: drop
  };
  // A frame that the kernel sent.
  Inbound handle_frame(ByteView frame) const;

  // The header to put before an IP packet that goes to the kernel. `packet` begins with its IP header.
  std::array<std::uint8_t, kEthernetHeaderSize> header_for(ByteView packet) const;

 private:
  std::optional<Mac> member_mac(const IpAddress& address) const;
  std::optional<Bytes> answer_arp(ByteView frame) const;
  std::optional<Bytes> answer_solicitation(ByteView frame) const;

  Mac own_;
  std::vector<IpAddress> broadcasts_;
  std::unordered_map<IpAddress, Mac> members_;
};

}  // namespace lanrage::tun
