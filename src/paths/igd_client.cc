#include "paths/igd_client.h"

#include <algorithm>
#include <charconv>

#include "base/format.h"

namespace lanrage::paths {
namespace {

constexpr int kSearches = 3;
constexpr Duration kSearchRetry = std::chrono::seconds(1);  // answers come within MX seconds, which is one
constexpr int kFailures = 3;
constexpr Duration kFailureRetry = std::chrono::seconds(2);
constexpr Duration kRestartSpread = std::chrono::milliseconds(500);
// Error codes of AddPortMapping (WANIPConnection:1, 2.4.16).
constexpr std::string_view kConflict = "718";
constexpr std::string_view kOnlyPermanent = "725";

const char* transport_name(PortTransport transport) { return transport == PortTransport::kUdp ? "UDP" : "TCP"; }

}  // namespace

IgdClient::IgdClient(Rng& rng, PortOutbox& outbox) : rng_(rng), outbox_(outbox) {}

void IgdClient::start(Time now, const RouterPlace& place) {
  stop();
  place_ = place;
  state_ = State::kAsking;
  search(now);
}

void IgdClient::stop() {
  reset();
  step_ = Step::kNone;
  http_ = 0;
  searches_ = 0;
  search_due_ = kNever;
  boot_.clear();
  services_.clear();
  is_described_ = false;
  ports_.clear();
}

void IgdClient::set_ports(Time now, const std::vector<PortToMap>& ports) {
  for (Port& port : ports_) {
    const bool is_wanted = std::find(ports.begin(), ports.end(), port.inside) != ports.end();
    if (is_wanted == !port.is_leaving) continue;
    port.is_leaving = !is_wanted;
    port.failures = 0;
    port.due = now;
  }
  std::erase_if(ports_, [](const Port& port) { return port.is_leaving && !port.is_open; });
  for (const PortToMap& wanted : ports) {
    const auto known = [&](const Port& port) { return port.inside == wanted; };
    if (std::none_of(ports_.begin(), ports_.end(), known))
      ports_.push_back({.inside = wanted, .outside = wanted.port, .due = now});
  }
  work(now);
}

void IgdClient::renew(Time now) {
  if (state_ != State::kUsable) return;
  const Duration wait = std::chrono::milliseconds(rng_.below(kRestartSpread / std::chrono::milliseconds(1)));
  for (Port& port : ports_)
    if (port.is_open || port.due != kNever) port.due = now + wait;
  is_described_ = false;
}

void IgdClient::handle_timeout(Time now) {
  if (search_due_ <= now) search(now);
  const bool lost = std::any_of(ports_.begin(), ports_.end(), [&](const Port& port) {
    return port.is_open && !port.is_leaving && port.until <= now;
  });
  if (lost) return give_up({});
  work(now);
}

Time IgdClient::next_timeout() const {
  Time next = search_due_;
  for (const Port& port : ports_) {
    if (http_ == 0) next = std::min(next, port.due);
    if (port.is_open && !port.is_leaving) next = std::min(next, port.until);
  }
  return next;
}

// --- finding it ----------------------------------------------------------------------------------------------------

// To the group, as is usual, and to the gateway itself, which hears it on networks that keep groups from one another.
void IgdClient::search(Time now) {
  if (searches_++ == kSearches) return give_up({});
  step_ = Step::kSearch;
  search_due_ = now + kSearchRetry;
  for (const IpAddress& to : {wire::kSsdpGroup, place_.gateway}) {
    for (const int version : {1, 2})
      outbox_.datagrams.push_back({{to, wire::kSsdpPort}, to_bytes(as_bytes(wire::write_ssdp_search(version)))});
  }
}

void IgdClient::handle_ssdp(Time now, const wire::SsdpMessage& message) {
  if (!message.location || message.location->endpoint.address != place_.gateway || message.is_leaving) return;
  if (step_ == Step::kSearch) {
    boot_ = message.boot;
    search_due_ = kNever;
    return describe(*message.location);
  }
  if (!message.is_notice || message.boot == boot_ || state_ != State::kUsable) return;
  boot_ = message.boot;
  location_ = *message.location;
  renew(now);
}

void IgdClient::describe(const wire::HttpUrl& location) {
  location_ = location;
  step_ = Step::kDescription;
  http_ = ++outbox_.last_http;
  outbox_.https.push_back({http_, location, {}, {}});
}

void IgdClient::ask(Step step, const wire::IgdService& service, std::string_view action,
                    const wire::IgdArguments& arguments) {
  step_ = step;
  http_ = ++outbox_.last_http;
  outbox_.https.push_back({http_, service.control, format("\"{}#{}\"", service.type, action),
                           wire::write_igd_action(service, action, arguments)});
}

// What is due first: a description that is old, a port to give back, a port to open.
void IgdClient::work(Time now) {
  if (state_ != State::kUsable || http_ != 0) return;
  const auto due = [&](const Port& port) { return port.due <= now; };
  const auto leaving =
      std::find_if(ports_.begin(), ports_.end(), [&](const Port& p) { return p.is_leaving && due(p); });
  const auto port = leaving != ports_.end() ? leaving : std::find_if(ports_.begin(), ports_.end(), due);
  if (port == ports_.end()) return;
  if (port->is_leaving) return ask_port(Step::kRemove, *port);
  if (!is_described_) return describe(location_);
  // Routers let one machine take a port from itself.
  const auto is_ours = [&](const Port& other) {
    return other.is_open && other.inside != port->inside && other.outside == port->outside &&
           other.inside.transport == port->inside.transport;
  };
  while (std::any_of(ports_.begin(), ports_.end(), is_ours))
    port->outside = port->outside == 65535 ? 1024 : static_cast<std::uint16_t>(port->outside + 1);
  ask_port(Step::kAdd, *port);
}

void IgdClient::ask_port(Step step, const Port& port) {
  asked_ = port.inside;
  wire::IgdArguments arguments = {{"NewRemoteHost", ""},
                                  {"NewExternalPort", std::to_string(port.outside)},
                                  {"NewProtocol", transport_name(port.inside.transport)}};
  if (step == Step::kRemove) return ask(step, services_[service_], "DeletePortMapping", arguments);
  const auto lease = std::chrono::duration_cast<std::chrono::seconds>(kPortLease).count();
  arguments.insert(arguments.end(), {{"NewInternalPort", std::to_string(port.inside.port)},
                                     {"NewInternalClient", place_.self.text()},
                                     {"NewEnabled", "1"},
                                     {"NewPortMappingDescription", "LANrage"},
                                     {"NewLeaseDuration", port.is_permanent ? "0" : std::to_string(lease)}});
  ask(step, services_[service_], "AddPortMapping", arguments);
}

// --- answers -------------------------------------------------------------------------------------------------------

void IgdClient::handle_http(Time now, std::uint64_t id, const std::optional<HttpAnswer>& answer) {
  if (id != http_ || http_ == 0) return;
  http_ = 0;
  const Step step = std::exchange(step_, Step::kNone);
  if (!answer) return handle_failure(now, step);
  switch (step) {
    case Step::kDescription:
      handle_description(*answer);
      break;
    case Step::kStatus:
      handle_status(*answer);
      break;
    case Step::kAddress:
      handle_address(now, *answer);
      break;
    case Step::kAdd:
      handle_added(now, *answer);
      break;
    case Step::kRemove:
      std::erase_if(ports_, [&](const Port& port) { return port.is_leaving && port.inside == asked_; });
      break;
    case Step::kNone:
    case Step::kSearch:
      break;
  }
  work(now);
}

void IgdClient::handle_description(const HttpAnswer& answer) {
  services_ = wire::parse_igd_description(answer.body, location_);
  std::erase_if(services_,
                [&](const wire::IgdService& service) { return service.control.endpoint.address != place_.gateway; });
  service_ = 0;
  if (answer.status != 200 || services_.empty()) return give_up("the router's UPnP names no way to open ports");
  ask(Step::kStatus, services_[service_], "GetStatusInfo", {});
}

// One that does not tell may well be connected.
void IgdClient::handle_status(const HttpAnswer& answer) {
  const auto status = wire::igd_value(answer.body, "NewConnectionStatus");
  if (!status || *status == "Connected" || *status == "Up")
    return ask(Step::kAddress, services_[service_], "GetExternalIPAddress", {});
  if (++service_ < services_.size()) return ask(Step::kStatus, services_[service_], "GetStatusInfo", {});
  give_up("the router says that it is not connected");
  offline_ = true;
}

void IgdClient::handle_address(Time now, const HttpAnswer& answer) {
  const auto address = IpAddress::parse(wire::igd_value(answer.body, "NewExternalIPAddress").value_or(""));
  if (!address || !is_public(*address)) {
    give_up("the router has no public address itself");
    if (address && !address->is_unspecified()) address_ = *address;
    offline_ = true;
    return;
  }
  address_ = *address;
  is_described_ = true;
  state_ = State::kUsable;
  work(now);
}

void IgdClient::handle_added(Time now, const HttpAnswer& answer) {
  const auto port = std::find_if(ports_.begin(), ports_.end(), [&](const Port& p) { return p.inside == asked_; });
  if (port == ports_.end()) return;
  port->failures = 0;
  if (answer.status == 200) {
    port->is_open = true;
    port->until = port->is_permanent ? kNever : now + kPortLease;
    if (!port->is_leaving) port->due = now + kPortLease / 2;
    is_described_ = std::any_of(ports_.begin(), ports_.end(), [&](const Port& p) { return p.due <= now; });
    return;
  }
  const std::string code = wire::igd_value(answer.body, "errorCode").value_or("");
  if (code == kOnlyPermanent && !port->is_permanent) {
    port->is_permanent = true;
    return;
  }
  if (code == kConflict && port->ports_tried < kPortsTried && port->outside != 65535) {
    ++port->ports_tried;
    ++port->outside;
    return;
  }
  port->is_open = false;
  port->due = kNever;
  const std::string words = wire::igd_value(answer.body, "errorDescription").value_or("");
  problem_ = format("the router refuses: {}", words.empty() ? format("error {}", code) : words);
  const bool all =
      std::none_of(ports_.begin(), ports_.end(), [](const Port& p) { return p.is_open || p.due != kNever; });
  if (all) give_up(problem_);
}

// Nobody answered. What is open stays so until it ends; what is not even described is given up.
void IgdClient::handle_failure(Time now, Step step) {
  if (ports_.empty() || state_ != State::kUsable) return give_up({});
  for (Port& port : ports_) {
    if (port.due > now) continue;
    const bool is_over = ++port.failures >= kFailures && !(port.is_open && !port.is_leaving);
    port.due = is_over ? kNever : now + kFailureRetry * port.failures;
  }
  std::erase_if(ports_, [](const Port& port) { return port.is_leaving && port.due == kNever; });
  is_described_ = false;
  if (ports_.empty() && step == Step::kRemove) return;
  if (std::all_of(ports_.begin(), ports_.end(), [](const Port& port) { return port.due == kNever; })) give_up({});
}

// With a reason: refused; without: silent.
void IgdClient::give_up(std::string why) {
  stop();
  state_ = State::kSilent;
  if (!why.empty()) refuse(std::move(why));
}

std::vector<PortMapping> IgdClient::mappings() const {
  std::vector<PortMapping> out;
  for (const Port& port : ports_) {
    if (port.is_open && !port.is_leaving) out.push_back({port.inside, {*address_, port.outside}, port.until});
  }
  return out;
}

bool IgdClient::is_settled() const {
  return std::all_of(ports_.begin(), ports_.end(),
                     [](const Port& port) { return !port.is_leaving && (port.is_open || port.due == kNever); });
}

}  // namespace lanrage::paths
