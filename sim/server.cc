#include "sim/server.h"

#include "base/log.h"
#include "sim/control_link.h"
#include "wire/demux.h"
#include "wire/stun.h"

namespace lanrage::sim {
namespace {

constexpr std::int64_t kEpoch = 1'780'000'000;  // when every world begins, in unix seconds
const IpAddress kV4 = IpAddress::v4(198, 41, 0, 1);
const IpAddress kV6 = *IpAddress::parse("2a01:4f8::1");

}  // namespace

SimServer::SimServer(Scheduler& scheduler, Network& network, std::uint64_t seed, const Link& access)
    : scheduler_(scheduler),
      network_(network),
      rng_(seed),
      grant_key_(crypto::SigningKey::generate(rng_)),
      relay_key_(crypto::PrivateKey::generate(rng_)),
      stun_({kPort, kSecondPort, {}}) {
  host_ = network_.add_host(Network::kInternet, {kV4, kV6}, access,
                            [this](const Endpoint& source, const Endpoint& destination, const Bytes& datagram) {
                              receive(source, destination, datagram);
                            });
  start();
  tick();
}

Now SimServer::now() const {
  return {scheduler_.now(), from_unix_seconds(kEpoch) + scheduler_.now().time_since_epoch() + clock_skew};
}

party::ServerInfo SimServer::info() const {
  party::ServerInfo info;
  info.key[0] = 7;
  info.addresses = {party::ServerAddress::of({kV4, kPort})};
  return info;
}

void SimServer::start() {
  if (up()) return;
  ++run_;
  control::ServiceOptions options;
  options.grant_key = grant_key_;
  options.relays = {{crypto::public_key(relay_key_), "here", {{kV4, kPort}, {kV6, kPort}}}};
  options.stun = {{kV4, kPort}, {kV4, kSecondPort}, {kV6, kPort}, {kV6, kSecondPort}};
  options.post = [this](std::function<void()> act) { scheduler_.post(scheduler_.now() + kCommit, std::move(act)); };
  service_ = std::make_unique<control::Service>(std::move(options), store_, rng_, silent_logger());
  relay::ServerOptions relay;
  relay.key = relay_key_;
  relay.grant_keys = {crypto::verify_key(grant_key_)};
  relay_ = std::make_unique<relay::Server>(relay, rng_);
}

void SimServer::stop() {
  service_.reset();
  relay_.reset();
  for (ControlLink* link : std::set<ControlLink*>(links_)) link->server_died();
}

void SimServer::receive(const Endpoint& source, const Endpoint& destination, const Bytes& datagram) {
  if (!relay_ || !relaying) return;
  Bytes buffer = datagram;
  if (wire::protocol_of(datagram) == wire::Protocol::kStun) {
    buffer.resize(wire::kStunResponseBytesMax);
    const auto answer = stun_.answer(scheduler_.now(), source, destination, datagram, buffer);
    if (!answer) return;
    buffer.resize(answer->size);
    return network_.send(host_, answer->from.port, answer->to, buffer);
  }
  if (const auto out = relay_->handle_packet(now(), source, buffer))
    network_.send(host_, destination.port, out->to, to_bytes(out->datagram));
}

void SimServer::tick() {
  if (service_) service_->handle_timeout(now());
  if (relay_) relay_->handle_timeout(now());
  scheduler_.post(scheduler_.now() + std::chrono::seconds{1}, [this] { tick(); });
}

// ---- A relay alone

SimRelay::SimRelay(Scheduler& scheduler, Network& network, const SimServer& server, std::uint64_t seed,
                   const IpAddress& address, const std::string& region)
    : scheduler_(scheduler), network_(network), server_(server), rng_(seed) {
  relay::ServerOptions options;
  options.key = crypto::PrivateKey::generate(rng_);
  options.grant_keys = {server.grant_key()};
  info_ = {crypto::public_key(options.key), region, {{address, SimServer::kPort}}};
  relay_ = std::make_unique<relay::Server>(options, rng_);
  host_ = network_.add_host(
      Network::kInternet, {address}, {},
      [this](const Endpoint& source, const Endpoint&, const Bytes& datagram) { receive(source, datagram); });
  tick();
}

void SimRelay::receive(const Endpoint& source, const Bytes& datagram) {
  if (!relaying) return;
  Bytes buffer = datagram;
  if (const auto out = relay_->handle_packet(server_.now(), source, buffer))
    network_.send(host_, SimServer::kPort, out->to, to_bytes(out->datagram));
}

void SimRelay::tick() {
  relay_->handle_timeout(server_.now());
  scheduler_.post(scheduler_.now() + std::chrono::seconds{1}, [this] { tick(); });
}

}  // namespace lanrage::sim
