#include "tasks/operations.h"

namespace lanrage::tasks {
namespace {

using enum OperationType;
using enum Strategy;

constexpr std::array<const char*, kPriorities> kPriorityNames = {"deferred", "low", "normal", "high", "critical"};
constexpr std::array<const char*, kOperationTypes> kTypeNames = {
    "join_party",        "leave_party",     "kick",       "rekey", "handover", "allocate_ip",
    "configure_network", "restart_network", "push_config"};
constexpr std::array<const char*, 4> kStrategyNames = {"queue", "abort", "merge", "prioritize"};
constexpr std::array<const char*, kOrders> kOrderNames = {"lower", "equal", "higher"};

struct Row {
  OperationType newcomer, present;
  std::array<Strategy, kOrders> by_order;
};
constexpr std::array<Strategy, kOrders> always(Strategy strategy) { return {strategy, strategy, strategy}; }

// Every pair that conflicts, both ways round.
constexpr Row kRows[] = {
    {kJoinParty, kJoinParty, always(kMerge)},
    {kLeaveParty, kLeaveParty, always(kMerge)},
    // Who leaves gives up joining; who joins again waits until the farewell is said.
    {kLeaveParty, kJoinParty, {kQueue, kPrioritize, kPrioritize}},
    {kJoinParty, kLeaveParty, always(kQueue)},
    // Each statement of the owner continues the one before.
    {kKick, kKick, always(kQueue)},
    {kKick, kRekey, always(kQueue)},
    {kKick, kHandover, always(kQueue)},
    {kRekey, kKick, always(kQueue)},
    {kRekey, kRekey, always(kMerge)},
    {kRekey, kHandover, always(kQueue)},
    {kHandover, kKick, always(kQueue)},
    {kHandover, kRekey, always(kQueue)},
    {kHandover, kHandover, always(kQueue)},
    // A statement that was begun is finished before one leaves; who is about to leave or to join makes none.
    {kLeaveParty, kKick, always(kQueue)},
    {kLeaveParty, kRekey, always(kQueue)},
    {kLeaveParty, kHandover, always(kQueue)},
    {kKick, kLeaveParty, always(kAbort)},
    {kRekey, kLeaveParty, always(kAbort)},
    {kHandover, kLeaveParty, always(kAbort)},
    {kJoinParty, kKick, always(kAbort)},
    {kJoinParty, kRekey, always(kAbort)},
    {kJoinParty, kHandover, always(kAbort)},
    {kKick, kJoinParty, always(kAbort)},
    {kRekey, kJoinParty, always(kAbort)},
    {kHandover, kJoinParty, always(kAbort)},
    {kAllocateIp, kAllocateIp, always(kQueue)},
    {kConfigureNetwork, kConfigureNetwork, always(kMerge)},
    {kRestartNetwork, kRestartNetwork, always(kMerge)},
    {kConfigureNetwork, kRestartNetwork, {kQueue, kQueue, kPrioritize}},
    {kRestartNetwork, kConfigureNetwork, {kAbort, kQueue, kPrioritize}},
    {kPushConfig, kPushConfig, always(kMerge)},
    {kPushConfig, kConfigureNetwork, always(kQueue)},
    {kConfigureNetwork, kPushConfig, always(kQueue)},
    {kPushConfig, kRestartNetwork, always(kQueue)},
    {kRestartNetwork, kPushConfig, always(kQueue)},
};

template <class T, std::size_t N>
std::optional<T> named(const std::array<const char*, N>& names, std::string_view name) {
  for (std::size_t i = 0; i < N; ++i)
    if (names[i] == name) return static_cast<T>(i);
  return std::nullopt;
}

}  // namespace

const char* priority_name(Priority priority) { return kPriorityNames.at(static_cast<std::size_t>(priority)); }
std::optional<Priority> parse_priority(std::string_view name) { return named<Priority>(kPriorityNames, name); }
const char* type_name(OperationType type) { return kTypeNames.at(static_cast<std::size_t>(type)); }
std::optional<OperationType> parse_type(std::string_view name) { return named<OperationType>(kTypeNames, name); }
const char* strategy_name(Strategy strategy) { return kStrategyNames.at(static_cast<std::size_t>(strategy)); }
const char* order_name(Order order) { return kOrderNames.at(static_cast<std::size_t>(order)); }

std::optional<Strategy> strategy(OperationType newcomer, OperationType present, Order order) {
  for (const Row& row : kRows) {
    if (row.newcomer == newcomer && row.present == present) return row.by_order[static_cast<std::size_t>(order)];
  }
  return std::nullopt;
}

bool serves_when_begun(OperationType type) {
  return type == kJoinParty || type == kLeaveParty || type == kRestartNetwork;
}

}  // namespace lanrage::tasks
