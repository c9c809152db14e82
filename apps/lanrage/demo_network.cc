#include "demo_network.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <sstream>
#include <thread>

#include "base/format.h"
#include "cli.h"

namespace lanrage::cli::demo {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kCommandLimit = std::chrono::seconds(10);
constexpr auto kEndPatience = std::chrono::seconds(3);
constexpr int kPollMs = 50;

volatile std::sig_atomic_t signal_seen = 0;

// Spawned in a process group of its own, so that Ctrl-C reaches this process alone and the clean-up is not cut short.
Result<int> spawn(const std::vector<std::string>& command, const std::string& folder, int out, int err) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (std::string_view(*entry).substr(0, 8) != "LANRAGE_") environment.emplace_back(*entry);
  }
  if (!folder.empty()) environment.push_back("LANRAGE_DIR=" + folder);
  auto pointers = [](const std::vector<std::string>& texts) {
    std::vector<char*> out_pointers;
    for (const std::string& text : texts) out_pointers.push_back(const_cast<char*>(text.c_str()));
    out_pointers.push_back(nullptr);
    return out_pointers;
  };
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  sigset_t defaults;
  sigemptyset(&defaults);
  for (int number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&defaults, number);
  ::posix_spawn_file_actions_init(&files);
  ::posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files, out, 1);
  ::posix_spawn_file_actions_adddup2(&files, err, 2);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setsigdefault(&attributes, &defaults);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = 0;
  const int error = ::posix_spawnp(&pid, command[0].c_str(), &files, &attributes, pointers(command).data(),
                                   pointers(environment).data());
  ::posix_spawn_file_actions_destroy(&files);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return os_error(format("cannot run {}", command[0]), error);
  return static_cast<int>(pid);
}

Error failure_of(const std::string& program, const std::string& complaint) {
  const std::string line = complaint.substr(0, complaint.find('\n'));
  if (const auto json = wire::Json::parse(line)) {
    const wire::Json& error = member_of(*json, "error");
    return Error{Code::kFailed, text_of(error, "message"), text_of(error, "hint")};
  }
  return Error{Code::kFailed, format("{}: {}", program, line.empty() ? "failed without a word" : line), {}};
}

std::string content_of(const net::Fd& file) {
  std::string out;
  char buffer[4096];
  for (ssize_t count; (count = ::pread(file.get(), buffer, sizeof buffer, static_cast<off_t>(out.size()))) > 0;)
    out.append(buffer, static_cast<std::size_t>(count));
  return out;
}

Result<std::string> run_to_end(const std::vector<std::string>& command, Duration timeout, const std::string& folder,
                               bool heed_interrupt) {
  const net::Fd out(::memfd_create("output", MFD_CLOEXEC));
  const net::Fd err(::memfd_create("errors", MFD_CLOEXEC));
  if (!out.is_open() || !err.is_open()) return os_error("cannot make a file in memory", errno);
  LR_ASSIGN(const int pid, spawn(command, folder, out.get(), err.get()));
  const net::Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  const auto end = Clock::now() + timeout;
  bool ended = false;
  while (!ended && Clock::now() < end && !(heed_interrupt && interrupted())) {
    pollfd polled{process.get(), POLLIN, 0};
    ended = ::poll(&polled, 1, kPollMs) > 0;
  }
  if (!ended) ::kill(pid, SIGKILL);
  int status = 0;
  net::retry([&] { return ::waitpid(pid, &status, 0); });
  if (!ended && heed_interrupt && interrupted()) return Error{Code::kFailed, "interrupted", {}};
  if (!ended) return Error{Code::kTimedOut, format("{} took too long", command[0]), "try again on an idle machine"};
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return content_of(out);
  return failure_of(command[0], content_of(err));
}

}  // namespace

void catch_signals() {
  for (int number : {SIGINT, SIGTERM, SIGHUP}) std::signal(number, [](int) { signal_seen = 1; });
}

bool interrupted() { return signal_seen != 0; }

Result<std::string> run(const std::vector<std::string>& command, Duration timeout, const std::string& folder) {
  return run_to_end(command, timeout, folder, true);
}

