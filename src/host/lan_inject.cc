#include "host/lan_inject.h"

#include <utility>

namespace lanrage::host {

Result<LanInject> LanInject::open(unsigned adapter, const Logger& log) {
  LR_ASSIGN(auto raw, net::RawSocket::open());
  return LanInject(log, std::move(raw), net::MulticastMember(adapter));
}

Result<void> LanInject::handle(const lan::Delivery& delivery) {
  switch (delivery.kind) {
    case lan::Delivery::Kind::kWrite:
      return Error{Code::kInvalid, "a packet for the adapter is not injected"};
    case lan::Delivery::Kind::kJoin:
      log_.debug("joining a group on the adapter", {{"group", delivery.group.text()}});
      return member_.join(delivery.group);
    case lan::Delivery::Kind::kLeave:
      log_.debug("leaving a group on the adapter", {{"group", delivery.group.text()}});
      member_.leave(delivery.group);
      return {};
    case lan::Delivery::Kind::kInject: {
      const Timed timed{log_, op::kLanInject};
      return raw_.loop_back(delivery.packet, static_cast<unsigned>(delivery.interface));
    }
  }
  return Error{Code::kInvalid, "unknown delivery"};
}

}  // namespace lanrage::host
