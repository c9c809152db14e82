#include "daemon/server_api.h"

#include "base/format.h"
#include "net/clock.h"
#include "observe/prometheus.h"
#include "wire/relay.h"

namespace lanrage::daemon {
namespace {

using wire::Json;

Json report_json(const wire::ReportRelay& report) {
  Json dropped = Json::object();
  for (const auto& drops : report.dropped) dropped.set(drops.reason, drops.packets);
  return Json::object({{"health", report.health},
                       {"load", report.load},
                       {"cpu_percent", report.cpu},
                       {"memory_percent", report.memory},
                       {"memory_bytes", report.memory_bytes},
                       {"sessions", report.sessions},
                       {"parties", report.parties},
                       {"packets_in", report.packets_in},
                       {"bytes_in", report.bytes_in},
                       {"packets_out", report.packets_out},
                       {"bytes_out", report.bytes_out},
                       {"packets_kernel", report.packets_kernel},
                       {"dropped", std::move(dropped)}});
}

Json relays_of(const control::Server& server) {
  return Json::list(server.relay_directory(), [](const control::RelayDirectory::Relay& relay) {
    const char* state = relay.connected ? "connected" : relay.info.addresses.empty() ? "away" : "lost";
    return Json::object(
        {{"id", format("{:016x}", wire::relay_peer(relay.info.key))},
         {"key", relay.info.key.base64()},
         {"region", relay.info.region.empty() ? Json() : Json(relay.info.region)},
         {"addresses", Json::list(relay.info.addresses, [](const Endpoint& e) { return Json(e.text()); })},
         {"state", state},
         {"report", relay.report ? report_json(*relay.report) : Json()}});
  });
}

// {"key", "action": "allow" or "remove"}
void change_relays(control::Server& server, const api::Request& request, const api::Respond& respond) {
  wire::JsonReader reader(request.body);
  const auto key = crypto::PublicKey::from_base64(reader.string("key", 64));
  const std::string action = reader.string("action", 16);
  if (auto read = reader.result(); !read) return respond(std::move(read).error());
  if (!key) return respond(Error{Code::kInvalid, "that is no relay's key", "`lanrage relay` prints it"});
  if (action != "allow" && action != "remove")
    return respond(Error{Code::kInvalid, "the action is allow or remove", {}});
  if (auto done = action == "allow" ? server.allow_relay(*key) : server.remove_relay(*key); !done)
    return respond(std::move(done).error());
  respond(Json::object({{"relays", relays_of(server)}}));
}

Json status_of(const control::Server& server, const Json& port_mapping, Time started) {
  const control::Server::Stats stats = server.stats();
  const relay::Server::Stats& relay = stats.udp.relay;
  Json relayed;
  if (server.relays()) {
    relayed = Json::object({{"sessions", stats.udp.sessions},
                            {"streams", stats.http.streams_open},
                            {"packets", relay.packets_forwarded + relay.frames_forwarded},
                            {"bytes", relay.bytes_forwarded},
                            {"report", stats.report ? report_json(*stats.report) : Json()}});
  }
  const auto uptime = std::chrono::duration_cast<std::chrono::seconds>(net::now().time - started);
  return Json::object(
      {{"version", LANRAGE_VERSION},
       {"uptime_s", uptime.count()},
       {"link", server.link()},
       {"addresses", Json::list(server.listening(), [](const Endpoint& e) { return Json(e.text()); })},
       {"port_mapping", port_mapping},
       {"parties", stats.store.parties},
       {"members", stats.store.members},
       {"clients", stats.service.streams},
       {"connections", stats.http.connections_open},
       {"requests", Json::object({{"served", stats.service.requests},
                                  {"refused", stats.service.refused},
                                  {"limited", stats.service.limited}})},
       {"address_discoveries", stats.udp.stun.answered},
       {"relay", relayed},
       {"relays", relays_of(server)},
       {"store", Json::object({{"kind", stats.store_kind},
                               {"bytes", stats.store.bytes},
                               {"requests", stats.writing.requests},
                               {"transactions", stats.writing.transactions},
                               {"syncs", stats.writing.counts_files ? Json(stats.writing.syncs) : Json()},
                               {"written_bytes", stats.writing.counts_files ? Json(stats.writing.bytes) : Json()},
                               {"problem", stats.writing.problem.empty() ? Json() : Json(stats.writing.problem)}})},
       {"bus", stats.bus_kind == nullptr
                   ? Json()
                   : Json::object({{"kind", stats.bus_kind},
                                   {"servers", stats.service.servers},
                                   {"decided_again", stats.service.decided_again},
                                   {"problem", stats.bus_problem.empty() ? Json() : Json(stats.bus_problem)}})}});
}

using Reports = std::vector<std::pair<std::string, wire::ReportRelay>>;  // by the relay's id

// One series per relay, and per reason where it dropped something.
void relay_metrics(observe::MetricsText& out, const Reports& reports) {
  using Field = std::uint64_t (*)(const wire::ReportRelay&);
  const auto each = [&](bool grows, std::string_view name, std::string_view help, Field field) {
    for (const auto& [id, report] : reports) {
      if (grows) out.counter(name, help, field(report), {{"relay", id}});
      if (!grows) out.gauge(name, help, static_cast<double>(field(report)), {{"relay", id}});
    }
  };
  using R = const wire::ReportRelay&;
  each(false, "lanrage_relay_health", "How well it would serve one more, 0 to 100.",
       [](R r) -> std::uint64_t { return r.health; });
  each(false, "lanrage_relay_load", "How much of what it can do it does, 0 to 100.",
       [](R r) -> std::uint64_t { return r.load; });
  each(false, "lanrage_relay_cpu_percent", "CPU of its machine in use.", [](R r) -> std::uint64_t { return r.cpu; });
  each(false, "lanrage_relay_memory_bytes", "Memory that its process uses.", [](R r) { return r.memory_bytes; });
  each(false, "lanrage_relay_sessions", "Members registered.", [](R r) { return r.sessions; });
  each(false, "lanrage_relay_parties", "Parties with members registered.", [](R r) { return r.parties; });
  each(true, "lanrage_relay_packets_in_total", "Datagrams that came.", [](R r) { return r.packets_in; });
  each(true, "lanrage_relay_bytes_in_total", "Their bytes.", [](R r) { return r.bytes_in; });
  each(true, "lanrage_relay_packets_out_total", "Datagrams passed on.", [](R r) { return r.packets_out; });
  each(true, "lanrage_relay_packets_kernel_total", "Of those passed on, by the kernel.",
       [](R r) { return r.packets_kernel; });
  each(true, "lanrage_relay_bytes_out_total", "Their bytes.", [](R r) { return r.bytes_out; });
  for (const auto& [id, report] : reports) {
    for (const auto& drops : report.dropped)
      out.counter("lanrage_relay_dropped_total", "Datagrams dropped.", drops.packets,
                  {{"relay", id}, {"reason", drops.reason}});
  }
}

std::string metrics_of(const control::Server& server, const Logger& log) {
  const control::Server::Stats stats = server.stats();
  observe::MetricsText out;
  out.gauge("lanrage_server_parties", "Parties kept.", static_cast<double>(stats.store.parties));
  out.gauge("lanrage_server_clients", "Members whose event stream is open.",
            static_cast<double>(stats.service.streams));
  out.counter("lanrage_server_requests_total", "Requests served.", stats.service.requests);
  const store::StoreStats& writing = stats.writing;
  out.counter("lanrage_store_requests_total", "Changes of parties that somebody waited for.", writing.requests);
  out.counter("lanrage_store_refused_total", "Of them answered with an error.", writing.refused);
  out.counter("lanrage_store_changes_total", "Rows that those were about.", writing.changes);
  out.counter("lanrage_store_superseded_total", "Of them never written: a later one was written with them.",
              writing.superseded);
  out.counter("lanrage_store_saved_bytes_total", "Which those held.", writing.superseded_bytes);
  out.counter("lanrage_store_transactions_total", "Transactions that hold the changes.", writing.transactions);
  if (writing.counts_files) {
    out.counter("lanrage_store_writes_total", "Writes to the database's files.", writing.writes);
    out.counter("lanrage_store_written_bytes_total", "Their bytes.", writing.bytes);
    out.counter("lanrage_store_syncs_total", "Syncs of the database's files.", writing.syncs);
  }
  out.gauge("lanrage_store_failing", "1 while changes cannot be stored.", writing.problem.empty() ? 0 : 1);
  Reports reports;
  if (stats.report) reports.emplace_back("own", *stats.report);
  for (const control::RelayDirectory::Relay& relay : server.relay_directory()) {
    if (relay.report) reports.emplace_back(format("{:016x}", wire::relay_peer(relay.info.key)), *relay.report);
  }
  relay_metrics(out, reports);
  out.timings(log.log().timings());
  return out.text();
}

}  // namespace

Result<std::unique_ptr<api::Api>> open_server_api(control::Server& server, const std::string& socket,
                                                  std::function<Json()> port_mapping, Rng& rng, const Logger& log) {
  api::Options options;
  options.socket = socket;
  options.with_page = false;
  options.post = [](const std::function<void()>& task) { task(); };  // on the API's own thread, which may wait
  options.metrics = [&server, log] { return metrics_of(server, log); };
  const Time started = net::now().time;
  return api::Api::start(
      std::move(options),
      {{"GET", "/api/server", "how the server is", false,
        [&server, port_mapping = std::move(port_mapping), started](api::Request, const api::Respond& respond) {
          respond(status_of(server, port_mapping(), started));
        }},
       {"GET", "/api/relays", "the relays that are allowed", false,
        [&server](api::Request, const api::Respond& respond) {
          respond(Json::object({{"relays", relays_of(server)}}));
        }},
       {"POST",
        "/api/relays",
        "allow or remove a relay",
        false,
        [&server](api::Request request, const api::Respond& respond) { change_relays(server, request, respond); },
        {{"key", api::Field::kText, true, "the relay's"}, {"action", api::Field::kText, true, "allow or remove"}}}},
      rng, log);
}

}  // namespace lanrage::daemon
