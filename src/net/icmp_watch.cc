#include "net/icmp_watch.h"

#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "net/address.h"

namespace lanrage::net {
namespace {

constexpr int kReceiveBuffer = 64 << 10;
constexpr int kMessagesMax = 16;            // of one call
constexpr std::size_t kMessageBytes = 256;  // the headers are what counts

}  // namespace

Result<IcmpWatch> IcmpWatch::open() {
  Fd v4(::socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP));
  if (!v4.is_open()) {
    Error error = os_error("cannot hear ICMP", errno);
    if (error.os_errno == EPERM) {
      error.code = Code::kRefused;
      error.hint = "run as root or with CAP_NET_RAW";
    }
    return error;
  }
  icmp_filter only4{~(1u << ICMP_DEST_UNREACH | 1u << ICMP_TIME_EXCEEDED)};
  ::setsockopt(v4.get(), SOL_RAW, ICMP_FILTER, &only4, sizeof only4);
  ::setsockopt(v4.get(), SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  Fd v6(::socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMPV6));
  if (v6.is_open()) {
    icmp6_filter only6;
    ICMP6_FILTER_SETBLOCKALL(&only6);
    ICMP6_FILTER_SETPASS(ICMP6_DST_UNREACH, &only6);
    ::setsockopt(v6.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &only6, sizeof only6);
    ::setsockopt(v6.get(), SOL_SOCKET, SO_RCVBUF, &kReceiveBuffer, sizeof kReceiveBuffer);
  }
  return IcmpWatch(std::move(v4), std::move(v6));
}

std::optional<IcmpWatch::Message> IcmpWatch::receive(bool v6, const std::function<bool(std::uint16_t)>& is_ours) {
  std::array<std::uint8_t, kMessageBytes> buffer;
  for (int i = 0; i < kMessagesMax; ++i) {
    sockaddr_storage from{};
    socklen_t from_size = sizeof from;
    const auto size = ::recvfrom((v6 ? v6_ : v4_).get(), buffer.data(), buffer.size(), MSG_DONTWAIT,
                                 reinterpret_cast<sockaddr*>(&from), &from_size);
    if (size < 0) return std::nullopt;
    ByteView message(buffer.data(), static_cast<std::size_t>(size));
    if (!v6) {  // with its IP header before it
      if (message.empty()) continue;
      message = message.subspan(std::min<std::size_t>(message.size(), static_cast<std::size_t>(message[0] & 0xf) * 4));
    }
    const auto found = wire::parse_undelivered(message, v6);
    const auto reporter = from_sockaddr(from);
    if (found && reporter && is_ours(found->source.port)) return Message{*found, reporter->address};
  }
  return std::nullopt;
}

}  // namespace lanrage::net
