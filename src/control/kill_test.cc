// A server killed without warning: what it acknowledged is there when it comes back.
#include <sys/prctl.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "bus/test_nats.h"
#include "control/test_player.h"
#include "store/test_postgres.h"

namespace lanrage::control {
namespace {

constexpr const char* kFolderVariable = "LANRAGE_TEST_SERVER_FOLDER";

// The child's part: this program again, running the one test that serves until it is killed.
class ServerProcess {
 public:
  ServerProcess(const Folder& folder, std::uint16_t port, const std::string& store = "", const std::string& bus = "") {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    const std::string variable = std::string(kFolderVariable) + "=" + folder.path;
    const std::string port_variable = "LANRAGE_TEST_SERVER_PORT=" + std::to_string(port);
    const std::string pipe_variable = "LANRAGE_TEST_SERVER_PIPE=" + std::to_string(ends[1]);
    const std::string store_variable = "LANRAGE_TEST_SERVER_STORE=" + store;
    const std::string bus_variable = "LANRAGE_TEST_SERVER_BUS=" + bus;
    const char* arguments[] = {"control_test", "--gtest_also_run_disabled_tests",
                               "--gtest_filter=ControlServerKilled.DISABLED_ServesUntilThen", "--gtest_brief=1",
                               nullptr};
    const char* variables[] = {variable.c_str(),       port_variable.c_str(), pipe_variable.c_str(),
                               store_variable.c_str(), bus_variable.c_str(),  nullptr};
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::execve("/proc/self/exe", const_cast<char**>(arguments), const_cast<char**>(variables));
      ::_exit(127);
    }
    ::close(ends[1]);
    std::string link;
    char buffer[256];
    for (ssize_t size; (size = ::read(ends[0], buffer, sizeof buffer)) > 0 && link.find('\n') == std::string::npos;)
      link.append(buffer, static_cast<std::size_t>(size));
    ::close(ends[0]);
    const auto parsed = party::ServerLink::parse(link.substr(0, link.find('\n')));
    EXPECT_TRUE(parsed) << link;
    if (parsed) info_ = parsed->info();
  }
  ~ServerProcess() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  const party::ServerInfo& info() const { return info_; }

 private:
  pid_t pid_ = -1;
  party::ServerInfo info_;
};

TEST(ControlServerKilled, DISABLED_ServesUntilThen) {
  ServerOptions options;
  options.folder = ::getenv(kFolderVariable);
  options.store = ::getenv("LANRAGE_TEST_SERVER_STORE");
  options.bus = ::getenv("LANRAGE_TEST_SERVER_BUS");
  options.listen = {
      {IpAddress::v4(127, 0, 0, 1), static_cast<std::uint16_t>(atoi(::getenv("LANRAGE_TEST_SERVER_PORT")))}};
  const auto server = Server::start(options, silent_logger());
  ASSERT_TRUE(server) << server.error().message;
  const std::string link = (*server)->link() + "\n";
  const int fd = atoi(::getenv("LANRAGE_TEST_SERVER_PIPE"));
  ASSERT_EQ(::write(fd, link.data(), link.size()), static_cast<ssize_t>(link.size()));
  ::close(fd);
  for (;;) ::pause();
}

TEST(ControlServerKilled, LosesNothingThatItAcknowledged) {
  constexpr int kKills = 8;
  Folder folder;
  auto server = std::make_unique<ServerProcess>(folder, std::uint16_t{0});
  const party::ServerInfo info = server->info();
  ASSERT_FALSE(info.addresses.empty());
  auto owner = std::make_unique<Player>(info, "owner");
  ASSERT_TRUE(owner->host());
  std::map<std::string, bool> invites;  // acknowledged; false: its revocation was
  SeededRng rng(7);
  for (int kill = 0; kill < kKills; ++kill) {
    // Writes flow until the kill cuts into them.
    std::atomic<bool> stop{false};
    std::thread writer([&] {
      while (!stop) {
        const auto made = owner->invite(3);
        if (!made) continue;
        const std::string id = made->secret.id(made->party).text();
        invites[id] = true;
        if (owner->ask(wire::RevokeInvite{owner->party(), id})) invites[id] = false;
      }
    });
    // Any moment, whatever the server is doing: so by the clock, not by a condition of it.
    std::this_thread::sleep_for(std::chrono::milliseconds(50 + rng.below(150)));
    server.reset();
    server = std::make_unique<ServerProcess>(folder, info.addresses.front().port);
    stop = true;
    writer.join();
    const auto listed = owner->ask(wire::ListInvites{owner->party()});
    ASSERT_TRUE(listed) << listed.error().message;
    std::set<std::string> held;
    for (const auto& invite : std::get<wire::InviteList>(*listed).invites) held.insert(invite.id);
    for (const auto& [id, live] : invites) EXPECT_EQ(held.contains(id), live) << "after kill " << kill;
  }
  EXPECT_GT(invites.size(), static_cast<std::size_t>(kKills));
}

// A player that joins and leaves all the time, and what it was told.
class Restless {
 public:
  Restless(const party::ServerInfo& server, int number, std::shared_ptr<net::IoLoop> loop)
      : player_(server, "player-" + std::to_string(number), std::move(loop)) {}

