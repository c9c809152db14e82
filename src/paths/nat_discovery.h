// Finds out how the network around this machine treats UDP (RFC 5780, from two fresh sockets, a dozen packets a
// family).
//
// One socket learns what is let in: it asks one endpoint of a server, then asks there for an answer from another port
// and, where the server has one, from another address; nothing was ever sent to those. The other socket learns the
// mapping: it asks the same endpoint, another port and another address, and compares how it is seen. At last each sends
// to where the other is seen: whether that comes back tells whether the router hairpins. Over IPv4 also, what may pass
// no router goes to our address outside: a router whose own it is keeps that, one behind another NAT says that its time
// is over; and what may pass one router goes to the server, so that the next one says who it is: behind a NAT it has a
// private address (RFC 1918, RFC 6598). Both families run at once and apart; silence ends in three seconds.
//
// Driven by the node on its control thread; the driver opens the sockets, new ones for every run, because what a socket
// sent before opens filters and keeps mappings. What no server could show stays unknown.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "base/ip.h"
#include "base/rng.h"
#include "base/time.h"
#include "paths/port_choice.h"
#include "wire/signal.h"
#include "wire/stun.h"

namespace lanrage::paths {

inline constexpr Duration kDiscoveryFirstRetry = std::chrono::milliseconds(200);  // doubles; at least two round trips
inline constexpr int kDiscoveryTries = 4;         // of a plain question: 200 + 400 + 800 + 1600 ms
inline constexpr int kDiscoveryChangedTries = 3;  // of one that may be filtered
inline constexpr int kHairpinTries = 2;
inline constexpr int kTraceTries = 2;

using wire::Dependence;
const char* dependence_name(Dependence dependence);  // "unknown", "endpoint_independent", "port_independent", ...

// One address family.
struct FamilyReport {
  bool answered = false;    // a server was heard; all else means nothing without it
  Endpoint seen;            // how the server asked first saw the first socket
  bool translated = false;  // `seen` is no address of this machine
  bool keeps_port = false;  // the port outside is the one inside
  Dependence mapping = Dependence::kUnknown;
  PortPattern ports{};  // where the mapping depends on the destination: how it chooses them
  Dependence filtering = Dependence::kUnknown;
  std::optional<bool> hairpin{};      // where it translates
  std::optional<IpAddress> beyond{};  // of a second router, if `seen` is not the address of the one here. IPv4
  friend bool operator==(const FamilyReport&, const FamilyReport&) = default;
};

struct DiscoveryReport {
  std::optional<FamilyReport> v4{}, v6{};  // none: this machine or the servers have no address of the family
  friend bool operator==(const DiscoveryReport&, const DiscoveryReport&) = default;
};

class NatDiscovery {
 public:
  enum class Socket : std::uint8_t { kFirst, kSecond };
  struct Transmit {
    Socket socket;
    Endpoint to;
    Bytes datagram;
    std::uint8_t hops = 0;  // net::SendItem's
  };
  struct Local {
    std::vector<IpAddress> addresses;  // this machine's, without party adapters
    std::uint16_t first_port = 0;      // of the sockets, in both families
    std::uint16_t second_port = 0;
  };

  explicit NatDiscovery(Rng& rng);

  // Begins anew; what an earlier run would have found is not told. `servers`: endpoints that answer STUN, first those
  // of one server, whose silence counts; then of relays, to compare with. One on this machine shows nothing.
  void start(Time now, const std::vector<Endpoint>& servers, Local local);
  void handle_packet(Time now, Socket socket, const Endpoint& source, ByteView datagram);
  // `from` says that a datagram of the second socket passed as many routers as it may.
  void handle_expired(Time now, const IpAddress& from, const Endpoint& destination);
  void handle_timeout(Time now);
  std::optional<Time> next_timeout() const;
  std::optional<Transmit> poll_transmit();
  // Once at the end of each run.
  std::optional<DiscoveryReport> poll_event();
  bool is_running() const { return running_; }

 private:
  enum class Kind : std::uint8_t { kFirst, kChangePort, kChangeBoth, kSame, kOtherPort, kOtherAddress };
  struct Question {
    Kind kind;
    Socket socket;
    Endpoint to;
    wire::StunTransaction transaction{};
    int tries = 0;
    Time due = kNever;  // next try, or giving up; kNever: settled
    std::optional<Endpoint> mapped{};
  };
  struct Hairpin {
    int tries;
    Time due;
    std::array<wire::StunTransaction, 2> transactions;  // by the sending socket
    std::optional<bool> works;
  };
  struct Trace {
    Endpoint outside;  // our address, and a port that leads nowhere
    int tries;
    Time due;  // kNever: settled
    wire::StunTransaction transaction;
    bool looped = false;   // the router here passed it on to us: the address is its own, whatever it led here
    bool expired = false;  // it had to pass it on
    std::optional<IpAddress> beyond{};
  };
  struct Family {
    bool v4;
    std::vector<Endpoint> servers;
    std::vector<Question> questions;
    Time began;
    Duration gap = kDiscoveryFirstRetry;
    std::optional<Hairpin> hairpin{};
    std::optional<Trace> trace{};
    bool is_near = false;  // the server is in a private network, perhaps ours: its silence elsewhere says nothing
    bool done = false;
  };

  void start_family(Time now, bool v4, const std::vector<Endpoint>& servers);
  void ask(Time now, Family& family, Kind kind, Socket socket, const Endpoint& to);
  void send(Time now, const Family& family, Question& question);
  void send_hairpin(Time now, Family& family);
  void send_trace(Time now, Family& family);
  void handle_answer(Time now, Family& family, Question& question, const Endpoint& source,
                     const wire::StunResponse& response);
  void advance(Time now, Family& family);
  const Question* find(const Family& family, Kind kind) const;
  std::optional<Endpoint> mapped(const Family& family, Kind kind) const;
  bool is_own(const Endpoint& seen, std::uint16_t port) const;
  FamilyReport report_of(const Family& family) const;
  Dependence mapping_of(const Family& family) const;
  PortPattern ports_of(const Family& family) const;
  Dependence filtering_of(const Family& family) const;

  Rng& rng_;
  Local local_;
  std::vector<Family> families_;
  bool running_ = false;
  std::deque<Transmit> transmits_;
  std::optional<DiscoveryReport> found_;
};

}  // namespace lanrage::paths
