// Two adapters joined back to back in memory, for tests: what is written to one is read from the other.
//
// Behaves like a real one where callers can tell: frames keep their virtio header, a full queue loses frames, `fd` is
// readable while something waits. Thread-safe.
#pragma once

#include <memory>
#include <utility>

#include "base/result.h"
#include "tun/adapter.h"

namespace lanrage::tun {

struct MemoryPairOptions {
  bool tcp_offload = true;
  bool udp_offload = true;
  bool refuse_merged = false;  // answer kRefused to merged frames, as kernels with the regression of 6.6.44 do
  int mtu = 1420;
};

inline constexpr std::size_t kMemoryPairFramesMax = 1024;  // per direction

Result<std::pair<std::unique_ptr<Adapter>, std::unique_ptr<Adapter>>> make_memory_pair(
    const MemoryPairOptions& options = {});

}  // namespace lanrage::tun