  void run(const party::Invite& invite, const std::atomic<bool>& stop) {
    for (Bytes record; !stop;) {
      begin(party::MemberState::kJoined);
      const bool entered = player_.enter(invite, record).has_value();
      if (player_.has_roster()) record = player_.roster().own_record();
      if (!entered) continue;
      finish();
      begin(party::MemberState::kLeft);
      record = player_.roster().make_farewell();
      if (player_.ask(wire::PutRecord{player_.party(), record})) finish();
    }
  }
  // Whether what a store holds of it is what it was told last, or what it asked for since.
  bool is_right(const party::PartyData& data) const {
    const std::lock_guard lock(mutex_);
    const auto row = data.members.find(player_.identity().public_key());
    return possible_.contains(row == data.members.end() ? std::nullopt : std::optional(row->second.state));
  }
  int answers() const { return answers_; }

 private:
  using State = std::optional<party::MemberState>;  // none: never heard of
  // From here on it may be so; whatever was not answered before may be so, too.
  void begin(party::MemberState wanted) {
    const std::lock_guard lock(mutex_);
    wanted_ = wanted;
    possible_.insert(wanted);
    // A join is two requests; its first makes a place for it.
    if (wanted == party::MemberState::kJoined) possible_.insert(party::MemberState::kPending);
  }
  void finish() {
    const std::lock_guard lock(mutex_);
    possible_ = {wanted_};
    ++answers_;
  }

