#include "control/client.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <list>

#include "base/format.h"
#include "control/proof.h"
#include "net/clock.h"

namespace lanrage::control {
namespace {

constexpr double kJitter = 0.2;
constexpr Duration kConnectTimeout = std::chrono::seconds(10);
constexpr Duration kSessionMargin = std::chrono::minutes(5);  // a session this near its end is made anew
constexpr Duration kRestMax = std::chrono::minutes(1);        // more is not believed

net::TlsTarget target_of(const party::ServerInfo& server, std::shared_ptr<std::optional<Endpoint>> found) {
  net::TlsTarget target;
  for (const party::ServerAddress& address : server.addresses) target.addresses.push_back({address.host, address.port});
  target.pin = server.key;
  target.last_port = party::kHttpsPort;
  target.found = std::move(found);
  return target;
}

net::HttpRequest post_request(std::string_view path, std::string body, const std::string& correlation) {
  net::HttpRequest request;
  request.method = "POST";
  request.target = path;
  request.headers.emplace_back(wire::kCorrelationHeader, correlation);
  request.body = std::move(body);
  return request;
}

// Whether an error says that the link is down, rather than that the server said no.
bool is_transport(const Error& error) {
  return error.code == Code::kUnavailable || error.code == Code::kTimedOut || error.code == Code::kIo;
}

// Answered by opening a stream that lasts.
bool is_stream(const wire::Request& request) {
  return std::holds_alternative<wire::Follow>(request) || std::holds_alternative<wire::OfferRelay>(request);
}

std::string stream_target(const wire::Request& request) {
  if (const auto* offer = std::get_if<wire::OfferRelay>(&request)) return wire::offer_target(*offer);
  return wire::follow_target(std::get<wire::Follow>(request));
}

// For how long a server that has too much to do wants to be left alone; none: it does not say.
std::optional<Duration> rest_of(const net::HttpResponse& response) {
  if (response.status != 503) return std::nullopt;
  const std::string_view text = response.header("Retry-After");
  int seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return std::clamp<Duration>(std::chrono::seconds(seconds), Duration{}, kRestMax);
}

// Everything that happens, on the loop.
class Link : public std::enable_shared_from_this<Link> {
 public:
  Link(ClientOptions options, Client::Handlers handlers, Executor executor, std::unique_ptr<Rng> rng, const Logger& log)
      : options_(std::move(options)),
        public_key_(crypto::public_key(options_.key)),
        loop_(options_.loop.get()),
        shared_loop_(options_.loop),
        handlers_(std::make_shared<const Client::Handlers>(std::move(handlers))),
        executor_(std::move(executor)),
        rng_(std::move(rng)),
        log_(log) {
    options_.loop.reset();
    open_http();
  }

  // `context`: of the operation, with its correlation_id.
  void request(wire::Request request, Client::Answered answered, const Context& context,
               const std::string& correlation) {
    const ContextScope scope(context);
    if (const auto* signal = std::get_if<wire::Signal>(&request)) return send_signal(*signal, std::move(answered));
    if (waiting_.size() >= Client::kRequestsWaitingMax)
      return answer(std::move(answered), Error{Code::kExhausted, "too many requests wait for the server"});
    const auto job = waiting_.emplace(waiting_.end());
    job->request = std::move(request);
    job->answered = std::move(answered);
    job->correlation = correlation.empty() ? to_hex(rng_->array<8>()) : correlation;
    job->context = context;
    job->started = net::now().time;
    job->deadline = loop_->after(options_.request_timeout, [this, job] { expire(job); });
    if (is_stream(job->request)) start_following(job);
    work();
  }

  void unfollow() {
    follow_.reset();
    close_stream();
    work();
  }

  void network_changed() {
    if (!is_wanted()) return open_http();  // a connection that is kept may be dead
    if (!retry_) return check();
    retry_.reset();
    set_state(LinkState::kConnecting);
    work();
  }

  // Nothing is called after it.
  void stop() {
    alive_->store(false);
    stopped_ = true;
    retry_.reset();
    rest_.reset();
    stable_.reset();
    check_.reset();
    measure_.reset();
    waiting_.clear();
    farewell_.reset();
    forget_ahead();
    stream_.reset();
    http_.reset();
  }

