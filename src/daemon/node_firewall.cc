// Whether this machine's firewall lets members' packets to its programs: tried, not read off its rules.
#include <poll.h>

#include "base/format.h"
#include "daemon/node_daemon.h"
#include "net/firewall.h"

namespace lanrage::daemon {
namespace {

constexpr Duration kCheckedFor = std::chrono::seconds(5);
// The kernel hands the packet over before the write returns, unless it is very busy.
constexpr int kPatienceMilliseconds = 50;
constexpr std::uint16_t kDiscardPort = 9;

// Some other address of the party's network.
IpAddress neighbour_of(const IpAddress& own) {
  const std::uint32_t value = own.v4_value();
  return IpAddress::v4((value & 0xff) < 128 ? value + 1 : value - 1);
}

}  // namespace

// A datagram as from a member, to a socket of our own that waits for it.
void NodeDaemon::check_firewall() {
  const auto own = std::find_if(configured_.addresses.begin(), configured_.addresses.end(),
                                [](const IpPrefix& address) { return address.address.is_v4(); });
  if (own == configured_.addresses.end()) {
    firewall_checked_.reset();
    firewall_problem_.clear();
    return;
  }
  if (firewall_checked_ && now_.time - *firewall_checked_ < kCheckedFor) return;
  firewall_checked_ = now_.time;
  firewall_problem_.clear();
  net::UdpOptions options;
  options.bind.address = own->address;
  options.segmentation = options.coalescing = false;
  options.receive_buffer = options.send_buffer = 16 * 1024;
  auto socket = net::UdpSocket::open(options);
  if (!socket) return;
  const auto token = rng_.array<16>();
  adapter_->write_packet(wire::build_udp({neighbour_of(own->address), kDiscardPort}, socket->local(), token));
  pollfd waiting{socket->fd(), POLLIN, 0};
  if (::poll(&waiting, 1, kPatienceMilliseconds) != 0) return;
  const std::string& interface = adapter_->info().name;
  firewall_problem_ = format("this machine's firewall keeps the party's games out: `{}` lets them in",
                             net::allow_command(net::read_firewall(), interface));
}

}  // namespace lanrage::daemon
