// This computer as `lan::Forwarder` sees it: interfaces, sockets and groups, read when asked for and kept for a moment.
//
// Belongs to the control thread. What cannot be read stays as it was and is said once in the log.
#pragma once

#include <memory>

#include "base/log.h"
#include "base/result.h"
#include "host/programs.h"
#include "host/sockets.h"
#include "lan/host_view.h"
#include "net/netlink.h"

namespace lanrage::host {

class KernelTables final : public lan::HostTables {
 public:
  static constexpr Duration kAge = std::chrono::milliseconds(1500);

  // Stays with the namespace of the thread that opens it, which must also be that of the calls.
  static Result<std::unique_ptr<KernelTables>> open(const Logger& log);

  const lan::HostView& view(Time now, lan::Freshness freshness) override;
  std::string program(const lan::LocalSocket& socket) override;

 private:
  KernelTables(net::Netlink netlink, SocketReader sockets, const Logger& log)
      : netlink_(std::move(netlink)), sockets_(std::move(sockets)), log_(log) {}
  void complain(const Error& error);

  net::Netlink netlink_;
  SocketReader sockets_;
  Programs programs_;
  Logger log_;
  lan::HostView view_;
  Time read_{};
  bool complained_ = false;
};

}  // namespace lanrage::host
