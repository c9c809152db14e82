#include "daemon/lan_search.h"

#include <algorithm>
#include <array>

#include "wire/probe.h"

namespace lanrage::daemon {

Result<LanSearch> LanSearch::open() {
  net::UdpOptions options;
  options.bind = wire::kLanSearch;
  options.segmentation = options.coalescing = false;
  options.receive_buffer = options.send_buffer = 64 * 1024;
  options.share_group = true;
  LR_ASSIGN(auto socket, net::UdpSocket::open(options));
  return LanSearch(std::move(socket));
}

void LanSearch::follow(const std::vector<unsigned>& interfaces) {
  std::erase_if(members_, [&](const auto& member) { return std::ranges::count(interfaces, member.first) == 0; });
  for (const unsigned interface : interfaces) {
    net::MulticastMember member(interface);
    if (!members_.contains(interface) && member.join(wire::kLanSearch.address))
      members_.emplace(interface, std::move(member));
  }
}

void LanSearch::read(const std::function<void(const Endpoint& source, ByteView datagram)>& handle) {
  std::array<std::array<std::uint8_t, wire::kProbeBytes + 1>, 16> memory;  // what is longer is no probe
  std::array<net::ReceiveSlot, memory.size()> slots;
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i].buffer = memory[i];
  const std::size_t count = socket_.receive(slots);
  for (const net::ReceiveSlot& slot : std::span(slots).first(count))
    if (!slot.truncated) handle(slot.source, slot.bytes());
}

}  // namespace lanrage::daemon
