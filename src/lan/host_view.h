// What this computer looks like to LAN games, as plain values: interfaces, UDP sockets, joined groups.
//
// `Forwarder` decides by it. The real one is read from the kernel by host/kernel_tables.h and cached; tests and the
// simulator make theirs up. The party's adapter is among the interfaces.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/time.h"

namespace lanrage::lan {

struct HostInterface {
  int index = 0;
  std::string name;
  std::vector<IpPrefix> addresses;  // own addresses with their prefix length
  bool loopback = false;
  bool multicast = true;
  friend bool operator==(const HostInterface&, const HostInterface&) = default;
};

enum class SocketKind : std::uint8_t { kUdp, kTcpListener };

struct LocalSocket {
  SocketKind kind = SocketKind::kUdp;
  bool v6 = false;          // an IPv6 socket; bound to :: it hears IPv4 too, unless v6_only
  bool v6_only = false;     //
  bool connected = false;   // hears its one peer only
  IpAddress bound;          // 0.0.0.0 or :: when bound to no address
  std::uint16_t port = 0;   //
  int device = 0;           // SO_BINDTODEVICE; 0: none
  std::uint32_t uid = 0;    // who made it
  std::uint64_t inode = 0;  // names it under /proc
  // IP_MULTICAST_ALL: whether it hears groups that others joined. Nullopt: the kernel does not tell.
  std::optional<bool> multicast_all;
  friend bool operator==(const LocalSocket&, const LocalSocket&) = default;
};

struct GroupMembership {
  IpAddress group;
  int interface = 0;
  int users = 1;  // sockets that joined it there
  friend bool operator==(const GroupMembership&, const GroupMembership&) = default;
};

struct HostView {
  std::uint64_t generation = 0;  // another number whenever anything below is another; 0: nothing read yet
  std::vector<HostInterface> interfaces;
  std::vector<LocalSocket> sockets;
  std::vector<GroupMembership> groups;

  const HostInterface* interface(int index) const;
  // Whether `address` is one of ours on an interface other than loopback.
  bool is_local(const IpAddress& address) const;
  friend bool operator==(const HostView&, const HostView&) = default;
};

enum class Freshness : std::uint8_t {
  kCached,  // a second or two old is good enough
  kNow,     // read again: something that should be there is missing
};

// Where the view comes from. Belongs to the thread of the `Forwarder` it is given to.
class HostTables {
 public:
  virtual ~HostTables() = default;
  // Valid until the next call.
  virtual const HostView& view(Time now, Freshness freshness) = 0;
  // The program that owns the socket, "user:NAME" where only its user can be told; empty: unknown. Slow at first.
  virtual std::string program(const LocalSocket& socket) = 0;
};

}  // namespace lanrage::lan
