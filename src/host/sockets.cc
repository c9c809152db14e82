#include "host/sockets.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "host/proc_file.h"

namespace lanrage::host {
namespace {

constexpr std::uint32_t kUdpStates = (1u << TCP_ESTABLISHED) | (1u << TCP_CLOSE);
constexpr std::uint32_t kTcpStates = 1u << TCP_LISTEN;

IpAddress address_of(const __be32* words, bool v6) {
  std::array<std::uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), words, sizeof bytes);
  if (!v6) return *IpAddress::from_bytes(ByteView(bytes).first(4));
  return IpAddress::v6(bytes);
}

lan::LocalSocket socket_of(const inet_diag_msg& message, int protocol) {
  lan::LocalSocket out;
  out.kind = protocol == IPPROTO_UDP ? lan::SocketKind::kUdp : lan::SocketKind::kTcpListener;
  out.v6 = message.idiag_family == AF_INET6;
  out.connected = message.idiag_state == TCP_ESTABLISHED;
  out.bound = address_of(message.id.idiag_src, out.v6);
  out.port = ntohs(message.id.idiag_sport);
  out.device = static_cast<int>(message.id.idiag_if);
  out.uid = message.idiag_uid;
  out.inode = message.idiag_inode;
  return out;
}

void read_attributes(const nlmsghdr* header, lan::LocalSocket& out) {
  auto* message = static_cast<inet_diag_msg*>(NLMSG_DATA(header));
  auto* attribute = reinterpret_cast<rtattr*>(message + 1);
  int left = static_cast<int>(NLMSG_PAYLOAD(header, sizeof *message));
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    if (attribute->rta_type == INET_DIAG_SKV6ONLY && RTA_PAYLOAD(attribute) >= 1) {
      out.v6_only = *static_cast<const std::uint8_t*>(RTA_DATA(attribute)) != 0;
    } else if (attribute->rta_type == INET_DIAG_SOCKOPT && RTA_PAYLOAD(attribute) >= sizeof(inet_diag_sockopt)) {
      inet_diag_sockopt options;
      std::memcpy(&options, RTA_DATA(attribute), sizeof options);
      out.multicast_all = options.mc_all != 0;
    }
  }
}

template <class T>
std::optional<T> number(std::string_view text, int base) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Result<SocketReader> SocketReader::open() {
  net::Fd fd(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!fd.is_open()) return os_error("cannot open a socket to read the table of sockets", errno);
  const timeval timeout{.tv_sec = 1, .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  return SocketReader(std::move(fd));
}

Result<std::vector<lan::LocalSocket>> SocketReader::read() {
  std::vector<lan::LocalSocket> out;
  bool told = true;
  for (const int family : {AF_INET, AF_INET6}) {
    told = told && dump(family, IPPROTO_UDP, out).has_value();
    // Listeners only feed address translation: without them it knows UDP alone.
    static_cast<void>(dump(family, IPPROTO_TCP, out).has_value());
  }
  if (told) return out;
  out = parse_proc_udp(read_proc_file("/proc/thread-self/net/udp"), false);
  for (lan::LocalSocket& socket : parse_proc_udp(read_proc_file("/proc/thread-self/net/udp6"), true))
    out.push_back(std::move(socket));
  return out;
}

Result<void> SocketReader::dump(int family, int protocol, std::vector<lan::LocalSocket>& out) {
  struct {
    nlmsghdr header;
    inet_diag_req_v2 request;
  } ask{};
  ask.header.nlmsg_len = sizeof ask;
  ask.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  ask.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  ask.header.nlmsg_seq = ++sequence_;
  ask.request.sdiag_family = static_cast<std::uint8_t>(family);
  ask.request.sdiag_protocol = static_cast<std::uint8_t>(protocol);
  ask.request.idiag_states = protocol == IPPROTO_UDP ? kUdpStates : kTcpStates;
  if (net::retry([&] { return ::send(netlink_.get(), &ask, sizeof ask, 0); }) < 0)
    return os_error("cannot ask for the table of sockets", errno);

  alignas(nlmsghdr) std::array<char, 32 * 1024> buffer;
  while (true) {
    const ssize_t count = net::retry([&] { return ::recv(netlink_.get(), buffer.data(), buffer.size(), 0); });
    if (count < 0) return os_error("cannot read the table of sockets", errno);
    auto left = static_cast<unsigned>(count);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer.data()); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_seq != sequence_) continue;
      if (header->nlmsg_type == NLMSG_DONE) return {};
      if (header->nlmsg_type == NLMSG_ERROR) return Error{Code::kIo, "the kernel does not tell its sockets"};
      if (header->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg)) || out.size() >= kSocketsMax) continue;
      out.push_back(socket_of(*static_cast<const inet_diag_msg*>(NLMSG_DATA(header)), protocol));
      read_attributes(header, out.back());
    }
  }
}

std::vector<lan::LocalSocket> parse_proc_udp(std::string_view text, bool v6) {
  std::vector<lan::LocalSocket> out;
  for_each_line(text, [&](std::string_view line) {
    // sl, local address:port, remote, state, queues, timers, retransmits, uid, timeout, inode
    const auto words = words_of(line);
    if (words.size() < 10 || out.size() >= SocketReader::kSocketsMax) return;
    const std::size_t digits = v6 ? 32 : 8;
    const std::string_view local = words[1];
    if (local.size() != digits + 5 || local[digits] != ':') return;
    std::array<std::uint8_t, 16> bytes{};
    for (std::size_t at = 0; at < digits; at += 8) {
      // Each word of the address is printed as a number of this machine's byte order.
      const auto word = number<std::uint32_t>(local.substr(at, 8), 16);
      if (!word) return;
      std::memcpy(bytes.data() + at / 2, &*word, 4);
    }
    const auto port = number<std::uint16_t>(local.substr(digits + 1), 16);
    const auto state = number<int>(words[3], 16);
    const auto uid = number<std::uint32_t>(words[7], 10);
    const auto inode = number<std::uint64_t>(words[9], 10);
    if (!port || !state || !uid || !inode) return;
    lan::LocalSocket socket;
    socket.v6 = v6;
    socket.connected = *state == TCP_ESTABLISHED;
    socket.bound = v6 ? IpAddress::v6(bytes) : *IpAddress::from_bytes(ByteView(bytes).first(4));
    socket.port = *port;
    socket.uid = *uid;
    socket.inode = *inode;
    out.push_back(socket);
  });
  return out;
}

}  // namespace lanrage::host
