#include "control/server.h"

#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "base/format.h"
#include "config/folders.h"
#include "control/relay_meter.h"
#include "control/this_host.h"
#include "crypto/random.h"
#include "net/clock.h"
#include "party/identity.h"
#include "store/store.h"
#include "wire/json.h"

namespace lanrage::control {
namespace {

constexpr int kFreePortAttempts = 16;
constexpr std::size_t kCorrelationBytesMax = 64;
constexpr std::size_t kOwnFiles = 128;  // listeners, database, UDP, loops
constexpr Duration kTick = std::chrono::seconds(1);

constexpr int kRetryAfterSeconds = 1;  // and clients take up to twice as long, so that they come back spread

net::HttpResponse error_response(int status, const Error& error) {
  net::HttpResponse response{.status = status, .headers = {}, .body = wire::encode(error)};
  if (status == 503 || status == 429) response.headers.emplace_back("Retry-After", std::to_string(kRetryAfterSeconds));
  return response;
}
net::HttpResponse error_response(const Error& error) { return error_response(http_status(error.code), error); }

std::optional<Bytes> bearer_token(const net::HttpRequest& request) {
  constexpr std::string_view kScheme = "Bearer ";
  const std::string_view header = request.header("Authorization");
  if (!header.starts_with(kScheme)) return std::nullopt;
  return from_base64url(header.substr(kScheme.size()));
}

// The caller's correlation id where it is one that may stand in a log, else a fresh one.
std::string correlation_of(const net::HttpRequest& request, Rng& rng) {
  const std::string_view given = request.header(wire::kCorrelationHeader);
  const bool fit =
      !given.empty() && given.size() <= kCorrelationBytesMax && std::all_of(given.begin(), given.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-';
      });
  return fit ? std::string(given) : to_hex(rng.array<8>());
}

// As many connections as the process may have files, but for those that it needs itself: who comes then is refused, and
// what is open goes on.
std::size_t connections_possible() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return SIZE_MAX;
  return limit.rlim_cur > 2 * kOwnFiles ? limit.rlim_cur - kOwnFiles : limit.rlim_cur / 2;
}

std::optional<Operation> operation_of(const wire::Request& request) {
  if (std::holds_alternative<wire::CreateParty>(request)) return op::kCreateParty;
  if (std::holds_alternative<wire::Join>(request)) return op::kJoinParty;
  if (std::holds_alternative<wire::AddInvite>(request)) return op::kCreateInvite;
  if (std::holds_alternative<wire::RevokeInvite>(request)) return op::kRevokeInvite;
  return std::nullopt;
}

std::string relays_path(const std::string& folder) { return folder + "/server.relays"; }

Result<RelayDirectory> load_relays(const std::string& folder) {
  const std::string path = relays_path(folder);
  LR_ASSIGN(const auto text, config::read_file(path));
  if (!text) return RelayDirectory{};
  auto directory = RelayDirectory::parse(*text);
  if (!directory)
    return Error{Code::kInvalid, path + " is damaged: " + directory.error().message,
                 "restore it from a backup, or delete it and allow the relays again"};
  return directory;
}

// Turns HTTP requests into calls of the service on its thread, and its answers back.
class Front {
 public:
  Front(std::shared_ptr<net::IoLoop> loop, Service& service, const store::Store& store, const Logger& log)
      : loop_(std::move(loop)), service_(service), store_(store), log_(log) {}

  net::HttpServer::Handlers handlers() {
    return {.on_request = [this](net::HttpRequest request,
                                 net::HttpResponder respond) { handle(std::move(request), std::move(respond)); },
            .on_upgrade = [this](net::HttpRequest request,
                                 net::WebSocketUpgrade upgrade) { follow(std::move(request), std::move(upgrade)); }};
  }

  // No new players are to be sent here.
  void drain() { draining_.store(true); }

 private:
  // Runs `act` on the service's thread, unless too much waits for it already.
  template <class F>
  bool enter(F act) {
    if (under_way_.fetch_add(1) >= Server::kRequestsUnderWayMax) {
      under_way_.fetch_sub(1);
      return false;
    }
    loop_->post([this, act = std::move(act)]() mutable {
      under_way_.fetch_sub(1);
      act();
    });
    return true;
  }
  static Error busy() { return {Code::kUnavailable, "the server is busy", "it is tried again soon"}; }

