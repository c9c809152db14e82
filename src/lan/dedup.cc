#include "lan/dedup.h"

#include <algorithm>

#include "crypto/hash.h"

namespace lanrage::lan {

OriginWindows::Window& OriginWindows::window_of(Time now, const wire::LanOrigin& origin, std::uint64_t sequence) {
  if (const auto found = origins_.find(origin); found != origins_.end()) return found->second;
  if (origins_.size() >= kOriginsMax) {
    const auto silent = std::min_element(origins_.begin(), origins_.end(),
                                         [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
    origins_.erase(silent);
  }
  Window& window = origins_[origin];
  window.highest = sequence;
  window.used = now;
  return window;
}

OriginWindows::Verdict OriginWindows::check(Time now, const wire::LanOrigin& origin, std::uint64_t sequence) {
  Window& window = window_of(now, origin, sequence);
  window.used = now;
  if (sequence > window.highest) {
    const std::uint64_t ahead = sequence - window.highest;
    if (ahead >= kWindow)
      window.seen.reset();
    else
      for (std::uint64_t s = window.highest + 1; s != sequence; ++s) window.seen.reset(s % kWindow);
    window.highest = sequence;
  } else {
    const std::uint64_t behind = window.highest - sequence;
    if (behind > kRestartDistance) {
      window.seen.reset();
      window.highest = sequence;
    } else if (behind >= kWindow) {
      return Verdict::kTooOld;
    } else if (window.seen.test(sequence % kWindow)) {
      return Verdict::kDuplicate;
    }
  }
  window.seen.set(sequence % kWindow);
  return Verdict::kNew;
}

ContentHash content_hash(ByteView source, ByteView destination, ByteView payload) {
  // Lengths first: without them two different splits of the same bytes would be one content.
  std::array<std::uint8_t, 12> lengths{};
  store_be(lengths.data(), static_cast<std::uint32_t>(source.size()));
  store_be(lengths.data() + 4, static_cast<std::uint32_t>(destination.size()));
  store_be(lengths.data() + 8, static_cast<std::uint32_t>(payload.size()));
  return crypto::sha256({lengths, source, destination, payload});
}

std::optional<int> RecentContent::find(Time now, const ContentHash& hash) {
  expire(now);
  const auto found = entries_.find(hash);
  if (found == entries_.end()) return std::nullopt;
  return found->second.way;
}

void RecentContent::remember(Time now, const ContentHash& hash, int way) {
  entries_[hash] = Entry{way, now, ++stamp_};
  ages_.push_back(Aged{hash, now, stamp_});
  while (ages_.size() > kEntriesMax) {
    const Aged& oldest = ages_.front();
    const auto found = entries_.find(oldest.hash);
    if (found != entries_.end() && found->second.stamp == oldest.stamp) entries_.erase(found);
    ages_.pop_front();
  }
}

void RecentContent::expire(Time now) {
  while (!ages_.empty() && ages_.front().seen + window_ <= now) {
    const Aged& oldest = ages_.front();
    const auto found = entries_.find(oldest.hash);
    if (found != entries_.end() && found->second.stamp == oldest.stamp) entries_.erase(found);
    ages_.pop_front();
  }
}

Time RecentContent::next_expiry() const { return ages_.empty() ? kNever : ages_.front().seen + window_; }

}  // namespace lanrage::lan
