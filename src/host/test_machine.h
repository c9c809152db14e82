// For tests: one machine in a namespace of its own, with a TAP as the party's adapter, a second card, and everything
// that LANrage runs for LAN games between them. The other members are made up: `say` is what one of them sent.
//
//     10.66.1.1/24, fd00:66::1/64   lanrageT (TAP)       192.168.9.1/24, default route   eth0 ── eth0p (nobody)
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/rng.h"
#include "host/kernel_tables.h"
#include "host/lan_capture.h"
#include "host/lan_inject.h"
#include "lan/forwarder.h"
#include "lan/rules.h"
#include "net/address.h"
#include "net/clock.h"
#include "net/fd.h"
#include "net/test_namespace.h"

namespace lanrage::host {

using List = std::vector<std::string>;

inline IpAddress ip(const char* text) { return *IpAddress::parse(text); }

inline unsigned index_of(const char* interface) {
  const net::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::string(interface).copy(request.ifr_name, IFNAMSIZ - 1);
  EXPECT_EQ(::ioctl(socket.get(), SIOCGIFINDEX, &request), 0) << interface;
  return static_cast<unsigned>(request.ifr_ifindex);
}

inline void shell(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }

// A game's socket.
class Game {
 public:
  explicit Game(int family = AF_INET) : fd_(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    set(SOL_SOCKET, SO_REUSEADDR, 1).set(SOL_SOCKET, SO_BROADCAST, 1);
  }
  Game& set(int level, int option, int value) {
    EXPECT_EQ(::setsockopt(fd_.get(), level, option, &value, sizeof value), 0) << option;
    return *this;
  }
  Game& bind(const Endpoint& endpoint) {
    sockaddr_storage address{};
    const socklen_t size = net::to_sockaddr(endpoint, address);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size), 0) << endpoint.text();
    return *this;
  }
  Game& bind_any(std::uint16_t port) { return bind({IpAddress(), port}); }
  Game& bind_device(const char* name) {
    EXPECT_EQ(::setsockopt(fd_.get(), SOL_SOCKET, SO_BINDTODEVICE, name, static_cast<socklen_t>(strlen(name))), 0);
    return *this;
  }
  Game& join(const IpAddress& group, const char* interface = nullptr) {
    const unsigned index = interface != nullptr ? index_of(interface) : 0;
    if (group.is_v6()) {
      ipv6_mreq request{};
      std::copy(group.bytes().begin(), group.bytes().end(), request.ipv6mr_multiaddr.s6_addr);
      request.ipv6mr_interface = index;
      EXPECT_EQ(::setsockopt(fd_.get(), IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &request, sizeof request), 0);
    } else {
      ip_mreqn request{};
      request.imr_multiaddr.s_addr = htonl(group.v4_value());
      request.imr_ifindex = static_cast<int>(index);
      EXPECT_EQ(::setsockopt(fd_.get(), IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request), 0);
    }
    return *this;
  }
  Game& send_groups_by(unsigned interface) {
    ip_mreqn choice{};
    choice.imr_ifindex = static_cast<int>(interface);
    EXPECT_EQ(::setsockopt(fd_.get(), IPPROTO_IP, IP_MULTICAST_IF, &choice, sizeof choice), 0);
    return *this;
  }
  void send(const Endpoint& to, std::string_view text, unsigned scope = 0) const {
    sockaddr_storage address{};
    const socklen_t size = net::to_sockaddr(to, address, scope);
    EXPECT_EQ(::sendto(fd_.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&address), size),
              static_cast<ssize_t>(text.size()))
        << to.text() << ": " << strerror(errno);
  }
  std::uint16_t port() const {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    return net::from_sockaddr(address)->port;
  }
  // Everything heard so far, as "text from address:port". What the kernel has to hand over it has handed over by the
  // time that the write or send returns, so nothing is waited for.
  std::vector<std::string> heard() const {
    std::vector<std::string> out;
    char buffer[2048];
    while (true) {
      sockaddr_storage from{};
      socklen_t size = sizeof from;
      const ssize_t count =
          ::recvfrom(fd_.get(), buffer, sizeof buffer, MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&from), &size);
      if (count < 0) return out;
      out.push_back(std::string(buffer, static_cast<std::size_t>(count)) + " from " + net::from_sockaddr(from)->text());
    }
  }

 private:
  net::Fd fd_;
};

