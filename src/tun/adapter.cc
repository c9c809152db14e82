#include "tun/adapter.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "base/format.h"
#include "net/fd.h"
#include "net/netlink.h"
#include "wire/ip.h"

namespace lanrage::tun {
namespace {

using net::Fd;
using net::retry;

constexpr int kNamesMax = 256;
// Not yet in the headers of Debian 12 (Linux 6.2).
constexpr unsigned kOffloadUso4 = 0x20;
constexpr unsigned kOffloadUso6 = 0x40;

Error open_error(std::string message, int error) {
  Error out = os_error(std::move(message), error);
  if (error == EPERM || error == EACCES) {
    out.code = Code::kRefused;
    out.hint = "run as root or with CAP_NET_ADMIN";
  } else if (error == ENOENT || error == ENODEV || error == ENXIO || error == ENOTTY) {
    out.message += " (/dev/net/tun is missing, or something else)";
    out.hint = "load the tun module (modprobe tun); in a container, pass --device /dev/net/tun";
  }
  return out;
}

// The shared folder where the control sockets of userspace WireGuards are named after their interfaces.
bool is_name_used(const std::string& name) {
  std::error_code ignored;
  return std::filesystem::exists("/sys/class/net/" + name, ignored) ||
         std::filesystem::exists("/var/run/wireguard/" + name + ".sock", ignored);
}

// 0, or the errno of claiming this interface name.
int claim(int fd, Kind kind, const std::string& name) {
  ifreq request{};
  request.ifr_flags = static_cast<short>((kind == Kind::kTap ? IFF_TAP : IFF_TUN) | IFF_NO_PI | IFF_VNET_HDR);
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_TUN_EXCL);
  std::memcpy(request.ifr_name, name.data(), std::min(name.size(), sizeof request.ifr_name - 1));
  return ::ioctl(fd, TUNSETIFF, &request) == 0 ? 0 : errno;
}

Result<std::string> claim_name(int fd, const AdapterOptions& options) {
  if (!options.name.empty()) {
    if (options.name.size() >= IFNAMSIZ)
      return Error{Code::kInvalid, format("the interface name {} is too long", options.name), "use 15 letters or less"};
    const int error = is_name_used(options.name) ? EBUSY : claim(fd, options.kind, options.name);
    if (error == 0) return options.name;
    if (error == EBUSY || error == EEXIST)
      return Error{Code::kConflict, format("the interface name {} is taken", options.name),
                   "choose another with --interface"};
    return open_error(format("cannot make the interface {}", options.name), error);
  }
  for (int i = 0; i < kNamesMax; ++i) {
    std::string name = format("{}{}", options.prefix, i);
    if (is_name_used(name)) continue;
    const int error = claim(fd, options.kind, name);
    if (error == 0) return name;
    if (error != EBUSY && error != EEXIST) return open_error(format("cannot make the interface {}", name), error);
  }
  return Error{Code::kExhausted, format("all interface names from {}0 on are taken", options.prefix),
               "choose one with --interface"};
}

class LinuxAdapter final : public Adapter {
 public:
  LinuxAdapter(Fd fd, AdapterInfo info)
      : fd_(std::move(fd)),
        info_(std::move(info)),
        ethernet_(std::make_shared<EthernetLayer>(info_.mac, Neighbourhood{})) {}

  const AdapterInfo& info() const override { return info_; }
  int fd() const override { return fd_.get(); }
  ReadResult read(std::span<ReadBuffer> buffers) override;
  IoStatus write(const VnetHeader& vnet, std::span<const ByteView> pieces) override;
  IoStatus write_packet(ByteView packet) override;
  void set_neighbourhood(Neighbourhood neighbourhood) override;

  // Asks the kernel whether it takes merged frames, with frames it will throw away: see `probe_frame`.
  void probe_merging();

 private:
  // Each of the two threads holds on to the layer it last saw and looks for a newer one by the version only.
  struct LayerView {
    std::uint64_t version = 0;
    std::shared_ptr<const EthernetLayer> layer;
  };
  const EthernetLayer& layer(LayerView& view);
  bool take_ethernet(ReadBuffer& buffer);
  IoStatus write_raw(const VnetHeader& vnet, std::span<const iovec> pieces);

