#include "net/packet_socket.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "wire/ip.h"

namespace lanrage::net {
namespace {

constexpr int kReceiveBuffer = 1 << 20;

// Classic BPF. Offsets count from the network header, so that they hold for every kind of link; the link's own header
// is looked at only where it is Ethernet's, whose first bit marks a group.
constexpr std::uint32_t ancillary(int what) { return static_cast<std::uint32_t>(SKF_AD_OFF + what); }
constexpr std::uint32_t network(int offset) { return static_cast<std::uint32_t>(SKF_NET_OFF + offset); }
constexpr std::uint32_t kLinkStart = static_cast<std::uint32_t>(SKF_LL_OFF);

constexpr std::uint8_t kAccept = 24;
constexpr std::uint8_t kReject = 25;
constexpr sock_filter load(std::uint16_t size, std::uint32_t from) {
  return {static_cast<std::uint16_t>(BPF_LD | size | BPF_ABS), 0, 0, from};
}
// Goes to line `yes` or `no`; `at` is the line it stands on.
constexpr sock_filter jump(std::uint8_t at, std::uint16_t test, std::uint32_t value, std::uint8_t yes,
                           std::uint8_t no) {
  return {static_cast<std::uint16_t>(BPF_JMP | test | BPF_K), static_cast<std::uint8_t>(yes - at - 1),
          static_cast<std::uint8_t>(no - at - 1), value};
}

constexpr std::array<sock_filter, 26> kFilter = {{
    load(BPF_W, ancillary(SKF_AD_PKTTYPE)),
    jump(1, BPF_JEQ, PACKET_OUTGOING, 2, kReject),
    load(BPF_W, ancillary(SKF_AD_PROTOCOL)),
    jump(3, BPF_JEQ, ETH_P_IP, 4, 14),
    load(BPF_B, network(9)),  // IPv4: its protocol
    jump(5, BPF_JEQ, wire::kProtocolUdp, 6, kReject),
    load(BPF_W, network(16)),                  // and destination
    jump(7, BPF_JGE, 0xe0000000, kAccept, 8),  // a group, or all
    {BPF_ALU | BPF_AND | BPF_K, 0, 0, 0xffff},
    jump(9, BPF_JEQ, 0xffff, kAccept, 10),  // a guessed broadcast
    load(BPF_W, network(16)),
    {BPF_ALU | BPF_AND | BPF_K, 0, 0, 0xffff00ff},
    jump(12, BPF_JEQ, 0x0a4200ff, kAccept, 13),  // a party's, 10.66.x.255
    {BPF_JMP | BPF_JA, 0, 0, 6},                 // to line 20
    jump(14, BPF_JEQ, ETH_P_IPV6, 15, kReject),
    load(BPF_B, network(6)),  // IPv6: its next header
    jump(16, BPF_JEQ, wire::kProtocolUdp, 18, 17),
    jump(17, BPF_JEQ, wire::kProtocolIpv6Fragment, 18, kReject),
    load(BPF_B, network(24)),  // and destination
    jump(19, BPF_JEQ, 0xff, kAccept, kReject),
    load(BPF_W, ancillary(SKF_AD_HATYPE)),  // 20
    jump(21, BPF_JEQ, ARPHRD_ETHER, 22, kReject),
    load(BPF_B, kLinkStart),
    jump(23, BPF_JSET, 1, kAccept, kReject),
    {BPF_RET | BPF_K, 0, 0, 0xffffffff},  // 24: kAccept
    {BPF_RET | BPF_K, 0, 0, 0},           // 25: kReject
}};

}  // namespace

Result<PacketSocket> PacketSocket::open(unsigned interface) {
  // Protocol 0 hears nothing until `bind` names one, so no packet comes in before the filter is there.
  Fd fd(::socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) {
    Error error = os_error("cannot watch a card for broadcasts", errno);
    if (error.os_errno == EPERM) {
      error.code = Code::kRefused;
      error.hint = "run as root or with CAP_NET_RAW";
    }
    return error;
  }
  const sock_fprog program{kFilter.size(), const_cast<sock_filter*>(kFilter.data())};
  const int on = 1;
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0 ||
      ::setsockopt(fd.get(), SOL_PACKET, PACKET_AUXDATA, &on, sizeof on) != 0)
    return os_error("cannot filter a card's packets", errno);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);  // only with it are outgoing packets seen
  address.sll_ifindex = static_cast<int>(interface);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return os_error("cannot watch a card for broadcasts", errno);
  return PacketSocket(std::move(fd), interface);
}

std::optional<MutableBytes> PacketSocket::receive(MutableBytes buffer) {
  for (;;) {
    iovec piece{buffer.data(), buffer.size()};
    alignas(cmsghdr) std::array<std::uint8_t, CMSG_SPACE(sizeof(tpacket_auxdata))> control;
    msghdr header{};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const auto size = retry([&] { return ::recvmsg(fd_.get(), &header, MSG_DONTWAIT); });
    if (size < 0) return std::nullopt;  // nothing waits, or the card went away: the netlink watch tells
    if ((header.msg_flags & MSG_TRUNC) != 0) continue;
    const MutableBytes packet = buffer.first(static_cast<std::size_t>(size));
    const auto ip = wire::parse_ip(packet);
    if (!ip) continue;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA) continue;
      tpacket_auxdata aux;
      std::memcpy(&aux, CMSG_DATA(c), sizeof aux);
      // The card would have finished the sum.
      if ((aux.tp_status & TP_STATUS_CSUMNOTREADY) != 0) wire::store_checksum(packet, *ip);
    }
    return packet.first(ip->size);
  }
}

std::uint64_t PacketSocket::lost() {
  tpacket_stats stats{};  // since the last time it was asked
  socklen_t length = sizeof stats;
  if (::getsockopt(fd_.get(), SOL_PACKET, PACKET_STATISTICS, &stats, &length) == 0) lost_ += stats.tp_drops;
  return lost_;
}

}  // namespace lanrage::net
