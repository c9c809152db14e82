#include "paths/stun_client.h"

#include <algorithm>
#include <utility>

namespace lanrage::paths {
namespace {

constexpr Duration kRetryGapMax = std::chrono::milliseconds(1600);
constexpr Duration kAskAgain = std::chrono::seconds(10);  // a server that did not answer

Duration retry_gap(int tries) { return std::min(kRetryGapMax, kStunFirstRetry * (1 << (tries - 1))); }

}  // namespace

StunClient::StunClient(Rng& rng) : rng_(rng) {}

void StunClient::set_servers(Time now, const std::vector<Endpoint>& servers) {
  std::vector<Server> next;
  for (const Endpoint& endpoint : servers) {
    if (next.size() == kStunServersMax) break;
    const auto is_it = [&](const Server& server) { return server.endpoint == endpoint; };
    if (std::any_of(next.begin(), next.end(), is_it)) continue;
    const auto known = std::find_if(servers_.begin(), servers_.end(), is_it);
    if (known != servers_.end()) {
      next.push_back(*known);
    } else {
      next.push_back({.endpoint = endpoint});
      ask(now, next.back());
    }
  }
  servers_ = std::move(next);
  update_report();
}

void StunClient::set_local(const std::vector<IpAddress>& addresses, std::uint16_t port) {
  local_addresses_ = addresses;
  local_port_ = port;
  update_report();
}

void StunClient::restart(Time now) {
  for (Server& server : servers_) {
    server = {.endpoint = server.endpoint};
    ask(now, server);
  }
  update_report();
}

void StunClient::ask(Time now, Server& server) {
  if (server.tries == 0) rng_.fill(server.transaction);
  ++server.tries;
  server.due = now + retry_gap(server.tries);
  transmits_.push_back({server.endpoint, wire::write_stun_request(server.transaction)});
  ++stats_.sent;
}

void StunClient::set_keepalive(Time now, Duration keepalive) {
  const bool is_sooner = keepalive < std::exchange(keepalive_, keepalive);
  for (Server& server : servers_)
    if (is_sooner && server.tries == 0 && server.mapped) server.due = std::min(server.due, now);
}

void StunClient::handle_packet(Time now, const Endpoint& source, ByteView datagram) {
  const auto response = wire::parse_stun_response(datagram);
  const auto server =
      std::find_if(servers_.begin(), servers_.end(), [&](const Server& known) { return known.endpoint == source; });
  if (!response || server == servers_.end() || server->tries == 0 || server->transaction != response->transaction) {
    ++stats_.dropped;
    return;
  }
  ++stats_.answered;
  server->mapped = response->mapped;
  server->settled = true;
  server->tries = 0;
  server->due = now + std::min(kStunRefresh, keepalive_);
  update_report();
}

void StunClient::handle_timeout(Time now) {
  for (Server& server : servers_) {
    if (server.due > now) continue;
    if (server.tries < kStunTries) {
      ask(now, server);
      continue;
    }
    ++stats_.timed_out;
    server.mapped.reset();
    server.settled = true;
    server.tries = 0;
    server.due = now + kAskAgain;
  }
  update_report();
}

std::optional<Time> StunClient::next_timeout() const {
  std::optional<Time> next;
  for (const Server& server : servers_) next = next ? std::min(*next, server.due) : server.due;
  return next;
}

std::optional<StunClient::Transmit> StunClient::poll_transmit() {
  if (transmits_.empty()) return std::nullopt;
  Transmit transmit = transmits_.front();
  transmits_.pop_front();
  return transmit;
}

std::optional<NatReport> StunClient::poll_event() {
  if (!report_changed_) return std::nullopt;
  report_changed_ = false;
  return report_;
}

bool StunClient::is_complete() const {
  return std::all_of(servers_.begin(), servers_.end(), [](const Server& server) { return server.settled; });
}

void StunClient::update_report() {
  NatReport report;
  // IPv4's mapping is the one that matters; IPv6's speaks where there is no IPv4.
  for (const bool v4 : {true, false}) {
    std::vector<Endpoint> seen;
    std::size_t answers = 0;
    for (const Server& server : servers_) {
      if (!server.mapped || server.endpoint.address.is_v4() != v4) continue;
      ++answers;
      if (std::find(seen.begin(), seen.end(), *server.mapped) == seen.end()) seen.push_back(*server.mapped);
    }
    if (answers == 0) continue;
    const bool is_own = std::any_of(local_addresses_.begin(), local_addresses_.end(), [&](const IpAddress& address) {
      return Endpoint{address, local_port_} == seen.front();
    });
    const Mapping mapping = seen.size() > 1 ? Mapping::kDependent
                            : is_own        ? Mapping::kNone
                            : answers > 1   ? Mapping::kEndpointIndependent
                                            : Mapping::kUnknown;
    if (v4 || report.public_endpoints.empty()) report.mapping = mapping;
    report.public_endpoints.insert(report.public_endpoints.end(), seen.begin(), seen.end());
  }
  report.udp_blocked = !servers_.empty() && is_complete() && report.public_endpoints.empty();
  if (report == report_) return;
  report_ = std::move(report);
  report_changed_ = true;
}

}  // namespace lanrage::paths
