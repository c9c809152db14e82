#include "net/udp_socket.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>

#include "base/format.h"
#include "net/address.h"

namespace lanrage::net {
namespace {

struct KernelVersion {
  int major = 0;
  int minor = 0;
  int patch = 0;
  auto operator<=>(const KernelVersion&) const = default;
};

KernelVersion kernel_version() {
  utsname name{};
  KernelVersion v;
  if (::uname(&name) == 0) std::sscanf(name.release, "%d.%d.%d", &v.major, &v.minor, &v.patch);
  return v;
}

// How many segments one send may have. UDP_MAX_SEGMENTS was 64 until Linux 6.9 and is 128 since; one less stays clear
// of off-by-one limits in drivers. Linux 7.0 to 7.1.4 corrupts payloads of equal segments: singles there.
unsigned probe_segments(int fd) {
  const KernelVersion kernel = kernel_version();
  if (kernel >= KernelVersion{7, 0, 0} && kernel < KernelVersion{7, 1, 5}) return 1;
  int size = 0;
  socklen_t length = sizeof size;
  if (::getsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, &length) != 0) return 1;
  return kernel >= KernelVersion{6, 9, 0} ? 127 : 63;
}

bool set_option(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

void set_buffer(int fd, int forced, int plain, int bytes) {
  if (!set_option(fd, SOL_SOCKET, forced, bytes)) set_option(fd, SOL_SOCKET, plain, bytes);
}

Result<void> set_options(int fd, const UdpOptions& options, bool v6) {
  if (v6 && !set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) return os_error("cannot make a socket IPv6 only", errno);
  if (options.reuse_port && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) return os_error("cannot share a port", errno);
  if (options.share_group && !set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1))
    return os_error("cannot share a group", errno);
  if (options.mark != 0 && !set_option(fd, SOL_SOCKET, SO_MARK, static_cast<int>(options.mark))) {
    Error error = os_error("cannot mark a socket", errno);
    error.hint = "run as root or with CAP_NET_ADMIN";
    return error;
  }
  set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, options.receive_buffer);
  set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, options.send_buffer);
  set_option(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
  // PROBE: don't fragment, and let nobody's forged ICMP lower the size.
  const bool cut = options.may_fragment;
  if (v6) {
    set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, cut ? IPV6_PMTUDISC_DONT : IPV6_PMTUDISC_PROBE);
    set_option(fd, IPPROTO_IPV6, IPV6_DONTFRAG, cut ? 0 : 1);
    set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    set_option(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
  } else {
    set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, cut ? IP_PMTUDISC_DONT : IP_PMTUDISC_PROBE);
    set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
    set_option(fd, IPPROTO_IP, IP_RECVTOS, 1);
  }
  return {};
}

constexpr std::size_t kSendControlMax =
    CMSG_SPACE(sizeof(std::uint16_t)) + 2 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(in6_pktinfo));
constexpr std::size_t kReceiveControlMax = CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(int)) +
                                           CMSG_SPACE(sizeof(std::uint32_t)) + CMSG_SPACE(sizeof(in6_pktinfo));

// Appends control messages to a zeroed buffer.
class ControlWriter {
 public:
  explicit ControlWriter(msghdr& header) : header_(header), next_(CMSG_FIRSTHDR(&header)) {}
  template <class T>
  void add(int level, int type, const T& value) {
    next_->cmsg_level = level;
    next_->cmsg_type = type;
    next_->cmsg_len = CMSG_LEN(sizeof value);
    std::memcpy(CMSG_DATA(next_), &value, sizeof value);
    used_ += CMSG_SPACE(sizeof value);
    next_ = reinterpret_cast<cmsghdr*>(static_cast<char*>(header_.msg_control) + used_);
  }
  void finish() {
    header_.msg_controllen = used_;
    if (used_ == 0) header_.msg_control = nullptr;
  }

 private:
  msghdr& header_;
  cmsghdr* next_;
  std::size_t used_ = 0;
};

struct SendScratch {
  iovec piece;
  sockaddr_storage name;
  alignas(cmsghdr) std::array<std::uint8_t, kSendControlMax> control;
};

