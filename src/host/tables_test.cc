// The tables of the kernel as text, and as this machine really has them.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "host/groups.h"
#include "host/kernel_tables.h"
#include "host/machine_load.h"
#include "host/power.h"
#include "host/sockets.h"

namespace lanrage::host {
namespace {

IpAddress ip(const char* text) { return *IpAddress::parse(text); }
constexpr Time at(double s) { return Time{Duration{static_cast<std::int64_t>(s * 1e9)}}; }

TEST(ProcUdp, IsReadInTheByteOrderOfTheMachine) {
  const auto v4 = parse_proc_udp(
      "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer "
      "drops\n"
      "  100: 0109A8C0:6D38 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 4711 2 0000 0\n"
      "  101: 00000000:0044 0100000A:0043 01 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000 0\n"
      "  102: 0109A8C0 nonsense\n",
      false);
  ASSERT_EQ(v4.size(), 2u);
  EXPECT_EQ(v4[0].bound, ip("192.168.9.1"));
  EXPECT_EQ(v4[0].port, 27960);
  EXPECT_EQ(v4[0].uid, 1000u);
  EXPECT_EQ(v4[0].inode, 4711u);
  EXPECT_FALSE(v4[0].connected);
  EXPECT_FALSE(v4[0].multicast_all.has_value());
  EXPECT_TRUE(v4[1].connected);
  EXPECT_TRUE(v4[1].bound.is_unspecified());
  const auto v6 = parse_proc_udp(
      "  1: B80D0120000000000000000001000000:14E9 00000000000000000000000000000000:0000 07 0:0 0:0 0  5 0 9 2 0 0\n",
      true);
  ASSERT_EQ(v6.size(), 1u);
  EXPECT_EQ(v6[0].bound, ip("2001:db8::1"));
  EXPECT_EQ(v6[0].port, 5353);
}

TEST(ProcIgmp, TellsGroupInterfaceAndUsers) {
  const auto groups = parse_igmp(
      "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n"
      "1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"
      "12\teth0      :     2      V3\n\t\t\t\t3C0200E0     3 0:00000000\t\t0\n\t\t\t\tzz 1\n");
  EXPECT_EQ(groups, (std::vector<lan::GroupMembership>{{ip("224.0.0.1"), 1, 1}, {ip("224.0.2.60"), 12, 3}}));
  const auto groups6 = parse_igmp6(
      "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
      "7    lanrage0        ff050000000000000000000000001234     2 00000004 0\n"
      "broken\n");
  EXPECT_EQ(groups6, (std::vector<lan::GroupMembership>{{ip("ff02::1"), 1, 1}, {ip("ff05::1234"), 7, 2}}));
}

struct UdpSocket {
  explicit UdpSocket(int family) : fd(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_storage address{};
    address.ss_family = static_cast<sa_family_t>(family);
    socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    port = ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port);  // at the same place in both families
  }
  void set(int level, int option, int value) const {
    EXPECT_EQ(::setsockopt(fd.get(), level, option, &value, sizeof value), 0);
  }
  net::Fd fd;
  std::uint16_t port = 0;
};

const lan::LocalSocket* find(const std::vector<lan::LocalSocket>& sockets, std::uint16_t port) {
  const auto found = std::find_if(sockets.begin(), sockets.end(), [&](const auto& s) { return s.port == port; });
  return found != sockets.end() ? &*found : nullptr;
}

TEST(SocketReader, TellsMulticastAllFamilyAndOwner) {
  const UdpSocket plain(AF_INET), java(AF_INET6);
  java.set(IPPROTO_IP, IP_MULTICAST_ALL, 0);
  auto reader = SocketReader::open();
  ASSERT_TRUE(reader);
  const auto sockets = reader->read();
  ASSERT_TRUE(sockets);
  const auto* first = find(*sockets, plain.port);
  const auto* second = find(*sockets, java.port);
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(first->v6);
  EXPECT_TRUE(second->v6);
  EXPECT_EQ(first->multicast_all, true);
  EXPECT_EQ(second->multicast_all, false);
  EXPECT_EQ(first->uid, ::getuid());
  EXPECT_TRUE(first->bound.is_unspecified());
  EXPECT_FALSE(first->connected);
}

TEST(KernelTables, ReadAgainOnlyWhenOldOrAsked) {
  auto tables = KernelTables::open(silent_logger());
  ASSERT_TRUE(tables);
  (*tables)->view(at(1), lan::Freshness::kCached);
  const UdpSocket late(AF_INET);
  EXPECT_EQ(find((*tables)->view(at(2), lan::Freshness::kCached).sockets, late.port), nullptr);
  const lan::HostView& view = (*tables)->view(at(2), lan::Freshness::kNow);
  const auto* socket = find(view.sockets, late.port);
  ASSERT_NE(socket, nullptr);
  EXPECT_EQ((*tables)->program(*socket), "host_test");
  const UdpSocket later(AF_INET);
  EXPECT_EQ(find((*tables)->view(at(3), lan::Freshness::kCached).sockets, later.port), nullptr);
  EXPECT_NE(find((*tables)->view(at(3.6), lan::Freshness::kCached).sockets, later.port), nullptr);
}

TEST(Programs, AreNotLookedForAgainWhereTheyCannotBeSeen) {
  Programs programs;
  EXPECT_EQ(programs.name(at(1), ~std::uint64_t{0}, 0), "user:root");
  for (int n = 0; n < 100; ++n) EXPECT_EQ(programs.name(at(2 + n), ~std::uint64_t{0}, 0), "user:root");
  EXPECT_EQ(programs.looks(), 1);
  programs.name(at(102), ~std::uint64_t{1}, 0);
  EXPECT_EQ(programs.looks(), 2) << "another socket";
}

TEST(KernelTables, NamesTheUserWhereTheProgramCannotBeTold) {
  auto tables = KernelTables::open(silent_logger());
  ASSERT_TRUE(tables);
  (*tables)->view(at(1), lan::Freshness::kNow);
  lan::LocalSocket stranger;
  stranger.inode = ~std::uint64_t{0};
  EXPECT_EQ((*tables)->program(stranger), "user:root");
  stranger.inode = ~std::uint64_t{1};
  stranger.uid = 4'000'000'000;
  EXPECT_EQ((*tables)->program(stranger), "uid:4000000000");
}

TEST(MachineLoad, ReadsTheCoresTimesAndTheMemoryThatIsLeft) {
  const auto times = parse_cpu_times("cpu  100 20 30 400 50 6 7 8 100 20\ncpu0 1 2 3 4 5 6 7 8 9 10\n");
  ASSERT_TRUE(times);
  EXPECT_EQ(times->total, 621u);  // a guest's time is in its user's
  EXPECT_EQ(times->busy, 171u);
  EXPECT_EQ(parse_memory_used("MemTotal:  1000 kB\nMemFree: 10 kB\nMemAvailable:   250 kB\n"), 0.75);
  for (const char* text : {"", "cpu", "cpu 1 2 3", "cpu 1 2 3 4 5 6 7 x", "intr 1 2 3 4 5 6 7 8 9"})
    EXPECT_FALSE(parse_cpu_times(text)) << text;
  for (const char* text :
       {"", "MemTotal: 5 kB", "MemAvailable: 5 kB", "MemTotal: 0 kB\nMemAvailable: 0 kB", "MemTotal:"})
    EXPECT_FALSE(parse_memory_used(text)) << text;
  EXPECT_TRUE(read_cpu_times());
  EXPECT_TRUE(read_memory_used());
  EXPECT_GT(read_own_memory(), 0u);
}

// A folder as /sys/class/power_supply, removed at the end.
struct PowerSupplies {
  std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("lanrage_power_test_" + std::to_string(::getpid()));
  ~PowerSupplies() { std::filesystem::remove_all(folder); }
  void add(const char* name, const char* type, const char* scope = nullptr) const {
    std::filesystem::create_directories(folder / name);
    std::ofstream(folder / name / "type") << type << '\n';
    if (scope != nullptr) std::ofstream(folder / name / "scope") << scope << '\n';
  }
  bool has_battery() const { return host::has_battery(folder.string()); }
};

TEST(PowerSupply, OfTheMachineItselfIsABatteryThatCounts) {
  const PowerSupplies supplies;
  EXPECT_FALSE(supplies.has_battery()) << "nothing is there at all";
  supplies.add("AC", "Mains");
  supplies.add("hidpp_battery_0", "Battery", "Device");
  supplies.add("ucsi-source-psy", "USB", "System");
  EXPECT_FALSE(supplies.has_battery());
  supplies.add("BAT0", "Battery");
  EXPECT_TRUE(supplies.has_battery());
  std::filesystem::remove_all(supplies.folder / "BAT0");
  supplies.add("bq27xxx", "Battery", "System");
  EXPECT_TRUE(supplies.has_battery());
}

}  // namespace
}  // namespace lanrage::host
