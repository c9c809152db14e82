// Named operations and how long they take.
//
// Every operation that a person might wonder about has a name in `op` below; it is timed with `Timed` (log.h) or, in
// cores, `Logger::timed`, and feeds a histogram that `/metrics` exports. Names are a contract with dashboards: add,
// don't rename.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace lanrage {

struct Operation {
  std::uint8_t id;
  const char* name;
};

// clang-format off
#define LR_OPERATIONS(X)                                                                                              \
  X(ConfigLoad, "config_load")               X(PrivilegeCheck, "privilege_check")                                     \
  X(StoreOpen, "store_open")                 X(StoreCommit, "store_commit")                                           \
  X(CreateParty, "create_party")             X(JoinParty, "join_party")                                               \
  X(LeaveParty, "leave_party")               X(CreateInvite, "create_invite")                                         \
  X(RevokeInvite, "revoke_invite")           X(KickMember, "kick_member")                                             \
  X(RekeyParty, "rekey_party")               X(HandOver, "hand_over")                                                 \
  X(AllocateAddress, "allocate_address")     X(StateSave, "state_save")                                               \
  X(StateLoad, "state_load")                 X(ControlConnect, "control_connect")                                     \
  X(ControlRequest, "control_request")       X(ControlAuthenticate, "control_authenticate")                           \
  X(ControlSnapshot, "control_snapshot")     X(HandleRequest, "handle_request")                                       \
  X(NetworkInit, "network_init")             X(AddPeer, "add_peer")                                                   \
  X(RemovePeer, "remove_peer")               X(ConnectToPeer, "connect_to_peer")                                      \
  X(Handshake, "handshake")                  X(DiscoverNat, "discover_nat")                                           \
  X(HolePunch, "hole_punch")                 X(RelayRegister, "relay_register")                                       \
  X(MeasureConnectionQuality, "measure_connection_quality")                                                           \
  X(PromotePath, "promote_path")             X(LanCaptureStart, "lan_capture_start")                                  \
  X(LanInject, "lan_inject")                 X(ReadSockets, "read_sockets")                                           \
  X(NodeStart, "node_start")                 X(NodeStop, "node_stop")                                                 \
  X(ApiRequest, "api_request")               X(SelectRelay, "select_relay")                                           \
  X(ExecuteTask, "execute_task")             X(ResolveConflicts, "resolve_conflicts")
// clang-format on

namespace op {
enum class Id : std::uint8_t {
#define X(id, name) k##id,
  LR_OPERATIONS(X)
#undef X
      kCount
};
#define X(id, name) inline constexpr Operation k##id{static_cast<std::uint8_t>(Id::k##id), name};
LR_OPERATIONS(X)
#undef X
}  // namespace op

inline constexpr std::size_t kOperationCount = static_cast<std::size_t>(op::Id::kCount);

// One histogram per operation. Thread-safe; recording is a few relaxed atomic additions.
class Timings {
 public:
  // Upper bounds of the buckets, in seconds; one more counts what is longer.
  static constexpr std::array<double, 15> kBounds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                                     0.05,   0.1,     0.25,   0.5,   1,      2.5,   10};
  struct Summary {
    const char* name;
    std::uint64_t count;
    double sum_seconds;
    std::array<std::uint64_t, kBounds.size() + 1> buckets;
  };

  void record(Operation operation, Duration duration);
  std::vector<Summary> summaries() const;  // those seen at least once

 private:
  struct Series {
    std::atomic<std::uint64_t> count{0};
    std::atomic<std::uint64_t> sum_ns{0};
    std::array<std::atomic<std::uint64_t>, kBounds.size() + 1> buckets{};
  };
  std::array<Series, kOperationCount> series_{};
};

}  // namespace lanrage
