#include "paths/candidates.h"

#include <algorithm>

namespace lanrage::paths {
namespace {

// Smaller is tried first.
int rank(const Candidate& candidate) {
  return static_cast<int>(candidate.kind) * 2 + (candidate.endpoint.address.is_v6() ? 0 : 1);
}

void offer(std::vector<Candidate>& found, const Candidate& candidate, const CandidateSources& sources) {
  if (!is_probeable(candidate.endpoint, sources.allow_loopback)) return;
  const auto inside = [&](const IpPrefix& party) { return party.contains(candidate.endpoint.address); };
  if (std::any_of(sources.party_prefixes.begin(), sources.party_prefixes.end(), inside)) return;
  const auto same = std::find_if(found.begin(), found.end(),
                                 [&](const Candidate& known) { return known.endpoint == candidate.endpoint; });
  if (same == found.end()) found.push_back(candidate);
}

}  // namespace

bool is_probeable(const Endpoint& endpoint, bool allow_loopback) {
  const IpAddress& address = endpoint.address;
  if (endpoint.port == 0 || address.is_unspecified() || address.is_multicast() || address.is_limited_broadcast()) {
    return false;
  }
  if (address.is_loopback()) return allow_loopback;
  return !(address.is_v6() && address.is_link_local());
}

std::vector<Candidate> gather_candidates(const CandidateSources& sources) {
  std::vector<Candidate> found;
  for (const InterfaceAddress& interface : sources.interfaces) {
    if (interface.is_ours) continue;
    offer(found, {CandidateKind::kHost, {interface.prefix.address, sources.port}}, sources);
  }
  for (const Endpoint& endpoint : sources.mapped) offer(found, {CandidateKind::kMapped, endpoint}, sources);
  for (const Endpoint& endpoint : sources.server_reflexive) {
    offer(found, {CandidateKind::kServerReflexive, endpoint}, sources);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Candidate& a, const Candidate& b) { return rank(a) < rank(b); });
  if (found.size() > wire::kCandidatesMax) {
    // A machine with very many addresses: what others see of it counts for more than its last host addresses.
    const auto reflexive =
        std::find_if(found.begin(), found.end(), [](const Candidate& c) { return c.kind != CandidateKind::kHost; });
    const std::size_t excess = found.size() - wire::kCandidatesMax;
    const std::size_t hosts = static_cast<std::size_t>(reflexive - found.begin());
    const std::size_t cut = std::min(excess, hosts);
    found.erase(reflexive - static_cast<std::ptrdiff_t>(cut), reflexive);
    if (found.size() > wire::kCandidatesMax) found.resize(wire::kCandidatesMax);
  }
  return found;
}

}  // namespace lanrage::paths
