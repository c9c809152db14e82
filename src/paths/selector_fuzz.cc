// One selector under a script: records of {u8 what, u8 which, u16 length, bytes}. Probes have their MAC put right, so
// that the machine behind it is driven and not only the door. It stays consistent, its queues bounded, and it never
// calls a path proven that answered none of its pings.
#include <algorithm>
#include <set>

#include "base/check.h"
#include "crypto/hash.h"
#include "paths/selector.h"

using namespace lanrage;

namespace {

Path path(std::uint8_t which) {
  return {{IpAddress::v4(203, 0, 113, which % 16), static_cast<std::uint16_t>(1 + which % 3)}, which % 5 == 0};
}

struct Script {
  SeededRng rng{1};
  paths::ProbeKey key;
  Time now{std::chrono::seconds(1000)};
  std::vector<std::pair<Path, std::uint64_t>> asked;
  std::set<Path> answered;
  paths::Selector selector;

  Script() : selector(options(), rng) { selector.set_keys({key}); }
  static paths::SelectorOptions options() {
    paths::SelectorOptions options;
    paths::ProbeKey raw;
    raw.mutable_bytes()[0] = 1;
    options.peer = crypto::PublicKey(raw.bytes());
    return options;
  }

  void probe(const Path& from, ByteView fields) {
    wire::Probe probe;
    ByteReader in(fields);
    const std::uint8_t how = in.u8();
    probe.pong = (how & 1) != 0;
    probe.selected = (how & 2) != 0;
    probe.instance = how >> 6;
    probe.tag = wire::probe_tag(key.bytes(), options().peer);
    probe.transaction = in.u64_be();
    Path path_of = from;
    if (probe.pong && (how & 4) != 0 && !asked.empty()) {  // a true answer to something asked
      const auto& question = asked[probe.transaction % asked.size()];
      path_of = question.first;
      probe.transaction = question.second;
      answered.insert(path_of);
    }
    selector.handle_packet(now, path_of, wire::write_probe(probe, key.bytes()));
  }

  void step(std::uint8_t what, std::uint8_t which, ByteView bytes) {
    switch (what % 10) {
      case 0:
        return probe(path(which), bytes);
      case 1:
        return selector.handle_packet(now, path(which), bytes);
      case 2:
        if (const auto signal = wire::parse_signal(bytes)) selector.handle_signal(now, *signal);
        return;
      case 3:
        now += std::chrono::milliseconds(which * which);
        return selector.handle_timeout(now);
      case 4:
        return selector.handle_received(now, path(which), now);
      case 5:
        return selector.handle_traffic(now);
      case 6:
        return selector.set_relays(now, {Path{path(0).endpoint, true}, Path{path(which).endpoint, true}});
      case 7:
        return selector.handle_relay_absent(now, path(which));
      case 8: {
        Path guess = path(which);
        guess.socket = guess.relayed ? 0 : which % 4;
        selector.guess(guess);
        const auto used = selector.sockets(now);
        if (bytes.empty()) selector.close_sockets({used.begin(), used.end()});
        return;
      }
      default:
        return which % 2 == 0 ? selector.start(now) : selector.restart(now);
    }
  }

  void drain() {
    std::size_t polled = 0;
    while (const auto out = selector.poll_transmit()) {
      ++polled;
      const auto probe = wire::open_probe(out->datagram, key.bytes());
      LR_CHECK(probe);
      if (!probe->pong && asked.size() < 1000) asked.emplace_back(out->path, probe->transaction);
    }
    LR_CHECK(polled <= paths::kTransmitsMax);
    while (selector.poll_event()) {
    }
    LR_CHECK(selector.is_consistent());
    LR_CHECK(!selector.is_valid() || answered.count(*selector.selected()) != 0);
    LR_CHECK((selector.state() == paths::PeerState::kConnected) == selector.is_valid());
    (void)selector.why(now);
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Script script;
  ByteReader in({data, size});
  for (int i = 0; i < 200 && in.ok() && !in.rest().empty(); ++i) {
    const std::uint8_t what = in.u8();
    const std::uint8_t which = in.u8();
    script.step(what, which, in.sized_u16());
    script.drain();
  }
  return 0;
}
