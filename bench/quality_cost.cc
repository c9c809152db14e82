// What it costs to know how good the ways are: no network, peers made of values, virtual time at the real probe rates.
//
//   quality_cost [PEERS [SECONDS [RELAYS]]]          by default 100, 60 and 50
//
// A game plays with all PEERS for SECONDS; their round trips are 20 to 120 ms with 10 % of noise, and 1 % of pings is
// lost. CPU is what the selectors take in all; an update is a pong taken in until score, grade and all the rest of
// QualityStatus are there. A choice is the order of RELAYS for one pair. Answers one line of JSON.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "node/status.h"
#include "paths/relay_choice.h"
#include "paths/selector.h"
#include "wire/json.h"

using namespace lanrage;
using namespace std::chrono_literals;
using wire::Json;

namespace {

constexpr Duration kPacketGap = 50ms;  // of the game, both ways

// Adds up what runs inside, in wall time.
class Stopwatch {
 public:
  template <class F>
  double microseconds(F&& work) {
    const auto begun = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begun;
    sum_ += took.count();
    return took.count();
  }
  double seconds() const { return sum_ / 1e6; }

 private:
  double sum_ = 0;
};

Json spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[static_cast<std::size_t>(static_cast<double>(values.size() - 1) * share)];
  };
  return Json::object({{"count", values.size()}, {"p50_us", at(0.5)}, {"p99_us", at(0.99)}, {"most_us", at(1)}});
}

template <class Key>
Key key_of(std::uint64_t number) {
  std::array<std::uint8_t, 32> bytes{};
  store_be(bytes.data(), number);
  return Key(std::span<const std::uint8_t, 32>(bytes));
}

struct Peer {
  Path path;
  Duration rtt;
  paths::ProbeKey key;
  crypto::PublicKey self, peer;
  std::unique_ptr<paths::Selector> selector;
};

class Game {
 public:
  explicit Game(std::size_t peers) {
    for (std::size_t i = 0; i < peers; ++i) add(i);
  }

  void play(Duration time) {
    const Time end = now_ + time;
    for (Time packet = now_; now_ < end;) {
      Time next = packet;
      for (const Peer& peer : peers_) next = std::min(next, peer.selector->next_timeout().value_or(kNever));
      if (!pongs_.empty()) next = std::min(next, pongs_.begin()->first);
      now_ = std::max(now_, next);
      if (now_ >= packet) {
        exchange();
        packet += kPacketGap;
      }
      expire();
      answer();
    }
  }

  Json report(Duration time) {
    const double seconds = milliseconds(time) / 1000;
    return Json::object({{"peers", peers_.size()},
                         {"pings_per_second", static_cast<double>(pings_) / seconds},
                         {"cpu_percent_of_a_core", 100 * watch_.seconds() / seconds},
                         {"mean_score", scores_ / static_cast<double>(updates_.size())},
                         {"update", spread(updates_)}});
  }

 private:
  void add(std::size_t number) {
    Peer& peer = peers_.emplace_back();
    const IpAddress address =
        IpAddress::v4(198, 51, static_cast<std::uint8_t>(number / 250), static_cast<std::uint8_t>(1 + number % 250));
    peer.path = {Endpoint{address, 41821}, false};
    peer.rtt = 20ms + 100ms * number / 100;
    peer.key = key_of<paths::ProbeKey>(1000 + number);
    peer.self = key_of<crypto::PublicKey>(1);
    peer.peer = key_of<crypto::PublicKey>(2 + number);
    paths::SelectorOptions options;
    options.self = peer.self;
    options.peer = peer.peer;
    options.instance = 11;
    peer.selector = std::make_unique<paths::Selector>(options, rng_);
    peer.selector->set_keys({peer.key});
    peer.selector->start(now_);
    wire::PeerSignal signal;
    signal.instance = 22;
    signal.candidates = {{paths::CandidateKind::kServerReflexive, peer.path.endpoint}};
    peer.selector->handle_signal(now_, signal);
  }

