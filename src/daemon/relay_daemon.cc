#include "daemon/relay_daemon.h"

#include <atomic>

#include "base/format.h"
#include "control/client.h"
#include "control/relay_meter.h"
#include "control/this_host.h"
#include "control/udp_service.h"
#include "crypto/random.h"
#include "daemon/process.h"
#include "daemon/stop_signals.h"
#include "net/clock.h"
#include "net/poller.h"

namespace lanrage::daemon {
namespace {

constexpr Duration kAskAgain = std::chrono::seconds(5);  // after the server's no: the operator may just be at it
constexpr Duration kFirstReport = std::chrono::seconds(1);
constexpr Duration kGoodbyeTime = std::chrono::seconds(1);  // for the server to hear it
constexpr Duration kDrainTime = std::chrono::seconds(3);    // then, for the members to leave
constexpr Duration kDrainLook = std::chrono::milliseconds(50);

class RelayDaemon {
 public:
  RelayDaemon(const RelayOptions& options, const party::Identity& identity, std::unique_ptr<control::UdpService> udp,
              std::vector<Endpoint> addresses, net::Poller poller, const Logger& log)
      : udp_(std::move(udp)),
        meter_(*udp_, net::now().time),
        poller_(std::move(poller)),
        offer_{options.region, std::move(addresses)},
        log_(log) {
    control::ClientOptions client;
    client.server = options.server;
    client.key = identity.private_key();
    client_ = control::Client::create(
        client,
        {.on_event = [this](const wire::Event& event) { handle_event(event); },
         .on_link = [this](const control::LinkStatus& status) { handle_link(status); }},
        [](const std::function<void()>& callback) { callback(); }, std::make_unique<crypto::SystemRng>(), log);
    offer();
  }

  const std::vector<Endpoint>& addresses() const { return offer_.addresses; }

  void run(int stop_fd) {
    if (!poller_.add(stop_fd, kStopTag)) return;
    for (Time again = kNever, next_report = net::now().time + kFirstReport;;) {
      for (const net::Ready& ready : poller_.wait(net::now().time, std::min(again, next_report))) {
        if (ready.tag == kStopTag) return goodbye();
      }
      const Time now = net::now().time;
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
  static constexpr std::uint64_t kStopTag = 1;

  void offer() {
    client_->request(offer_, [this](const Result<wire::Response>& answer) {
      if (answer) {
        log_.info("the server names this relay to its players");
      } else if (answer.error().code == Code::kRefused) {
        if (!told_)
          log_.warn("the server does not take this relay",
                    {{"problem", answer.error().message}, {"hint", answer.error().hint}});
        told_ = true;
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

  // Members are told to use others, and served until they do.
  void goodbye() {
    client_->request(wire::WithdrawRelay{}, [this](const Result<wire::Response>&) {
      said_goodbye_ = true;
      poller_.wake();
    });
    const Time until = net::now().time + kGoodbyeTime;
    while (!said_goodbye_ && net::now().time < until) poller_.wait(net::now().time, until);
    if (!said_goodbye_) return;
    const Time last = net::now().time + kDrainTime;
    for (Time now = net::now().time; now < last && udp_->stats().sessions > 0; now = net::now().time)
      poller_.wait(now, std::min(last, now + kDrainLook));
  }

  void handle_event(const wire::Event& event) {
    if (const auto* grants = std::get_if<wire::GrantKeys>(&event)) udp_->set_grant_keys(grants->keys);
  }
  void handle_link(const control::LinkStatus& status) {
    if (status.why) log_.info("the server cannot be reached", {{"problem", status.why->message}});
  }

  std::unique_ptr<control::UdpService> udp_;
  control::RelayMeter meter_;
  net::Poller poller_;
  const wire::OfferRelay offer_;
  const Logger log_;
  std::atomic<bool> refused_{false};
  bool told_ = false;  // the operator, of the refusal; the client's thread
  std::atomic<bool> reporting_{false};
  std::atomic<bool> said_goodbye_{false};
  std::unique_ptr<control::Client> client_;  // last: it calls into the others from a thread of its own
};

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

}  // namespace

Result<void> run_relay(const RelayOptions& options, const LogOptions& log_options,
                       const std::function<void(const RelayReady&)>& on_ready) {
  harden_process();
  LR_ASSIGN(const auto log, Log::open(log_options));
  const Logger logger(*log, "relay");
  LR_ASSIGN(const FolderLock lock, FolderLock::take(options.folder));
  LR_TRY(keep_network_privileges());
  LR_ASSIGN(const auto stop, StopSignals::take());
  crypto::SystemRng rng;
  LR_ASSIGN(const party::Identity identity, control::load_seed(options.folder + "/relay.seed", rng));
  control::UdpService::Options udp;
  udp.port = options.listen.empty() ? party::kServerPort : options.listen.front().port;
  for (const Endpoint& endpoint : options.listen) udp.addresses.push_back(endpoint.address);
  udp.relay.emplace();
  udp.relay->key = identity.private_key();
  LR_ASSIGN(auto service, control::UdpService::start(std::move(udp), logger));
  LR_ASSIGN(auto poller, net::Poller::create());
  const std::vector<Endpoint> addresses = addresses_of(options, service->port());
  RelayDaemon daemon(options, identity, std::move(service), addresses, std::move(poller), logger);
  on_ready({identity.public_key(), daemon.addresses()});
  daemon.run(stop.fd());
  logger.info("the relay stops");
  return {};
}

}  // namespace lanrage::daemon
