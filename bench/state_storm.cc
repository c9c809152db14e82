// A storm of acknowledged changes on the control server's SQLite store, one sync for each beside group commit.
//
//   state_storm [PEERS [CHANGES_A_SECOND [SECONDS]]]          by default 1000, 600 and 10
//
// Peers of parties of five change their records, open loop, at random; each change is answered when it is on disk. In
// turn with a window of 0 (whoever finds the store idle has a write of their own) and with the default one. At the end
// the store is opened again and must hold what was answered last, for every peer; exit code 1 where it does not.
// Answers one line of JSON. The store's own counts, which `strace -f -c -e trace=fdatasync,pwrite64` should confirm.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/rng.h"
#include "store/store.h"
#include "wire/json.h"

using namespace lanrage;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using wire::Json;

namespace {

constexpr std::size_t kPartySize = 5;
constexpr std::size_t kRecordBytes = 300;

struct Load {
  std::size_t peers = 1000;
  double per_second = 600;
  double seconds = 10;
};

// The peers' rows; what was answered last of each.
struct Peer {
  party::PartyId party;
  party::MemberRow row;
  std::atomic<std::uint64_t> acknowledged{0};
};

std::vector<std::unique_ptr<Peer>> make_peers(std::size_t count, Rng& rng) {
  std::vector<std::unique_ptr<Peer>> out;
  std::array<std::uint8_t, 16> party{};
  for (std::size_t i = 0; i < count; ++i) {
    if (i % kPartySize == 0) rng.fill(party);
    auto peer = std::make_unique<Peer>();
    peer->party = party::PartyId(party);
    std::array<std::uint8_t, 32> key{};
    rng.fill(key);
    peer->row.public_key = crypto::PublicKey(key);
    peer->row.state = party::MemberState::kJoined;
    peer->row.ipv4 = IpAddress::v4(10, 66, 1, static_cast<std::uint8_t>(i % kPartySize + 1));
    peer->row.name = "peer " + std::to_string(i);
    peer->row.record = Bytes(kRecordBytes);
    out.push_back(std::move(peer));
  }
  return out;
}

void wait_for(const std::atomic<std::size_t>& count, std::size_t wanted) {
  while (count < wanted) std::this_thread::sleep_for(1ms);
}

Json run(const Load& load, Duration window, bool& right) {
  std::string folder = std::filesystem::temp_directory_path() / "lanrage-storm-XXXXXX";
  LR_CHECK(::mkdtemp(folder.data()) != nullptr);
  SeededRng rng(1);
  const auto peers = make_peers(load.peers, rng);
  auto store = store::SqliteStore::open(folder + "/server.db", silent_logger(), window).value();
  std::atomic<std::size_t> answered{0};
  for (std::size_t i = 0; i < peers.size(); i += kPartySize)
    store->commit({peers[i]->party, 0, {party::PartyCreated{Bytes{1}}}}, [&](Result<void>) { ++answered; });
  wait_for(answered, (peers.size() + kPartySize - 1) / kPartySize);

  const store::StoreStats before = store->stats();
  const auto changes = static_cast<std::size_t>(load.per_second * load.seconds);
  std::vector<double> waited(changes);
  std::atomic<std::size_t> refused{0};
  answered = 0;
  std::uint64_t version = 0;
  const auto begun = Clock::now();
  for (std::size_t i = 0; i < changes; ++i) {
    const auto at = begun + std::chrono::duration_cast<Clock::duration>(
                                std::chrono::duration<double>(static_cast<double>(i) / load.per_second));
    std::this_thread::sleep_until(at);
    Peer& peer = *peers[rng.below(peers.size())];
    peer.row.record_version = ++version;
    rng.fill(peer.row.record);
    store->commit({peer.party, 1, {party::VersionRaised{version}, party::MemberPut{peer.row}}},
                  [&, i, at, version](const Result<void>& result) {
                    waited[i] = std::chrono::duration<double, std::milli>(Clock::now() - at).count();
                    if (result) {
                      peer.acknowledged = std::max<std::uint64_t>(peer.acknowledged, version);
                    } else {
                      ++refused;
                    }
                    ++answered;
                  });
  }
  wait_for(answered, changes);
  const store::StoreStats after = store->stats();
  store.reset();
  store = store::SqliteStore::open(folder + "/server.db", silent_logger()).value();
  for (const auto& peer : peers) {
    if (peer->acknowledged == 0) continue;
    std::promise<std::uint64_t> kept;
    store->load(peer->party, [&](const Result<std::optional<store::Loaded>>& found) {
      const auto row =
          *found ? (*found)->data.members.find(peer->row.public_key) : decltype((*found)->data.members.end()){};
      kept.set_value(*found && row != (*found)->data.members.end() ? row->second.record_version : 0);
    });
    right = right && kept.get_future().get() == peer->acknowledged;
  }
  store.reset();
  std::filesystem::remove_all(folder);

  std::sort(waited.begin(), waited.end());
  const double syncs = static_cast<double>(after.syncs - before.syncs);
  return Json::object({{"window_ms", milliseconds(window)},
                       {"changes", changes},
                       {"refused", refused.load()},
                       {"transactions", after.transactions - before.transactions},
                       {"superseded_rows", after.superseded - before.superseded},
                       {"syncs", after.syncs - before.syncs},
                       {"writes", after.writes - before.writes},
                       {"written_bytes", after.bytes - before.bytes},
                       {"changes_a_sync", static_cast<double>(changes) / syncs},
                       {"answered_p50_ms", waited[changes / 2]},
                       {"answered_p99_ms", waited[changes * 99 / 100]}});
}

}  // namespace

int main(int argc, char** argv) {
  Load load;
  if (argc > 1) load.peers = static_cast<std::size_t>(std::max(1, std::atoi(argv[1])));
  if (argc > 2) load.per_second = std::max(1.0, std::atof(argv[2]));
  if (argc > 3) load.seconds = std::max(1.0, std::atof(argv[3]));
  bool right = true;
  Json each = run(load, Duration{}, right), shared = run(load, store::kCommitWindow, right);
  const auto number = [](const Json& from, const char* key) { return from.find(key)->if_number().value_or(0); };
  const auto fewer = [&](const char* key) { return number(each, key) / number(shared, key); };
  const Json out = Json::object({{"fewer_syncs", fewer("syncs")},
                                 {"fewer_writes", fewer("writes")},
                                 {"fewer_bytes", fewer("written_bytes")},
                                 {"kept_what_was_answered", right},
                                 {"each", std::move(each)},
                                 {"shared", std::move(shared)}});
  std::puts(out.text().c_str());
  return right ? 0 : 1;
}
