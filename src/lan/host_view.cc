#include "lan/host_view.h"

namespace lanrage::lan {

const HostInterface* HostView::interface(int index) const {
  for (const HostInterface& candidate : interfaces)
    if (candidate.index == index) return &candidate;
  return nullptr;
}

bool HostView::is_local(const IpAddress& address) const {
  for (const HostInterface& candidate : interfaces) {
    if (candidate.loopback) continue;
    for (const IpPrefix& own : candidate.addresses)
      if (own.address == address) return true;
  }
  return false;
}

}  // namespace lanrage::lan
