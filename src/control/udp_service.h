// The UDP half of a server's port: answers STUN, on a second one too, and, where it relays, runs the relay's core.
//
// One thread, started by `start` and ended by the destructor. Bare packets of a received run that go to one destination
// leave as the run they came in; what waits is forwarded party by party (relay/fair_queue.h). It decides nothing: who
// may send what to whom is relay/server.h.
#pragma once

#include <memory>
#include <optional>

#include "base/log.h"
#include "relay/server.h"
#include "relay/stun_server.h"

namespace lanrage::control {

class UdpService {
 public:
  struct Options {
    std::uint16_t port = 0;                       // of all addresses; 0: one that is free in all
    std::vector<IpAddress> addresses{};           // of this machine, to be reached at; empty: all of both families
    std::optional<relay::ServerOptions> relay{};  // none: STUN alone
    bool stun = true;                             // false: the relay alone, without a second port
    bool offload = false;  // forward in the kernel what it can (net/relay_offload.h), if that is allowed
  };
  struct Stats {
    relay::Server::Stats relay;
    std::size_t sessions = 0, sessions_max = 0, parties = 0;
    std::uint64_t packets_kernel = 0;  // of the relay's that the kernel forwarded
    std::uint64_t overflows = 0;       // datagrams that came too fast to be read
    std::uint64_t unsent = 0;          // that the kernel did not take
    std::uint64_t dropped_queue = 0;   // of the parties that sent most when all together sent too much
    relay::StunServer::Stats stun;
  };

  // kConflict: the port is in use.
  static Result<std::unique_ptr<UdpService>> start(Options options, const Logger& log);
  virtual ~UdpService() = default;
  virtual std::uint16_t port() const = 0;
  // Another port that answers STUN alone, the next one where it is free: who asks both learns how its NAT behaves
  // (relay/stun_server.h). 0: none was free, or no STUN is answered.
  virtual std::uint16_t second_port() const = 0;
  virtual Stats stats() const = 0;           // as of the last batch; any thread
  virtual Duration thread_time() const = 0;  // that its thread has used; any thread
  // The relay is to stop: its members are told to use another, and served on until none does (relay::Server).
  virtual void drain() = 0;
  virtual bool is_drained() const = 0;                                   // as of the last batch; any thread
  virtual void set_grant_keys(std::vector<crypto::VerifyKey> keys) = 0;  // of the relay, from soon on; any thread
};

}  // namespace lanrage::control