 private:
  struct Job {
    wire::Request request;
    Client::Answered answered;
    std::string correlation;
    Context context;
    Time started{};
    std::unique_ptr<net::LoopTimer> deadline;
    std::uint64_t sent = 0;  // the number it was sent under; 0: waits for the link
    bool refused_once = false;
    std::optional<Error> put_off{};  // what the server said when it could not do it yet
  };
  using JobIt = std::list<Job>::iterator;

  void post(std::function<void()> callback) {
    executor_([alive = alive_, callback = std::move(callback)] {
      if (alive->load()) callback();
    });
  }

  void answer(Client::Answered answered, Result<wire::Response> result) {
    post([answered = std::move(answered), result = std::move(result)] { answered(result); });
  }

  void set_state(LinkState state, std::optional<Error> why = std::nullopt, Duration retry_in = {}) {
    if (state == status_.state && !why) return;
    log_.debug("control link", {{"state", link_state_name(state)}, {"failures", failures_}});
    status_ = {state, failures_, std::move(why), retry_in};
    post([handlers = handlers_, status = status_] {
      if (handlers->on_link) handlers->on_link(status);
    });
  }

  bool is_wanted() const { return follow_.has_value() || !waiting_.empty(); }

  void open_http() {
    forget_ahead();
    net::HttpClient::Options http;
    http.loop = shared_loop_.lock();
    http.on_connected = [this] { reached(); };
    http_ = net::HttpClient::create(target_of(options_.server, found_), http, log_);
  }

  void reached() {
    post([handlers = handlers_] {
      if (handlers->on_reached) handlers->on_reached();
    });
    if (stream_ || ahead_) return;
    ahead_ = net::EarlyConnection::start(shared_loop_.lock(), target_of(options_.server, found_), kConnectTimeout);
    ahead_ends_ = loop_->after(Client::kAheadKept, [this] { ahead_.reset(); });
  }

  void forget_ahead() {
    ahead_ends_.reset();
    ahead_.reset();
  }

  // Whether the server is still heard over the connections there are: over an open stream only by the answer to a ping
  // of this moment, since what it said before may come out of the kernel after a sleep.
  void check() {
    check_again_ = check_ != nullptr;
    if (check_) return;
    heard_ = false;
    if (stream_open_) ping();
    checked_by_ = pings_;
    check_ = loop_->after(Client::kCheckTimeout, [this] {
      const auto keep = std::move(check_);
      if (stopped_ || retry_ || !is_wanted()) return;
      if (!heard_) return reconnect();
      if (check_again_) check();
    });
  }

  void note_answer() { heard_ = heard_ || !stream_open_; }

  void reconnect() {
    log_.debug("the control server is not heard since the network changed");
    authenticating_ = false;
    close_stream();
    open_http();
    for (Job& job : waiting_) job.sent = 0;  // every request may be repeated
    set_state(LinkState::kConnecting);
    work();
  }

  // Looks at what is wanted and what is there, and does the next thing.
  void work() {
    if (stopped_ || retry_ || authenticating_) return;
    if (!is_wanted()) return set_state(LinkState::kIdle);
    if (rest_) return;
    if (!session_ || net::now().time > session_ends_) return authenticate();
    for (auto job = waiting_.begin(); job != waiting_.end();) {
      const auto next = std::next(job);
      if (job->sent == 0 && !is_stream(job->request)) send(job);
      job = next;
    }
    if (follow_ && !stream_) return open_stream();
    if (stream_open_) online();
  }

  // --- the session

  void authenticate() {
    if (status_.state != LinkState::kWaiting) set_state(LinkState::kConnecting);
    authenticating_ = true;
    session_.reset();
    const Time started = net::now().time;
    const std::string correlation = waiting_.empty() ? to_hex(rng_->array<8>()) : waiting_.front().correlation;
    const ContextScope scope(waiting_.empty() ? Context::current() : waiting_.front().context);
    http_->request(post_request(wire::kHelloPath, wire::encode(wire::Hello{public_key_}), correlation),
                   options_.request_timeout,
                   keep_context([weak = weak_from_this(), started, correlation](Result<net::HttpResponse> response) {
                     if (const auto self = weak.lock()) self->prove(std::move(response), started, correlation);
                   }));
  }

