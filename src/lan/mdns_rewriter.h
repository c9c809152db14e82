// Addresses inside mDNS messages (RFC 6762): records that name another address of this machine name our party address.
//
// Same length, in place, so nothing else in the message moves. The caller renews the checksum. A function of its
// arguments.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>

#include "base/bytes.h"
#include "base/ip.h"

namespace lanrage::lan {

// Changes the A and AAAA records of `message` whose address `is_local` knows; returns how many. A message that does not
// parse is left from the fault on as it was. `v6` missing: AAAA records stay.
std::size_t rewrite_mdns(MutableBytes message, const std::function<bool(const IpAddress&)>& is_local,
                         const IpAddress& v4, const std::optional<IpAddress>& v6);

}  // namespace lanrage::lan