class Machine {
 public:
  static constexpr const char* kAdapterName = "lanrageT";
  static constexpr std::uint8_t kMac[6] = {0x02, 0, 0, 0, 0, 1};
  static constexpr std::uint8_t kMemberMac[6] = {0x02, 0, 0, 0, 0, 0xaa};

  Machine() : rng(1) {
    tap_ = net::Fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
    ifreq request{};
    std::string(kAdapterName).copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    EXPECT_EQ(::ioctl(tap_.get(), TUNSETIFF, &request), 0);
    const std::string adapter = kAdapterName;
    shell("ip link set " + adapter + " address 02:00:00:00:00:01 && ip addr add 10.66.1.1/24 brd + dev " + adapter +
          " && ip addr add fd00:66::1/64 dev " + adapter + " nodad && ip link set " + adapter + " up");
    shell("for a in 10.66.1.7 fd00:66::7; do ip neigh add $a lladdr 02:00:00:00:00:aa dev " + adapter + "; done");
    shell(
        "ip link add eth0 type veth peer name eth0p && ip addr add 192.168.9.1/24 brd + dev eth0 && "
        "ip addr add fd00:9::1/64 dev eth0 nodad && ip addr add fe80::9/64 dev eth0 nodad && "
        "ip link set eth0p up && ip link set eth0 up && ip route add default via 192.168.9.2");
    adapter_index = index_of(kAdapterName);
    eth0_index = index_of("eth0");
    auto opened_tables = KernelTables::open(silent_logger());
    auto opened_capture = LanCapture::open({adapter_index}, silent_logger());
    auto opened_inject = LanInject::open(adapter_index, silent_logger());
    LR_CHECK(opened_tables && opened_capture && opened_inject);
    tables = std::move(*opened_tables);
    capture = std::make_unique<LanCapture>(std::move(*opened_capture));
    inject = std::make_unique<LanInject>(std::move(*opened_inject));
    const std::array<std::uint8_t, 1> own_key{1}, member_key{7};
    member_origin = lan::origin_of(member_key);
    const lan::Self self{lan::origin_of(own_key),
                         static_cast<int>(adapter_index),
                         {ip("10.66.1.1"), 24},
                         IpPrefix{ip("fd00:66::1"), 64}};
    forwarder = std::make_unique<lan::Forwarder>(lan::ForwarderOptions{}, self, *tables, rng, silent_logger());
    pump();
    left.clear();
  }

  // Into the adapter, as if from a member.
  void write(ByteView packet) const {
    const auto header = wire::parse_ip(packet);
    ASSERT_TRUE(header);
    Bytes frame(kMac, kMac + 6);
    const ByteView to = header->destination.bytes();
    if (header->destination.is_multicast() && header->v6) {
      frame = {0x33, 0x33, to[12], to[13], to[14], to[15]};
    } else if (header->destination.is_multicast()) {
      frame = {0x01, 0, 0x5e, static_cast<std::uint8_t>(to[1] & 0x7f), to[2], to[3]};
    } else if (header->destination != ip("10.66.1.1") && header->destination != ip("192.168.9.1") && !header->v6) {
      frame.assign(6, 0xff);
    }
    append(frame, kMemberMac);
    const std::uint16_t type = header->v6 ? 0x86dd : 0x0800;
    frame.push_back(static_cast<std::uint8_t>(type >> 8));
    frame.push_back(static_cast<std::uint8_t>(type));
    append(frame, packet);
    ASSERT_EQ(::write(tap_.get(), frame.data(), frame.size()), static_cast<ssize_t>(frame.size()));
  }
  void write(const char* destination, std::uint16_t port, const char* text) const {
    const bool v6 = ip(destination).is_v6();
    write(wire::build_udp({ip(v6 ? "fd00:66::7" : "10.66.1.7"), 4000}, {ip(destination), port}, as_bytes(text)));
  }

