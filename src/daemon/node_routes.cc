// The local API of a node: each route decodes, calls the node once, encodes (docs/api.md).
#include <charconv>

#include "base/format.h"
#include "daemon/node_daemon.h"
#include "party/name.h"

namespace lanrage::daemon {
namespace {

using api::Field;
using api::Request;
using api::Respond;
using wire::Json;

std::string text_of(const Json& body, std::string_view key) {
  const Json* value = body.find(key);
  const std::string* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? "" : *text;
}

std::optional<std::int64_t> integer_of(const Json& body, std::string_view key) {
  const Json* value = body.find(key);
  const std::int64_t* number = value == nullptr ? nullptr : value->if_integer();
  return number == nullptr ? std::nullopt : std::optional<std::int64_t>(*number);
}

std::string utc(std::int64_t seconds) {
  const std::time_t time = seconds;
  std::tm parts{};
  gmtime_r(&time, &parts);
  return format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                parts.tm_hour, parts.tm_min, parts.tm_sec);
}

const char* state_name(node::NodeState state) {
  switch (state) {
    case node::NodeState::kIdle:
      return "idle";
    case node::NodeState::kConnecting:
      return "connecting";
    case node::NodeState::kInParty:
      return "in_party";
    case node::NodeState::kDegraded:
      return "degraded";
  }
  return "idle";
}

const char* reach_name(node::Reach reach) {
  switch (reach) {
    case node::Reach::kConnecting:
      return "connecting";
    case node::Reach::kConnected:
      return "connected";
    case node::Reach::kUnreachable:
      return "unreachable";
  }
  return "connecting";
}

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json path_json(const std::optional<node::PathStatus>& path) {
  if (!path) return nullptr;
  return Json::object({{"kind", path->relayed ? "relay" : "direct"},
                       {"endpoint", path->endpoint.text()},
                       {"relay", path->relay},
                       {"relay_member", text_or_null(path->relay_member)},
                       {"transport", path->tls ? "tls" : "udp"}});
}

Json text_list(const std::vector<std::string>& items) {
  return Json::list(items, [](const std::string& item) { return Json(item); });
}

Json pair_relay_json(const node::PairRelayStatus& relay) {
  return Json::object({{"id", relay.id},
                       {"member", text_or_null(relay.member)},
                       {"region", text_or_null(relay.region)},
                       {"role", text_or_null(relay.role)},
                       {"our_score", relay.our_score},
                       {"peer_score", relay.peer_score},
                       {"health", relay.health},
                       {"score", relay.score},
                       {"expected_rtt_ms", relay.expected_rtt_ms},
                       {"rtt_ms", relay.rtt_ms}});
}

Json relay_help_json(const std::optional<node::RelayHelp>& help) {
  if (!help) return nullptr;
  return Json::object({{"direct_rtt_ms", help->direct_rtt_ms},
                       {"relayed_rtt_ms", help->relayed_rtt_ms},
                       {"saved_ms", help->direct_rtt_ms - help->relayed_rtt_ms}});
}

Json peer_json(const node::PeerStatus& peer) {
  return Json::object({{"name", peer.name},
                       {"public_key", peer.public_key},
                       {"addresses", text_list(peer.addresses)},
                       {"kind", "lanrage"},
                       {"state", reach_name(peer.state)},
                       {"path", path_json(peer.path)},
                       {"why", peer.why.empty() ? Json() : Json(peer.why)},
                       {"rtt_ms", peer.quality.rtt_ms},
                       {"rtt_ema_ms", peer.quality.rtt_ema_ms},
                       {"jitter_ms", peer.quality.jitter_ms},
                       {"loss_percent", peer.quality.loss_percent},
                       {"bandwidth_mbps", peer.quality.bandwidth ? Json(peer.quality.bandwidth->mbps) : Json()},
                       {"quality", quality_json(peer.quality)},
                       {"relays", Json::list(peer.relays, pair_relay_json)},
                       {"relay_help", relay_help_json(peer.relay_help)},
                       {"rx_bytes", peer.rx_bytes},
                       {"tx_bytes", peer.tx_bytes},
                       {"redundancy", Json::object({{"path", path_json(peer.second_path)},
                                                    {"copied_packets", peer.copied_packets},
                                                    {"copied_bytes", peer.copied_bytes}})},
                       {"last_handshake_s", peer.last_handshake_s}});
}

Json invite_json(const node::InviteAnswer& invite, bool with_text) {
  Json out = Json::object({{"id", invite.id}});
  if (with_text) out.set("invite", invite.text);
  out.set("expires", utc(invite.expires));
  out.set("uses_left", invite.uses_left >= party::kInviteUsesMax ? Json() : Json(invite.uses_left));
  return out;
}

// An answer of the node with nothing to tell.
node::Node::Done<void> done(NodeDaemon& daemon, Respond respond) {
  return [&daemon, respond = std::move(respond)](Result<void> result) {
    if (!result) return respond(std::move(result).error());
    respond(daemon.status());
  };
}

Json hosted(NodeDaemon& daemon, const node::InviteAnswer& invite) {
  const Json status = daemon.status();
  Json party = Json::object();
  if (const Json* whole = status.find("party")) {
    party = Json::object({{"id", text_of(*whole, "id")}, {"name", text_of(*whole, "name")}});
  }
  const std::string reach = daemon.reach();
  return Json::object({{"invite", invite.text},
                       {"party", party},
                       {"self", status.find("self") == nullptr ? Json() : *status.find("self")},
                       {"dashboard", daemon.page_link()},
                       {"reach", reach.empty() ? Json() : Json(reach)}});
}

void host(NodeDaemon& daemon, const Request& request, const Respond& respond) {
  const std::string name = daemon.player_name(text_of(request.body, "as"));
  std::string party = text_of(request.body, "name");
  if (party.empty()) party = format("{}'s party", name);
  if (auto valid = party::check_name(name); !valid) return respond(std::move(valid).error());
  const std::string link = text_of(request.body, "server");
  daemon.host(party, name, link, respond,
              [&daemon](const node::InviteAnswer& invite) { return hosted(daemon, invite); });
}

void join(NodeDaemon& daemon, const Request& request, const Respond& respond) {
  auto invite = party::Invite::parse(text_of(request.body, "invite"));
  if (!invite) return respond(std::move(invite).error());
  const std::string as = text_of(request.body, "as");
  daemon.join(*invite, as, respond);
}

void invite(NodeDaemon& daemon, const Request& request, const Respond& respond) {
  const std::int64_t life = integer_of(request.body, "expires_s").value_or(24 * 3600);
  const std::int64_t uses = integer_of(request.body, "uses").value_or(party::kInviteUsesMax);
  if (life < 1 || life > 365 * 86400 || uses < 1 || uses > static_cast<std::int64_t>(party::kInviteUsesMax)) {
    return respond(Error{Code::kInvalid, "an invite lives from a second to a year and is good for 1 to 9999 uses",
                         "change --expires or --uses"});
  }
  daemon.node().invite(daemon.now(), std::chrono::seconds{life}, static_cast<std::uint32_t>(uses),
                       [respond](Result<node::InviteAnswer> made) {
                         if (!made) return respond(std::move(made).error());
                         respond(invite_json(*made, true));
                       });
}

void ping(NodeDaemon& daemon, const Request& request, const Respond& respond) {
  const std::int64_t timeout =
      std::clamp<std::int64_t>(integer_of(request.body, "timeout_ms").value_or(2000), 1, 60000);
  const std::string peer = text_of(request.body, "peer");
  daemon.node().ping(
      daemon.now(), peer, std::chrono::milliseconds{timeout}, [respond](Result<node::PingAnswer> answer) {
        if (!answer) return respond(std::move(answer).error());
        respond(Json::object({{"rtt_ms", milliseconds(answer->rtt)}, {"path", path_json(answer->path)}}));
      });
}

Json lan_json(const lan::LanStatus& status) {
  Json dropped = Json::object();
  for (std::size_t i = 0; i < status.dropped.size(); ++i) {
    if (status.dropped[i] > 0) dropped.set(lan::drop_name(static_cast<lan::Drop>(i)), status.dropped[i]);
  }
  return Json::object(
      {{"captured", status.captured},
       {"sent", status.sent},
       {"received", status.received},
       {"delivered", status.delivered},
       {"duplicates", status.duplicates},
       {"dropped", dropped},
       {"groups", Json::list(status.groups,
                             [](const lan::GroupStatus& g) {
                               return Json(
                                   format("{} on {}, {}", g.group.text(), g.interface, lan::group_way_name(g.way)));
                             })},
       {"rules", text_list(status.rules)},
       {"programs", Json::list(status.programs,
                               [](const lan::ProgramStatus& p) {
                                 return Json::object({{"program", p.program.empty() ? Json() : Json(p.program)},
                                                      {"port", p.port},
                                                      {"packets", p.packets}});
                               })},
       {"heard", Json::list(status.heard, [](const lan::HeardStatus& h) {
          return Json::object({{"destination", h.destination.text()}, {"packets", h.packets}, {"unheard", h.unheard}});
        })}});
}

Json relays_json(const node::Node& node) {
  return Json::object(
      {{"relays", Json::list(node.relays(), [](const node::RelayStatus& relay) {
          return Json::object(
              {{"id", relay.id},
               {"member", text_or_null(relay.member)},
               {"region", text_or_null(relay.region)},
               {"addresses", Json::list(relay.addresses, [](const Endpoint& e) { return Json(e.text()); })},
               {"registered", relay.registered},
               {"rtt_ms", relay.quality.rtt_ms},
               {"quality", quality_json(relay.quality)},
               {"health", relay.health},
               {"load", relay.load},
               {"score", relay.score},
               {"role", text_or_null(relay.role)}});
        })}});
}

Json rules_json(NodeDaemon& daemon) {
  return Json::object(
      {{"rules", Json::list(daemon.node().filter_rules(),
                            [](const node::FilterRule& rule) {
                              return Json::object(
                                  {{"action", rule.action == node::FilterRule::Action::kAllow ? "allow" : "deny"},
                                   {"ports", rule.text()}});
                            })},
       {"strict", daemon.settings().strict},
       {"default", daemon.settings().strict ? "Everything else is closed to other members (strict)."
                                            : "Everything else is open to other members, except ports below 1024 and "
                                              "services that are not games (docs/filter.md)."}});
}

void change_rules(NodeDaemon& daemon, const Request& request, const Respond& respond) {
  const std::string action = text_of(request.body, "action");
  if (action != "allow" && action != "deny") return respond(Error{Code::kInvalid, "the action is allow or deny", {}});
  auto rule =
      node::FilterRule::parse(action == "allow" ? node::FilterRule::Action::kAllow : node::FilterRule::Action::kDeny,
                              text_of(request.body, "ports"));
  if (!rule) return respond(std::move(rule).error());
  const Json* remove = request.body.find("remove");
  const bool removing = remove != nullptr && remove->if_bool() != nullptr && *remove->if_bool();
  auto apply = [&daemon, rule = *rule, removing, action]() -> Result<void> {
    std::vector<node::FilterRule> rules = daemon.node().filter_rules();
    const std::size_t before = rules.size();
    std::erase(rules, rule);
    if (removing && rules.size() == before)
      return Error{Code::kNotFound, "there is no such rule", format("`lanrage {}` lists them", action)};
    if (!removing) rules.push_back(rule);
    daemon.node().set_filter(daemon.now(), daemon.settings().strict, std::move(rules));
    return daemon.save_rules();
  };
  daemon.push_config(std::move(apply), respond, [&daemon] { return rules_json(daemon); });
}

Result<tasks::GraphId> graph_in(const Request& request) {
  const std::string& text = request.parameter("id");
  tasks::GraphId id = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (problem != std::errc() || end != text.data() + text.size())
    return Error{Code::kInvalid, "a graph has a number", "`lanrage tasks` lists them"};
  return id;
}

}  // namespace

