// What the kernel knows about interfaces, addresses, routes, rules and neighbours, and changes to it (rtnetlink).
//
// By libnl-3, which only the source file names. `Netlink` asks and waits for the answer (well below a millisecond):
// the control thread owns it. `NetlinkWatch` tells that something changed, for a poller. Changes need CAP_NET_ADMIN;
// errors say what failed, `hint` what to do.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace lanrage::net {

struct Interface {
  unsigned index = 0;
  std::string name;
  bool up = false;       // switched on
  bool running = false;  // and has a carrier
  bool loopback = false;
  bool point_to_point = false;
  bool broadcast = false;  // has the broadcast flag, as Ethernet cards do
  bool multicast = false;
  int mtu = 0;
  std::array<std::uint8_t, 6> mac{};  // zero where it has none
  std::vector<IpPrefix> addresses;    // each with its own host bits
};

inline constexpr std::uint32_t kMainTable = 254;

struct Route {
  IpPrefix destination;
  unsigned interface = 0;
  std::optional<IpAddress> gateway{};
  std::optional<IpAddress> source{};  // preferred source address
  std::uint32_t metric = 0;
  std::uint32_t table = kMainTable;
};

// Packets that match look into `table`. The family is that of `to` or `from`, else `v6`.
struct Rule {
  std::uint32_t table = 0;
  std::uint32_t priority = 0;  // lower is asked first; the main table has 32766
  std::optional<IpPrefix> to{};
  std::optional<IpPrefix> from{};
  std::uint32_t mark = 0;  // fwmark; 0: any
  bool v6 = false;
};

class Netlink {
 public:
  static Result<Netlink> open();
  Netlink(Netlink&&) noexcept;
  Netlink& operator=(Netlink&&) noexcept;
  ~Netlink();

  Result<std::vector<Interface>> interfaces();
  Result<Interface> find(std::string_view name);  // kNotFound
  Result<std::vector<Route>> default_routes();    // of the main table, both families, best first
  // The index of the one that UDP of ours from `source` to `destination` leaves by. kNotFound: there is no way.
  Result<unsigned> interface_to(const Endpoint& destination, const Endpoint& source);

  // What is already so is no error; the same holds for removing what is not there.
  Result<void> add_address(unsigned interface, const IpPrefix& address);  // IPv4 with its broadcast address
  Result<void> remove_address(unsigned interface, const IpPrefix& address);
  Result<void> add_route(const Route& route);
  Result<void> remove_route(const Route& route);
  Result<void> add_rule(const Rule& rule);
  Result<void> remove_rule(const Rule& rule);
  Result<void> add_neighbour(unsigned interface, const IpAddress& address, const std::array<std::uint8_t, 6>& mac);
  Result<void> remove_neighbour(unsigned interface, const IpAddress& address);

  Result<void> set_up(unsigned interface, bool up);
  Result<void> set_mtu(unsigned interface, int mtu);
  // The kernel forgets the interface's neighbours with its old address: set it before adding any.
  Result<void> set_mac(unsigned interface, const std::array<std::uint8_t, 6>& mac);
  Result<void> set_queue_length(unsigned interface, int packets);  // txqueuelen
  Result<void> set_gso_max_size(unsigned interface, int bytes);    // the longest superframe sent to it

 private:
  struct Socket;
  explicit Netlink(std::unique_ptr<Socket> socket);
  std::unique_ptr<Socket> socket_;
};

// Changes of interfaces, addresses and routes of both families.
class NetlinkWatch {
 public:
  static Result<NetlinkWatch> open();
  Result<void> add_rules();  // of routing, and next hops, too
  NetlinkWatch(NetlinkWatch&&) noexcept;
  NetlinkWatch& operator=(NetlinkWatch&&) noexcept;
  ~NetlinkWatch();

  int fd() const;  // readable: something changed

  // Takes all that waits. True if anything changed, also when so much did that the kernel dropped messages: read the
  // state anew with `Netlink`.
  bool take_changes();

 private:
  struct Socket;
  explicit NetlinkWatch(std::unique_ptr<Socket> socket);
  std::unique_ptr<Socket> socket_;
};

}  // namespace lanrage::net
