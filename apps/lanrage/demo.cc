// demo: a party of two players behind two routers on this one machine, with a real LAN game that one finds at the
// other.
#include <CLI/CLI.hpp>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <thread>

#include "base/format.h"
#include "cli.h"
#include "crypto/random.h"
#include "demo_game.h"
#include "demo_network.h"

namespace lanrage::cli {
namespace {

using wire::Json;
using Clock = std::chrono::steady_clock;

constexpr auto kCommandLimit = std::chrono::seconds(30);
constexpr auto kReadyLimit = std::chrono::seconds(10);
constexpr auto kDirectLimit = std::chrono::seconds(3);  // a relayed path is good, too: it is said, and the demo goes on
constexpr auto kGameLimit = std::chrono::seconds(10);
constexpr auto kPoll = std::chrono::milliseconds(50);
constexpr const char* kGameName = "LANrage demo";

// A folder for the state of server and players, gone with the demo.
struct TemporaryFolder {
  std::string path;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path.empty()) std::filesystem::remove_all(path, ignored);
  }
};

class Demo {
 public:
  explicit Demo(bool json) : json_(json), begun_(Clock::now()) {}

  Result<void> play() {
    LR_TRY(prepare());
    LR_TRY(network_.make());
    step("network", "two players, each behind a router with NAT, and an internet between them");
    LR_TRY(start_server());
    LR_TRY(gather());
    LR_TRY(show_path());
    LR_TRY(show_game());
    result_.set("seconds", seconds());
    if (json_) {
      print_json(result_);
    } else {
      std::printf(
          "\nThat was all: no address typed, no port forwarded. Everything is being removed again.\n"
          "Play for real: `lanrage host` here, `lanrage join INVITE` at a friend's.\n");
      std::fflush(stdout);
    }
    return {};
  }

 private:
  static Result<void> check_programs() {
    struct Needed {
      const char* program;
      const char* package;
    };
    std::string packages;
    for (const Needed& needed :
         {Needed{"ip", "iproute2"}, Needed{"nft", "nftables"}, Needed{"teeworlds-server", "teeworlds-server"}}) {
      if (demo::find_program(needed.program).empty()) packages += format(" {}", needed.package);
    }
    if (packages.empty()) return {};
    return Error{Code::kFailed, "the demo needs packages that are not installed:" + packages,
                 "as root, run: apt-get install" + packages};
  }

