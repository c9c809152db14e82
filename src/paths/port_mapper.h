// Ports that this network's router opens to the internet and leads to this machine.
//
// The router is asked by UPnP, NAT-PMP and PCP at once, first for nothing but whether it speaks them and has a public
// address; the first that does is asked for the ports, the others are kept for the case that it refuses. An honest
// refusal is believed: nothing is asked again until what is wanted changes, the router announces a restart, or a
// mapping ran out unanswered. Of what a router says nothing is believed that would make this machine talk to another
// (only what comes from the gateway's own address is read), or that nobody could use (an external address that is
// none).
//
// Pure: datagrams and HTTP requests come out for whoever has sockets, answers go in. One thread.
#pragma once

#include <array>

#include "paths/igd_client.h"
#include "paths/port_control.h"

namespace lanrage::paths {

// How long a router has to answer before it is said that it does not. It may still come.
inline constexpr Duration kRouterPatience = std::chrono::milliseconds(1500);

const char* port_method_name(PortMethod method);         // "pcp", "natpmp", "upnp"
const char* port_state_name(PortProtocol::State state);  // "asking", "usable", "refused", "silent", "idle"

class PortMapper {
 public:
  struct Wanted {
    RouterPlace place;
    std::vector<PortToMap> ports;  // at most kMappedPortsMax; empty: none, what was opened is given back
    friend bool operator==(const Wanted&, const Wanted&) = default;
  };
  struct Method {
    PortProtocol::State state = PortProtocol::State::kIdle;
    std::string problem{};
    friend bool operator==(const Method&, const Method&) = default;
  };
  struct Outcome {
    Wanted wanted{};
    Duration took{};                      // from the question to this
    std::optional<PortMethod> by{};       // who opened the mappings
    std::vector<PortMapping> mappings{};  // of what is wanted
    std::array<Method, kPortMethods> methods{};
    std::string problem{};               // why others are missing, for a person; empty: none is
    bool speaks = false;                 // the router takes such requests
    bool offline = false;                // and says that it has no connection, or no public address
    std::optional<IpAddress> address{};  // outside, as it says itself, whatever that is worth

    std::optional<Endpoint> outside_of(const PortToMap& port) const;
  };

  // `secret`: of this device, from which what PCP proves its mappings by is derived.
  PortMapper(ByteView secret, Rng& rng);

  void want(Time now, Wanted wanted);
  void handle_packet(Time now, const Endpoint& source, ByteView datagram);  // answers
  // What came to a group in which routers announce that they restarted.
  void handle_announcement(Time now, const Endpoint& source, ByteView datagram);
  void handle_http(Time now, std::uint64_t id, const std::optional<HttpAnswer>& answer);  // none: it failed
  void handle_timeout(Time now);
  std::optional<Time> next_timeout() const;

  std::optional<PortOutbox::Datagram> poll_datagram();
  std::optional<PortOutbox::Http> poll_http();
  // When something changed, and at the latest kRouterPatience after something was wanted.
  std::optional<Outcome> poll_event();
  bool is_idle() const;  // nothing is open, and nothing is being given back

 private:
  PortProtocol& of(PortMethod method);
  const PortProtocol& of(PortMethod method) const;
  void start(Time now);
  void advance(Time now);
  bool is_known(Time now) const;
  Outcome outcome(Time now) const;

  PortOutbox outbox_;
  PortControl pcp_, natpmp_;
  IgdClient igd_;
  Wanted wanted_;
  Time since_{};             // it is wanted
  bool is_waiting_ = false;  // for the first outcome since then
  std::optional<PortMethod> chosen_;
  std::optional<Outcome> told_, event_;
};

}  // namespace lanrage::paths
