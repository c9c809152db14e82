#include "paths/relay_choice.h"

#include <algorithm>
#include <cmath>

#include "base/bytes.h"
#include "paths/quality.h"

namespace lanrage::paths {
namespace {

constexpr double kLegsWeight = 0.7, kHealthWeight = 0.3;

Duration share(Duration d, double factor) {
  return Duration(static_cast<Duration::rep>(static_cast<double>(d.count()) * factor));
}

// One relay as it is compared. `score` and `rtt` are those of the legs that are known.
struct Candidate {
  const RelayOption* option;
  int legs;  // known
  double score;
  Duration rtt;
};

// SplitMix64 (Vigna): neighbouring inputs share nothing.
std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

double combined(double first, double second, double health) {
  return kLegsWeight * std::sqrt(first * second) + kHealthWeight * health;
}

Candidate candidate_of(const RelayOption& option) {
  Candidate out{&option, 0, kHealthWeight * option.health, Duration::zero()};
  const auto& known = option.ours ? option.ours : option.theirs;
  if (!known) return out;
  const auto& other = option.theirs ? option.theirs : option.ours;
  out.legs = (option.ours ? 1 : 0) + (option.theirs ? 1 : 0);
  out.score = combined(known->score(), other->score(), option.health);
  out.rtt = known->rtt + other->rtt;
  return out;
}

// Whether the relay in use may stay although `score` and `rtt` are to be had.
bool may_stay(const Candidate& current, double score, Duration rtt) {
  return current.score + kSwitchPoints >= score && current.rtt <= rtt + std::max(kSwitchMin, share(rtt, kSwitchShare));
}

// The position of the best one in what is left, which is not empty.
std::size_t best_of(std::span<const Candidate> left, std::uint64_t pair, std::optional<wire::RelayPeer> current) {
  int legs = 0;
  for (const Candidate& one : left) legs = std::max(legs, one.legs);
  double score = 0;
  for (const Candidate& one : left) {
    if (one.legs == legs) score = std::max(score, one.score);
  }
  const auto is_near = [&](const Candidate& one) { return one.legs == legs && one.score + kNearPoints >= score; };
  Duration rtt = Duration::max();
  for (const Candidate& one : left) {
    if (is_near(one)) rtt = std::min(rtt, one.rtt);
  }
  const Duration limit = rtt + std::max(kSpreadMin, share(rtt, kSpreadShare));
  std::vector<std::size_t> equals;
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (left[i].option->id == current && left[i].legs == legs && may_stay(left[i], score, rtt)) return i;
    if (is_near(left[i]) && left[i].rtt <= limit) equals.push_back(i);
  }
  return equals[pair % equals.size()];
}

RankedRelay ranked(const Candidate& candidate) {
  const RelayOption& option = *candidate.option;
  RankedRelay out;
  out.id = option.id;
  out.health = option.health;
  if (option.ours) out.our_score = option.ours->score();
  if (option.theirs) out.peer_score = option.theirs->score();
  if (candidate.legs == 2) {
    out.score = candidate.score;
    out.expected_rtt = candidate.rtt;
  }
  return out;
}

}  // namespace

double RelayLeg::score() const { return score_of({rtt, jitter, loss_percent, {}, {}}).value_or(0); }

const char* relay_role_name(RelayRole role) {
  switch (role) {
    case RelayRole::kNone:
      return "none";
    case RelayRole::kPrimary:
      return "primary";
    case RelayRole::kSecondary:
      return "secondary";
    case RelayRole::kTertiary:
      return "tertiary";
  }
  return "unknown";
}

std::uint64_t pair_of(std::uint64_t first, std::uint32_t a, std::uint32_t b) {
  const std::uint64_t high = std::max(a, b), low = std::min(a, b);
  return first + high * (high - 1) / 2 + low;
}

std::vector<RankedRelay> rank_relays(std::span<const RelayOption> relays, std::uint64_t pair,
                                     std::optional<wire::RelayPeer> current) {
  std::vector<Candidate> left;
  for (const RelayOption& relay : relays) left.push_back(candidate_of(relay));
  // So that both ends count equal ones in the same order, which is no relay's merit.
  std::sort(left.begin(), left.end(),
            [](const Candidate& a, const Candidate& b) { return mix(a.option->id) < mix(b.option->id); });
  std::vector<Candidate> order;
  while (!left.empty()) {
    const auto best =
        left.begin() + static_cast<std::ptrdiff_t>(best_of(left, pair, order.empty() ? current : std::nullopt));
    order.push_back(*best);
    left.erase(best);
  }
  std::vector<RankedRelay> out;
  for (const Candidate& one : order) out.push_back(ranked(one));
  const auto usable = static_cast<std::size_t>(
      std::count_if(order.begin(), order.end(), [](const Candidate& one) { return one.legs > 0; }));
  if (usable > 0) out[0].role = RelayRole::kPrimary;
  if (usable > 1) out[1].role = RelayRole::kSecondary;
  if (usable > 2) {
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(usable);
    const auto elsewhere = std::find_if(
        order.begin() + 2, end, [&](const Candidate& one) { return one.option->region != order[0].option->region; });
    out[elsewhere == end ? 2 : static_cast<std::size_t>(elsewhere - order.begin())].role = RelayRole::kTertiary;
  }
  return out;
}

}  // namespace lanrage::paths