  Result<void> prepare() {
    if (::geteuid() != 0)
      return Error{Code::kRefused, "the demo makes network namespaces, which takes root", "sudo lanrage demo"};
    LR_TRY(check_programs());
    std::string pattern = (std::filesystem::temp_directory_path() / "lanrage-demo-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) return os_error("cannot make a temporary folder", errno);
    folder_.path = pattern;
    std::error_code error;
    binary_ = std::filesystem::read_symlink("/proc/self/exe", error).string();
    if (error) return Error{Code::kFailed, "this program does not find itself", "mount /proc"};
    if (!json_) std::printf("A LAN party on this machine alone, in network namespaces of its own.\n\n");
    return {};
  }

  Result<void> start_server() {
    const std::string folder = folder_of("server");
    LR_TRY(demo::start(network_.on("internet", {binary_, "server", "--public",
                                                format("{}:41820", demo::Network::kServerAddress), "--json"}),
                       folder + ".log", folder));
    const std::string file = folder + "/server.link";
    for (const auto end = Clock::now() + kReadyLimit;; std::this_thread::sleep_for(kPoll)) {
      LR_ASSIGN(auto link, config::read_file(file));
      if (link && !link->empty()) {
        link_ = link->substr(0, link->find('\n'));
        break;
      }
      if (demo::interrupted()) return Error{Code::kFailed, "interrupted", {}};
      if (Clock::now() > end) {
        LR_ASSIGN(const auto log, config::read_file(folder + ".log"));
        return Error{Code::kTimedOut, "the server did not start: " + log.value_or(""), "try again"};
      }
    }
    step("server", format("lanrage server            on the internet, {}", demo::Network::kServerAddress));
    return {};
  }

  // Asks a player's node as a person would.
  Result<Json> command(const std::string& player, std::vector<std::string> words) {
    words.insert(words.begin(), binary_);
    words.emplace_back("--json");
    LR_ASSIGN(const std::string answer,
              demo::run(network_.on(player, std::move(words)), kCommandLimit, folder_of(player)));
    return Json::parse(answer);
  }

  Result<void> gather() {
    LR_ASSIGN(const Json hosted, command("alice", {"host", "--server", link_, "--as", "alice"}));
    step("host", "lanrage host              alice starts a party and gets an invite");
    const auto joining = Clock::now();
    LR_ASSIGN(const Json joined, command("bob", {"join", text_of(hosted, "invite"), "--as", "bob"}));
    const auto& addresses = items_of(member_of(joined, "self"), "addresses");
    const std::string address = addresses.empty() || !addresses[0].if_string() ? "?" : *addresses[0].if_string();
    result_.set("join_ms", std::chrono::duration<double, std::milli>(Clock::now() - joining).count());
    step("join", format("lanrage join INVITE       bob is in it, {} on {}", address,
                        text_of(member_of(joined, "self"), "interface")));
    return {};
  }

  Result<void> show_path() {
    Json ping;
    for (const auto end = Clock::now() + kDirectLimit;;) {
      LR_ASSIGN(ping, command("bob", {"ping", "alice", "-c", "3", "-i", "0.05"}));
      if (text_of(member_of(ping, "path"), "kind") == "direct" || Clock::now() > end) break;
      std::this_thread::sleep_for(kPoll);
    }
    const Json& path = member_of(ping, "path");
    const double rtt = number_of(member_of(ping, "rtt_ms"), "median").value_or(0);
    result_.set("path", text_of(path, "kind"));
    result_.set("rtt_ms", rtt);
    step("ping", format("lanrage ping alice        {:.2f} ms, {} ({})", rtt,
                        text_of(path, "kind") == "direct" ? "direct from router to router" : "relayed by the server",
                        text_of(path, "endpoint")));
    return {};
  }

  Result<void> show_game() {
    LR_TRY(demo::start(network_.on("alice", {demo::find_program("teeworlds-server"), format("sv_name {}", kGameName),
                                             "sv_register 0"}),
                       folder_of("alice") + "-game.log", folder_of("alice")));
    step("game", "teeworlds-server          alice starts a real LAN game");
    LR_ASSIGN(const net::Fd socket, network_.udp_socket_on("bob"));
    crypto::SystemRng rng;
    const auto token = rng.u32() & 0x7fffffff;
    const auto found = demo::find_game(socket.get(), token, kGameLimit);
    if (demo::interrupted()) return Error{Code::kFailed, "interrupted", {}};
    if (!found)
      return Error{Code::kTimedOut, "bob's LAN search did not find alice's game",
                   "`lanrage lan` tells why in a real party"};
    result_.set(
        "game",
        Json::object(
            {{"name", found->name}, {"map", found->map}, {"mode", found->mode}, {"server", found->server.text()}}));
    step("found", format("bob's LAN list            \"{}\", {} on {}, at {}", safe(found->name), safe(found->mode),
                         safe(found->map), found->server.text()));
    return {};
  }

  double seconds() const { return std::chrono::duration<double>(Clock::now() - begun_).count(); }

  void step(const char* name, const std::string& line) {
    steps_.push(Json::object({{"step", name}, {"seconds", seconds()}}));
    result_.set("steps", steps_);
    if (json_) return;
    std::printf("%5.1f s  %s\n", seconds(), line.c_str());
    std::fflush(stdout);
  }

  std::string folder_of(const std::string& machine) const { return folder_.path + "/" + machine; }

  const bool json_;
  const Clock::time_point begun_;
  TemporaryFolder folder_;  // outlives the programs that write into it
  demo::Network network_;
  std::string binary_;
  std::string link_;
  Json steps_ = Json::array();
  Json result_ = Json::object();
};

}  // namespace

void add_demo(CLI::App& app, Cli& cli) {
  CLI::App* command =
      app.add_subcommand("demo", "A party of two players behind routers on this one machine, to see it work");
  command->callback([&cli] {
    cli.run = [&cli] {
      demo::catch_signals();
      return Demo(cli.json).play();
    };
  });
}

}  // namespace lanrage::cli
