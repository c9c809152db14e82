// This machine as a relay for its own party: when it is one, where members are told to find it, and how it ends.
#include <algorithm>

#include "base/format.h"
#include "daemon/node_daemon.h"
#include "host/power.h"
#include "relay/server.h"

namespace lanrage::daemon {
namespace {

constexpr Duration kRelayGoodbye = std::chrono::seconds(4);  // when the node ends; `down` waits for five seconds
constexpr Duration kStartAgain = std::chrono::minutes(1);    // after a failure
constexpr Duration kGoingLook = std::chrono::milliseconds(50);

}  // namespace

paths::RelayPlace NodeDaemon::relay_place() const {
  paths::RelayPlace place;
  place.wanted = paths::parse_relay_for_party(settings_.relay_for_party).value_or(paths::RelayForParty::kOff);
  place.others = node_->others();
  place.knows_grants = !node_->grant_keys().empty();
  place.network = node_->network();
  const auto is_here = [&](const Endpoint& endpoint) {
    const auto& own = place.network.own;
    return std::find(own.begin(), own.end(), endpoint.address) != own.end();
  };
  place.has_servers_relay = server_ && node_->server() && node_->server()->key == server_->info().key;
  for (const wire::RelayInfo& relay : node_->named_relays())
    if (std::any_of(relay.addresses.begin(), relay.addresses.end(), is_here)) place.has_servers_relay = true;
  place.is_metered = is_metered_;
  place.opens_ports = outside_of(paths::PortTransport::kUdp, sockets_->port()).has_value();
  return place;
}

// Whenever something changed that it depends on, and every few seconds for its health.
void NodeDaemon::update_relay() {
  relay_due_ = kNever;
  if (relay_ && relay_->is_gone(now_.time)) {
    relay_.reset();
    log_.info("the relay for the party has ended");
    update_ports();
  }
  const auto party = node_->party();
  if (!party) why_no_relay_ = "this machine is in no party";
  if (!party && !relay_) return;
  paths::RelayPlace place = relay_place();
  paths::keep_answers(heard_network_, place.network.discovery);
  place.network.discovery = heard_network_;
  why_no_relay_ = paths::why_no_relay(place);
  if (why_no_relay_.empty() && place.wanted == paths::RelayForParty::kAuto) {
    if (!has_battery_) has_battery_ = host::has_battery();
    place.has_battery = *has_battery_;
    why_no_relay_ = paths::why_no_relay(place);
  }
  const bool wanted = party && why_no_relay_.empty() && !stopping_;
  if (relay_ && (!wanted || relay_->party() != *party)) stop_relay(relay::kDrainTime);
  if (wanted && !relay_ && now_.time >= relay_again_) start_relay(*party);
  if (party) relay_due_ = now_.time + control::kRelayReportInterval;
  if (!relay_) return;
  if (relay_->is_stopping()) {
    relay_due_ = now_.time + kGoingLook;
    return;
  }
  relay_->set_grant_keys(node_->grant_keys());
  const wire::ReportRelay& report = relay_->look(now_.time);
  wire::MemberRelay told{report.health, report.load, {}};
  told.endpoints =
      paths::relay_endpoints(place, relay_->port(), outside_of(paths::PortTransport::kUdp, relay_->port()));
  node_->set_own_relay(now_, told.endpoints.empty() ? std::nullopt : std::optional(std::move(told)));
}

// Beside the node's own port, so that it is where it was when the node starts again, and members look there.
void NodeDaemon::start_relay(const party::PartyId& party) {
  auto started = PartyRelay::start(node_->identity(), party, node_->grant_keys(),
                                   static_cast<std::uint16_t>(sockets_->port() + 1), now_.time, log_.named("relay"));
  if (!started) {
    why_no_relay_ = started.error().message;
    relay_again_ = now_.time + kStartAgain;
    return log_.warn("this machine cannot relay for its party", {{"problem", why_no_relay_}});
  }
  relay_ = std::move(*started);
  log_.info("this machine relays for its party", {{"port", relay_->port()}});
  update_ports();
}

void NodeDaemon::stop_relay(Duration patience) {
  if (!relay_) return;
  if (!relay_->is_stopping()) log_.info("the relay for the party stops: members are told to use another");
  node_->set_own_relay(now_, std::nullopt);
  relay_->stop(now_.time, patience);
  relay_due_ = now_.time;
}

// The node is to end: what it relays goes on until members use others.
void NodeDaemon::end_relay() { stop_relay(kRelayGoodbye); }

wire::Json NodeDaemon::relay_json() const {
  const bool serves = relay_ && !relay_->is_stopping();
  wire::Json out = wire::Json::object({{"setting", settings_.relay_for_party},
                                       {"serves", serves},
                                       {"why", why_no_relay_.empty() ? wire::Json() : wire::Json(why_no_relay_)}});
  if (!relay_) return out;
  const control::UdpService::Stats stats = relay_->stats();
  const auto& told = node_->own_relay();
  out.set("port", relay_->port());
  out.set("addresses", wire::Json::list(told ? told->endpoints : std::vector<Endpoint>(),
                                        [](const Endpoint& endpoint) { return wire::Json(endpoint.text()); }));
  out.set("members", static_cast<std::int64_t>(stats.sessions));
  out.set("packets", static_cast<std::int64_t>(stats.relay.packets_forwarded + stats.relay.frames_forwarded));
  out.set("bytes", static_cast<std::int64_t>(stats.relay.bytes_forwarded));
  return out;
}

}  // namespace lanrage::daemon