std::vector<std::string> NodeDaemon::notices(const node::NodeStatus& status) const {
  std::vector<std::string> out = status.notices;
  if (!damaged_.empty()) out.push_back(damaged_);
  if (const std::string& problem = files_.problem(); !problem.empty())
    out.push_back(format("{}; it is tried again, and what is not saved is lost when the node ends", problem));
  return out;
}

wire::Json NodeDaemon::status() const {
  const node::NodeStatus status = node_->status(now_);
  Json party;
  if (status.party) {
    party = Json::object({{"id", status.party->id},
                          {"name", status.party->name},
                          {"role", status.party->role},
                          {"epoch", status.party->epoch},
                          {"network", status.party->network}});
  }
  Json server;
  if (status.server) {
    server = Json::object({{"url", status.server->url},
                           {"state", status.server->state},
                           {"problem", status.server->problem.empty() ? Json() : Json(status.server->problem)},
                           {"quality", quality_json(status.server->quality)}});
  }
  return Json::object(
      {{"version", LANRAGE_VERSION},
       {"state", state_name(status.state)},
       {"self", Json::object({{"name", status.name.empty() ? Json(player_name("")) : Json(status.name)},
                              {"public_key", status.public_key},
                              {"interface", adapter_->info().name},
                              {"addresses", text_list(status.addresses)},
                              {"port", sockets_->port()},
                              {"nat", nat_json()},
                              {"port_mapping", port_mapping_json()},
                              {"relay", relay_json()}})},
       {"party", party},
       {"server", server},
       {"peers", Json::list(status.peers, peer_json)},
       {"notices", text_list(notices(status))},
       {"warnings", text_list(firewall_problem_.empty() ? std::vector<std::string>() : std::vector{firewall_problem_})},
       {"api", api_ ? Json(api_->page_endpoint().text()) : Json()}});
}

