#include "lan/delivery.h"

#include <algorithm>

namespace lanrage::lan {
namespace {

bool can_carry(const LocalSocket& socket, bool v6) {
  if (v6) return socket.v6;
  return !socket.v6 || (!socket.v6_only && (socket.bound.is_v4() || socket.bound.is_unspecified()));
}

// Where the group is joined, apart from our own membership on the adapter.
struct Membership {
  bool program_on_adapter = false;
  std::vector<int> elsewhere;  // interface indices, rising
};

Membership membership_of(const HostView& view, const DeliveryTarget& target) {
  Membership out;
  for (const GroupMembership& joined : view.groups) {
    if (joined.group != target.destination.address) continue;
    if (joined.interface == target.adapter) {
      out.program_on_adapter = joined.users - (target.joined_by_us ? 1 : 0) > 0;
      continue;
    }
    const HostInterface* interface = view.interface(joined.interface);
    if (interface != nullptr && !interface->loopback) out.elsewhere.push_back(joined.interface);
  }
  std::sort(out.elsewhere.begin(), out.elsewhere.end());
  return out;
}

bool is_joined_on(const Membership& membership, int interface) {
  return std::binary_search(membership.elsewhere.begin(), membership.elsewhere.end(), interface);
}

void add_copy(const HostView& view, const DeliveryTarget& target, const LocalSocket& socket, DeliveryPlan& plan) {
  if (socket.bound.is_v6() != target.destination.address.is_v6() || socket.bound.is_link_local()) return;
  if (!view.is_local(socket.bound)) return;
  plan.heard = true;
  if (std::find(plan.copies.begin(), plan.copies.end(), socket.bound) == plan.copies.end())
    plan.copies.push_back(socket.bound);
}

// The broadcast address of one of this machine's cards, as some programs bind themselves to it.
bool is_card_broadcast(const HostView& view, const IpAddress& address) {
  if (!address.is_v4()) return false;
  for (const HostInterface& interface : view.interfaces)
    for (const IpPrefix& own : interface.addresses)
      if (!interface.loopback && own.address.is_v4() && own.length < 31 && own.broadcast() == address) return true;
  return false;
}

}  // namespace

DeliveryPlan plan_delivery(const HostView& view, const DeliveryTarget& target) {
  const IpAddress& destination = target.destination.address;
  const bool group = destination.is_multicast();
  const Membership membership = group ? membership_of(view, target) : Membership{};
  const bool joined_somewhere = !group || membership.program_on_adapter || !membership.elsewhere.empty();

  DeliveryPlan plan;
  bool by_adapter = false;         // somebody listens who hears what is written as it is
  bool only_by_injection = false;  // somebody listens whom a join on the adapter cannot help
  std::optional<IpAddress> card;   // a card's broadcast address to which a program is bound
  int device = 0;                  // and is bound to this one
  std::vector<LocalSocket> on_other_device;
  for (const LocalSocket& socket : view.sockets) {
    if (socket.kind != SocketKind::kUdp || socket.port != target.destination.port || socket.connected) continue;
    if (!can_carry(socket, destination.is_v6())) continue;
    if (socket.device != 0 && socket.device != target.adapter) {
      if (group && is_joined_on(membership, socket.device)) {
        only_by_injection = true;
        device = socket.device;
      }
      on_other_device.push_back(socket);
      continue;
    }
    if (!socket.bound.is_unspecified() && socket.bound != destination) {
      if (!group && is_card_broadcast(view, socket.bound))
        card = socket.bound;
      else if (joined_somewhere)
        add_copy(view, target, socket, plan);
      continue;
    }
    if (!joined_somewhere) continue;
    by_adapter = plan.heard = true;
    // IPv6 asks only whether a socket joined the group, on whichever interface (measured).
    if (group && destination.is_v4() && !socket.multicast_all.value_or(false)) only_by_injection = true;
  }

  // Who is bound to no address hears a copy to a card's broadcast address too: for one packet this or the other.
  if (card && !by_adapter) {
    plan.heard = true;
    plan.copies.push_back(*card);
  }
  if (device != 0 && !by_adapter) {
    plan.inject = device;
    plan.heard = true;
  } else if (!group || membership.program_on_adapter || membership.elsewhere.empty()) {
    plan.write = true;
  } else if (only_by_injection) {
    plan.inject = device != 0 ? device : membership.elsewhere.front();
    plan.heard = true;
  } else {
    plan.write = true;
    plan.join = plan.heard && !target.joined_by_us;
  }
  for (const LocalSocket& socket : on_other_device)
    if (plan.inject != socket.device) plan.deaf.push_back(socket);
  return plan;
}

}  // namespace lanrage::lan
