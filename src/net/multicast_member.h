// Memberships in multicast groups on one interface, so that the kernel delivers what arrives there for them.
//
// A socket holds 20 IPv4 groups (net.ipv4.igmp_max_memberships), so there are as many sockets as it takes; they are
// bound to nothing and receive nothing. Owned by the control thread; leaves every group when destroyed.
#pragma once

#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "net/fd.h"

namespace lanrage::net {

class MulticastMember {
 public:
  static constexpr std::size_t kGroupsMax = 256;
  static constexpr std::size_t kGroupsPerSocket = 20;

  explicit MulticastMember(unsigned interface) : interface_(interface) {}

  // IPv4 or IPv6. Joining twice is joining once. kInvalid: no group; kExhausted: kGroupsMax are joined.
  Result<void> join(const IpAddress& group);
  void leave(const IpAddress& group);  // nothing happens for one not joined
  bool has(const IpAddress& group) const;
  std::size_t size() const;

 private:
  struct Holder {
    Fd fd;
    bool v6 = false;
    std::vector<IpAddress> groups;
  };
  Result<Holder*> holder_for(bool v6);

  unsigned interface_;
  std::vector<Holder> holders_;
};

}  // namespace lanrage::net