  void prove(Result<net::HttpResponse> response, Time started, const std::string& correlation) {
    if (stopped_) return;
    note_answer();
    if (!response) return failed(std::move(response).error());
    if (response->status != 200) return refused(*response);
    const auto challenge = wire::decode_challenge(response->body);
    if (!challenge) return failed(challenge.error());
    const auto mac = session_proof(options_.key, public_key_, *challenge, response->exporter);
    if (!mac) return failed({Code::kRefused, "the server's challenge is not one"});
    http_->request(post_request(wire::kProofPath, wire::encode(wire::Proof{challenge->id, *mac}), correlation),
                   options_.request_timeout,
                   keep_context([weak = weak_from_this(), started](Result<net::HttpResponse> answer) {
                     if (const auto self = weak.lock()) self->proven(std::move(answer), started);
                   }),
                   response->connection);
  }

  void proven(Result<net::HttpResponse> response, Time started) {
    if (stopped_) return;
    note_answer();
    if (!response) return failed(std::move(response).error());
    if (response->status != 200) return refused(*response);
    const auto session = wire::decode_session(response->body);
    if (!session) return failed(session.error());
    // By this machine's clock, from the server's two: the clocks need not agree.
    const Time now = net::now().time;
    const auto lifetime = std::chrono::seconds(std::max<std::int64_t>(session->expires - session->now, 0));
    session_ends_ = now + std::max<Duration>(lifetime - kSessionMargin, std::chrono::seconds(1));
    session_ = to_base64url(session->token);
    authenticating_ = false;
    if (!session->servers.empty()) {
      const wire::Servers servers{session->servers};
      use_servers(servers);
      post([handlers = handlers_, servers] {
        if (handlers->on_event) handlers->on_event(servers);
      });
    }
    log_.timed(op::kControlAuthenticate, now - started);
    if (!follow_) online();
    work();
  }

  // --- requests

  void send(JobIt job) {
    job->sent = ++last_sent_;
    net::HttpRequest request =
        post_request(wire::request_path(job->request), wire::encode(job->request), job->correlation);
    request.headers.emplace_back("Authorization", "Bearer " + *session_);
    http_->request(std::move(request), options_.request_timeout,
                   [weak = weak_from_this(), number = job->sent](Result<net::HttpResponse> response) {
                     if (const auto self = weak.lock()) self->answered(number, std::move(response));
                   });
  }

  void answered(std::uint64_t number, Result<net::HttpResponse> response) {
    if (stopped_) return;
    note_answer();
    const auto job = std::find_if(waiting_.begin(), waiting_.end(), [&](const Job& j) { return j.sent == number; });
    if (job == waiting_.end()) return;  // its time was over
    const ContextScope scope(job->context);
    if (!response && is_transport(response.error())) {
      job->sent = 0;  // asks again when the link is back; every request may be repeated
      return failed(std::move(response).error());
    }
    if (!response) return finish(job, std::move(response).error());
    if (response->status == 401 && !job->refused_once) {
      job->refused_once = true;
      job->sent = 0;
      session_.reset();
      return work();
    }
    if (rest_of(*response)) {
      job->sent = 0;  // every request may be repeated
      job->put_off = wire::decode_error(response->status, response->body);
      return refused(*response);
    }
    log_.timed(op::kControlRequest, net::now().time - job->started);
    if (!follow_) online();
    if (response->status != 200) return finish(job, wire::decode_error(response->status, response->body));
    finish(job, wire::decode_response(job->request, response->body));
    work();
  }

  void finish(JobIt job, Result<wire::Response> result) {
    Client::Answered answered = std::move(job->answered);
    if (follow_job_ == &*job) follow_job_ = nullptr;
    waiting_.erase(job);
    answer(std::move(answered), std::move(result));
  }

  void expire(JobIt job) {
    const bool down = status_.state != LinkState::kOnline && status_.why;
    Error error = down           ? Error{Code::kUnavailable, "the server cannot be reached: " + status_.why->message,
                               "it is tried again and again; known members reach each other without it"}
                  : job->put_off ? *job->put_off
                  : rest_        ? Error{Code::kUnavailable, "the server has too much to do", "try again in a minute"}
                                 : Error{Code::kTimedOut, "the server did not answer in time"};
    finish(job, std::move(error));
    work();
  }