  Player player_;
  mutable std::mutex mutex_;
  State wanted_;
  std::set<State> possible_{std::nullopt};
  std::atomic<int> answers_{0};
};

// Which servers there are; with PostgreSQL and NATS, these are killed in turn with them.
struct Shape {
  const char* name;
  bool postgres = false;
  std::size_t servers = 1;
  bool nats = false;
};

class ControlServerKilledWith : public testing::TestWithParam<Shape> {
 protected:
  ControlServerKilledWith() {
    if (GetParam().nats) nats_.emplace();
    for (std::size_t i = 0; i < GetParam().servers; ++i) {
      for (const char* key : {"/server.key", "/server.seed"})  // they are one to their players
        if (i > 0) std::filesystem::copy(folders_[0].path + key, folders_[i].path + key);
      start(i, 0);
      if (i == 0) info_.key = servers_[i]->info().key;
      EXPECT_EQ(servers_[i]->info().key, info_.key);
      info_.addresses.push_back(servers_[i]->info().addresses.front());
    }
  }
  void start(std::size_t i, std::uint16_t port) {
    servers_[i] = std::make_unique<ServerProcess>(folders_[i], port, url_, nats_ ? nats_->url() : "");
  }
  // Starts those that do not run.
  void start_all() {
    for (std::size_t i = 0; i < GetParam().servers; ++i)
      if (!servers_[i]) start(i, info_.addresses[i].port);
  }
  void kill_all() {
    for (auto& server : servers_) server.reset();
  }
  // Any of them, in turn.
  void kill_one(int turn) {
    const std::size_t victims = GetParam().servers + (GetParam().postgres ? 1 : 0) + (nats_ ? 1 : 0);
    const std::size_t victim = static_cast<std::size_t>(turn) % victims;
    if (victim < GetParam().servers) {
      servers_[victim].reset();
    } else if (victim == GetParam().servers) {
      postgres()->stop(SIGKILL);
      postgres()->run();  // the servers find it again by themselves
    } else {
      nats_->stop();
      nats_->run();
    }
  }
  store::TestPostgres* postgres() const { return GetParam().postgres ? &store::TestPostgres::shared() : nullptr; }
  std::unique_ptr<store::Store> open_store() const {
    return (GetParam().postgres ? store::PostgresStore::open(url_, silent_logger())
                                : store::SqliteStore::open(folders_[0].path + "/server.db", silent_logger()))
        .value();
  }

