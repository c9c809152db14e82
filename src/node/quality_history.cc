#include "node/quality_history.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "base/format.h"

namespace lanrage::node {
namespace {

using paths::Aggregate;
using std::chrono::microseconds;

constexpr std::int64_t kNumberMax = 1'000'000'000'000'000;  // in microseconds: thirty years
constexpr std::int64_t kCountMax = 1'000'000'000;

std::int64_t in_us(Duration d) { return std::chrono::duration_cast<microseconds>(d).count(); }

// hour answered lost rtt_sum rtt_min rtt_max difference_sum differences up known rate full; times in microseconds,
// rates in kbit/s.
using Numbers = std::array<std::int64_t, 12>;

Numbers numbers_of(const QualityHistory::Hour& hour) {
  const Aggregate& m = hour.measured;
  return {hour.begins,
          m.answered,
          std::max(m.lost, 0),
          in_us(m.rtt_sum),
          m.answered > 0 ? in_us(m.rtt_min) : 0,
          in_us(m.rtt_max),
          in_us(m.difference_sum),
          m.differences,
          in_us(m.up),
          in_us(m.known),
          m.rate_kbps,
          m.full_kbps};
}

std::optional<QualityHistory::Hour> hour_of(const Numbers& n) {
  for (const std::size_t count : {1, 2, 7, 10, 11})
    if (n[count] > kCountMax) return std::nullopt;
  if (n[8] > n[9]) return std::nullopt;
  QualityHistory::Hour hour{n[0], {}};
  Aggregate& m = hour.measured;
  m.answered = static_cast<std::int32_t>(n[1]);
  m.lost = static_cast<std::int32_t>(n[2]);
  m.rtt_sum = microseconds(n[3]);
  if (m.answered > 0) m.rtt_min = microseconds(n[4]);
  m.rtt_max = microseconds(n[5]);
  m.difference_sum = microseconds(n[6]);
  m.differences = static_cast<std::int32_t>(n[7]);
  m.up = microseconds(n[8]);
  m.known = microseconds(n[9]);
  m.rate_kbps = static_cast<std::int32_t>(n[10]);
  m.full_kbps = static_cast<std::int32_t>(n[11]);
  return hour;
}

std::string_view take_word(std::string_view& line) {
  const std::size_t end = std::min(line.find(' '), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(std::min(end + 1, line.size()));
  return word;
}

}  // namespace

void QualityHistory::add(WallTime now, const crypto::PublicKey& peer, const Aggregate& change) {
  row(peer, std::chrono::floor<std::chrono::hours>(now.time_since_epoch()).count()).add(change);
}

const std::vector<QualityHistory::Hour>& QualityHistory::hours(const crypto::PublicKey& peer) const {
  static const std::vector<Hour> kNone;
  const auto found = peers_.find(peer);
  return found == peers_.end() ? kNone : found->second;
}

Aggregate& QualityHistory::row(const crypto::PublicKey& peer, std::int64_t hour) {
  const auto at = [&] {
    std::vector<Hour>& hours = peers_[peer];
    return std::lower_bound(hours.begin(), hours.end(), hour,
                            [](const Hour& row, std::int64_t wanted) { return row.begins < wanted; });
  };
  if (const auto known = at(); known != peers_[peer].end() && known->begins == hour) return known->measured;
  if (peers_[peer].size() == kHoursMax) {
    peers_[peer].erase(peers_[peer].begin());
    --rows_;
  }
  if (rows_ == kRowsMax) drop_oldest();
  ++rows_;
  return peers_[peer].insert(at(), {hour, {}})->measured;
}

void QualityHistory::drop_oldest() {
  auto oldest = peers_.end();
  for (auto it = peers_.begin(); it != peers_.end(); ++it) {
    if (it->second.empty()) continue;
    if (oldest == peers_.end() || it->second.front().begins < oldest->second.front().begins) oldest = it;
  }
  oldest->second.erase(oldest->second.begin());
  if (oldest->second.empty()) peers_.erase(oldest);
  --rows_;
}

std::string QualityHistory::text() const {
  std::string out;
  for (const auto& [peer, hours] : peers_) {
    for (const Hour& hour : hours) {
      out += peer.base64();
      for (const std::int64_t number : numbers_of(hour)) out += format(" {}", number);
      out += '\n';
    }
  }
  return out;
}

void QualityHistory::restore(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto peer = crypto::PublicKey::from_base64(take_word(line));
    Numbers numbers{};
    bool good = peer.has_value();
    for (std::int64_t& number : numbers) {
      const std::string_view word = take_word(line);
      const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), number);
      good = good && error == std::errc() && stop == word.data() + word.size() && number >= 0 && number <= kNumberMax;
    }
    const auto hour = good && line.empty() ? hour_of(numbers) : std::nullopt;
    if (!hour) continue;
    Aggregate& known = row(*peer, hour->begins);
    if (known.answered == 0 && known.lost == 0 && known.known == Duration::zero()) known = hour->measured;
  }
}

}  // namespace lanrage::node