  void handle(net::HttpRequest request, net::HttpResponder respond) {
    const ContextScope context("correlation_id", correlation_of(request, rng_));
    if (request.method == "GET" && request.path() == wire::kHealthPath) return health(std::move(respond));
    if (request.method != "POST")
      return respond(error_response(405, {Code::kInvalid, "requests are posted to this server"}));
    const std::string path(request.path());
    if (path == wire::kHelloPath) return hello(request, std::move(respond));
    if (path == wire::kProofPath) return prove(request, std::move(respond));
    auto decoded = wire::decode_request(path, request.body);
    if (!decoded) return respond(error_response(decoded.error()));
    const auto token = bearer_token(request);
    if (!token) return respond(no_token());
    const Time started = net::now().time;
    const bool entered = enter(keep_context([this, request = *std::move(decoded), token = *token, respond, started,
                                             from = request.peer.remote.address]() {
      const Now now = net::now();
      const auto by = service_.authenticate(now, token);
      if (!by) return respond(error_response(401, by.error()));
      const ContextScope peer("peer_id", by->base64());
      service_.handle_request(
          now, from, *by, request,
          keep_context([this, respond, started, operation = operation_of(request)](Result<wire::Response> response) {
            answer(respond, started, operation, std::move(response));
          }));
    }));
    if (!entered) respond(error_response(busy()));
  }

  static net::HttpResponse no_token() {
    return error_response(401, {Code::kRefused, "no valid session", "prove the device's key first"});
  }

  void answer(const net::HttpResponder& respond, Time started, const std::optional<Operation>& operation,
              Result<wire::Response> response) {
    const Duration took = net::now().time - started;
    log_.timed(op::kHandleRequest, took);
    if (operation) log_.timed(*operation, took);
    if (!response) return respond(error_response(response.error()));
    respond({.status = 200, .headers = {}, .body = wire::encode(*response)});
  }

  // By way of the service's thread, which a deadlock or a backlog would keep from answering.
  void health(const net::HttpResponder& respond) {
    const bool entered = enter([this, respond] {
      const bool stores = store_.stats().problem.empty();
      respond(health_response(draining_ ? "the server stops" : stores ? "" : "changes cannot be stored"));
    });
    if (!entered) respond(health_response(busy().message));
  }
  // `why` it takes no new players; empty: it does.
  static net::HttpResponse health_response(const std::string& why) {
    const wire::Json body = wire::Json::object(
        {{"live", true}, {"ready", why.empty()}, {"why", why.empty() ? wire::Json() : wire::Json(why)}});
    return {.status = why.empty() ? 200 : 503,
            .headers = {{"Content-Type", "application/json"}, {"Cache-Control", "no-store"}},
            .body = body.text() + "\n"};
  }

  void hello(const net::HttpRequest& request, net::HttpResponder respond) {
    const auto hello = wire::decode_hello(request.body);
    if (!hello) return respond(error_response(hello.error()));
    const bool entered = enter(keep_context([this, hello = *hello, respond, from = request.peer.remote.address] {
      const auto challenge = service_.hello(net::now(), from, hello);
      if (!challenge) return respond(error_response(challenge.error()));
      respond({.status = 200, .headers = {}, .body = wire::encode(*challenge)});
    }));
    if (!entered) respond(error_response(busy()));
  }

  void prove(const net::HttpRequest& request, net::HttpResponder respond) {
    const auto proof = wire::decode_proof(request.body);
    if (!proof) return respond(error_response(proof.error()));
    const bool entered = enter(keep_context(
        [this, proof = *proof, respond, from = request.peer.remote.address, exporter = request.peer.exporter] {
          const auto session = service_.prove(net::now(), from, exporter, proof);
          if (!session) return respond(error_response(session.error()));
          respond({.status = 200, .headers = {}, .body = wire::encode(*session)});
        }));
    if (!entered) respond(error_response(busy()));
  }

  // --- event streams

