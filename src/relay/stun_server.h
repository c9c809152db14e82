// Answers STUN binding requests: tells a node how it looks from here and, when asked to, from another port or address
// of this server, by which a node learns what its NAT lets in (RFC 5780 section 4.4), or to another port of its own, by
// which it learns for how long (section 4.6).
//
// No answer is larger than its question and all go to the asker's address, so that forged sources gain nothing; those
// from or to another place than the question's, which a firewall of the victim would not expect, are limited in rate
// too.
// Pure; owned by one thread.
#pragma once

#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"
#include "base/time.h"

namespace lanrage::relay {

inline constexpr double kChangedAnswersPerSecond = 200;  // a node that looks at its network takes at most six
inline constexpr double kChangedAnswersBurst = 1000;     // a party of hundreds whose server came back

class StunServer {
 public:
  struct Options {
    std::uint16_t port = 0;
    std::uint16_t second_port = 0;       // 0: none
    std::vector<IpAddress> addresses{};  // that answers can come from, of either family
  };
  struct Answer {
    Endpoint from;  // an unspecified address: the one that the system chooses
    Endpoint to;
    std::size_t size = 0;
  };
  struct Stats {
    std::uint64_t answered = 0;
    std::uint64_t dropped = 0;       // no valid question, one smaller than its answer, or nothing to answer it from
    std::uint64_t dropped_rate = 0;  // changed answers
  };

  explicit StunServer(Options options);

  // Writes the answer to what came from `source` to our endpoint `local` at `out`, which holds
  // wire::kStunResponseBytesMax.
  std::optional<Answer> answer(Time now, const Endpoint& source, const Endpoint& local, ByteView question,
                               MutableBytes out);
  const Stats& stats() const { return stats_; }

 private:
  std::optional<IpAddress> other_address(const IpAddress& local) const;
  bool take(Time now);

  Options options_;
  double tokens_ = kChangedAnswersBurst;
  Time filled_{};
  Stats stats_;
};

}  // namespace lanrage::relay
