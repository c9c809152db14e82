// paths::PortMapper with sockets: asks the router for ports, hears what it announces, gives the ports back at the end.
//
// Its owner watches the poller's tags from kRouterPortsTag on, passes on what is ready and what is due, and polls for
// outcomes after each call. One thread; HTTP goes on a thread of its own and comes back by the poller.
#pragma once

#include <map>
#include <memory>

#include "base/log.h"
#include "control/server.h"
#include "net/http.h"
#include "net/multicast_member.h"
#include "net/netlink.h"
#include "net/poller.h"
#include "net/queue.h"
#include "net/udp_socket.h"
#include "paths/port_mapper.h"
#include "wire/json.h"

namespace lanrage::daemon {

inline constexpr std::uint64_t kRouterPortsTag = 110;  // and the next three

// The default gateway, if this machine has a private IPv4 address towards it: a public one needs no mapping.
struct RouterFound {
  paths::RouterPlace place;
  unsigned interface = 0;
  friend bool operator==(const RouterFound&, const RouterFound&) = default;
};
std::optional<RouterFound> find_router(net::Netlink& netlink);

class RouterPorts {
 public:
  // `secret`: see paths::PortMapper. The poller must outlive this.
  static Result<std::unique_ptr<RouterPorts>> create(net::Poller& poller, ByteView secret, Rng& rng, const Logger& log);
  // Gives ports back, for which it waits half a second at most.
  ~RouterPorts();
  RouterPorts(const RouterPorts&) = delete;
  RouterPorts& operator=(const RouterPorts&) = delete;

  void want(Time now, const RouterFound& router, std::vector<paths::PortToMap> ports);
  void handle_ready(Time now, const net::Ready& ready);  // any tag; others' are left alone
  void handle_timeout(Time now);
  std::optional<Time> next_timeout() const { return mapper_.next_timeout(); }
  std::optional<paths::PortMapper::Outcome> poll_event() { return mapper_.poll_event(); }

 private:
  struct Answered {
    std::uint64_t id;
    std::optional<paths::HttpAnswer> answer;
  };
  static constexpr std::size_t kAnswersMax = 64;
  enum Socket : std::uint8_t { kAsking, kRestarts, kNotices, kSockets };

  RouterPorts(net::Poller& poller, std::unique_ptr<net::Queue<Answered>> answers, ByteView secret, Rng& rng,
              const Logger& log);
  void open(const RouterFound& router);
  void receive(Time now, Socket which);
  void take_answers(Time now);
  void send();
  void send(const paths::PortOutbox::Http& http);

  net::Poller& poller_;
  Logger log_;
  paths::PortMapper mapper_;
  std::optional<RouterFound> router_;
  std::array<std::optional<net::UdpSocket>, kSockets> sockets_;
  std::optional<net::MulticastMember> member_;
  std::unique_ptr<net::Queue<Answered>> answers_;
  std::shared_ptr<net::IoLoop> loop_;                                  // of HTTP, once there was any
  std::map<std::uint64_t, std::unique_ptr<net::HttpClient>> clients_;  // by question; end before `answers_`
};

// The ports of a control server, and where they are once mapped.
std::vector<paths::PortToMap> server_ports(const control::Server& server);
control::Server::Mapped mapped_server(const control::Server& server, const paths::PortMapper::Outcome& outcome);
// {port, by, outside, lifetime_s, address, problem, methods, words}: what became of `port`; docs/api.md says more.
wire::Json router_json(const paths::PortMapper::Outcome& outcome, const paths::PortToMap& port, Time now,
                       const std::string& words);

}  // namespace lanrage::daemon
