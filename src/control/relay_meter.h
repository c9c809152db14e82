// How a relay of this process is, from one look to the next: what it says of itself to the control server.
//
// Owned by one thread.
#pragma once

#include "control/udp_service.h"
#include "host/machine_load.h"
#include "wire/control.h"

namespace lanrage::control {

inline constexpr Duration kRelayReportInterval = std::chrono::seconds(5);

class RelayMeter {
 public:
  RelayMeter(const UdpService& udp, Time now);
  // The shares are those since the look before; call it every kRelayReportInterval.
  wire::ReportRelay look(Time now);

 private:
  const UdpService& udp_;
  Time looked_;
  Duration thread_{};
  std::uint64_t packets_kernel_ = 0;
  std::optional<host::CpuTimes> cpu_;
};

}  // namespace lanrage::control
