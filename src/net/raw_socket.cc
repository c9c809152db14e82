#include "net/raw_socket.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "net/address.h"
#include "wire/ip.h"

namespace lanrage::net {
namespace {

constexpr int kIpv6HeaderIncluded = 36;  // IPV6_HDRINCL of linux/in6.h, which cannot stand beside netinet/in.h

template <class T>
void set_control(msghdr& header, int level, int type, const T& value) {
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = level;
  c->cmsg_type = type;
  c->cmsg_len = CMSG_LEN(sizeof value);
  std::memcpy(CMSG_DATA(c), &value, sizeof value);
  header.msg_controllen = CMSG_SPACE(sizeof value);
}

}  // namespace

Result<RawSocket> RawSocket::open() {
  Fd v4(::socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW));  // IP_HDRINCL comes with it
  if (!v4.is_open()) {
    Error error = os_error("cannot open a raw socket", errno);
    if (error.os_errno == EPERM) {
      error.code = Code::kRefused;
      error.hint = "run as root or with CAP_NET_RAW";
    }
    return error;
  }
  Fd v6(::socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW));
  const int on = 1;
  if (v6.is_open() && ::setsockopt(v6.get(), IPPROTO_IPV6, kIpv6HeaderIncluded, &on, sizeof on) != 0) v6.reset();
  return RawSocket(std::move(v4), std::move(v6));
}

Result<void> RawSocket::loop_back(ByteView packet, unsigned interface) {
  std::array<std::uint8_t, kPacketMax> copy;
  const auto ip = wire::parse_ip(packet);
  if (!ip || ip->size > copy.size() || !ip->destination.is_multicast())
    return Error{Code::kInvalid, "only a multicast packet can be looped back"};
  std::memcpy(copy.data(), packet.data(), ip->size);
  copy[ip->v6 ? 7 : 8] = 0;  // the kernel computes the IPv4 header sum itself
  const Fd& socket = ip->v6 ? v6_ : v4_;
  if (!socket.is_open()) return Error{Code::kUnavailable, "this machine has no IPv6"};

  sockaddr_storage name{};
  iovec piece{copy.data(), ip->size};
  alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(in6_pktinfo))> control{};
  msghdr header{};
  header.msg_name = &name;
  header.msg_namelen = to_sockaddr({ip->destination, 0}, name, interface);
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  if (ip->v6) {
    in6_pktinfo info{};
    info.ipi6_ifindex = interface;
    set_control(header, IPPROTO_IPV6, IPV6_PKTINFO, info);
  } else {
    in_pktinfo info{};
    info.ipi_ifindex = static_cast<int>(interface);
    set_control(header, IPPROTO_IP, IP_PKTINFO, info);
  }
  if (retry([&] { return ::sendmsg(socket.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL); }) < 0)
    return os_error("cannot loop a packet back", errno);
  return {};
}

}  // namespace lanrage::net
