// Exactly once: which datagrams were here before.
//
// `OriginWindows` drops the second copy of an envelope by (origin, sequence), without any false positive.
// `RecentContent` remembers what was said for a few seconds, exactly and bounded, for two narrow questions that have no
// sequence number: did this come from our own delivery, and did the same program just say it on another card. Neither
// ever judges a program that repeats itself. State of the control thread; time is an argument.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <unordered_map>

#include "base/bytes.h"
#include "base/time.h"
#include "wire/lan.h"

namespace lanrage::lan {

// One sliding window of sequence numbers per origin, like WireGuard's replay filter.
class OriginWindows {
 public:
  static constexpr std::size_t kOriginsMax = 1024;           // the one silent longest gives way
  static constexpr std::size_t kWindow = 2048;               // sequence numbers behind the highest
  static constexpr std::uint64_t kRestartDistance = 65'536;  // further behind: the origin was started again

  enum class Verdict : std::uint8_t { kNew, kDuplicate, kTooOld };
  Verdict check(Time now, const wire::LanOrigin& origin, std::uint64_t sequence);
  std::size_t size() const { return origins_.size(); }

 private:
  struct Window {
    std::uint64_t highest = 0;
    std::bitset<kWindow> seen;  // by sequence modulo kWindow
    Time used{};
  };
  Window& window_of(Time now, const wire::LanOrigin& origin, std::uint64_t sequence);
  std::map<wire::LanOrigin, Window> origins_;
};

// SHA-256 over length-prefixed fields: who said it (address and port), to whom, and what.
using ContentHash = std::array<std::uint8_t, 32>;
ContentHash content_hash(ByteView source, ByteView destination, ByteView payload);

// An exact table of hashes in order of age.
class RecentContent {
 public:
  static constexpr std::size_t kEntriesMax = 16'384;  // then the oldest go first

  explicit RecentContent(Duration window) : window_(window) {}

  // The way (an interface, or whatever the caller numbers) by which this content came last within the window.
  std::optional<int> find(Time now, const ContentHash& hash);
  // Remembers the content, or renews it.
  void remember(Time now, const ContentHash& hash, int way);
  void expire(Time now);
  Time next_expiry() const;  // kNever when empty
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    int way = 0;
    Time seen{};
    std::uint64_t stamp = 0;
  };
  struct Aged {
    ContentHash hash;
    Time seen;
    std::uint64_t stamp;
  };
  struct First8 {
    std::size_t operator()(const ContentHash& hash) const { return load_le<std::uint64_t>(hash.data()); }
  };

  Duration window_;
  std::uint64_t stamp_ = 0;
  std::unordered_map<ContentHash, Entry, First8> entries_;
  std::deque<Aged> ages_;  // one per `remember`; stale ones are skipped by their stamp
};

}  // namespace lanrage::lan