void add_source(ControlWriter& control, const IpAddress& source) {
  if (source.is_v4()) {
    in_pktinfo info{};
    info.ipi_spec_dst.s_addr = htonl(source.v4_value());
    control.add(IPPROTO_IP, IP_PKTINFO, info);
  } else {
    in6_pktinfo info{};
    std::memcpy(&info.ipi6_addr, source.bytes().data(), sizeof info.ipi6_addr);
    control.add(IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
}

void fill_header(const SendItem& item, ByteView bytes, std::uint16_t segment_size, SendScratch& scratch,
                 msghdr& header) {
  scratch.piece = {const_cast<std::uint8_t*>(bytes.data()), bytes.size()};
  header = {};
  header.msg_namelen = to_sockaddr(item.destination, scratch.name);
  header.msg_name = &scratch.name;
  header.msg_iov = &scratch.piece;
  header.msg_iovlen = 1;
  header.msg_control = scratch.control.data();
  header.msg_controllen = scratch.control.size();
  ControlWriter control(header);
  if (segment_size != 0 && segment_size < bytes.size()) control.add(SOL_UDP, UDP_SEGMENT, segment_size);
  const bool v6 = item.destination.address.is_v6();
  if (item.tos != 0) {
    const int tos = item.tos;
    control.add(v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, tos);
  }
  if (item.hops != 0 && !v6) {
    const int hops = item.hops;
    control.add(IPPROTO_IP, IP_TTL, hops);
  }
  if (item.source.is_v6() == v6 && !item.source.is_unspecified()) add_source(control, item.source);
  control.finish();
}

std::uint32_t datagrams(const SendItem& item) {
  if (item.segment_size == 0 || item.bytes.empty()) return 1;
  return static_cast<std::uint32_t>((item.bytes.size() + item.segment_size - 1) / item.segment_size);
}

// Reads what the kernel says beside a datagram. Types and sizes follow the kernel's put_cmsg calls: the GRO size is an
// int, the IPv4 TOS a byte, the IPv6 traffic class an int.
void read_control(msghdr& header, ReceiveSlot& slot, std::atomic<std::uint32_t>& overflows) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    const auto* data = CMSG_DATA(c);
    if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
      int size = 0;
      std::memcpy(&size, data, sizeof size);
      if (size > 0 && size <= 0xffff) slot.segment_size = static_cast<std::uint16_t>(size);
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
      slot.tos = *data;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS) {
      int tos = 0;
      std::memcpy(&tos, data, sizeof tos);
      slot.tos = static_cast<std::uint8_t>(tos);
    } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      in_pktinfo info;
      std::memcpy(&info, data, sizeof info);
      slot.destination = IpAddress::v4(ntohl(info.ipi_addr.s_addr));
      slot.interface = static_cast<unsigned>(info.ipi_ifindex);
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      in6_pktinfo info;
      std::memcpy(&info, data, sizeof info);
      std::array<std::uint8_t, 16> raw;
      std::memcpy(raw.data(), &info.ipi6_addr, raw.size());
      slot.destination = IpAddress::v6(raw);
      slot.interface = info.ipi6_ifindex;
    } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
      std::uint32_t count = 0;
      std::memcpy(&count, data, sizeof count);
      overflows.store(count, std::memory_order_relaxed);
    }
  }
}

}  // namespace

Result<UdpSocket> UdpSocket::open(const UdpOptions& options) {
  const bool v6 = options.bind.address.is_v6();
  Fd fd(::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return os_error("cannot open a UDP socket", errno);
  LR_TRY(set_options(fd.get(), options, v6));
  sockaddr_storage name{};
  socklen_t length = to_sockaddr(options.bind, name);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&name), length) != 0) {
    Error error = os_error(format("cannot use UDP {}", options.bind.text()), errno);
    if (error.os_errno == EADDRINUSE) {
      error.code = Code::kConflict;
      error.hint = "another program has this port: choose one with --port";
    }
    return error;
  }
  length = sizeof name;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&name), &length);
  const unsigned segments = options.segmentation ? probe_segments(fd.get()) : 1;
  const bool coalesces = options.coalescing && set_option(fd.get(), SOL_UDP, UDP_GRO, 1);
  return UdpSocket(std::move(fd), from_sockaddr(name).value_or(options.bind), segments, coalesces);
}

