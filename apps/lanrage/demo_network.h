// The demo's own little world: network namespaces for an internet, two routers with NAT and two players' machines.
//
//   alice -- router -- internet (with the server) -- router -- bob
//
// Everything is made with `ip` and `nft` inside namespaces named after this process, so the machine's own network is
// never touched. The destructor ends, by process id, whatever runs in those namespaces and removes them. One thread;
// waits are bounded and end early once `interrupted()`.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "net/fd.h"

namespace lanrage::cli::demo {

// From here on SIGINT, SIGTERM and SIGHUP only make `interrupted` true.
void catch_signals();
bool interrupted();

// Runs a program to its end and gives its standard output. kTimedOut; kFailed with the first line of its standard error
// (of the JSON error that `lanrage --json` prints, the message and hint). `folder` becomes its LANRAGE_DIR.
Result<std::string> run(const std::vector<std::string>& command, Duration timeout, const std::string& folder = {});
// Starts a program that stays; its output goes to the file `log`. Gives its process id.
Result<int> start(const std::vector<std::string>& command, const std::string& log, const std::string& folder = {});
// Where a program is: looked for in PATH, the system's folders and /usr/games. Empty: nowhere.
std::string find_program(const std::string& name);

class Network {
 public:
  static constexpr const char* kServerAddress = "203.0.113.1";

  Network();
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  Result<void> make();
  // The command that runs `command` on a machine: "internet", "alice" or "bob".
  std::vector<std::string> on(const std::string& machine, std::vector<std::string> command) const;
  // A UDP socket that lives on a machine, bound to any port, allowed to broadcast.
  Result<net::Fd> udp_socket_on(const std::string& machine) const;

 private:
  std::string name_of(const std::string& machine) const;
  Result<void> make_router(const std::string& player, int number);
  std::vector<int> processes() const;
  void end_processes() const;

  const std::string prefix_;
  std::vector<std::string> made_;
};

}  // namespace lanrage::cli::demo
