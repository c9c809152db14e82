#include "daemon/relay_daemon.h"

#include <algorithm>
#include <atomic>

#include "base/format.h"
#include "config/folders.h"
#include "control/client.h"
#include "control/relay_meter.h"
#include "control/server.h"
#include "control/this_host.h"
#include "control/udp_service.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "daemon/home_router.h"
#include "daemon/process.h"
#include "daemon/stop_signals.h"
#include "net/clock.h"
#include "net/poller.h"
#include "wire/json.h"

namespace lanrage::daemon {
namespace {

constexpr Duration kAskAgain = std::chrono::seconds(5);  // after the server's no: the operator may just be at it
constexpr Duration kFirstReport = std::chrono::seconds(1);
constexpr Duration kGoodbyeTime = std::chrono::seconds(1);  // for the server to hear it
constexpr Duration kDrainLook = std::chrono::milliseconds(50);

// relay.keys: whose grants counted last, by the word of which server.
std::string keys_path(const std::string& folder) { return folder + "/relay.keys"; }

struct KnownKeys {
  decltype(party::ServerInfo::key) server{};
  std::vector<crypto::VerifyKey> keys;
};

std::string text_of(const KnownKeys& known) {
  return wire::Json::object(
             {{"server", to_hex(known.server)},
              {"keys",
               wire::Json::list(known.keys, [](const crypto::VerifyKey& key) { return wire::Json(key.base64()); })}})
             .text() +
         "\n";
}

std::optional<KnownKeys> parse_known_keys(std::string_view text) {
  const auto json = wire::Json::parse(text);
  if (!json) return std::nullopt;
  wire::JsonReader reader(*json);
  KnownKeys known;
  const auto server = from_hex(reader.string("server", 2 * known.server.size()));
  for (const wire::Json& item : reader.items("keys", wire::kGrantKeysMax)) {
    const auto key = item.if_string() ? crypto::VerifyKey::from_base64(*item.if_string()) : std::nullopt;
    if (!key) return std::nullopt;
    known.keys.push_back(*key);
  }
  if (!reader.ok() || !server || server->size() != known.server.size()) return std::nullopt;
  std::copy(server->begin(), server->end(), known.server.begin());
  return known;
}

// Of this server alone. A file that is damaged or another's only means that the server has to say it again.
std::vector<crypto::VerifyKey> load_keys(const RelayOptions& options, const Logger& log) {
  const auto text = config::read_file(keys_path(options.folder));
  if (!text || !*text) return {};
  auto known = parse_known_keys(**text);
  if (!known) log.warn("whose players to serve is unreadable on disk: the server is asked");
  return known && known->server == options.server.key ? std::move(known->keys) : std::vector<crypto::VerifyKey>{};
}

constexpr std::uint64_t kStopTag = 1;

// The mapped one comes last: on the same LAN the inside one is the shorter way.
std::vector<Endpoint> with_mapped(std::vector<Endpoint> own, const HomeRouter* router, const control::UdpService& udp) {
  if (router == nullptr || !router->outcome()) return own;
  const auto outside = router->outcome()->outside_of({paths::PortTransport::kUdp, udp.port()});
  if (!outside) return own;
  if (own.size() == wire::kRelayAddressesMax) own.pop_back();
  own.push_back(*outside);
  return own;
}

class RelayDaemon {
 public:
  RelayDaemon(const RelayOptions& options, const party::Identity& identity, std::unique_ptr<control::UdpService> udp,
              std::vector<crypto::VerifyKey> keys, wire::OfferRelay offered, net::Poller& poller,
              std::unique_ptr<HomeRouter> router, const Logger& log)
      : udp_(std::move(udp)),
        meter_(*udp_, net::now().time),
        poller_(poller),
        router_(std::move(router)),
        offer_(std::move(offered)),
        own_(offer_.addresses),
        server_(options.server.key),
        keys_path_(keys_path(options.folder)),
        keys_(std::move(keys)),
        log_(log) {
    control::ClientOptions client;
    client.server = options.server;
    client.key = identity.private_key();
    client_ = control::Client::create(
        client,
        {.on_event = [this](const wire::Event& event) { handle_event(event); },
         .on_link = [this](const control::LinkStatus& status) { handle_link(status); }},
        [](const std::function<void()>& callback) { callback(); }, std::make_unique<crypto::SystemRng>(), log);
    offer_.addresses = with_mapped(own_, router_.get(), *udp_);
    offer();
  }

