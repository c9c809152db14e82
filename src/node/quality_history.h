// What was measured of each member, by the hour: what the node keeps over restarts (docs/quality.md). A value, pure.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "crypto/keys.h"
#include "paths/quality.h"

namespace lanrage::node {

class QualityHistory {
 public:
  static constexpr std::size_t kHoursMax = 7 * 24;  // of one member; the oldest goes first
  static constexpr std::size_t kRowsMax = 4096;     // of all; likewise

  struct Hour {
    std::int64_t begins = 0;  // hours since 1970-01-01T00:00Z
    paths::Aggregate measured;
  };

  void add(WallTime now, const crypto::PublicKey& peer, const paths::Aggregate& change);
  // Oldest first.
  const std::vector<Hour>& hours(const crypto::PublicKey& peer) const;
  void clear() { peers_.clear(), rows_ = 0; }

  // One line an hour. What text() made comes back by restore; lines that mean nothing, or name an hour twice, are
  // skipped.
  std::string text() const;
  void restore(std::string_view text);

 private:
  // The hour's row, made if need be; the oldest ones make room.
  paths::Aggregate& row(const crypto::PublicKey& peer, std::int64_t hour);
  void drop_oldest();
  std::map<crypto::PublicKey, std::vector<Hour>> peers_;  // none of them empty
  std::size_t rows_ = 0;
};

}  // namespace lanrage::node
