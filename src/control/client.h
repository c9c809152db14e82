// A node's side of the control server: finds it, proves the device key to it, sends requests, and follows a party's
// events over one lasting connection.
//
// Each of a server's addresses is tried on TCP port 443, too, a moment later: some networks let nothing else out. As
// soon as one connection stands, a second one is made, for the stream that whoever comes to a server asks for next.
//
// It reconnects for as long as something is wanted: a party to follow or a request that waits. Between attempts it
// waits 1, 2, 4, ... 60 s (give or take a fifth, so that a restarted server is not met by all at once), from 1 s again
// after a minute without trouble. After a gap it resumes from the last event it handed over, so the node sees every
// numbered event once and in order, or a fresh snapshot. Requests wait through an outage until their time is over.
//
// Any thread may call; nothing blocks but the destructor, briefly. Every callback goes through the executor it is
// given: pass the node's "run this on my thread". It keeps no party state and does not judge what it carries.
#pragma once

#include <functional>
#include <memory>

#include "base/log.h"
#include "base/rng.h"
#include "crypto/keys.h"
#include "net/http.h"
#include "party/link.h"
#include "wire/control.h"

namespace lanrage::control {

// Runs a function on the node's thread, later or at once.
using Executor = std::function<void(std::function<void()>)>;

enum class LinkState : std::uint8_t {
  kIdle,        // nothing is wanted of the server
  kConnecting,  // first attempt, or the first after being online
  kOnline,      // proven to the server, and the followed party's events flow
  kWaiting,     // an attempt failed; the next one follows
};
const char* link_state_name(LinkState state);

struct LinkStatus {
  LinkState state = LinkState::kIdle;
  int failures = 0;            // attempts that failed, until a minute without trouble
  std::optional<Error> why{};  // of the last failure, while not online
  Duration retry_in{};         // kWaiting: until the next attempt
};

struct ClientOptions {
  party::ServerInfo server;
  crypto::PrivateKey key;
  Duration request_timeout = std::chrono::seconds(20);  // of one request, waiting for the link included
  Duration backoff_min = std::chrono::seconds(1);
  Duration backoff_max = std::chrono::seconds(60);
  Duration stable_after = std::chrono::minutes(1);
  std::shared_ptr<net::IoLoop> loop{};  // null: its own
};

class Client {
 public:
  static constexpr std::size_t kRequestsWaitingMax = 64;
  static constexpr Duration kCheckTimeout = std::chrono::seconds(1);
  static constexpr Duration kMeasureEvery = std::chrono::seconds(20);
  static constexpr Duration kAheadKept = std::chrono::seconds(5);  // a connection for the stream that is not asked for

  struct Handlers {
    std::function<void(wire::Event)> on_event{};
    std::function<void(const LinkStatus&)> on_link{};  // on every change
    std::function<void()> on_reached{};                // a connection for requests stands: TCP and TLS are through
    // A ping over the open stream, every kMeasureEvery: when it was sent, and its round trip or nothing.
    std::function<void(Time sent, std::optional<Duration> rtt)> on_measured{};
  };
  using Answered = std::function<void(Result<wire::Response>)>;

  // `rng` is used on the client's own thread alone.
  static std::unique_ptr<Client> create(ClientOptions options, Handlers handlers, Executor executor,
                                        std::unique_ptr<Rng> rng, const Logger& log);
  // After it no callback is handed to the executor; one handed over before is skipped when it runs.
  virtual ~Client() = default;

  // `answered` is called once: with the server's answer, with its error, or with kUnavailable or kTimedOut. A Follow or
  // an OfferRelay is answered when its stream first opens, and kept from then on; a Signal as soon as it is on its way
  // (kUnavailable when no stream is open). The correlation id of the current log context travels along, else a fresh
  // one.
  virtual void request(wire::Request request, Answered answered) = 0;
  virtual void unfollow() = 0;
  // The network changed, or the machine woke up. Tries at once instead of waiting; connections that are there or being
  // made, and whose server is not heard within kCheckTimeout, are made anew at once.
  virtual void network_changed() = 0;
};

}  // namespace lanrage::control
