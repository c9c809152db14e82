// A selector and its peer, made of values: what the tests of Selector share.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "paths/selector.h"

namespace lanrage::paths {

using namespace std::chrono_literals;
using Kind = Selector::Event::Kind;

inline const Path kRelay{*Endpoint::parse("198.51.100.1:41820"), true};
inline const Path kOtherRelay{*Endpoint::parse("198.51.100.2:41820"), true};
inline const Path kLan{*Endpoint::parse("192.168.1.9:5555"), false};
inline const Path kPublic{*Endpoint::parse("203.0.113.9:5555"), false};
inline const Path kElsewhere{*Endpoint::parse("203.0.113.77:6000"), false};

inline ProbeKey probe_key(std::uint8_t fill) {
  ProbeKey key;
  key.mutable_bytes()[0] = fill;
  return key;
}
inline crypto::PublicKey public_key(std::uint8_t fill) {
  ProbeKey raw = probe_key(fill);
  return crypto::PublicKey(raw.bytes());
}

// One selector and a peer made of values.
struct SelectorTest : testing::Test {
  SeededRng rng{1};
  Selector selector{{public_key(1), public_key(2), 11, 5555, false}, rng};
  Time now{1000s};
  ProbeKey key = probe_key(7);
  std::uint32_t peer_instance = 22;

  SelectorTest() { selector.set_keys({key}); }

  std::vector<Selector::Transmit> transmits() {
    std::vector<Selector::Transmit> all;
    while (auto one = selector.poll_transmit()) all.push_back(*one);
    return all;
  }
  // Paths pinged since last asked.
  std::vector<Path> pinged() {
    std::vector<Path> paths;
    for (const auto& transmit : transmits()) {
      if (!wire::open_probe(transmit.datagram, key.bytes())->pong) paths.push_back(transmit.path);
    }
    return paths;
  }
  std::vector<Selector::Event> events(std::optional<Kind> only = std::nullopt) {
    std::vector<Selector::Event> all;
    while (auto event = selector.poll_event()) {
      if (!only || event->kind == *only) all.push_back(*event);
    }
    return all;
  }
  // Paths in `alive` answer their pings after so long; what they were sent is counted and not kept.
  std::map<Path, Duration> alive;
  std::map<Path, double> lossy;  // share of their pings that they do not answer
  std::map<Path, int> counts;
  std::multimap<Time, std::pair<Path, std::uint64_t>> pongs;
  void run_until(Time end) {
    while (true) {
      if (!alive.empty()) {
        for (const auto& transmit : transmits()) {
          const auto probe = wire::open_probe(transmit.datagram, key.bytes());
          if (!probe || probe->pong) continue;
          ++counts[transmit.path];
          if (alive.count(transmit.path) == 0) continue;
          if (const auto loss = lossy.find(transmit.path); loss != lossy.end() && rng.unit() < loss->second) continue;
          pongs.emplace(now + alive[transmit.path], std::pair(transmit.path, probe->transaction));
        }
      }
      const Time timeout = selector.next_timeout().value_or(kNever);
      const Time pong = pongs.empty() ? kNever : pongs.begin()->first;
      if (std::min(timeout, pong) > end) break;
      now = std::max(now, std::min(timeout, pong));
      if (pong <= timeout) {
        const auto [path, transaction] = pongs.begin()->second;
        pongs.erase(pongs.begin());
        receive_pong(path, transaction);
      } else {
        selector.handle_timeout(now);
      }
    }
    now = end;
  }
  void run(Duration d) { run_until(now + d); }
  // The same while a game sends and hears nothing but the pings.
  void play(Duration d) {
    for (const Time end = now + d; now < end; run(100ms)) selector.handle_traffic(now);
  }
  // Answers the pings on `path` that wait to be sent, `rtt` from now.
  int answer(const Path& path, Duration rtt) {
    std::vector<wire::Probe> pings;
    for (const auto& transmit : transmits()) {
      const auto probe = wire::open_probe(transmit.datagram, key.bytes());
      if (transmit.path == path && !probe->pong) pings.push_back(*probe);
    }
    now += rtt;
    for (const wire::Probe& ping : pings) receive_pong(path, ping.transaction);
    return static_cast<int>(pings.size());
  }
  void receive_pong(const Path& path, std::uint64_t transaction) {
    wire::Probe pong{.pong = true,
                     .tag = wire::probe_tag(key.bytes(), public_key(2)),
                     .transaction = transaction,
                     .instance = peer_instance};
    selector.handle_packet(now, path, wire::write_probe(pong, key.bytes()));
  }
  void receive_ping(const Path& path, bool selected = false) {
    wire::Probe ping{.tag = wire::probe_tag(key.bytes(), public_key(2)),
                     .transaction = rng.u64(),
                     .instance = peer_instance,
                     .selected = selected};
    selector.handle_packet(now, path, wire::write_probe(ping, key.bytes()));
  }
  wire::PeerSignal signal(std::vector<Candidate> candidates) {
    wire::PeerSignal message;
    message.instance = peer_instance;
    message.candidates = std::move(candidates);
    return message;
  }
  void start_with(std::vector<Path> relays, std::vector<Candidate> candidates) {
    selector.start(now);
    selector.set_relays(now, relays);
    selector.handle_signal(now, signal(std::move(candidates)));
    selector.handle_timeout(now);
  }
  bool is_valid(const Path& path) {
    for (const auto& info : selector.paths()) {
      if (info.path == path) return info.valid;
    }
    return false;
  }
};
inline const Candidate kLanCandidate{CandidateKind::kHost, kLan.endpoint};
inline const Candidate kPublicCandidate{CandidateKind::kServerReflexive, kPublic.endpoint};

}  // namespace lanrage::paths
