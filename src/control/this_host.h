// What a server and a relay know of the machine they run on: its addresses, and who they are on it.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/rng.h"
#include "party/identity.h"
#include "party/link.h"

namespace lanrage::control {

// Where others reach what listens there; an unspecified address is the one that this machine reaches others from.
// Never empty: 127.0.0.1 at worst.
std::vector<party::ServerAddress> own_addresses(const std::vector<Endpoint>& listening);

// Where something on this machine reaches what listens at those addresses, or at all of them, on that port.
Endpoint local_entrance(const std::vector<Endpoint>& listen, std::uint16_t port);

// The seed in the file, made now where there is none. kInvalid: damaged. kIo.
Result<party::Identity> load_seed(const std::string& path, Rng& rng);

}  // namespace lanrage::control
