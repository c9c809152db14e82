// How good the ways to members, relays and the server are, as the local API says it (docs/quality.md).
#include "base/format.h"
#include "daemon/node_daemon.h"

namespace lanrage::daemon {
namespace {

using wire::Json;

std::string utc_hour(std::int64_t hours) {
  const std::time_t time = hours * 3600;
  std::tm parts{};
  gmtime_r(&time, &parts);
  return format("{:04}-{:02}-{:02}T{:02}:00:00Z", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour);
}

Json in_ms(std::optional<Duration> duration) { return duration ? Json(milliseconds(*duration)) : Json(); }
Json grade_json(std::optional<char> grade) { return grade ? Json(std::string(1, *grade)) : Json(); }

void set_bandwidth(Json& out, const std::optional<paths::Bandwidth>& bandwidth) {
  out.set("bandwidth_mbps", bandwidth ? Json(bandwidth->mbps) : Json());
  out.set("bandwidth_is", bandwidth ? Json(bandwidth->full ? "measured" : "at_least") : Json());
}

// What was measured in a span of time.
Json span_json(const paths::Aggregate& span) {
  const paths::Parts parts = span.parts();
  const auto score = paths::score_of(parts);
  Json out = Json::object({{"probes", span.answered + span.lost},
                           {"rtt_ms", in_ms(parts.rtt)},
                           {"rtt_max_ms", span.answered > 0 ? Json(milliseconds(span.rtt_max)) : Json()},
                           {"jitter_ms", in_ms(parts.jitter)},
                           {"loss_percent", parts.loss_percent},
                           {"stability_percent", parts.stability_percent},
                           {"score", score},
                           {"grade", score ? grade_json(paths::grade_of(*score, *parts.loss_percent)) : Json()}});
  set_bandwidth(out, parts.bandwidth);
  return out;
}

Json hours_json(const std::vector<node::QualityHistory::Hour>& hours) {
  return Json::list(hours, [](const node::QualityHistory::Hour& hour) {
    Json row = span_json(hour.measured);
    return row.set("hour", utc_hour(hour.begins));
  });
}

Json weights_json() {
  return Json::object({{"latency", paths::kWeights.latency},
                       {"jitter", paths::kWeights.jitter},
                       {"loss", paths::kWeights.loss},
                       {"bandwidth", paths::kWeights.bandwidth},
                       {"stability", paths::kWeights.stability}});
}

}  // namespace

Json quality_json(const node::QualityStatus& quality) {
  Json out = Json::object({{"score", quality.score},
                           {"grade", grade_json(quality.grade)},
                           {"trend", quality.trend},
                           {"rtt_ms", quality.rtt_ms},
                           {"rtt_ema_ms", quality.rtt_ema_ms},
                           {"jitter_ms", quality.jitter_ms},
                           {"loss_percent", quality.loss_percent},
                           {"stability_percent", quality.stability_percent},
                           {"stability_hour_percent", quality.stability_hour_percent}});
  set_bandwidth(out, quality.bandwidth);
  return out;
}

Result<Json> NodeDaemon::qualities(const std::string& name) const {
  Json peers = Json::array();
  bool found = name.empty();
  for (const node::PeerStatus& peer : node_->status(now_).peers) {
    if (!name.empty() && peer.name != name) continue;
    found = true;
    Json one =
        Json::object({{"name", peer.name}, {"public_key", peer.public_key}, {"quality", quality_json(peer.quality)}});
    const auto key = crypto::PublicKey::from_base64(peer.public_key);
    const paths::Quality* quality = key ? node_->quality(*key) : nullptr;
    one.set("recent_ms", quality == nullptr ? Json::array()
                                            : Json::list(quality->recent(), [](Duration rtt) { return in_ms(rtt); }));
    one.set("pings_ms", quality == nullptr
                            ? Json::array()
                            : Json::list(quality->pings(), [](std::optional<Duration> rtt) { return in_ms(rtt); }));
    one.set("five_minutes", quality == nullptr ? Json() : span_json(quality->five_minutes()));
    one.set("hours", key ? hours_json(node_->quality_hours(*key)) : Json::array());
    peers.push(std::move(one));
  }
  if (!found) return Error{Code::kNotFound, "no other player has that name", "`lanrage peers` lists them"};
  return Json::object({{"weights", weights_json()}, {"peers", peers}});
}

// One event for all that was measured in the last moment.
void NodeDaemon::publish_quality() {
  const node::Node::Measured measured = node_->measured();
  if (!api_ || !api_->is_watched()) return;
  Json event = Json::object({{"event", "quality"}, {"version", ++quality_version_}});
  event.set("peers", Json::list(measured.peers, [](const node::Node::Measured::Peer& peer) {
              return Json::object(
                  {{"name", peer.name}, {"public_key", peer.public_key}, {"quality", quality_json(peer.quality)}});
            }));
  if (measured.relays)
    event.set("relays", Json::list(node_->relays(), [](const node::RelayStatus& relay) {
                return Json::object({{"id", relay.id}, {"quality", quality_json(relay.quality)}});
              }));
  if (const auto status = measured.server ? node_->status(now_).server : std::nullopt)
    event.set("server", Json::object({{"quality", quality_json(status->quality)}}));
  api_->publish(event);
}

}  // namespace lanrage::daemon