  void send_signal(const wire::Signal& signal, Client::Answered answered) {
    if (stream_ && stream_open_ && stream_->send(wire::encode_signal(signal)))
      return answer(std::move(answered), wire::Response(wire::Done{}));
    answer(std::move(answered), Error{Code::kUnavailable, "not connected to the server"});
  }

  // --- the event stream

  void start_following(JobIt job) {
    for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
      if (it == job || !is_stream(it->request)) continue;
      finish(it, Error{Code::kConflict, "another stream is asked for instead"});
      break;
    }
    follow_ = job->request;
    follow_job_ = &*job;
    close_stream();
  }

  void close_stream() {
    stream_open_ = false;
    pinged_.reset();
    measure_.reset();
    ++stream_number_;
    if (auto old = std::move(stream_)) {
      old->close();
      // It is not destroyed inside its own callback, and gets a moment to say goodbye.
      const auto held = std::make_shared<std::unique_ptr<net::WebSocketClient>>(std::move(old));
      farewell_ = loop_->after(std::chrono::milliseconds(200), [held] {});
    }
  }

  void open_stream() {
    const std::uint64_t number = ++stream_number_;
    const Time started = net::now().time;
    following_ = follow_job_ ? follow_job_->context : Context();
    net::WebSocketClient::Options options;
    options.loop = shared_loop_.lock();
    options.connection = std::move(ahead_);
    forget_ahead();
    const auto when_current = [weak = weak_from_this(), number](auto&& act) {
      const auto self = weak.lock();
      if (self && !self->stopped_ && self->stream_number_ == number) act(*self);
    };
    net::Headers headers = {{"Authorization", "Bearer " + *session_}};
    headers.emplace_back(wire::kCorrelationHeader, follow_job_ ? follow_job_->correlation : to_hex(rng_->array<8>()));
    stream_ = net::WebSocketClient::open(
        target_of(options_.server, found_), stream_target(*follow_), std::move(headers), options,
        {.on_open = [when_current, started] { when_current([&](Link& self) { self.stream_opened(started); }); },
         .on_text = [when_current](std::string text) { when_current([&](Link& self) { self.event_came(text); }); },
         .on_close =
             [when_current](const Error& why, const std::optional<net::HttpResponse>& refused) {
               when_current([&](Link& self) { self.stream_closed(why, refused); });
             },
         .on_pong =
             [when_current](std::string_view payload) { when_current([&](Link& self) { self.pong_came(payload); }); }},
        log_);
  }

  void stream_opened(Time started) {
    const ContextScope scope(following_);
    stream_open_ = true;
    heard_ = true;
    log_.timed(op::kControlConnect, net::now().time - started);
    online();
    measure();
    for (auto job = waiting_.begin(); job != waiting_.end(); ++job) {
      if (&*job != follow_job_) continue;
      finish(job, wire::Response(wire::Done{}));
      break;
    }
  }

  // The pong that comes next answers it, and those before it that wait (RFC 6455, section 5.5.3).
  void ping() {
    if (!pinged_) pinged_ = net::now().time;
    stream_->ping(std::to_string(++pings_));
  }

  void pong_came(std::string_view payload) {
    std::uint64_t number = 0;
    std::from_chars(payload.data(), payload.data() + payload.size(), number);
    heard_ = heard_ || number >= checked_by_;
    if (const auto sent = std::exchange(pinged_, std::nullopt)) measured(*sent, net::now().time - *sent);
  }

  void measure() {
    measure_ = loop_->after(Client::kMeasureEvery, [this] {
      const auto keep = std::move(measure_);
      if (stopped_ || !stream_open_) return;
      if (const auto sent = std::exchange(pinged_, std::nullopt)) measured(*sent, std::nullopt);
      measure();
    });
    ping();
  }

  void measured(Time sent, std::optional<Duration> rtt) {
    post([handlers = handlers_, sent, rtt] {
      if (handlers->on_measured) handlers->on_measured(sent, rtt);
    });
  }

