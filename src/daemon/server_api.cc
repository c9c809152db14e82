#include "daemon/server_api.h"

#include "net/clock.h"

namespace lanrage::daemon {
namespace {

using wire::Json;

Json status_of(const control::Server& server, Time started) {
  const control::Server::Stats stats = server.stats();
  const relay::Server::Stats& relay = stats.udp.relay;
  Json relayed;
  if (server.relays()) {
    relayed = Json::object({{"sessions", stats.udp.sessions},
                            {"packets", relay.packets_forwarded + relay.frames_forwarded},
                            {"bytes", relay.bytes_forwarded}});
  }
  const auto uptime = std::chrono::duration_cast<std::chrono::seconds>(net::now().time - started);
  return Json::object({{"version", LANRAGE_VERSION},
                       {"uptime_s", uptime.count()},
                       {"link", server.link()},
                       {"addresses", Json::list(server.listening(), [](const Endpoint& e) { return Json(e.text()); })},
                       {"parties", stats.store.parties},
                       {"members", stats.store.members},
                       {"clients", stats.service.streams},
                       {"tokens", stats.service.sessions},
                       {"connections", stats.http.connections_open},
                       {"requests", Json::object({{"served", stats.service.requests},
                                                  {"refused", stats.service.refused},
                                                  {"limited", stats.service.limited}})},
                       {"address_discoveries", stats.udp.stun.answered},
                       {"relay", relayed},
                       {"store", Json::object({{"kind", stats.store_kind}, {"bytes", stats.store.bytes}})}});
}

}  // namespace

Result<std::unique_ptr<api::Api>> open_server_api(const control::Server& server, const std::string& socket, Rng& rng,
                                                  const Logger& log) {
  api::Options options;
  options.socket = socket;
  options.with_page = false;
  options.post = [](const std::function<void()>& task) { task(); };  // on the API's own thread, which may wait
  const Time started = net::now().time;
  return api::Api::start(
      std::move(options),
      {{"GET", "/api/server", "how the server is", false,
        [&server, started](api::Request, const api::Respond& respond) { respond(status_of(server, started)); }}},
      rng, log);
}

}  // namespace lanrage::daemon