std::vector<api::Route> node_routes(NodeDaemon& daemon) {
  NodeDaemon* d = &daemon;
  std::vector<api::Route> routes = {
      {"GET", "/api/status", "how the node is", false,
       [d](Request, Respond respond) {
         d->check_firewall();
         respond(d->status());
       }},
      {"GET", "/api/peers", "the other players", false,
       [d](Request, Respond respond) {
         respond(Json::object({{"peers", *d->status().find("peers")}}));
       }},
      {"GET", "/api/netcheck", "what this network lets through", false,
       [d](Request, Respond respond) { d->netcheck([respond](Json answer) { respond(std::move(answer)); }); }},
      {"GET", "/api/relays", "the relays that the server or a player names", false,
       [d](Request, Respond respond) { respond(relays_json(d->node())); }},
      {"GET",
       "/api/quality",
       "how good the way to each player is, and was",
       false,
       [d](Request request, Respond respond) { respond(d->qualities(request.parameter("peer"))); },
       {{"peer", Field::kText, false, "one player's name; all without"}}},
      {"GET", "/api/lan", "LAN traffic of games", false,
       [d](Request, Respond respond) { respond(lan_json(d->node().lan_status())); }},
      {"GET",
       "/api/log",
       "the last log lines",
       false,
       [d](Request request, Respond respond) {
         const std::string& lines = request.parameter("lines");
         auto found =
             d->log_lines(lines.empty() ? 100 : static_cast<std::size_t>(std::strtoul(lines.c_str(), nullptr, 10)));
         if (!found) return respond(std::move(found).error());
         respond(Json::object({{"lines", text_list(*found)}}));
       },
       {{"lines", Field::kInteger, false, "how many; 100 without"}}},
      {"POST",
       "/api/ping",
       "one round trip to a player through the tunnel",
       false,
       [d](Request request, Respond respond) { ping(*d, request, respond); },
       {{"peer", Field::kText, true, "the player's name"},
        {"timeout_ms", Field::kInteger, false, "1 to 60000; 2000 without"}}},
      {"POST",
       "/api/party/host",
       "start a party",
       true,
       [d](Request request, Respond respond) { host(*d, request, respond); },
       {{"name", Field::kText, false, "the party's name"},
        {"as", Field::kText, false, "one's own name"},
        {"server", Field::kText, false, "a server's link; without: this machine's own"}}},
      {"POST",
       "/api/party/join",
       "join a party",
       true,
       [d](Request request, Respond respond) { join(*d, request, respond); },
       {{"invite", Field::kText, true, "lanrage://…"}, {"as", Field::kText, false, "one's own name"}}},
      {"POST", "/api/party/leave", "leave the party", false, [d](Request, Respond respond) { d->leave(respond); }},
      {"POST",
       "/api/party/kick",
       "remove a player",
       false,
       [d](Request request, Respond respond) { d->kick(text_of(request.body, "name"), respond); },
       {{"name", Field::kText, true, "the player's name"}}},
      {"POST", "/api/party/rekey", "a new secret for the party", false,
       [d](Request, Respond respond) { d->rekey(respond); }},
      {"POST",
       "/api/party/handover",
       "another owner",
       false,
       [d](Request request, Respond respond) { d->handover(text_of(request.body, "name"), respond); },
       {{"name", Field::kText, true, "the player's name"}}},
      {"POST",
       "/api/invites",
       "make an invite",
       true,
       [d](Request request, Respond respond) { invite(*d, request, respond); },
       {{"expires_s", Field::kInteger, false, "seconds that it lives; a day without"},
        {"uses", Field::kInteger, false, "how many may join with it; any number without"}}},
      {"GET", "/api/invites", "the valid invites", false,
       [d](Request, Respond respond) {
         d->node().list_invites(d->now(), [respond](Result<std::vector<node::InviteAnswer>> list) {
           if (!list) return respond(std::move(list).error());
           respond(Json::object(
               {{"invites", Json::list(*list, [](const node::InviteAnswer& i) { return invite_json(i, false); })}}));
         });
       }},
      {"DELETE", "/api/invites/{id}", "revoke an invite", false,
       [d](Request request, Respond respond) {
         d->node().revoke(d->now(), request.parameter("id"), done(*d, respond));
       }},
      {"GET", "/api/rules", "what members may reach here", false,
       [d](Request, Respond respond) { respond(rules_json(*d)); }},
      {"POST",
       "/api/rules",
       "allow or deny ports",
       false,
       [d](Request request, Respond respond) { change_rules(*d, request, respond); },
       {{"action", Field::kText, true, "allow or deny"},
        {"ports", Field::kText, true, "as in docs/filter.md"},
        {"remove", Field::kFlag, false, "the rule goes instead of coming"}}},
      {"POST", "/api/network/restart", "set up the party's network on this machine anew", false,
       [d](Request, Respond respond) { d->restart_network(respond); }},
      {"GET", "/api/tasks", "what the node is doing, and did", false,
       [d](Request, Respond respond) { respond(d->work().graphs()); }},
      {"POST", "/api/tasks", "run a trial graph of tasks, which do nothing for a while (docs/tasks.md)", true,
       [d](Request request, Respond respond) {
         auto id = d->work().submit_trial(d->now().time, request.body);
         if (!id) return respond(std::move(id).error());
         respond(d->work().graph(*id));
       }},
      {"GET", "/api/tasks/{id}", "one graph of tasks", false,
       [d](Request request, Respond respond) {
         auto id = graph_in(request);
         if (!id) return respond(std::move(id).error());
         respond(d->work().graph(*id));
       }},
      {"DELETE", "/api/tasks/{id}", "cancel a graph of tasks", true,
       [d](Request request, Respond respond) {
         auto id = graph_in(request);
         if (!id) return respond(std::move(id).error());
         if (auto gone = d->work().cancel(d->now().time, *id); !gone) return respond(std::move(gone).error());
         respond(d->work().graph(*id));
       }},
      {"GET", "/api/operations", "which operations conflict, and what becomes of them", false,
       [](Request, Respond respond) { respond(operations_json()); }},
      {"POST", "/api/page", "a link that opens the dashboard once", true,
       [d](Request, Respond respond) {
         respond(Json::object({{"dashboard", d->page_link()}}));
       }},
      {"POST", "/api/down", "stop the node", false,
       [d](Request, Respond respond) {
         respond(Json::object({{"state", "down"}}));
         d->stop();
       }},
  };
  for (api::Route& route : routes) {
    route.handler = [d, handler = std::move(route.handler)](Request request, Respond respond) {
      handler(std::move(request), d->when_saved(std::move(respond)));
    };
  }
  return routes;
}

}  // namespace lanrage::daemon