UdpSocket::UdpSocket(Fd fd, Endpoint local, unsigned segments_limit, bool coalesces)
    : fd_(std::move(fd)),
      local_(local),
      segments_probed_(segments_limit),
      segments_limit_(segments_limit),
      coalesces_(coalesces) {}

UdpSocket::UdpSocket(UdpSocket&& other) noexcept
    : fd_(std::move(other.fd_)),
      local_(other.local_),
      segments_probed_(other.segments_probed_),
      segments_limit_(other.segments_limit_.load()),
      coalesces_(other.coalesces_),
      overflows_(other.overflows_.load()) {}

void UdpSocket::set_segmentation(bool on) {
  segments_limit_.store(on ? segments_probed_ : 1, std::memory_order_relaxed);
}

std::size_t UdpSocket::segments_max(std::size_t segment_size) const {
  const std::size_t limit = segments_limit_.load(std::memory_order_relaxed);
  return segment_size == 0 ? limit : std::clamp<std::size_t>(kSegmentedBytesMax / segment_size, 1, limit);
}

SendReport UdpSocket::send(std::span<const SendItem> items) {
  SendReport report;
  while (!items.empty()) items = items.subspan(send_some(items, report));
  return report;
}

// Sends some items from the front, at least one, and says how many are dealt with.
std::size_t UdpSocket::send_some(std::span<const SendItem> items, SendReport& report) {
  std::array<mmsghdr, kBatchMax> headers;
  std::array<SendScratch, kBatchMax> scratch;
  std::size_t count = 0;
  for (; count < std::min(items.size(), kBatchMax); ++count) {
    const SendItem& item = items[count];
    if (datagrams(item) > segments_max(item.segment_size)) break;
    if (item.destination.address.is_v6() != local_.address.is_v6()) break;
    fill_header(item, item.bytes, item.segment_size, scratch[count], headers[count].msg_hdr);
  }
  if (count == 0) {  // the first one needs another way
    if (items[0].destination.address.is_v6() != local_.address.is_v6())
      count_failure(items[0], EAFNOSUPPORT, report);
    else
      send_singly(items[0], report);
    return 1;
  }
  const int sent = retry(
      [&] { return ::sendmmsg(fd_.get(), headers.data(), static_cast<unsigned>(count), MSG_DONTWAIT | MSG_NOSIGNAL); });
  if (sent > 0) {
    for (int i = 0; i < sent; ++i) report.sent += datagrams(items[static_cast<std::size_t>(i)]);
    return static_cast<std::size_t>(sent);
  }
  const int error = errno;
  const SendItem& first = items[0];
  if (datagrams(first) > 1) {
    // EIO: the way out has no checksum offload (kernels before 6.11): no more segments by this socket.
    if (error == EIO) segments_limit_.store(1, std::memory_order_relaxed);
    if (error == EIO || error == EINVAL || error == EMSGSIZE) {
      send_singly(first, report);
      return 1;
    }
  }
  // A pending ICMP error of an earlier datagram is told once, by whatever call comes next: try again without it.
  if (error == ECONNREFUSED) {
    send_singly(first, report);
    return 1;
  }
  count_failure(first, error, report);
  return 1;
}

void UdpSocket::send_singly(const SendItem& item, SendReport& report) {
  ByteView rest = item.bytes;
  const std::size_t step = item.segment_size == 0 ? rest.size() : item.segment_size;
  do {
    const ByteView datagram = rest.first(std::min(step, rest.size()));
    rest = rest.subspan(datagram.size());
    SendScratch scratch;
    msghdr header;
    fill_header(item, datagram, 0, scratch, header);
    if (retry([&] { return ::sendmsg(fd_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL); }) >= 0)
      ++report.sent;
    else
      count_failure({item.destination, datagram, 0, 0, {}}, errno, report);
  } while (!rest.empty());
}

void UdpSocket::count_failure(const SendItem& item, int error, SendReport& report) {
  const std::uint32_t count = datagrams(item);
  report.last_errno = error;
  if (error == EAGAIN || error == ENOBUFS || error == ENOMEM)
    report.congested += count;
  else if (error == EMSGSIZE)
    report.too_big += count;
  else
    report.failed += count;
}

