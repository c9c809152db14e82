// Learns how the node's one UDP socket looks from outside, by STUN, and keeps that mapping alive.
//
// Each server endpoint is asked at start and then every kStunRefresh, with retransmission; the answers make a
// NatReport. Two endpoints of one family that see different endpoints prove that the mapping depends on the
// destination; one alone leaves it unknown. A report is complete when every endpoint answered or gave up.
// Driven by the node on its control thread; sends nothing itself. Does not parse anything but STUN answers.
#pragma once

#include <array>
#include <deque>
#include <optional>
#include <vector>

#include "base/rng.h"
#include "base/time.h"
#include "paths/nat_report.h"
#include "wire/stun.h"

namespace lanrage::paths {

inline constexpr std::size_t kStunServersMax = 8;
inline constexpr Duration kStunRefresh = std::chrono::seconds(25);  // below the shortest common UDP mapping, 30 s
inline constexpr Duration kStunFirstRetry = std::chrono::milliseconds(200);  // doubles; RFC 8489 says 500 for WANs
inline constexpr int kStunTries = 5;  // 200 + 400 + 800 + 1600 + 1600 ms: blocked is known within 5 s

class StunClient {
 public:
  struct Transmit {
    Endpoint to;
    std::array<std::uint8_t, wire::kStunRequestBytes> datagram;
  };
  struct Stats {
    std::uint64_t sent = 0;
    std::uint64_t answered = 0;
    std::uint64_t timed_out = 0;
    std::uint64_t dropped = 0;  // not an answer, not from a server, or to no question of ours
  };

  explicit StunClient(Rng& rng);

  // Replaces the servers; known ones keep their state. Beyond kStunServersMax the rest is ignored.
  void set_servers(Time now, const std::vector<Endpoint>& servers);
  // The addresses of this machine and the socket's port: a server that sees one of them proves that there is no NAT.
  void set_local(const std::vector<IpAddress>& addresses, std::uint16_t port);
  // The mapping must be kept so often, if that is oftener than kStunRefresh.
  void set_keepalive(Time now, Duration keepalive);
  // The network changed: forget the answers and ask again at once.
  void restart(Time now);

  void handle_packet(Time now, const Endpoint& source, ByteView datagram);
  void handle_timeout(Time now);
  std::optional<Time> next_timeout() const;
  std::optional<Transmit> poll_transmit();
  // The report, each time it changed; the first one when it is complete or an endpoint is known.
  std::optional<NatReport> poll_event();

  const NatReport& report() const { return report_; }
  bool is_complete() const;  // every server answered or gave up at least once
  const Stats& stats() const { return stats_; }

 private:
  struct Server {
    Endpoint endpoint;
    std::optional<Endpoint> mapped{};
    bool settled = false;  // answered or gave up
    int tries = 0;         // of the question in flight; 0: none
    wire::StunTransaction transaction{};
    Time due{};  // next try, or next question
  };
  void ask(Time now, Server& server);
  void update_report();

  Rng& rng_;
  std::vector<Server> servers_;
  std::vector<IpAddress> local_addresses_;
  std::uint16_t local_port_ = 0;
  Duration keepalive_ = kStunRefresh;
  NatReport report_;
  bool report_changed_ = false;
  std::deque<Transmit> transmits_;
  Stats stats_;
};

}  // namespace lanrage::paths
