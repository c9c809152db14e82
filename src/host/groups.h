// Which multicast groups are joined on which interface, and by how many sockets: /proc/net/igmp and igmp6.
//
// The kernel tells this per interface, never per socket. The files are those of the calling thread's namespace.
#pragma once

#include <string_view>
#include <vector>

#include "lan/host_view.h"

namespace lanrage::host {

std::vector<lan::GroupMembership> read_groups();

// The memberships in the text of /proc/net/igmp, and of igmp6. Lines that do not parse are left out.
std::vector<lan::GroupMembership> parse_igmp(std::string_view text);
std::vector<lan::GroupMembership> parse_igmp6(std::string_view text);

}  // namespace lanrage::host