  void run(StopSignals& stop) {
    for (Time again = kNever, next_report = net::now().time + kFirstReport;;) {
      const Time router_due = router_ ? router_->next_timeout() : kNever;
      for (const net::Ready& ready : poller_.wait(net::now().time, std::min({again, next_report, router_due}))) {
        if (ready.tag == kStopTag) return goodbye(stop);
        if (router_) router_->handle_ready(net::now().time, ready);
      }
      const Time now = net::now().time;
      if (router_) router_->handle_timeout(now);
      auto addresses = with_mapped(own_, router_.get(), *udp_);
      if (addresses != std::exchange(offer_.addresses, addresses)) again = now;
      if (now >= next_report) {
        next_report = now + control::kRelayReportInterval;
        report(now);
      }
      if (refused_.exchange(false)) again = now + kAskAgain;
      if (now < again) continue;
      again = kNever;
      offer();
    }
  }

 private:
  void offer() {
    client_->request(offer_, [this](const Result<wire::Response>& answer) {
      if (answer) {
        log_.info("the server names this relay to its players");
      } else if (answer.error().code == Code::kRefused) {
        if (!told_)
          log_.warn("the server does not take this relay",
                    {{"problem", answer.error().message}, {"hint", answer.error().hint}});
        told_ = true;
        use_keys({});
        refused_ = true;
        poller_.wake();
      } else {
        log_.warn("the server cannot be told of this relay", {{"problem", answer.error().message}});
      }
    });
  }

  void report(Time now) {
    const wire::ReportRelay report = meter_.look(now);
    if (reporting_.exchange(true)) return;  // the server is away, or slow
    client_->request(report, [this](const Result<wire::Response>&) { reporting_ = false; });
  }

  // The server names it to nobody more; members are told to use others, and served until they do. The next signal ends
  // that.
  void goodbye(StopSignals& stop) {
    stop.read();
    log_.info("the relay stops: players are told to use another", {{"sessions", udp_->stats().sessions}});
    client_->request(wire::WithdrawRelay{}, [this](const Result<wire::Response>&) {
      said_goodbye_ = true;
      poller_.wake();
    });
    udp_->drain();
    const Time until = net::now().time + kGoodbyeTime;
    for (Time now = net::now().time;; now = net::now().time) {
      if (udp_->is_drained() && (said_goodbye_ || now >= until)) return;
      for (const net::Ready& ready : poller_.wait(now, now + kDrainLook)) {
        if (ready.tag == kStopTag) return;
        if (router_) router_->handle_ready(net::now().time, ready);
      }
    }
  }

  void handle_event(const wire::Event& event) {
    if (const auto* grants = std::get_if<wire::GrantKeys>(&event)) use_keys(grants->keys);
  }

  // Kept, so that it serves at once when it is restarted while the server is away. The client's thread.
  void use_keys(const std::vector<crypto::VerifyKey>& keys) {
    udp_->set_grant_keys(keys);
    if (keys == keys_) return;
    keys_ = keys;
    if (const auto kept = config::write_file(keys_path_, text_of({server_, keys})); !kept)
      log_.warn("whose players to serve cannot be kept for a restart", {{"problem", kept.error().message}});
  }
  void handle_link(const control::LinkStatus& status) {
    if (status.why) log_.info("the server cannot be reached", {{"problem", status.why->message}});
  }

