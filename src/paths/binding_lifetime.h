// Finds out for how long the NAT or firewall in front of this machine remembers a UDP flow that fell silent, so that
// idle paths are kept open in time and not oftener (RFC 5780 section 4.6).
//
// The first socket talks to a server for a moment, as a path in use does: some routers remember only what was answered
// for a while longer. Then it is silent. After the time in question the second socket asks the server to answer to the
// first one's port outside, and that answer comes in if the flow is still remembered. A trial without any silence goes
// before, and after each that failed: where it fails, the server or the network cannot be asked so, and nothing is
// claimed. 20 s are tried first, which is what is kept open anyway; where these are remembered 30 and 75 s, which is
// longer than any path is idle, else 10, 5 and 3. That takes three minutes at most and some fifty packets.
//
// Driven by the node on its control thread, with NAT discovery's two sockets after that has ended. IPv4's or IPv6's
// alone, that of the server's address.
#pragma once

#include <deque>
#include <optional>

#include "paths/nat_discovery.h"

namespace lanrage::paths {

inline constexpr Duration kTalkGap = std::chrono::milliseconds(1250);  // conntrack wants two seconds of both directions
inline constexpr int kTalkAnswers = 3;
inline constexpr int kTalkTries = 6;
inline constexpr Duration kPortAnswerWait = std::chrono::milliseconds(500);
inline constexpr int kPortAnswerTries = 3;
// Where nothing is known: below the shortest common lifetime, 30 s.
inline constexpr Duration kKeepaliveDefault = std::chrono::seconds(25);
inline constexpr Duration kKeepaliveMin = std::chrono::seconds(2);  // where not even 3 s are remembered

struct LifetimeReport {
  Duration at_least{};              // a flow silent for so long is remembered; 0: the shortest tried is not
  std::optional<Duration> below{};  // a flow silent for so long is not
  bool is_complete() const;         // no longer and no shorter time is left to try
  Duration keepalive() const;       // how often an idle path is to be kept open
  friend bool operator==(const LifetimeReport&, const LifetimeReport&) = default;
};

class BindingLifetime {
 public:
  using Socket = NatDiscovery::Socket;

  explicit BindingLifetime(Rng& rng);

  // Begins anew, with two sockets of which the second never sent to `server`'s endpoint for the first one's port.
  void start(Time now, const Endpoint& server);
  void stop();
  void handle_packet(Time now, Socket socket, const Endpoint& source, ByteView datagram);
  void handle_timeout(Time now);
  std::optional<Time> next_timeout() const;
  std::optional<NatDiscovery::Transmit> poll_transmit();
  // Each time that more is known, which tells at once what is too long.
  std::optional<LifetimeReport> poll_event();
  bool is_running() const { return phase_ != Phase::kIdle; }

 private:
  enum class Phase : std::uint8_t { kIdle, kTalking, kSilent, kAsking };

  void begin_trial(Time now, Duration span);
  void send(Socket socket, Bytes datagram);
  void remembered(Time now);
  void forgotten(Time now);
  void believe(Time now, Duration failed);
  void end();

  Rng& rng_;
  Endpoint server_;
  Phase phase_ = Phase::kIdle;
  Duration span_{};                 // of silence; 0: the trial that shows whether this works at all
  std::optional<Duration> failed_;  // that is checked by such a trial
  Endpoint mapped_;                 // how the server sees the first socket
  wire::StunTransaction transaction_{};
  int sent_ = 0;      // in this phase
  int answered_ = 0;  // likewise
  Time due_ = kNever;
  LifetimeReport known_;
  std::optional<LifetimeReport> found_;
  std::deque<NatDiscovery::Transmit> transmits_;
};

}  // namespace lanrage::paths
