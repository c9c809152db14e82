// Which relays a pair of members uses. Pure functions of what both ends measure to each relay and of what the server
// says of the relays; both ends, given the same, order them the same way.
//
// score = 0.7 x geometric mean of the two legs' scores (paths/quality.h) + 0.3 x the relay's health, all 0 to 100. A
// leg of 100 ms is worth no more than four points of it, so that scores within kNearPoints are as good as equal: among
// these the smaller expected round trip (the sum of both legs) counts, and among the quickest, within kSpreadMin or
// kSpreadShare, the pair's number, which deals the pairs of a party out over equal relays like cards. Chosen so one
// after the other: first, second, third, ...
//
// Roles: the first is primary, the second secondary; tertiary is the first of the rest in another region than the
// primary's, so that one provider's or country's trouble leaves a relay; without one the third. A relay of which one
// end knows nothing comes after those that both know, one that neither knows last.
//
// The relay in use stays first until another is better by kSwitchPoints, or as good and quicker by more than
// kSwitchMin and kSwitchShare.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/time.h"
#include "wire/relay.h"

namespace lanrage::paths {

inline constexpr double kNearPoints = 3;
inline constexpr double kSwitchPoints = 5;
inline constexpr double kSpreadShare = 0.03;
inline constexpr Duration kSpreadMin = std::chrono::milliseconds(2);
inline constexpr double kSwitchShare = 0.05;
inline constexpr Duration kSwitchMin = std::chrono::milliseconds(5);
inline constexpr double kFullHealth = 100;

// What one end measures to a relay.
struct RelayLeg {
  Duration rtt{};
  std::optional<Duration> jitter;
  double loss_percent = 0;
  double score() const;
  friend bool operator==(const RelayLeg&, const RelayLeg&) = default;
};

struct RelayOption {
  wire::RelayPeer id = 0;
  std::string region;           // empty: not known, which counts as one region
  double health = kFullHealth;  // 0 to 100
  std::optional<RelayLeg> ours, theirs;
};

enum class RelayRole : std::uint8_t { kNone, kPrimary, kSecondary, kTertiary };
const char* relay_role_name(RelayRole role);  // "none" included

struct RankedRelay {
  wire::RelayPeer id = 0;
  RelayRole role = RelayRole::kNone;
  double health = kFullHealth;
  std::optional<double> our_score, peer_score;  // of the legs
  std::optional<double> score;                  // when both are known
  std::optional<Duration> expected_rtt;         // likewise
};

// The number of the pair of a party's members who have these numbers, each below 2^31, the same from both ends. Members
// have small numbers, one after the other, and then so have their pairs; `first` is where those of the party begin.
std::uint64_t pair_of(std::uint64_t first, std::uint32_t a, std::uint32_t b);

// Best first. `pair` is its number, `current` the relay in use, if there is one.
std::vector<RankedRelay> rank_relays(std::span<const RelayOption> relays, std::uint64_t pair,
                                     std::optional<wire::RelayPeer> current);

}  // namespace lanrage::paths