  // One WebSocket and its stream. Touched on the service's thread alone.
  struct Open {
    std::shared_ptr<net::WebSocket> socket;
    Service::StreamId id = 0;
  };

  void follow(net::HttpRequest request, net::WebSocketUpgrade upgrade) {
    const ContextScope context("correlation_id", correlation_of(request, rng_));
    if (request.path() != wire::kEventsPath && request.path() != wire::kRelayPath)
      return upgrade.refuse(error_response({Code::kNotFound, "no such address on this server"}));
    // Nodes send none; a web page cannot leave it out.
    if (!request.header("Origin").empty()) return upgrade.refuse(error_response({Code::kRefused, "not for web pages"}));
    if (request.path() == wire::kRelayPath)
      return follow(request,
                    wire::parse_offer(request.query("region"), request.query("addresses"), request.query("stream")),
                    upgrade);
    follow(request, wire::parse_follow(request.query("party"), request.query("from")), upgrade);
  }

  template <class Wanted>
  void follow(const net::HttpRequest& request, const Result<Wanted>& wanted, const net::WebSocketUpgrade& upgrade) {
    if (!wanted) return upgrade.refuse(error_response(wanted.error()));
    const auto token = bearer_token(request);
    if (!token) return upgrade.refuse(no_token());
    const bool entered = enter(keep_context([this, wanted = *wanted, token = *token, upgrade] {
      const Now now = net::now();
      const auto by = service_.authenticate(now, token);
      if (!by) return upgrade.refuse(error_response(401, by.error()));
      open(now, *by, wanted, upgrade);
    }));
    if (!entered) upgrade.refuse(error_response(busy()));
  }

  template <class Wanted>
  void open(Now now, const crypto::PublicKey& by, const Wanted& wanted, const net::WebSocketUpgrade& upgrade) {
    const ContextScope peer("peer_id", by.base64());
    const auto open = std::make_shared<Open>();
    Stream stream;
    stream.send = [open](const wire::Event& event) {
      if (open->socket) open->socket->send(wire::encode(event));
    };
    stream.close = [open](const Error& why) {
      if (open->socket) open->socket->close(1008, why.message);
    };
    service_.open_stream(now, by, wanted, std::move(stream), [this, open, upgrade, now](Result<Service::StreamId> id) {
      if (!id) return upgrade.refuse(error_response(id.error()));
      open->id = *id;
      open->socket = upgrade.accept({.on_text = [this, id = *id](std::string text) { signalled(id, text); },
                                     .on_close =
                                         [this, open](const Error&) {
                                           loop_->post([this, open] {
                                             service_.close_stream(open->id);
                                             open->socket = nullptr;
                                           });
                                         }});
      log_.timed(op::kControlSnapshot, net::now().time - now.time);
    });
  }

  void signalled(Service::StreamId id, const std::string& text) {
    auto signal = wire::decode_signal(text);
    if (!signal) return;  // of a newer version, or nothing
    // Where too much waits it is lost, as UDP would lose it; nodes send candidates again.
    enter([this, id, signal = *std::move(signal)] { service_.handle_signal(net::now(), id, signal); });
  }

  const std::shared_ptr<net::IoLoop> loop_;
  Service& service_;
  const store::Store& store_;
  const Logger log_;
  crypto::SystemRng rng_;
  std::atomic<std::size_t> under_way_{0};
  std::atomic<bool> draining_{false};
};

class WholeServer final : public Server {
 public:
  WholeServer(ServerOptions options, net::TlsIdentity tls, party::Identity identity, party::Identity relay,
              std::unique_ptr<store::Store> store, const Logger& log)
      : options_(std::move(options)),
        tls_(std::move(tls)),
        identity_(std::move(identity)),
        relay_(std::move(relay)),
        log_(log),
        loop_(net::IoLoop::start("server")),
        store_(std::move(store)) {}