  std::optional<bus::TestNats> nats_;
  Folder folders_[2];
  const std::string url_ = GetParam().postgres ? postgres()->database(folders_[0].path) : "";
  std::unique_ptr<ServerProcess> servers_[2];
  party::ServerInfo info_;
};

TEST_P(ControlServerKilledWith, MembershipIsWhatTheLastAnswerSaid) {
  const char* rounds = ::getenv("LANRAGE_TEST_KILLS");
  const int kills = rounds == nullptr ? 6 : std::atoi(rounds);
  constexpr int kPlayers = 32;
  Player owner(info_, "owner");
  ASSERT_TRUE(owner.host());
  const auto invite = owner.invite(party::kInviteUsesMax);
  ASSERT_TRUE(invite);
  const auto loop = net::IoLoop::start("players");
  std::vector<std::unique_ptr<Restless>> players;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < kPlayers; ++i) {
    // Each has one of the servers first.
    party::ServerInfo info = info_;
    std::rotate(info.addresses.begin(), info.addresses.begin() + i % static_cast<int>(info.addresses.size()),
                info.addresses.end());
    players.push_back(std::make_unique<Restless>(info, i, loop));
  }
  for (const auto& player : players) threads.emplace_back([&] { player->run(*invite, stop); });
  SeededRng rng(11);
  std::uint64_t version = 0;
  for (int kill = 0; kill < kills; ++kill) {
    // Any moment, whatever the server is doing: so by the clock, not by a condition of it.
    std::this_thread::sleep_for(std::chrono::milliseconds(300 + rng.below(500)));
    kill_one(kill);
    if (postgres() != nullptr) std::this_thread::sleep_for(std::chrono::milliseconds(800 + rng.below(1000)));
    kill_all();
    const auto loaded = store::load(*open_store(), invite->party);
    ASSERT_TRUE(loaded && *loaded);
    const party::PartyData& data = (*loaded)->data;
    EXPECT_GE(data.version, version) << "after kill " << kill;
    version = data.version;
    std::set<IpAddress> addresses;
    for (const auto& [key, row] : data.members) EXPECT_TRUE(addresses.insert(row.ipv4).second) << row.ipv4.text();
    EXPECT_TRUE(party::ServerParty::restore(data)) << "half a party, after kill " << kill;
    for (const auto& player : players) EXPECT_TRUE(player->is_right(data)) << "after kill " << kill;
    start_all();
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  int answers = 0;
  for (const auto& player : players) answers += player->answers();
  EXPECT_GT(answers, kPlayers * 2);
}

INSTANTIATE_TEST_SUITE_P(Stores, ControlServerKilledWith,
                         testing::Values(Shape{"SQLite"}, Shape{"PostgreSQL", true}, Shape{"TwoServers", true, 2},
                                         Shape{"TwoServersAndNats", true, 2, true}),
                         [](const auto& shape) { return shape.param.name; });

// Two hundred players, half of them at each of two servers, and an invite for one.
TEST(ControlServers, AnInviteForOneIsWonByOneOfTwoHundred) {
  Folder folders[2];
  const std::string url = store::TestPostgres::shared().database(folders[0].path);
  std::unique_ptr<Server> servers[2];
  for (int i = 0; i < 2; ++i) {
    for (const char* key : {"/server.key", "/server.seed"})
      if (i > 0) std::filesystem::copy(folders[0].path + key, folders[i].path + key);
    ServerOptions options = test_server_options(folders[i]);
    options.store = url;
    auto started = Server::start(std::move(options), silent_logger());
    ASSERT_TRUE(started) << started.error().message;
    servers[i] = *std::move(started);
  }
  Player owner(servers[0]->info(), "owner");
  ASSERT_TRUE(owner.host());
  const auto loop = net::IoLoop::start("players");
  std::vector<std::unique_ptr<Player>> players;
  for (int i = 0; i < 200; ++i)
    players.push_back(std::make_unique<Player>(servers[i % 2]->info(), "player-" + std::to_string(i), loop));
  for (int round = 0; round < 5; ++round) {
    const auto one = owner.invite(1);
    ASSERT_TRUE(one);
    std::atomic<int> won{0}, refused{0};
    std::vector<std::thread> threads;
    for (int first = 0; first < 20; ++first) {
      threads.emplace_back([&, first] {
        for (std::size_t i = static_cast<std::size_t>(first); i < players.size(); i += 20) {
          const auto answer = players[i]->join(*one);
          ++(answer ? won : refused);
          EXPECT_TRUE(answer || answer.error().code == Code::kExhausted) << answer.error().message;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(won, 1);
    EXPECT_EQ(refused, 199);
  }
}

// A player whose server is killed has the other one within 3 s, and misses nothing.
TEST(ControlServers, APlayerMovesToTheOtherServer) {
  Folder folders[2];
  const std::string url = store::TestPostgres::shared().database(folders[0].path);
  auto first = std::make_unique<ServerProcess>(folders[0], std::uint16_t{0}, url);
  for (const char* key : {"/server.key", "/server.seed"})
    std::filesystem::copy(folders[0].path + key, folders[1].path + key);
  const ServerProcess second(folders[1], std::uint16_t{0}, url);
  Player owner(first->info(), "owner");
  ASSERT_TRUE(owner.host());
  const auto many = owner.invite(10);
  ASSERT_TRUE(many);
  ASSERT_TRUE(owner.ask(wire::Follow{owner.party(), 0}));
  // Until its stream has begun, and it has heard of the second server without having been told of it.
  for (bool has_begun = false, knows_both = false; !has_begun || !knows_both;) {
    const auto event = owner.events.take();
    ASSERT_TRUE(event);
    if (std::holds_alternative<wire::Grant>(*event)) has_begun = true;
    if (const auto* servers = std::get_if<wire::Servers>(&*event)) knows_both = servers->addresses.size() > 1;
  }
  first.reset();
  const Time killed = net::now().time;
  Player bob(second.info(), "bob");
  ASSERT_TRUE(bob.enter(*many));
  bool came = false;
  while (!came) {
    const auto changed = owner.next<wire::RecordChanged>();
    ASSERT_TRUE(changed);
    came = changed->record == bob.roster().own_record();
  }
  EXPECT_LT(net::now().time - killed, std::chrono::seconds(3));
  EXPECT_TRUE(owner.ask(wire::ListInvites{owner.party()}));
}

}  // namespace
}  // namespace lanrage::control
