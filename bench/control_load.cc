// Many players of one control server, for bench/control.py.
//
//   control_load LINK ADDRESS[,ADDRESS...] --clients N [--party 16] [--rate JOINS_A_SECOND] [--warm]
//
// Every client is the node's own (control/client.h): TLS with the pinned key, proof, requests, a stream. They are
// spread over the server's addresses, since a server takes only so many connections from one. Owners make parties
// first; then the others join, open loop, at that rate: a join's time counts from when it was due to its answer. With
// --warm each has a session before. Then each follows its party, idle. One JSON line says when all do. After that, for
// every line on standard input, it waits until all have lost their stream and have it again, and says how long the last
// one took and the median, from when the line came.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "control/client.h"
#include "crypto/random.h"
#include "net/clock.h"
#include "net/loop.h"
#include "party/roster.h"
#include "wire/json.h"

using namespace lanrage;
using namespace std::chrono_literals;
using wire::Json;

namespace {

constexpr std::size_t kOwnersAtOnce = 32;
constexpr double kWarmPerSecond = 400;

struct Options {
  std::vector<party::ServerInfo> servers;
  std::size_t clients = 1000;
  std::size_t party = 16;
  double rate = 200;
  bool warm = false;
};

wire::PartyId wire_id(const party::PartyId& id) {
  wire::PartyId out;
  std::copy(id.bytes().begin(), id.bytes().end(), out.begin());
  return out;
}

Time now() { return net::now().time; }

// Everything happens on the loop's thread.
class Load {
 public:
  Load(Options options, std::shared_ptr<net::IoLoop> loop) : options_(std::move(options)), loop_(std::move(loop)) {
    for (std::size_t i = 0; i < options_.clients; ++i) players_.push_back(std::make_unique<Player>(*this, i));
  }

  void start() {
    for (std::size_t i = 0; i < kOwnersAtOnce; ++i) next_owner();
  }
  // Tells from now on how long each stream was away.
  void watch() {
    watched_ = now();
    back_.clear();
  }
  bool all_online() const { return following_ + failed_ == players_.size(); }
  bool all_back() const { return back_.size() == players_.size(); }
  Json joins() { return figures(joins_).set("failed", failed_); }
  Json back() { return figures(back_); }
  void stop() { players_.clear(); }

 private:
  struct Player {
    Player(Load& owner, std::size_t number)
        : load(owner), index(number), identity(party::Identity::generate(owner.rng_)) {
      control::ClientOptions options;
      options.server = load.options_.servers[index % load.options_.servers.size()];
      options.key = identity.private_key();
      options.loop = load.loop_;
      client = control::Client::create(
          options, {.on_link = [this](const control::LinkStatus& status) { linked(status); }},
          [](const std::function<void()>& run) { run(); }, std::make_unique<crypto::SystemRng>(), silent_logger());
    }
    void linked(const control::LinkStatus& status) {
      const bool up = status.state == control::LinkState::kOnline;
      if (up == online) return;
      online = up;
      if (!up) lost = true;
      if (up && lost && load.watched_) load.back_.push_back(now() - *load.watched_);
    }
    void ask(wire::Request request, std::function<void(wire::Response)> then) {
      client->request(std::move(request), [this, then = std::move(then)](Result<wire::Response> answer) {
        if (answer) return then(std::move(*answer));
        if (++load.failed_ < 5) std::fprintf(stderr, "client %zu: %s\n", index, answer.error().message.c_str());
      });
    }
    party::SelfSettings self() const {
      party::SelfSettings out;
      out.name = "player " + std::to_string(index % load.options_.party);
      return out;
    }

    Load& load;
    const std::size_t index;
    const party::Identity identity;
    std::optional<party::Roster> roster;
    std::unique_ptr<control::Client> client;
    bool online = false, lost = false;
  };

  static Json figures(std::vector<Duration>& times) {
    std::sort(times.begin(), times.end());
    const auto at = [&](double share) {
      return times.empty()
                 ? 0
                 : milliseconds(times[std::min(times.size() - 1,
                                               static_cast<std::size_t>(share * static_cast<double>(times.size())))]);
    };
    return Json::object({{"count", times.size()}, {"median_ms", at(0.5)}, {"p99_ms", at(0.99)}, {"most_ms", at(1)}});
  }

  // --- the parties ---
  void next_owner() {
    const std::size_t index = next_owner_;
    if (index >= players_.size()) {
      if (owners_done_ * options_.party >= players_.size() && !joining_) join_all();
      return;
    }
    next_owner_ += options_.party;
    Player& owner = *players_[index];
    const auto& server = options_.servers[index % options_.servers.size()];
    owner.roster =
        party::Roster::create(owner.identity, "load", *IpPrefix::parse("10.66.7.0/24"), owner.self(), server, rng_)
            .value();
    const wire::PartyId id = wire_id(owner.roster->party());
    owner.ask(wire::CreateParty{owner.roster->encoded_genesis(), owner.self().name}, [this, &owner, id](auto) {
      owner.ask(wire::PutRecord{id, owner.roster->own_record()}, [this, &owner, id](auto) {
        const WallTime wall = net::now().wall;
        auto made = owner.roster->make_invite(wall, 1000, wall + 1h, rng_).value();
        owner.ask(wire::AddInvite{id, made.request.token_hash, made.request.envelope, 1000, 3600},
                  [this, &owner, id, invite = made.invite](auto) {
                    invites_.resize(players_.size() / options_.party + 1);
                    invites_[owner.index / options_.party] = std::make_shared<party::Invite>(invite);
                    owner.ask(wire::Follow{id, 0}, [this](auto) { ++following_; });
                    ++owners_done_;
                    next_owner();
                  });
      });
    });
  }