  // Whom to serve, and with whom.
  Result<void> begin(RelayDirectory others) {
    if (store_->is_shared()) LR_TRY(open_bus());
    ServiceOptions service;
    service.bus = bus_.get();
    service.grant_key = grant_key();
    service.others = std::move(others);
    service.save_relays = [path = relays_path(options_.folder)](const std::string& text) {
      return config::write_file(path, text);
    };
    service.post = [loop = std::weak_ptr<net::IoLoop>(loop_)](std::function<void()> act) {
      if (const auto held = loop.lock()) held->post(std::move(act));
    };
    loop_->run([&] { service_ = std::make_unique<Service>(std::move(service), *store_, rng_, log_); });
    front_ = std::make_unique<Front>(loop_, *service_, *store_, log_);
    return {};
  }

  ~WholeServer() override {
    if (linked_) ::unlink(link_path().c_str());
    http_.reset();  // while the service still answers what is under way
    loop_->run([this] {
      timer_.reset();
      service_.reset();
    });
    udp_.reset();
    bus_.reset();
    store_.reset();  // its last completions find no service
  }

  // With port 0, until a port is free for TCP and UDP in both families.
  Result<void> open() {
    const bool any_port = !options_.listen.empty() && options_.listen.front().port == 0;
    Result<void> opened = open_ports();
    for (int i = 1; i < kFreePortAttempts && any_port && !opened && opened.error().code == Code::kConflict; ++i)
      opened = open_ports();
    LR_TRY(std::move(opened));
    info_.key = tls_.spki_hash();
    named_ = listening_;
    if (options_.listen.empty()) listen_on_https_port();
    set_mapped({});
    link_ = party::ServerLink{own_.front(), info_.key}.text();
    loop_->run([this] {
      meter_.emplace(*udp_, net::now().time);
      next_look_ = net::now().time + kTick;
      tick();
    });
    log_.info("serving", {{"port", listening_.front().port}, {"relay", options_.relay}});
    return {};
  }

  const party::ServerInfo& info() const override { return info_; }
  void set_mapped(const Mapped& mapped) override {
    own_ = options_.public_addresses;
    if (own_.empty()) own_ = own_addresses(named_);
    info_.addresses = own_;
    std::vector<std::string> addresses;
    for (const party::ServerAddress& address : own_)
      if (addresses.size() < wire::kServersMax) addresses.push_back(address.text());
    loop_->run([&] { service_->set_addresses(std::move(addresses)); });
    const std::size_t room = party::kServerAddressesMax - (mapped.tcp ? 1 : 0);
    if (info_.addresses.size() > room) info_.addresses.resize(room);
    if (mapped.tcp) info_.addresses.push_back(party::ServerAddress::of(*mapped.tcp));
    announce(mapped);
  }
  std::string link() const override { return link_; }
  Result<void> write_link() override {
    linked_ = true;
    return config::write_file(link_path(), link() + "\n");
  }
  const std::vector<Endpoint>& listening() const override { return listening_; }
  std::uint16_t second_udp_port() const override { return udp_->second_port(); }
  bool relays() const override { return options_.relay; }
  std::vector<RelayDirectory::Relay> relay_directory() const override {
    std::vector<RelayDirectory::Relay> out;
    loop_->run([&] { out = service_->relays().all(); });
    return out;
  }
  Result<void> allow_relay(const crypto::PublicKey& key) override {
    Result<void> done;
    loop_->run([&] { done = service_->allow_relay(key); });
    return done;
  }
  Result<void> remove_relay(const crypto::PublicKey& key) override {
    Result<void> done;
    loop_->run([&] { done = service_->remove_relay(key); });
    return done;
  }
  void drain() override {
    front_->drain();
    udp_->drain();
  }
  bool is_drained() const override { return udp_->is_drained(); }
  Stats stats() const override {
    Stats out;
    out.http = http_->stats();
    out.udp = udp_->stats();
    out.store_kind = store_->kind();
    if (bus_) {
      out.bus_kind = bus_->kind();
      out.bus_problem = bus_->problem();
    }
    if (const auto size = store_->size()) out.store = *size;
    out.writing = store_->stats();
    loop_->run([&] {
      if (options_.relay) out.report = report_;
      out.service = service_->stats();
    });
    return out;
  }

 private:
  std::string link_path() const { return options_.folder + "/server.link"; }
  crypto::SigningKey grant_key() const {
    const Bytes seed = crypto::hkdf_sha256(identity_.seed().bytes(), {}, as_bytes("lanrage server v1 grants"), 32);
    return *crypto::SigningKey::from_bytes(seed);
  }

