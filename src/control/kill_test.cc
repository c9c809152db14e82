// A server killed without warning: what it acknowledged is there when it comes back.
#include <sys/prctl.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <map>
#include <set>
#include <thread>

#include "control/test_player.h"
#include "store/test_postgres.h"

namespace lanrage::control {
namespace {

constexpr const char* kFolderVariable = "LANRAGE_TEST_SERVER_FOLDER";

// The child's part: this program again, running the one test that serves until it is killed.
class ServerProcess {
 public:
  ServerProcess(const Folder& folder, std::uint16_t port, const std::string& store = "") {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    const std::string variable = std::string(kFolderVariable) + "=" + folder.path;
    const std::string port_variable = "LANRAGE_TEST_SERVER_PORT=" + std::to_string(port);
    const std::string pipe_variable = "LANRAGE_TEST_SERVER_PIPE=" + std::to_string(ends[1]);
    const std::string store_variable = "LANRAGE_TEST_SERVER_STORE=" + store;
    const char* arguments[] = {"control_test", "--gtest_also_run_disabled_tests",
                               "--gtest_filter=ControlServerKilled.DISABLED_ServesUntilThen", "--gtest_brief=1",
                               nullptr};
    const char* variables[] = {variable.c_str(), port_variable.c_str(), pipe_variable.c_str(), store_variable.c_str(),
                               nullptr};
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

// With PostgreSQL, it and the server are killed in turn.
class ControlServerKilledWith : public testing::TestWithParam<bool> {
 protected:
  store::TestPostgres* postgres() const { return GetParam() ? &store::TestPostgres::shared() : nullptr; }
  std::unique_ptr<store::Store> open_store() const {
    return (GetParam() ? store::PostgresStore::open(url_, silent_logger())
                       : store::SqliteStore::open(folder_.path + "/server.db", silent_logger()))
        .value();
  }
  Folder folder_;
  const std::string url_ = GetParam() ? postgres()->database(folder_.path) : "";
};

TEST_P(ControlServerKilledWith, MembershipIsWhatTheLastAnswerSaid) {
  const char* rounds = ::getenv("LANRAGE_TEST_KILLS");
  const int kills = rounds == nullptr ? 6 : std::atoi(rounds);
  constexpr int kPlayers = 32;
  auto server = std::make_unique<ServerProcess>(folder_, std::uint16_t{0}, url_);
  const party::ServerInfo info = server->info();
  ASSERT_FALSE(info.addresses.empty());
  Player owner(info, "owner");
  ASSERT_TRUE(owner.host());
  const auto invite = owner.invite(party::kInviteUsesMax);
  ASSERT_TRUE(invite);
  const auto loop = net::IoLoop::start("players");
  std::vector<std::unique_ptr<Restless>> players;
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < kPlayers; ++i) players.push_back(std::make_unique<Restless>(info, i, loop));
  for (const auto& player : players) threads.emplace_back([&] { player->run(*invite, stop); });
  SeededRng rng(11);
  std::uint64_t version = 0;
  for (int kill = 0; kill < kills; ++kill) {
    // Any moment, whatever the server is doing: so by the clock, not by a condition of it.
    std::this_thread::sleep_for(std::chrono::milliseconds(300 + rng.below(500)));
    if (postgres() != nullptr) {
      postgres()->stop(SIGKILL);
      postgres()->run();  // the server finds it again by itself
      std::this_thread::sleep_for(std::chrono::milliseconds(1300 + rng.below(500)));
    }
    server.reset();
    const auto data = open_store()->load(invite->party);
    ASSERT_TRUE(data && *data);
    EXPECT_GE((*data)->version, version) << "after kill " << kill;
    version = (*data)->version;
    std::set<IpAddress> addresses;
    for (const auto& [key, row] : (*data)->members) EXPECT_TRUE(addresses.insert(row.ipv4).second) << row.ipv4.text();
    EXPECT_TRUE(party::ServerParty::restore(**data)) << "half a party, after kill " << kill;
    for (const auto& player : players) EXPECT_TRUE(player->is_right(**data)) << "after kill " << kill;
    server = std::make_unique<ServerProcess>(folder_, info.addresses.front().port, url_);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  int answers = 0;
  for (const auto& player : players) answers += player->answers();
  EXPECT_GT(answers, kPlayers * 2);
}

INSTANTIATE_TEST_SUITE_P(Stores, ControlServerKilledWith, testing::Values(false, true),
                         [](const auto& postgres) { return postgres.param ? "PostgreSQL" : "SQLite"; });

}  // namespace
}  // namespace lanrage::control
