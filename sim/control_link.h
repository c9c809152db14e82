// A node's control link in the simulator: what control::Client is to a real one.
//
// Reliable, ordered messages that take `delay` each way; every one of them goes through the JSON codec, and the session
// is really proven. Keeps the client's contract: requests wait through an outage until their time is over and are asked
// again, a Follow is kept and resumed after its last event, attempts are 1, 2, 4, ... 60 s apart.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <optional>

#include "control/client.h"
#include "sim/server.h"

namespace lanrage::sim {

class ControlLink {
 public:
  static constexpr Duration kRequestTimeout = std::chrono::seconds{20};
  static constexpr Duration kSilenceNoticed = std::chrono::seconds{20};  // a connection cut without a word

  struct Handlers {
    std::function<void(const wire::Event&)> on_event;
    std::function<void(control::LinkState, const std::string& problem)> on_link;
  };
  using Answered = std::function<void(Result<wire::Response>)>;

  // `from`: the address that the server sees.
  ControlLink(Scheduler& scheduler, SimServer& server, const crypto::PrivateKey& key, const IpAddress& from,
              Duration delay, std::uint64_t seed, Handlers handlers);
  ~ControlLink();  // as when the process ends: the server sees the connection close

  void request(wire::Request request, Answered answered);
  void set_wanted(bool wanted);  // false: lets go of the server; what waits is answered kUnavailable
  void retry_now();
  void server_died();                  // its host answers by a reset
  void network_changed();              // the connection is dead; dials anew at once
  void set_reachable(bool reachable);  // false: the server cannot be reached from here, from now on
  control::LinkState state() const { return state_; }

 private:
  struct Job {
    wire::Request request;
    Answered answered;
    Time deadline;
    std::uint64_t number;
    bool sent = false;
  };

  void work();
  void authenticate();
  void send(Job& job);
  void send_signal(const wire::Signal& signal, Answered answered);
  void open_stream();
  void event_came(std::uint64_t stream, const std::string& text);
  void close_stream();
  void failed(const std::string& why);
  void online();
  void set_state(control::LinkState state, const std::string& problem = {});
  void finish(std::uint64_t number, Result<wire::Response> result);
  // Runs `act` at the server, or here, after the delay, unless the connection is cut meanwhile.
  void to_server(std::function<void()> act);
  void to_client(std::function<void()> act);
  void later(Duration delay, std::function<void()> act);

  Scheduler& scheduler_;
  SimServer& server_;
  const crypto::PrivateKey key_;
  const IpAddress from_;
  const Duration delay_;
  SeededRng rng_;
  const Handlers handlers_;
  const std::shared_ptr<int> alive_ = std::make_shared<int>();

  std::list<Job> waiting_;
  std::uint64_t last_number_ = 0;
  std::optional<wire::Follow> follow_;
  std::uint64_t follow_number_ = 0;  // the Follow that waits for its answer; 0: none
  std::uint64_t connection_ = 0;     // counts: what was said on an earlier one is lost
  std::uint64_t run_ = 0;            // of the server
  Bytes token_;
  bool authenticating_ = false;
  bool retrying_ = false;
  bool reachable_ = true;
  bool cut_ = false;
  int failures_ = 0;
  Time online_since_{};
  std::uint64_t stream_ = 0;  // counts our attempts
  bool stream_wanted_ = false, stream_open_ = false;
  std::optional<control::Service::StreamId> stream_id_;
  control::LinkState state_ = control::LinkState::kIdle;
};

}  // namespace lanrage::sim