std::size_t UdpSocket::receive(std::span<ReceiveSlot> slots) {
  struct Scratch {
    iovec piece;
    sockaddr_storage name;
    alignas(cmsghdr) std::array<std::uint8_t, kReceiveControlMax> control;
  };
  std::array<mmsghdr, kBatchMax> headers;
  std::array<Scratch, kBatchMax> scratch;
  const std::size_t count = std::min(slots.size(), kBatchMax);
  for (std::size_t i = 0; i < count; ++i) {
    scratch[i].piece = {slots[i].buffer.data(), slots[i].buffer.size()};
    msghdr& header = headers[i].msg_hdr;
    header = {};
    header.msg_name = &scratch[i].name;
    header.msg_namelen = sizeof scratch[i].name;
    header.msg_iov = &scratch[i].piece;
    header.msg_iovlen = 1;
    header.msg_control = scratch[i].control.data();
    header.msg_controllen = scratch[i].control.size();
  }
  // Each pending ICMP error fails one call; more than a few in a row means something else.
  int received = -1;
  for (int tries = 0; received < 0 && tries < 8; ++tries) {
    received = retry(
        [&] { return ::recvmmsg(fd_.get(), headers.data(), static_cast<unsigned>(count), MSG_DONTWAIT, nullptr); });
    if (received < 0 && errno == EAGAIN) return 0;
  }
  for (int i = 0; i < received; ++i) {
    const auto at = static_cast<std::size_t>(i);
    ReceiveSlot& slot = slots[at];
    msghdr& header = headers[at].msg_hdr;
    slot.size = headers[at].msg_len;
    slot.segment_size = static_cast<std::uint16_t>(std::min<std::size_t>(slot.size, 0xffff));
    slot.source = from_sockaddr(scratch[at].name).value_or(Endpoint{});
    slot.destination = {};
    slot.interface = 0;
    slot.tos = 0;
    slot.truncated = (header.msg_flags & MSG_TRUNC) != 0;
    read_control(header, slot, overflows_);
  }
  return static_cast<std::size_t>(std::max(received, 0));
}

Result<UdpPair> UdpPair::open(const UdpOptions& options) {
  constexpr int kTries = 16;  // with port 0: the port the kernel gave for IPv4 may be taken in IPv6
  const IpAddress any_v6 = IpAddress::v6({});
  for (int i = 0;; ++i) {
    UdpOptions each = options;
    each.bind.address = {};
    Result<UdpSocket> v4 = UdpSocket::open(each);
    if (!v4 && v4.error().os_errno != EAFNOSUPPORT) return std::move(v4).error();
    each.bind = {any_v6, v4 ? v4->local().port : options.bind.port};
    Result<UdpSocket> v6 = UdpSocket::open(each);
    if (v4 && v6) return UdpPair(std::move(*v4), std::move(*v6));
    if (v6) return UdpPair(std::nullopt, std::move(*v6));
    const bool taken = v6.error().os_errno == EADDRINUSE;
    if (taken && options.bind.port == 0 && i < kTries) continue;
    // No IPv6 on this machine: the address cannot be bound, or there is no such family at all.
    if (!taken && v4) return UdpPair(std::move(*v4), std::nullopt);
    return std::move(v6).error();
  }
}

SendReport UdpPair::send(std::span<const SendItem> items) {
  SendReport total;
  while (!items.empty()) {
    const bool v6 = items[0].destination.address.is_v6();
    std::size_t run = 1;
    while (run < items.size() && items[run].destination.address.is_v6() == v6) ++run;
    UdpSocket* socket = v6 ? this->v6() : this->v4();
    SendReport part;
    if (socket != nullptr)
      part = socket->send(items.first(run));
    else
      for (std::size_t i = 0; i < run; ++i) part.failed += datagrams(items[i]), part.last_errno = EAFNOSUPPORT;
    total.sent += part.sent;
    total.congested += part.congested;
    total.too_big += part.too_big;
    total.failed += part.failed;
    if (part.last_errno != 0) total.last_errno = part.last_errno;
    items = items.subspan(run);
  }
  return total;
}

}  // namespace lanrage::net
