// How one datagram of a member reaches the programs of this machine, once each.
//
// The kernel's rules, measured (docs/lan.md): what is written into the adapter reaches sockets bound to no address; a
// group must be joined on the adapter for that; a socket that joined elsewhere with IP_MULTICAST_ALL=0, as every JVM
// sets it, hears IPv4 groups on its own interface only; a socket bound to one of the machine's addresses hears neither;
// a socket bound to a device hears that device. A function of its arguments.
#pragma once

#include <optional>
#include <vector>

#include "lan/host_view.h"

namespace lanrage::lan {

struct DeliveryPlan {
  bool write = false;             // into the adapter, as it is
  bool join = false;              // the group on the adapter first
  int inject = 0;                 // or: on this interface; 0: not
  std::vector<IpAddress> copies;  // and to each of these instead of its destination, for sockets bound to them
  std::vector<LocalSocket> deaf;  // programs on that port that nothing of this reaches: bound to another device
  bool heard = false;             // whether any program is there to hear it
};

struct DeliveryTarget {
  Endpoint destination;  // as the sender used it
  int adapter = 0;
  bool joined_by_us = false;  // the group, on the adapter
};

DeliveryPlan plan_delivery(const HostView& view, const DeliveryTarget& target);

}  // namespace lanrage::lan
