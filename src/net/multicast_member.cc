#include "net/multicast_member.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/format.h"
#include "net/address.h"

namespace lanrage::net {
namespace {

int change(int fd, int option, const IpAddress& group, unsigned interface) {
  group_req request{};
  request.gr_interface = interface;
  to_sockaddr({group, 0}, request.gr_group, interface);
  return ::setsockopt(fd, group.is_v6() ? IPPROTO_IPV6 : IPPROTO_IP, option, &request, sizeof request);
}

}  // namespace

Result<MulticastMember::Holder*> MulticastMember::holder_for(bool v6) {
  for (Holder& holder : holders_)
    if (holder.v6 == v6 && holder.groups.size() < kGroupsPerSocket) return &holder;
  Fd fd(::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return os_error("cannot open a socket for multicast groups", errno);
  holders_.push_back({std::move(fd), v6, {}});
  return &holders_.back();
}

Result<void> MulticastMember::join(const IpAddress& group) {
  if (!group.is_multicast()) return Error{Code::kInvalid, format("{} is no multicast group", group.text())};
  if (has(group)) return {};
  if (size() >= kGroupsMax) return Error{Code::kExhausted, "too many multicast groups"};
  LR_ASSIGN(Holder * holder, holder_for(group.is_v6()));
  if (change(holder->fd.get(), MCAST_JOIN_GROUP, group, interface_) != 0)
    return os_error(format("cannot join {}", group.text()), errno);
  holder->groups.push_back(group);
  return {};
}

void MulticastMember::leave(const IpAddress& group) {
  for (Holder& holder : holders_)
    if (std::erase(holder.groups, group) > 0) change(holder.fd.get(), MCAST_LEAVE_GROUP, group, interface_);
  std::erase_if(holders_, [](const Holder& holder) { return holder.groups.empty(); });
}

bool MulticastMember::has(const IpAddress& group) const {
  return std::ranges::any_of(
      holders_, [&](const Holder& holder) { return std::ranges::find(holder.groups, group) != holder.groups.end(); });
}

std::size_t MulticastMember::size() const {
  std::size_t count = 0;
  for (const Holder& holder : holders_) count += holder.groups.size();
  return count;
}

}  // namespace lanrage::net
