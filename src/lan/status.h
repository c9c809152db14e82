// What `lanrage lan` shows: how much went where, what was held back and why, and which programs it concerns.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/ip.h"

namespace lanrage::lan {

// Why a packet went no further. Counted per reason and never logged above debug.
enum class Drop : std::uint8_t {
  kMalformed,       // not one whole, well-formed packet or envelope
  kNotUdp,          // another protocol: IGMP, neighbour discovery, ping
  kFragment,        // a datagram in fragments, some of which did not come or made no sense
  kNotLan,          // neither broadcast nor multicast
  kOtherInterface,  // ours, seen on a card without an address: the port of a bridge
  kForeignSource,   // its source is not this machine's, or not that member's
  kEcho,            // what a member said, come back by another way
  kCardInTurn,      // the same announcement, sent on another card too
  kNeverForwarded,  // the documented list
  kClosedPort,      // the filter between members keeps this port shut
  kServiceAccount,  // mDNS or SSDP of a system daemon
  kRateLimited,     //
  kNoAddress,       // no party address of that family
  kForgedOrigin,    // an envelope that names another member than the tunnel it came by
  kQueueFull,       //
  kCount
};
const char* drop_name(Drop reason);  // "not_udp"

enum class GroupWay : std::uint8_t {
  kJoined,    // we joined it on the adapter
  kProgram,   // a program joined it on the adapter
  kInjected,  // handed over on the interface where it is joined
};
const char* group_way_name(GroupWay way);

struct GroupStatus {
  IpAddress group;
  std::string interface;  // where the packets are handed over
  GroupWay way = GroupWay::kJoined;
};

struct ProgramStatus {
  std::string program;     // empty: unknown
  std::uint16_t port = 0;  // it sent to
  std::uint64_t packets = 0;
};

struct HeardStatus {
  Endpoint destination;
  std::uint64_t packets = 0;
  std::uint64_t unheard = 0;  // of them with no local program listening
};

struct LanStatus {
  std::uint64_t captured = 0;    // datagrams of local programs seen
  std::uint64_t sent = 0;        // of them given to the party, once each
  std::uint64_t received = 0;    // envelopes of members
  std::uint64_t delivered = 0;   // of them handed to this machine
  std::uint64_t duplicates = 0;  // second copies, dropped
  std::array<std::uint64_t, static_cast<std::size_t>(Drop::kCount)> dropped{};
  std::size_t tracked_contents = 0;
  std::vector<GroupStatus> groups;
  std::vector<std::string> rules;  // sentences
  std::vector<ProgramStatus> programs;
  std::vector<HeardStatus> heard;
};

}  // namespace lanrage::lan