  std::unique_ptr<control::UdpService> udp_;
  control::RelayMeter meter_;
  net::Poller& poller_;
  const std::unique_ptr<HomeRouter> router_;  // null: nobody is asked
  wire::OfferRelay offer_;
  const std::vector<Endpoint> own_;  // addresses, without those that a router leads here
  const decltype(party::ServerInfo::key) server_;
  const std::string keys_path_;
  std::vector<crypto::VerifyKey> keys_;  // as on disk
  const Logger log_;
  std::atomic<bool> refused_{false};
  bool told_ = false;  // the operator, of the refusal; the client's thread
  std::atomic<bool> reporting_{false};
  std::atomic<bool> said_goodbye_{false};
  std::unique_ptr<control::Client> client_;  // last: it calls into the others from a thread of its own
};

// What listens for those whose network lets no UDP out; nothing where the port is another program's.
std::unique_ptr<net::HttpServer> open_streams(const RelayOptions& options, const net::TlsIdentity& tls,
                                              std::uint16_t port, const Logger& log) {
  net::HttpServer::Options http;
  http.limits = control::ServerOptions::default_limits();
  http.tls = tls;
  auto server =
      net::HttpServer::create(std::move(http), {.stream_to = control::local_entrance(options.listen, port)}, log);
  std::vector<Endpoint> listen = options.listen;
  if (listen.empty()) {
    for (const std::uint16_t one : {port, party::kHttpsPort})
      for (const IpAddress& any : {IpAddress::v4(0u), IpAddress::v6({})}) listen.push_back({any, one});
  }
  bool any = false;
  for (Endpoint endpoint : listen) {
    if (endpoint.port == 0) endpoint.port = port;
    const auto bound = server->listen(net::TcpListener{endpoint, true});
    if (!bound) log.debug("not listening for TLS", {{"problem", bound.error().message}});
    any = any || bound.has_value();
  }
  if (any) return server;
  log.warn("no TLS: players whose networks let no UDP out cannot use this relay", {{"port", port}});
  return nullptr;
}

// Where members find us, at the port that is open.
std::vector<Endpoint> addresses_of(const RelayOptions& options, std::uint16_t port) {
  if (!options.public_addresses.empty()) return options.public_addresses;
  std::vector<Endpoint> listening = options.listen;
  if (listening.empty()) listening = {{IpAddress::v4(0u), port}, {IpAddress::v6({}), port}};
  for (Endpoint& endpoint : listening) endpoint.port = port;
  std::vector<Endpoint> out;
  for (const party::ServerAddress& address : control::own_addresses(listening)) {
    if (out.size() < wire::kRelayAddressesMax) out.push_back({*address.ip(), port});
  }
  return out;
}

// The router of a relay at home, asked; null where there is none to ask, or it is not to be.
Result<std::unique_ptr<HomeRouter>> open_router(const RelayOptions& options, const party::Identity& identity,
                                                const control::UdpService& udp, bool streams, net::Poller& poller,
                                                Rng& rng, const Logger& log) {
  if (!options.port_mapping || !options.public_addresses.empty()) return std::unique_ptr<HomeRouter>();
  const Bytes secret = crypto::hkdf_sha256(identity.seed().bytes(), {}, as_bytes("lanrage relay v1 router ports"), 32);
  std::vector<paths::PortToMap> ports = {{paths::PortTransport::kUdp, udp.port()}};
  if (streams) ports.push_back({paths::PortTransport::kTcp, udp.port()});
  LR_ASSIGN(auto router,
            HomeRouter::open(std::move(ports), secret, poller, rng, log, [](const HomeRouter::Outcome&) {}));
  router->look(net::now().time);
  return router;
}

// For its word, but not for long; false: somebody wants the relay to end.
bool wait_for(HomeRouter& router, net::Poller& poller) {
  const Time until = net::now().time + kMappingWait;
  for (Time now = net::now().time; !router.outcome() && now < until; now = net::now().time) {
    for (const net::Ready& ready : poller.wait(now, std::min(until, router.next_timeout()))) {
      if (ready.tag == kStopTag) return false;
      router.handle_ready(net::now().time, ready);
    }
    router.handle_timeout(net::now().time);
  }
  return true;
}

}  // namespace

Result<void> run_relay(const RelayOptions& options, const LogOptions& log_options,
                       const std::function<void(const RelayReady&)>& on_ready) {
  harden_process();
  LR_ASSIGN(const auto log, Log::open(log_options));
  const Logger logger(*log, "relay");
  LR_ASSIGN(const FolderLock lock, FolderLock::take(options.folder));
  LR_TRY(keep_network_privileges());
  LR_TRY(raise_descriptor_limit());
  LR_ASSIGN(auto stop, StopSignals::take());
  crypto::SystemRng rng;
  LR_ASSIGN(const party::Identity identity, control::load_seed(options.folder + "/relay.seed", rng));
  control::UdpService::Options udp;
  udp.port = options.listen.empty() ? party::kServerPort : options.listen.front().port;
  for (const Endpoint& endpoint : options.listen) udp.addresses.push_back(endpoint.address);
  udp.offload = options.offload;
  udp.relay.emplace();
  udp.relay->key = identity.private_key();
  const std::vector<crypto::VerifyKey> keys = load_keys(options, logger);
  udp.relay->grant_keys = keys;
  LR_ASSIGN(auto service, control::UdpService::start(std::move(udp), logger));
  LR_ASSIGN(auto poller, net::Poller::create());
  LR_ASSIGN(const auto tls, net::TlsIdentity::load_or_create(options.folder + "/relay.tls"));
  const auto streams = open_streams(options, tls, service->port(), logger);
  wire::OfferRelay offer{options.region, addresses_of(options, service->port())};
  if (streams) offer.stream = tls.spki_hash();
  LR_TRY(poller.add(stop.fd(), kStopTag));
  LR_ASSIGN(auto router, open_router(options, identity, *service, streams != nullptr, poller, rng, logger));
  if (router && !wait_for(*router, poller)) return {};
  on_ready({identity.public_key(), with_mapped(offer.addresses, router.get(), *service), streams != nullptr});
  RelayDaemon daemon(options, identity, std::move(service), keys, std::move(offer), poller, std::move(router), logger);
  daemon.run(stop);
  logger.info("the relay stops");
  return {};
}

}  // namespace lanrage::daemon