  void event_came(const std::string& text) {
    auto event = wire::decode_event(text);
    if (!event) return stream_closed({Code::kInvalid, "the server sent no event: " + event.error().message}, {});
    if (!event->has_value()) return;  // of a newer version
    const ContextScope scope(following_);
    auto* const follow = std::get_if<wire::Follow>(&*follow_);
    if (const auto version = wire::event_version(**event); version && follow != nullptr) {
      const bool snapshot = std::holds_alternative<wire::Snapshot>(**event);
      if (!snapshot) following_ = {};  // what happens from here on is another operation
      if (!snapshot && *version <= follow->from) return;
      if (!snapshot && *version != follow->from + 1) {
        log_.debug("missed events, asking again", {{"have", follow->from}, {"got", *version}});
        return stream_closed({Code::kUnavailable, "events were missed"}, {});
      }
      follow->from = *version;
    }
    if (const auto* servers = std::get_if<wire::Servers>(&**event)) use_servers(*servers);
    post([handlers = handlers_, event = std::move(**event)] {
      if (handlers->on_event) handlers->on_event(event);
    });
  }

  // Of where the next connection is sought, not of those there are. The others in an order of our own, so that not all
  // who lose a server go to the same one.
  void use_servers(const wire::Servers& servers) {
    std::vector<std::string> told = servers.addresses;
    for (std::size_t left = told.size(); left > 1; --left) std::swap(told[left - 1], told[rng_->below(left)]);
    party::ServerInfo server = party::with_addresses(options_.server, told);
    const auto sorted = [](std::vector<party::ServerAddress> addresses) {
      std::sort(addresses.begin(), addresses.end());
      return addresses;
    };
    if (sorted(server.addresses) == sorted(options_.server.addresses)) return;
    options_.server = std::move(server);
    has_moved_ = true;
  }

  void stream_closed(const Error& why, const std::optional<net::HttpResponse>& refused) {
    close_stream();
    if (refused && refused->status == 401) {
      session_.reset();
      return renew_session(wire::decode_error(401, refused->body));
    }
    if (!refused) return failed(why);
    if (const auto wanted = rest_of(*refused)) {
      set_state(LinkState::kConnecting);
      return rest(*wanted);
    }
    Error error = wire::decode_error(refused->status, refused->body);
    for (auto job = waiting_.begin(); job != waiting_.end(); ++job) {
      if (&*job != follow_job_) continue;
      finish(job, error);  // the server's no; the next Follow asks anew
      follow_.reset();
      return work();
    }
    failed(std::move(error));
  }

  // --- the link as a whole

  // A session that the server does not know any more (restarted, expired) is made anew at once, but not for ever.
  void renew_session(Error why) {
    if (!renewed_session_) {
      renewed_session_ = true;
      return work();
    }
    failed(std::move(why));
  }

  void online() {
    renewed_session_ = false;
    if (status_.state == LinkState::kOnline) return;
    set_state(LinkState::kOnline);
    stable_ = loop_->after(options_.stable_after, [this] { failures_ = 0; });
  }

  void refused(const net::HttpResponse& response) {
    if (const auto wanted = rest_of(response)) return rest(*wanted);
    failed(wire::decode_error(response.status, response.body));
  }
  // The link stands, but the server is not to be asked before that, nor by all at once then.
  void rest(Duration wanted) {
    authenticating_ = false;
    if (rest_) return;
    const auto wait = std::chrono::duration_cast<Duration>(wanted * (1 + rng_->unit()));
    log_.debug("the control server is busy", {{"retry_ms", milliseconds(wait)}});
    rest_ = loop_->after(wait, [this] {
      const auto keep = std::move(rest_);
      if (!stopped_) work();
    });
  }

  void failed(Error why) {
    authenticating_ = false;
    stable_.reset();
    if (retry_) return;  // several things failed together
    const double factor = 1 + kJitter * (2 * rng_->unit() - 1);
    Duration delay = options_.backoff_max;
    if (failures_ < 16) delay = std::min(options_.backoff_max, options_.backoff_min * (1 << failures_));
    delay = std::chrono::duration_cast<Duration>(delay * factor);
    ++failures_;
    log_.debug("the control server cannot be reached",
               {{"error", why.message}, {"attempt", failures_}, {"retry_ms", milliseconds(delay)}});
    retry_ = loop_->after(delay, [this] {
      const auto keep = std::move(retry_);
      if (stopped_) return;
      if (std::exchange(has_moved_, false)) {
        open_http();
        for (Job& job : waiting_) job.sent = 0;  // every request may be repeated
      }
      work();
    });
    set_state(LinkState::kWaiting, std::move(why), delay);
  }

