// Operations: changes that several may ask for at once, and what becomes of two that touch the same thing.
//
// Two operations conflict when they are of types that conflict and name the same resource; all others run side by side.
// The conflicts and the strategies are data: `strategy` is the whole rule, `lanrage operations` prints it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lanrage::tasks {

// DEFERRED runs only while the machine is idle.
enum class Priority : std::uint8_t { kDeferred, kLow, kNormal, kHigh, kCritical };
inline constexpr std::size_t kPriorities = 5;
const char* priority_name(Priority priority);  // "critical"
std::optional<Priority> parse_priority(std::string_view name);

enum class OperationType : std::uint8_t {
  kJoinParty,
  kLeaveParty,
  kKick,
  kRekey,
  kHandover,
  kAllocateIp,
  kConfigureNetwork,
  kRestartNetwork,
  kPushConfig
};
inline constexpr std::size_t kOperationTypes = 9;
const char* type_name(OperationType type);  // "join_party"
std::optional<OperationType> parse_type(std::string_view name);

struct Operation {
  OperationType type = OperationType::kConfigureNetwork;
  std::string resource;   // "party", "network"
  std::string subject{};  // what it does to it: only operations of one subject merge
  friend bool operator==(const Operation&, const Operation&) = default;
};

enum class Strategy : std::uint8_t {
  kQueue,       // the newcomer waits until the other is over
  kAbort,       // the newcomer is refused at once
  kMerge,       // both become one
  kPrioritize,  // the other is cancelled, and taken back; then the newcomer runs
};
const char* strategy_name(Strategy strategy);

// The newcomer's priority beside that of the one that is there.
enum class Order : std::uint8_t { kLower, kEqual, kHigher };
inline constexpr std::size_t kOrders = 3;
const char* order_name(Order order);
constexpr Order order_of(Priority newcomer, Priority present) {
  return newcomer < present ? Order::kLower : newcomer > present ? Order::kHigher : Order::kEqual;
}

// Nothing: they do not conflict. Whether they do is symmetric and the same in every order.
std::optional<Strategy> strategy(OperationType newcomer, OperationType present, Order order);
inline bool conflict(OperationType a, OperationType b) { return strategy(a, b, Order::kEqual).has_value(); }

// Of two operations of this type, one that has begun serves the other as well: the outcome does not depend on when it
// began. Else only one that waits can take another in.
bool serves_when_begun(OperationType type);

}  // namespace lanrage::tasks
