// What the relay's tables say, told to somebody who forwards packets without asking the relay (net/relay_offload.h).
#pragma once

#include <cstdint>

#include "base/ip.h"

namespace lanrage::relay {

class Mirror {
 public:
  struct Session {
    Endpoint member;
    IpAddress local;          // ours, that it registered at
    std::uint32_t party = 0;  // its number, never 0
  };

  virtual ~Mirror() = default;
  virtual void set_session(std::uint32_t slot, const Session& session) = 0;  // a new one, or what it is from now on
  virtual void drop_session(std::uint32_t slot) = 0;                         // its indices were dropped before
  virtual void set_index(std::uint32_t party, std::uint32_t index, std::uint32_t slot) = 0;
  virtual void drop_index(std::uint32_t party, std::uint32_t index) = 0;
};

}  // namespace lanrage::relay