  // A packet of the game each way.
  void exchange() {
    for (Peer& peer : peers_) {
      watch_.microseconds([&] {
        peer.selector->handle_traffic(now_);
        peer.selector->handle_received(now_, peer.path, now_);
      });
    }
  }

  void expire() {
    for (Peer& peer : peers_) {
      if (peer.selector->next_timeout().value_or(kNever) <= now_)
        watch_.microseconds([&] { peer.selector->handle_timeout(now_); });
      while (peer.selector->poll_event()) continue;
      while (auto sent = peer.selector->poll_transmit()) {
        const auto ping = wire::open_probe(sent->datagram, peer.key.bytes());
        if (!ping || ping->pong) continue;
        ++pings_;
        const auto noise = static_cast<double>(peer.rtt.count()) * 0.1 * rng_.unit();
        if (rng_.unit() >= 0.01)
          pongs_.emplace(now_ + peer.rtt + Duration(static_cast<Duration::rep>(noise)),
                         std::pair(&peer, ping->transaction));
      }
    }
  }

  void answer() {
    while (!pongs_.empty() && pongs_.begin()->first <= now_) {
      Peer* const peer = pongs_.begin()->second.first;
      const auto transaction = pongs_.begin()->second.second;
      pongs_.erase(pongs_.begin());
      const wire::Probe pong{.pong = true,
                             .tag = wire::probe_tag(peer->key.bytes(), peer->peer),
                             .transaction = transaction,
                             .instance = 22};
      const wire::ProbeBytes datagram = wire::write_probe(pong, peer->key.bytes());
      node::QualityStatus status;
      updates_.push_back(watch_.microseconds([&] {
        peer->selector->handle_packet(now_, peer->path, datagram);
        if (peer->selector->take_measured()) status = node::status_of(*peer->selector->quality());
      }));
      LR_CHECK(status.score.has_value());
      scores_ += *status.score;
    }
  }

  SeededRng rng_{1};
  Time now_{1000s};
  std::vector<Peer> peers_;
  std::multimap<Time, std::pair<Peer*, std::uint64_t>> pongs_;
  Stopwatch watch_;
  std::vector<double> updates_;
  std::uint64_t pings_ = 0;
  double scores_ = 0;
};

Json choose(std::size_t count) {
  SeededRng rng(2);
  Stopwatch watch;
  std::vector<double> took;
  for (int round = 0; round < 5000; ++round) {
    std::vector<paths::RelayOption> relays;
    for (std::size_t i = 0; i < count; ++i) {
      const auto leg = [&] {
        return paths::RelayLeg{std::chrono::milliseconds(10 + rng.below(150)), 2ms, rng.below(6) == 0 ? 5.0 : 0.0};
      };
      relays.push_back({rng.u64(), rng.below(2) == 0 ? "eu" : "us", 90 + 10 * rng.unit(), leg(), leg()});
    }
    std::size_t ranked = 0;
    took.push_back(watch.microseconds([&] { ranked = paths::rank_relays(relays, rng.u64(), relays[0].id).size(); }));
    LR_CHECK(ranked == count);
  }
  return Json::object({{"relays", count}, {"choice", spread(took)}});
}

std::size_t argument(int argc, char** argv, int at, std::size_t otherwise) {
  const long value = argc > at ? std::atol(argv[at]) : 0;
  return value > 0 ? static_cast<std::size_t>(value) : otherwise;
}

}  // namespace

int main(int argc, char** argv) {
  const Duration time = std::chrono::seconds(argument(argc, argv, 2, 60));
  Game game(argument(argc, argv, 1, 100));
  game.play(time);
  const Json answer = Json::object({{"quality", game.report(time)}, {"relays", choose(argument(argc, argv, 3, 50))}});
  std::printf("%s\n", answer.text().c_str());
  return 0;
}
