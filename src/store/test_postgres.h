// For tests: Debian's PostgreSQL in a folder of its own, reached by a socket in it. Not root's to run: with the rights
// of the user that its package makes. Gone with the test, however that ends.
#pragma once

#include <fcntl.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "store/test_store.h"

namespace lanrage::store {

class TestPostgres {
 public:
  // One for the whole test program.
  static TestPostgres& shared() {
    static TestPostgres server;
    return server;
  }

  TestPostgres() {
    const passwd* user = ::getpwnam("postgres");
    if (user == nullptr || programs_.empty()) give_up("PostgreSQL is not installed: tools/install-packages test");
    uid_ = user->pw_uid;
    gid_ = user->pw_gid;
    if (::chown(folder_.c_str(), uid_, gid_) != 0) give_up("run this test as root");
    if (wait(start({"initdb", "-D", folder_ + "/data", "-A", "trust", "-U", "lanrage", "-E", "UTF8", "--locale=C"})) !=
        0)
      give_up("initdb failed");
    run();
  }
  ~TestPostgres() {
    stop(SIGQUIT);
    std::filesystem::remove_all(folder_);
  }

  void run() {
    server_ = start({"postgres", "-D", folder_ + "/data", "-k", folder_, "-c", "listen_addresses="});
    for (int i = 0; i < 300; ++i) {
      if (wait(start({"pg_isready", "-q", "-h", folder_, "-U", "lanrage", "-d", "postgres"})) == 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    give_up("PostgreSQL does not start");
  }
  // SIGQUIT and SIGKILL end it at once; it recovers at the next run().
  void stop(int signal) {
    if (server_ <= 0) return;
    const std::vector<pid_t> children = children_of(server_);
    ::kill(server_, signal);
    wait(std::exchange(server_, -1));
    // Its children, each in a group of its own, notice that it is gone; until then a new one does not start.
    const auto one_lives = [&] {
      return std::any_of(children.begin(), children.end(), [](pid_t child) { return ::kill(child, 0) == 0; });
    };
    for (int i = 0; i < 600 && one_lives(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  // The URL of a database that belongs to `name`, made when it is missing.
  std::string database(const std::string& name) {
    const std::string plain = "d" + std::to_string(std::hash<std::string>{}(name));
    wait(start({"createdb", "-h", folder_, "-U", "lanrage", plain}));  // fails where it is there
    return "postgresql:///" + plain + "?host=" + folder_ + "&user=lanrage";
  }
  int sql(const std::string& url, const std::string& text) {
    return wait(start({"psql", "-q", "-d", url, "-c", text}));
  }

 private:
  static std::string programs() {
    for (const auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql"))
      return version.path() / "bin";
    return "";
  }
  [[noreturn]] static void give_up(const char* why) {
    std::fprintf(stderr, "%s\n", why);
    std::_Exit(1);
  }
  pid_t start(const std::vector<std::string>& words) {
    const std::string path = programs_ + "/" + words[0];
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
      const int nothing = ::open("/dev/null", O_RDWR);
      for (int fd = 0; fd < 3; ++fd) ::dup2(nothing, fd);
      ::setpgid(0, 0);
      if (::chdir("/") != 0 || ::setgid(gid_) != 0 || ::setuid(uid_) != 0) ::_exit(126);
      ::prctl(PR_SET_PDEATHSIG, words[0] == "postgres" ? SIGQUIT : SIGKILL);
      ::execv(path.c_str(), arguments.data());
      ::_exit(127);
    }
    return child;
  }
  static std::vector<pid_t> children_of(pid_t parent) {
    std::vector<pid_t> out;
    std::ifstream list("/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) + "/children");
    for (pid_t child = 0; list >> child;) out.push_back(child);
    return out;
  }
  static int wait(pid_t child) {
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  const std::string programs_ = programs();
  const std::string folder_ = fresh_folder();
  uid_t uid_ = 0;
  gid_t gid_ = 0;
  pid_t server_ = -1;
};

}  // namespace lanrage::store