  void join_all() {
    joining_ = true;
    Time due = now() + 200ms;
    const auto pace = [](double per_second) { return Duration(static_cast<Duration::rep>(1e9 / per_second)); };
    if (options_.warm) {
      for (const auto& player : players_) {
        if (player->roster) continue;
        at(due, [this, &one = *player] {  // refused, with a session made
          one.client->request(wire::ListInvites{party_of(one)}, [](const auto&) {});
        });
        due += pace(kWarmPerSecond);
      }
      due += 2s;
    }
    for (const auto& player : players_) {
      if (player->roster) continue;
      at(due, [this, due, &one = *player] { join(one, due); });
      due += pace(options_.rate);
    }
  }
  const party::Invite& invite_of(const Player& player) const { return *invites_[player.index / options_.party]; }
  wire::PartyId party_of(const Player& player) const { return wire_id(invite_of(player).party); }

  void join(Player& one, Time due) {
    const party::Invite& invite = invite_of(one);
    wire::Join request{wire_id(invite.party), {}, one.self().name};
    const auto token = invite.secret.token(invite.party);
    std::copy(token.bytes().begin(), token.bytes().end(), request.token.begin());
    one.ask(request, [this, &one, due, invite](wire::Response answer) {
      joins_.push_back(now() - due);
      const auto& admission = std::get<wire::Admission>(answer);
      one.roster =
          party::Roster::join(one.identity, invite, {admission.address, admission.envelope}, one.self()).value();
      if (!options_.warm) return settle(one);
      if (joins_.size() + owners_done_ < players_.size()) return;
      // The joins alone were to be measured.
      Time then = now();
      for (const auto& player : players_) {
        if (player->index % options_.party == 0) continue;
        at(then, [this, &member = *player] { settle(member); });
        then += 5ms;
      }
    });
  }

  void settle(Player& one) {
    const wire::PartyId id = party_of(one);
    one.ask(wire::PutRecord{id, one.roster->own_record()}, [this, &one, id](auto) {
      one.ask(wire::Follow{id, 0}, [this](auto) { ++following_; });
    });
  }

  // A timer ends when it is let go of.
  void at(Time due, std::function<void()> run) {
    timers_.push_back(loop_->after(std::max(due - now(), Duration{}), std::move(run)));
  }

  const Options options_;
  const std::shared_ptr<net::IoLoop> loop_;
  crypto::SystemRng rng_;
  std::vector<std::unique_ptr<Player>> players_;
  std::vector<std::shared_ptr<party::Invite>> invites_;  // by party
  std::vector<std::unique_ptr<net::LoopTimer>> timers_;
  std::size_t next_owner_ = 0, owners_done_ = 0, following_ = 0, failed_ = 0;
  bool joining_ = false;
  std::vector<Duration> joins_, back_;
  std::optional<Time> watched_;
};

std::optional<Options> options_of(int argc, char** argv) {
  Options out;
  if (argc < 3) return std::nullopt;
  const auto link = party::ServerLink::parse(argv[1]);
  if (!link) return std::nullopt;
  std::string addresses = argv[2];
  for (std::size_t at = 0; at <= addresses.size();) {
    const std::size_t end = std::min(addresses.find(',', at), addresses.size());
    const auto address = IpAddress::parse(addresses.substr(at, end - at));
    if (!address) return std::nullopt;
    out.servers.push_back({link->key, {party::ServerAddress::of({*address, link->address.port})}});
    at = end + 1;
  }
  for (int i = 3; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--warm") {
      out.warm = true;
      continue;
    }
    if (++i == argc) return std::nullopt;
    if (flag == "--clients") out.clients = std::strtoul(argv[i], nullptr, 10);
    if (flag == "--party") out.party = std::strtoul(argv[i], nullptr, 10);
    if (flag == "--rate") out.rate = std::strtod(argv[i], nullptr);
  }
  if (out.clients == 0 || out.party == 0 || out.party > 200 || out.rate <= 0) return std::nullopt;
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  auto options = options_of(argc, argv);
  if (!options) {
    std::fprintf(stderr, "usage: control_load LINK ADDRESS[,...] --clients N [--party N] [--rate N] [--warm]\n");
    return 2;
  }
  const auto loop = net::IoLoop::start("load");
  std::unique_ptr<Load> load;
  loop->run([&] {
    load = std::make_unique<Load>(std::move(*options), loop);
    load->start();
  });
  const auto wait_until = [&](auto done) {
    bool is = false;
    do {
      std::this_thread::sleep_for(20ms);
      loop->run([&] { is = done(); });
    } while (!is);
  };
  const auto say = [&](auto what) {
    Json said;
    loop->run([&] { said = what(); });
    std::printf("%s\n", said.text().c_str());
    std::fflush(stdout);
  };
  wait_until([&] { return load->all_online(); });
  say([&] { return load->joins(); });
  for (std::string line; std::getline(std::cin, line);) {
    loop->run([&] { load->watch(); });
    wait_until([&] { return load->all_back(); });
    say([&] { return load->back(); });
  }
  loop->run([&] { load->stop(); });
  return 0;
}
