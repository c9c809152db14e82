// A scene for scenarios: the virtual internet with one server, and machines placed behind the kinds of network that
// players have (docs/lab.md names them). One seed makes one world; a scenario that fails prints it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "party/invite.h"
#include "sim/node.h"
#include "sim/server.h"

namespace lanrage::sim {

enum class Place {
  kPublic,      // an address of its own
  kEasy,        // a home router: mapping independent of the destination, filtering by address and port
  kCone,        // filtering independent too, hairpin
  kSymmetric,   // a random port for every destination
  kSequential,  // the next port for every destination
  kCarrier,     // an easy router behind a carrier's
  kFirewall6,   // IPv6 only, behind a stateful firewall
  kUdpBlocked,  // nothing but TCP
  kPerAddress,  // a random port for every address, which a server with one address takes for one port for all
};
inline constexpr Place kPlaces[] = {Place::kPublic,     Place::kEasy,    Place::kCone,      Place::kSymmetric,
                                    Place::kSequential, Place::kCarrier, Place::kFirewall6, Place::kUdpBlocked};
const char* place_name(Place place);

// A network that machines can stand in.
struct Site {
  Network::DomainId domain = Network::kInternet;
  std::uint16_t number = 0;
  bool v6 = false;
  std::uint8_t hosts = 0;
  IpPrefix next();  // an address for one more host
};

class World {
 public:
  explicit World(std::uint64_t seed, Duration rtt = std::chrono::milliseconds{30});

  Site make_site(Place place);
  SimNode& add(const std::string& name, Site& site, Duration clock_skew = {});
  SimNode& add(const std::string& name, Place place, Duration clock_skew = {});

  void run(Duration time) { scheduler.run_until(scheduler.now() + time); }
  // Runs in steps of a millisecond until it holds; false: it did not within `limit`.
  bool run_until(const std::function<bool()>& condition, Duration limit);
  Time now() const { return scheduler.now(); }

  // Operations, run until they are answered (kTimedOut: never).
  Result<node::InviteAnswer> host(SimNode& node, const std::string& party = "friday");
  Result<void> join(SimNode& node, const std::string& invite, Duration limit = std::chrono::seconds{30});
  Result<void> leave(SimNode& node);
  Result<node::InviteAnswer> invite(SimNode& node, Duration lifetime, std::uint32_t uses);
  Result<void> kick(SimNode& owner, const std::string& name);
  Result<void> rekey(SimNode& owner);
  Result<void> handover(SimNode& owner, const std::string& name);
  Result<node::PingAnswer> ping(SimNode& from, const SimNode& to, Duration limit = std::chrono::seconds{3});
  // Whether a packet of a program at `from` reaches `to` within `limit`.
  bool reaches(SimNode& from, SimNode& to, Duration limit = std::chrono::seconds{3});
  // How long a game at `from` that sends every 20 ms is not heard at `to`; `limit` when it is not at all.
  Duration silence(SimNode& from, SimNode& to, Duration limit = std::chrono::seconds{30});

  const std::uint64_t seed;
  Scheduler scheduler;
  Network network;
  SimServer server;
  std::vector<std::unique_ptr<SimNode>> nodes;

 private:
  template <class T>
  Result<T> wait(const std::function<void(std::function<void(Result<T>)>)>& begin, Duration limit);

  testing::ScopedTrace trace_;
  Duration leg_;  // one way from a machine to the middle of the internet
  std::uint16_t sites_ = 0;
  std::uint16_t packets_ = 0;
};

}  // namespace lanrage::sim
