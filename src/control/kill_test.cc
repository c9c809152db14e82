// A server killed without warning: what it acknowledged is there when it comes back.
#include <sys/prctl.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <map>
#include <set>
#include <thread>

#include "control/test_player.h"

namespace lanrage::control {
namespace {

constexpr const char* kFolderVariable = "LANRAGE_TEST_SERVER_FOLDER";

// The child's part: this program again, running the one test that serves until it is killed.
class ServerProcess {
 public:
  ServerProcess(const Folder& folder, std::uint16_t port) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    const std::string variable = std::string(kFolderVariable) + "=" + folder.path;
    const std::string port_variable = "LANRAGE_TEST_SERVER_PORT=" + std::to_string(port);
    const std::string pipe_variable = "LANRAGE_TEST_SERVER_PIPE=" + std::to_string(ends[1]);
    const char* arguments[] = {"control_test", "--gtest_also_run_disabled_tests",
                               "--gtest_filter=ControlServerKilled.DISABLED_ServesUntilThen", "--gtest_brief=1",
                               nullptr};
    const char* variables[] = {variable.c_str(), port_variable.c_str(), pipe_variable.c_str(), nullptr};
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

}  // namespace
}  // namespace lanrage::control