  // What member 7 says in the party, through the forwarder and its adapters.
  void say(const char* destination, std::uint16_t port, const char* text) {
    const bool v6 = ip(destination).is_v6();
    const Bytes packet =
        wire::build_udp({ip(v6 ? "fd00:66::7" : "10.66.1.7"), 4000}, {ip(destination), port}, as_bytes(text), 1);
    wire::LanEnvelope envelope;
    envelope.origin = member_origin;
    envelope.sequence = ++sequence_;
    envelope.packet = packet;
    const std::array<IpPrefix, 2> addresses{IpPrefix::host(ip("10.66.1.7")), IpPrefix::host(ip("fd00:66::7"))};
    forwarder->handle_envelope(net::now().time, {member_origin, addresses}, envelope.bytes());
    pump();
  }

  // Moves everything that waits: adapter and captures to the forwarder, its deliveries to the kernel, its envelopes to
  // `sent`.
  void pump() {
    const Time now = net::now().time;
    for (const Bytes& packet : adapter_packets()) {
      const auto header = wire::parse_ip(packet);
      if (header && lan::is_lan_destination(header->destination, {ip("10.66.1.1"), 24}))
        forwarder->handle_adapter_packet(now, packet);
    }
    capture->read([&](unsigned interface, ByteView packet) {
      forwarder->handle_captured_packet(now, static_cast<int>(interface), packet);
    });
    while (auto frame = forwarder->poll_transmit()) {
      const auto envelope = wire::LanEnvelope::parse(*frame);
      ASSERT_TRUE(envelope);
      const auto udp = wire::parse_udp_packet(envelope->packet);
      ASSERT_TRUE(udp && wire::has_valid_checksum(envelope->packet, udp->ip));
      sent.push_back(std::string(as_text(udp->payload)) + " " + udp->source.address.text() + " > " +
                     udp->destination.text());
    }
    while (auto delivery = forwarder->poll_delivery()) {
      if (delivery->kind == lan::Delivery::Kind::kWrite) {
        write(delivery->packet);
      } else {
        const auto done = inject->handle(*delivery);
        ASSERT_TRUE(done) << done.error().message;
      }
    }
  }

  // IP packets that the kernel sent into the adapter; UDP ones are noted in `left`.
  std::vector<Bytes> adapter_packets() {
    std::vector<Bytes> out;
    std::array<std::uint8_t, 4096> frame;
    while (true) {
      const ssize_t count = ::read(tap_.get(), frame.data(), frame.size());
      if (count <= 14) return out;
      const Bytes packet(frame.begin() + 14, frame.begin() + count);
      if (const auto udp = wire::parse_udp_packet(packet)) {
        left.push_back(std::string(as_text(udp->payload)) + " " + udp->source.address.text() + " > " +
                       udp->destination.text());
        last_left = packet;
      }
      out.push_back(packet);
    }
  }

  std::uint64_t dropped(lan::Drop reason) const {
    return forwarder->status().dropped[static_cast<std::size_t>(reason)];
  }
  std::string status_text() const {
    std::string out;
    for (const std::string& rule : forwarder->status().rules) out += rule + "\n";
    return out;
  }

  SeededRng rng;
  unsigned adapter_index = 0;
  unsigned eth0_index = 0;
  wire::LanOrigin member_origin{};
  std::unique_ptr<KernelTables> tables;
  std::unique_ptr<LanCapture> capture;
  std::unique_ptr<LanInject> inject;
  std::unique_ptr<lan::Forwarder> forwarder;
  std::vector<std::string> sent;  // to the party: "text source > destination:port"
  std::vector<std::string> left;  // by the adapter, the same
  Bytes last_left;

 private:
  net::Fd tap_;
  std::uint64_t sequence_ = 0;
};

inline void on_a_machine(const std::function<void(Machine&)>& body) {
  const net::TestNamespace space;
  space.run([&] {
    Machine machine;
    body(machine);
  });
}

}  // namespace lanrage::host
