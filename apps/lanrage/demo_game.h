// A real LAN game for the demo: Debian's teeworlds-server, and the question that a Teeworlds 0.7 client's LAN tab asks.
//
// The client broadcasts a token request to 255.255.255.255 on ports 8303 to 8310 and asks whoever answers for its
// server info (Teeworlds 0.7, src/engine/client/serverbrowser.cpp and src/engine/shared/network.h describe both).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/ip.h"
#include "base/time.h"

namespace lanrage::cli::demo {

inline constexpr std::uint16_t kGamePort = 8303;

// One server in the client's LAN list.
struct FoundGame {
  std::string name;
  std::string map;
  std::string mode;
  Endpoint server;
};

// Broadcasts on the socket until a server has answered or the time is over. `token` is any number but all ones.
std::optional<FoundGame> find_game(int socket, std::uint32_t token, Duration timeout);

}  // namespace lanrage::cli::demo
