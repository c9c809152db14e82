#include "sim/control_link.h"

#include <algorithm>

#include "base/check.h"
#include "control/proof.h"

namespace lanrage::sim {

using control::LinkState;

namespace {

constexpr Duration kBackoffMax = std::chrono::seconds{60};
constexpr std::array<std::uint8_t, 32> kExporter = {1, 2, 3};  // the TLS session's; one for all is enough here

template <class T>
T decoded(Result<T> result) {
  LR_CHECK(result);  // what our own encoder wrote
  return std::move(*result);
}

}  // namespace

ControlLink::ControlLink(Scheduler& scheduler, SimServer& server, const crypto::PrivateKey& key, const IpAddress& from,
                         Duration delay, std::uint64_t seed, Handlers handlers)
    : scheduler_(scheduler),
      server_(server),
      key_(key),
      from_(from),
      delay_(delay),
      rng_(seed),
      handlers_(std::move(handlers)) {
  server_.attach(*this);
}

ControlLink::~ControlLink() {
  close_stream();
  server_.detach(*this);
}

void ControlLink::later(Duration delay, std::function<void()> act) {
  scheduler_.post(scheduler_.now() + delay, [alive = std::weak_ptr<int>(alive_), act = std::move(act)] {
    if (alive.lock()) act();
  });
}
void ControlLink::to_server(std::function<void()> act) {
  later(delay_, [this, connection = connection_, act = std::move(act)] {
    if (connection == connection_ && server_.up() && server_.run() == run_ && reachable_ && !cut_) act();
  });
}
void ControlLink::to_client(std::function<void()> act) {
  later(delay_, [this, connection = connection_, act = std::move(act)] {
    if (connection == connection_ && reachable_ && !cut_) act();
  });
}

void ControlLink::set_state(LinkState state, const std::string& problem) {
  if (state == state_ && problem.empty()) return;
  state_ = state;
  later({}, [this, state, problem] { handlers_.on_link(state, problem); });
}

void ControlLink::request(wire::Request request, Answered answered) {
  if (const auto* signal = std::get_if<wire::Signal>(&request)) return send_signal(*signal, std::move(answered));
  const std::uint64_t number = ++last_number_;
  waiting_.push_back({std::move(request), std::move(answered), scheduler_.now() + kRequestTimeout, number});
  later(kRequestTimeout, [this, number] {
    finish(number,
           Error{state_ == LinkState::kOnline ? Code::kTimedOut : Code::kUnavailable, "the server cannot be reached"});
    work();
  });
  if (const auto* follow = std::get_if<wire::Follow>(&waiting_.back().request)) {
    if (follow_number_ != 0) finish(follow_number_, Error{Code::kConflict, "another party is followed instead"});
    follow_ = *follow;
    follow_number_ = number;
    close_stream();
  }
  work();
}

void ControlLink::finish(std::uint64_t number, Result<wire::Response> result) {
  const auto job = std::find_if(waiting_.begin(), waiting_.end(), [&](const Job& j) { return j.number == number; });
  if (job == waiting_.end()) return;
  if (follow_number_ == number) follow_number_ = 0;
  later({}, [answered = std::move(job->answered), result = std::move(result)] { answered(result); });
  waiting_.erase(job);
}

void ControlLink::work() {
  if (retrying_ || authenticating_) return;
  if (!follow_ && waiting_.empty()) return set_state(LinkState::kIdle);
  if (token_.empty()) return authenticate();
  for (Job& job : waiting_) {
    if (!job.sent && !std::holds_alternative<wire::Follow>(job.request)) send(job);
  }
  if (follow_ && !stream_wanted_) return open_stream();
  if (stream_open_) online();
}

void ControlLink::authenticate() {
  if (state_ != LinkState::kWaiting) set_state(LinkState::kConnecting);
  authenticating_ = true;
  const std::uint64_t connection = ++connection_;
  run_ = server_.run();
  cut_ = false;
  if (!server_.up() || !reachable_) {
    return later(2 * delay_, [this, connection] {
      if (connection == connection_) failed("connection refused");
    });
  }
  const std::string hello = wire::encode(wire::Hello{crypto::public_key(key_)});
  // TCP's and TLS's own round trips, then the two of the proof.
  later(4 * delay_, [this, hello] {
    to_server([this, hello] {
      auto challenge = server_.service().hello(server_.now(), from_, decoded(wire::decode_hello(hello)));
      if (!challenge) return to_client([this] { failed("refused"); });
      to_client([this, text = wire::encode(*challenge)] {
        const wire::Challenge asked = decoded(wire::decode_challenge(text));
        const auto mac = control::session_proof(key_, crypto::public_key(key_), asked, kExporter);
        LR_CHECK(mac);
        to_server([this, proof = wire::encode(wire::Proof{asked.id, *mac})] {
          auto session = server_.service().prove(server_.now(), from_, kExporter, decoded(wire::decode_proof(proof)));
          if (!session) return to_client([this] { failed("refused"); });
          to_client([this, answer = wire::encode(*session)] {
            const wire::Session proven = decoded(wire::decode_session(answer));
            token_.assign(proven.token.begin(), proven.token.end());
            authenticating_ = false;
            if (!follow_) online();
            work();
          });
        });
      });
    });
  });
}

void ControlLink::send(Job& job) {
  job.sent = true;
  const std::uint64_t number = job.number;
  to_server([this, number, request = job.request, path = std::string(wire::request_path(job.request)),
             text = wire::encode(job.request)] {
    auto respond = [this, number, request](const Result<wire::Response>& response) {
      const std::string body = response ? wire::encode(*response) : wire::encode(response.error());
      const int status = response ? 200 : http_status(response.error().code);
      to_client([this, number, request, body, status] {
        if (!follow_) online();
        if (status == 200) return finish(number, wire::decode_response(request, body));
        if (status == 401) {
          token_.clear();
          for (Job& waiting : waiting_) waiting.sent = false;
          return work();
        }
        finish(number, wire::decode_error(status, body));
      });
    };
    auto by = server_.service().authenticate(server_.now(), token_);
    if (!by) return respond(std::move(by).error());
    auto asked = wire::decode_request(path, text);
    LR_CHECK(asked && *asked == request);
    server_.service().handle_request(server_.now(), from_, *by, *asked,
                                     [alive = std::weak_ptr<int>(alive_), respond](Result<wire::Response> response) {
                                       if (alive.lock()) respond(response);
                                     });
  });
}

void ControlLink::send_signal(const wire::Signal& signal, Answered answered) {
  if (!stream_open_) {
    return later({}, [answered] { answered(Error{Code::kUnavailable, "not connected to the server"}); });
  }
  to_server([this, text = wire::encode_signal(signal), stream = stream_] {
    if (stream == stream_ && stream_id_)
      server_.service().handle_signal(server_.now(), *stream_id_, decoded(wire::decode_signal(text)));
  });
  later({}, [answered] { answered(wire::Response(wire::Done{})); });
}

void ControlLink::close_stream() {
  ++stream_;
  stream_wanted_ = stream_open_ = false;
  if (!stream_id_) return;
  // A connection that was cut in silence is noticed by the server's own timeout.
  const Duration noticed = cut_ || !reachable_ ? kSilenceNoticed : delay_;
  scheduler_.post(scheduler_.now() + noticed, [&server = server_, run = run_, id = *stream_id_] {
    if (server.up() && server.run() == run) server.service().close_stream(id);
  });
  stream_id_.reset();
}

void ControlLink::open_stream() {
  stream_wanted_ = true;
  const std::uint64_t number = ++stream_;
  to_server([this, number, follow = *follow_] {
    auto by = server_.service().authenticate(server_.now(), token_);
    if (!by) {
      return to_client([this] {
        token_.clear();
        close_stream();
        work();
      });
    }
    const auto alive = std::weak_ptr<int>(alive_);
    control::Stream stream;
    stream.send = [this, alive, number, to = *by](const wire::Event& event) {
      if (!alive.lock()) return;
      const auto told = server_.tamper ? server_.tamper(to, event) : std::vector<wire::Event>{event};
      for (const wire::Event& one : told)
        to_client([this, number, text = wire::encode(one)] { event_came(number, text); });
    };
    stream.close = [this, alive, number](const Error& why) {
      if (!alive.lock()) return;
      if (stream_ == number) stream_id_.reset();
      to_client([this, number, why] {
        if (number == stream_) failed(why.message);
      });
    };
    server_.service().open_stream(server_.now(), *by, follow, std::move(stream),
                                  [this, alive, number](const Result<control::Service::StreamId>& opened) {
                                    if (!alive.lock() || number != stream_) return;
                                    if (!opened) {
                                      return to_client([this, number, error = opened.error()] {
                                        if (number != stream_) return;
                                        close_stream();
                                        if (follow_number_ == 0) return failed(error.message);
                                        finish(follow_number_, error);
                                        follow_.reset();
                                        work();
                                      });
                                    }
                                    stream_id_ = *opened;
                                    to_client([this, number] {
                                      if (number != stream_) return;
                                      stream_open_ = true;
                                      online();
                                      if (follow_number_ != 0) finish(follow_number_, wire::Response(wire::Done{}));
                                    });
                                  });
  });
}

void ControlLink::event_came(std::uint64_t stream, const std::string& text) {
  if (stream != stream_) return;
  const auto event = decoded(wire::decode_event(text));
  LR_CHECK(event);
  if (const auto version = wire::event_version(*event)) {
    const bool snapshot = std::holds_alternative<wire::Snapshot>(*event);
    if (!snapshot && *version <= follow_->from) return;
    if (!snapshot && *version != follow_->from + 1) return failed("events were missed");
    follow_->from = *version;
  }
  later({}, [this, happened = *event] { handlers_.on_event(happened); });
}

void ControlLink::online() {
  if (state_ == LinkState::kOnline) return;
  online_since_ = scheduler_.now();
  set_state(LinkState::kOnline);
}

void ControlLink::failed(const std::string& why) {
  authenticating_ = false;
  close_stream();
  ++connection_;
  for (Job& job : waiting_) job.sent = false;
  if (retrying_) return;
  if (state_ == LinkState::kOnline && scheduler_.now() - online_since_ >= std::chrono::minutes{1}) failures_ = 0;
  const Duration delay = std::min<Duration>(kBackoffMax, std::chrono::seconds{1} * (1 << std::min(failures_, 6)));
  ++failures_;
  retrying_ = true;
  set_state(LinkState::kWaiting, why);
  const double factor = 0.8 + 0.4 * rng_.unit();
  later(Duration(static_cast<std::int64_t>(static_cast<double>(delay.count()) * factor)),
        [this, connection = connection_] {
          if (connection != connection_ || !retrying_) return;
          retrying_ = false;
          token_.clear();  // a new connection proves itself anew
          work();
        });
}

void ControlLink::set_wanted(bool wanted) {
  if (wanted) return;
  follow_.reset();
  follow_number_ = 0;
  while (!waiting_.empty())
    finish(waiting_.front().number, Error{Code::kUnavailable, "the server is not asked any more"});
  close_stream();
  ++connection_;
  token_.clear();
  authenticating_ = retrying_ = false;
  failures_ = 0;
  set_state(LinkState::kIdle);
}

void ControlLink::retry_now() {
  if (!retrying_) return;
  retrying_ = false;
  ++connection_;
  token_.clear();
  work();
}

void ControlLink::server_died() {
  stream_id_.reset();
  token_.clear();
  const std::uint64_t connection = connection_;
  later(delay_, [this, connection] {
    if (connection == connection_ && state_ != LinkState::kIdle && !retrying_) failed("connection reset");
  });
}

void ControlLink::network_changed() {
  if (state_ == LinkState::kIdle) return;
  cut_ = true;
  if (!retrying_) failed("the network changed");
  retry_now();
}

void ControlLink::set_reachable(bool reachable) {
  if (reachable == reachable_) return;
  reachable_ = reachable;
  if (reachable) return;
  later(kSilenceNoticed, [this, connection = connection_] {
    if (connection == connection_ && !reachable_) failed("connection timed out");
  });
}

}  // namespace lanrage::sim
