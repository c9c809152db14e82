// What a person is told of a peer's paths.
#include <algorithm>

#include "base/format.h"
#include "paths/selector.h"
#include "paths/why.h"

namespace lanrage::paths {
namespace {

bool has_family(const std::vector<Candidate>& candidates, bool v4) {
  return std::any_of(candidates.begin(), candidates.end(),
                     [&](const Candidate& c) { return c.endpoint.address.is_v4() == v4; });
}

}  // namespace

const char* peer_state_name(PeerState state) {
  switch (state) {
    case PeerState::kConnecting:
      return "connecting";
    case PeerState::kConnected:
      return "connected";
    case PeerState::kUnreachable:
      return "unreachable";
  }
  return "unknown";
}

std::vector<Selector::PathInfo> Selector::paths() const {
  std::vector<PathInfo> all;
  for (const WatchedPath& entry : entries_) {
    PathInfo info;
    info.path = entry.path;
    if (!entry.path.relayed) info.kind = entry.kind;
    info.valid = entry.valid;
    info.selected = selected_ == entry.path;
    info.quality = entry.quality;
    if (entry.peer_rtt_us != 0) info.peer_rtt = std::chrono::microseconds(entry.peer_rtt_us);
    if (entry.peer_loss_percent != wire::kLossUnknown) info.peer_loss_percent = entry.peer_loss_percent;
    all.push_back(info);
  }
  return all;
}

std::optional<Selector::RelayHelp> Selector::relay_help(Time now) const {
  const WatchedPath* current = chosen();
  const WatchedPath* direct = best_direct(now, nullptr);
  if (current == nullptr || !current->valid || !current->path.relayed || direct == nullptr) return std::nullopt;
  if (direct->is_held(now) || prefers_direct(*direct, *current)) return std::nullopt;
  return RelayHelp{*direct->quality.rtt_ema(), *current->quality.rtt_ema()};
}

std::string Selector::why(Time now) const {
  if (is_direct()) return {};
  if (const auto help = relay_help(now)) {
    const double direct_loss = *best_direct(now, nullptr)->quality.loss_percent();
    return format(
        "the direct path is worse than the relay, {:.0f} ms and {:.0f} % lost against {:.0f} ms and {:.0f} %; "
        "nothing to do",
        milliseconds(help->direct), direct_loss, milliseconds(help->relayed), *chosen()->quality.loss_percent());
  }
  if (state_ == PeerState::kUnreachable) return why_unreachable();
  if (!remote_) return "waiting for the other side's addresses; nothing to do yet";
  if (now - probing_since_ < kConnectTime) return "still trying for a direct path; nothing to do yet";
  return why_not_direct();
}

std::string Selector::why_not_direct() const {
  if (!remote_ || (remote_->candidates.empty() && !remote_->udp_blocked && !local_.udp_blocked)) {
    return "the other side has not said where it can be reached; check that it is online";
  }
  const NetworkEnd here{has_family(local_candidates_, true),
                        has_family(local_candidates_, false),
                        local_.udp_blocked,
                        local_.mapping == Mapping::kDependent,
                        network_.ports == wire::PortChoice::kSequential,
                        network_.is_behind_nat,
                        network_.is_mapping_refused};
  const NetworkEnd there{has_family(remote_->candidates, true),
                         has_family(remote_->candidates, false),
                         remote_->udp_blocked,
                         remote_->mapping == Mapping::kDependent,
                         remote_->network.ports == wire::PortChoice::kSequential,
                         remote_->network.is_behind_nat,
                         remote_->network.is_mapping_refused};
  return explain(paths::why_not_direct(here, there), here, there, options_.local_port);
}

std::string Selector::why_unreachable() const {
  if (local_.udp_blocked) {
    return "this network blocks UDP, so no game traffic can leave it; use another network or have outgoing UDP allowed";
  }
  if (remote_ && remote_->udp_blocked) {
    return "the other side's network blocks UDP, so it can reach nobody; it needs another network or outgoing UDP "
           "allowed";
  }
  const auto is_relay = [](const WatchedPath& entry) { return entry.path.relayed; };
  if (std::none_of(entries_.begin(), entries_.end(), is_relay)) {
    return "no direct path answers and no relay can be reached; " +
           format("forward UDP port {} on the router here, or use a server with a public address", options_.local_port);
  }
  const bool is_absent = std::all_of(entries_.begin(), entries_.end(),
                                     [](const WatchedPath& entry) { return !entry.path.relayed || entry.absent; });
  if (is_absent) return "the other side is not connected to the relay; check that it is online";
  return "neither a direct path nor the relay brings an answer; check that the other side is online";
}

}  // namespace lanrage::paths