  Result<void> open_bus() {
    const auto on_service = [this](std::function<void(Service&)> act) {
      loop_->post([this, act = std::move(act)] {
        if (service_) act(*service_);
      });
    };
    bus::Handlers handlers;
    handlers.on_message = [on_service](std::string message) {
      on_service([message = std::move(message)](Service& service) { service.handle_news(net::now(), message); });
    };
    handlers.on_gap = [on_service] { on_service([](Service& service) { service.handle_gap(); }); };
    const auto by_database = [this](bus::Handlers to) {
      return bus::open_postgres_bus(options_.store, std::move(to), log_);
    };
    const auto by_nats = [this](bus::Handlers to) { return bus::open_nats_bus(options_.bus, std::move(to), log_); };
    LR_ASSIGN(bus_, options_.bus.empty() ? by_database(std::move(handlers))
                                         : bus::open_bus_with_reserve(by_nats, by_database, std::move(handlers)));
    return {};
  }

  Result<void> open_ports() {
    listening_.clear();
    http_.reset();
    udp_.reset();
    UdpService::Options udp;
    const bool everywhere = options_.listen.empty();
    udp.port = everywhere ? party::kServerPort : options_.listen.front().port;
    for (const Endpoint& endpoint : options_.listen) udp.addresses.push_back(endpoint.address);
    udp.offload = options_.offload;
    if (options_.relay) {
      udp.relay.emplace();
      udp.relay->key = relay_.private_key();
      udp.relay->grant_keys = {crypto::verify_key(grant_key())};
    }
    LR_ASSIGN(udp_, UdpService::start(std::move(udp), log_));
    net::HttpServer::Handlers handlers = front_->handlers();
    if (options_.relay) handlers.stream_to = local_entrance(options_.listen, udp_->port());
    net::HttpLimits limits = options_.limits;
    limits.connections_max = std::min(limits.connections_max, connections_possible());
    http_ = net::HttpServer::create({.limits = std::move(limits), .tls = tls_, .loop = nullptr}, handlers, log_);
    if (everywhere) {
      LR_TRY(listen({IpAddress::v4(0u), party::kServerPort}));
      const auto v6 = listen({IpAddress::v6({}), party::kServerPort});
      if (!v6 && v6.error().code == Code::kConflict) return v6.error();
      if (!v6) log_.debug("not listening on IPv6", {{"error", v6.error().message}});
      return {};
    }
    for (Endpoint endpoint : options_.listen) {
      if (endpoint.port == 0) endpoint.port = udp_->port();
      LR_TRY(listen(endpoint));
    }
    return {};
  }

  Result<void> listen(const Endpoint& endpoint) {
    LR_ASSIGN(const Endpoint bound, http_->listen(net::TcpListener{endpoint, true}));
    listening_.push_back(bound);
    return {};
  }

  // For players whose network lets nothing else out; without it where another program has the port, or we may not.
  void listen_on_https_port() {
    for (const IpAddress& any : {IpAddress::v4(0u), IpAddress::v6({})}) {
      if (const auto opened = listen({any, party::kHttpsPort}); !opened)
        log_.debug("not listening on the port of HTTPS", {{"error", opened.error().message}});
    }
  }

  // Tells the service where STUN and the relay are: at those public addresses that are no names.
  void announce(const Mapped& mapped) {
    std::vector<Endpoint> reachable;
    for (const party::ServerAddress& address : own_)
      if (const auto ip = address.ip()) reachable.push_back({*ip, udp_->port()});
    if (reachable.empty())
      for (const party::ServerAddress& address : own_addresses(named_))
        reachable.push_back({*address.ip(), udp_->port()});
    std::vector<Endpoint> seconds;
    if (const std::uint16_t second = udp_->second_port(); second != 0)
      for (const Endpoint& endpoint : reachable) seconds.push_back({endpoint.address, second});
    if (mapped.udp) reachable.push_back(*mapped.udp);
    if (mapped.second_udp) seconds.push_back(*mapped.second_udp);
    std::vector<wire::RelayInfo> relays;
    if (options_.relay) relays.push_back({relay_.public_key(), options_.region, reachable, info_.key});
    std::vector<Endpoint> stun = reachable;
    stun.insert(stun.end(), seconds.begin(), seconds.end());
    if (stun.size() > wire::kRelayAddressesMax) stun.resize(wire::kRelayAddressesMax);
    loop_->run([&] { service_->set_relays(std::move(relays), std::move(stun)); });
  }