  ClientOptions options_;
  const crypto::PublicKey public_key_;
  net::IoLoop* const loop_;  // the client object holds it for longer
  const std::weak_ptr<net::IoLoop> shared_loop_;
  const std::shared_ptr<const Client::Handlers> handlers_;
  const Executor executor_;
  const std::unique_ptr<Rng> rng_;
  const Logger log_;
  const std::shared_ptr<std::atomic<bool>> alive_ = std::make_shared<std::atomic<bool>>(true);

  // Of the stream and the requests, which live on one loop.
  const std::shared_ptr<std::optional<Endpoint>> found_ = std::make_shared<std::optional<Endpoint>>();
  std::unique_ptr<net::HttpClient> http_;
  std::shared_ptr<net::EarlyConnection> ahead_;  // for the stream
  std::unique_ptr<net::LoopTimer> ahead_ends_;
  std::optional<std::string> session_;  // token text
  Time session_ends_{};
  bool authenticating_ = false;
  bool renewed_session_ = false;
  bool has_moved_ = false;  // the server is elsewhere, too, than http_ knows

  std::list<Job> waiting_;
  std::uint64_t last_sent_ = 0;

  std::optional<wire::Request> follow_;  // the stream that is wanted; a Follow's `from` is the last event handed over
  const Job* follow_job_ = nullptr;      // the request for it that waits for its answer
  std::unique_ptr<net::WebSocketClient> stream_;
  std::uint64_t stream_number_ = 0;
  bool stream_open_ = false;
  Context following_;  // of the operation that opened the stream, until its snapshot is over
  std::unique_ptr<net::LoopTimer> farewell_;

  LinkStatus status_;
  int failures_ = 0;
  std::unique_ptr<net::LoopTimer> retry_;
  std::unique_ptr<net::LoopTimer> rest_;  // the server wants to be left alone
  std::unique_ptr<net::LoopTimer> stable_;
  std::unique_ptr<net::LoopTimer> measure_;
  std::optional<Time> pinged_;             // a ping waits for its pong
  std::uint64_t pings_ = 0;                // sent, over all streams; each carries its number
  std::unique_ptr<net::LoopTimer> check_;  // the network changed: is the server heard until then?
  bool check_again_ = false;               // it changed once more meanwhile
  std::uint64_t checked_by_ = 0;           // the ping that the check waits for
  bool heard_ = false;                     // the server, since the check began
  bool stopped_ = false;
};

class LinkClient final : public Client {
 public:
  LinkClient(std::shared_ptr<net::IoLoop> loop, std::shared_ptr<Link> link)
      : loop_(std::move(loop)), link_(std::move(link)) {}
  ~LinkClient() override {
    loop_->run([this] { link_->stop(); });
  }
  void request(wire::Request request, Answered answered) override {
    std::string correlation;
    for (const auto& [key, value] : Context::current().fields())
      if (key == "correlation_id") value.append_text(correlation);
    post([request = std::move(request), answered = Answered(keep_context(std::move(answered))), correlation,
          context = Context::current()](Link& link) { link.request(request, answered, context, correlation); });
  }
  void unfollow() override {
    post([](Link& link) { link.unfollow(); });
  }
  void network_changed() override {
    post([](Link& link) { link.network_changed(); });
  }

 private:
  void post(std::function<void(Link&)> act) {
    loop_->post([weak = std::weak_ptr<Link>(link_), act = std::move(act)] {
      if (const auto link = weak.lock()) act(*link);
    });
  }
  std::shared_ptr<net::IoLoop> loop_;
  std::shared_ptr<Link> link_;
};

}  // namespace

const char* link_state_name(LinkState state) {
  switch (state) {
    case LinkState::kIdle:
      return "idle";
    case LinkState::kConnecting:
      return "connecting";
    case LinkState::kOnline:
      return "online";
    case LinkState::kWaiting:
      return "waiting";
  }
  return "idle";
}

std::unique_ptr<Client> Client::create(ClientOptions options, Handlers handlers, Executor executor,
                                       std::unique_ptr<Rng> rng, const Logger& log) {
  if (!options.loop) options.loop = net::IoLoop::start("control-client");
  const auto loop = options.loop;
  auto link = std::make_shared<Link>(std::move(options), std::move(handlers), std::move(executor), std::move(rng), log);
  return std::make_unique<LinkClient>(loop, std::move(link));
}

}  // namespace lanrage::control
