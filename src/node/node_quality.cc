// What is measured of the ways to members, relays and the server, who is told, and what is kept of it.
#include <utility>

#include "node/node.h"

namespace lanrage::node {
namespace {

std::optional<double> in_ms(std::optional<Duration> duration) {
  return duration ? std::optional<double>(milliseconds(*duration)) : std::nullopt;
}

}  // namespace

QualityStatus status_of(const paths::Quality& quality) {
  const paths::Parts parts = quality.parts();
  QualityStatus out;
  out.rtt_ms = in_ms(quality.rtt_last());
  out.rtt_ema_ms = in_ms(parts.rtt);
  out.jitter_ms = in_ms(parts.jitter);
  out.loss_percent = parts.loss_percent;
  out.bandwidth = parts.bandwidth;
  out.stability_percent = parts.stability_percent;
  out.stability_hour_percent = quality.hour().parts().stability_percent;
  out.score = quality.score();
  out.grade = quality.grade();
  if (const auto trend = quality.trend()) out.trend = paths::trend_name(*trend);
  return out;
}

QualityStatus Node::quality_of(const Link& link) {
  QualityStatus out;
  if (const paths::Quality* quality = link.selector->quality()) out = node::status_of(*quality);
  if (link.selector->state() == paths::PeerState::kUnreachable) {
    out.score = 0;
    out.grade = 'F';
    out.trend.reset();
  }
  return out;
}

void Node::pump_quality(Now now) {
  bool any = false;
  for (auto& [key, link] : links_) {
    const auto change = link->selector->take_measured();
    if (!change) continue;
    any = true;
    note_measured(now, *link, *change);
  }
  if (relays_.take_measured()) any = relays_measured_ = true;
  if (server_measured_) any = true;
  if (any) quality_due_ = std::min(quality_due_, std::max(now.time, quality_told_ + kQualityGap));
  if (quality_due_ > now.time) return;
  quality_due_ = kNever;
  quality_told_ = now.time;
  event(QualityChanged{});
}

void Node::note_measured(Now now, Link& link, const paths::Aggregate& change) {
  history_.add(now.wall, link.key, change);
  history_due_ = std::min(history_due_, now.time + kHistorySaved);
  link.newly_measured = true;
  const paths::Quality* quality = link.selector->quality();
  const auto score = quality == nullptr ? std::nullopt : quality->score();
  if (!score || change.answered <= 0) return;
  const ContextScope scope("peer_id", link.key.base64());
  if (!std::exchange(link.measuring, true)) paths_log_.info("measuring the connection quality");
  paths_log_.timed(op::kMeasureConnectionQuality, *quality->rtt_last());
  paths_log_.debug("connection quality", {{"score", *score},
                                          {"grade", std::string(1, *quality->grade())},
                                          {"latency_ms", milliseconds(*quality->rtt_ema())}});
}

void Node::handle_server_measured(Now now, Time sent, std::optional<Duration> rtt) {
  if (!server_) return;
  if (rtt)
    server_quality_.record_answer(sent, *rtt);
  else
    server_quality_.record_loss(sent);
  server_measured_ = true;
  pump(now);
}

Node::Measured Node::measured() {
  Measured out;
  out.relays = std::exchange(relays_measured_, false);
  out.server = std::exchange(server_measured_, false);
  for (auto& [key, link] : links_) {
    const party::Member* member = roster_ ? roster_->find(key) : nullptr;
    if (!std::exchange(link->newly_measured, false) || member == nullptr) continue;
    out.peers.push_back({member->name, key.base64(), quality_of(*link)});
  }
  return out;
}

const paths::Quality* Node::quality(const crypto::PublicKey& peer) const {
  const auto found = links_.find(peer);
  return found == links_.end() ? nullptr : found->second->selector->quality();
}

}  // namespace lanrage::node