  void tick() {
    const Now now = net::now();
    if (options_.relay && now.time >= next_look_) {
      next_look_ = now.time + kRelayReportInterval;
      report_ = meter_->look(now.time);
      service_->set_own_health({relay_.public_key(), report_.health, report_.load});
    }
    service_->handle_timeout(now);
    timer_ = loop_->after(kTick, [this] { tick(); });
  }

  ServerOptions options_;
  const net::TlsIdentity tls_;
  const party::Identity identity_;
  const party::Identity relay_;
  const Logger log_;
  crypto::SystemRng rng_;
  std::shared_ptr<net::IoLoop> loop_;  // the service's thread
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<bus::Bus> bus_;  // none: the store is not shared
  std::unique_ptr<Service> service_;
  std::unique_ptr<Front> front_;
  std::unique_ptr<net::LoopTimer> timer_;
  std::unique_ptr<UdpService> udp_;
  std::optional<RelayMeter> meter_;  // of udp_; the service's thread, as the next two
  wire::ReportRelay report_;
  Time next_look_{};
  std::unique_ptr<net::HttpServer> http_;
  std::vector<Endpoint> listening_;
  std::vector<Endpoint> named_;  // of those, whose ports links name
  std::vector<party::ServerAddress> own_;
  party::ServerInfo info_;
  std::string link_;
  bool linked_ = false;
};

}  // namespace

net::HttpLimits ServerOptions::default_limits() {
  net::HttpLimits limits;
  limits.body_bytes_max_for = [](std::string_view, std::string_view target) {
    return wire::request_bytes_max(target.substr(0, target.find('?')));
  };
  limits.connections_max = 40000;
  limits.connections_per_address_max = 512;  // a LAN party behind one router
  limits.websocket_message_bytes_max = 16 * 1024;
  limits.websocket_queue_bytes_max = 2 * wire::kEventBytesMax;
  return limits;
}

static Result<std::unique_ptr<store::Store>> open_store(const ServerOptions& options, const Logger& log) {
  if (options.store.empty() && !options.bus.empty())
    return Error{Code::kInvalid, "a bus is for servers that share a store", "say which with --store postgres://..."};
  if (options.store.empty()) return store::SqliteStore::open(options.folder + "/server.db", log, options.write_window);
  if (!options.store.starts_with("postgres://") && !options.store.starts_with("postgresql://"))
    return Error{Code::kInvalid, "the store is no PostgreSQL URL",
                 "write it like postgres://USER@HOST/DATABASE, or leave it empty for SQLite"};
  LR_ASSIGN(auto store, store::PostgresStore::open(options.store, log, options.write_window));
  // Of the days before there was a database.
  LR_ASSIGN(const std::size_t moved, store::SqliteStore::move_parties(options.folder + "/server.db", *store, log));
  if (moved > 0) log.info("the database has the parties that were in this folder", {{"count", moved}});
  return store;
}

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, const Logger& log) {
  ::unlink((options.folder + "/server.link").c_str());
  crypto::SystemRng rng;
  LR_ASSIGN(auto tls, net::TlsIdentity::load_or_create(options.folder + "/server.key"));
  LR_ASSIGN(auto identity, load_seed(options.folder + "/server.seed", rng));
  LR_ASSIGN(auto store, open_store(options, log));
  LR_ASSIGN(auto relay, load_seed(options.folder + (store->is_shared() ? "/server.relay" : "/server.seed"), rng));
  LR_ASSIGN(auto others, load_relays(options.folder));
  auto server = std::make_unique<WholeServer>(std::move(options), std::move(tls), std::move(identity), std::move(relay),
                                              std::move(store), log);
  LR_TRY(server->begin(std::move(others)));
  LR_TRY(server->open());
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace lanrage::control
