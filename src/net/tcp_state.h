// What the kernel knows of a TCP connection's way, for those who must not let a queue build up on it; and what it is to
// do there. Linux.
#pragma once

#include <cstddef>
#include <optional>

#include "base/time.h"

namespace lanrage::net {

struct TcpState {
  Duration rtt{};                  // smoothed
  Duration least_rtt{};            // of the last minutes
  std::size_t unacknowledged = 0;  // bytes given to the kernel that the other side does not have yet
};
// Nothing: not a connected TCP socket.
std::optional<TcpState> tcp_state(int fd);

// Sends at once, keeps as little unsent as it can, and gives up soon when nothing is acknowledged any more.
void prepare_for_datagrams(int fd);

// Packets of 1280 bytes at most, which every path carries, both ways: some routers drop larger ones without a word, and
// then nothing longer would ever arrive. For a socket that is to connect or to listen.
void fit_every_path(int fd);

}  // namespace lanrage::net