  Fd fd_;
  AdapterInfo info_;
  std::mutex mutex_;
  std::atomic<std::uint64_t> version_{1};
  std::shared_ptr<const EthernetLayer> ethernet_;  // under mutex_
  LayerView reader_;
  LayerView writer_;
};

IoStatus status_of(int error) {
  switch (error) {
    case EAGAIN:
      return IoStatus::kEmpty;
    case EIO:
      return IoStatus::kDown;
    case EBADF:
    case EBADFD:
    case ENODEV:
      return IoStatus::kClosed;
    case EINVAL:
      return IoStatus::kRefused;
    default:
      return IoStatus::kFull;
  }
}

void LinuxAdapter::set_neighbourhood(Neighbourhood neighbourhood) {
  auto fresh = std::make_shared<const EthernetLayer>(info_.mac, std::move(neighbourhood));
  const std::lock_guard lock(mutex_);
  ethernet_ = std::move(fresh);
  version_.fetch_add(1, std::memory_order_release);
}

const EthernetLayer& LinuxAdapter::layer(LayerView& view) {
  if (view.version != version_.load(std::memory_order_acquire)) {
    const std::lock_guard lock(mutex_);
    view.layer = ethernet_;
    view.version = version_.load(std::memory_order_relaxed);
  }
  return *view.layer;
}

ReadResult LinuxAdapter::read(std::span<ReadBuffer> buffers) {
  const std::size_t ethernet = info_.kind == Kind::kTap ? kEthernetHeaderSize : 0;
  ReadResult result;
  while (result.count < buffers.size()) {
    ReadBuffer& buffer = buffers[result.count];
    // The packet itself lands at the headroom's end, where it is aligned; its Ethernet header just before.
    std::array<std::uint8_t, VnetHeader::kSize> vnet;
    std::uint8_t* start = buffer.storage().data() + ReadBuffer::kHeadroom - ethernet;
    const iovec pieces[] = {{vnet.data(), vnet.size()}, {start, ReadBuffer::kPacketMax}};
    const auto size = retry([&] { return ::readv(fd_.get(), pieces, 2); });
    if (size < 0) {
      result.status = status_of(errno);
      return result;
    }
    if (static_cast<std::size_t>(size) <= vnet.size() + ethernet) continue;
    buffer.vnet = VnetHeader::load(vnet.data());
    buffer.size = static_cast<std::uint32_t>(static_cast<std::size_t>(size) - vnet.size() - ethernet);
    if (ethernet != 0 && !take_ethernet(buffer)) continue;
    ++result.count;
  }
  return result;
}

// Deals with the Ethernet header in the headroom; false: the frame is not for the caller.
bool LinuxAdapter::take_ethernet(ReadBuffer& buffer) {
  const ByteView frame{buffer.packet().data() - kEthernetHeaderSize, buffer.size + kEthernetHeaderSize};
  const EthernetLayer::Inbound inbound = layer(reader_).handle_frame(frame);
  if (inbound.answer) {
    const iovec piece{const_cast<std::uint8_t*>(inbound.answer->data()), inbound.answer->size()};
    write_raw({}, std::span(&piece, 1));  // if it is lost, the kernel asks again
  }
  if (!inbound.is_ip) return false;
  VnetHeader& vnet = buffer.vnet;
  if ((vnet.flags & VnetHeader::kNeedsChecksum) != 0) {
    if (vnet.checksum_start < kEthernetHeaderSize) return false;
    vnet.checksum_start = static_cast<std::uint16_t>(vnet.checksum_start - kEthernetHeaderSize);
  }
  if (vnet.header_size >= kEthernetHeaderSize)
    vnet.header_size = static_cast<std::uint16_t>(vnet.header_size - kEthernetHeaderSize);
  return true;
}

IoStatus LinuxAdapter::write(const VnetHeader& vnet, std::span<const ByteView> pieces) {
  if (pieces.empty() || pieces.size() > kPiecesMax) return IoStatus::kRefused;
  std::array<iovec, kPiecesMax + 1> vector;
  std::array<std::uint8_t, kEthernetHeaderSize> ethernet;
  std::size_t used = 0;
  VnetHeader header = vnet;
  if (info_.kind == Kind::kTap) {
    ethernet = layer(writer_).header_for(pieces.front());
    vector[used++] = {ethernet.data(), ethernet.size()};
    if ((vnet.flags & VnetHeader::kNeedsChecksum) != 0)
      header.checksum_start = static_cast<std::uint16_t>(vnet.checksum_start + kEthernetHeaderSize);
    if (vnet.header_size != 0) header.header_size = static_cast<std::uint16_t>(vnet.header_size + kEthernetHeaderSize);
  }
  for (const ByteView piece : pieces) vector[used++] = {const_cast<std::uint8_t*>(piece.data()), piece.size()};
  return write_raw(header, std::span(vector).first(used));
}

IoStatus LinuxAdapter::write_packet(ByteView packet) {
  std::array<std::uint8_t, kEthernetHeaderSize> ethernet;
  std::array<iovec, 2> pieces;
  std::size_t used = 0;
  if (info_.kind == Kind::kTap) {
    std::shared_ptr<const EthernetLayer> current;
    {
      const std::lock_guard lock(mutex_);
      current = ethernet_;
    }
    ethernet = current->header_for(packet);
    pieces[used++] = {ethernet.data(), ethernet.size()};
  }
  pieces[used++] = {const_cast<std::uint8_t*>(packet.data()), packet.size()};
  return write_raw({}, std::span(pieces).first(used));
}

IoStatus LinuxAdapter::write_raw(const VnetHeader& vnet, std::span<const iovec> pieces) {
  std::array<std::uint8_t, VnetHeader::kSize> header;
  vnet.store(header.data());
  std::array<iovec, kPiecesMax + 2> vector;
  vector[0] = {header.data(), header.size()};
  std::ranges::copy(pieces, vector.begin() + 1);
  const auto written = retry([&] { return ::writev(fd_.get(), vector.data(), static_cast<int>(pieces.size() + 1)); });
  if (written >= 0) return IoStatus::kOk;
  const IoStatus status = status_of(errno);
  return status == IoStatus::kEmpty ? IoStatus::kFull : status;
}

// Two segments from nobody to nobody, merged. The kernel checks the virtio header before it looks where the packet
// goes; then it drops a packet from outside that claims to be from loopback.
Bytes probe_frame(bool tcp, VnetHeader& vnet) {
  constexpr std::uint16_t kSegment = 512;
  const Endpoint nobody{IpAddress::v4(127, 0, 0, 1), 9};
  Bytes packet = wire::build_udp(nobody, nobody, Bytes(2 * kSegment + (tcp ? 12 : 0)), 1);
  const std::size_t header = tcp ? wire::kTcpHeaderSize : wire::kUdpHeaderSize;
  if (tcp) {
    packet[9] = wire::kProtocolTcp;
    wire::store_ipv4_header_sum(packet);
    std::fill(packet.begin() + 24, packet.begin() + 40, std::uint8_t{0});
    packet[32] = 0x50;
    packet[33] = wire::kTcpAck;
  }
  vnet = {};
  vnet.flags = VnetHeader::kNeedsChecksum;
  vnet.gso_type = tcp ? VnetHeader::kGsoTcp4 : VnetHeader::kGsoUdp;
  vnet.gso_size = kSegment;
  vnet.header_size = static_cast<std::uint16_t>(wire::kIpv4HeaderSize + header);
  vnet.checksum_start = wire::kIpv4HeaderSize;
  vnet.checksum_offset = tcp ? 16 : 6;
  return packet;
}

void LinuxAdapter::probe_merging() {
  for (bool* offload : {&info_.tcp_offload, &info_.udp_offload}) {
    if (!*offload) continue;
    VnetHeader vnet;
    const Bytes frame = probe_frame(offload == &info_.tcp_offload, vnet);
    const ByteView piece{frame};
    *offload = write(vnet, std::span(&piece, 1)) != IoStatus::kRefused;
  }
}

// Every queue of a device must ask for the same offloads. TSO_ECN is left out: the kernel then cuts the rare
// superframes with CWR itself.
void set_offloads(int fd, const AdapterOptions& options, AdapterInfo& info) {
  if (!options.tcp_offload) return;
  const unsigned tcp = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  if (options.udp_offload && ::ioctl(fd, TUNSETOFFLOAD, tcp | kOffloadUso4 | kOffloadUso6) == 0) {
    info.tcp_offload = info.udp_offload = true;
    return;
  }
  info.tcp_offload = ::ioctl(fd, TUNSETOFFLOAD, tcp) == 0;
}

// Switches the interface on as `options` say and fills in what only the kernel knows.
Result<void> set_up_link(AdapterInfo& info, const AdapterOptions& options) {
  LR_ASSIGN(auto netlink, net::Netlink::open());
  LR_ASSIGN(const net::Interface link, netlink.find(info.name));
  info.index = link.index;
  info.mac = link.mac;
  if (info.kind == Kind::kTap && options.mac != Mac{}) {
    LR_TRY(netlink.set_mac(link.index, options.mac));
    info.mac = options.mac;
  }
  LR_TRY(netlink.set_mtu(link.index, options.mtu));
  LR_TRY(netlink.set_queue_length(link.index, options.queue_packets));
  if (info.tcp_offload) LR_TRY(netlink.set_gso_max_size(link.index, options.gso_max_bytes));
  return netlink.set_up(link.index, true);
}

}  // namespace

Result<std::unique_ptr<Adapter>> open_adapter(const AdapterOptions& options) {
  Fd fd(::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd.is_open()) return open_error("cannot open /dev/net/tun", errno);
  AdapterInfo info;
  info.kind = options.kind;
  info.mtu = options.mtu;
  LR_ASSIGN(info.name, claim_name(fd.get(), options));
  const int vnet_size = VnetHeader::kSize;
  if (::ioctl(fd.get(), TUNSETVNETHDRSZ, &vnet_size) != 0) return os_error("cannot set the virtio header", errno);
  set_offloads(fd.get(), options, info);
  LR_TRY(set_up_link(info, options));
  auto adapter = std::make_unique<LinuxAdapter>(std::move(fd), std::move(info));
  adapter->probe_merging();
  return std::unique_ptr<Adapter>(std::move(adapter));
}

}  // namespace lanrage::tun
