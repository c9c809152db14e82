// What other members may reach on this machine: docs/filter.md.
//
// An unknown game must just work and a player's files must stay closed. So every port is open except those of services
// that are not games; `allow` and `deny` rules change that, and with `strict` only what a rule allows is open. Answers
// to what this machine sent are never blocked: `Flows` remembers them.
//
// A `PortFilter` is immutable and part of the Forwarding snapshot. `Flows` is written by the thread that sends and read
// by the one that receives, without a lock. Nothing here decides who may send with which address (that is inbound.h).
#pragma once

#include <atomic>
#include <bitset>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "base/time.h"
#include "wire/ip.h"

namespace lanrage::node {

struct FilterRule {
  enum class Action : std::uint8_t { kAllow, kDeny };
  enum class Protocol : std::uint8_t { kBoth, kTcp, kUdp };
  Action action = Action::kAllow;
  Protocol protocol = Protocol::kBoth;
  std::uint16_t first = 0;
  std::uint16_t last = 0xffff;  // inclusive

  // "22", "udp/27015", "tcp/6000-6010", "all".
  static Result<FilterRule> parse(Action action, std::string_view text);
  std::string text() const;  // without the action
  friend bool operator==(const FilterRule&, const FilterRule&) = default;
};

// One service that is closed unless a rule opens it, and why.
struct ClosedService {
  FilterRule::Protocol protocol;
  std::uint16_t first;
  std::uint16_t last;
  const char* what;
};
// Beside everything below 1024, which is closed as a whole.
std::span<const ClosedService> closed_services();

// Remembers that this machine talked from one of its closed ports to a remote port, so that the answer may pass.
// Fixed size: an old flow gives way to a new one. A lookup can be wrong with a chance of 2^-38 that nobody can steer
// without the key.
class Flows {
 public:
  static constexpr std::size_t kEntries = 4096;
  static constexpr Duration kIdle = std::chrono::seconds(120);

  explicit Flows(std::uint64_t key) : key_(key) {}

  // `ip` is the outgoing packet of the sending thread.
  void note(Time now, ByteView packet, const wire::IpHeader& ip);
  // Whether `packet`, which came in, answers a flow noted at most kIdle ago.
  bool is_answer(Time now, ByteView packet, const wire::IpHeader& ip) const;

 private:
  std::uint64_t hash(ByteView packet, const wire::IpHeader& ip, bool outgoing) const;
  std::uint64_t key_;
  std::array<std::atomic<std::uint64_t>, kEntries> entries_{};
};

class PortFilter {
 public:
  // Later rules win over earlier ones.
  PortFilter(bool strict, std::span<const FilterRule> rules);

  bool is_open(std::uint8_t protocol, std::uint16_t port) const {
    return protocol == wire::kProtocolTcp ? tcp_[port] : udp_[port];
  }
  // Whether `packet` from a member may reach this machine.
  bool admits(Time now, ByteView packet, const wire::IpHeader& ip, const Flows& flows) const;
  // To be called for what this machine sends to a member; notes what needs remembering.
  void note_sent(Time now, ByteView packet, const wire::IpHeader& ip, Flows& flows) const;

 private:
  std::bitset<65536> tcp_;
  std::bitset<65536> udp_;
};

}  // namespace lanrage::node
