// The sockets of address discovery, and what `netcheck` tells.
#include <cmath>

#include "base/format.h"
#include "daemon/node_daemon.h"
#include "wire/relay.h"

namespace lanrage::daemon {
namespace {

using wire::Json;

constexpr std::size_t kAnswerBytes = 512;  // more than any that is awaited
constexpr std::size_t kAnswersAtOnce = 16;
constexpr Duration kNetcheckWait = std::chrono::seconds(5);  // discovery itself ends in three

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

const char* upstream_name(paths::Upstream upstream) {
  switch (upstream) {
    case paths::Upstream::kUnknown:
      break;
    case paths::Upstream::kNothing:
      return "none";
    case paths::Upstream::kCarrier:
      return "carrier";
    case paths::Upstream::kSecondRouter:
      return "second_router";
    case paths::Upstream::kNat:
      return "nat";
  }
  return "";
}

const char* ports_name(paths::PortChoice choice) {
  switch (choice) {
    case paths::PortChoice::kUnknown:
      break;
    case paths::PortChoice::kSequential:
      return "sequential";
    case paths::PortChoice::kRandom:
      return "random";
  }
  return "";
}

Json family_json(const std::optional<paths::FamilyReport>& report) {
  if (!report) return nullptr;
  if (!report->answered) return Json::object({{"answered", false}});
  const auto name = [](paths::Dependence dependence) {
    return dependence == paths::Dependence::kUnknown ? Json() : Json(paths::dependence_name(dependence));
  };
  return Json::object({{"answered", true},
                       {"translated", report->translated},
                       {"mapping", report->translated ? name(report->mapping) : Json()},
                       {"ports", text_or_null(ports_name(report->ports.choice))},
                       {"filtering", name(report->filtering)},
                       {"keeps_port", report->keeps_port},
                       {"hairpin", report->hairpin ? Json(*report->hairpin) : Json()}});
}

Json lifetime_json(const std::optional<paths::LifetimeReport>& lifetime) {
  if (!lifetime) return nullptr;
  const auto seconds = [](Duration span) { return std::chrono::duration_cast<std::chrono::seconds>(span).count(); };
  return Json::object({{"at_least_s", seconds(lifetime->at_least)},
                       {"below_s", lifetime->below ? Json(seconds(*lifetime->below)) : Json()},
                       {"keepalive_s", std::round(milliseconds(lifetime->keepalive())) / 1000}});
}

}  // namespace

void NodeDaemon::open_discovery() {
  close_discovery();
  net::UdpOptions options;
  options.segmentation = options.coalescing = false;
  options.receive_buffer = options.send_buffer = 64 * 1024;
  const auto open = [&](std::uint64_t tag) -> Result<net::UdpPair> {
    LR_ASSIGN(auto pair, net::UdpPair::open(options));
    if (pair.v4()) LR_TRY(poller_.add(pair.v4()->fd(), tag));
    if (pair.v6()) LR_TRY(poller_.add(pair.v6()->fd(), tag));
    return pair;
  };
  auto first = open(kDiscoveryTag);
  auto second = open(kDiscoveryTag + 1);
  if (!first || !second) {
    log_.warn("this network cannot be looked at", {{"problem", (first ? second : first).error().message}});
    return node_->handle_discovery_sockets(now_, 0, 0);
  }
  discovery_[0].emplace(std::move(*first));
  discovery_[1].emplace(std::move(*second));
  node_->handle_discovery_sockets(now_, discovery_[0]->port(), discovery_[1]->port());
}

void NodeDaemon::close_discovery() {
  for (auto& pair : discovery_) pair.reset();  // epoll forgets what is closed
}

void NodeDaemon::read_discovery(std::size_t index) {
  using Socket = paths::NatDiscovery::Socket;
  if (!discovery_[index]) return;
  std::array<std::array<std::uint8_t, kAnswerBytes>, kAnswersAtOnce> memory;
  std::array<net::ReceiveSlot, kAnswersAtOnce> slots;
  for (net::UdpSocket* socket : {discovery_[index]->v4(), discovery_[index]->v6()}) {
    if (socket == nullptr) continue;
    for (std::size_t i = 0; i < slots.size(); ++i) slots[i].buffer = memory[i];
    const std::size_t count = socket->receive(slots);
    for (std::size_t i = 0; i < count; ++i) {
      if (slots[i].truncated) continue;
      node_->handle_discovery_packet(now_, index == 0 ? Socket::kFirst : Socket::kSecond, slots[i].source,
                                     slots[i].bytes());
    }
  }
}

void NodeDaemon::send_discovery() {
  while (const auto out = node_->poll_discovery()) {
    auto& pair = discovery_[out->socket == paths::NatDiscovery::Socket::kFirst ? 0 : 1];
    if (pair) pair->send(net::SendItem{.destination = out->to, .bytes = out->datagram, .hops = out->hops});
  }
}

void NodeDaemon::netcheck(std::function<void(wire::Json)> done) {
  if (!node_->is_discovering()) node_->discover(now_);
  netchecks_.push_back(std::move(done));
  netchecks_until_ = now_.time + kNetcheckWait;
}

void NodeDaemon::answer_netchecks() {
  if (netchecks_.empty()) return;
  // A server that we have just met tells in a moment whom to ask.
  const bool expected = node_->is_discovering() || (node_->server() && !node_->has_discovered());
  if (expected && now_.time < netchecks_until_) return;
  netchecks_until_ = kNever;
  const Json answer = netcheck_json();
  for (const auto& done : std::exchange(netchecks_, {})) done(answer);
}

wire::Json NodeDaemon::nat_json() const {
  const node::NodeStatus status = node_->status(now_);
  if (!status.nat) return nullptr;
  return Json::object(
      {{"type", text_or_null(status.nat->type)},
       {"mapping", text_or_null(status.nat->mapping)},
       {"public", Json::list(status.nat->public_endpoints, [](const std::string& text) { return Json(text); })},
       {"words", status.nat->words}});
}

wire::Json NodeDaemon::netcheck_json() const {
  const paths::NetworkView view = node_->network();
  const node::NodeStatus status = node_->status(now_);
  std::vector<std::string> findings;
  std::string advice;
  if (!status.nat) {
    findings.push_back(!status.server ? "There is no server to ask yet: join or host a party first."
                       : node_->has_discovered()
                           ? "The party's server is on this machine or in this network: it cannot "
                             "show how the network looks from outside."
                           : "Address discovery has not answered yet.");
  } else {
    findings = paths::describe(view);
    for (const std::string& endpoint : status.nat->public_endpoints)
      findings.push_back("Seen from outside as " + endpoint + ".");
    advice = paths::advice(view);
  }
  Json relays = Json::array();
  for (const auto& relay : node_->relays()) {
    const auto rtt_ms = relay.quality.rtt_ms;
    const std::string heard = rtt_ms ? format("{:.1f} ms", *rtt_ms) : "registered";
    relays.push(Json::object({{"id", relay.id},
                              {"member", text_or_null(relay.member)},
                              {"registered", relay.registered},
                              {"rtt_ms", rtt_ms},
                              {"transport", !relay.registered ? Json()
                                            : relay.by_stream ? "tls"
                                                              : "udp"}}));
    const char* transport = relay.by_stream ? " over TLS, not UDP" : "";
    const std::string name = relay.member.empty() ? relay.id : format("{} of {}", relay.id, relay.member);
    findings.push_back(relay.registered || rtt_ms ? format("Relay {}: {}{}.", name, heard, transport)
                                                  : format("Relay {} does not answer.", name));
  }
  if (names_problem_) {
    findings.push_back(names_problem_->empty()
                           ? format("Programs here know the members as NAME.{} and as NAME.", node::kNameDomain)
                           : format("NAME.{} works in no program here: {}.", node::kNameDomain, *names_problem_));
  }
  if (!advice.empty()) findings.push_back(advice);
  return Json::object({{"names", names_problem_ ? Json(names_problem_->empty()) : Json()},
                       {"nat", nat_json()},
                       {"udp_blocked", view.udp_blocked},
                       {"ipv4", family_json(view.discovery.v4)},
                       {"ipv6", family_json(view.discovery.v6)},
                       {"binding_lifetime", lifetime_json(view.lifetime)},
                       {"upstream", text_or_null(upstream_name(paths::upstream_of(view)))},
                       {"port_mapping", view.router.asked ? Json(view.router.outside.has_value()) : Json()},
                       {"router", port_mapping_json()},
                       {"relays", relays},
                       {"findings", Json::list(findings, [](const std::string& line) { return Json(line); })},
                       {"advice", text_or_null(advice)}});
}

}  // namespace lanrage::daemon