Result<int> start(const std::vector<std::string>& command, const std::string& log, const std::string& folder) {
  const net::Fd file(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!file.is_open()) return os_error(format("cannot write {}", log), errno);
  return spawn(command, folder, file.get(), file.get());
}

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(std::string(path == nullptr ? "" : path) + ":/usr/sbin:/usr/bin:/sbin:/bin:/usr/games");
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::string candidate = folder + "/" + name;
    if (!folder.empty() && ::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

Network::Network() : prefix_(format("lanrage-demo-{}-", ::getpid())) {}

Network::~Network() {
  end_processes();
  for (const std::string& name : made_) {
    if (::access(("/run/netns/" + name).c_str(), F_OK) != 0) continue;
    // What cannot be removed is named, for whoever has to do it by hand.
    if (auto removed = run_to_end({"ip", "netns", "del", name}, kCommandLimit, {}, false); !removed) {
      std::fprintf(stderr, "lanrage: the namespace %s stays behind: %s\n", name.c_str(),
                   removed.error().message.c_str());
    }
  }
}

Result<void> Network::make() {
  for (const char* machine : {"internet", "alice-router", "bob-router", "alice", "bob"}) {
    made_.push_back(name_of(machine));
    LR_TRY(run({"ip", "netns", "add", name_of(machine)}, kCommandLimit));
    LR_TRY(run({"ip", "-n", name_of(machine), "link", "set", "lo", "up"}, kCommandLimit));
  }
  const std::string internet = name_of("internet");
  LR_TRY(run({"ip", "-n", internet, "link", "add", "wires", "type", "bridge"}, kCommandLimit));
  LR_TRY(run({"ip", "-n", internet, "address", "add", format("{}/24", kServerAddress), "dev", "wires"}, kCommandLimit));
  LR_TRY(run({"ip", "-n", internet, "link", "set", "wires", "up"}, kCommandLimit));
  LR_TRY(make_router("alice", 11));
  return make_router("bob", 12);
}

// Like a home's router, it drops what it does not expect; an answer of its own would mark the other's port as taken.
// A player's machine 192.168.N.2, and its router: 192.168.N.1 inside, 203.0.113.N outside, everything masqueraded.
Result<void> Network::make_router(const std::string& player, int number) {
  const std::string router = name_of(player + "-router");
  const std::string machine = name_of(player);
  const std::string internet = name_of("internet");
  const std::string inside = format("192.168.{}.1", number);
  const std::string rules =
      "table ip nat { chain out { type nat hook postrouting priority 100; oifname \"out\" masquerade; }; }; "
      "table ip filter { chain forward { type filter hook forward priority 0; policy drop; iifname \"in\" accept; "
      "ct state established,related accept; }; "
      "chain input { type filter hook input priority 0; iifname \"out\" ct state new drop; }; }";
  const std::vector<std::vector<std::string>> commands = {
      {"ip", "-n", router, "link", "add", "out", "type", "veth", "peer", "name", player, "netns", internet},
      {"ip", "-n", internet, "link", "set", player, "master", "wires", "up"},
      {"ip", "-n", router, "address", "add", format("203.0.113.{}/24", number), "dev", "out"},
      {"ip", "-n", router, "link", "set", "out", "up"},
      {"ip", "-n", router, "link", "add", "in", "type", "veth", "peer", "name", "eth0", "netns", machine},
      {"ip", "-n", router, "address", "add", inside + "/24", "dev", "in"},
      {"ip", "-n", router, "link", "set", "in", "up"},
      {"ip", "-n", machine, "address", "add", format("192.168.{}.2/24", number), "dev", "eth0"},
      {"ip", "-n", machine, "link", "set", "eth0", "up"},
      {"ip", "-n", machine, "route", "add", "default", "via", inside},
      // There is no name service here: whoever asks is told at once, instead of waiting for it as the game does.
      {"ip", "netns", "exec", machine, "nft",
       "table ip names { chain out { type filter hook output priority 0; udp dport 53 reject; }; }"},
      {"ip", "netns", "exec", router, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"},
      {"ip", "netns", "exec", router, "nft", rules},
  };
  for (const auto& command : commands) LR_TRY(run(command, kCommandLimit));
  return {};
}

std::vector<std::string> Network::on(const std::string& machine, std::vector<std::string> command) const {
  std::vector<std::string> out = {"ip", "netns", "exec", name_of(machine)};
  std::move(command.begin(), command.end(), std::back_inserter(out));
  return out;
}

// The socket belongs to the namespace that the thread was in when it was made, for as long as it lives.
Result<net::Fd> Network::udp_socket_on(const std::string& machine) const {
  const net::Fd home(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  const std::string path = "/run/netns/" + name_of(machine);
  const net::Fd there(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!home.is_open() || !there.is_open() || ::setns(there.get(), CLONE_NEWNET) != 0)
    return os_error(format("cannot enter {}", path), errno);
  net::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int error = errno;
  if (::setns(home.get(), CLONE_NEWNET) != 0) return os_error("cannot come back from a network namespace", errno);
  if (!socket.is_open()) return os_error("cannot make a socket", error);
  const int yes = 1;
  if (::setsockopt(socket.get(), SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes) != 0)
    return os_error("cannot broadcast", errno);
  return socket;
}

std::string Network::name_of(const std::string& machine) const { return prefix_ + machine; }

std::vector<int> Network::processes() const {
  std::vector<int> out;
  for (const std::string& name : made_) {
    const auto list = run_to_end({"ip", "netns", "pids", name}, kCommandLimit, {}, false);
    std::istringstream pids(list ? *list : std::string());
    for (int pid = 0; pids >> pid;) out.push_back(pid);
  }
  return out;
}

void Network::end_processes() const {
  for (const int number : {SIGTERM, SIGKILL}) {
    for (const int pid : processes()) ::kill(pid, number);
    const auto end = Clock::now() + kEndPatience;
    for (;;) {
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      if (processes().empty()) return;
      if (Clock::now() > end) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
    }
  }
}

}  // namespace lanrage::cli::demo
